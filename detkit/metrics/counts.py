"""True positives, false positives and misses at a working point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.metrics.outcomes import Outcomes


@dataclass(frozen=True)
class Counts:
    """tp, fp, fn; precision, recall and F1 from them, -1 where nothing defines them."""

    tp: int
    fp: int
    fn: int

    @property
    def precision(self) -> float:
        """tp / (tp + fp)."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else -1.0

    @property
    def recall(self) -> float:
        """tp / (tp + fn)."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else -1.0

    @property
    def f1(self) -> float:
        """2 tp / (2 tp + fp + fn)."""
        total = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / total if total else -1.0


def class_counts(outcomes: Outcomes, score: float) -> list[Counts]:
    """The counts of each of the K classes among detections of at least `score`."""
    accepted = outcomes.ranking.scores >= score
    classes = len(outcomes.positives)
    tp = np.bincount(outcomes.ranking.class_index[accepted & outcomes.hit], minlength=classes)
    all_counted = np.bincount(outcomes.ranking.class_index[accepted & outcomes.counts], minlength=classes)
    return [
        Counts(int(hits), int(total - hits), int(positives - hits))
        for hits, total, positives in zip(tp, all_counted, outcomes.positives, strict=True)
    ]


def total_counts(counts: list[Counts]) -> Counts:
    """The sum over classes."""
    return Counts(sum(c.tp for c in counts), sum(c.fp for c in counts), sum(c.fn for c in counts))


def image_counts(
    outcomes: Outcomes, truth_image: NDArray[np.int64], score: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(tp, fp, fn), int64 (I,) each: the counts of every image among detections of at least `score`.

    truth_image   int64 (M,), the image of each true box
    """
    ranking, images = outcomes.ranking, outcomes.images
    accepted = ranking.scores >= score
    tp = np.bincount(ranking.image[accepted & outcomes.hit], minlength=images)
    counted = np.bincount(ranking.image[accepted & outcomes.counts], minlength=images)
    boxes = np.bincount(truth_image[outcomes.positive], minlength=images)
    return tp, counted - tp, boxes - tp
