"""Pairs of a detection and a true box that overlap, without a matrix per image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_CROWDED = 512  # true boxes in a cell from which those beside a detection are looked up, not gone through
CHUNK = 1 << 18  # pairs looked at together: their columns stay in the processor's cache


@dataclass(frozen=True)
class Pairs:
    """P overlapping pairs, ordered by detection, then by the order of the true boxes.

    detection   int64 (P,), positions in the arrays of detections
    truth       int64 (P,), rows of the arrays of true boxes
    iou         float64 (P,), intersection over union; for a crowd over the area of the detection
    """

    detection: NDArray[np.int64]
    truth: NDArray[np.int64]
    iou: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.detection)

    def where(self, mask: NDArray[np.bool_]) -> Pairs:
        """The pairs that `mask` (P,) selects."""
        return Pairs(self.detection[mask], self.truth[mask], self.iou[mask])


def overlapping_pairs(
    cells: NDArray[np.int64],
    boxes: NDArray[np.float64],
    truth_cells: NDArray[np.int64],
    truth_boxes: NDArray[np.float64],
    truth_crowd: NDArray[np.bool_],
    min_iou: float,
    *,
    rows: NDArray[np.int64] | None = None,
) -> Pairs:
    """All pairs of the same cell with an overlap of at least `min_iou` > 0.

    cells, boxes              int64 (D,), float64 (D, 4): detections, x, y, width, height
    truth_cells, truth_boxes  int64 (M,), float64 (M, 4); truth_crowd bool (M,)
    rows                      int64 (D,), where detection d is `boxes[rows[d]]`; without it, `boxes[d]`

    A cell is a number for what may be compared: image * K + class, or the image alone. Time is linear in the pairs
    that share a cell, and where that has very many boxes in those near each other from left to right; memory in the
    pairs found.
    """
    order = np.argsort(truth_cells, kind="stable")
    begin, count = _spans(truth_cells.take(order), cells)
    reached = np.flatnonzero(count)  # detections that share a cell with any true box
    begin, count = begin.take(reached), count.take(reached)
    sides = np.ascontiguousarray(boxes.take(reached if rows is None else rows.take(reached), axis=0).T)
    owner = None
    if count.max(initial=0) > _CROWDED:
        order, owner, begin, count = _narrowed(order, begin, count, sides, truth_boxes)
    truth_sides = np.ascontiguousarray(truth_boxes.take(order, axis=0).T)
    crowd = truth_crowd.take(order) if truth_crowd.any() else None

    found = []
    for index, truth in _candidates(begin, count):
        index = index if owner is None else owner.take(index)
        index, truth, iou = _overlaps(sides, truth_sides, crowd, index, truth, min_iou)
        found.append((reached.take(index), truth, iou))
    if not found:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    detection, truth, iou = (np.concatenate(parts) for parts in zip(*found, strict=True))
    pairs = Pairs(detection, order.take(truth), iou)
    if owner is None:
        return pairs
    place = np.lexsort((pairs.truth, pairs.detection))
    return Pairs(pairs.detection.take(place), pairs.truth.take(place), pairs.iou.take(place))


def _narrowed(
    order: NDArray[np.int64],
    begin: NDArray[np.int64],
    count: NDArray[np.int64],
    sides: NDArray[np.float64],
    truth_boxes: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(order, owner, begin, count): several short spans of true boxes in place of the one of a crowded cell.

    Span s of the new `order` belongs to detection `owner[s]`. In a crowded cell the true boxes are sorted by the power
    of two of their width, then by their left side, so that those of one power that may reach a detection are a stretch.
    """
    order = order.copy()
    plain, crowded = np.flatnonzero(count <= _CROWDED), np.flatnonzero(count > _CROWDED)
    spans = [(plain, begin.take(plain), count.take(plain))]
    crowded = crowded[np.argsort(begin.take(crowded), kind="stable")]
    for own in np.split(crowded, np.flatnonzero(np.diff(begin.take(crowded))) + 1):
        first, size = int(begin[own[0]]), int(count[own[0]])
        rows = order[first : first + size]
        lefts, widths = truth_boxes[rows, 0], truth_boxes[rows, 2]
        powers = np.frexp(np.maximum(widths, 0))[1]
        place = np.lexsort((lefts, powers))
        order[first : first + size] = rows[place]
        lefts, widths, powers = lefts[place], widths[place], powers[place]
        left, right = sides[0].take(own), sides[0].take(own) + sides[2].take(own)
        edges = [0, *(np.flatnonzero(np.diff(powers)) + 1).tolist(), size]
        for low, high in pairwise(edges):
            widest = np.fmax.reduce(widths[low:high], initial=0)
            margin = 1e-9 * (np.abs(left) + widest)  # for what is lost where large numbers are added
            start = np.searchsorted(lefts[low:high], left - widest - margin, side="left")
            length = np.searchsorted(lefts[low:high], right, side="left") - start
            some = np.flatnonzero(length > 0)
            spans.append((own.take(some), first + low + start.take(some), length.take(some)))
    owner, begin, count = (np.concatenate(column) for column in zip(*spans, strict=True))
    return order, owner, begin, count


