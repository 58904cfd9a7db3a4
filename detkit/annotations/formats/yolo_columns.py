"""What the columns of YOLO label files are, told from all lines of a folder together.

Behind the class there may be

    cx cy w h                     a box; with a score or a track number behind it, or both (ultralytics' order: score,
                                  number), or with the score before it
    x1 y1 x2 y2 x3 y3 ...         a polygon, or the four corners of a turned box; with a score where the count is odd
    cx cy w h  kx ky [v] ...      a box and its key points

One line rarely shows which: four numbers of a pose and a polygon look alike. All lines of a folder have one meaning,
so what holds for all of them decides; `kpt_shape` of data.yaml says it outright.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

# A box may reach out of its picture by this share of it.
_MARGIN = 0.02
# Lines from which on a layout that is not the usual one is believed, and the share of them that must fit.
_FEWEST = 4
_NEARLY_ALL = 0.99
_MOST = 0.9


@dataclass(frozen=True)
class Lines:
    """N lines with equally many numbers behind the class: boxes (N, 4), centre and size in shares of the picture.

    scores   float64 (N,), NaN where there is none
    points   (N, K, 2) corners of polygons, or (N, K, 3) key points with what is said of their visibility; or None
    """

    boxes: Numbers
    scores: Numbers
    points: Numbers | None = None


@dataclass(frozen=True)
class Reading:
    """What the lines of one length are.

    what   for a message, where they are not plain boxes (with a score); "" where they are
    kind   "box", "pose" or "polygon"
    """

    what: str
    take: Callable[[Numbers], Lines]
    kind: str = "box"


@dataclass(frozen=True)
class Known:
    """What is known of the lines of a folder.

    kpt_shape  count, 0 for none, and dimensions (2 or 3) of the key points, where data.yaml gives them
    varies     whether lines have many lengths, as polygons do and key points do not
    kind       "pose" or "polygon", where somebody has said so; "" where not
    """

    kpt_shape: tuple[int, int] | None = None
    varies: bool = False
    kind: str = ""


def reading_of(columns: Numbers, known: Known) -> Reading:
    """What lines of one length are.

    columns    (N, C), C >= 4: the numbers behind the class
    ValueError where it cannot be told.
    """
    count = columns.shape[1]
    kpt_shape, varies = known.kpt_shape, known.varies
    if kpt_shape is not None and kpt_shape[0] and known.kind != "polygon":
        further = count - 4 - kpt_shape[0] * kpt_shape[1]
        if 0 <= further <= 2:
            return _pose(columns[:, count - further :], further, kpt_shape[1])
        if count > 6:
            raise ValueError
    if known.kind == "pose" and count > 6:
        return _said_pose(columns)
    if known.kind == "polygon" and count >= 6:
        return _polygon(count)
    if count == 4:
        return _plain(columns)
    if count == 5:
        return _with_one(columns)
    if count == 6 and _are_whole(columns[:, 4:]).any():
        return _with_two(columns)
    if kpt_shape is None:
        pose = _looks_like_pose(columns, varies)
        if pose is not None:
            further, dimensions = pose
            return _pose(columns[:, count - further :], further, dimensions)
    return _polygon(count)


def _inside(boxes: Numbers) -> NDArray[np.bool_]:
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    return np.asarray(
        (low >= -_MARGIN).all(axis=1) & (high <= 1 + _MARGIN).all(axis=1) & (boxes[:, 2:] >= 0).all(axis=1)
    )


def _are_whole(columns: Numbers) -> NDArray[np.bool_]:
    """Which columns hold whole numbers only, one of them at least above 1: numbers of tracks, and no scores."""
    return np.asarray((columns == np.round(columns)).all(axis=0) & (columns.max(axis=0) > 1))


def _none(count: int) -> Numbers:
    return np.full(count, np.nan)


def _corners(columns: Numbers) -> Numbers:
    return np.concatenate(((columns[:, :2] + columns[:, 2:4]) / 2, columns[:, 2:4] - columns[:, :2]), axis=1)


def _top_left(columns: Numbers) -> Numbers:
    return np.concatenate((columns[:, :2] + columns[:, 2:4] / 2, columns[:, 2:4]), axis=1)


_LAYOUTS = {"class x1 y1 x2 y2": _corners, "class x y w h (the corner first)": _top_left}


def _layout(boxes: Numbers) -> tuple[str, Callable[[Numbers], Numbers]]:
    """Another layout than centre and size that alone keeps all boxes in their pictures; ("", ...) where none does."""
    if len(boxes) < _FEWEST or _inside(boxes).mean() >= _MOST or np.abs(boxes).max() > 2:
        return "", lambda columns: columns
    fitting = [(what, layout) for what, layout in _LAYOUTS.items() if _inside(layout(boxes)).mean() >= _NEARLY_ALL]
    return fitting[0] if len(fitting) == 1 else ("", lambda columns: columns)


def _plain(columns: Numbers) -> Reading:
    what, layout = _layout(columns)
    return Reading(what, lambda some: Lines(layout(some), _none(len(some))))


def _with_one(columns: Numbers) -> Reading:
    """A box with a score behind or before it, or a track number behind it."""
    if _are_whole(columns[:, 4:])[0]:
        return Reading("class cx cy w h track, without a score", lambda some: Lines(some[:, :4], _none(len(some))))
    behind, before = _inside(columns[:, :4]).mean(), _inside(columns[:, 1:]).mean()
    if len(columns) >= _FEWEST and behind < _MOST and before >= _NEARLY_ALL:
        return Reading("class score cx cy w h", lambda some: Lines(some[:, 1:], some[:, 0]))
    what, layout = _layout(columns[:, :4])
    return Reading(f"{what} score" if what else "", lambda some: Lines(layout(some[:, :4]), some[:, 4]))


def _with_two(columns: Numbers) -> Reading:
    """A box with a score and a track number, in either order."""
    whole = _are_whole(columns[:, 4:])
    if whole.all():
        return Reading("class cx cy w h and two whole numbers, without a score",
                       lambda some: Lines(some[:, :4], _none(len(some))))  # fmt: skip
    score = 5 if whole[0] else 4
    order = "track score" if whole[0] else "score track"
    return Reading(f"class cx cy w h {order}", lambda some: Lines(some[:, :4], some[:, score]))


def _said_pose(columns: Numbers) -> Reading:
    """Lines that are boxes with key points, of which nobody has said how many numbers each has."""
    count = columns.shape[1]
    for further in (0, 1, 2):
        points = columns[:, 4 : count - further]
        if points.shape[1] % 3 == 0 and np.isin(points[:, 2::3], (0, 1, 2)).all():
            return _pose(columns[:, count - further :], further, 3)
    further = count % 2
    return _pose(columns[:, count - further :], further, 2)


def _looks_like_pose(columns: Numbers, varies: bool) -> tuple[int, int] | None:
    """Columns behind the key points, and numbers a point, where all lines are boxes with key points; else None.

    ValueError where a few lines of one length may as well be polygons, and where others must be.
    """
    count = columns.shape[1]
    if not _inside(columns[:, :4]).all() or (columns[:, 2:4] <= 0).any():
        return None
    for further in (0, 1, 2):
        points = columns[:, 4 : count - further]
        if points.shape[1] >= 3 and points.shape[1] % 3 == 0 and np.isin(points[:, 2::3], (0, 1, 2)).all():
            visible = points[:, 2::3] > 0
            if _near(columns[:, :4], points[:, ::3], points[:, 1::3], visible):
                if varies and len(columns) >= _FEWEST:
                    raise ValueError
                if not varies:
                    return further, 3
    for further in () if varies else (0, 1):
        points = columns[:, 4 : count - further]
        if count - further >= 10 and points.shape[1] % 2 == 0:
            xs, ys = points[:, ::2], points[:, 1::2]
            if _near(columns[:, :4], xs, ys, (xs != 0) | (ys != 0)):
                if len(columns) < _FEWEST:
                    raise ValueError
                return further, 2
    return None


def _near(boxes: Numbers, xs: Numbers, ys: Numbers, counted: NDArray[np.bool_]) -> bool:
    """Whether nearly all points that count lie in their boxes, or a little beside."""
    half = boxes[:, 2:] * 0.6 + 0.005
    inside = (np.abs(xs - boxes[:, :1]) <= half[:, :1]) & (np.abs(ys - boxes[:, 1:2]) <= half[:, 1:])
    return bool(counted.any() and inside[counted].mean() >= 0.95)


def _pose(further: Numbers, count: int, dimensions: int) -> Reading:
    """A box with key points, and behind them a score, a track number or both.

    Of points without a visibility those at (0, 0), or left of or above the picture, are not labelled.
    """
    score = None
    if count:
        whole = _are_whole(further)
        places = [place for place in range(count) if not whole[place]]
        score = places[0] - count if places else None

    def take(some: Numbers) -> Lines:
        points = some[:, 4 : some.shape[1] - count].reshape(len(some), -1, dimensions)
        if dimensions == 2:
            labelled = np.asarray((points >= 0).all(axis=2) & (points > 0).any(axis=2))
            points = np.concatenate((points, 2.0 * labelled[..., None].astype(np.float64)), axis=2)
        return Lines(some[:, :4], _none(len(some)) if score is None else some[:, score], points)

    return Reading("boxes with key points, of which the boxes are read", take, "pose")


def _polygon(count: int) -> Reading:
    """Corners of a polygon, with a score where their number is odd: the bounds are taken."""
    points = count - count % 2

    def take(some: Numbers) -> Lines:
        xs, ys = some[:, 0:points:2], some[:, 1:points:2]
        low = np.stack((xs.min(axis=1), ys.min(axis=1)), axis=1)
        high = np.stack((xs.max(axis=1), ys.max(axis=1)), axis=1)
        scores = some[:, -1] if count % 2 else _none(len(some))
        corners = some[:, :points].reshape(len(some), -1, 2)
        return Lines(np.concatenate(((low + high) / 2, high - low), axis=1), scores, corners)

    return Reading("polygons or turned boxes, taken as the upright boxes around them", take, "polygon")
