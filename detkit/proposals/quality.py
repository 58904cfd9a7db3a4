"""How well proposals cover the objects of a data set (Uijlings et al. 2013, section 5; Hosang et al. 2016).

Everything starts from the overlaps of each object with the best of the first n proposals of its picture:

    best = np.concatenate([best_overlaps(proposed, objects, counts) for each picture])     # (objects, counts)
    recall(best, 0.5)                # at overlap 0.5, for each count
    average_best_overlap(best)       # for each count

The functions are pure; boxes are (N, 4) xyxy in pixels, best proposals first. Without any object, figures are NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats, iou

COUNTS = (1, 10, 50, 100, 200, 500, 1000, 2000)
OVERLAPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


def best_overlaps(proposed: Floats, objects: Floats, counts: Sequence[int]) -> NDArray[np.float64]:
    """IoU (G, len(counts)) of each of G objects with the best of the first n of N proposals, n in `counts`.

    0 where there are none; where n is more than N, of all N.
    """
    best = np.zeros((len(objects), len(proposed) + 1))
    np.maximum.accumulate(iou(objects.astype(np.float64), proposed.astype(np.float64)), axis=1, out=best[:, 1:])
    return best[:, np.minimum(np.asarray(counts, np.int64), len(proposed))]


def recall(best: NDArray[Any], overlap: float) -> NDArray[np.float64]:
    """The share of objects whose best overlap is `overlap` or more, over the first axis."""
    return _mean(best >= overlap)


def recall_over_overlap(best: NDArray[Any], overlaps: Sequence[float] = OVERLAPS) -> NDArray[np.float64]:
    """Recall (len(overlaps), ...) at each overlap."""
    return np.stack([recall(best, overlap) for overlap in overlaps])


def average_recall(best: NDArray[Any]) -> NDArray[np.float64]:
    """Recall averaged over all overlaps from 0.5 to 1: twice the mean of max(0, best - 0.5) (Hosang et al., eq. 1)."""
    return 2 * _mean(np.maximum(best - 0.5, 0))


def average_best_overlap(best: NDArray[Any]) -> NDArray[np.float64]:
    """ABO: the mean of the best overlaps (Uijlings et al., eq. 9), over the first axis."""
    return _mean(best)


def mean_average_best_overlap(best: NDArray[Any], classes: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """MABO: the mean over classes of their ABO; `classes` (G,) are those of the objects."""
    present = np.unique(classes)
    return (
        _mean(np.stack([average_best_overlap(best[classes == one]) for one in present]))
        if len(present)
        else _mean(best)
    )


def _mean(values: NDArray[Any]) -> NDArray[np.float64]:
    if len(values) == 0:
        return np.full(values.shape[1:], np.nan)
    return np.asarray(values.mean(axis=0, dtype=np.float64))
