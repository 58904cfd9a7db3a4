"""Average precision in its three conventions, for all classes at once.

A precision-recall curve only rises where a true positive is met, so every function here takes the true positives
alone, in ranking order: `class_of` int64 (H,), their classes, and `seen` int64 (H,), how many detections that count
come up to and with each in its class. Precision at the n-th true positive of a class is n / seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COCO_RECALLS = np.linspace(0.0, 1.0, 101)
VOC07_RECALLS = np.arange(11) / 10
GUARD = float(np.spacing(1))


def hits_for_recalls(positives: NDArray[np.int64], recalls: NDArray[np.float64]) -> NDArray[np.int64]:
    """int64 (K, R): the fewest true positives n >= 1 with n / positives >= recall, compared as doubles."""
    total = np.maximum(positives, 1)[:, None]
    needed = np.ceil(total * recalls).astype(np.int64)
    needed -= ((needed - 1) / total >= recalls) & (needed > 1)
    needed += needed / total < recalls
    return np.maximum(needed, 1)


def interpolated_precision(
    class_of: NDArray[np.int64],
    seen: NDArray[np.int64],
    needed: NDArray[np.int64],
    guard: float = GUARD,
) -> NDArray[np.float64]:
    """float64 (K, R): the highest precision at a recall or beyond, 0 where the recall is not reached.

    needed    int64 (K, R), see `hits_for_recalls`
    guard     added to the denominator, as pycocotools does; VOC adds nothing

    The mean over the 101 recalls of `COCO_RECALLS` is COCO's AP, over the 11 of `VOC07_RECALLS` that of VOC 2007
    (Everingham et al. 2010, section 4.2).
    """
    starts = np.concatenate(([0], np.cumsum(np.bincount(class_of, minlength=len(needed)))))
    number = np.arange(1, len(seen) + 1) - starts[class_of]
    precision = np.append(number / (seen + guard), 0.0)

    # maxima between the positions of consecutive recalls, then from the right
    ends = starts[1:, None]
    edges = np.concatenate((np.minimum(starts[:-1, None] + needed - 1, ends), ends), axis=1)
    best = np.maximum.reduceat(precision, edges.ravel()).reshape(edges.shape)[:, :-1]
    best[needed > np.diff(starts)[:, None]] = 0.0
    return np.maximum.accumulate(best[:, ::-1], axis=1)[:, ::-1]


def average_precision(
    class_of: NDArray[np.int64],
    seen: NDArray[np.int64],
    positives: NDArray[np.int64],
    weights: NDArray[np.int64] | None = None,
    *,
    recalls: NDArray[np.float64] | None = None,
    guard: float = 0.0,
) -> NDArray[np.float64]:
    """float64 (K,): AP of each class, -1 for those without boxes.

    positives   int64 (K,), true boxes that count
    weights     int64 (H,), how often each true positive counts (see `bootstrap`); once without it
    recalls     rising, float64 (R,): the mean of the interpolated precision there. Without it the area under the
                interpolated curve, VOC's AP from 2010 on

    Either is a sum over the true positives: the interpolated precision at each, times the share of the recalls, or
    of the recall, that it is the first to reach. Time O(H log R).
    """
    classes = len(positives)
    weights = np.ones(len(seen), dtype=np.int64) if weights is None else weights
    starts = np.concatenate(([0], np.cumsum(np.bincount(class_of, minlength=classes))))
    total = np.concatenate(([0], np.cumsum(weights)))
    number = total[1:] - total[starts[:-1]].take(class_of)
    all_boxes = np.maximum(positives, 1).take(class_of)
    precision = number / np.maximum(seen + guard, guard or 1)
    if recalls is None:
        share = weights / all_boxes
    else:
        reached = np.where(number > 0, np.searchsorted(recalls, number / all_boxes, side="right"), 0)
        before = np.append(0, reached[:-1])[: len(reached)]
        before[starts[:-1][np.diff(starts) > 0]] = 0
        share = (reached - before) / len(recalls)
    sums = np.bincount(class_of, envelope(class_of, precision) * share, minlength=classes)
    return np.where(positives > 0, sums, -1.0)


def envelope(class_of: NDArray[np.int64], precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 (H,): the highest precision at each true positive or a later one of its class, to about 1e-13."""
    step = 2.0 * class_of[::-1].max(initial=0) - 2.0 * class_of[::-1]  # lifts each class above those to its right
    return np.asarray((np.maximum.accumulate(precision[::-1] + step) - step)[::-1])


def mean_defined(values: NDArray[np.float64]) -> float:
    """The mean of what is defined (above -1), or -1: COCO's average over classes and thresholds."""
    defined = values[values > -1]
    return float(np.mean(defined)) if len(defined) else -1.0
