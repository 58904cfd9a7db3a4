"""Where a track's box is expected next: what every motion model can be asked, and one that needs no filter.

A motion model holds the state of T tracks, in rows. It is told what was seen, and asked for the boxes at a time.
Asking changes nothing: the state is that of each track's last detection, and a prediction spans the whole gap since.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats

Rows = NDArray[np.int64] | NDArray[np.bool_]


class Motion(Protocol):
    """A motion model of T tracks. Boxes are float64 (N, 4) xyxy in pixels, times seconds."""

    def add(self, boxes: Floats, time: float) -> None:
        """N tracks more, after those that are there, first seen at `time`."""

    def predict(self, time: float) -> Floats:
        """The boxes (T, 4) expected at `time`."""

    def update(self, rows: NDArray[np.int64], boxes: Floats, time: float) -> None:
        """The tracks `rows` (N,) were seen at `time` as `boxes` (N, 4)."""

    def boxes(self) -> Floats:
        """The boxes (T, 4) as the model sees them at each track's last detection."""

    def keep(self, rows: Rows) -> None:
        """Go on with the tracks `rows` only, in that order."""


class BoxHistory:
    """The last `length` boxes of T tracks and their times, oldest first.

    boxes (T, length, 4), times (T, length), count (T,): how many are there; they stand at the end, and the places
    before them hold the oldest box and its time.
    """

    def __init__(self, length: int) -> None:
        self.boxes: Floats = np.zeros((0, length, 4))
        self.times: Floats = np.zeros((0, length))
        self.count: NDArray[np.int64] = np.zeros(0, np.int64)

    @property
    def length(self) -> int:
        return int(self.boxes.shape[1])

    def add(self, boxes: Floats, time: float) -> None:
        self.boxes = np.concatenate((self.boxes, np.repeat(boxes[:, None], self.length, axis=1)))
        self.times = np.concatenate((self.times, np.full((len(boxes), self.length), time)))
        self.count = np.concatenate((self.count, np.ones(len(boxes), np.int64)))

    def append(self, rows: NDArray[np.int64], boxes: Floats, time: float) -> None:
        self.boxes[rows, :-1] = self.boxes[rows, 1:]
        self.times[rows, :-1] = self.times[rows, 1:]
        self.boxes[rows, -1] = boxes
        self.times[rows, -1] = time
        self.count[rows] = np.minimum(self.count[rows] + 1, self.length)

    def keep(self, rows: Rows) -> None:
        self.boxes, self.times, self.count = self.boxes[rows], self.times[rows], self.count[rows]


# boxes (T, K, 4), seconds since each of them (T, K), how many of them are real (T,) -> boxes (T, 4)
HistoryModel = Callable[[Floats, Floats, NDArray[np.int64]], NDArray[Any]]


class HistoryMotion:
    """A motion model that looks at each track's last boxes: the seam for a trained network.

    model    (boxes (T, K, 4) xyxy, seconds ago (T, K), count (T,)) -> boxes (T, 4) now. Boxes are oldest first; the
             last `count` of them are real, those before repeat the oldest. It decides for all tracks in one call
    length   K
    """

    def __init__(self, model: HistoryModel, length: int) -> None:
        self._model = model
        self._history = BoxHistory(length)

    def add(self, boxes: Floats, time: float) -> None:
        self._history.add(boxes, time)

    def predict(self, time: float) -> Floats:
        history = self._history
        if not len(history.count):
            return np.zeros((0, 4))
        return np.asarray(self._model(history.boxes, time - history.times, history.count), dtype=np.float64)

    def update(self, rows: NDArray[np.int64], boxes: Floats, time: float) -> None:
        self._history.append(rows, boxes, time)

    def boxes(self) -> Floats:
        return self._history.boxes[:, -1]

    def keep(self, rows: Rows) -> None:
        self._history.keep(rows)


# box (T, 4), seconds since the box before (T,), seconds ahead (T,), state -> boxes (T, 4) expected then, next state
States = tuple[NDArray[Any], ...]
StatefulModel = Callable[[Floats, Floats, Floats, States], tuple[NDArray[Any], States]]


