"""What all trackers share: a frame comes in, tracks go out. Each tracker adds how it associates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detkit.boxes import Floats, as_boxes
from detkit.errors import InputError
from detkit.tracking.association import Ints, Matches
from detkit.tracking.kalman import KalmanMotion
from detkit.tracking.life import Lives
from detkit.tracking.motion import Motion
from detkit.tracking.scores import ScoreScale
from detkit.tracking.tracker_settings import TrackerSettings
from detkit.tracks import NO_CLASS


@dataclass(frozen=True)
class Tracks:
    """The tracks that were seen in one frame, in the order of their detections; N rows.

    time          seconds
    boxes         float32 (N, 4) xyxy, the boxes of the detections
    scores        float32 (N,)
    class_ids     int64 (N,), what most detections of the track said so far
    track_ids     int64 (N,), from 1, without jumps, in the order of confirmation; 0 while a track is tentative
    serials       int64 (N,), from 1, of every track, confirmed or not: what a track is known by before it has a number
    detections    int64 (N,), row of the detection in what was given to `update`
    confirmed     bool (N,)
    """

    time: float
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: Ints
    track_ids: Ints
    serials: Ints
    detections: Ints
    confirmed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.track_ids)


@dataclass(frozen=True)
class Frame:
    """What a tracker decides on, in one frame: T tracks, N detections.

    time         seconds
    step         seconds since the frame before; infinite for the first one
    predicted    float64 (T, 4), where the tracks are expected
    boxes        float64 (N, 4), the detections
    scores       float64 (N,)
    believed     bool (N,): a score that may begin a track
    same_class   (T, N), 1, or `other_class` where detection and track are of different classes
    """

    time: float
    step: float
    predicted: Floats
    boxes: Floats
    scores: Floats
    believed: NDArray[np.bool_]
    same_class: Floats


class Tracker(ABC):
    """Joins the detections of frame after frame into tracks. One tracker, one video.

    settings   see `TrackerSettings`
    motion     where tracks are expected; None: the tracker's own
    """

    def __init__(self, settings: TrackerSettings | None = None, motion: Motion | None = None) -> None:
        self.settings = settings or TrackerSettings()
        self.motion = motion or self.default_motion()
        self.lives = Lives.none()
        self._scale = ScoreScale()
        self._time = -np.inf

    def default_motion(self) -> Motion:
        return KalmanMotion()

    @abstractmethod
    def associate(self, frame: Frame) -> Matches:
        """Which detection continues which track."""

    def update(self, time: float, boxes: ArrayLike, scores: ArrayLike, class_ids: ArrayLike | None = None) -> Tracks:
        """The tracks of the next frame, which was taken at `time` seconds of the video's clock.

        boxes (N, 4) xyxy in pixels, scores (N,), class_ids (N,) or none. All frames have to be handed in, those without
        a detection too. InputError for arrays that do not fit together, values that are not finite, or a time that
        lies before that of the last frame.
        """
        found, score, class_id = _checked(boxes, scores, class_ids)
        if not np.isfinite(time) or time < self._time:
            raise InputError(f"tracks: frame at {time} s after one at {self._time} s; times must not run backwards")
        settings = self.settings
        self._keep(~self.lives.expired(time, settings.lost, settings.tentative))
        believed_from = self._scale.add(score) if settings.conf is None else settings.conf

        frame = Frame(
            time,
            time - self._time,
            self.motion.predict(time),
            found.astype(np.float64),
            score,
            score >= believed_from,
            np.where(self.lives.class_ids()[:, None] == class_id, 1.0, settings.other_class),
        )
        matches = self.associate(frame)
        self.observe(frame, matches)

        free = frame.believed.copy()
        free[matches.detections] = False
        new = np.flatnonzero(free)
        self.begin(frame.boxes[new], time)
        rows = np.concatenate((matches.tracks, self.lives.begin(class_id[new], time)))
        detections = np.concatenate((matches.detections, new))
        order = np.argsort(detections)
        rows, detections = rows[order], detections[order]
        self.lives.see(rows, class_id[detections], time, settings.confirm)
        self.lives.missed[:] = True
        self.lives.missed[rows] = False
        self._time = time

        tracks = Tracks(
            float(time),
            found[detections],
            score[detections].astype(np.float32),
            self.lives.class_ids()[rows],
            self.lives.ids[rows],
            self.lives.serials[rows],
            detections,
            self.lives.confirmed[rows],
        )
        self._keep(~self.lives.expired(time, settings.lost, settings.tentative))
        return tracks

    def observe(self, frame: Frame, matches: Matches) -> None:
        """Tell the motion model what was seen. Called before new tracks are added."""
        self.motion.update(matches.tracks, frame.boxes[matches.detections], frame.time)

    def begin(self, boxes: Floats, time: float) -> None:
        """New tracks, in the rows after those that are there. Called once a frame."""
        self.motion.add(boxes, time)

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Go on with some of the tracks."""
        self.lives.keep(rows)
        self.motion.keep(rows)

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        if not kept.all():
            self.keep(kept)


def _checked(
    boxes: ArrayLike, scores: ArrayLike, class_ids: ArrayLike | None
) -> tuple[NDArray[np.float32], Floats, Ints]:
    found = as_boxes(boxes)
    score = np.asarray(scores, np.float64).reshape(-1)
    class_id = np.full(len(found), NO_CLASS) if class_ids is None else np.asarray(class_ids, np.int64).reshape(-1)
    if len(score) != len(found) or len(class_id) != len(found):
        raise InputError(f"tracks: {len(found)} boxes, {len(score)} scores and {len(class_id)} classes in one frame")
    if not np.isfinite(found).all() or not np.isfinite(score).all():
        raise InputError("tracks: a box or a score that is not a finite number")
    return found, score, class_id
