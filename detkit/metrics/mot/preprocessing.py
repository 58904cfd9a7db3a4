"""MOTChallenge's preparation of a sequence: which boxes of the truth and of the result count.

Rules of TrackEval 1.3 (Luiten 2020), dataset MotChallenge2DBox.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detkit.metrics.mot.assignment import assign
from detkit.metrics.mot.track_overlaps import EPS, FramePairs, Ints, frame_pairs
from detkit.tracks import TrackTable

PEDESTRIAN = 1
SAME_BOX = 0.5  # overlap from which a box of the result is taken for the distractor under it


@dataclass(frozen=True)
class Rules:
    """What counts in a benchmark.

    classes       whether the truth has classes; without them all its rows count whose score is not 0
    distractors   classes of the truth that cost nothing: the boxes of the result on them are taken away
    """

    classes: bool = True
    distractors: tuple[int, ...] = ()


MOT15 = Rules(classes=False)
MOT17 = Rules(distractors=(2, 7, 8, 12))  # person on vehicle, static person, distractor, reflection
MOT20 = Rules(distractors=(2, 6, 7, 8, 12))  # and non-motorised vehicle


def prepare(truth: TrackTable, result: TrackTable, rules: Rules) -> FramePairs:
    """The boxes that count, and their overlaps.

    With classes, the boxes of the result are matched (IoU at least 0.5) to all boxes of the truth, whatever their
    class or score; those on a distractor are taken away. Then only pedestrians of a score other than 0 stay in the
    truth.
    """
    return prepared_rows(truth, result, rules)[0]


def prepared_rows(truth: TrackTable, result: TrackTable, rules: Rules) -> tuple[FramePairs, Ints, Ints]:
    """The same, with the rows of `truth` and `result` that its boxes are."""
    video, order = frame_pairs(truth, result)
    score, class_id = truth.scores[order].astype(np.int64), truth.class_ids[order]
    counts = score != 0
    result_counts = np.ones(len(video.result_frame), bool)
    if rules.classes:
        near = video.where(video.iou >= SAME_BOX - EPS)
        matched = assign(near, near.iou)
        distracted = np.isin(class_id[near.truth[matched]], rules.distractors)
        result_counts[near.result[matched[distracted]]] = False
        counts &= class_id == PEDESTRIAN
    result_order = np.argsort(result.frames, kind="stable")
    return video.without(counts, result_counts), order[counts], result_order[result_counts]
