"""What was found in overlapping views of a picture, made one: duplicates dropped, pieces of what a seam cuts joined.

A box that ends at a border of its tile behind which the picture goes on is a piece. What two views say of one object
must agree where both see it, so boxes are compared as the other view would show them, cut at its borders. A whole box
speaks for the pieces of it, and the best of whole ones for the others; pieces that nothing whole speaks for are joined
with those of the neighbours where they lie alike across the seam.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats, area, clip, diou, intersection, iou
from detkit.detections import Detections
from detkit.detectors.selection import Selection
from detkit.detectors.tiles import Rect
from detkit.ordering import best_first
from detkit.shapes import rle, turned_boxes
from detkit.shapes.masks import Masks

Bools = NDArray[np.bool_]

IOU = 0.5  # above which boxes of two views are one object, where `Selection` does not say
# A piece is of a whole box that is like it inside of the piece's view, or that holds nearly all of it.
_ALIKE, _HELD = 0.5, 0.7
# How near to its border a view is not trusted: a share of its shorter side, and pixels.
_MARGIN, _LEAST_MARGIN = 0.015, 3.0


@dataclass(frozen=True)
class View:
    """A part of a picture, and what was found there in pixels of the whole picture.

    cut   bool (N, 4): which sides of a box (x1, y1, x2, y2) lie at a border that the picture goes on behind
    slivers   bool (N,): of which boxes the view shows so little at such a border that it cannot tell how far they go
    """

    rect: Rect
    found: Detections
    cut: Bools
    slivers: Bools

    @classmethod
    def of(cls, rect: Rect, found: Detections, width: int, height: int) -> View:
        """The view of `rect` in a picture of this size."""
        sides = np.asarray(rect, np.float32)
        inner = np.array([rect[0] > 0, rect[1] > 0, rect[2] < width, rect[3] < height])
        margin = max(_LEAST_MARGIN, _MARGIN * min(rect[2] - rect[0], rect[3] - rect[1]))
        cut = (np.abs(found.boxes - sides) <= margin) & inner
        thin = found.boxes[:, 2:] - found.boxes[:, :2] <= 2 * margin
        return cls(rect, found, cut, ((cut[:, :2] | cut[:, 2:]) & thin).any(axis=1))

    @property
    def whole(self) -> Bools:
        """bool (N,): which boxes are no pieces."""
        return np.asarray(~self.cut.any(axis=1))


def merged(views: Sequence[View], pairs: Iterable[tuple[int, int]], selection: Selection = Selection()) -> Detections:
    """The detections of a picture from those of its views, best first.

    pairs   the views that see something in common, each pair once

    Boxes of one view are left as its detector made them. `selection.nms` "diou" compares whole boxes by Distance IoU,
    "wbf" takes the mean of whole boxes weighted by score, and of their scores; all other methods keep the best, as
    "soft" and "none" have no way to drop what two views both show. A box that stands for pieces, or is joined of them,
    has the best score among them.
    """
    found = Detections.concatenate(view.found for view in views)
    starts = np.cumsum([0, *(len(view.found) for view in views)])
    same, joint = [np.zeros((0, 2), np.int64)], [np.zeros((0, 2), np.int64)]
    for one, other in pairs:
        if len(views[one].found) and len(views[other].found):
            first, second = _agreeing(views[one], views[other], selection)
            offset = starts[[one, other]]
            same.append(first + offset)
            joint.append(second + offset)
    whole = np.concatenate([np.zeros(0, bool), *(view.whole for view in views)])
    spoken_for = _spoken_for(np.concatenate(same), found.scores, whole)
    if selection.nms == "wbf":
        found = _fused(found, spoken_for, whole)
    else:
        pieces = (spoken_for >= 0) & ~whole
        scores = found.scores.copy()
        np.maximum.at(scores, spoken_for[pieces], scores[pieces])
        found = replace(found, scores=scores)
    kept = np.flatnonzero(spoken_for < 0)
    links = np.concatenate(joint)
    links = links[np.isin(links, kept).all(axis=1)]
    return _joined(found, kept, links).sorted()


def _agreeing(a: View, b: View, selection: Selection) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows (P, 2) of the boxes of two views that show one object, at least one of them whole; and of joint pieces."""
    one, other = a.found.boxes, b.found.boxes
    alike = np.ones((len(one), len(other)), bool)
    if not selection.agnostic:
        alike = a.found.class_ids[:, None] == b.found.class_ids[None]
    if not alike.any():
        return np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64)
    if a.found.corners is not None and b.found.corners is not None:
        overlap = turned_boxes.iou(a.found.corners, b.found.corners)
    else:
        overlap = np.asarray(diou(one, other) if selection.nms == "diou" else iou(one, other), np.float64)
    threshold = IOU if selection.iou is None else selection.iou
    whole_a, whole_b = a.whole[:, None], b.whole[None]
    same = whole_a & whole_b & (overlap > threshold)
    same |= whole_a & ~whole_b & _of_a_piece(one, other, b.rect)
    same |= ~whole_a & whole_b & _of_a_piece(other, one, a.rect).T
    joint = ~whole_a & ~whole_b & alike
    return np.argwhere(same & alike), _mutual(_across(a, b) * joint)


