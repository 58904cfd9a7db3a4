"""The settings of all trackers, as one value."""

from __future__ import annotations

from dataclasses import dataclass

from detkit.errors import UsageError


@dataclass(frozen=True)
class TrackerSettings:
    """What a tracker may be told. Times are seconds of the video's clock, so they hold at every frame rate.

    conf            score from which a detection is believed at once: it may begin a track. Those below can only
                    carry a track on, in trackers that use them. None: taken from the scores seen so far, since
                    detectors have scales of their own (`scores.ScoreScale`)
    lost            seconds for which a confirmed track is remembered after its last detection
    confirm         detections that make a track confirmed
    tentative       seconds for which a track is remembered that is not yet confirmed
    min_iou         overlap that joins a detection to a track at the first try; None: the tracker's own
    other_class     factor on the overlap of a detection and a track of another class, so that a class that flickers
                    does not end a track, and a rider and the bicycle do not change places

    A track that was seen in the last frame is always offered the next one, however long the step between them.
    """

    conf: float | None = None
    lost: float = 1.0
    confirm: int = 2
    tentative: float = 0.0
    min_iou: float | None = None
    other_class: float = 0.7

    def __post_init__(self) -> None:
        if not self.lost >= 0 or not self.tentative >= 0:
            raise UsageError("lost and tentative are seconds, at least 0")
        if self.confirm < 1:
            raise UsageError(f"confirm is a number of detections, at least 1, got {self.confirm}")
        if self.min_iou is not None and not 0 < self.min_iou <= 1:
            raise UsageError(f"min_iou is an overlap above 0 and up to 1, got {self.min_iou}")
        if not 0 <= self.other_class <= 1:
            raise UsageError(f"other_class is a factor from 0 to 1, got {self.other_class}")
