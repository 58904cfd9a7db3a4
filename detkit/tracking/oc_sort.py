"""OC-SORT (Cao et al. 2023, CVPR, "Observation-Centric SORT"): SORT that trusts observations more than its filter.

Departures from the paper: times in seconds, so the two boxes that give a direction are a tenth of a second apart and
not three frames; tentative tracks come last, as in ByteTrack.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats, iou
from detkit.tracking.association import Matches, assign_rows, gate, joined, unmatched
from detkit.tracking.motion import BoxHistory, Motion
from detkit.tracking.tracker import Frame, Tracker
from detkit.tracking.tracker_settings import TrackerSettings

MOST, LEAST = 0.3, 0.12  # the gate
RECOVERY = 0.3  # the gate at a track's last box
DIRECTION_WEIGHT = 0.2  # the paper's lambda
DIRECTION_SPAN = 0.1  # seconds between the two boxes that give a direction: the paper's 3 frames at 30 a second
REMEMBERED = 8  # boxes of each track


class OCSort(Tracker):
    """Association with direction (OCM), recovery at the last box (OCR), re-update after a gap (ORU)."""

    def __init__(self, settings: TrackerSettings | None = None, motion: Motion | None = None) -> None:
        super().__init__(settings, motion)
        self._history = BoxHistory(REMEMBERED)
        self._frames: list[float] = []

    def associate(self, frame: Frame) -> Matches:
        least = self.settings.min_iou or gate(MOST, LEAST, frame.step)
        confirmed, tentative = np.flatnonzero(self.lives.confirmed), np.flatnonzero(~self.lives.confirmed)
        high = np.flatnonzero(frame.believed)
        similarity = iou(frame.predicted, frame.boxes) * frame.same_class
        bonus = DIRECTION_WEIGHT * self._same_direction(frame, similarity >= least)
        last = iou(self._history.boxes[:, -1], frame.boxes) * frame.same_class

        matches = assign_rows(similarity, confirmed, high, least, bonus)
        rest = unmatched(confirmed, matches.tracks), unmatched(high, matches.detections)
        matches = joined(matches, assign_rows(last, *rest, RECOVERY))
        begun = assign_rows(similarity, tentative, unmatched(high, matches.detections), least)
        return joined(matches, begun)

    def observe(self, frame: Frame, matches: Matches) -> None:
        self._re_update(frame, matches)
        super().observe(frame, matches)
        self._history.append(matches.tracks, frame.boxes[matches.detections], frame.time)

    def begin(self, boxes: Floats, time: float) -> None:
        super().begin(boxes, time)
        self._history.add(boxes, time)
        self._frames = [earlier for earlier in self._frames if earlier >= time - self.settings.lost] + [time]

    def keep(self, rows: NDArray[np.bool_]) -> None:
        super().keep(rows)
        self._history.keep(rows)

    def _re_update(self, frame: Frame, matches: Matches) -> None:
        """ORU (sec. 4.1): a track found again is taken along the straight line over the frames without it."""
        lost = self.lives.missed[matches.tracks]
        rows, boxes = matches.tracks[lost], frame.boxes[matches.detections[lost]]
        if not len(rows):
            return
        last, since = self._history.boxes[rows, -1], self._history.times[rows, -1]
        for time in self._frames[bisect_right(self._frames, since.min()) :]:
            gone = since < time
            part = ((time - since[gone]) / (frame.time - since[gone]))[:, None]
            self.motion.update(rows[gone], last[gone] + part * (boxes[gone] - last[gone]), time)

    def _same_direction(self, frame: Frame, pairs: NDArray[np.bool_]) -> Floats:
        """OCM (sec. 4.2), (T, N) from -1/2 to 1/2: 1/2 - angle / pi between a track's way and the way to a detection.

        Both ways begin at the track's box of DIRECTION_SPAN ago. It is 0 for tracks that were seen once, and where
        `pairs` (T, N) is false.
        """
        history = self._history
        early = history.times <= history.times[:, -1:] - DIRECTION_SPAN + 1e-6
        place = np.where(early.any(axis=1), history.length - 1 - np.argmax(early[:, ::-1], axis=1), 0)
        start = _centres(history.boxes[np.arange(len(place)), place])
        way = _centres(history.boxes[:, -1]) - start  # (T, 2)

        same = np.zeros(pairs.shape)
        track, detection = np.nonzero(pairs & (history.count > 1)[:, None])
        ways = _centres(frame.boxes)[detection] - start[track]
        angle = np.abs(np.arctan2(ways[:, 1], ways[:, 0]) - np.arctan2(way[:, 1], way[:, 0])[track])
        same[track, detection] = 0.5 - np.minimum(angle, 2 * np.pi - angle) / np.pi
        return same


def _centres(boxes: Floats) -> Floats:
    return (boxes[:, :2] + boxes[:, 2:]) / 2
