"""Compiled loops of `nms`: suppression that looks only at boxes nearby.

Boxes come as float32 (N, 4), sorted by class and within a class best score first; class k fills the rows
starts[k] to starts[k + 1]. For each class a grid of cells about as large as its mean box holds lists of the boxes
that cover a cell. A list is a chain: `heads[cell]` is its newest link, `links[link]` the next older one.
"""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.compiled import compiled

# Beyond this many sample points a query looks at every cell that the box covers instead.
_MOST_SAMPLES = 4


@compiled
def greedy_kernel(boxes: NDArray[Any], starts: NDArray[Any], threshold: float, distance: bool) -> NDArray[np.bool_]:
    """Mask (N,) of the boxes that greedy suppression by IoU, or by Distance IoU, keeps.

    Two boxes with IoU > t overlap by more than t of either's width and height. A kept box that suppresses a box
    therefore covers one of the points that divide that box into ceil(1 / t) equal parts in x and in y, and it is
    enough to read the lists of the cells that hold these points: of one cell for t >= 0.5.
    """
    kept = np.zeros(len(boxes), np.bool_)
    parts = int(np.ceil(1.0 / max(threshold, 1e-3) - 1e-9))
    by_samples = parts - 1 <= _MOST_SAMPLES
    links, members = np.empty(64, np.int64), np.empty(64, np.int64)
    for index in range(len(starts) - 1):
        start, end = starts[index], starts[index + 1]
        if end - start == 1:
            kept[start] = True
            continue
        grid = _grid(boxes, start, end)
        left, top, per_x, per_y, columns, rows = grid
        heads = np.full(columns * rows, -1, np.int64)
        used = 0
        for box in range(start, end):
            x1, y1, x2, y2 = boxes[box]
            width, height = x2 - x1, y2 - y1
            area = max(width, np.float32(0)) * max(height, np.float32(0))
            finite = np.isfinite(area) and np.isfinite(x1) and np.isfinite(y1)
            suppressed = False
            if finite and by_samples:
                for j in range(1, max(parts, 2)):
                    row = _cell(y1 + height * (j / max(parts, 2)), top, per_y, rows)
                    for i in range(1, max(parts, 2)):
                        column = _cell(x1 + width * (i / max(parts, 2)), left, per_x, columns)
                        link = heads[row * columns + column]
                        while link >= 0 and not suppressed:
                            suppressed = _above(boxes, box, members[link], area, threshold, distance)
                            link = links[link]
            elif finite:
                for row in range(_cell(y1, top, per_y, rows), _cell(y2, top, per_y, rows) + 1):
                    for column in range(_cell(x1, left, per_x, columns), _cell(x2, left, per_x, columns) + 1):
                        link = heads[row * columns + column]
                        while link >= 0 and not suppressed:
                            suppressed = _above(boxes, box, members[link], area, threshold, distance)
                            link = links[link]
            if suppressed:
                continue
            kept[box] = True
            if not finite or area <= 0:
                continue
            # A little wider than it is, so that rounding never hides it from a point on its border.
            dx, dy = width * 0.001, height * 0.001
            links, members, used = _listed(x1 - dx, y1 - dy, x2 + dx, y2 + dy, box, grid, heads, links, members, used)
    return kept


