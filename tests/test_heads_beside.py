"""Masks, key points and turned boxes of real exports, beside what their own framework finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit import Yolo
from detkit.shapes.masks import Masks, pair_iou

SHARED = Path(__file__).parents[2] / "shared"
NAMES = ("yolov8-seg", "yolo26-seg-e2e", "yolov8-pose-nms", "yolo26-pose", "yolov8-obb-nms", "yolo26-obb")


def _bare(path: Path, folder: Path) -> Path:
    """The graph without its metadata."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, folder / path.name)
    return folder / path.name


@pytest.mark.parametrize("bare", [False, True], ids=["metadata", "bare"])
@pytest.mark.parametrize("name", NAMES)
def test_all_is_what_ultralytics_finds(name: str, bare: bool, tmp_path: Path) -> None:
    graph = SHARED / "heads" / f"{name}.onnx"
    if not graph.is_file():
        pytest.skip("needs ../shared")
    expected = json.loads(graph.with_suffix(".json").read_text())
    image = SHARED / "data/coco128/images" / expected["image"]
    settings: dict[str, Any] = {"conf": expected["conf"], "iou": expected["iou"], "max_det": expected["max_det"]}
    detector = Yolo(_bare(graph, tmp_path) if bare else graph, size=expected["imgsz"], **settings)
    found = detector(image)
    rows = expected.get("detections_native", expected["detections"])
    assert found.class_ids.tolist() == [row["cls"] for row in rows]
    np.testing.assert_allclose(found.scores, [row["score"] for row in rows], atol=2e-4)
    if "corners" in rows[0]:
        assert found.corners is not None
        wanted = np.array([row["corners"] for row in rows])
        # the same rectangle may begin at any corner
        off = np.abs(found.corners[:, None] - np.stack([np.roll(wanted, k, 1) for k in range(4)], 1)).max(axis=(2, 3))
        assert off.min(axis=1).max() < 0.01
        enclosing = np.concatenate((wanted.min(axis=1), wanted.max(axis=1)), axis=1)
        np.testing.assert_allclose(found.boxes, np.clip(enclosing, 0, (640, 426) * 2), atol=0.01)
        return
    np.testing.assert_allclose(found.boxes, [row["box"] for row in rows], atol=0.01)
    if "keypoints" in rows[0]:
        assert found.keypoints is not None
        wanted = np.array([row["keypoints"] for row in rows])
        assert np.abs(found.keypoints[..., :2] - wanted[..., :2]).max() < 0.01
        assert np.abs(found.keypoints[..., 2] - wanted[..., 2]).max() < 1e-3
    else:
        assert found.masks is not None
        masks = Masks.from_coco([row["mask"] for row in rows], found.masks.sizes)
        same = np.arange(len(rows))
        assert pair_iou(found.masks, masks, same, same).min() >= 0.999
