"""Heads that predict at every cell of a grid without anchors: YOLO v6, v8, v9 and after, YOLOX, NanoDet, YOLO-NAS.

Every function decodes one picture of a batch: outputs, index, frame -> Candidates in input pixels.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats, cxcywh_to_xyxy, distances_to_xyxy
from detkit.detectors.yolo.heads import level_grids
from detkit.detectors.yolo.heads.evidence import check_highest, check_scores, whole_classes
from detkit.detectors.yolo.heads.types import Candidates, Frame, Outputs

Indices = NDArray[np.int64]


def by_score(scores: Floats, frame: Frame) -> tuple[Indices, Indices, Floats]:
    """Rows, classes and scores of the entries of `scores` (N, C) that count: above `conf`, all or the best of a row.

    Logits, where the layout says so, get their sigmoid. UnsoundError for scores that are no probabilities.
    """
    logits = frame.layout.logits
    conf = _logit(frame.conf) if logits else frame.conf
    if frame.multi_label:
        highest = float(scores.max(initial=-np.inf))
        rows, class_ids = np.nonzero(scores > conf)
    else:
        best = scores.max(axis=1, initial=-np.inf)
        highest = float(best.max(initial=-np.inf))
        rows = np.flatnonzero(best > conf)
        class_ids = scores[rows].argmax(axis=1) if len(rows) else rows
    check_highest(min(highest, 1) if logits and highest < np.inf else highest)
    kept = scores[rows, class_ids]
    return rows, class_ids, sigmoid(kept) if logits else kept


def _logit(share: float) -> float:
    """The number whose sigmoid is `share`."""
    if not 0 < share < 1:
        return -math.inf if share <= 0 else math.inf
    return math.log(share / (1 - share))


def by_class(boxes: Floats, scores: Floats, frame: Frame) -> Candidates:
    """Boxes (N, 4) xyxy with the classes that count among their scores (N, C)."""
    rows, class_ids, kept = by_score(scores, frame)
    return Candidates(boxes[rows], kept, class_ids)


def softmax(logits: Floats) -> Floats:
    """Softmax over the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    return np.exp(-np.logaddexp(0, -logits))