class StatefulMotion:
    """A motion model that remembers by a state of its own, as recurrent networks do: the other seam for a network.

    model   (box (T, 4) xyxy, since (T,), ahead (T,), states (T, ...) each) -> (boxes (T, 4) expected, next states).
            `box` is a track's last, `since` the seconds from the box before to it (0 for a track's first), `ahead`
            those from it to the moment asked for, the states what it knew before that box. The next states do not
            depend on `ahead`
    blank   the states of one new track, each of shape (1, ...)
    """

    def __init__(self, model: StatefulModel, blank: States) -> None:
        self._model, self._blank = model, blank
        self._states: States = tuple(one[:0] for one in blank)
        self._boxes: Floats = np.zeros((0, 4))
        self._times: Floats = np.zeros(0)
        self._since: Floats = np.zeros(0)

    def add(self, boxes: Floats, time: float) -> None:
        count = len(boxes)
        self._boxes = np.concatenate((self._boxes, np.asarray(boxes, np.float64)))
        self._times = np.concatenate((self._times, np.full(count, time)))
        self._since = np.concatenate((self._since, np.zeros(count)))
        new = (np.repeat(one, count, axis=0) for one in self._blank)
        self._states = tuple(np.concatenate(both) for both in zip(self._states, new, strict=True))

    def predict(self, time: float) -> Floats:
        if not len(self._boxes):
            return np.zeros((0, 4))
        expected, _ = self._model(self._boxes, self._since, time - self._times, self._states)
        return np.asarray(expected, dtype=np.float64)

    def update(self, rows: NDArray[np.int64], boxes: Floats, time: float) -> None:
        if not len(rows):
            return
        states = tuple(one[rows] for one in self._states)
        _, following = self._model(self._boxes[rows], self._since[rows], np.zeros(len(rows)), states)
        for own, new in zip(self._states, following, strict=True):
            own[rows] = new
        self._boxes[rows], self._since[rows], self._times[rows] = boxes, time - self._times[rows], time

    def boxes(self) -> Floats:
        return self._boxes

    def keep(self, rows: Rows) -> None:
        self._boxes, self._times, self._since = self._boxes[rows], self._times[rows], self._since[rows]
        self._states = tuple(one[rows] for one in self._states)


def mean_velocity(boxes: Floats, ago: Floats, count: NDArray[np.int64]) -> Floats:
    """The last box, moved on by the mean velocity over the boxes that are known (Yang et al. 2023, eq. 2).

    The paper counts frames; here velocities are per second, so that gaps and changing rates do no harm.
    """
    span = ago[:, 0] - ago[:, -1]  # (T,), 0 for a track seen once
    velocity = np.divide(
        boxes[:, -1] - boxes[:, 0], span[:, None], out=np.zeros_like(boxes[:, 0]), where=span[:, None] > 0
    )
    return _upright(boxes[:, -1] + velocity * ago[:, -1:])


def last_box(boxes: Floats, ago: Floats, count: NDArray[np.int64]) -> Floats:
    """The last box, where it was."""
    return boxes[:, -1]


def last_velocity(boxes: Floats, ago: Floats, count: NDArray[np.int64]) -> Floats:
    """The last box, moved on by the velocity between the last two."""
    return mean_velocity(boxes[:, -2:], ago[:, -2:], count)


def least_squares(boxes: Floats, ago: Floats, count: NDArray[np.int64]) -> Floats:
    """Each coordinate on the straight line of least squares through the boxes that are known."""
    real = np.arange(boxes.shape[1]) >= boxes.shape[1] - count[:, None]  # (T, K)
    weight = real / count[:, None]
    middle = (weight * ago).sum(axis=1)
    mean = (weight[..., None] * boxes).sum(axis=1)
    off = weight * (ago - middle[:, None])
    spread = (off * (ago - middle[:, None])).sum(axis=1)
    slope = np.divide(
        (off[..., None] * boxes).sum(axis=1), spread[:, None], out=np.zeros_like(mean), where=spread[:, None] > 0
    )
    return _upright(mean - slope * middle[:, None])  # at 0 seconds ago


def _upright(boxes: Floats) -> Floats:
    """Boxes whose sides have crossed shrink to their middle instead."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.concatenate((np.minimum(boxes[:, :2], middle), np.maximum(boxes[:, 2:], middle)), axis=1)