def _of_a_piece(whole: Floats, pieces: Floats, rect: Rect) -> Bools:
    """(N, M): whether a box of `whole` (N, 4) is what a piece (M, 4), seen in `rect`, is a piece of."""
    seen = _cut_at(whole, rect)
    held = intersection(whole, pieces) > _HELD * np.maximum(area(pieces), 1e-6)[None]
    return np.asarray((iou(seen, pieces) > _ALIKE) | held)


def _across(a: View, b: View) -> Floats:
    """(N, M): how well pieces of two views agree across the seam, from 0 to 1; 0 where they need not be one object.

    They are compared in what both views see, and their open sides go on through it. Pieces that do not open towards
    each other agree if most of the smaller one lies there. A sliver agrees with the piece that holds nearly all of it.
    """
    x1, y1 = np.maximum(a.rect[:2], b.rect[:2])
    x2, y2 = np.minimum(a.rect[2:], b.rect[2:])
    shared = (x1 - 1, y1 - 1, x2 + 1, y2 + 1)  # tiles without overlap share a line
    one, other = (_cut_at(_opened(view), shared) for view in (a, b))
    agreement = iou(one, other)
    facing = np.ones(agreement.shape, bool)
    for axis in (0, 1):
        if a.rect[axis] != b.rect[axis]:
            near, far = (axis + 2, axis) if a.rect[axis] < b.rect[axis] else (axis, axis + 2)
            facing &= a.cut[:, near][:, None] & b.cut[:, far][None]
    smaller = np.minimum(area(a.found.boxes)[:, None], area(b.found.boxes)[None])
    inside = np.minimum(area(_cut_at(a.found.boxes, shared))[:, None], area(_cut_at(b.found.boxes, shared))[None])
    counts = (agreement > _ALIKE) & (facing | (inside > _ALIKE * smaller))
    held = intersection(a.found.boxes, b.found.boxes) / np.maximum(smaller, 1e-6)
    held = np.where((a.slivers[:, None] | b.slivers[None]) & (held > _HELD), held, 0)
    return np.maximum(np.where(counts, agreement, 0), held)


def _opened(view: View) -> Floats:
    """Boxes whose cut sides have gone on without end."""
    return np.where(view.cut, np.array([-1e9, -1e9, 1e9, 1e9], np.float32), view.found.boxes)


def _cut_at(boxes: Floats, rect: tuple[float, float, float, float]) -> Floats:
    corner = np.array([rect[0], rect[1]] * 2, np.float32)
    return clip(boxes - corner, rect[2] - rect[0], rect[3] - rect[1])


