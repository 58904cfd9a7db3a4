"""Masks, key points and turned boxes in the formats of results."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detkit.annotations import read_ground_truth, read_predictions
from detkit.errors import UsageError
from detkit.runs.outlined_records import Outlining
from detkit.runs.run import Output
from detkit.runs.writers import WRITERS, Whole
from detkit.runs.yolo_results import data_yaml, keypoints_in, yolo_text
from detkit.shapes.masks import Masks

HEIGHT, WIDTH = 60, 80


def mask(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for _ in range(3):
        centre = int(rng.integers(0, WIDTH)), int(rng.integers(0, HEIGHT))
        cv2.circle(pixels, centre, int(rng.integers(4, 14)), 1, int(rng.integers(1, 4)))
    return pixels


def record(count: int, **more: Any) -> dict[str, Any]:
    found = []
    for n in range(count):
        masks = Masks.from_dense([mask(n)])
        box = masks.boxes[0].tolist()
        found.append({"box": box, "score": 0.9 - n / 100, "class": "cat", "class_id": 0, **more, **(
            {} if more else {"mask": masks.to_coco()[0]})})  # fmt: skip
    return {"file": "1.png", "width": WIDTH, "height": HEIGHT, "detections": found}


@pytest.fixture
def truth(tmp_path: Path) -> Any:
    masks = Masks.from_dense([mask(n) for n in range(8)])
    content = {
        "images": [{"id": 1, "file_name": "1.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": n + 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": int(masks.areas[n]),
             "bbox": masks.bounds[n].tolist(), "segmentation": one, "keypoints": [n, 5, 2, 7, 8, 2, 9, 9, 1]}
            for n, one in enumerate(masks.to_coco())
        ],
    }  # fmt: skip
    (tmp_path / "truth.json").write_text(json.dumps(content))
    return tmp_path / "truth.json"


def test_yolo_holds_masks_as_one_ring_each(truth: Path, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "1.txt").write_bytes(yolo_text(record(8)))
    (folder / "classes.txt").write_text("cat\n")
    table = read_ground_truth(truth, shapes="masks")
    found = read_predictions(folder, table, "yolo-seg", shapes="masks")
    assert found.shapes.masks is not None
    for row in range(8):
        assert np.array_equal(found.shapes.masks.decode(row), mask(row))
    assert found.scores.tolist() == pytest.approx([0.9 - n / 100 for n in range(8)])


def test_yolo_holds_key_points_and_says_how_many(truth: Path, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    points = [[10.0, 20.0, 0.75], [30.0, 40.5, 0.5], [0.0, 0.0, 0.01]]
    one = record(5, keypoints=points)
    (folder / "1.txt").write_bytes(yolo_text(one))
    assert keypoints_in(one) == 3
    (folder / "data.yaml").write_bytes(data_yaml(["cat"], 3))
    table = read_ground_truth(truth, shapes="keypoints")
    found = read_predictions(folder, table, shapes="keypoints")
    assert found.shapes.keypoints is not None
    np.testing.assert_allclose(found.shapes.keypoints, [points] * 5, atol=1e-6)


def test_yolo_holds_turned_boxes(truth: Path, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    corners = [[20.0, 5.0], [40.0, 15.0], [35.0, 25.0], [15.0, 15.0]]
    (folder / "1.txt").write_bytes(yolo_text(record(5, corners=corners)))
    (folder / "classes.txt").write_text("cat\n")
    found = read_predictions(folder, read_ground_truth(truth), shapes="corners")
    assert found.shapes.corners is not None
    np.testing.assert_allclose(found.shapes.corners, [corners] * 5, atol=1e-6)


@pytest.mark.parametrize("tolerance", [0.0, 1.0])
def test_polygons_in_place_of_masks(truth: Path, tmp_path: Path, tolerance: float) -> None:
    outlining = Outlining(tolerance)
    made = outlining.of(record(8))
    for name, ending in (("coco", "json"), ("jsonl", "jsonl")):
        write = WRITERS[name].write
        assert write is not None
        stream = io.BytesIO()
        list(write(stream, [made], Whole(["cat"])))
        (tmp_path / f"found.{ending}").write_bytes(stream.getvalue())
        table = read_ground_truth(truth, shapes="masks")
        found = read_predictions(tmp_path / f"found.{ending}", table, shapes="masks")
        assert found.shapes.masks is not None
        for row in range(8):
            one, other = found.shapes.masks.decode(row), mask(row) > 0
            assert (one & other).sum() / (one | other).sum() == outlining.iou[row]
    assert outlining.told().startswith("8 masks became polygons; drawn again")
    assert ("the same pixel by pixel" in outlining.told()) == (tolerance == 0)
    assert Outlining().of({"file": "b", "detections": []}) == {"file": "b", "detections": []}


def test_polygons_are_for_formats_that_have_a_choice() -> None:
    with pytest.raises(UsageError, match="--polygons is for --format jsonl and coco"):
        Output(None, "csv", polygons=Outlining()).writer()
