"""Pascal VOC's figures against a straightforward implementation that loops as the paper tells it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detkit.dataset import Categories, GroundTruth, Images, Predictions
from detkit.metrics.voc import evaluate_voc


def made(seed: int, grid: int = 6, skipped: float = 0.25) -> tuple[GroundTruth, Predictions]:
    """A few images of boxes on a coarse grid: overlaps and scores tie."""
    rng = np.random.default_rng(seed)
    images, classes = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    m, d = int(rng.integers(0, 14)), int(rng.integers(0, 25))

    def boxes(count: int) -> Any:
        return np.concatenate((rng.integers(0, grid, (count, 2)), rng.integers(1, grid, (count, 2))), axis=1) * 4.0

    def flags() -> Any:
        return rng.random(m) < skipped

    zeros = np.zeros(images, dtype=np.int64)
    truth_boxes = boxes(m)
    truth = GroundTruth(
        Images(tuple(range(images)), ("",) * images, zeros, zeros),
        Categories(tuple("abc"[:classes]), tuple(range(classes))),
        rng.integers(0, images, m),
        rng.integers(0, classes, m),
        truth_boxes,
        truth_boxes[:, 2] * truth_boxes[:, 3],
        np.zeros(m, dtype=bool),
        flags(),
        flags() & (rng.random() < 0.3),
        np.zeros(m, dtype=bool),
        np.zeros(m, dtype=bool),
        tuple(range(1, m + 1)),
    )
    scores = rng.random(d) if rng.random() < 0.5 else rng.integers(0, 5, d) / 4
    return truth, Predictions(rng.integers(0, images, d), rng.integers(0, classes, d), boxes(d), scores)


def overlap(a: Any, b: Any, extra: float) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]) + extra
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]) + extra
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] + extra) * (a[3] + extra) + (b[2] + extra) * (b[3] + extra) - both)


def plain_ap(truth: GroundTruth, found: Predictions, k: int, iou: float, eleven: bool, extra: float = 0.0) -> float:
    """AP of class k: one loop over detections, one over boxes, then the curve point by point."""
    skipped = truth.difficult | truth.ignore | truth.crowd
    mine: dict[int, list[int]] = {}
    for g in np.flatnonzero(truth.class_index == k).tolist():
        mine.setdefault(int(truth.image_index[g]), []).append(g)
    total = sum(not skipped[g] for boxes in mine.values() for g in boxes)
    if total == 0:
        return -1.0
    order = sorted(
        np.flatnonzero(found.class_index == k).tolist(),
        key=lambda d: (-found.scores[d], found.image_index[d], d),
    )
    taken: set[int] = set()
    hits, falses, precisions, recalls = 0, 0, [], []
    for d in order:
        best, best_iou = -1, -1.0
        for g in mine.get(int(found.image_index[d]), []):
            value = overlap(found.boxes[d], truth.boxes[g], extra)
            if value > best_iou:
                best, best_iou = g, value
        if best_iou >= iou:
            if skipped[best]:
                continue
            if best in taken:
                falses += 1
            else:
                hits += 1
                taken.add(best)
        else:
            falses += 1
        precisions.append(hits / (hits + falses))
        recalls.append(hits / total)
    if eleven:
        points = [max([p for p, r in zip(precisions, recalls, strict=True) if r >= t / 10], default=0.0)
                  for t in range(11)]  # fmt: skip
        return sum(points) / 11
    area, best, after = 0.0, 0.0, None
    for precision, recall in zip(reversed(precisions), reversed(recalls), strict=True):  # from the right
        if after is not None:
            area += (after - recall) * best
        best, after = max(best, precision), recall
    return area + (after or 0.0) * best


@settings(max_examples=500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**32 - 1),
    iou=st.sampled_from([0.1, 0.3, 0.5, 0.75]),
    eleven=st.booleans(),
    inclusive=st.booleans(),
)
def test_equals_the_plain_loop(seed: int, iou: float, eleven: bool, inclusive: bool) -> None:
    truth, found = made(seed)
    result = evaluate_voc(truth, found, iou, eleven_points=eleven, inclusive=inclusive)
    expected = [plain_ap(truth, found, k, iou, eleven, 1.0 if inclusive else 0.0) for k in range(len(truth.categories))]
    assert result.average_precision == pytest.approx(expected, abs=1e-12)
    defined = [ap for ap in expected if ap >= 0]
    assert result.figures["AP"] == pytest.approx(np.mean(defined) if defined else -1.0, abs=1e-12)


def one(boxes: Any, detections: Any, scores: Any, difficult: Any = None) -> tuple[GroundTruth, Predictions]:
    boxes, detections = np.array(boxes, dtype=float), np.array(detections, dtype=float)
    m, d = len(boxes), len(detections)
    no, zeros = np.zeros(m, dtype=bool), np.zeros(1, dtype=np.int64)
    truth = GroundTruth(
        Images((1,), ("",), zeros, zeros), Categories(("a",), (1,)), np.zeros(m, np.int64), np.zeros(m, np.int64),
        boxes, boxes[:, 2] * boxes[:, 3], no, no if difficult is None else np.array(difficult), no, no, no,
    )  # fmt: skip
    return truth, Predictions(np.zeros(d, np.int64), np.zeros(d, np.int64), detections, np.array(scores, float))


def test_a_detection_stays_with_the_box_it_overlaps_most() -> None:
    """COCO would let the second detection have the second box; VOC counts it as a double of the first."""
    truth, found = one([[0, 0, 10, 10], [3, 0, 10, 10]], [[0, 0, 10, 10], [1, 0, 10, 10]], [0.9, 0.8])
    result = evaluate_voc(truth, found, 0.5)
    assert result.outcomes.hit.tolist() == [True, False]
    from detkit.metrics.outcomes import coco_outcomes

    assert coco_outcomes(truth, found, 0.5).hit.tolist() == [True, True]


def test_difficult_boxes_count_neither_way() -> None:
    truth, found = one([[0, 0, 10, 10], [50, 50, 10, 10]], [[0, 0, 10, 10], [50, 50, 10, 10]], [0.9, 0.8],
                       [True, False])  # fmt: skip
    assert evaluate_voc(truth, found).figures["AP"] == 1.0


def test_inclusive_pixels_make_small_boxes_overlap_more() -> None:
    truth, found = one([[0, 0, 2, 2]], [[1, 0, 2, 2]], [0.9])  # 2 of 6 square pixels, or 6 of 12 with the edges
    assert evaluate_voc(truth, found, 0.5).figures["AP"] == 0.0
    assert evaluate_voc(truth, found, 0.5, inclusive=True).figures["AP"] == 1.0