def _spans(sorted_cells: NDArray[np.int64], cells: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each of `cells` (D,) begins in `sorted_cells` (M,), and how often it is there."""
    bound = int(max(sorted_cells.max(initial=-1), cells.max(initial=-1))) + 1
    if bound <= 1 << 22:  # a table of all cells
        counts = np.bincount(sorted_cells, minlength=bound)
        return (np.cumsum(counts) - counts).take(cells), counts.take(cells)
    begin = np.searchsorted(sorted_cells, cells, side="left")
    return begin, np.searchsorted(sorted_cells, cells, side="right") - begin


def _candidates(
    begin: NDArray[np.int64], count: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (d, truth) index arrays: each d with begin[d], begin[d] + 1 ... begin[d] + count[d] - 1."""
    ends = np.cumsum(count)
    low = 0
    while low < len(count):
        before = ends[low] - count[low]
        high = max(int(np.searchsorted(ends, before + CHUNK, side="right")), low + 1)
        some = slice(low, high)
        detection = np.repeat(np.arange(low, high), count[some])
        first = np.repeat(begin[some] - (ends[some] - count[some] - before), count[some])
        yield detection, first + np.arange(len(first))
        low = high


def _overlaps(
    sides: NDArray[np.float64],
    truth_sides: NDArray[np.float64],
    crowd: NDArray[np.bool_] | None,
    detection: NDArray[np.int64],
    truth: NDArray[np.int64],
    min_iou: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The pairs with at least `min_iou`. The order of operations is that of maskApi.c's bbIou, to the last bit."""
    (x, y, w, h), (truth_x, truth_y, truth_w, truth_h) = sides, truth_sides
    dx, gx, dw, gw = x.take(detection), truth_x.take(truth), w.take(detection), truth_w.take(truth)
    width = np.minimum(dw + dx, gw + gx) - np.maximum(dx, gx)
    meet = np.flatnonzero(width > 0)
    detection, truth, width = detection.take(meet), truth.take(meet), width.take(meet)
    dw, gw = dw.take(meet), gw.take(meet)
    dy, gy, dh, gh = y.take(detection), truth_y.take(truth), h.take(detection), truth_h.take(truth)
    height = np.minimum(dh + dy, gh + gy) - np.maximum(dy, gy)
    overlap = width * height
    area = dw * dh
    union = area + gw * gh - overlap
    if crowd is not None:
        union = np.where(crowd.take(truth), area, union)
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = overlap / union
    kept = np.flatnonzero((height > 0) & (iou >= min_iou))
    return detection.take(kept), truth.take(kept), iou.take(kept)
