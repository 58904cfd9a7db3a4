"""ByteTrack (Zhang et al. 2022, ECCV, "ByteTrack: Multi-Object Tracking by Associating Every Detection Box").

Departures from the paper: the thresholds of scores follow the detector's scale (`scores.believed_from`) where none is
set; the gate follows the step between frames; time is in seconds.
"""

from __future__ import annotations

import numpy as np

from detkit.boxes import iou
from detkit.tracking.association import Matches, assign_rows, gate, joined, unmatched
from detkit.tracking.tracker import Frame, Tracker

MOST, LEAST = 0.3, 0.12  # the gate of the first step
SECOND = 0.5  # the gate of the second, the paper's


class ByteTrack(Tracker):
    """Algorithm 1: believed detections first, then the others, for all tracks that are left.

    Lost tracks are among them, as in the paper; the authors' program leaves them out. As there, tentative tracks are
    asked last, for the believed detections that are left.
    """

    def associate(self, frame: Frame) -> Matches:
        least = self.settings.min_iou or gate(MOST, LEAST, frame.step)
        similarity = iou(frame.predicted, frame.boxes) * frame.same_class
        confirmed, tentative = np.flatnonzero(self.lives.confirmed), np.flatnonzero(~self.lives.confirmed)
        high, low = np.flatnonzero(frame.believed), np.flatnonzero(~frame.believed)

        first = assign_rows(similarity, confirmed, high, least)
        left = unmatched(confirmed, first.tracks)
        second = assign_rows(similarity, left, low, SECOND)
        third = assign_rows(similarity, tentative, unmatched(high, first.detections), least)
        return joined(first, second, third)
