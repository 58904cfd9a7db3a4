"""Geometry of axis-aligned boxes.

A box is (x1, y1, x2, y2) in pixels, continuous coordinates: the width is x2 - x1, with no "+ 1". Sets of boxes
are float arrays of shape (N, 4). All functions are pure; none changes its arguments. Results keep the dtype of
the input (float32 stays float32).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detkit.errors import InputError

Floats = NDArray[np.floating[Any]]


LARGEST_LOG_RATIO = float(np.log(1000 / 16))


def as_boxes(boxes: ArrayLike, dtype: Any = np.float32) -> Floats:
    """`boxes` as an (N, 4) array; an empty sequence becomes (0, 4). InputError for any other shape."""
    array = np.asarray(boxes, dtype=dtype)
    if array.size == 0:
        return array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise InputError(f"boxes must have shape (N, 4), got {array.shape}")
    return array


def area(boxes: Floats) -> Floats:
    """Areas (N,) in square pixels; a reversed or empty box has area 0."""
    return np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)


def intersection(a: Floats, b: Floats) -> Floats:
    """Areas (N, M) of the overlap of each of N boxes with each of M."""
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])  # (N, M)
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])  # (N, M)
    return np.asarray(np.maximum(width, 0) * np.maximum(height, 0))


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union, (N, M) in [0, 1]. The IoU of two empty boxes is 0.

    >>> iou(as_boxes([[0, 0, 10, 10]]), as_boxes([[0, 0, 10, 5], [20, 20, 30, 30]])).tolist()
    [[0.5, 0.0]]
    """
    overlap = intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def iou_over_first(a: Floats, b: Floats) -> Floats:
    """Intersection over the area of the box of `a`, (N, M): COCO's overlap of a detection with a crowd region."""
    overlap = intersection(a, b)
    first = np.broadcast_to(area(a)[:, None], overlap.shape)
    return np.divide(overlap, first, out=np.zeros_like(overlap), where=first > 0)


def diou(a: Floats, b: Floats) -> Floats:
    """Distance IoU, (N, M) in (-1, 1]: IoU - d^2 / c^2 (Zheng et al. 2020, eq. 7).

    d is the distance of the centres, c the diagonal of the smallest box that encloses both.
    """
    enclosing_w = np.maximum(a[:, None, 2], b[None, :, 2]) - np.minimum(a[:, None, 0], b[None, :, 0])
    enclosing_h = np.maximum(a[:, None, 3], b[None, :, 3]) - np.minimum(a[:, None, 1], b[None, :, 1])
    diagonal = enclosing_w**2 + enclosing_h**2
    dx = (a[:, None, 0] + a[:, None, 2] - b[None, :, 0] - b[None, :, 2]) / 2
    dy = (a[:, None, 1] + a[:, None, 3] - b[None, :, 1] - b[None, :, 3]) / 2
    distance = dx**2 + dy**2
    penalty = np.divide(distance, diagonal, out=np.zeros_like(distance), where=diagonal > 0)
    return np.asarray(iou(a, b) - penalty)


def cxcywh_to_xyxy(boxes: Floats) -> Floats:
    """(centre x, centre y, width, height) to (x1, y1, x2, y2); any shape (..., 4)."""
    half = boxes[..., 2:4] / 2
    return np.concatenate((boxes[..., :2] - half, boxes[..., :2] + half), axis=-1)


def xyxy_to_cxcywh(boxes: Floats) -> Floats:
    """(x1, y1, x2, y2) to (centre x, centre y, width, height); any shape (..., 4)."""
    return np.concatenate(((boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]), axis=-1)


def xywh_to_xyxy(boxes: Floats) -> Floats:
    """(x1, y1, width, height) to (x1, y1, x2, y2); any shape (..., 4)."""
    return np.concatenate((boxes[..., :2], boxes[..., :2] + boxes[..., 2:]), axis=-1)


def xyxy_to_xywh(boxes: Floats) -> Floats:
    """(x1, y1, x2, y2) to (x1, y1, width, height), COCO's order; any shape (..., 4)."""
    return np.concatenate((boxes[..., :2], boxes[..., 2:] - boxes[..., :2]), axis=-1)


def distances_to_xyxy(points: Floats, distances: Floats) -> Floats:
    """Distances (..., 4) from points (..., 2) to the left, top, right and bottom sides, as xyxy (FCOS, eq. 1)."""
    return np.concatenate((points - distances[..., :2], points + distances[..., 2:]), axis=-1)


def encode_offsets(boxes: Floats, targets: Floats) -> Floats:
    """Offsets (N, 4), tx, ty, tw, th, from boxes to targets, both (N, 4) xyxy (Girshick et al. 2014, eqs. 6-9).

    Shifts of the centre in widths and heights of the box, and logarithms of the ratios of width and height.
    """
    own, wanted = xyxy_to_cxcywh(boxes), xyxy_to_cxcywh(targets)
    shift = (wanted[:, :2] - own[:, :2]) / own[:, 2:]
    return np.concatenate((shift, np.log(wanted[:, 2:] / own[:, 2:])), axis=1)


def decode_offsets(boxes: Floats, offsets: Floats) -> Floats:
    """Boxes (..., 4) xyxy from boxes (..., 4) and offsets (..., 4), the inverse of `encode_offsets` (eqs. 1-4).

    tw and th are cut at log(1000 / 16), as in the authors' later code, lest a wild one overflow.
    """
    size = boxes[..., 2:] - boxes[..., :2]
    centre = boxes[..., :2] + size / 2 + offsets[..., :2] * size
    half = size * np.exp(np.minimum(offsets[..., 2:], LARGEST_LOG_RATIO)) / 2
    return np.concatenate((centre - half, centre + half), axis=-1).astype(boxes.dtype, copy=False)


def clip(boxes: Floats, width: float, height: float) -> Floats:
    """Boxes cut at the borders of a `width` x `height` picture."""
    limits = np.array([width, height, width, height], dtype=boxes.dtype)
    return np.clip(boxes, 0, limits)
