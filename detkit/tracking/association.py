"""Which detection continues which track: similarity of boxes, and the assignment of largest summed similarity."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from detkit.boxes import Floats, iou

Ints = NDArray[np.int64]
_LEAST_VALUE = 1e-6  # of a pair inside the gate, so that it goes before no match


class Matches(NamedTuple):
    """Rows of tracks and, at the same places, of detections: int64 (M,) each."""

    tracks: Ints
    detections: Ints

    @classmethod
    def none(cls) -> Matches:
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))


def buffered(boxes: Floats, ratio: float) -> Floats:
    """Boxes that reach further on each side by `ratio` of their width and height (Yang et al. 2023, sec. 3.2)."""
    margin = ratio * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate((boxes[:, :2] - margin, boxes[:, 2:] + margin), axis=1)


def buffered_iou(a: Floats, b: Floats, ratio: float) -> Floats:
    """BIoU (N, M): the IoU of buffered boxes. `ratio` 0 is the plain IoU."""
    return iou(buffered(a, ratio), buffered(b, ratio))


def assign(similarity: Floats, least: float | Floats, bonus: Floats | None = None) -> Matches:
    """The one-to-one assignment of largest summed similarity among the pairs of at least `least`.

    similarity   (N, M); a pair of 0 never matches
    least        the gate, or one for each pair
    bonus        (N, M), may be negative: counts in the sum, not at the gate

    Pairs outside the gate have no part in the sum, so that they cannot take a box from a pair inside.
    """
    inside = (similarity >= least) & (similarity > 0)
    if not inside.any():
        return Matches.none()
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    part = np.ix_(rows, columns)
    value = similarity[part] if bonus is None else np.maximum(similarity[part] + bonus[part], _LEAST_VALUE)
    chosen = linear_sum_assignment(np.where(inside[part], value, 0), maximize=True)
    matched = inside[rows[chosen[0]], columns[chosen[1]]]
    return Matches(rows[chosen[0][matched]], columns[chosen[1][matched]])


def assign_rows(
    similarity: Floats, tracks: Ints, detections: Ints, least: float, bonus: Floats | None = None
) -> Matches:
    """`assign` among some `tracks` and some `detections` of the whole matrix; rows are those of the whole."""
    if not len(tracks) or not len(detections):
        return Matches.none()
    part = np.ix_(tracks, detections)
    matches = assign(similarity[part], least, None if bonus is None else bonus[part])
    return Matches(tracks[matches.tracks], detections[matches.detections])


def joined(*parts: Matches) -> Matches:
    """The matches of several steps together."""
    return Matches(np.concatenate([part.tracks for part in parts]), np.concatenate([part.detections for part in parts]))


def unmatched(rows: Ints, taken: Ints) -> Ints:
    """Those of `rows` that are not in `taken`."""
    if not len(taken) or not len(rows):
        return rows
    free = np.ones(max(int(rows.max()), int(taken.max())) + 1, bool)
    free[taken] = False
    return rows[free[rows]]


def gate(most: float, least: float, step: float, reach: float = 0.02) -> float:
    """The overlap that joins a detection to a track, when frames are `step` seconds apart: reach / step, within limits.

    The further a box may have gone since the last frame, the less overlap can be asked for; at 30 frames a second a
    small overlap is another object.
    """
    return float(min(max(reach / step, least), most)) if step > 0 else most
