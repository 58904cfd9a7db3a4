"""What lies beside the boxes of single objects: columns of `Shapes` from it, and what formats of masks lose."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detkit.annotations.problems import Problems, boxes_text, quoted
from detkit.dataset import GroundTruth
from detkit.shapes.masks import Masks
from detkit.shapes.polygons import Polygons
from detkit.shapes.shape_columns import ALL_SHAPES, Shapes


@dataclass(frozen=True)
class Beside:
    """The shapes of one object.

    rings       of its polygon, (K, 2) each, in pixels
    mask        one mask, of its picture
    keypoints   (K, 3), x, y in pixels and visibility
    corners     (4, 2), of a turned box
    """

    rings: Sequence[ArrayLike] = ()
    mask: Masks | None = None
    keypoints: ArrayLike | None = None
    corners: ArrayLike | None = None


NOTHING = Beside()


def shapes_from(
    objects: Sequence[Beside], wanted: str, sizes: NDArray[np.int64], boxes: NDArray[np.float64], problems: Problems
) -> Shapes:
    """The column `wanted` of N objects, or all of them ("all"); none where no object has it.

    sizes   (N, 2), height and width of each object's picture;  boxes (N, 4), x, y, width, height
    Where single columns are wanted, what an object lacks is said: an empty mask, points that are not labelled, the
    corners of the box. Polygons stay to be drawn.
    """
    if wanted == "masks":
        return _outlines(objects, sizes, problems)
    if wanted == "keypoints":
        return Shapes(keypoints=_keypoints(objects, 0.0, problems))
    if wanted == "corners":
        return Shapes(corners=_all_corners(objects, boxes, problems))
    if wanted == ALL_SHAPES:
        kept = _outlines(objects, sizes, None)
        corners = None
        if any(one.corners is not None for one in objects):
            nothing = np.full((4, 2), np.nan)
            corners = np.array([nothing if one.corners is None else one.corners for one in objects], np.float64)
        return Shapes(kept.masks, _keypoints(objects, np.nan, None), corners, None, kept.polygons)
    return Shapes()


def _outlines(objects: Sequence[Beside], sizes: NDArray[np.int64], problems: Problems | None) -> Shapes:
    polygons = masks = None
    if any(len(one.rings) for one in objects):
        polygons = Polygons.from_rings([() if one.mask is not None else one.rings for one in objects])
    if any(one.mask is not None for one in objects):
        some = np.array([one.mask is not None for one in objects], bool)
        full = Masks.concatenate(one.mask for one in objects if one.mask is not None)
        both = Masks.concatenate((full, Masks.blank(sizes[~some])))
        masks = both[np.argsort(np.concatenate((np.flatnonzero(some), np.flatnonzero(~some))))]
    if problems is not None and (polygons is not None or masks is not None):
        none = [one.mask is None and not len(one.rings) for one in objects]
        if any(none):
            problems.add("objects without a mask, taken as empty ones", f"object {none.index(True) + 1}", sum(none))
    return Shapes(masks=masks, polygons=polygons)


def _keypoints(objects: Sequence[Beside], filling: float, problems: Problems | None) -> NDArray[np.float64] | None:
    points = [None if one.keypoints is None else np.asarray(one.keypoints, np.float64) for one in objects]
    count = max((len(own) for own in points if own is not None), default=0)
    if not count:
        return None
    result = np.full((len(points), count, 3), filling)
    for row, own in enumerate(points):
        if own is not None:
            result[row] = 0
            result[row, : len(own)] = own
    if problems is not None and None in (missing := [None if own is None else 0 for own in points]):
        problems.add("objects without key points, which count as unlabelled", "keypoints", missing.count(None))
    return result


def _all_corners(
    objects: Sequence[Beside], boxes: NDArray[np.float64], problems: Problems
) -> NDArray[np.float64] | None:
    found = [one.corners if one.corners is not None else _four(one.rings) for one in objects]
    if all(own is None for own in found):
        return None
    upright = upright_corners(boxes)
    missing = [row for row, own in enumerate(found) if own is None]
    if missing:
        problems.add("objects without corners, whose upright boxes are taken", f"object {missing[0] + 1}", len(missing))
    return np.array([upright[row] if own is None else own for row, own in enumerate(found)], np.float64)


def _four(rings: Sequence[ArrayLike]) -> ArrayLike | None:
    if len(rings) != 1:
        return None
    ring = np.asarray(rings[0], np.float64).reshape(-1, 2)
    return ring if len(ring) == 4 else None


def upright_corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners (N, 4, 2) of boxes (N, 4), x, y, width, height: from the upper left one clockwise."""
    x, y, width, height = boxes.T
    xs, ys = np.stack((x, x + width, x + width, x), axis=1), np.stack((y, y, y + height, y + height), axis=1)
    return np.stack((xs, ys), axis=2)


def mask_losses(
    ground_truth: GroundTruth, known: Container[str], title: str, classes: str
) -> tuple[list[str], NDArray[np.bool_]]:
    """What a format loses that has masks of certain classes only, and bool (N,): which boxes it holds.

    known     the names of its classes
    classes   what these are, for the sentence: "ten classes of objects"
    """
    names = ground_truth.categories.names
    own = np.array([name in known for name in names], bool)[ground_truth.class_index]
    there = ground_truth.shapes.has("masks", len(ground_truth)) | ground_truth.shapes.has("polygons", len(ground_truth))
    said = []
    if not own.all():
        others = [names[k] for k in np.unique(ground_truth.class_index[~own])]
        said.append(f"{title} has {classes}: {boxes_text(int((~own).sum()))} of {quoted(others)} lost.")
    if (own & ~there).any():
        said.append(f"{title} has masks only: {boxes_text(int((own & ~there).sum()))} without one lost.")
    return said, own & there
