"""`detkit yolo` as people run it: folders, formats, broken files, interrupts, and going on."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import pytest

from detkit.cli import app
from detkit.images import write_image

ROOT = Path(__file__).parent.parent
METADATA = {"task": "detect", "stride": "32", "names": "{0: 'ape', 1: 'bee', 2: 'cat'}", "end2end": "True"}


def picture(seed, width=128, height=96):
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)


@pytest.fixture
def graph(make_graph):
    """A network that finds the same two boxes in every picture."""
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = 10, 20, 50, 60, 0.9, 2
    rows[0, 1] = 30, 30, 90, 90, 0.5, 0
    return make_graph({"output0": rows}, metadata=METADATA)


@pytest.fixture
def folder(tmp_path):
    for number in range(6):
        write_image(tmp_path / "in" / ("deep" if number % 2 else ".") / f"{number}.png", picture(number))
    return tmp_path / "in"


@pytest.fixture
def run(capsysbinary):
    """Run the command in this process: (exit status, stdout, stderr)."""

    def call(*arguments):
        try:
            app([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code or 0
        out, err = capsysbinary.readouterr()
        return status, out.decode(), err.decode()

    return call


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_json_lines_when_piped(run, folder, graph):
    status, out, err = run("yolo", folder, "-m", graph)
    assert status == 0, err
    records = lines(out)
    assert [record["file"] for record in records] == [
        "0.png",
        "2.png",
        "4.png",
        "deep/1.png",
        "deep/3.png",
        "deep/5.png",
    ]
    assert records[0] == {
        "file": "0.png", "width": 128, "height": 96,
        "detections": [
            {"box": [10.0, 20.0, 50.0, 60.0], "score": 0.9, "class": "cat", "class_id": 2},
            {"box": [30.0, 30.0, 90.0, 90.0], "score": 0.5, "class": "ape", "class_id": 0},
        ],
    }  # fmt: skip


def test_options_choose_boxes(run, folder, graph):
    def classes(*options):
        return [box["class"] for box in lines(run("yolo", folder / "0.png", "-m", graph, *options)[1])[0]["detections"]]

    assert classes() == ["cat", "ape"]
    assert classes("--conf", 0.6) == ["cat"]
    assert classes("--max-det", 1) == ["cat"]
    assert classes("--class", "ape") == ["ape"]
    assert classes("--class", "ape", "--class", 2) == ["cat", "ape"]


def test_tiles_are_an_option_of_detection(run, folder, graph, tmp_path):
    status, out, _ = run("yolo", folder / "0.png", "-m", graph, "--tile", 64, "--overlap", 0, "-f", "jsonl")
    assert status == 0
    boxes = {tuple(one["box"]) for one in lines(out)[0]["detections"]}
    assert (10 + 0, 20, 50, 60) in boxes  # of the whole picture, which the network finds the same two boxes in
    assert len(boxes) > 2
    status, _, err = run("yolo", folder, "-m", graph, "--overlap", 0.3)
    assert status == 2
    assert "--tile" in err


def test_an_interrupted_run_over_other_tiles_is_not_gone_on_with(run, folder, graph, tmp_path):
    journal = tmp_path / "found.jsonl.partial.jsonl"
    journal.write_text('{"detkit":1,"command":"yolo"}\n')
    options = ("yolo", folder, "-m", graph, "-o", tmp_path / "found.jsonl", "--resume", "--tile", "64")
    status, _, err = run(*options)
    assert status == 2
    assert "tile was None and is 64" in err


def test_coco_is_what_pycocotools_takes(run, folder, graph, tmp_path):
    pycocotools = pytest.importorskip("pycocotools.coco")
    assert run("yolo", folder, "-m", graph, "-o", tmp_path / "r.json")[0] == 0
    truth = pycocotools.COCO()
    truth.dataset = {"images": [{"id": number} for number in range(6)], "annotations": [],
                     "categories": [{"id": number} for number in (1, 2, 3)]}  # fmt: skip
    truth.createIndex()
    results = truth.loadRes(str(tmp_path / "r.json"))
    assert sorted(results.getImgIds()) == list(range(6))  # the number in every stem
    first = results.loadAnns(results.getAnnIds(imgIds=[0]))
    assert [(entry["category_id"], entry["bbox"]) for entry in first] == [(3, [10, 20, 40, 40]), (1, [30, 30, 60, 60])]
    assert not (tmp_path / "r.json.images.json").exists()


def test_coco_numbers_pictures_whose_names_are_not_numbers(run, folder, graph, tmp_path):
    write_image(folder / "holiday.png", picture(9))
    assert run("yolo", folder, "-m", graph, "-o", tmp_path / "r.json")[0] == 0
    table = json.loads((tmp_path / "r.json.images.json").read_text())
    assert table["images"][3] == {"id": 4, "file_name": "holiday.png"}
    assert table["categories"] == [{"id": 1, "name": "ape"}, {"id": 2, "name": "bee"}, {"id": 3, "name": "cat"}]
    assert sorted({entry["image_id"] for entry in json.loads((tmp_path / "r.json").read_text())}) == list(range(1, 8))


def test_coco_takes_ids_from_annotations(run, folder, graph, tmp_path):
    truth = {
        "images": [{"id": 70 + n, "file_name": f"{n}.png", "width": 128, "height": 96} for n in range(5)],
        "annotations": [], "categories": [{"id": 11, "name": "Cat"}],
    }  # fmt: skip
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    status, _, err = run("yolo", folder, "-m", graph, "-o", tmp_path / "r.json", "--gt", tmp_path / "gt.json")
    assert status == 0
    found = json.loads((tmp_path / "r.json").read_text())
    assert sorted(entry["image_id"] for entry in found) == [70, 71, 72, 73, 74]
    assert {entry["category_id"] for entry in found} == {11}
    assert err.count("class 'ape' is not in") == 1
    assert err.count("picture deep/5.png is not in") == 1


def test_voc_is_xml_with_the_boxes(run, folder, graph, tmp_path):
    assert run("yolo", folder, "-m", graph, "-f", "voc", "-o", tmp_path / "voc")[0] == 0
    root = ElementTree.parse(tmp_path / "voc" / "deep" / "1.xml").getroot()
    assert root.findtext("filename") == "1.png"
    assert (root.findtext("size/width"), root.findtext("size/height")) == ("128", "96")
    found = [(entry.findtext("name"), float(entry.findtext("bndbox/xmax"))) for entry in root.iter("object")]
    assert found == [("cat", 50.0), ("ape", 90.0)]


def test_yolo_txt_is_ultralytics_convention(run, folder, graph, tmp_path):
    assert run("yolo", folder, "-m", graph, "-f", "yolo", "-o", tmp_path / "txt")[0] == 0
    rows = np.loadtxt(tmp_path / "txt" / "deep" / "3.txt", ndmin=2)
    np.testing.assert_allclose(rows[0], [2, 30 / 128, 40 / 96, 40 / 128, 40 / 96, 0.9], atol=1e-6)
    assert (tmp_path / "txt" / "classes.txt").read_text().split() == ["ape", "bee", "cat"]


def test_csv_reads_back(run, folder, graph, tmp_path):
    import csv

    assert run("yolo", folder, "-m", graph, "-o", tmp_path / "r.csv")[0] == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))
    assert len(rows) == 12
    assert rows[0]["file"] == "0.png"
    assert (float(rows[0]["x2"]), rows[0]["class"]) == (50, "cat")


def test_pictures_and_crops_keep_their_folders(run, folder, graph, tmp_path):
    status, *_ = run("yolo", folder, "-m", graph, "--draw", tmp_path / "draw", "--crops", tmp_path / "crops", "-q")
    assert status == 0
    drawn = cv2.imread(str(tmp_path / "draw" / "deep" / "1.png"))
    assert drawn.shape == (96, 128, 3)
    assert not np.array_equal(drawn[:, :, ::-1], picture(1))
    cut = cv2.imread(str(tmp_path / "crops" / "deep" / "1-001-cat.jpg"))
    assert cut.shape == (40, 40, 3)


def test_pictures_are_never_overwritten(run, folder, graph):
    before = (folder / "0.png").read_bytes()
    status, _, err = run("yolo", folder, "-m", graph, "--draw", folder)
    assert status == 2
    assert "would overwrite" in err
    assert (folder / "0.png").read_bytes() == before


@pytest.fixture
def broken(folder):
    """Ten broken files among the good ones."""
    good = (folder / "0.png").read_bytes()
    jpeg = bytes(cv2.imencode(".jpg", picture(3))[1])
    contents = {
        "b0.jpg": b"", "b1.jpg": jpeg[: len(jpeg) // 2], "b2.jpg": b"hello", "b3.png": good[: len(good) // 2],
        "b4.png": good[:20], "b5.jpg": jpeg[:3], "b6.gif": b"GIF89a", "b7.webp": b"RIFF\0\0\0\0WEBPVP8 ",
        "b8.tif": b"II*\0\x08\0\0\0", "deep/b9.bmp": b"BM" + bytes(30),
    }  # fmt: skip
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return sorted(contents)


def test_ten_broken_files_cost_only_themselves_megadetector_19(run, folder, graph, broken, tmp_path):
    status, _, err = run("yolo", folder, "-m", graph, "-o", tmp_path / "r.jsonl")
    assert status == 1
    records = lines((tmp_path / "r.jsonl").read_text())
    assert len(records) == 16
    assert sorted(record["file"] for record in records if "error" in record) == broken
    assert all(len(record["detections"]) == 2 for record in records if "error" not in record)
    for name in broken:
        assert sum(f"{name}:" in line for line in err.splitlines()) == 1, name
    assert "Traceback" not in err


def test_decoders_do_not_print_about_broken_files(cli, folder, graph, broken):
    done = cli("yolo", folder, "-m", graph)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("detkit: ")]
    assert len(said) == len(broken) + 1  # and the summary


def test_a_missing_file_and_an_empty_folder(run, folder, graph, tmp_path):
    (tmp_path / "empty").mkdir()
    status, out, err = run("yolo", tmp_path / "none.jpg", folder / "0.png", tmp_path / "empty", "-m", graph)
    assert status == 1
    assert len(lines(out)) == 2
    assert "none.jpg: cannot be read: No such file" in err
    assert "the folder holds no pictures" in err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["-m", "GRAPH", "-f", "yolo"], 2, "--out DIR"),
        (["-m", "GRAPH", "-o", "results"], 2, "names no format"),
        (["-m", "GRAPH", "--resume"], 2, "--resume needs --out"),
        (["-m", "GRAPH", "--gt", "x.json"], 2, "--gt"),
        (["-m", "GRAPH", "--class", "dog"], 2, "no class 'dog'; it has ape, bee, cat"),
        (["-m", "GRAPH", "--size", "640"], 2, "fixed at 128 x 96"),
        (["-m", "GRAPH", "--conf", "1.5"], 2, "--conf"),
        (["-m", "missing.onnx"], 3, "no such model file"),
        (["-m", "GRAPH", "--device", "cuda"], 3, "is not there"),
        (["-m", "GRAPH", "--head", "yolov99"], 3, "no head"),
        (["-m", "GRAPH", "-o", "/dev/null/x.jsonl"], 1, "cannot write"),
    ],
)
def test_wrong_use_is_one_line_and_a_status(run, folder, graph, arguments, status, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [str(graph) if argument == "GRAPH" else argument for argument in arguments]
    found, _, err = run("yolo", folder, *arguments)
    assert found == status, err
    assert message in err
    assert "Traceback" not in err


def test_names_from_a_file(run, folder, graph, tmp_path):
    (tmp_path / "names.txt").write_text("uno\ndos\ntres\n")
    out = run("yolo", folder / "0.png", "-m", graph, "--names", tmp_path / "names.txt")[1]
    assert lines(out)[0]["detections"][0]["class"] == "tres"


def test_a_table_for_one_picture_and_a_line_for_each_of_many(run, folder, graph):
    one = run("yolo", folder / "0.png", "-m", graph, "-f", "table")[1]
    assert "0.png  128x96  2 boxes" in one
    assert "cat    0.900  10.0  20.0  50.0  60.0" in one
    many = run("yolo", folder, "-m", graph, "-f", "table")[1]
    assert "deep/5.png  128x96  1 cat, 1 ape" in many
    assert "12 boxes in 6 pictures" in many


def video(path, frames=5, rate=10):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (128, 96))
    for number in range(frames):
        writer.write(picture(number))
    writer.release()


def test_a_video_gives_a_row_a_frame_with_its_time(run, graph, tmp_path):
    video(tmp_path / "film.avi")
    records = lines(run("yolo", tmp_path / "film.avi", "-m", graph)[1])
    assert [record["frame"] for record in records] == [0, 1, 2, 3, 4]
    assert [record["time"] for record in records] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=0.02)
    assert run("yolo", tmp_path / "film.avi", "-m", graph, "-f", "yolo", "-o", tmp_path / "txt")[0] == 0
    assert (tmp_path / "txt" / "film.avi" / "000004.txt").exists()


def test_a_broken_video_is_named(run, graph, tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"not a film")
    status, out, _ = run("yolo", tmp_path / "film.mp4", "-m", graph)
    assert status == 1
    assert "not a video" in lines(out)[0]["error"]


def test_batches_give_what_single_pictures_give(run, make_graph, folder):
    rows = np.zeros((4, 300, 6), np.float32)
    rows[:, 0] = 10, 20, 50, 60, 0.9, 2
    fixed = make_graph({"output0": rows}, (4, 3, 96, 128), metadata=METADATA, file="fixed.onnx")
    records = lines(run("yolo", folder, "-m", fixed)[1])
    assert [len(record["detections"]) for record in records] == [1] * 6


def start(folder, graph, out, *options):
    return subprocess.Popen(
        [sys.executable, "-m", "detkit", "yolo", str(folder), "-m", str(graph), "-o", str(out), *options],
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.fixture
def many(tmp_path):
    for number in range(150):
        write_image(tmp_path / "many" / f"{number % 7}" / f"{number}.png", picture(number, 1280, 960))
    return tmp_path / "many"


def wait_for(path, size, process):
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if path.exists() and path.stat().st_size > size:
            return
        time.sleep(0.002)
    raise AssertionError("the run ended before it could be stopped")


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "yolo"])
def test_killed_and_resumed_equals_uninterrupted(cli, many, graph, tmp_path, kind):
    whole, cut = ((tmp_path / f"whole.{kind}", tmp_path / f"cut.{kind}") if kind != "yolo"
                  else (tmp_path / "whole", tmp_path / "cut"))  # fmt: skip
    options = ["-f", "yolo"] if kind == "yolo" else []
    assert cli("yolo", many, "-m", graph, "-o", whole, *options).returncode == 0
    journal = tmp_path / f"cut.{kind}.partial.jsonl" if kind != "yolo" else cut / ".detkit.partial.jsonl"
    process = start(many, graph, cut, *options)
    wait_for(journal, 8000, process)
    process.kill()
    process.wait()
    process.stderr.close()
    assert journal.exists()
    with open(journal, "ab") as file:
        file.write(b'{"file": "0/0.png", "wid')  # as a kill in the middle of a line leaves it
    done = cli("yolo", many, "-m", graph, "-o", cut, "--resume", *options)
    assert done.returncode == 0, done.stderr
    assert 0 < int(done.stderr.split(" of 150 inputs were done")[0].split()[-1]) < 150
    assert not journal.exists()
    if kind == "yolo":
        names = sorted(path.relative_to(whole) for path in whole.rglob("*.txt"))
        assert names == sorted(path.relative_to(cut) for path in cut.rglob("*.txt"))
        assert all((whole / name).read_bytes() == (cut / name).read_bytes() for name in names)
    else:
        assert cut.read_bytes() == whole.read_bytes()


def test_an_interrupt_says_how_to_go_on(many, graph, tmp_path):
    process = start(many, graph, tmp_path / "r.jsonl")
    wait_for(tmp_path / "r.jsonl.partial.jsonl", 3000, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"--resume goes on" in err
    assert b"Traceback" not in err
    assert (tmp_path / "r.jsonl.partial.jsonl").exists()


def test_resume_with_other_settings_is_refused(run, folder, graph, tmp_path):
    from detkit.runs.journal import Journal

    Journal(tmp_path / "r.jsonl.partial.jsonl", {"conf": 0.9}, resume=False).close()
    status, _, err = run("yolo", folder, "-m", graph, "-o", tmp_path / "r.jsonl", "--resume")
    assert status == 2
    assert "conf was 0.9 and is 0.25" in err


def test_a_repaired_file_is_read_when_a_run_goes_on(folder, tmp_path):
    from detkit.runs.journal import Journal
    from detkit.runs.sources import Item

    path = tmp_path / "j"
    journal = Journal(path, {}, resume=False)
    for name in ("a.png", "b.png"):
        assert not journal.done(Item(Path(name), name))
    journal.add({"file": "a.png", "width": 1, "height": 1, "detections": []}, True)
    journal.add({"file": "b.png", "error": "is empty"}, True)
    journal.close()
    again = Journal(path, {}, resume=True)
    assert again.done(Item(Path("a.png"), "a.png"))
    assert not again.done(Item(Path("b.png"), "b.png"))
    again.close()


@pytest.fixture
def interrupted(cli, run, folder, graph, tmp_path):
    """(journal, options, what a whole run writes): a run whose output is missing, and whose journal has everything."""
    from detkit.runs.run import Run

    def make(*options):
        out = tmp_path / "r.jsonl"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Run, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            assert run("yolo", folder, "-m", graph, "-o", out, *options)[0] == 130
        assert not out.exists()
        return out

    return make


def test_a_picture_that_was_replaced_is_read_again(run, folder, graph, interrupted):
    out = interrupted()
    one = sorted(folder.rglob("*.png"))[0]
    write_image(one, picture(77, 72, 56))
    status, _, err = run("yolo", folder, "-m", graph, "-o", out, "--resume")
    assert status == 0
    assert "done again: 1 inputs that were others than before, 0 whose" in err
    assert (72, 56) in {(line["width"], line["height"]) for line in lines(out.read_text())}


def test_another_folder_with_the_same_names_is_read(run, folder, graph, interrupted, tmp_path):
    import shutil

    out = interrupted()
    shutil.copytree(folder, tmp_path / "other")
    count = len(list(folder.rglob("*.png")))
    status, _, err = run("yolo", tmp_path / "other", "-m", graph, "-o", out, "--resume")
    assert status == 0
    assert f"done again: {count} inputs that were others" in err


def test_drawings_and_cut_outs_that_were_deleted_are_made_again(run, folder, graph, interrupted, tmp_path):
    options = ("--draw", tmp_path / "drawn", "--crops", tmp_path / "cut", "--conf", 0.1)
    out = interrupted(*options)
    made = {path: path.read_bytes() for name in ("drawn", "cut") for path in (tmp_path / name).rglob("*.*")}
    first = sorted(path for path in made if path.is_relative_to(tmp_path / "drawn"))[0]
    last = sorted(path for path in made if path.is_relative_to(tmp_path / "cut"))[-1]
    first.unlink()
    last.unlink()
    status, _, err = run("yolo", folder, "-m", graph, "-o", out, "--resume", *options)
    assert status == 0
    assert "2 whose outputs were gone" in err
    assert {path: path.read_bytes() for path in made} == made


def test_two_runs_do_not_write_one_output(run, folder, graph, tmp_path):
    from detkit.runs.journal import Journal

    other = Journal(tmp_path / "r.jsonl.partial.jsonl", {}, resume=False)
    status, _, err = run("yolo", folder, "-m", graph, "-o", tmp_path / "r.jsonl")
    assert status == 1
    assert "another run is writing it" in err
    other.close()
    assert run("yolo", folder, "-m", graph, "-o", tmp_path / "r.jsonl")[0] == 0


def test_a_full_disk_is_said_and_what_is_done_is_kept(cli, many, graph, tmp_path):
    """The file size limit of a process stands in for a full disk: both fail a write with an OSError."""
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    done = cli("yolo", many, "-m", graph, "-o", tmp_path / "r.jsonl", preexec_fn=limit, env={"NUMBA_CACHE_DIR": "/tmp"})
    assert done.returncode == 1
    assert "cannot write" in done.stderr
    assert "--resume goes on" in done.stderr
    assert "Traceback" not in done.stderr
    assert cli("yolo", many, "-m", graph, "-o", tmp_path / "r.jsonl", "--resume").returncode == 0
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 150


def test_a_closed_pipe_is_no_error(folder, graph):
    command = f"{sys.executable} -m detkit yolo {folder} -m {graph} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_help_loads_nothing_heavy_yogo_143():
    code = (
        "import sys\nsys.argv = ['detkit', '--help']\n"
        "from detkit.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = ('cv2', 'onnxruntime', 'sklearn', 'numba', 'numpy', 'matplotlib')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stderr.strip() == "[]"
    assert "yolo" in done.stdout


def test_the_first_command_of_a_small_run_loads_no_compiler(folder, graph):
    code = (
        "import sys\n"
        f"sys.argv = ['detkit', 'yolo', {str(folder / '0.png')!r}, '-m', {str(graph)!r}]\n"
        "from detkit.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('numba', 'sklearn', 'matplotlib', 'torch') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stderr.strip() == "[]"


def test_a_device_is_written_into_and_keeps_no_journal(run, folder, graph, tmp_path):
    null = tmp_path / "null"
    try:
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes device nodes")
    for kind in ("jsonl", "coco", "csv", "table"):
        assert run("yolo", folder, "-m", graph, "-f", kind, "-o", null)[0] == 0
    assert stat.S_ISCHR(null.stat().st_mode)
    assert {path.name for path in tmp_path.iterdir()} == {"in", "null", "graph.onnx"}
    assert "is no folder" in run("yolo", folder, "-m", graph, "-f", "voc", "-o", null)[2]
    status, _, err = run("yolo", folder, "-m", graph, "-f", "jsonl", "-o", null, "--resume")
    assert status == 2
    assert "--resume needs" in err


@pytest.mark.parametrize("target", ["in/0.png", "graph.onnx", "list.txt", "link.json", "gt.json", "n.txt"])
def test_no_input_is_overwritten_by_out(run, folder, graph, tmp_path, target):
    (tmp_path / "list.txt").write_text("in/0.png\n")
    (tmp_path / "gt.json").write_text("{}")
    (tmp_path / "n.txt").write_text("a\nb\nc\n")
    (tmp_path / "link.json").symlink_to(folder / "0.png")
    before = (tmp_path / target).read_bytes()
    arguments = ["-m", graph, "-f", "coco", "--gt", tmp_path / "gt.json", "-o", tmp_path / target]
    arguments += ["--names", tmp_path / "n.txt"]
    status, _, err = run("yolo", folder, f"@{tmp_path / 'list.txt'}", *arguments)
    assert status == 2, err
    assert f"--out would overwrite the input {tmp_path / target}" in err
    assert (tmp_path / target).read_bytes() == before
    assert not list(tmp_path.glob("*.partial.jsonl"))


def test_pictures_of_one_stem_are_drawn_apart(run, graph, tmp_path):
    for name in ("x.png", "x.bmp"):
        write_image(tmp_path / "in" / name, picture(1))
    cv2.imwritemulti(str(tmp_path / "in" / "x.gif"), [picture(2)])
    assert run("yolo", tmp_path / "in", "-m", graph, "--draw", tmp_path / "draw")[0] == 0
    assert sorted(path.name for path in (tmp_path / "draw").iterdir()) == ["x.bmp", "x.gif.png", "x.png"]


def test_draw_spares_every_source_and_writes_nothing_before(run, folder, graph, tmp_path):
    """The drawn picture of in/deep/5.png would replace another source, draw/deep/5.png."""
    other = tmp_path / "draw" / "deep" / "5.png"
    write_image(other, picture(8))
    before = other.read_bytes()
    sources = (folder, other)
    status, _, err = run("yolo", *sources, "-m", graph, "--draw", tmp_path / "draw", "-o", tmp_path / "r.jsonl")
    assert status == 2
    assert "--draw would overwrite the input" in err
    assert [path.read_bytes() for path in (tmp_path / "draw").rglob("*.*")] == [before]


@pytest.mark.parametrize("kind", ["voc", "yolo", "csv", "jsonl", "coco"])
def test_eval_reads_back_pictures_of_one_stem(run, make_graph, tmp_path, kind):
    """x.jpg and x.png, classes.jpg and train.jpg: no two of them are taken for one, and none for a list of names."""
    from detkit.annotations import read_ground_truth, read_predictions

    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = 10, 20, 50, 60, 0.9, 2
    graph = make_graph({"output0": rows}, metadata=METADATA)
    files = ["classes.jpg", "train.jpg", "x.jpg", "x.png"]
    for name in files:
        write_image(tmp_path / "in" / name, picture(1))
    images = [{"id": n, "file_name": name, "width": 128, "height": 96} for n, name in enumerate(files)]
    boxes = [{"id": n + 1, "image_id": n, "category_id": 3, "bbox": [10, 20, 40, 40]} for n in range(4)]
    categories = [{"id": 1 + n, "name": name} for n, name in enumerate(("ape", "bee", "cat"))]
    (tmp_path / "gt.json").write_text(
        json.dumps({"images": images, "annotations": boxes, "categories": categories})
    )  # fmt: skip
    out = tmp_path / ("found.json" if kind == "coco" else f"found.{kind}")
    ids = ["--gt", tmp_path / "gt.json"] if kind == "coco" else []
    assert run("yolo", tmp_path / "in", "-m", graph, "-f", kind, "-o", out, *ids)[0] == 0
    truth = read_ground_truth(tmp_path / "gt.json")
    found = read_predictions(out, truth)
    assert found.image_index.tolist() == [0, 1, 2, 3]
    assert found.class_index.tolist() == [2] * 4
    if kind == "yolo":
        assert (out / "classes.txt").read_text() == "ape\nbee\ncat\n"
        assert (out / "classes.jpg.txt").exists()


def test_a_truncated_video_is_named_and_its_frames_are_kept(cli, graph, tmp_path):
    video(tmp_path / "film.avi", frames=30)
    whole = (tmp_path / "film.avi").read_bytes()
    (tmp_path / "film.avi").write_bytes(whole[: len(whole) // 2])
    done = cli("yolo", tmp_path / "film.avi", "-m", graph)
    count = len(lines(done.stdout))
    assert 5 < count < 25
    assert done.returncode == 1
    assert done.stderr == (
        f"detkit: {tmp_path / 'film.avi'}: ends after {count} of 30 frames: truncated or damaged\n"
    )  # FFmpeg says nothing of its own


def test_a_pipe_named_like_a_picture_does_not_hang(run, graph, tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    os.mkfifo(tmp_path / "x.mp4")
    status, _, err = run("yolo", tmp_path, "-m", graph, "-f", "csv")
    assert status == 1
    assert err.count("is not an ordinary file") == 2


def test_a_name_that_is_no_text_is_written(run, graph, tmp_path):
    image = tmp_path / "a.png"
    write_image(image, picture(1))
    os.rename(image, os.fsencode(tmp_path) + b"/\xff.png")
    for kind in ("jsonl", "csv", "voc", "yolo", "coco"):
        status, _, err = run("yolo", tmp_path / "*.png", "-m", graph, "-f", kind, "-o", tmp_path / f"out.{kind}")
        assert status == 0, err
    assert lines((tmp_path / "out.jsonl").read_text())[0]["file"] == "\\xff.png"


def test_resume_without_a_journal_says_so(run, folder, graph, tmp_path):
    assert run("yolo", folder, "-m", graph, "-o", tmp_path / "r.jsonl")[0] == 0
    status, _, err = run("yolo", folder, "-m", graph, "-o", tmp_path / "r.jsonl", "--resume")
    assert status == 0
    assert "no run was interrupted: beginning at the first input" in err
    assert f"{tmp_path / 'r.jsonl'} will be replaced" in err


def test_a_summary_counts_in_words(run, folder, graph, tmp_path):
    err = run("yolo", folder / "0.png", tmp_path / "none.png", "-m", graph, "--max-det", 1)[2]
    assert "1 picture, 1 box in" in err


def test_drawing_over_pictures_of_another_method_is_said(run, folder, graph, tmp_path):
    first = run("yolo", folder, "-m", graph, "--draw", tmp_path / "out", "-o", tmp_path / "a.jsonl")
    assert "replaced" not in first[2]
    again = run("yolo", folder / "0.png", folder / "2.png", "-m", graph, "--draw", tmp_path / "out", "-f", "jsonl")
    assert f"{tmp_path / 'out'}: 2 of the pictures to be drawn are there already, and are replaced" in again[2]
