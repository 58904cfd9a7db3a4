"""What the numbers of an output can be: probabilities, logits, corners, shares of the picture, class numbers.

Shape is a hint, values are evidence. The same checks serve the trial run that recognises a head and every real picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats
from detkit.detectors.yolo.heads.types import UnsoundError

# 16-bit and quantised networks pass the borders of 0 to 1 by rounding.
SLACK = 2e-3
_HIGHEST_SHARE = 2.0  # boxes as shares reach beyond the picture by less than its own size
_LOGIT_MEDIAN = -1.0  # nearly every cell shows nothing, so most logits of every class lie well below nought
_HIGH_MEDIAN = 0.2
_FOLLOWS = 0.95
_SPREAD = 0.03  # of coordinates as shares over the cells of a picture
# Networks without a distribution of distances give some boxes of negative size where there is nothing.
_MOST = 0.9


def check_scores(scores: Floats) -> None:
    """UnsoundError where a score is above 1 or no finite number; NaN is what the maximum of any NaN is."""
    if scores.size:
        check_highest(float(scores.max()))


def check_highest(highest: float) -> None:
    """`check_scores` by the highest of them."""
    if not highest < np.inf:
        raise UnsoundError("its scores are not finite numbers")
    if highest > 1 + SLACK:
        raise UnsoundError(f"its scores reach {highest:.6g}, above 1")


def check_boxes(boxes: Floats, size: tuple[int, int]) -> None:
    """UnsoundError where boxes (N, 4) that count are no numbers, or all lie within a pixel or two of the corner.

    The latter are shares of the picture, which an empty test picture could not show.
    """
    if not len(boxes):
        return
    if not np.isfinite(boxes).all():
        raise UnsoundError("its boxes are not finite numbers")
    if min(size) > 16 * _HIGHEST_SHARE and np.abs(boxes).max() <= _HIGHEST_SHARE and np.any(boxes):
        raise UnsoundError("its boxes are shares of the picture, where pixels were expected")


def whole_classes(labels: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.int64]:
    """Class numbers as integers. UnsoundError where a row with a score has none that is whole."""
    if np.issubdtype(labels.dtype, np.integer):
        return labels.astype(np.int64)
    counted = scores > 0
    wrong = counted & ~whole(labels)
    if wrong.any():
        raise UnsoundError(f"its class numbers are not whole: {float(labels[wrong][0]):.6g}")
    return np.where(counted, labels, 0).astype(np.int64)


def finite(values: Floats) -> bool:
    """Whether no number is NaN or infinite; minus infinity, a logit of nought, passes."""
    return bool(values.size == 0 or float(values.max()) < np.inf)


def whole(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values are whole numbers."""
    return np.asarray(np.isfinite(values) & (values == np.round(values)))


def probable(columns: Floats) -> NDArray[np.bool_]:
    """Which of the columns, (K, N), hold numbers from 0 to 1 alone."""
    return np.asarray((columns.min(axis=1) >= -SLACK) & (columns.max(axis=1) <= 1 + SLACK))


def like_logits(columns: Floats) -> bool:
    """Whether all columns (K, N) may be class logits of the cells of a grid."""
    return bool(len(columns)) and bool(np.all(np.median(columns, axis=1) < _LOGIT_MEDIAN))


def high_everywhere(columns: Floats) -> NDArray[np.bool_]:
    """Which of the columns (K, N) are no class of the cells of a grid, as they are high on most of them."""
    return np.asarray(np.median(columns, axis=1) > _HIGH_MEDIAN)


def ordered_corners(boxes: Floats) -> bool:
    """Whether most boxes (N, 4) have x1 < x2 and y1 < y2, as corners do; centres and sizes do by chance."""
    ordered = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
    return len(boxes) > 0 and float(ordered.mean()) > _MOST


def sized(boxes: Floats) -> bool:
    """Whether most boxes (N, 4) have a width and a height of at least nought, as centres with sizes do."""
    return len(boxes) > 0 and float((boxes[:, 2:] >= -1e-3).all(axis=1).mean()) > _MOST


def in_shares(boxes: Floats) -> bool:
    """Whether boxes (N, 4) are shares of the picture and not pixels."""
    return len(boxes) > 0 and float(np.abs(boxes).max()) <= _HIGHEST_SHARE and bool(np.any(boxes))


def coordinates(columns: Floats, boxes: Floats) -> NDArray[np.bool_]:
    """Which of the columns (K, N) follow the boxes' (N, 4) first two numbers from cell to cell, as key points do.

    Of numbers from 0 to 1, which are asked for, only where the boxes are shares, too.
    """
    if len(boxes) < 16 or not in_shares(boxes):
        return np.zeros(len(columns), bool)
    places = boxes[:, :2].T.astype(np.float64)
    places -= places.mean(axis=1, keepdims=True)
    values = columns - columns.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(values, axis=1)[:, None] * np.linalg.norm(places, axis=1)[None]
    with np.errstate(divide="ignore", invalid="ignore"):
        correlations = np.where(lengths > 1e-9, (values @ places.T) / lengths, 0)
    return np.asarray((correlations > _FOLLOWS).any(axis=1) & (columns.std(axis=1) > _SPREAD))


def one_of_them(scores: Floats) -> bool:
    """Whether each row of scores (N, C) sums to 1: a softmax, one of whose columns is the background."""
    if scores.shape[1] < 2 or len(scores) < 16:
        return False
    return bool(np.all(np.abs(scores.sum(axis=1) - 1) < 5e-3))


def within_reach(boxes: Floats, size: tuple[int, int]) -> bool:
    """Whether boxes (N, 4) xyxy in pixels lie about an input of `size` (width, height), the median and nine of ten."""
    if not len(boxes):
        return True
    sides = np.array(size * 2, np.float32)
    inside = ((boxes >= -3 * sides) & (boxes <= 4 * sides)).all(axis=1)
    centre = np.median((boxes[:, :2] + boxes[:, 2:]) / 2, axis=0)
    return float(inside.mean()) >= 0.9 and bool(np.all((centre >= -0.5 * sides[:2]) & (centre <= 1.5 * sides[:2])))
