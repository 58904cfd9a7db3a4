"""YOLO's label files in all their variants, and data.yaml."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.annotations import read_ground_truth, read_predictions, recognise
from detkit.dataset import GroundTruth
from detkit.errors import InputError
from detkit.images import write_image

RNG = np.random.default_rng(0)
# Boxes in shares, centre and size, that lie in their pictures and mostly in one half.
BOXES = np.concatenate((RNG.random((24, 2)) * 0.5 + 0.3, RNG.random((24, 2)) * 0.25 + 0.1), axis=1).round(4)
SCORES = (RNG.random(24) * 0.9 + 0.05).round(3)

Line = Callable[[int], Sequence[Any]]


def pose(dimensions: int, count: int = 5) -> Line:
    def line(k: int) -> list[Any]:
        cx, cy, w, h = BOXES[k]
        rng = np.random.default_rng(k)
        points = (rng.random((count, 2)) - 0.5) * (w, h) + (cx, cy)
        rows = [[*point, int(rng.integers(0, 3))][:dimensions] for point in points.round(4).tolist()]
        return [*BOXES[k], *(value for row in rows for value in row)]

    return line


def quad(k: int) -> list[float]:
    """A turned box whose bounds are the box: its corners in the middle of the sides."""
    cx, cy, w, h = BOXES[k]
    return [cx, cy - h / 2, cx + w / 2, cy, cx, cy + h / 2, cx - w / 2, cy]


def polygon(k: int) -> list[float]:
    cx, cy, w, h = BOXES[k]
    more = [cx, cy] * (1 + k % 4)
    return [cx - w / 2, cy, cx, cy - h / 2, cx + w / 2, cy, cx, cy + h / 2, *more]


def corners(k: int) -> list[float]:
    cx, cy, w, h = BOXES[k]
    return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]


def top_left(k: int) -> list[float]:
    return [*corners(k)[:2], *BOXES[k][2:]]


PLAIN: Line = lambda k: [*BOXES[k]]  # noqa: E731
ANNOTATIONS: dict[str, tuple[Line, str, str]] = {
    "plain": (PLAIN, "", ""),
    "pose with visibility": (pose(3), "", "boxes with key points"),
    "pose without visibility": (pose(2), "", "boxes with key points"),
    "pose of one point, by kpt_shape": (pose(3, 1), "kpt_shape: [1, 3]", "boxes with key points"),
    "pose of two points, by kpt_shape": (pose(2, 2), "kpt_shape: [2, 2]", "boxes with key points"),
    "pose of 17, by kpt_shape": (pose(3, 17), "kpt_shape: [17, 3]", "boxes with key points"),
    "turned boxes": (quad, "", "polygons or turned boxes"),
    "polygons": (polygon, "", "polygons or turned boxes"),
    "polygons and boxes": (lambda k: PLAIN(k) if k % 3 else polygon(k), "", "polygons or turned boxes"),
    "tracks": (lambda k: [*BOXES[k], k + 1], "", "class cx cy w h track"),
    "corners": (corners, "", "class x1 y1 x2 y2"),
}
DETECTIONS: dict[str, tuple[Line, str, str]] = {
    "plain": (lambda k: [*BOXES[k], SCORES[k]], "", ""),
    "score before the box": (lambda k: [SCORES[k], *BOXES[k]], "", "class score cx cy w h"),
    "score and track": (lambda k: [*BOXES[k], SCORES[k], k + 1], "", "score track"),
    "track and score": (lambda k: [*BOXES[k], k + 1, SCORES[k]], "", "track score"),
    "pose": (lambda k: [*pose(3)(k), SCORES[k]], "", "boxes with key points"),
    "pose by kpt_shape": (lambda k: [*pose(2, 3)(k), SCORES[k]], "kpt_shape: [3, 2]", "boxes with key points"),
    "pose, score and track": (lambda k: [*pose(3, 17)(k), SCORES[k], k + 1], "kpt_shape: [17, 3]", "key points"),
    "turned boxes": (lambda k: [*quad(k), SCORES[k]], "", "polygons or turned boxes"),
    "polygons": (lambda k: [*polygon(k), SCORES[k]], "", "polygons or turned boxes"),
    "corners": (lambda k: [*corners(k), SCORES[k]], "", "class x1 y1 x2 y2"),
}


def written(folder: Path, line: Line, yaml: str = "") -> Path:
    folder.mkdir()
    (folder / "sizes.csv").write_text("file,width,height\n" + "".join(f"{n}.jpg,1000,1000\n" for n in range(6)))
    (folder / "data.yaml").write_text(f"names: [cat, dog]\n{yaml}\n")
    for n in range(6):
        rows = (
            f"{k % 2} {' '.join(str(float(v)) if v % 1 else str(int(v)) for v in line(k))}" for k in range(n, 24, 6)
        )
        (folder / f"{n}.txt").write_text("\n".join(rows) + "\n")
    return folder


def expected() -> list[list[float]]:
    order = [k for n in range(6) for k in range(n, 24, 6)]
    return np.concatenate((BOXES[:, :2] - BOXES[:, 2:] / 2, BOXES[:, 2:]), axis=1)[order] * 1000  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ANNOTATIONS)
def test_kinds_of_annotations(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    line, yaml, said = ANNOTATIONS[kind]
    with caplog.at_level(logging.WARNING, "detkit"):
        truth = read_ground_truth(written(tmp_path / "labels", line, yaml))
    assert truth.categories.names == ("cat", "dog")
    np.testing.assert_allclose(truth.boxes, expected(), atol=0.2)
    assert (said in caplog.text) if said else caplog.text == ""


@pytest.mark.parametrize("kind", DETECTIONS)
def test_kinds_of_detections(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    line, yaml, said = DETECTIONS[kind]
    truth = read_ground_truth(written(tmp_path / "truth", PLAIN))
    with caplog.at_level(logging.WARNING, "detkit"):
        found = read_predictions(written(tmp_path / "labels", line, yaml), truth)
    np.testing.assert_allclose(found.boxes, expected(), atol=0.2)
    assert found.scores.tolist() == [SCORES[k] for n in range(6) for k in range(n, 24, 6)]
    assert (said in caplog.text) if said else caplog.text == ""


def test_tracks_without_scores_are_no_detections(tmp_path: Path) -> None:
    truth = read_ground_truth(written(tmp_path / "truth", PLAIN))
    with pytest.raises(InputError, match="have no scores"):
        read_predictions(written(tmp_path / "labels", lambda k: [*BOXES[k], k + 2]), truth)


def test_a_few_lines_that_may_be_poses_or_polygons_are_a_question(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "sizes.csv").write_text("file,width,height\na.jpg,100,100\n")
    (folder / "a.txt").write_text("0 0.5 0.5 0.4 0.4 0.45 0.5 0.55 0.5 0.5 0.6 0.5 0.4\n")
    with pytest.raises(InputError, match="put a data.yaml with kpt_shape"):
        read_ground_truth(folder)
    (folder / "data.yaml").write_text("names: [a]\nkpt_shape: [4, 2]\n")
    assert read_ground_truth(folder).boxes[0] == pytest.approx([30, 30, 40, 40])
    (folder / "data.yaml").write_text("names: [a]\nkpt_shape: [0, 2]\n")
    assert read_ground_truth(folder).boxes[0] == pytest.approx([40, 40, 15, 20])
    (folder / "data.yaml").write_text("names: [a]\nkpt_shape: many\n")
    with pytest.raises(InputError, match="'kpt_shape' should be two numbers"):
        read_ground_truth(folder)


def test_what_goes_beyond_the_picture_is_questioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "detkit"):
        read_ground_truth(written(tmp_path / "labels", lambda k: [0.9, 0.9, 0.5, 0.5] if k == 3 else BOXES[k]))
    assert "boxes that reach beyond their picture" in caplog.text
    assert ": 1 (first" in caplog.text


def test_scores_above_1_are_questioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth = read_ground_truth(written(tmp_path / "truth", PLAIN))
    found = written(tmp_path / "labels", lambda k: [*BOXES[k], 100 * SCORES[k]])
    with caplog.at_level(logging.WARNING, "detkit"):
        read_predictions(found, truth)
    assert "scores above 1" in caplog.text


# ------------------------------------------------------------------ data.yaml


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set with two splits; b.jpg has no label file."""
    for split, names in (("train", ("t1", "t2")), ("val", ("a", "b"))):
        for name in names:
            write_image(_made(tmp_path / "images" / split) / f"{name}.jpg", np.zeros((40, 50, 3), np.uint8))
            if name != "b":
                (_made(tmp_path / "labels" / split) / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    return tmp_path


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize(
    "text",
    [
        "path: .\ntrain: images/train\nval: images/val\nnames: [cat]\n",
        "train: images/train\nval: images/val\nnames:\n  0: cat\n",
        "train: ../images/train\nval: ../images/val\nnc: 1\nnames: ['cat']\n",  # Roboflow's
        "path: {folder}\nval: images/val\nnames: [cat]\n",
        "val: {folder}/images/val\nnames: [cat]\n",
        "train: images/train\nval: val.txt\nnames: [cat]\n",
        "val: [images/val/a.jpg, images/val/b.jpg]\nnames: [cat]\n",
        "val: [images/val]\nnames: {0: cat}\nkpt_shape: [17, 3]\n",
        "test:\nval: images/val/\ntrain: nowhere\nnames: [cat]\n",
        "# a data set\npath: ../{name}\nval: images/val\nnames: [cat]\n",
    ],
)
def test_data_yaml_is_an_argument(data: Path, text: str) -> None:
    (data / "val.txt").write_text("./images/val/a.jpg\n./images/val/b.jpg\n")
    path = data / "my data.yaml"
    path.write_text(text.replace("{folder}", str(data)).replace("{name}", data.name))
    assert recognise(path) == "yolo"
    truth = read_ground_truth(path)
    assert [Path(file).name for file in truth.images.files] == ["a.jpg", "b.jpg"]
    assert truth.boxes[0] == pytest.approx([20, 16, 10, 8])
    assert truth.categories.names == ("cat",)


def test_splits_of_a_data_yaml(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = data / "data.yaml"
    path.write_text("train: images/train\nval: images/val\nnames: [cat]\n")
    with caplog.at_level(logging.WARNING, "detkit"):
        assert len(read_ground_truth(path)) == 1
    assert "of which val is read: 1 (first: data.yaml#train is another)" in caplog.text
    assert len(read_ground_truth(f"{path}#train")) == 2
    with pytest.raises(InputError, match="has no split 'extra'; it has 'val', 'train'"):
        read_ground_truth(f"{path}#extra")
    path.write_text("train: nowhere\nnames: [cat]\n")
    with pytest.raises(InputError, match="the pictures of 'train' are not there"):
        read_ground_truth(path)
    path.write_text("train: [\nnames: [cat]\n")
    with pytest.raises(InputError, match="line"):
        read_ground_truth(path)


def test_detections_by_the_names_of_data_yaml(data: Path) -> None:
    (data / "data.yaml").write_text("val: images/val\nnames: [cat]\n")
    (data / "d.jsonl").write_text(json.dumps({
        "file": "a.jpg", "width": 50, "height": 40,
        "detections": [{"box": [20, 16, 30, 24], "score": 0.5, "class": "cat", "class_id": 0}],
    }))  # fmt: skip
    truth: GroundTruth = read_ground_truth(data / "data.yaml")
    assert len(read_predictions(data / "d.jsonl", truth)) == 1
