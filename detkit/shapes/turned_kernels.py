"""Compiled loops of `turned_boxes`: polygon clipping, and fast suppression that looks only at boxes nearby."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detkit.compiled import compiled

# Below this threshold nearly every box is near enough to every other.
_LEAST_THRESHOLD = 0.02
_EMPTY = -1


@compiled
def clip_kernel(
    a: NDArray[np.float64], b: NDArray[np.float64], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """IoU (P,) of convex quadrangles a[rows] and b[columns], corners (N, 4, 2) in either direction."""
    result = np.zeros(len(rows))
    first, second = np.empty((4, 2)), np.empty((4, 2))
    polygon, cut = np.empty((16, 2)), np.empty((16, 2))
    for pair in range(len(rows)):
        # Coordinates from a corner of one of them, so that a place far from the origin costs no digits.
        origin_x, origin_y = a[rows[pair], 0]
        area_a = _placed(a[rows[pair]], origin_x, origin_y, first)
        area_b = _placed(b[columns[pair]], origin_x, origin_y, second)
        if not (area_a > 0 and area_b > 0):
            continue
        size = 4
        polygon[:4] = first
        for side in range(4):
            x1, y1 = second[side]
            x2, y2 = second[(side + 1) % 4]
            kept = 0
            for point in range(size):
                px, py = polygon[point]
                qx, qy = polygon[(point + 1) % size]
                p = (x2 - x1) * (py - y1) - (y2 - y1) * (px - x1)
                q = (x2 - x1) * (qy - y1) - (y2 - y1) * (qx - x1)
                if p >= 0:
                    cut[kept, 0], cut[kept, 1] = px, py
                    kept += 1
                if (p > 0 and q < 0) or (p < 0 and q > 0):
                    share = p / (p - q)
                    cut[kept, 0], cut[kept, 1] = px + (qx - px) * share, py + (qy - py) * share
                    kept += 1
            size = kept
            polygon[:size] = cut[:size]
            if size < 3:
                break
        if size < 3:
            continue
        overlap = min(abs(_signed_area(polygon, size)), min(area_a, area_b))
        result[pair] = overlap / (area_a + area_b - overlap)
    return result


@compiled
def _placed(corners: NDArray[np.float64], x: float, y: float, target: NDArray[np.float64]) -> float:
    """Corners from the origin (x, y) into `target`, in the direction of a positive area, which is returned."""
    for corner in range(4):
        target[corner, 0], target[corner, 1] = corners[corner, 0] - x, corners[corner, 1] - y
    area = _signed_area(target, 4)
    if area < 0:
        for axis in range(2):
            target[1, axis], target[3, axis] = target[3, axis], target[1, axis]
        area = _signed_area(target, 4)
    return area


@compiled
def _signed_area(points: NDArray[np.float64], size: int) -> float:
    total = 0.0
    x0, y0 = points[0]
    for point in range(1, size - 1):
        total += (points[point, 0] - x0) * (points[point + 1, 1] - y0)
        total -= (points[point, 1] - y0) * (points[point + 1, 0] - x0)
    return total / 2


@compiled
def fast_nms_kernel(
    gaussians: NDArray[np.float64], diagonals: NDArray[np.float64], classes: NDArray[np.int64], threshold: float
) -> NDArray[np.bool_]:
    """bool (N,): boxes, best first, that have a ProbIoU of at least `threshold` with any better one of their class.

    gaussians   float64 (N, 6), mean x and y, variances of x and y, covariance, root of the determinant
    diagonals   float64 (N,), of the boxes

    ProbIoU >= t means a Bhattacharyya distance of at most D = -ln(1 - (1 - t)^2). Both of its terms are at least 0.
    From the first, centres lie within sqrt(8 D v) of each other, where v, the larger variance of the mean of both
    covariances, is at most a twenty-fourth of the sum of both squared diagonals. From the second, the covariances
    differ by at most a factor m in any direction, where sqrt(m) + 1 / sqrt(m) = 2 exp(2 D). So boxes are sorted into
    levels of doubling diagonals, each with a grid of its own, and only near cells of near levels are read. Cells share
    the slots of a hash table; boxes that are there by chance are compared as well, which changes nothing.
    """
    count = len(gaussians)
    suppressed = np.zeros(count, np.bool_)
    distance = -np.log(1.0 - (1.0 - max(threshold, _LEAST_THRESHOLD)) ** 2) * (1 + 1e-9) + 1e-12
    half_sum = np.exp(2 * distance)
    ratio = half_sum + np.sqrt(half_sum * half_sum - 1)  # sqrt(m)
    # Diagonals of two boxes: each is at most sqrt(2) times the longer side, whose square times 1 / 12 is the variance.
    reach = int(np.ceil(np.log2(ratio * np.sqrt(2.0)))) + 1
    everywhere = threshold < _LEAST_THRESHOLD
    slots = 64
    while slots < 2 * count:
        slots *= 2
    heads = np.full(slots, _EMPTY, np.int64)
    links = np.full(count, _EMPTY, np.int64)
    lowest, highest = 1 << 30, -(1 << 30)
    for box in range(count):
        x, y = gaussians[box, 0], gaussians[box, 1]
        finite = np.isfinite(x + y + diagonals[box]) and gaussians[box, 5] > 0
        if not finite or abs(x) > 1e12 or abs(y) > 1e12:
            continue
        level = int(np.floor(np.log2(diagonals[box])))
        found = False
        for other_level in range(max(level - reach, lowest), min(level + reach, highest) + 1):
            side = 2.0 ** (other_level + 1)  # above the diagonals of that level
            cell = _cell_side(side, distance)
            radius = np.sqrt(8 * distance * (diagonals[box] ** 2 + side * side) / 24)
            left, right = int(np.floor((x - radius) / cell)), int(np.floor((x + radius) / cell))
            top, bottom = int(np.floor((y - radius) / cell)), int(np.floor((y + radius) / cell))
            if everywhere or (right - left + 1) * (bottom - top + 1) > box:  # quicker to look at all there are
                for other in range(box):
                    if _suppresses(gaussians, classes, other, box, threshold):
                        found = True
                        break
                break
            for row in range(top, bottom + 1):
                for column in range(left, right + 1):
                    other = heads[_slot(classes[box], other_level, row, column, slots)]
                    while other >= 0 and not found:
                        found = _suppresses(gaussians, classes, other, box, threshold)
                        other = links[other]
                    if found:
                        break
                if found:
                    break
            if found:
                break
        suppressed[box] = found
        cell = _cell_side(2.0 ** (level + 1), distance)
        slot = _slot(classes[box], level, int(np.floor(y / cell)), int(np.floor(x / cell)), slots)
        links[box], heads[slot] = heads[slot], box
        lowest, highest = min(lowest, level), max(highest, level)
    return suppressed


@compiled
def _cell_side(side: float, distance: float) -> float:
    return float(side * max(np.sqrt(8 * distance / 12), 0.05))


@compiled
def _slot(class_id: int, level: int, row: int, column: int, slots: int) -> int:
    mixed = (row * 73856093) ^ (column * 19349663) ^ (level * 83492791) ^ (class_id * 2654435761)
    return (mixed ^ (mixed >> 17)) & (slots - 1)


@compiled
def _suppresses(
    gaussians: NDArray[np.float64], classes: NDArray[np.int64], better: int, box: int, threshold: float
) -> bool:
    """Whether ProbIoU of two boxes of one class is at least `threshold`; the order of operations is `_prob_iou`'s."""
    if classes[better] != classes[box] or not gaussians[better, 5] > 0:
        return False
    one, other = gaussians[better], gaussians[box]
    dx, dy = one[0] - other[0], one[1] - other[1]
    a, b, c = (one[2] + other[2]) / 2, (one[3] + other[3]) / 2, (one[4] + other[4]) / 2
    determinant = a * b - c * c
    distance = (b * dx * dx + a * dy * dy - 2 * c * dx * dy) / determinant / 8
    distance = distance + np.log(determinant / (one[5] * other[5])) / 2
    if not np.isfinite(distance):
        return False
    return bool(1 - np.sqrt(-np.expm1(-max(distance, 0.0))) >= max(threshold, 1e-300))
