"""Identity figures (Ristani et al. 2016, "Performance Measures and a Data Set for Multi-Target ... Tracking").

Each true track is given one track of the result for the whole video, so that most boxes agree (IoU at least 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from detkit.metrics.mot.track_overlaps import FramePairs

MATCH = 0.5


@dataclass(frozen=True)
class Identity:
    """Boxes under the right track (IDTP), true boxes without (IDFN), boxes of the result without (IDFP)."""

    true_positives: int = 0
    false_negatives: int = 0
    false_positives: int = 0

    @property
    def idf1(self) -> float:
        """IDF1, eq. 10: IDTP / (IDTP + IDFP / 2 + IDFN / 2)."""
        half = 0.5 * self.false_positives + 0.5 * self.false_negatives
        return self.true_positives / max(1.0, self.true_positives + half)

    @property
    def recall(self) -> float:
        """IDR."""
        return self.true_positives / max(1.0, self.true_positives + self.false_negatives)

    @property
    def precision(self) -> float:
        """IDP."""
        return self.true_positives / max(1.0, self.true_positives + self.false_positives)


def identity(video: FramePairs) -> Identity:
    """The identity counts of a sequence that `preprocessing.prepare` has prepared.

    The paper's bipartite graph with a stand-in for every track has the same optimum as the plain assignment of
    largest agreement, since what a track costs unassigned is its length.
    """
    near = video.where(video.iou >= MATCH)
    agreement = np.zeros((video.truth_tracks, video.result_tracks))
    np.add.at(agreement, (near.truth_id[near.truth], near.result_id[near.result]), 1)
    agreement = agreement[agreement.any(axis=1)][:, agreement.any(axis=0)]
    true_positives = int(agreement[linear_sum_assignment(agreement, maximize=True)].sum())
    return Identity(true_positives, len(video.truth_id) - true_positives, len(video.result_id) - true_positives)


def combined_identity(parts: Sequence[Identity]) -> Identity:
    """The counts of several sequences, added up."""
    return Identity(
        sum(part.true_positives for part in parts),
        sum(part.false_negatives for part in parts),
        sum(part.false_positives for part in parts),
    )
