"""Which track of a result covers each true track, frame by frame: what a switch and a miss look like in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detkit.metrics.mot.clear import matched
from detkit.metrics.mot.preprocessing import MOT17, Rules, prepared_rows
from detkit.metrics.mot.track_overlaps import Ints
from detkit.tracks import TrackTable


@dataclass(frozen=True)
class Coverage:
    """The G boxes of a truth that count, by track, then by frame; numbers as in the files.

    frames, ids   int64 (G,)
    by            int64 (G,), the track of the result that matches there (CLEAR's matches); -1 where none does
    switched      bool (G,), matched by another track than the box before that was matched
    """

    frames: Ints
    ids: Ints
    by: Ints
    switched: np.ndarray


def coverage(truth: TrackTable, result: TrackTable, rules: Rules = MOT17) -> Coverage:
    """How `result` covers `truth`; its switches are those that CLEAR counts."""
    video, truth_rows, result_rows = prepared_rows(truth, result, rules)
    by = np.full(len(video.truth_id), -1)
    if len(by) and len(video.result_id):
        near, pairs, _ = matched(video)
        by[near.truth[pairs]] = result.ids[result_rows[near.result[pairs]]]
    frames, ids = truth.frames[truth_rows], truth.ids[truth_rows]
    order = np.lexsort((frames, ids))
    frames, ids, by = frames[order], ids[order], by[order]
    covered = np.flatnonzero(by >= 0)
    switched = np.zeros(len(by), bool)
    before, after = covered[:-1], covered[1:]
    switched[after] = (ids[before] == ids[after]) & (by[before] != by[after])
    return Coverage(frames, ids, by, switched)
