"""Figures of masks, boundaries, key points and turned boxes, equal to those of other programs."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.errors import InputError, UsageError
from detkit.metrics import keypoints
from detkit.metrics.iou_types import OVERLAPS, Side
from detkit.metrics.mask_overlaps import boundary_pairs, mask_pairs
from detkit.metrics.turned_overlaps import turned_pairs
from detkit.shapes.masks import Masks, mask_iou
from detkit.shapes.shape_columns import Shapes
from detkit.shapes.turned_boxes import area, iou, to_corners

TESTS = Path(__file__).parent


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sets = _module(TESTS / "shape_sets.py")


def reference(truth: dict[str, Any], found: list[dict[str, Any]], kind: str) -> list[float]:
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):
        data = coco.COCO()
        data.dataset = copy.deepcopy(truth)
        data.createIndex()
        evaluation = cocoeval.COCOeval(data, data.loadRes(copy.deepcopy(found)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats]


@pytest.mark.parametrize("seed", range(40))
def test_segm_equals_pycocotools(seed: int) -> None:
    truth, found = sets.mask_set(seed)
    assert list(sets.figures(truth, found, "segm").values()) == reference(truth, found, "segm")


@pytest.mark.parametrize("seed", range(30))
def test_keypoints_equal_pycocotools(seed: int) -> None:
    truth, found = sets.keypoint_set(seed)
    assert list(sets.figures(truth, found, "keypoints").values()) == reference(truth, found, "keypoints")


def test_boundaries_equal_faster_coco_eval() -> None:
    cases = json.loads((TESTS / "data/segmentation_golden.json").read_text())["boundary"]
    assert any(row["iscrowd"] for case in cases for row in case["truth"]["annotations"])
    for case in cases:
        figures = list(sets.figures(case["truth"], case["found"], "boundary").values())
        assert figures == pytest.approx(case["figures"], abs=1e-15)  # it sums its means in another order


def test_names_of_the_figures() -> None:
    names = {name: [figure.name for figure in overlap.figures] for name, overlap in OVERLAPS.items()}
    assert names["segm"] == ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
    assert names["keypoints"] == ["AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"]
    assert names["bbox"] == names["boundary"] == names["obb"] == names["segm"]


def test_mask_pairs_keep_the_order_of_rows() -> None:
    rng = np.random.default_rng(0)
    masks, truth = (Masks.from_dense(rng.random((count, 9, 9)) < 0.6) for count in (12, 7))
    rows, truth_rows = rng.permutation(12)[:8], rng.permutation(7)[:5]
    cells, truth_cells = rng.integers(0, 2, 8), rng.integers(0, 2, 5)
    crowd = np.array([True, False, False, True, False])
    pairs = mask_pairs(cells, masks, truth_cells, truth, crowd, 0.4, rows=(rows, truth_rows))
    matrix = mask_iou(masks[rows], truth[truth_rows], crowd)
    expected = [
        (d, t, matrix[d, t]) for d in range(8) for t in range(5) if cells[d] == truth_cells[t] and matrix[d, t] >= 0.4
    ]
    assert list(zip(pairs.detection, pairs.truth, pairs.iou, strict=True)) == expected


def test_a_crowds_boundary_is_not_compared() -> None:
    big = np.zeros((100, 100), bool)
    big[10:90, 10:90] = True
    small = np.zeros_like(big)
    small[30:60, 30:60] = True
    one, other = Masks.from_dense([small]), Masks.from_dense([big])
    cell = np.zeros(1, np.int64)
    assert boundary_pairs(cell, one, cell, other, np.array([True]), 0.5).iou.tolist() == [1.0]
    assert len(boundary_pairs(cell, one, cell, other, np.array([False]), 0.01)) == 0  # the outlines do not meet


def test_turned_pairs_divide_by_the_detection_for_a_crowd() -> None:
    found, truth = to_corners([[50, 50, 20, 10, 0.5]]), to_corners([[50, 50, 80, 60, 0.1], [52, 50, 20, 10, 0.5]])
    pairs = turned_pairs(np.zeros(1, np.int64), found, np.zeros(2, np.int64), truth, np.array([True, False]), 0.1)
    assert pairs.iou == pytest.approx([1.0, iou(found, truth)[0, 1]])


def test_turned_boxes_of_no_angle_have_the_figures_of_boxes() -> None:
    rng = np.random.default_rng(1)
    xywh = np.column_stack((rng.uniform(0, 50, (40, 2)), rng.uniform(5, 30, (40, 2))))
    centred = np.column_stack((xywh[:, :2] + xywh[:, 2:] / 2, xywh[:, 2:], np.zeros(40)))
    corners = to_corners(centred)
    sides = [
        Side(np.zeros(20, np.int64), rows, xywh, xywh[:, 2] * xywh[:, 3], Shapes(corners=corners))
        for rows in (np.arange(20), np.arange(20, 40))
    ]
    crowd = rng.random(20) < 0.2
    boxes, turned = (OVERLAPS[name].pairs(*sides, crowd, 0.1) for name in ("bbox", "obb"))
    assert np.array_equal(boxes.detection, turned.detection)
    assert np.array_equal(boxes.truth, turned.truth)
    assert boxes.iou == pytest.approx(turned.iou, abs=1e-12)
    assert OVERLAPS["obb"].found_areas(xywh, Shapes(corners=corners)) == pytest.approx(area(corners))


def test_oks_of_unlabelled_points_is_the_distance_to_the_doubled_box() -> None:
    found = np.tile([35.0, 0.0], (1, 17, 1))  # 5 to the right of a box made three times as wide
    targets = keypoints.Targets(np.zeros((1, 17, 3)), np.array([[10.0, 0, 10, 10]]), np.array([60.0]))
    expected = np.exp(-25 / (2 * 60 * (2 * keypoints.PERSON_SIGMAS) ** 2)).mean()
    assert keypoints.oks(found, targets, keypoints.PERSON_SIGMAS) == pytest.approx([expected])


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InputError, match="the results hold no key points"):
        OVERLAPS["keypoints"].check(Shapes(), "the results")
    with pytest.raises(UsageError, match="21 key points"):
        keypoints.sigmas_of(21)
    with pytest.raises(InputError, match="one length"):
        Shapes(masks=Masks.empty(), areas=np.zeros(2))
    with pytest.raises(InputError, match=r"corners must have shape \(N, 4, 2\)"):
        Shapes(corners=np.zeros((2, 4)))


def test_areas_that_decide_ranges() -> None:
    masks = Masks.from_dense([np.ones((4, 5))])
    boxes = np.array([[0.0, 0, 3, 3]])
    assert OVERLAPS["segm"].found_areas(boxes, Shapes(masks=masks)).tolist() == [20]
    assert OVERLAPS["bbox"].found_areas(boxes, Shapes(masks=masks)).tolist() == [9]
    assert OVERLAPS["segm"].found_areas(boxes, Shapes(masks=masks, areas=np.array([9.0]))).tolist() == [9]
    points = np.array([[[1.0, 2, 1], [5, 8, 1]]])
    assert OVERLAPS["keypoints"].found_areas(boxes, Shapes(keypoints=points)).tolist() == [24]