@compiled
def soft_kernel(
    boxes: NDArray[Any], scores: NDArray[Any], starts: NDArray[Any], sigma: float, score_threshold: float
) -> NDArray[np.float64]:
    """The decayed scores (N,) of Gaussian Soft-NMS; boxes that fell below `score_threshold` have 0."""
    current = scores.copy()
    done = np.zeros(len(boxes), np.bool_)
    touched = np.full(len(boxes), -1, np.int64)
    links, members = np.empty(64, np.int64), np.empty(64, np.int64)
    for index in range(len(starts) - 1):
        start, end = starts[index], starts[index + 1]
        grid = _grid(boxes, start, end)
        left, top, per_x, per_y, columns, rows = grid
        heads = np.full(columns * rows, -1, np.int64)
        used = 0
        for box in range(start, end):
            x1, y1, x2, y2 = boxes[box]
            if not np.isfinite(x1 + x2 + y1 + y2):
                continue
            links, members, used = _listed(x1, y1, x2, y2, box, grid, heads, links, members, used)
        queue = [(-current[box], box) for box in range(start, end)]  # sorted, so it is a heap already
        while len(queue) > 0:
            negative, box = heapq.heappop(queue)
            if done[box] or -negative != current[box]:
                continue  # decayed since it was put there; its newer entry is further down
            done[box] = True
            if current[box] < score_threshold:
                current[box] = 0.0
                continue
            x1, y1, x2, y2 = boxes[box]
            if not np.isfinite(x1 + x2 + y1 + y2):
                continue
            for row in range(_cell(y1, top, per_y, rows), _cell(y2, top, per_y, rows) + 1):
                for column in range(_cell(x1, left, per_x, columns), _cell(x2, left, per_x, columns) + 1):
                    link = heads[row * columns + column]
                    while link >= 0:
                        other = members[link]
                        link = links[link]
                        if done[other] or touched[other] == box:
                            continue
                        touched[other] = box
                        overlap = _iou(x1, y1, x2, y2, boxes[other])
                        if overlap > 0:
                            current[other] *= np.exp(-overlap * overlap / sigma)
                            heapq.heappush(queue, (-current[other], other))
    return current