def decode_yolov8(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """(B, 4 + C, N): cx, cy, w, h in input pixels, class probabilities. Ultralytics v3u, v5u, v8 on; WongKinYiu v9."""
    return _by_columns(outputs[0][index], frame, corners=False)


def decode_yolov9_xyxy(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """(B, 4 + C, N) as v8, but the boxes are x1, y1, x2, y2: libreyolo's export of v9."""
    return _by_columns(outputs[0][index], frame, corners=True)


def decode_objectness(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """(B, N, 5 + C): cx, cy, w, h in input pixels, objectness, class probabilities; score = objectness * class.

    YOLO v5 and v7 with their grid inside the graph, v6 (whose objectness is 1), YOLOX exported decoded.
    """
    _, found = _objects(outputs[0][index], frame)
    return replace(found, boxes=cxcywh_to_xyxy(found.boxes))


def decode_yolox(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """(B, N, 5 + C), raw: xy = (p + grid) * stride, wh = exp(p) * stride (Ge et al. 2021, sec. 2.1).

    Objectness and classes have their sigmoid already; score = objectness * class.
    """
    prediction = outputs[0][index]
    strides = frame.strides or level_grids.of_rows(frame.size, len(prediction))
    cells, found = _objects(prediction, frame)
    points, steps = (array[cells] for array in level_grids.points(frame.size, strides))
    centres = (found.boxes[:, :2] + points) * steps
    sides = np.exp(found.boxes[:, 2:]) * steps
    return replace(found, boxes=cxcywh_to_xyxy(np.concatenate((centres, sides), axis=1)))


def decode_nanodet(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """Per stride: classes (B, n, C) with sigmoid done, and box distributions (B, n, 4 * bins).

    A side's distance from the cell centre is the mean of its softmax over the bins 0, 1, ... times the stride
    (generalised focal loss, Li et al. 2020, eq. 5).
    """
    half = len(outputs) // 2
    levels = [output[index] for output in outputs]
    classes = np.concatenate(levels[:half])
    strides = frame.strides or level_grids.of_rows(frame.size, len(classes))
    distributions = np.concatenate(levels[half:])
    return _distributed(classes, distributions, frame, strides, offset=0.5)


def decode_nanodet_plus(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """(B, N, C + 32): NanoDet-Plus, all levels in one output, strides 8 to 64, points at the cells' corners."""
    prediction = outputs[0][index]
    strides = frame.strides or level_grids.of_rows(frame.size, len(prediction))
    return _distributed(prediction[:, :-32], prediction[:, -32:], frame, strides, offset=0.0)


def decode_separate(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """Boxes (B, N, 4) xyxy in input pixels and scores (B, N, C) or (B, C, N): YOLO-NAS, DAMO-YOLO, PP-YOLOE, no NMS."""
    boxes, scores = outputs[0][index], outputs[1][index]
    return by_class(boxes, scores if len(scores) == len(boxes) else scores.T, frame)


def decode_rows(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """(B, N, 6): x1, y1, x2, y2, score, class of every cell, not suppressed: DeepStream-Yolo."""
    rows = outputs[0][index]
    return kept_rows(rows[:, :4], rows[:, 4], rows[:, 5], frame.conf)


def decode_box_score_class(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """Boxes (B, N, 4) xyxy, scores (B, N) or (B, N, 1), and class numbers of the same shape: older DeepStream-Yolo."""
    boxes, scores, class_ids = (output[index] for output in outputs)
    return kept_rows(boxes, scores.reshape(-1), class_ids.reshape(-1), frame.conf)


def kept_rows(
    boxes: Floats, scores: Floats, class_ids: NDArray[Any], conf: float, rest: Floats | None = None
) -> Candidates:
    """Finished rows whose score counts. UnsoundError for scores above 1 and classes that are no whole numbers."""
    check_scores(scores)
    rows = np.flatnonzero(scores > conf)
    labels = whole_classes(np.asarray(class_ids)[rows], scores[rows])
    return Candidates(boxes[rows], scores[rows], labels, None if rest is None else rest[rows])


def _by_columns(prediction: Floats, frame: Frame, corners: bool) -> Candidates:
    end = None if frame.layout.classes is None else 4 + frame.layout.classes
    cells, class_ids, scores = by_score(prediction[4:end].T, frame)
    boxes = prediction[:4, cells].T
    rest = None if end is None else prediction[end:, cells].T
    if frame.layout.turned:
        rest = np.column_stack((boxes, prediction[-1, cells]))
        boxes = enclosing(boxes, prediction[-1, cells])
    return Candidates(boxes if corners else cxcywh_to_xyxy(boxes), scores, class_ids, rest)


def enclosing(boxes: Floats, angles: Floats) -> Floats:
    """Centres and sizes (N, 4) of the upright boxes around boxes of centre and size turned by `angles` (N,) radians."""
    cosines, sines = np.abs(np.cos(angles))[:, None], np.abs(np.sin(angles))[:, None]
    sizes = boxes[:, 2:] * cosines + boxes[:, [3, 2]] * sines
    return np.concatenate((boxes[:, :2], sizes), axis=1)


def _objects(prediction: Floats, frame: Frame) -> tuple[Indices, Candidates]:
    """Cells whose objectness * class counts, and the first four columns there with these scores and classes."""
    objectness = prediction[:, 4]
    check_scores(objectness)
    end = None if frame.layout.classes is None else 5 + frame.layout.classes
    cells = np.flatnonzero(objectness > frame.conf)  # a class probability is at most 1
    rows, class_ids, scores = by_score(prediction[cells, 5:end] * prediction[cells, 4:5], frame)
    cells = cells[rows]
    rest = None if end is None else prediction[cells, end:]
    return cells, Candidates(prediction[cells, :4], scores, class_ids, rest)


def _distributed(
    classes: Floats, distributions: Floats, frame: Frame, strides: tuple[int, ...], offset: float
) -> Candidates:
    points, steps = level_grids.points(frame.size, strides, offset)
    cells, class_ids, scores = by_score(classes, frame)
    bins = distributions.shape[1] // 4
    shares = softmax(distributions[cells].reshape(-1, 4, bins))
    distances = shares @ np.arange(bins, dtype=shares.dtype) * steps[cells]
    return Candidates(distances_to_xyxy(points[cells] * steps[cells], distances), scores, class_ids)
