"""From which score a detection is believed, where nobody says: detectors have scales of their own.

A network's scores lie between 0 and 1, a boosted detector's between -1 and 150. The many good detections of a video
score alike, near the top of the scale, and the false ones trail off below. How far down to believe depends on how
closely the good ones crowd at the top: a network that gives most objects 0.8 means little by 0.4.

Scores are weighted by their squares here, so that it matters little how many low ones the detector was made to give.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from detkit.boxes import Floats

REMEMBERED = 2000  # scores that a running threshold looks back on
CROWD, TOP = 0.25, 0.9  # weighted quantiles: where the good scores begin to crowd, and the top of the scale
POWER = 3.0
MOST = 0.6  # of the top


def believed_from(scores: ArrayLike) -> float:
    """The score from which detections are believed, given some scores (N,) of the same detector.

    top * (crowd / top)^3, and at most 0.6 top, of the weighted quantiles above. Everything is believed (-inf) where no
    score is above 0.
    """
    values = np.sort(np.asarray(scores, np.float64))
    weights = np.cumsum(np.maximum(values, 0) ** 2)
    if not len(values) or weights[-1] <= 0:
        return -np.inf
    crowd, top = values[np.searchsorted(weights, np.array([CROWD, TOP]) * weights[-1])]
    return float(top * min((crowd / top) ** POWER, MOST))


class ScoreScale:
    """`believed_from` of the scores seen so far, at most the last 2,000."""

    def __init__(self) -> None:
        self._scores: Floats = np.zeros(0)

    def add(self, scores: Floats) -> float:
        """The threshold, after `scores` (N,) of the next frame."""
        self._scores = np.concatenate((self._scores, scores))[-REMEMBERED:]
        return believed_from(self._scores)
