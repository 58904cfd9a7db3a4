"""`detkit convert` and the formats with masks, polygons, key points and turned boxes, there and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from detkit.annotations import read_ground_truth, read_predictions
from detkit.cli import app
from detkit.shapes.masks import Masks
from detkit.shapes.shape_columns import ALL_SHAPES

HEIGHT, WIDTH = 60, 80
SQUARE = [10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]
TRIANGLE = [40.5, 5.25, 70.0, 20.5, 45.25, 33.0]
TWO_PARTS = [[2.0, 40.0, 12.0, 40.0, 12.0, 55.0], [60.0, 40.0, 78.0, 42.0, 70.0, 58.0]]


def ring_mask() -> np.ndarray:
    """A ring with a hole, and a pixel that touches nothing."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(mask, (40, 45), 11, 1, 4)
    mask[5, 75] = 1
    return mask


def document(**more: Any) -> dict[str, Any]:
    rle = Masks.from_dense([ring_mask()]).to_coco()[0]
    rows: list[dict[str, Any]] = [
        {"category_id": 1, "segmentation": [SQUARE], "bbox": [10, 10, 20, 20]},
        {"category_id": 2, "segmentation": [TRIANGLE], "bbox": [40.5, 5.25, 29.5, 27.75]},
        {"category_id": 2, "segmentation": TWO_PARTS, "bbox": [2, 40, 76, 18]},
        {"category_id": 1, "segmentation": rle, "bbox": [28, 5, 48, 53], "iscrowd": 1},
        {"category_id": 1, "segmentation": [], "bbox": [1, 2, 3, 4]},
    ]
    rows[0] |= {"keypoints": [12, 12, 2, 0, 0, 0, 20.5, 25, 1], "num_keypoints": 2}
    annotations = [
        {"id": n + 1, "image_id": 7, "iscrowd": 0, "area": row["bbox"][2] * row["bbox"][3], **row}
        for n, row in enumerate(rows)
    ]
    return {
        "images": [{"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [
            {"id": 1, "name": "person", "keypoints": ["nose", "hip", "toe"], "skeleton": [[1, 2], [2, 3]]},
            {"id": 2, "name": "dog"},
        ],
        "annotations": annotations,
        **more,
    }


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(document()))
    return path


def convert(source: Path, target: Path, to: str, *more: str) -> list[str]:
    result = CliRunner().invoke(app, ["convert", str(source), str(target), "--to", to, *more])
    assert result.exit_code == 0, result.output
    return result.stderr.splitlines()


def masks(path: Path, **more: Any) -> list[np.ndarray]:
    table = read_ground_truth(path, shapes="masks", **more)
    assert table.shapes.masks is not None
    return [table.shapes.masks.decode(row) for row in range(len(table))]


def test_coco_keeps_every_shape(coco: Path, tmp_path: Path) -> None:
    said = convert(coco, tmp_path / "again.json", "coco")
    assert said == [f"{tmp_path / 'again.json'}: 5 boxes of 2 classes in 1 image, from coco to coco"]
    again, before = json.loads((tmp_path / "again.json").read_text()), document()
    for one, other in zip(again["annotations"], before["annotations"], strict=True):
        for key in other:
            assert one[key] == other[key], key
    assert again["categories"][0]["keypoints"] == ["nose", "hip", "toe"]
    assert again["categories"][0]["skeleton"] == [[1, 2], [2, 3]]
    assert "keypoints" not in again["categories"][1]


def test_our_lines_keep_every_shape_but_skeletons(coco: Path, tmp_path: Path) -> None:
    said = convert(coco, tmp_path / "a.jsonl", "jsonl")
    assert said[0] == ("lost: JSON Lines has no names of key points and no skeletons: those of 1 class are lost.")
    convert(tmp_path / "a.jsonl", tmp_path / "again.json", "coco")
    again = json.loads((tmp_path / "again.json").read_text())
    for one, other in zip(again["annotations"], document()["annotations"], strict=True):
        assert one["segmentation"] == other["segmentation"]
        assert one.get("keypoints") == other.get("keypoints")


def test_polygons_on_request_draw_the_same_mask(coco: Path, tmp_path: Path) -> None:
    said = convert(coco, tmp_path / "again.json", "coco", "--polygons")
    assert said[0] == "1 mask became polygons; drawn again they are the same pixel by pixel (IoU 1)."
    again = json.loads((tmp_path / "again.json").read_text())
    assert len(again["annotations"][3]["segmentation"]) == 2
    reference = pytest.importorskip("pycocotools.mask")
    rings = reference.frPyObjects(again["annotations"][3]["segmentation"], HEIGHT, WIDTH)
    assert np.array_equal(reference.decode(reference.merge(rings)), ring_mask())
    for one, other in zip(masks(tmp_path / "again.json"), masks(coco), strict=True):
        assert np.array_equal(one, other)


def test_fewer_points_cost_what_is_said(coco: Path, tmp_path: Path) -> None:
    said = convert(coco, tmp_path / "again.json", "coco", "--polygons", "--simplify", "1.5")
    assert said[0].startswith("lost: 1 mask became polygons; drawn again they have an IoU of 0.")
    one, other = masks(tmp_path / "again.json")[3], ring_mask() > 0
    iou = (one & other).sum() / (one | other).sum()
    assert f"{iou:.4f} in the mean, {iou:.4f} at worst" in said[0]
    result = CliRunner().invoke(app, ["convert", str(coco), str(tmp_path / "x.csv"), "--to", "csv", "--polygons"])
    assert result.exit_code == 2


def test_broken_rings_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = document()
    content["annotations"][0]["segmentation"] = [[1, 2, 3, 4], SQUARE]
    (tmp_path / "truth.json").write_text(json.dumps(content))
    table = read_ground_truth(tmp_path / "truth.json", shapes=ALL_SHAPES)
    assert table.shapes.polygons is not None
    assert table.shapes.polygons.lists()[0] == [SQUARE]
    assert "rings that are not at least three points" in caplog.text


def test_results_with_polygons_are_drawn_in_the_true_pictures(coco: Path, tmp_path: Path) -> None:
    results = [
        {"image_id": 7, "category_id": 2, "segmentation": [TRIANGLE], "score": 0.9},
        {"image_id": 7, "category_id": 1, "segmentation": document()["annotations"][3]["segmentation"], "score": 0.5},
        {"image_id": 7, "category_id": 2, "segmentation": TWO_PARTS, "score": 0.4},
    ]
    path = tmp_path / "found.json"
    path.write_text(json.dumps(results))
    truth = read_ground_truth(coco, shapes="masks")
    found = read_predictions(path, truth, shapes="masks")
    assert truth.shapes.masks is not None
    assert found.shapes.masks == truth.shapes.masks[[1, 3, 2]]
    result = CliRunner().invoke(
        app, ["eval", str(path), str(coco), "--iou-type", "segm", "--class", "dog", "--json", "-"]
    )
    assert json.loads(result.stdout)["figures"]["AP"] == pytest.approx(1)


def test_no_results_at_all_are_no_error(coco: Path, tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text("[]")
    for kind in ("segm", "boundary"):
        result = CliRunner().invoke(app, ["eval", str(tmp_path / "found.json"), str(coco), "--iou-type", kind])
        assert result.exit_code == 0, result.output
