"""HOTA: Higher Order Tracking Accuracy (Luiten et al. 2021, IJCV, "HOTA: A Higher Order Metric ...").

As in the authors' TrackEval: one matching of a frame serves all 19 thresholds, and it prefers pairs of tracks that
overlap along the whole video (the global alignment score).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.metrics.mot.assignment import assign
from detkit.metrics.mot.track_overlaps import EPS, FramePairs, Ints

ALPHAS = np.arange(0.05, 0.99, 0.05)  # localisation thresholds
Floats = NDArray[Any]


@dataclass(frozen=True)
class Hota:
    """HOTA's figures at the 19 thresholds `ALPHAS`; each array has shape (19,). Means over them are the usual figures.

    true_positives, false_negatives, false_positives   boxes
    ass_a, ass_recall, ass_precision                   AssA, AssRe, AssPr: means over the true positives
    loc_a                                              LocA, mean IoU of the true positives; 1 where there are none
    """

    true_positives: Ints
    false_negatives: Ints
    false_positives: Ints
    ass_a: Floats
    ass_recall: Floats
    ass_precision: Floats
    loc_a: Floats

    @property
    def det_a(self) -> Floats:
        """DetA, eq. 12: TP / (TP + FN + FP)."""
        total = self.true_positives + self.false_negatives + self.false_positives
        return np.asarray(self.true_positives / np.maximum(1, total))

    @property
    def det_recall(self) -> Floats:
        return np.asarray(self.true_positives / np.maximum(1, self.true_positives + self.false_negatives))

    @property
    def det_precision(self) -> Floats:
        return np.asarray(self.true_positives / np.maximum(1, self.true_positives + self.false_positives))

    @property
    def hota(self) -> Floats:
        """HOTA, eq. 7: the geometric mean of DetA and AssA."""
        return np.asarray(np.sqrt(self.det_a * self.ass_a))


def hota(video: FramePairs) -> Hota:
    """HOTA's figures of a sequence that `preprocessing.prepare` has prepared."""
    chosen = assign(video, _alignment(video) * video.iou)
    truth_id, result_id = video.truth_id[video.truth[chosen]], video.result_id[video.result[chosen]]
    iou = video.iou[chosen]
    codes, track_pair = np.unique(truth_id * video.result_tracks + result_id, return_inverse=True)
    truth_length = np.bincount(video.truth_id)[codes // max(video.result_tracks, 1)]
    result_length = np.bincount(video.result_id)[codes % max(video.result_tracks, 1)]

    true_positives = np.zeros(len(ALPHAS), np.int64)
    sums = np.zeros((4, len(ALPHAS)))
    for a, alpha in enumerate(ALPHAS):
        hit = iou >= alpha - EPS
        together = np.bincount(track_pair[hit], minlength=len(codes))  # eq. 10's TPA of each pair of tracks
        true_positives[a] = np.count_nonzero(hit)
        squares = together * together
        sums[:, a] = (
            (squares / np.maximum(1, truth_length + result_length - together)).sum(),
            (squares / np.maximum(1, truth_length)).sum(),
            (squares / np.maximum(1, result_length)).sum(),
            iou[hit].sum(),
        )
    return Hota(
        true_positives,
        len(video.truth_id) - true_positives,
        len(video.result_id) - true_positives,
        ass_a=sums[0] / np.maximum(1, true_positives),
        ass_recall=sums[1] / np.maximum(1, true_positives),
        ass_precision=sums[2] / np.maximum(1, true_positives),
        loc_a=_mean_overlap(sums[3], true_positives),
    )


def combined_hota(parts: Sequence[Hota]) -> Hota:
    """The figures of several sequences together: counts are added, the others weighted by true positives."""
    weights = np.array([part.true_positives for part in parts], dtype=np.float64).reshape(-1, len(ALPHAS))
    true_positives = weights.sum(axis=0)

    def total(name: str) -> Floats:
        values = np.array([getattr(part, name) for part in parts], dtype=np.float64).reshape(weights.shape)
        return np.asarray((values * weights).sum(axis=0))

    def count(name: str) -> Ints:
        counts = np.array([getattr(part, name) for part in parts], np.int64)
        return np.asarray(counts.reshape(weights.shape).sum(axis=0))

    return Hota(
        count("true_positives"),
        count("false_negatives"),
        count("false_positives"),
        ass_a=total("ass_a") / np.maximum(1, true_positives),
        ass_recall=total("ass_recall") / np.maximum(1, true_positives),
        ass_precision=total("ass_precision") / np.maximum(1, true_positives),
        loc_a=_mean_overlap(total("loc_a"), true_positives),
    )


def _alignment(video: FramePairs) -> Floats:
    """The global alignment score of the two tracks of each pair, (P,): a Jaccard index along the whole video.

    Each frame adds to a pair of tracks its IoU, divided by all overlap that the two boxes have in that frame.
    """
    truth_sum = np.bincount(video.truth, video.iou, minlength=len(video.truth_id))
    result_sum = np.bincount(video.result, video.iou, minlength=len(video.result_id))
    total = truth_sum[video.truth] + result_sum[video.result] - video.iou
    share = np.divide(video.iou, total, out=np.zeros_like(total), where=total > EPS)
    truth_id, result_id = video.truth_id[video.truth], video.result_id[video.result]
    _, track_pair = np.unique(truth_id * video.result_tracks + result_id, return_inverse=True)
    together = np.bincount(track_pair, share)[track_pair]
    both = np.bincount(video.truth_id)[truth_id] + np.bincount(video.result_id)[result_id]
    return np.asarray(together / (both - together))


def _mean_overlap(total: Floats, true_positives: NDArray[np.number]) -> Floats:
    return np.asarray(np.maximum(1e-10, total) / np.maximum(1e-10, true_positives))
