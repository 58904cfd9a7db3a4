"""From the scores of all windows to boxes: the score map over x, y and scale, its maxima, and grouping.

A detector that slides a window fills a `ScoreMap`, one grid of scores a pyramid level. `group` turns it into
detections: the windows that are local maxima of the map, then non-maximum suppression (`detkit.nms`) of what still
overlaps; or the modes that mean shift finds among all windows above the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.detections import Detections
from detkit.detectors.selection import Selection
from detkit.errors import UsageError

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Pair = tuple[int, int]
GroupMethod = Literal["maxima", "mean-shift", "none"]
GROUP_METHODS: tuple[GroupMethod, ...] = get_args(GroupMethod)

IOU = 0.4  # of the suppression among maxima
_MOST_THAT_CLIMB = 2000  # windows of one class in mean shift


@dataclass(frozen=True)
class ScoreLevel:
    """Scores of the windows of one level.

    scores  float32 (rows, columns)
    scale   picture pixels for one level pixel: a number, or (x, y) where levels are stretched
    origin  (x, y) of the first window in level pixels, negative where the level is padded
    stride  (x, y) level pixels from window to window
    """

    scores: Floats
    scale: float | tuple[float, float]
    origin: Pair
    stride: Pair

    @property
    def scale_xy(self) -> tuple[float, float]:
        """The scale along x and along y."""
        return self.scale if isinstance(self.scale, tuple) else (self.scale, self.scale)


@dataclass(frozen=True)
class ScoreMap:
    """Scores over x, y and scale: levels from fine to coarse, and the (width, height) of the window on each."""

    levels: tuple[ScoreLevel, ...]
    window: Pair

    def boxes(self, number: int, rows: NDArray[Any], columns: NDArray[Any]) -> Doubles:
        """Windows (N, 4) xyxy, in picture pixels, at rows (N,) and columns (N,) of a level."""
        level = self.levels[number]
        scale = np.asarray(level.scale_xy, np.float64)
        position = np.stack((columns, rows), axis=1).astype(np.float64)
        corner = position * level.stride + level.origin
        return np.concatenate((corner * scale, (corner + self.window) * scale), axis=1)

    def windows_above(self, threshold: float) -> tuple[Doubles, Floats]:
        """All windows with at least this score: boxes (N, 4) and scores (N,), level by level, row by row."""
        return self._chosen([level.scores >= threshold for level in self.levels])

    def maxima(self, threshold: float) -> tuple[Doubles, Floats]:
        """The windows of `windows_above` that no neighbour in x, y or scale beats: boxes and scores.

        Neighbours are the eight around a window and the nine around the same centre on the next finer and the next
        coarser level. Of neighbours with equal scores on one level all are kept; on two levels, the finer.
        """
        masks = []
        for number, level in enumerate(self.levels):
            mask = level.scores >= threshold
            rows, columns = np.nonzero(mask)
            scores = level.scores[rows, columns]
            keep = scores >= _largest_around(level.scores)[rows, columns]
            centres = self._centres(number, rows, columns)
            if number > 0:
                keep &= scores > self._around(number - 1, centres)
            if number + 1 < len(self.levels):
                keep &= scores >= self._around(number + 1, centres)
            mask[rows[~keep], columns[~keep]] = False
            masks.append(mask)
        return self._chosen(masks)

    def _chosen(self, masks: Sequence[NDArray[np.bool_]]) -> tuple[Doubles, Floats]:
        boxes, scores = [np.zeros((0, 4))], [np.zeros(0, np.float32)]
        for number, mask in enumerate(masks):
            rows, columns = np.nonzero(mask)
            boxes.append(self.boxes(number, rows, columns))
            scores.append(self.levels[number].scores[rows, columns])
        return np.concatenate(boxes), np.concatenate(scores)

    def _centres(self, number: int, rows: NDArray[Any], columns: NDArray[Any]) -> Doubles:
        boxes = self.boxes(number, rows, columns)
        return (boxes[:, :2] + boxes[:, 2:]) / 2

    def _around(self, number: int, centres: Doubles) -> Floats:
        """The largest score among the nine windows of a level nearest to each centre; -inf outside its grid."""
        level = self.levels[number]
        corner = centres / level.scale_xy - np.asarray(self.window) / 2
        position = np.rint((corner - level.origin) / level.stride).astype(int)  # (N, 2) column, row
        rows, columns = level.scores.shape
        if rows == 0 or columns == 0:
            return np.full(len(centres), -np.inf, np.float32)
        inside = (position >= -1).all(axis=1) & (position[:, 0] <= columns) & (position[:, 1] <= rows)
        padded = np.pad(level.scores, 2, constant_values=-np.inf)
        largest = _largest_around(padded)
        clipped = np.clip(position + 2, 0, (columns + 3, rows + 3))
        return np.where(inside, largest[clipped[:, 1], clipped[:, 0]], -np.inf)


@dataclass(frozen=True)
class Grouping:
    """How windows become boxes.

    method   "maxima" of the score map, then the suppression of the `Selection`; "mean-shift"; or "none": every window
             above the threshold
    spread   of mean shift: (x, y, ln scale), x and y as parts of the window's width and height
    """

    method: GroupMethod = "maxima"
    spread: tuple[float, float, float] = (0.125, 0.125, 0.26)

    def __post_init__(self) -> None:
        if self.method not in GROUP_METHODS:
            raise UsageError(f"grouping {self.method!r} is not known; there are {', '.join(GROUP_METHODS)}")
        if not min(self.spread) > 0:
            raise UsageError(f"the spread of mean shift must be above 0, got {self.spread}")


def group(
    maps: Mapping[int, ScoreMap],
    selection: Selection,
    grouping: Grouping = Grouping(),
    names: tuple[str, ...] = (),
) -> Detections:
    """Boxes from the score map of each class id, best first; windows count from the class's `conf` on."""
    confs = selection.confs(names, max(maps, default=-1) + 1)
    found = []
    for class_id, score_map in maps.items():
        threshold = float(confs[class_id])
        if grouping.method == "maxima":
            boxes, scores = score_map.maxima(threshold)
        else:
            boxes, scores = score_map.windows_above(threshold)
        if grouping.method == "mean-shift":
            boxes, scores = mean_shift(boxes, scores, threshold, score_map.window, grouping.spread)
        class_ids = np.full(len(boxes), class_id, np.int64)
        found.append(Detections(boxes.astype(np.float32), scores, class_ids, names))
    return selection.suppressed(
        Detections.concatenate(found), IOU, method=None if grouping.method == "maxima" else "none"
    )


