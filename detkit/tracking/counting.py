"""Counting tracks: over a line, by direction, and inside a zone, with the time spent there.

An object is where its anchor is: by default the middle of its box's lower side, where it stands on the ground. Only
confirmed tracks count, but a track is followed from its first detection, so one that crosses before it is confirmed is
not missed. Times are seconds of the video's clock.

Against flicker both use hysteresis. A track changes sides of a line only where it is clear of it by `margin`, a
share of the height of its box, so one that trembles on the line is counted once, and one that comes near and turns back
is not. It leaves a zone only where it is as far outside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats
from detkit.errors import UsageError
from detkit.tracking.tracker import Tracks

Point = tuple[float, float]

ANCHORS: dict[str, Point] = {"foot": (0.5, 1.0), "centre": (0.5, 0.5), "head": (0.5, 0.0)}  # shares of width and height
MARGIN = 0.1  # of the height of a box: about how far the boxes of a detector tremble
BORDER = 2.0  # pixels: what ends so near a border of the picture touches it
FORGET = 60.0  # seconds after which a track that was not seen is not followed any more
_MANY = 256  # followed tracks, from which the old ones are looked for


@dataclass(frozen=True)
class Crossing:
    """A track that went over a line: `forward` from the left of the line to its right, as one sees it who looks from
    its start to its end; a line from left to right in the picture is crossed forward by what goes down.
    """

    time: float
    track_id: int
    class_id: int
    forward: bool


@dataclass(frozen=True)
class Visit:
    """A stay of a track in a zone, from the first to the last second that it was seen there.

    entry   whether it was seen outside before; else it was first seen inside
    exit    whether it was seen outside after; else it was last seen inside
    """

    track_id: int
    class_id: int
    entered: float
    left: float
    entry: bool
    exit: bool

    @property
    def seconds(self) -> float:
        return self.left - self.entered


@dataclass
class _Walker:
    """A track as a line sees it: its last place and the last one clear of the line (1 right, -1 left, 0 not yet)."""

    seen: float
    place: Point
    distance: float
    side: int = 0
    over: bool = False  # whether the last change of sign was on the segment, not beside it


class LineCounter:
    """Counts tracks that cross the segment from `start` to `end`, two points (x, y) in pixels, ends included.

    The way between two frames counts, so an object that jumps over the line is counted; one that walks around an end
    is not. Where `size` (width, height) of the picture is given, a line along a border counts as crossed by what
    touches that border: boxes end there, and their anchors stay inside.

    `crossings` holds all that were counted, in order.
    """

    def __init__(
        self,
        start: Point,
        end: Point,
        size: tuple[float, float] | None = None,
        anchor: str = "foot",
        margin: float = MARGIN,
    ) -> None:
        self._start, self._end = np.array(start, np.float64), np.array(end, np.float64)
        self._anchor, self._margin = _anchor(anchor), margin
        self._at_border = False
        if size is not None:
            self._move_inside(size)
        self._way = self._end - self._start
        self._length = float(np.hypot(*self._way))
        if not np.isfinite(self._length) or not self._length:
            raise UsageError(f"a line needs two different points, got {tuple(start)} and {tuple(end)}")
        self._walkers: dict[int, _Walker] = {}
        self._waiting: dict[int, list[tuple[float, bool]]] = {}  # what tracks did that are not yet confirmed
        self.crossings: list[Crossing] = []

    def update(self, tracks: Tracks) -> list[Crossing]:
        """The crossings of the next frame."""
        places = _places(tracks, self._anchor)
        offset = places - self._start
        margins = np.full(len(tracks), BORDER) if self._at_border else _margins(tracks, self._margin)
        # distance from the line, positive on its right in a picture, where y grows downward
        distances = (self._way[0] * offset[:, 1] - self._way[1] * offset[:, 0]) / self._length
        new: list[Crossing] = []
        for row, serial in enumerate(tracks.serials.tolist()):
            place = (float(places[row, 0]), float(places[row, 1]))
            forward = self._follow(serial, tracks.time, place, float(distances[row]), float(margins[row]))
            if forward is not None:
                self._waiting.setdefault(serial, []).append((tracks.time, forward))
            if tracks.confirmed[row] and serial in self._waiting:
                track, class_id = int(tracks.track_ids[row]), int(tracks.class_ids[row])
                new += [Crossing(time, track, class_id, way) for time, way in self._waiting.pop(serial)]
        self.crossings += new
        for serial in _forgotten({serial: walker.seen for serial, walker in self._walkers.items()}, tracks.time):
            del self._walkers[serial]
            self._waiting.pop(serial, None)
        return new

    def _follow(self, serial: int, time: float, place: Point, distance: float, margin: float) -> bool | None:
        """Whether the track has now crossed, forward or not; None where it has not."""
        walker = self._walkers.get(serial)
        if walker is None:
            walker = self._walkers[serial] = _Walker(time, place, distance)
        elif (walker.distance >= 0) != (distance >= 0):
            part = walker.distance / (walker.distance - distance)
            met = np.add(walker.place, part * np.subtract(place, walker.place))
            along = float((met - self._start) @ self._way) / self._length**2
            walker.over = -1e-9 <= along <= 1 + 1e-9
        walker.seen, walker.place, walker.distance = time, place, distance
        if abs(distance) < margin:
            return None
        before, walker.side = walker.side, 1 if distance > 0 else -1
        return walker.side > 0 if before == -walker.side and walker.over else None

    def _move_inside(self, size: tuple[float, float]) -> None:
        """A line along a border: moved in by 2 BORDER, and crossed by the side of a box, not by its anchor.

        What touches the border is then clear of the line on the outside, also where boxes end a pixel before it.
        """
        for axis in (0, 1):
            ends = np.array([self._start[axis], self._end[axis]])
            for border, share, inward in ((0.0, 0.0, 1.0), (float(size[axis]), 1.0, -1.0)):
                if (np.abs(ends - border) <= BORDER).all():
                    self._start[axis] = self._end[axis] = border + 2 * inward * BORDER
                    self._at_border = True
                    self._anchor = (share, self._anchor[1]) if axis == 0 else (self._anchor[0], share)


@dataclass
class _Guest:
    """A track as a zone sees it."""

    seen: float
    was_outside: bool = False
    entered: float | None = None  # while inside
    entry: bool = False
    left: float = 0.0
    track_id: int = 0
    class_id: int = 0


class ZoneCounter:
    """Visits of tracks in a polygon, K >= 3 points (x, y) in pixels; its border belongs to it.

    A track that is not seen for a while does not leave: its visit goes on when it is seen inside again. `visits` gives
    all visits so far, those that go on included; `inside` how many tracks of the last frame were in the zone.
    """

    def __init__(self, polygon: Sequence[Point], anchor: str = "foot", margin: float = MARGIN) -> None:
        self._corners = np.array(polygon, np.float64)
        if self._corners.ndim != 2 or self._corners.shape[1:] != (2,) or len(self._corners) < 3:
            raise UsageError("a zone needs at least three points x, y")
        self._anchor, self._margin = _anchor(anchor), margin
        self._guests: dict[int, _Guest] = {}
        self._finished: list[Visit] = []
        self.inside = 0

    def update(self, tracks: Tracks) -> None:
        """What the tracks of the next frame do."""
        within, distance = _within(_places(tracks, self._anchor), self._corners)
        outside = ~within & (distance >= _margins(tracks, self._margin))
        within |= distance <= 1e-9
        self.inside = 0
        for row, serial in enumerate(tracks.serials.tolist()):
            guest = self._guests.setdefault(serial, _Guest(tracks.time))
            guest.seen = tracks.time
            guest.track_id, guest.class_id = int(tracks.track_ids[row]), int(tracks.class_ids[row])
            if guest.entered is None and within[row]:
                guest.entered, guest.entry = tracks.time, guest.was_outside
            if guest.entered is not None:
                if outside[row]:
                    self._finish(guest, exited=True)
                else:
                    guest.left = tracks.time
                    self.inside += bool(tracks.confirmed[row])
            guest.was_outside = guest.entered is None
        for serial in _forgotten({serial: guest.seen for serial, guest in self._guests.items()}, tracks.time):
            self._finish(self._guests.pop(serial), exited=False)

    def visits(self) -> list[Visit]:
        """All visits of confirmed tracks, by the time of entering."""
        going_on = [_visit(guest, exited=False) for guest in self._guests.values() if _counts(guest)]
        return sorted([*self._finished, *going_on], key=lambda visit: (visit.entered, visit.track_id))

    def _finish(self, guest: _Guest, exited: bool) -> None:
        if _counts(guest):
            self._finished.append(_visit(guest, exited))
        guest.entered = None


def totals(crossings: Iterable[Crossing]) -> Counter[tuple[int, bool]]:
    """Crossings by (class, forward)."""
    return Counter((crossing.class_id, crossing.forward) for crossing in crossings)


def by_minute(crossings: Iterable[Crossing]) -> Counter[tuple[int, int, bool]]:
    """Crossings by (minute of the video from 0, class, forward)."""
    return Counter((int(crossing.time // 60), crossing.class_id, crossing.forward) for crossing in crossings)


def _counts(guest: _Guest) -> bool:
    return guest.entered is not None and guest.track_id > 0


def _visit(guest: _Guest, exited: bool) -> Visit:
    assert guest.entered is not None
    return Visit(guest.track_id, guest.class_id, guest.entered, guest.left, guest.entry, exited)


def _anchor(name: str) -> Point:
    if name not in ANCHORS:
        raise UsageError(f"no anchor {name!r}; there are {', '.join(ANCHORS)}")
    return ANCHORS[name]


def _places(tracks: Tracks, anchor: Point) -> Floats:
    """The anchors (N, 2) of the boxes."""
    boxes = tracks.boxes.astype(np.float64)
    return np.asarray(boxes[:, :2] + (boxes[:, 2:] - boxes[:, :2]) * np.array(anchor))


def _margins(tracks: Tracks, share: float) -> Floats:
    """How far each track (N,) has to be from a border to be clear of it, in pixels."""
    return np.asarray(np.maximum(share * (tracks.boxes[:, 3] - tracks.boxes[:, 1]), 1e-6))


def _within(points: Floats, corners: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Whether each of `points` (N, 2) is inside the polygon (even-odd rule), and its distance from the border."""
    start, end = corners, np.roll(corners, -1, axis=0)
    way = end - start  # (K, 2)
    offset = points[:, None] - start  # (N, K, 2)
    above, end_above = offset[..., 1] < 0, points[:, None, 1] < end[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        meets = offset[..., 0] < way[:, 0] * offset[..., 1] / way[:, 1]
    inside = ((above != end_above) & meets).sum(axis=1) % 2 == 1
    length = np.maximum((way**2).sum(axis=1), np.finfo(np.float64).tiny)
    part = np.clip((offset * way).sum(axis=2) / length, 0, 1)
    distance = np.hypot(*np.moveaxis(offset - part[..., None] * way, 2, 0)).min(axis=1)
    return inside, distance


def _forgotten(seen: dict[int, float], time: float) -> list[int]:
    """The tracks not seen for long; looked for only where there are many."""
    if len(seen) < _MANY:
        return []
    return [serial for serial, last in seen.items() if time - last > FORGET]
