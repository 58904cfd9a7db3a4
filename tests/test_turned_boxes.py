"""Turned boxes: corners and back, IoU against a slow loop, ProbIoU against its formula, fast suppression."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from detkit.errors import InputError, UsageError
from detkit.shapes import turned_boxes
from detkit.shapes.turned_boxes import (
    area,
    as_turned_boxes,
    enclosing,
    fast_nms,
    from_corners,
    iou,
    prob_iou,
    regular,
    to_corners,
)


def boxes_of(seed: int, count: int, span: float = 300) -> np.ndarray:
    rng = np.random.default_rng(seed)
    sides = rng.uniform(0.5, 120, (count, 2))
    return np.column_stack((rng.uniform(0, span, (count, 2)), sides, rng.uniform(-7, 7, count)))


def slow_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Polygon clipping, one side and one corner at a time."""

    def signed(points: list) -> float:
        total = 0.0
        for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True):
            total += x1 * y2 - x2 * y1
        return total / 2

    one, other = ([tuple(point) for point in corners.tolist()] for corners in (a, b))
    one, other = (points if signed(points) > 0 else points[::-1] for points in (one, other))
    left = one
    for (x1, y1), (x2, y2) in zip(other, other[1:] + other[:1], strict=True):
        kept = []
        for start, end in zip(left, left[1:] + left[:1], strict=True):
            s = (x2 - x1) * (start[1] - y1) - (y2 - y1) * (start[0] - x1)
            e = (x2 - x1) * (end[1] - y1) - (y2 - y1) * (end[0] - x1)
            if s >= 0:
                kept.append(start)
            if s * e < 0:
                share = s / (s - e)
                kept.append((start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])))
        left = kept
        if len(left) < 3:
            return 0.0
    overlap = abs(signed(left))
    return overlap / (signed(one) + signed(other) - overlap)


def slow_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float, classes: np.ndarray) -> list[int]:
    order = sorted(range(len(boxes)), key=lambda row: (-scores[row], row))
    overlap = prob_iou(boxes, boxes)
    kept = []
    for place, row in enumerate(order):
        better = [other for other in order[:place] if classes[other] == classes[row]]
        if not any(overlap[other, row] >= threshold for other in better):
            kept.append(row)
    return kept


def test_angles_are_clockwise_in_the_picture() -> None:
    corners = to_corners([[10, 20, 6, 2, np.pi / 2]])[0]
    assert np.allclose(corners, [[9, 23], [11, 23], [11, 17], [9, 17]])


def test_corners_and_back() -> None:
    boxes = boxes_of(0, 300)
    corners = to_corners(boxes)
    assert np.allclose(to_corners(from_corners(corners)), corners, atol=1e-9)
    assert np.allclose(from_corners(corners)[:, :4], boxes[:, :4], atol=1e-9)
    assert np.allclose(area(corners), boxes[:, 2] * boxes[:, 3])
    assert from_corners(to_corners([[5, 5, 0, 4, 0.3]]))[0, 3] == pytest.approx(4)


def test_regular_boxes_are_the_same_rectangles() -> None:
    boxes = np.concatenate((boxes_of(1, 300), [[1, 2, 3, 4, -1e-20], [1, 2, 3, 4, np.pi / 2]]))
    result = regular(boxes)
    assert ((result[:, 4] >= 0) & (result[:, 4] < np.pi / 2)).all()
    assert np.allclose(np.diagonal(iou(to_corners(boxes), to_corners(result))), 1, atol=1e-7)


def test_quadrangles_become_the_smallest_rectangle() -> None:
    quadrangles = np.random.default_rng(2).uniform(0, 100, (200, 4, 2))
    boxes = from_corners(quadrangles)
    for quadrangle, box in zip(quadrangles, boxes, strict=True):
        _, (width, height), _ = cv2.minAreaRect(quadrangle.astype(np.float32))
        assert box[2] * box[3] == pytest.approx(width * height, rel=1e-4)


def test_iou_equals_the_slow_loop() -> None:
    a, b = to_corners(boxes_of(3, 60)), to_corners(boxes_of(4, 50))
    b[::2] = b[::2, ::-1]  # either direction
    expected = [[slow_iou(one, other) for other in b] for one in a]
    assert np.abs(iou(a, b) - expected).max() < 1e-12
    assert np.abs(iou(a + 1e6, b + 1e6) - expected).max() < 1e-9


def test_iou_of_a_box_with_itself_is_one() -> None:
    corners = to_corners(boxes_of(5, 200))
    assert np.array_equal(np.diagonal(iou(corners, corners)), np.ones(200))
    # mmcv #2621: a box that was said to overlap itself by a third
    odd = to_corners([[500, 500, 1e-3, 4e3, 0.3], [0, 0, 0, 5, 0]])
    assert iou(odd, odd).tolist() == [[1, 0], [0, 0]]


