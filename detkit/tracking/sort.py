"""SORT (Bewley et al. 2016, ICIP, "Simple Online and Realtime Tracking"): Kalman filter, IoU, one assignment.

Departures from the paper: the filter is `kalman.KalmanMotion`, in seconds and with width and height in place of area
and ratio; a lost track is remembered for `lost` seconds, where the paper's T_lost is one frame; tentative tracks come
after the confirmed ones, as in DeepSORT and ByteTrack, so that a false detection cannot take a box from a track.
"""

from __future__ import annotations

import numpy as np

from detkit.boxes import iou
from detkit.tracking.association import Matches, assign_rows, gate, joined, unmatched
from detkit.tracking.tracker import Frame, Tracker

MOST, LEAST = 0.3, 0.12  # the gate


class Sort(Tracker):
    """The believed detections are assigned to the tracks by IoU; the others are not looked at."""

    def associate(self, frame: Frame) -> Matches:
        least = self.settings.min_iou or gate(MOST, LEAST, frame.step)
        similarity = iou(frame.predicted, frame.boxes) * frame.same_class
        confirmed, tentative = np.flatnonzero(self.lives.confirmed), np.flatnonzero(~self.lives.confirmed)
        high = np.flatnonzero(frame.believed)

        first = assign_rows(similarity, confirmed, high, least)
        second = assign_rows(similarity, tentative, unmatched(high, first.detections), least)
        return joined(first, second)
