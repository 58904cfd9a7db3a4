"""Geometry of turned (oriented) boxes, and their suppression.

A turned box is (centre x, centre y, width, height, angle): pixels, and radians clockwise in the picture (y goes down).
Width lies along the angle. Sets of boxes are float arrays (N, 5); everything is computed in float64. The same rectangle
can be written in many ways (any angle, sides swapped), so compare corners, or what `regular` gives.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detkit.errors import InputError, UsageError
from detkit.ordering import ClassIds, Indices, best_first

Doubles = NDArray[np.float64]

# Pairs up to which a full matrix is quicker than loading the compiled loops.
_PAIRS_FOR_NUMPY = 250_000
# Two corners of a rectangle differ from where they should be by at most this share of its longer side.
_SQUARE = 1e-3


def as_turned_boxes(boxes: ArrayLike) -> Doubles:
    """`boxes` as a float64 (N, 5) array; an empty sequence becomes (0, 5). InputError for any other shape."""
    array = np.asarray(boxes, dtype=np.float64)
    if array.size == 0:
        return array.reshape(0, 5)
    if array.ndim != 2 or array.shape[1] != 5:
        raise InputError(f"turned boxes must have shape (N, 5), got {array.shape}")
    return array


def to_corners(boxes: ArrayLike) -> Doubles:
    """Corners (N, 4, 2), x and y, of boxes (N, 5): from the one at the end of width and height, around the box."""
    boxes = as_turned_boxes(boxes)
    centre, size, angle = boxes[:, :2], boxes[:, 2:4] / 2, boxes[:, 4]
    cos, sin = np.cos(angle), np.sin(angle)
    along = size[:, :1] * np.stack((cos, sin), axis=1)  # (N, 2)
    across = size[:, 1:] * np.stack((-sin, cos), axis=1)
    return np.stack(
        (centre + along + across, centre + along - across, centre - along - across, centre - along + across), axis=1
    )


def from_corners(corners: ArrayLike) -> Doubles:
    """Boxes (N, 5) from corners (N, 4, 2) in order around the box.

    A rectangle (to a thousandth of its longer side) keeps its sides: its width is the side from the fourth corner to
    the first, so that this undoes `to_corners`. Any other quadrangle becomes the smallest rectangle around it.
    """
    corners = np.asarray(corners, dtype=np.float64).reshape(-1, 4, 2)
    along = (corners[:, 0] - corners[:, 3] + corners[:, 1] - corners[:, 2]) / 2
    across = (corners[:, 0] - corners[:, 1] + corners[:, 3] - corners[:, 2]) / 2
    width, height = np.hypot(along[:, 0], along[:, 1]), np.hypot(across[:, 0], across[:, 1])
    angle = np.arctan2(along[:, 1], along[:, 0])
    without_width = width == 0
    angle[without_width] = np.arctan2(across[without_width, 1], across[without_width, 0]) - np.pi / 2
    boxes = np.column_stack((corners.mean(axis=1), width, height, angle))
    off = np.abs(_matching_order(to_corners(boxes), corners) - corners).max(axis=(1, 2), initial=0)
    other = np.flatnonzero(off > _SQUARE * np.maximum(width, height))
    boxes[other] = _smallest_around(corners[other])
    return boxes


def regular(boxes: ArrayLike) -> Doubles:
    """The same rectangles with angles in [0, pi / 2), sides swapped where that needs it."""
    boxes = as_turned_boxes(boxes).copy()
    quarters = np.floor(boxes[:, 4] / (np.pi / 2))
    rest = np.maximum(boxes[:, 4] - quarters * (np.pi / 2), 0)
    whole = rest >= np.pi / 2  # a tiny negative angle, rounded
    turned = (quarters + whole) % 2 == 1
    boxes[turned, 2:4] = boxes[turned, 3:1:-1]
    boxes[:, 4] = np.where(whole, 0.0, rest)
    return boxes


def enclosing(corners: ArrayLike) -> Doubles:
    """Axis-aligned boxes (N, 4), xyxy, around corners (N, 4, 2)."""
    corners = np.asarray(corners, dtype=np.float64).reshape(-1, 4, 2)
    return np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)


def area(corners: ArrayLike) -> Doubles:
    """Areas (N,) of quadrangles, corners (N, 4, 2), by the shoelace formula."""
    points = np.asarray(corners, dtype=np.float64).reshape(-1, 4, 2)
    points = points - points[:, :1]
    following = np.roll(points, -1, axis=1)
    return np.asarray(np.abs((points[..., 0] * following[..., 1] - points[..., 1] * following[..., 0]).sum(axis=1)) / 2)


def iou(a: ArrayLike, b: ArrayLike) -> Doubles:
    """Intersection over union (N, M) of convex quadrangles, corners (N, 4, 2) and (M, 4, 2), by polygon clipping.

    One is cut along the sides of the other (Sutherland and Hodgman 1974), all in float64. 0 where either is empty.
    """
    a = np.asarray(a, dtype=np.float64).reshape(-1, 4, 2)
    b = np.asarray(b, dtype=np.float64).reshape(-1, 4, 2)
    rows, columns = np.divmod(np.arange(len(a) * len(b)), max(len(b), 1))
    return pair_iou(a, b, rows, columns).reshape(len(a), len(b))


def pair_iou(a: Doubles, b: Doubles, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Doubles:
    """IoU (P,) of quadrangles `rows` of `a` (N, 4, 2) with `columns` of `b` (M, 4, 2), see `iou`."""
    from detkit.shapes.turned_kernels import clip_kernel

    box_a, box_b = enclosing(a)[rows], enclosing(b)[columns]
    meet = np.flatnonzero(((box_a[:, :2] < box_b[:, 2:]) & (box_b[:, :2] < box_a[:, 2:])).all(axis=1))
    result = np.zeros(len(rows))
    result[meet] = clip_kernel(np.ascontiguousarray(a), np.ascontiguousarray(b), rows[meet], columns[meet])
    return result


def prob_iou(a: ArrayLike, b: ArrayLike) -> Doubles:
    """ProbIoU (N, M) of turned boxes (N, 5) and (M, 5) (Llerena et al. 2021): 1 - Hellinger distance of two Gaussians.

    A box stands for the normal distribution of its centre and the covariance of its area, w^2 / 12 and h^2 / 12 along
    its sides. The formulas are the paper's, in float64, without the small constants that implementations add (with
    1e-7 of them two equal boxes have 0.9997; at 0.7 the difference is below 1e-6). 0 where either box is empty.
    """
    one, other = _gaussians(as_turned_boxes(a)), _gaussians(as_turned_boxes(b))
    return _prob_iou(one[:, None], other[None])


def fast_nms(boxes: ArrayLike, scores: NDArray[Any], threshold: float, class_ids: ClassIds = None) -> Indices:
    """Fast suppression of turned boxes by ProbIoU, as ultralytics' networks have it: indices kept, best score first.

    A box goes where any better one of its class has a ProbIoU of at least `threshold` with it, even one that is itself
    suppressed (Bolya et al. 2019, section 3.3). So it keeps fewer boxes than greedy suppression. Boxes without a size,
    or with numbers that are not finite, stay and suppress nothing.

    Many boxes are compared only with those near enough in place and size, so cost and memory do not grow with the
    square of their number.
    """
    if not 0 <= threshold <= 1:
        raise UsageError(f"an overlap threshold lies between 0 and 1, got {threshold:g}")
    boxes = as_turned_boxes(boxes)
    order = best_first(scores)
    arranged = boxes[order]
    classes = np.zeros(len(order), np.int64) if class_ids is None else np.asarray(class_ids, np.int64)[order]
    gaussians = _gaussians(arranged)
    if len(order) ** 2 <= _PAIRS_FOR_NUMPY:
        above = _prob_iou(gaussians[:, None], gaussians[None]) >= max(threshold, 1e-300)
        above &= classes[:, None] == classes[None]
        suppressed = np.triu(above, 1).any(axis=0)
    else:
        from detkit.shapes.turned_kernels import fast_nms_kernel

        suppressed = fast_nms_kernel(gaussians, np.hypot(arranged[:, 2], arranged[:, 3]), classes, float(threshold))
    return order[~suppressed]


def _matching_order(own: Doubles, corners: Doubles) -> Doubles:
    """`own` corners turned around where `corners` go around the other way."""
    mirrored = own[:, [1, 0, 3, 2]]
    closer = np.abs(mirrored - corners).sum(axis=(1, 2)) < np.abs(own - corners).sum(axis=(1, 2))
    return np.where(closer[:, None, None], mirrored, own)


def _smallest_around(corners: Doubles) -> Doubles:
    """Rectangles (N, 5) of the smallest area around four points (N, 4, 2): one side lies along two of the points."""
    first, second = np.triu_indices(4, 1)
    line = corners[:, second] - corners[:, first]  # (N, 6, 2)
    angle = np.arctan2(line[..., 1], line[..., 0])
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = corners[:, None, :, 0], corners[:, None, :, 1]
    along = x * cos[..., None] + y * sin[..., None]  # (N, 6, 4)
    across = y * cos[..., None] - x * sin[..., None]
    low_x, high_x, low_y, high_y = along.min(-1), along.max(-1), across.min(-1), across.max(-1)
    best = ((high_x - low_x) * (high_y - low_y)).argmin(axis=1)[:, None]
    low_x, high_x, low_y, high_y, cos, sin, angle = (
        np.take_along_axis(column, best, 1)[:, 0] for column in (low_x, high_x, low_y, high_y, cos, sin, angle)
    )
    middle_x, middle_y = (low_x + high_x) / 2, (low_y + high_y) / 2
    centre = (middle_x * cos - middle_y * sin, middle_x * sin + middle_y * cos)
    return np.column_stack((*centre, high_x - low_x, high_y - low_y, angle))


def _gaussians(boxes: Doubles) -> Doubles:
    """(N, 6): mean x and y, variances of x and of y, covariance, and the root of the determinant."""
    x, y, width, height, angle = boxes.T
    long, short = width**2 / 12, height**2 / 12
    cos, sin = np.cos(angle), np.sin(angle)
    var_x, var_y = long * cos**2 + short * sin**2, long * sin**2 + short * cos**2
    return np.column_stack((x, y, var_x, var_y, (long - short) * cos * sin, np.abs(width * height) / 12))


def _prob_iou(one: Doubles, other: Doubles) -> Doubles:
    """ProbIoU of rows of `_gaussians`, (..., 6) each, broadcast."""
    dx, dy = one[..., 0] - other[..., 0], one[..., 1] - other[..., 1]
    a, b, c = ((one[..., k] + other[..., k]) / 2 for k in (2, 3, 4))
    determinant = a * b - c * c
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (b * dx * dx + a * dy * dy - 2 * c * dx * dy) / determinant / 8
        distance = distance + np.log(determinant / (one[..., 5] * other[..., 5])) / 2
        value = 1 - np.sqrt(-np.expm1(-np.maximum(distance, 0)))
    return np.where((one[..., 5] > 0) & (other[..., 5] > 0) & np.isfinite(distance), value, 0.0)
