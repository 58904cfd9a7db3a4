"""C-BIoU (Yang et al. 2023, WACV, "Hard To Track Objects with Irregular Motions and Similar Appearances? Make It
Easier by Buffering the Matching Space"): boxes are enlarged before they are compared, a little first, then more.

Departures from the paper: a Kalman filter in place of the mean velocity of the last boxes, which is
`motion.mean_velocity` and loses 2 HOTA on noisy detections; detections that are not believed may carry on a track,
and tentative tracks come last, both as in ByteTrack.
"""

from __future__ import annotations

import numpy as np

from detkit.tracking.association import Matches, assign_rows, buffered_iou, gate, joined, unmatched
from detkit.tracking.tracker import Frame, Tracker

SMALL, LARGE = 0.3, 0.5  # the paper's b1 and b2
MOST, LEAST, REACH = 0.4, 0.2, 0.03  # the gate; buffered boxes overlap more
SECOND = 0.5  # the gate for detections that are not believed


class CBIoU(Tracker):
    """Cascaded matching (sec. 3.3): buffer b1 first, then b2 for tracks and detections that are left."""

    def associate(self, frame: Frame) -> Matches:
        least = self.settings.min_iou or gate(MOST, LEAST, frame.step, REACH)
        confirmed, tentative = np.flatnonzero(self.lives.confirmed), np.flatnonzero(~self.lives.confirmed)
        high, low = np.flatnonzero(frame.believed), np.flatnonzero(~frame.believed)
        small = buffered_iou(frame.predicted, frame.boxes, SMALL) * frame.same_class
        large = buffered_iou(frame.predicted, frame.boxes, LARGE) * frame.same_class

        matches = assign_rows(small, confirmed, high, least)
        rest = unmatched(confirmed, matches.tracks), unmatched(high, matches.detections)
        matches = joined(matches, assign_rows(large, *rest, least))
        left = unmatched(confirmed, matches.tracks)
        carried = assign_rows(small, left, low, SECOND)
        begun = assign_rows(large, tentative, unmatched(high, matches.detections), least)
        return joined(matches, carried, begun)
