"""CLEAR MOT (Bernardin and Stiefelhagen 2008), with MOTChallenge's mostly tracked and mostly lost tracks.

Boxes match from an IoU of 0.5. A match of the frame before goes before all others; then the largest summed IoU
decides. As in TrackEval 1.3, "the frame before" is the last one in which both sides have boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from detkit.metrics.mot.assignment import choices
from detkit.metrics.mot.track_overlaps import EPS, FramePairs, Ints

MATCH = 0.5
KEEP = 1000.0  # what a match of the frame before weighs beside an IoU
MOSTLY_TRACKED, MOSTLY_LOST = 0.8, 0.2  # share of its boxes that a track is matched in


@dataclass(frozen=True)
class Clear:
    """Counts of a sequence, or of several added up; the figures follow from them.

    one_sided   whether truth or result has no box at all: TrackEval then gives 0 for all figures that are shares
    """

    true_positives: int = 0
    false_negatives: int = 0
    false_positives: int = 0
    switches: int = 0
    fragments: int = 0
    mostly_tracked: int = 0
    partly_tracked: int = 0
    mostly_lost: int = 0
    overlap: float = 0.0  # summed IoU of the matches
    one_sided: bool = False

    @property
    def mota(self) -> float:
        """1 - (FN + FP + switches) / true boxes."""
        return self._share(self.true_positives - self.false_positives - self.switches, self._truth)

    @property
    def moda(self) -> float:
        """MOTA without the switches."""
        return self._share(self.true_positives - self.false_positives, self._truth)

    @property
    def motp(self) -> float:
        """Mean IoU of the matches."""
        return self._share(self.overlap, self.true_positives)

    @property
    def s_mota(self) -> float:
        """MOTA in which a match counts as much as its IoU."""
        return self._share(self.overlap - self.false_positives - self.switches, self._truth)

    @property
    def recall(self) -> float:
        return self._share(self.true_positives, self._truth)

    @property
    def precision(self) -> float:
        return self._share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def _truth(self) -> int:
        return self.true_positives + self.false_negatives

    def _share(self, part: float, whole: float) -> float:
        return 0.0 if self.one_sided else float(part / max(1.0, whole))


def clear(video: FramePairs) -> Clear:
    """The counts of a sequence that `preprocessing.prepare` has prepared."""
    truth_boxes, result_boxes = len(video.truth_id), len(video.result_id)
    if truth_boxes == 0 or result_boxes == 0:
        return Clear(
            false_negatives=truth_boxes,
            false_positives=result_boxes,
            mostly_lost=video.truth_tracks,
            one_sided=True,
        )
    near, matches, step_of_frame = matched(video)
    truth_id, result_id = near.truth_id[near.truth[matches]], near.result_id[near.result[matches]]
    step = step_of_frame[near.result_frame[near.result[matches]]]
    order = np.lexsort((step, truth_id))
    same_truth = np.diff(truth_id[order]) == 0
    switches = same_truth & (np.diff(result_id[order]) != 0)
    resumed = same_truth & (np.diff(step[order]) > 1)

    boxes = np.bincount(video.truth_id)
    share = np.bincount(truth_id, minlength=len(boxes)) / boxes
    mostly_tracked = int(np.count_nonzero(share > MOSTLY_TRACKED))
    partly_tracked = int(np.count_nonzero(share >= MOSTLY_LOST)) - mostly_tracked
    return Clear(
        true_positives=len(matches),
        false_negatives=truth_boxes - len(matches),
        false_positives=result_boxes - len(matches),
        switches=int(np.count_nonzero(switches)),
        fragments=int(np.count_nonzero(resumed)),
        mostly_tracked=mostly_tracked,
        partly_tracked=partly_tracked,
        mostly_lost=len(boxes) - mostly_tracked - partly_tracked,
        overlap=float(near.iou[matches].sum()),
    )


def matched(video: FramePairs) -> tuple[FramePairs, Ints, Ints]:
    """The matches of a sequence: `video` with the pairs that may match, which of these do, ascending by frame, and
    the place of each frame among those in which both sides have boxes (-1 for the others).
    """
    near = video.where(video.iou >= MATCH - EPS)
    both = np.flatnonzero((np.diff(video.truth_start()) > 0) & (np.diff(video.result_start()) > 0))
    step_of_frame = np.full(video.frames, -1)
    step_of_frame[both] = np.arange(len(both))
    return near, _matches(near, step_of_frame), step_of_frame


def combined_clear(parts: Sequence[Clear]) -> Clear:
    """The counts of several sequences, added up."""
    names = [field.name for field in fields(Clear) if field.name != "one_sided"]
    return Clear(**{name: sum(getattr(part, name) for part in parts) for name in names})


def _matches(near: FramePairs, step_of_frame: Ints) -> Ints:
    """The matched pairs of `near`, frame after frame."""
    decisions = choices(near)
    settled = decisions.settled
    pair_step = step_of_frame[near.result_frame[near.result]]
    settled_start = np.searchsorted(pair_step[settled], np.arange(pair_step.max(initial=-1) + 2))
    pair_truth, pair_result = near.truth_id[near.truth], near.result_id[near.result]
    previous = np.full(near.truth_tracks, -1)  # the result's track that each true track had in the frame before
    decided: list[Ints] = []
    last_step, last = -1, settled[:0]
    for index, (frame, span) in enumerate(zip(decisions.frames, decisions.spans, strict=True)):
        step = int(step_of_frame[frame])
        before = last if last_step == step - 1 else settled[settled_start[max(step - 1, 0)] : settled_start[step]]
        previous[:] = -1
        previous[pair_truth[before]] = pair_result[before]
        kept = previous[pair_truth[span]] == pair_result[span]
        last_step, last = step, decisions.best(index, KEEP * kept + near.iou[span])
        decided.append(last)
    return np.sort(np.concatenate((settled, *decided)))