def mean_shift(
    boxes: Doubles,
    scores: Floats,
    threshold: float,
    window: Pair,
    spread: tuple[float, float, float] = (0.125, 0.125, 0.26),
) -> tuple[Doubles, Floats]:
    """The modes of windows in (x, y, ln scale): boxes (M, 4) and scores (M,), best first.

    N. Dalal's thesis (2006), section 5.2: every window climbs the kernel density of all windows, whose Gaussian is as
    wide in x and y as `spread` times the window itself and `spread[2]` in ln scale; windows that arrive at one place
    are one object. A window weighs what its score exceeds the threshold by. A departure: the thesis scores a mode by
    its density; here it has the best score among its windows, so that it stays a probability. Of more than 2,000
    windows the best 2,000 climb: each looks at all others.

    boxes (N, 4) xyxy of windows of the shape `window` (width, height).
    """
    if len(boxes) == 0:
        return boxes, scores
    if len(boxes) > _MOST_THAT_CLIMB:
        best = np.sort(np.argsort(-scores, kind="stable")[:_MOST_THAT_CLIMB])
        boxes, scores = boxes[best], scores[best]
    size = boxes[:, 2:] - boxes[:, :2]
    points = np.column_stack(((boxes[:, :2] + boxes[:, 2:]) / 2, np.log(size[:, 1] / window[1])))
    spreads = np.column_stack((size * spread[:2], np.full(len(boxes), spread[2])))  # (N, 3)
    weights = np.maximum(scores.astype(np.float64) - threshold, 1e-6)
    modes = np.array([_climb(point, points, spreads, weights) for point in points])
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    for index in order:  # the best window of a mode stands for it
        apart = np.abs(modes[index] - modes[kept]) / spreads[kept] if kept else np.full((1, 3), np.inf)
        if (apart.max(axis=1) > 0.5).all():
            kept.append(int(index))
    scale = np.exp(modes[kept, 2])[:, None]
    aspect = size[kept, 0] / size[kept, 1] * window[1]
    half = np.column_stack((aspect, np.full(len(kept), window[1]))) * scale / 2
    return np.concatenate((modes[kept, :2] - half, modes[kept, :2] + half), axis=1), scores[kept]


def _climb(start: Doubles, points: Doubles, spreads: Doubles, weights: Doubles) -> Doubles:
    """The mode that variable-bandwidth mean shift reaches from `start` (Comaniciu 2003, eq. 8)."""
    inverse = 1 / spreads**2
    share = weights / spreads.prod(axis=1)
    for _ in range(100):
        distance = ((points - start) ** 2 * inverse).sum(axis=1)
        pull = (share * np.exp(-distance / 2))[:, None] * inverse
        arrived = (pull * points).sum(axis=0) / pull.sum(axis=0)
        if (np.abs(arrived - start) * np.sqrt(inverse.max(axis=0)) < 1e-3).all():
            return np.asarray(arrived)
        start = arrived
    return start


def _largest_around(scores: Floats) -> Floats:
    """The largest of each score and its eight neighbours."""
    if scores.size == 0:
        return scores
    return np.asarray(
        cv2.dilate(scores, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=-np.inf)
    )