@compiled
def fusion_kernel(
    boxes: NDArray[Any], scores: NDArray[Any], starts: NDArray[Any], threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Clusters of weighted boxes fusion: row of the best member (K,), fused boxes (K, 4), mean scores (K,)."""
    count = len(boxes)
    first = np.empty(count, np.int64)
    fused = np.empty((count, 4), np.float64)
    sums = np.zeros((count, 4), np.float64)
    weights = np.zeros(count, np.float64)
    sizes = np.zeros(count, np.int64)
    touched = np.full(count, -1, np.int64)
    links, members = np.empty(64, np.int64), np.empty(64, np.int64)
    clusters = 0
    for index in range(len(starts) - 1):
        start, end = starts[index], starts[index + 1]
        grid = _grid(boxes, start, end)
        left, top, per_x, per_y, columns, rows = grid
        heads = np.full(columns * rows, -1, np.int64)
        used = 0
        for box in range(start, end):
            x1, y1, x2, y2 = boxes[box]
            finite = np.isfinite(x1 + x2 + y1 + y2)
            best, best_overlap = -1, threshold
            if finite:
                for row in range(_cell(y1, top, per_y, rows), _cell(y2, top, per_y, rows) + 1):
                    for column in range(_cell(x1, left, per_x, columns), _cell(x2, left, per_x, columns) + 1):
                        link = heads[row * columns + column]
                        while link >= 0:
                            cluster = members[link]
                            link = links[link]
                            if touched[cluster] == box:
                                continue
                            touched[cluster] = box
                            overlap = _iou(x1, y1, x2, y2, fused[cluster])
                            if overlap > best_overlap or (overlap == best_overlap and 0 <= cluster < best):
                                best, best_overlap = cluster, overlap
            if best < 0:
                best = clusters
                clusters += 1
                first[best] = box
            # A score of 0 weighs next to nothing, but it must not divide by zero.
            weight = max(scores[box], 1e-12)
            for side in range(4):
                sums[best, side] += boxes[box, side] * weight
            weights[best] += weight
            sizes[best] += 1
            for side in range(4):
                fused[best, side] = sums[best, side] / weights[best]
            if not finite:
                continue
            # The fused box has moved: list it where it is now. Links of where it was do no harm.
            x1, y1, x2, y2 = fused[best]
            links, members, used = _listed(x1, y1, x2, y2, best, grid, heads, links, members, used)
    means = weights[:clusters] / sizes[:clusters]
    return first[:clusters], fused[:clusters], means


@compiled
def _grid(boxes: NDArray[Any], start: int, end: int) -> tuple[float, float, float, float, int, int]:
    """The grid of one class: left, top, cells per pixel in x and y, columns, rows."""
    left = top = np.inf
    right = bottom = -np.inf
    widths = heights = 0.0
    count = 0
    for box in range(start, end):
        x1, y1, x2, y2 = boxes[box]
        if not np.isfinite(x1 + y1 + x2 + y2):
            continue
        left, top = min(left, x1), min(top, y1)
        right, bottom = max(right, x2), max(bottom, y2)
        widths += max(x2 - x1, 0.0)
        heights += max(y2 - y1, 0.0)
        count += 1
    if count == 0 or widths <= 0 or heights <= 0 or right <= left or bottom <= top:
        return 0.0, 0.0, 0.0, 0.0, 1, 1
    most = max(1, int(np.sqrt(count)))  # so that the cells are never more than the boxes
    columns = max(1, min(most, int((right - left) / (widths / count) * 1.5)))
    rows = max(1, min(most, int((bottom - top) / (heights / count) * 1.5)))
    return left, top, columns / (right - left), rows / (bottom - top), columns, rows


@compiled
def _listed(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    member: int,
    grid: Any,
    heads: Any,
    links: Any,
    members: Any,
    used: int,
) -> tuple[Any, Any, int]:
    """Put `member` at the head of the list of every cell that the box covers; the grown lists and their length."""
    left, top, per_x, per_y, columns, rows = grid
    for row in range(_cell(y1, top, per_y, rows), _cell(y2, top, per_y, rows) + 1):
        for column in range(_cell(x1, left, per_x, columns), _cell(x2, left, per_x, columns) + 1):
            cell = row * columns + column
            if heads[cell] >= 0 and members[heads[cell]] == member:
                continue
            if used == len(links):
                links, members = _grown(links), _grown(members)
            links[used], members[used] = heads[cell], member
            heads[cell] = used
            used += 1
    return links, members, used


@compiled
def _cell(position: float, origin: float, per_pixel: float, cells: int) -> int:
    return min(max(int((position - origin) * per_pixel), 0), cells - 1)


@compiled
def _above(boxes: NDArray[Any], a: int, b: int, area: float, threshold: float, distance: bool) -> bool:
    """Whether IoU, or Distance IoU, of rows a (of known area) and b is above the threshold; float32 throughout."""
    ax1, ay1, ax2, ay2 = boxes[a]
    bx1, by1, bx2, by2 = boxes[b]
    zero = np.float32(0)
    width = min(ax2, bx2) - max(ax1, bx1)
    height = min(ay2, by2) - max(ay1, by1)
    if width <= zero or height <= zero:
        return False
    overlap = width * height
    value = overlap / (area + (bx2 - bx1) * (by2 - by1) - overlap)
    if distance:
        dx, dy = (ax1 + ax2 - bx1 - bx2) / np.float32(2), (ay1 + ay2 - by1 - by2) / np.float32(2)
        enclosing_w, enclosing_h = max(ax2, bx2) - min(ax1, bx1), max(ay2, by2) - min(ay1, by1)
        value -= (dx * dx + dy * dy) / (enclosing_w * enclosing_w + enclosing_h * enclosing_h)
    return bool(np.float64(value) > threshold)


@compiled
def _iou(x1: float, y1: float, x2: float, y2: float, other: NDArray[Any]) -> float:
    width = min(x2, other[2]) - max(x1, other[0])
    height = min(y2, other[3]) - max(y1, other[1])
    if width <= 0 or height <= 0:
        return 0.0
    overlap = np.float64(width) * height
    return overlap / (
        np.float64(x2 - x1) * (y2 - y1) + np.float64(other[2] - other[0]) * (other[3] - other[1]) - overlap
    )


@compiled
def _grown(array: NDArray[Any]) -> NDArray[Any]:
    larger = np.empty(2 * len(array), array.dtype)
    larger[: len(array)] = array
    return larger
