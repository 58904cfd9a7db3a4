"""Pairs of a detection and a true object of the same picture and class, for any way to measure their overlap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from detkit.metrics.overlaps import Pairs, _candidates, _spans

Measure = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]


def gather_pairs(cells: NDArray[np.int64], truth_cells: NDArray[np.int64], measure: Measure, least: float) -> Pairs:
    """All pairs of the same cell that overlap by at least `least`, ordered by detection, then by true object.

    measure   (detections (P,), true objects (P,)) -> overlaps (P,); positions in `cells` and `truth_cells`

    Time is linear in the pairs that share a cell; memory in those found.
    """
    order = np.argsort(truth_cells, kind="stable")
    begin, count = _spans(truth_cells.take(order), cells)
    reached = np.flatnonzero(count)
    parts = []
    for index, place in _candidates(begin.take(reached), count.take(reached)):
        detection, truth = reached.take(index), order.take(place)
        overlap = measure(detection, truth)
        kept = np.flatnonzero(overlap >= least)
        parts.append((detection.take(kept), truth.take(kept), overlap.take(kept)))
    if not parts:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))
