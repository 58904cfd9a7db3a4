"""Multi-object tracking: detections of frame after frame, joined into tracks.

`make_tracker("bytetrack").update(seconds, boxes, scores, class_ids)` gives the `Tracks` of a frame. A new tracker is
one module and one row of `TRACKERS`.
"""

from __future__ import annotations

from dataclasses import dataclass

from detkit.errors import UsageError
from detkit.tracking.bytetrack import ByteTrack
from detkit.tracking.c_biou import CBIoU
from detkit.tracking.motion import Motion
from detkit.tracking.oc_sort import OCSort
from detkit.tracking.sort import Sort
from detkit.tracking.tracker import Tracker, Tracks
from detkit.tracking.tracker_settings import TrackerSettings

__all__ = ["TRACKERS", "Motion", "Tracker", "TrackerKind", "TrackerSettings", "Tracks", "make_tracker"]


@dataclass(frozen=True)
class TrackerKind:
    """A tracker as the command line knows it.

    name    of the option; title, of the method; source, the paper
    """

    name: str
    title: str
    source: str
    make: type[Tracker]


TRACKERS = {
    kind.name: kind
    for kind in (
        TrackerKind("bytetrack", "ByteTrack", "Zhang et al. 2022, ECCV", ByteTrack),
        TrackerKind("sort", "SORT", "Bewley et al. 2016, ICIP", Sort),
        TrackerKind("c-biou", "C-BIoU", "Yang et al. 2023, WACV", CBIoU),
        TrackerKind("oc-sort", "OC-SORT", "Cao et al. 2023, CVPR", OCSort),
    )
}


def make_tracker(name: str, settings: TrackerSettings | None = None, motion: Motion | None = None) -> Tracker:
    """A new tracker by name. `motion` takes the place of its own motion model. UsageError for an unknown name."""
    if name not in TRACKERS:
        raise UsageError(f"no tracker {name!r}; there are {', '.join(TRACKERS)}")
    return TRACKERS[name].make(settings, motion)