def _mutual(agreement: Floats) -> NDArray[np.int64]:
    """Rows (P, 2) where a value above 0 is the best of its row and of its column."""
    if not agreement.any():
        return np.zeros((0, 2), np.int64)
    rows = np.arange(len(agreement))
    columns = agreement.argmax(axis=1)
    mutual = (agreement[rows, columns] > 0) & (agreement.argmax(axis=0)[columns] == rows)
    return np.column_stack((rows[mutual], columns[mutual]))


def _spoken_for(same: NDArray[np.int64], scores: Floats, whole: Bools) -> NDArray[np.int64]:
    """(N,): the row of the whole box that stands for a box, best score first; -1 where a box stands for itself."""
    by = np.full(len(scores), -1, np.int64)
    both = np.concatenate((same, same[:, ::-1]))
    both = both[np.argsort(both[:, 0], kind="stable")]
    rows, begins = np.unique(both[:, 0], return_index=True)
    agreeing = np.split(both[:, 1], begins[1:])
    for place in best_first(scores[rows]).tolist():
        row = rows[place]
        if whole[row] and by[row] < 0:
            others = agreeing[place]
            by[others[by[others] < 0]] = row
    return by


def _fused(found: Detections, spoken_for: NDArray[np.int64], whole: Bools) -> Detections:
    """Whole boxes that stand for others as the mean of all, weighted by score, and with the mean score."""
    counted = np.flatnonzero(whole)
    target = np.where(spoken_for[counted] < 0, counted, spoken_for[counted])
    weights = np.maximum(found.scores[counted].astype(np.float64), 1e-12)
    total, count = np.zeros(len(found)), np.zeros(len(found))
    sums = np.zeros((len(found), 4))
    np.add.at(total, target, weights)
    np.add.at(count, target, 1)
    np.add.at(sums, target, found.boxes[counted] * weights[:, None])
    rows = count > 1
    boxes, scores = found.boxes.copy(), found.scores.copy()
    boxes[rows] = sums[rows] / total[rows, None]
    scores[rows] = total[rows] / count[rows]
    return replace(found, boxes=boxes, scores=scores)


def _joined(found: Detections, kept: NDArray[np.int64], links: NDArray[np.int64]) -> Detections:
    """The kept rows, those that links (P, 2) connect put together."""
    if not len(links):
        return found[kept]
    leader = np.arange(len(found))

    def first(row: int) -> int:
        while leader[row] != row:
            leader[row] = leader[leader[row]]
            row = int(leader[row])
        return row

    for one, other in links.tolist():
        leader[first(one)] = first(other)
    groups: dict[int, list[int]] = {}
    for row in np.unique(links).tolist():
        groups.setdefault(first(row), []).append(row)
    alone = kept[~np.isin(kept, links)]
    return Detections.concatenate([found[alone], *(_one_of(found[rows]) for rows in groups.values())])


def _one_of(pieces: Detections) -> Detections:
    """The one object of all `pieces`: what encloses them, the best score and its class, their masks together."""
    best = pieces[int(pieces.scores.argmax())]
    boxes = np.concatenate((pieces.boxes[:, :2].min(axis=0), pieces.boxes[:, 2:].max(axis=0)))[None]
    masks, keypoints, corners = pieces.masks, pieces.keypoints, pieces.corners
    if masks is not None:
        owner = np.zeros(len(pieces), np.int64)
        masks = Masks(masks.sizes[:1], *rle.union(masks.counts, masks.starts, owner, masks.sizes[:1].prod(axis=1)))
    if keypoints is not None:  # each point where it is seen best
        seen = keypoints[..., 2].argmax(axis=0)
        keypoints = keypoints[seen, np.arange(keypoints.shape[1])][None]
    if corners is not None:
        corners = np.asarray(cv2.boxPoints(cv2.minAreaRect(corners.reshape(-1, 2))), np.float32)[None]
        boxes = turned_boxes.enclosing(corners).astype(np.float32)
    return replace(best, boxes=boxes, masks=masks, keypoints=keypoints, corners=corners)
