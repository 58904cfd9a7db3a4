"""The tracks of a whole video as a table, when all frames are known: what a file of results holds.

While frames come in, a track is without a number until it is confirmed, and its class is what most detections said so
far. Afterwards all its boxes can have its number and its last class, and gaps can be filled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.tracking.tracker import Tracks
from detkit.tracks import TrackTable

NOT_DETECTED = -1


@dataclass(frozen=True)
class Trajectories:
    """The boxes of all confirmed tracks of a video; N rows, by frame, then by track.

    table        frames as they were given to `Recorder.add`, ids from 1 without gaps
    times        float64 (N,), seconds
    detections   int64 (N,), row of the detection in its frame; NOT_DETECTED (-1) where a gap was filled
    """

    table: TrackTable
    times: NDArray[np.float64]
    detections: NDArray[np.int64]


class Recorder:
    """Collects the tracks of frame after frame."""

    def __init__(self) -> None:
        self._frames: list[tuple[int, Tracks]] = []

    def add(self, frame: int, tracks: Tracks) -> None:
        """The tracks of the frame with number `frame`, ascending; frames without a track may be given too."""
        self._frames.append((frame, tracks))

    def trajectories(self, fill: float = 0.0) -> Trajectories:
        """All that was collected, with the boxes from before confirmation.

        fill   seconds: shorter gaps of a track get boxes on the straight line between its ends, at the frames that were
               added (Zhang et al. 2022, tracklet interpolation); their score is the lower of the two ends
        """
        if not any(len(tracks) for _, tracks in self._frames):
            return Trajectories(TrackTable.empty(), np.zeros(0), np.zeros(0, np.int64))
        counts = [len(tracks) for _, tracks in self._frames]
        frames = np.repeat([frame for frame, _ in self._frames], counts)
        times = np.repeat([tracks.time for _, tracks in self._frames], counts)
        serials, ids, boxes, scores, class_ids, detections = (
            np.concatenate([getattr(tracks, name) for _, tracks in self._frames])
            for name in ("serials", "track_ids", "boxes", "scores", "class_ids", "detections")
        )
        number = np.zeros(serials.max() + 1, np.int64)
        np.maximum.at(number, serials, ids)
        last_class = np.zeros(len(number), np.int64)
        last_class[serials] = class_ids  # the last assignment stays
        kept = number[serials] > 0
        serials = serials[kept]
        table = TrackTable(
            frames[kept].astype(np.int64),
            number[serials],
            boxes[kept].astype(np.float64),
            scores[kept].astype(np.float64),
            last_class[serials],
        )
        whole = Trajectories(table, times[kept], detections[kept])
        if fill > 0:
            whole = _filled(whole, fill, np.array([(frame, tracks.time) for frame, tracks in self._frames]))
        order = np.lexsort((whole.table.ids, whole.table.frames))
        return Trajectories(whole.table[order], whole.times[order], whole.detections[order])


def _filled(whole: Trajectories, longest: float, clock: NDArray[np.float64]) -> Trajectories:
    """`whole` with the gaps of up to `longest` seconds filled, at the frames of `clock` (F, 2): number, time."""
    table, times = whole.table, whole.times
    order = np.lexsort((times, table.ids))
    place = np.searchsorted(clock[:, 0], table.frames)  # frames come in ascending order
    before, after = order[:-1], order[1:]
    missing = place[after] - place[before] - 1
    gap = (table.ids[before] == table.ids[after]) & (missing > 0) & (times[after] - times[before] <= longest)
    before, after, missing = before[gap], after[gap], missing[gap]

    start, end = np.repeat(before, missing), np.repeat(after, missing)
    step = np.arange(len(start)) - np.repeat(np.cumsum(missing) - missing, missing) + 1
    at = clock[place[start] + step]
    part = ((at[:, 1] - times[start]) / np.maximum(times[end] - times[start], np.finfo(float).tiny))[:, None]
    boxes = table.boxes[start] + part * (table.boxes[end] - table.boxes[start])
    return Trajectories(
        TrackTable(
            np.concatenate((table.frames, at[:, 0].astype(np.int64))),
            np.concatenate((table.ids, table.ids[start])),
            np.concatenate((table.boxes, boxes)),
            np.concatenate((table.scores, np.minimum(table.scores[start], table.scores[end]))),
            np.concatenate((table.class_ids, table.class_ids[start])),
        ),
        np.concatenate((times, at[:, 1])),
        np.concatenate((whole.detections, np.full(len(start), NOT_DETECTED))),
    )


def replay(whole: Trajectories) -> Iterator[Tracks]:
    """The same frame by frame, as a tracker gives them, those frames that hold a track: for what counts tracks.

    All are confirmed and have their last class, so that a track is counted as one thing from its first box on.
    """
    table = whole.table
    order = np.lexsort((table.ids, table.frames))
    for rows in np.split(order, np.flatnonzero(np.diff(table.frames[order])) + 1) if len(order) else ():
        yield Tracks(
            float(whole.times[rows[0]]),
            table.boxes[rows].astype(np.float32),
            table.scores[rows].astype(np.float32),
            table.class_ids[rows],
            table.ids[rows],
            table.ids[rows],
            whole.detections[rows],
            np.ones(len(rows), bool),
        )
