"""The table of counts: every picture has its row, every class its column, and no cell does anything."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from detkit.cli import app
from detkit.images import write_image
from detkit.runs import count_table
from detkit.runs.count_table import counts_table, counts_workbook, harmless
from detkit.runs.writers import WRITERS, Whole

METADATA = {"task": "detect", "stride": "32", "names": "{0: 'ape', 1: '=bee', 2: 'cat'}", "end2end": "True"}


def record(file, *classes, **more):
    boxes = [{"box": [0, 0, 1, 1], "score": 0.5, "class": name, "class_id": 0} for name in classes]
    return {"file": file, **more, "width": 8, "height": 8, "detections": boxes}


def table(content):
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))


def test_zeros_and_errors_have_rows():
    records = [record("a.jpg", "dog", "cat", "dog"), record("b.jpg"), {"file": "c.jpg", "error": "is damaged"}]
    assert table(counts_table(records, ("cat", "cow", "dog"), ("cow",))) == [
        ["file", "error", "boxes", "cat", "cow", "dog"],
        ["a.jpg", "", "3", "1", "0", "2"],
        ["b.jpg", "", "0", "0", "0", "0"],
        ["c.jpg", "is damaged", "", "", "", ""],
    ]


def test_frames_have_their_number_and_time():
    records = [record("a.jpg"), record("v.mp4", "10", frame=3, time=0.125), record("v.mp4", "9", frame=4, time=0.25)]
    assert table(counts_table(records, ())) == [
        ["file", "frame", "time", "error", "boxes", "9", "10"],
        ["a.jpg", "", "", "", "0", "0", "0"],
        ["v.mp4", "3", "0.125", "", "1", "0", "1"],
        ["v.mp4", "4", "0.25", "", "1", "1", "0"],
    ]


def test_no_cell_is_a_formula_and_letters_are_marked():
    content = counts_table([record("-é.jpg", "=1+1"), {"file": "@x", "error": "+"}], ("=1+1",))
    assert content.startswith(b"\xef\xbb\xbf")
    cells = [cell for row in table(content) for cell in row]
    assert {"'-é.jpg", "'=1+1", "'@x", "'+"} <= set(cells)
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@")]
    assert not counts_table([record("e.jpg")], ()).startswith(b"\xef")
    assert [harmless(text) for text in ("\tx", "\rx", "", "x-")] == ["'\tx", "'\rx", "", "x-"]


def test_it_is_a_row_of_the_table_of_formats():
    file = io.BytesIO()
    assert list(WRITERS["counts"].write(file, [record("a.jpg", "cat")], Whole(("cat", "dog"), wanted=("dog",)))) == []
    assert table(file.getvalue()) == [["file", "error", "boxes", "cat", "dog"], ["a.jpg", "", "1", "1", "0"]]


@pytest.fixture
def detect(make_graph, tmp_path, capsys):
    """Run `detkit yolo` with a network that finds an ape and two cats: (status, stderr)."""
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, :3] = (10, 20, 50, 60, 0.9, 2), (60, 20, 90, 60, 0.8, 2), (30, 30, 90, 90, 0.5, 0)
    graph = make_graph({"output0": rows}, metadata=METADATA)
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "in" / name, np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8))
    (tmp_path / "in" / "c.png").write_bytes(b"no picture")

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            app(["yolo", "-m", str(graph), *map(str, arguments)])
        return stop.value.code or 0, capsys.readouterr().err

    return run


def test_the_command_counts_and_says_the_totals(detect, tmp_path):
    chosen = ("--class", "cat", "--class", "=bee")
    status, said = detect(tmp_path / "in", "-f", "counts", "-o", tmp_path / "x.csv", *chosen)
    assert status == 1
    read = table((tmp_path / "x.csv").read_bytes())
    assert [row[:1] + row[2:] for row in read] == [
        ["file", "boxes", "'=bee", "cat"],
        ["a.png", "2", "0", "2"],
        ["b.png", "2", "0", "2"],
        ["c.png", "", "", ""],
    ]
    assert read[3][1]
    assert "2 pictures, 4 boxes in" in said
    assert "; 1 could not be read" in said
    assert "detkit: found 4 cat\n" in said


def test_the_summary_says_how_many_pictures_had_nothing(detect, tmp_path):
    _, said = detect(tmp_path / "in", "-o", tmp_path / "x.csv", "--class", "=bee")
    assert "; nothing in 2; 1 could not be read" in said
    assert "found" not in said


def test_it_says_where_the_pictures_are(detect, tmp_path):
    out = ("-o", tmp_path / "x.jsonl", "--draw", tmp_path / "d", "--crops", tmp_path / "cut")
    _, said = detect(tmp_path / "in", *out)
    assert said.endswith(f"detkit: pictures: {tmp_path / 'd'}\ndetkit: cut-outs: {tmp_path / 'cut'}\n")
    _, said = detect(tmp_path / "in" / "a.png", *out)
    assert f"detkit: the picture: {tmp_path / 'd' / 'a.png'}\n" in said
    assert detect(tmp_path / "in" / "a.png", *out, "-q") == (0, "")
    assert "cut-outs" not in detect(tmp_path / "in" / "a.png", *out, "--class", "=bee")[1]


def test_a_workbook_has_the_same_cells_and_no_formula(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    records = [
        record("-é.jpg", "=1+1", "=1+1", "cat", frame=3, time=0.125),
        record("b\x07.jpg"),
        {"file": "@x", "error": "+1"},
    ]
    (tmp_path / "a.xlsx").write_bytes(counts_workbook(records, ("cat", "=1+1"), ("cow",)))
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx").active
    assert [[cell.value for cell in row] for row in sheet.iter_rows()] == [
        ["file", "frame", "time", "error", "boxes", "cat", "=1+1", "cow"],
        ["-é.jpg", 3, 0.125, None, 3, 1, 2, 0],
        ["b\ufffd.jpg", None, None, None, 0, 0, 0, 0],
        ["@x", None, None, "+1", None, None, None, None],
    ]
    assert {cell.data_type for row in sheet.iter_rows() for cell in row} == {"s", "n"}


def test_the_ending_makes_a_workbook(make_graph, tmp_path, capsys, monkeypatch):
    pytest.importorskip("openpyxl")
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = 10, 20, 50, 60, 0.9, 2
    graph = make_graph({"output0": rows}, metadata=METADATA)
    write_image(tmp_path / "a.png", np.zeros((96, 128, 3), np.uint8))
    for number, options in enumerate(([], ["-f", "counts"], ["-f", "xlsx"])):
        out = tmp_path / f"{number}.xlsx"
        with pytest.raises(SystemExit) as stop:
            app(["yolo", str(tmp_path / "a.png"), "-m", str(graph), "-o", str(out), *options])
        assert not stop.value.code
        assert out.read_bytes().startswith(b"PK")
    monkeypatch.setattr(count_table, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stop:
        app(["yolo", str(tmp_path / "a.png"), "-m", str(graph), "-o", str(tmp_path / "none.xlsx")])
    assert stop.value.code == 2
    assert "pip install 'detkit-vision[xlsx]'" in capsys.readouterr().err
    assert not (tmp_path / "none.xlsx").exists()
