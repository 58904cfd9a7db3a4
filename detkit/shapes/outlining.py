"""Masks into polygons and polygons into fewer, and what that costs: the IoU of each mask with what is drawn again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detkit.shapes.masks import Masks, pair_iou
from detkit.shapes.outlines import joined, outline, simplified
from detkit.shapes.polygons import Polygons
from detkit.shapes.shape_columns import Shapes

Numbers = NDArray[np.float64]
# So many masks are outlined and drawn again at a time.
_TOGETHER = 4096


@dataclass(frozen=True)
class Remade:
    """Shapes in another form, and the IoU of each that was made anew with what it was.

    iou   float64 (C,)
    """

    shapes: Shapes
    iou: Numbers


def outlined(masks: Masks, tolerance: float = 0.0) -> Polygons:
    """The rings of each mask, along the borders of its pixels; with a tolerance in pixels, with fewer points."""
    objects = []
    for row in range(len(masks)):
        rings = outline(*masks.window(row)).rings() if masks.areas[row] else []
        objects.append([simplified(ring, tolerance) if tolerance else ring for ring in rings])
    return Polygons.from_rings(objects)


def with_polygons(shapes: Shapes, tolerance: float = 0.0) -> Remade:
    """The same with polygons in place of masks. Without a tolerance COCO's rasteriser draws the same masks again."""
    if shapes.masks is None:
        return Remade(shapes, np.zeros(0))
    masks = shapes.masks
    parts, ious = [], []
    for begin in range(0, len(masks), _TOGETHER):
        part = masks[begin : begin + _TOGETHER]
        parts.append(outlined(part, tolerance))
        there = np.flatnonzero(part.areas > 0)
        ious.append(_iou(part[there], Masks.drawn(parts[-1][there], part.sizes[there])))
    made = Polygons.concatenate(parts)
    if shapes.polygons is not None:
        kept = np.flatnonzero(shapes.polygons.counts)
        places = np.arange(len(masks))
        places[kept] += len(masks)
        made = Polygons.concatenate((made, shapes.polygons))[places]
    return Remade(replace(shapes, masks=None, polygons=made), np.concatenate((np.zeros(0), *ious)))


def with_one_ring(shapes: Shapes, sizes: NDArray[np.int64]) -> Remade:
    """The same with the rings of each object joined to one, by lines that cover nothing.

    sizes   (N, 2), height and width of each object's picture. Rings that overlap cannot be joined so: their outline is
            taken
    """
    polygons = shapes.polygons
    if polygons is None or not (polygons.counts > 1).any():
        return Remade(shapes, np.zeros(0))
    several = np.flatnonzero(polygons.counts > 1)
    before = Masks.drawn(polygons[several], sizes[several])
    made = Polygons.from_rings([[joined(polygons.of(row))] for row in several.tolist()])
    iou = _iou(before, Masks.drawn(made, sizes[several]))
    worse = np.flatnonzero(iou < 1)
    if len(worse):
        again = [
            outline(*before.window(row)).ring() if before.areas[row] else made.of(row)[0] for row in worse.tolist()
        ]
        rings = Polygons.from_rings([[ring] for ring in again])
        places = np.arange(len(several))
        places[worse] = len(several) + np.arange(len(worse))
        made = Polygons.concatenate((made, rings))[places]
        iou = _iou(before, Masks.drawn(made, sizes[several]))
    places = np.arange(len(polygons))
    places[several] = len(polygons) + np.arange(len(several))
    return Remade(replace(shapes, polygons=Polygons.concatenate((polygons, made))[places]), iou)


def _iou(before: Masks, after: Masks) -> Numbers:
    rows = np.arange(len(before))
    both_empty = (before.areas == 0) & (after.areas == 0)
    return np.where(both_empty, 1.0, pair_iou(before, after, rows, rows))
