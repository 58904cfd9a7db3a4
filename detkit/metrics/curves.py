"""Curves over the score: precision and recall, ROC, miss rate and recall over false positives per image.

Each curve has a point for every distinct score: detections of equal score are accepted together. It starts before
the first point with nothing accepted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.metrics.average_precision import hits_for_recalls, interpolated_precision
from detkit.metrics.outcomes import Outcomes
from detkit.metrics.ranking import falling_order

MISS_RATE_FPPI = np.logspace(-2.0, 0.0, 9)
FROC_FPPI = np.array([0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0])


@dataclass(frozen=True)
class Curve:
    """Detections accepted at P falling scores.

    scores      float64 (P,);  hits, falses   int64 (P,), true and false positives of at least that score
    positives   true boxes that count;  images   pictures they were looked for in
    """

    scores: NDArray[np.float64]
    hits: NDArray[np.int64]
    falses: NDArray[np.int64]
    positives: int
    images: int

    @property
    def precision(self) -> NDArray[np.float64]:
        """float64 (P,), hits / (hits + falses)."""
        return np.asarray(self.hits / np.maximum(self.hits + self.falses, 1))

    @property
    def recall(self) -> NDArray[np.float64]:
        """float64 (P,), hits / positives; 0 where there are none."""
        return self.hits / max(self.positives, 1)

    @property
    def f1(self) -> NDArray[np.float64]:
        """float64 (P,), the harmonic mean of precision and recall."""
        return np.asarray(2 * self.hits / np.maximum(self.hits + self.falses + self.positives, 1))

    @property
    def falses_per_image(self) -> NDArray[np.float64]:
        """float64 (P,), false positives per image (FPPI)."""
        return self.falses / max(self.images, 1)

    def at(self, score: float) -> tuple[int, int]:
        """(hits, falses) of the detections with at least `score`."""
        point = int(np.searchsorted(-self.scores, -score, side="right")) - 1
        return (int(self.hits[point]), int(self.falses[point])) if point >= 0 else (0, 0)

    def roc(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(false positive rate, true positive rate), float64 (P + 1,), from (0, 0) to (1, 1).

        A detector has no true negatives, so the rates are over what it has put out: of all its false positives and
        of all its hits, the shares with at least a score. It tells how well the score ranks hits before false
        positives, and nothing of boxes that were missed; scikit-learn's `roc_curve` of (hit, score) is the same.
        """
        falses = np.append(0, self.falses)
        hits = np.append(0, self.hits)
        return falses / max(falses[-1], 1), hits / max(hits[-1], 1)

    def roc_auc(self) -> float:
        """Area under `roc`; -1 unless there are both hits and false positives."""
        if not len(self.hits) or not self.hits[-1] or not self.falses[-1]:
            return -1.0
        false_rate, true_rate = self.roc()
        return float(np.sum(np.diff(false_rate) * (true_rate[1:] + true_rate[:-1]) / 2))

    def miss_rates(self, falses_per_image: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64 (Q,): share of boxes missed at the last score with at most so many false positives per image.

        1 where even the highest score has more. -1 if there are no true boxes.
        """
        if not self.positives:
            return np.full(len(falses_per_image), -1.0)
        point = np.searchsorted(self.falses_per_image, falses_per_image, side="right")
        return 1.0 - np.append(0.0, self.recall)[point]

    def log_average_miss_rate(self) -> float:
        """Geometric mean of the miss rates at nine FPPI from 0.01 to 1, even in the logarithm; -1 if undefined.

        Dollar et al., "Pedestrian Detection: An Evaluation of the State of the Art", 2012, section 3.1. A miss rate
        of 0 enters as 1e-10, as in the authors' code.
        """
        if not self.positives or not self.images:
            return -1.0
        return float(np.exp(np.mean(np.log(np.maximum(self.miss_rates(MISS_RATE_FPPI), 1e-10)))))

    def froc(self) -> tuple[NDArray[np.float64], float]:
        """(recalls float64 (7,) at 1/8, 1/4 ... 8 false positives per image, their mean); -1 if undefined.

        The free-response score of the CAMELYON and LUNA16 challenges (van Ginneken et al. 2010).
        """
        if not self.positives or not self.images:
            return np.full(len(FROC_FPPI), -1.0), -1.0
        recalls = 1.0 - self.miss_rates(FROC_FPPI)
        return recalls, float(np.mean(recalls))

    def best_f1(self) -> tuple[float, float]:
        """(score, F1) of the working point of the highest F1, of equals the highest score; (-1, -1) if undefined."""
        if not self.positives or not len(self.scores):
            return -1.0, -1.0
        point = int(np.argmax(self.f1))
        return float(self.scores[point]), float(self.f1[point])

    def best_threshold(self) -> float | None:
        """What a score has to exceed at the working point of the highest F1; None where none has a hit."""
        score, f1 = self.best_f1()
        return None if f1 <= 0 else self._below(score)

    def threshold_of_precision(self, wanted: float) -> float | None:
        """What a score has to exceed for the lowest working point whose precision is at least `wanted`.

        That is the one of the highest recall. None where there is none, or none with a hit.
        """
        points = np.flatnonzero((self.precision >= wanted) & (self.hits > 0))
        return self._below(float(self.scores[points[-1]])) if len(points) else None

    def _below(self, score: float) -> float:
        """The threshold of the working point `score`: halfway to the next lower one, 0.001 below the last."""
        lower = self.scores[self.scores < score]
        return float(score + lower[0]) / 2 if len(lower) else max(score - 0.001, 0.0)


def class_curve(outcomes: Outcomes, class_index: int) -> Curve:
    """The curve of one class."""
    some = slice(outcomes.ranking.starts[class_index], outcomes.ranking.starts[class_index + 1])
    positives = int(outcomes.positives[class_index])
    return _curve(outcomes, some, positives)


def pooled_curve(outcomes: Outcomes) -> Curve:
    """The curve of all detections together, whatever their class ("micro" average)."""
    return _curve(outcomes, slice(None), int(outcomes.positives.sum()))


def _curve(outcomes: Outcomes, some: slice, positives: int) -> Curve:
    counts = outcomes.counts[some]
    scores, hit = outcomes.ranking.scores[some][counts], outcomes.hit[some][counts]
    if some.start is None:  # all classes; each by itself is in order
        order = falling_order(scores)
        scores, hit = scores.take(order), hit.take(order)
    last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
    hits = np.cumsum(hit)[last]
    return Curve(scores[last], hits, np.flatnonzero(last) + 1 - hits, positives, outcomes.images)


def mean_precision_curve(outcomes: Outcomes, recalls: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 (R,): interpolated precision at `recalls`, averaged over the classes with boxes ("macro" average)."""
    class_of, seen = outcomes.hit_curve()
    defined = outcomes.positives > 0
    if not defined.any():
        return np.zeros(len(recalls))
    curves = interpolated_precision(class_of, seen, hits_for_recalls(outcomes.positives, recalls))
    return np.asarray(curves[defined].mean(axis=0))
