"""`detkit proposals`, the files it writes and reads, and the grid of windows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from detkit.boxes import iou
from detkit.errors import InputError, UsageError
from detkit.images import read_image
from detkit.proposals import Proposals
from detkit.proposals.grid import grid_proposals
from detkit.proposals.proposal_files import error_line, proposals_line, read_proposals
from detkit.proposals.proposal_pictures import COVERED, MISSED, draw_best, draw_cover
from detkit.proposals.selective_search import selective_search

ROOT = Path(__file__).parent.parent


@pytest.fixture
def here(capfd):
    """Run `detkit` in this process: exit status, stdout and stderr, without the seconds of a new one."""
    from detkit.cli import app

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            app([str(argument) for argument in arguments])
        said = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, ended.value.code, said.out, said.err)

    yield run
    cv2.setNumThreads(-1)


@pytest.fixture
def folder(tmp_path):
    """Three pictures in two folders, and annotations of one object in each of the first two."""
    pictures = tmp_path / "pictures"
    (pictures / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.jpg", "sub/c.png")):
        image = np.full((90, 120, 3), (60, 120, 90), np.uint8)
        cv2.rectangle(image, (20 + 10 * number, 15), (70 + 10 * number, 60), (30, 30, 220), cv2.FILLED)
        cv2.imwrite(str(pictures / name), image)
    entries = [{"id": 1, "file_name": "a.png", "width": 120, "height": 90}]
    entries.append({"id": 2, "file_name": "b.jpg", "width": 120, "height": 90})
    boxes = [(1, [20, 15, 51, 46]), (2, [30, 15, 51, 46])]
    annotations = [
        {"id": place, "image_id": image, "category_id": 1, "bbox": box, "area": 2346, "iscrowd": 0}
        for place, (image, box) in enumerate(boxes, 1)
    ]
    content = {"images": entries, "annotations": annotations, "categories": [{"id": 1, "name": "red"}]}
    (tmp_path / "gt.json").write_text(json.dumps(content))
    return tmp_path


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


# --- the command


def test_lines_are_those_of_the_library(cli, folder):
    done = cli("proposals", folder / "pictures", "--max", 25)
    assert done.returncode == 0
    found = lines(done.stdout)
    assert [record["file"] for record in found] == ["a.png", "b.jpg", "sub/c.png"]
    assert all(list(record) == ["file", "boxes", "scores"] for record in found)
    for record in found:
        expected = selective_search(read_image(folder / "pictures" / record["file"]), max_proposals=25)
        np.testing.assert_array_equal(np.array(record["boxes"], np.float32), expected.boxes)
        np.testing.assert_array_equal(np.array(record["scores"], np.float32), expected.scores)


def test_file_drawings_and_figures(here, folder):
    out = folder / "new" / "found.jsonl"
    done = here("proposals", folder / "pictures", "-o", out, "--draw", folder / "drawn", "--gt", folder / "gt.json")
    assert done.returncode == 0
    assert list(read_proposals(out)) == ["a.png", "b.jpg", "sub/c.png"]
    assert sorted(path.name for path in out.parent.iterdir()) == ["found.jsonl"]
    assert read_image(folder / "drawn" / "sub" / "c.png").shape == (90, 120, 3)
    assert "2 objects in 2 pictures" in done.stdout
    last = next(line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["2000"])
    assert float(last[1]) == 1.0
    assert float(last[4]) > 0.75
    assert "1 pictures are not in" in done.stderr
    drawn = read_image(folder / "drawn" / "a.png").reshape(-1, 3)
    assert (np.abs(drawn.astype(int) - COVERED).sum(axis=1) < 6).any()


def test_edge_boxes_and_grid(here, folder):
    done = here("proposals", folder / "pictures" / "a.png", "--method", "edge-boxes", "--max", 40)
    boxes = np.array(lines(done.stdout)[0]["boxes"], np.float32)
    assert 0 < len(boxes) <= 40
    assert iou(np.array([[20, 15, 71, 61]], np.float32), boxes).max() > 0.6
    done = here("proposals", folder / "pictures" / "a.png", "--method", "grid", "--max", 40, "--gt", folder / "gt.json")
    np.testing.assert_array_equal(
        np.array(lines(done.stdout)[0]["boxes"], np.float32), grid_proposals(120, 90, 40).boxes
    )
    assert "1 objects in 1 pictures" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--mode", "quality"),
        ("--ranking", "paper"),
        ("--ranking", "paper", "--seed", 3),
        ("--side", 60),
        ("--method", "edge-boxes"),
        ("--method", "edge-boxes", "--alpha", 0.8),
        ("--method", "edge-boxes", "--beta", 0.5),
        ("--method", "edge-boxes", "--eta", 0.99),
        ("--method", "edge-boxes", "--min-score", 0.1),
    ],
)
def test_every_option_changes_the_boxes(here, folder, options):
    def run(*given):
        return lines(here("proposals", folder / "pictures" / "b.jpg", *given).stdout)[0]["boxes"]

    plain = options[:2] if len(options) > 2 else ()
    assert run(*options) != run(*plain)


def test_unreadable_pictures_cost_only_themselves(here, folder):
    (folder / "pictures" / "broken.png").write_bytes(b"\x89PNG nothing")
    (folder / "pictures" / "film.mp4").write_bytes(b"no film")
    out = folder / "found.jsonl"
    done = here("proposals", folder / "pictures", folder / "missing.png", "-o", out, "--max", 5)
    assert done.returncode == 1
    records = lines(out.read_text())
    assert sum("error" in record for record in records) == 3
    assert len(read_proposals(out)) == 3
    assert all(name in done.stderr for name in ("broken.png: cannot be decoded", "film.mp4: is a video", "missing.png"))
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--edges", "x.yml"), 2, "--edges is for --method edge-boxes"),
        (("--alpha", 0.7), 2, "--alpha is for --method edge-boxes"),
        (("--method", "edge-boxes", "--mode", "quality"), 2, "--mode is for --method selective-search"),
        (("--method", "edge-boxes", "--alpha", 2), 2, "alpha lies between 0 and 1"),
        (("--method", "edge-boxes", "--edges", "missing.yml"), 3, "missing.yml: cannot be read"),
        (("--method", "edge-boxes", "--edges", "missing.onnx"), 3, "missing.onnx"),
        (("--device", "cuda"), 3, "only an .onnx edge network"),
        (("--resume",), 2, "--resume needs --out"),
        (("--gt", "missing.json"), 1, "missing.json"),
        (("--max", 0), 2, "max"),
        (("-o", "."), 2, "is a folder"),
    ],
)
def test_wrong_use_is_one_line_and_a_status(here, folder, monkeypatch, options, status, message):
    monkeypatch.chdir(folder)
    done = here("proposals", "pictures/a.png", *options)
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_source_is_not_drawn_over(here, folder):
    done = here("proposals", folder / "pictures", "--draw", folder / "pictures")
    assert done.returncode == 2
    assert "--draw would overwrite the input" in done.stderr


def test_interrupt_keeps_what_is_done_and_resume_goes_on(here, folder):
    random, pictures = np.random.default_rng(0), folder / "many"
    pictures.mkdir()
    for number in range(20):
        noise = random.integers(0, 256, (200, 260, 3)).astype(np.uint8)
        cv2.imwrite(str(pictures / f"{number:02d}.png"), cv2.GaussianBlur(noise, (0, 0), 3) * 2)
    out = folder / "found.jsonl"
    partial = folder / "found.jsonl.partial.jsonl"
    command = [sys.executable, "-m", "detkit", "proposals", str(pictures), "-o", str(out), "--max", "50"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*command, "--threads", "1"], env=environment, stderr=subprocess.PIPE, text=True)
    for _ in range(1500):
        if partial.exists() and partial.read_bytes().count(b"\n") > 2:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume goes on from there" in said
    assert not out.exists()  # half an output is none: what is done is in the journal
    kept = lines(partial.read_text())[1:]
    assert 2 <= len(kept) < 20
    refused = here("proposals", pictures, "-o", out, "--max", 60, "--resume")
    assert refused.returncode == 2
    assert "max was 50 and is 60" in refused.stderr
    resumed = here("proposals", pictures, "-o", out, "--max", 50, "--resume")
    assert resumed.returncode == 0
    assert "of 20 inputs were done already" in resumed.stderr
    assert not partial.exists()
    found = read_proposals(out)
    assert list(found) == [f"{number:02d}.png" for number in range(20)]
    np.testing.assert_array_equal(found["00.png"].boxes, np.array(kept[0]["boxes"], np.float32))


def test_help_imports_nothing_heavy(cli):
    heavy = "cv2", "onnxruntime", "numba", "sklearn"
    code = f"import sys, detkit.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
    assert "--method" in cli("proposals", "--help").stdout


# --- drawings


def test_drawings_show_boxes_and_leave_the_picture_alone():
    image = np.full((200, 300, 3), 90, np.uint8)
    boxes = np.array([[20, 20, 120, 160], [150, 40, 280, 190]], np.float32)
    found = Proposals(boxes, np.array([0.9, 0.5], np.float32))
    one, two = draw_best(image, found, 1), draw_best(image, found, 2)
    assert (image == 90).all()
    assert (one[20:160, 119:122] != 90).any()
    assert (one[40:190, 149:152] == 90).all()
    assert (two[40:190, 149:152] != 90).any()
    cover = draw_cover(image, found, np.array([[25, 20, 120, 160], [0, 0, 15, 15.0]]))
    assert (cover == COVERED).all(axis=2).any()
    assert (cover[:18, :18] == MISSED).all(axis=2).any()
    assert (draw_best(image, Proposals.empty(), 5) == image).all()
    assert (draw_cover(image, Proposals.empty(), np.zeros((0, 4))) == image).all()


# --- files


def test_files_come_back(tmp_path):
    random = np.random.default_rng(1)
    corners = random.uniform(0, 100, (7, 2))
    boxes = np.concatenate((corners, corners + 20 / 3), axis=1).astype(np.float32)
    proposals = Proposals(boxes, np.sort(random.random(7).astype(np.float32))[::-1])
    path = tmp_path / "found.jsonl"
    content = (
        proposals_line("a/b.jpg", proposals)
        + b"\n"
        + error_line("x.jpg", "no")
        + proposals_line("e", Proposals.empty())
    )
    path.write_bytes(content)
    found = read_proposals(path)
    assert list(found) == ["a/b.jpg", "e"]
    for one, other in zip(found["a/b.jpg"], proposals, strict=True):
        np.testing.assert_array_equal(one, other)
    assert found["e"].boxes.shape == (0, 4)
    path.write_text('{"file": "a", "boxes": [[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]], "scores": [1, 5, 5]}')
    assert read_proposals(path)["a"].boxes[:, 2].tolist() == [2, 3, 1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is not JSON"),
        ("[]", "line 2 has no file name"),
        ('{"file": 3}', "line 2 has no file name"),
        ('{"file": "b"}', "'boxes' must be a list"),
        ('{"file": "b", "boxes": [[1, 2, 3]], "scores": [1]}', "'boxes' must be a list"),
        ('{"file": "b", "boxes": [[1, 2, 3, 4], [1]], "scores": [1, 2]}', "'boxes' must be a list"),
        ('{"file": "b", "boxes": [[1, 2, 3, "4"]], "scores": [1]}', "'boxes' must be a list"),
        ('{"file": "b", "boxes": [[1, 2, 3, 1e99]], "scores": [1]}', "'boxes' must be a list"),
        ('{"file": "b", "boxes": [[1, 2, 3, 4]], "scores": []}', "one for each of 1 boxes"),
        ('{"file": "b", "boxes": [[1, 2, 3, 4]], "scores": [null]}', "one for each of 1 boxes"),
        ('{"file": "b", "boxes": [[5, 2, 3, 4]], "scores": [1]}', "x1 <= x2"),
        ('{"file": "a", "boxes": [], "scores": []}', "names the picture 'a' again"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, message):
    path = tmp_path / "found.jsonl"
    path.write_text('{"file": "a", "boxes": [], "scores": []}\n' + line + "\n")
    with pytest.raises(InputError, match=message.replace("[", "\\[")):
        read_proposals(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none.jsonl: cannot be read"):
        read_proposals(tmp_path / "none.jsonl")


# --- the grid


@pytest.mark.parametrize(("width", "height"), [(640, 480), (300, 301), (1000, 40)])
def test_grid_has_the_count_within_the_picture(width, height):
    for count in (1, 7, 100, 2000):
        found = grid_proposals(width, height, count)
        assert len(found.boxes) == len(np.unique(found.boxes, axis=0)) == count
        assert found.boxes[0].tolist() == [0, 0, width, height]
        assert found.boxes.min() >= 0
        assert (found.boxes <= [width, height, width, height]).all()
        assert (np.diff(found.scores) <= 1e-6).all()
        np.testing.assert_array_equal(found.boxes, grid_proposals(width, height, 2000).boxes[:count])


def test_grid_covers_every_object_of_its_sizes():
    found = grid_proposals(640, 480, 3000)
    random = np.random.default_rng(0)
    side = random.uniform(150, 300, (200, 2))
    corner = random.uniform(0, 1, (200, 2)) * ([640, 480] - side)
    assert iou(np.concatenate((corner, corner + side), axis=1), found.boxes.astype(float)).max(axis=1).min() > 0.4


def test_grid_options():
    assert len(grid_proposals(2, 2, 50).boxes) < 50
    assert (grid_proposals(640, 480, 300, alpha=0.6).boxes != grid_proposals(640, 480, 300).boxes).any()
    sides = grid_proposals(640, 480, 300, max_aspect=1).boxes[1:]
    np.testing.assert_allclose(sides[:, 2] - sides[:, 0], sides[:, 3] - sides[:, 1], rtol=1e-4)
    for wrong in ({"count": 0}, {"width": 0}, {"alpha": 1.0}, {"max_aspect": 0.5}):
        with pytest.raises(UsageError, match="grid"):
            grid_proposals(**({"width": 9, "height": 9, "count": 3} | wrong))


def test_drawings_of_pictures_with_one_stem_are_several_and_no_source(here, folder):
    """issue 10: `x.ppm` and `x.png` were drawn into one file, which was the source where it lay there."""
    pictures = folder / "same"
    pictures.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    cv2.imwrite(str(pictures / "x.ppm"), noise)
    cv2.imwrite(str(pictures / "x.png"), 255 - noise)
    source = (pictures / "x.png").read_bytes()
    refused = here("proposals", pictures, "--draw", pictures, "--max", 3)
    assert refused.returncode == 2
    assert "--draw would overwrite the input" in refused.stderr
    assert (pictures / "x.png").read_bytes() == source
    assert here("proposals", pictures, "--draw", folder / "drawn", "--max", 3).returncode == 0
    assert sorted(path.name for path in (folder / "drawn").iterdir()) == ["x.png", "x.ppm.png"]
