"""Masks, key points and turned boxes of real exports, beside what their own framework finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit import Yolo
from detkit.errors import ModelError
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
    if bare and name == "yolo26-obb":  # one column more than classes may be anything
        with pytest.raises(ModelError, match="an angle perhaps"):
            Yolo(_bare(graph, tmp_path))
        return
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


W, H = 128, 96
PICTURE = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
BOXES = np.array([[10, 20, 50, 60], [60, 10, 120, 90]], np.float32)
SCORES = np.array([0.9, 0.6], np.float32)


def _maps() -> np.ndarray:
    maps = np.zeros((2, H, W), np.float32)
    maps[0, 25:50, 12:40], maps[1, 15:80, 65:110] = 0.9, 0.7
    maps[1, 40:45] = 0.5  # not above the threshold
    return maps


@pytest.mark.parametrize("order", [("boxes", "labels", "scores", "masks"), ("masks", "boxes", "scores", "labels")])
def test_mask_rcnn(make_graph: Any, order: tuple[str, ...]) -> None:
    outputs = {"boxes": BOXES, "labels": np.array([2, 1]), "scores": SCORES, "masks": _maps()[:, None]}
    detector = Yolo(make_graph({name: outputs[name] for name in order}, (3, H, W), open_rows=order), conf=0.5)
    found = detector(PICTURE)
    assert found.masks is not None
    assert detector.head.name == "torchvision"
    assert found.class_ids.tolist() == [1, 0]
    assert np.array_equal([found.masks.decode(row) for row in (0, 1)], _maps() > 0.5)
    assert Yolo(detector.path, conf=0.7)(PICTURE).masks == found.masks[[0]]


def test_keypoint_rcnn(make_graph: Any) -> None:
    points = np.ones((2, 17, 3), np.float32)
    points[..., :2] = np.random.default_rng(1).uniform(0, 90, (2, 17, 2))
    scores = np.random.default_rng(2).uniform(-3, 6, (2, 17)).astype(np.float32)
    outputs = {
        "boxes": BOXES,
        "labels": np.array([1, 1]),
        "scores": SCORES,
        "keypoints": points,
        "keypoint_scores": scores,
    }
    found = Yolo(make_graph(outputs, (3, H, W), open_rows=tuple(outputs)), conf=0.5)(PICTURE)
    assert found.keypoints is not None
    np.testing.assert_allclose(found.keypoints[..., :2], points[..., :2])
    np.testing.assert_allclose(found.keypoints[..., 2], 1 / (1 + np.exp(-scores)), rtol=1e-5)


def test_rtmdet_ins(make_graph: Any) -> None:
    dets = np.concatenate((BOXES, SCORES[:, None]), axis=1)[None]
    outputs = {"dets": dets, "labels": np.array([[1, 0]]), "masks": _maps()[None]}
    found = Yolo(make_graph(outputs, name="input"), conf=0.5)(PICTURE)
    assert found.masks is not None
    assert np.array_equal([found.masks.decode(row) for row in (0, 1)], _maps() > 0.5)
    half = Yolo(make_graph(outputs, name="input"), conf=0.5)(PICTURE[::2, ::2])
    assert half.masks is not None
    assert half.masks.sizes.tolist() == [[H // 2, W // 2]] * 2
    assert half.masks.bounds[0].tolist() == pytest.approx([6, 12, 14, 13], abs=1)


@pytest.mark.parametrize("logits", [True, False])
def test_rfdetr_seg(make_graph: Any, logits: bool) -> None:
    boxes = np.random.default_rng(5).uniform(0.2, 0.6, (1, 100, 4)).astype(np.float32)
    boxes[0, 3] = 0.5, 0.5, 0.5, 0.5
    labels = np.full((1, 100, 91), -9, np.float32)
    labels[0, 3, 18] = 2
    maps = np.full((1, 100, H // 4, W // 4), -5, np.float32)
    maps[0, 3, 6:18, 8:24] = 5
    maps = maps if logits else 1 / (1 + np.exp(-maps))
    found = Yolo(make_graph({"dets": boxes, "labels": labels, "masks": maps}), conf=0.5)(PICTURE)
    assert found.masks is not None
    assert found.class_names == ["dog"]
    assert found.masks.bounds.tolist() == [[32, 24, 64, 48]]


def test_masks_of_prototypes_by_a_slow_loop(make_graph: Any) -> None:
    """YOLO v5's rows with mask coefficients; the picture is as large as the input, the prototypes a quarter of it."""
    rng = np.random.default_rng(3)
    cells = sum(3 * (H // stride) * (W // stride) for stride in (8, 16, 32))
    rows = np.zeros((1, cells, 5 + 3 + 32), np.float32)
    rows[..., :4] = rng.uniform(20, 60, (1, cells, 4))
    rows[..., 8:] = rng.normal(0, 1, (1, cells, 32))
    rows[0, 7, :8] = 50.3, 40.2, 33, 44, 0.9, 0.1, 0.95, 0.1
    prototypes = rng.normal(0, 1, (1, 32, H // 4, W // 4)).astype(np.float32)
    names = {"stride": "32", "names": "['ape', 'bee', 'cat']"}
    found = Yolo(make_graph({"output0": rows, "output1": prototypes}, metadata=names), conf=0.5)(PICTURE)
    assert found.masks is not None
    assert found.class_names == ["bee"]
    small = np.einsum("k,kij->ij", rows[0, 7, 8:], prototypes[0])
    x1, y1, x2, y2 = 50.3 - 16.5, 40.2 - 22, 50.3 + 16.5, 40.2 + 22
    wanted = np.zeros((H, W), bool)
    for y in range(H):
        for x in range(W):
            if x1 <= x < x2 and y1 <= y < y2:
                v, u = min(max((y + 0.5) / 4 - 0.5, 0), H // 4 - 1), min(max((x + 0.5) / 4 - 0.5, 0), W // 4 - 1)
                j, i = min(int(v), H // 4 - 2), min(int(u), W // 4 - 2)
                upper = small[j, i] * (1 - u + i) + small[j, i + 1] * (u - i)
                lower = small[j + 1, i] * (1 - u + i) + small[j + 1, i + 1] * (u - i)
                wanted[y, x] = upper * (1 - v + j) + lower * (v - j) > 0
    assert np.array_equal(found.masks.decode(0), wanted)


@pytest.mark.parametrize("task", ["segment", "obb"])
def test_a_task_that_the_outputs_do_not_show_is_refused(make_graph: Any, task: str) -> None:
    output = np.random.default_rng(0).uniform(0, 0.2, (1, 4 + 3, 252)).astype(np.float32)
    output[0, :4] += 20
    path = make_graph({"output0": output}, metadata={"task": task, "names": "['a', 'b', 'c']", "stride": "32"})
    with pytest.raises(ModelError, match=f"task '{task}'"):
        Yolo(path)