def test_iou_along_the_axes_is_that_of_boxes() -> None:
    corners = to_corners([[5, 5, 10, 10, 0], [10, 5, 10, 10, np.pi / 2], [15.0, 5, 10, 10, 0]])
    assert np.allclose(iou(corners, corners)[0], [1, 1 / 3, 0])
    assert np.allclose(enclosing(corners)[1], [5, 0, 15, 10])


def test_prob_iou_is_the_papers_formula() -> None:
    boxes = boxes_of(6, 40)
    values = prob_iou(boxes, boxes)
    assert np.allclose(np.diagonal(values), 1, atol=1e-7)

    def gaussian(box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        turn = np.array([[np.cos(box[4]), -np.sin(box[4])], [np.sin(box[4]), np.cos(box[4])]])
        return box[:2], turn @ np.diag(box[2:4] ** 2 / 12) @ turn.T

    for row in range(40):
        for column in range(row):
            (m1, s1), (m2, s2) = gaussian(boxes[row]), gaussian(boxes[column])
            mean = (s1 + s2) / 2
            distance = (m1 - m2) @ np.linalg.inv(mean) @ (m1 - m2) / 8
            distance += np.log(np.linalg.det(mean) / np.sqrt(np.linalg.det(s1) * np.linalg.det(s2))) / 2
            assert values[row, column] == pytest.approx(1 - np.sqrt(1 - np.exp(-distance)), abs=1e-9)


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.5, 0.7, 0.95])
@pytest.mark.parametrize("spread", ["anywhere", "clusters", "sizes"])
def test_fast_nms_equals_the_slow_loop(threshold: float, spread: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    boxes = boxes_of(8, 400, 400)
    if spread == "clusters":
        boxes = boxes[rng.integers(0, 20, 400)] + rng.normal(0, 1.5, (400, 5)) * [1, 1, 1, 1, 0.03]
        boxes[:, 2:4] = np.abs(boxes[:, 2:4])
    elif spread == "sizes":
        boxes[:, 2:4] = np.exp(rng.uniform(-2, 6, (400, 2)))
    scores, classes = rng.random(400).round(2).astype(np.float32), rng.integers(0, 3, 400)
    expected = slow_nms(boxes, scores, threshold, classes)
    assert fast_nms(boxes, scores, threshold, classes).tolist() == expected
    monkeypatch.setattr(turned_boxes, "_PAIRS_FOR_NUMPY", 0)
    assert fast_nms(boxes, scores, threshold, classes).tolist() == expected


def test_a_suppressed_box_suppresses() -> None:
    row = np.array([[0, 0, 100, 40, 0.2], [8, 0, 100, 40, 0.2], [16, 0, 100, 40, 0.2]], float)
    overlap = prob_iou(row, row)
    threshold = float(overlap[0, 1])
    assert overlap[0, 2] < threshold <= overlap[1, 2]
    assert fast_nms(row, np.array([0.9, 0.8, 0.7]), threshold).tolist() == [0]


def test_odd_boxes_stay() -> None:
    boxes = np.array([[0, 0, 10, 10, 0], [0, 0, 0, 10, 0], [np.nan, 0, 10, 10, 0], [0, 0, 10, 10, 0]])
    assert fast_nms(boxes, np.array([0.9, 0.8, 0.7, 0.6]), 0.5).tolist() == [0, 1, 2]
    assert fast_nms([], np.zeros(0), 0.5).tolist() == []
    with pytest.raises(UsageError, match="threshold"):
        fast_nms(boxes, np.zeros(4), 1.5)
    with pytest.raises(InputError, match=r"\(N, 5\)"):
        as_turned_boxes([[1, 2, 3, 4]])


@pytest.mark.parametrize(("network", "kept"), [("yolo26-obb", 86), ("yolov8-obb-nms", 67)])
def test_corners_are_the_exporters(shared, network: str, kept: int) -> None:
    answers = json.loads((shared / f"heads/{network}.json").read_text())["detections"]
    assert len(answers) == kept
    corners = to_corners([answer["xywhr"] for answer in answers])
    assert np.abs(corners - [answer["corners"] for answer in answers]).max() < 0.03  # rounded angles of far corners
    boxes, scores = np.array([answer["xywhr"] for answer in answers]), np.array([answer["score"] for answer in answers])
    assert len(fast_nms(boxes, scores, 0.7, np.array([answer["cls"] for answer in answers]))) == kept
