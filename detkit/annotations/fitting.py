"""Shapes in the form that a format can hold, and in words what that costs, measured on the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.format import Format
from detkit.annotations.problems import boxes_text
from detkit.dataset import GroundTruth
from detkit.errors import InputError, OutputError
from detkit.shapes.masks import Masks
from detkit.shapes.outlining import with_one_ring, with_polygons
from detkit.shapes.painting import unshared

T = TypeVar("T")
# By more a box differs from the one around its outline.
_HALF_A_PIXEL = 0.5


@dataclass(frozen=True)
class Fitted:
    """A ground truth whose shapes a format can hold.

    changes  what became of shapes and lost nothing, one sentence each
    lost     what is lost by it
    """

    ground_truth: GroundTruth
    changes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def fitted(ground_truth: GroundTruth, form: Format, *, polygons: bool = False, tolerance: float = 0.0) -> Fitted:
    """Masks as polygons, polygons as masks, rings joined, shared pixels given to one: whatever the format needs.

    polygons    polygons also where the format has masks
    tolerance   by so many pixels the polygons of masks may differ from their outline, for fewer points
    OutputError where polygons are to be drawn and the size of a picture is not known, or they are none.
    """
    shapes, holds, title = ground_truth.shapes, form.holds, form.title
    sizes = _sizes(ground_truth)
    changes: list[str] = []
    lost: list[str] = []

    def told(what: str, iou: NDArray[np.float64]) -> None:
        (lost if (iou < 1).any() else changes).append(f"{what}; {_measured(iou)}.")

    if shapes.masks is not None and "polygons" in holds and (polygons or "masks" not in holds):
        count = int((shapes.masks.areas > 0).sum())
        remade = with_polygons(shapes, tolerance)
        shapes = remade.shapes
        if count:
            told(f"{_masks(count)} became polygons", remade.iou)
    if shapes.polygons is not None and "polygons" in holds and "parts" not in holds:
        count = int((shapes.polygons.counts > 1).sum())
        if count:
            _need_sizes(ground_truth, form, shapes.polygons.counts > 1)
            remade = _caught(form, lambda: with_one_ring(shapes, sizes))
            shapes = remade.shapes
            told(f"{title} has one ring for an object: of {boxes_text(count)} several were joined by lines", remade.iou)
    if shapes.polygons is not None and "masks" in holds and "polygons" not in holds:
        count = int((shapes.polygons.counts > 0).sum())
        _need_sizes(ground_truth, form, shapes.polygons.counts > 0)
        shapes = _caught(form, lambda: shapes.drawn(sizes))
        lost.append(f"{title} has pixels: the {'polygon' if count == 1 else 'polygons'} of {boxes_text(count)} "
                    "drawn as COCO draws them.")  # fmt: skip
    if shapes.masks is not None and "masks" in holds and "shared pixels" not in holds:
        masks, iou = unshared(shapes.masks, ground_truth.image_index)
        shapes = replace(shapes, masks=masks)
        if len(iou):
            told(f"{title} gives a pixel to one object: {_masks(len(iou))} "
                 f"{'loses' if len(iou) == 1 else 'lose'} pixels to smaller ones", iou)  # fmt: skip
    return Fitted(replace(ground_truth, shapes=shapes), tuple(changes), tuple(lost))


def shape_losses(ground_truth: GroundTruth, form: Format) -> list[str]:
    """What a format does not hold of shapes at all, one sentence each."""
    shapes, count, holds, title = ground_truth.shapes, len(ground_truth), form.holds, form.title
    said = []
    outlined = int((shapes.has("masks", count) | shapes.has("polygons", count)).sum())
    if outlined and not {"masks", "polygons"} & holds:
        said.append(f"{title} has no masks or polygons: {_theirs(outlined)}{_instead(form, 'masks')}.")
    for column, name in (("keypoints", "key points"), ("corners", "turned boxes")):
        number = int(shapes.has(column, count).sum())
        if number and column not in holds:
            said.append(f"{title} has no {name}: {_theirs(number)}{_instead(form, column)}.")
    both = int((shapes.has("corners", count) & (shapes.has("masks", count) | shapes.has("polygons", count))).sum())
    if both and form.name == "coco":
        said.append(f"COCO JSON has one segmentation: {boxes_text(both)} with a mask, too, {_their(both)} corners.")
    said += _box_losses(ground_truth, form)
    named = [skeleton for skeleton in ground_truth.categories.skeletons if skeleton is not None]
    if named and "keypoints" in holds and "skeletons" not in holds:
        said.append(f"{title} has no names of key points and no skeletons: those of {_classes(len(named))} are lost.")
    return said


def _box_losses(ground_truth: GroundTruth, form: Format) -> list[str]:
    """Boxes that differ from those around their outline, in formats that have these alone."""
    shapes, holds = ground_truth.shapes, form.holds
    if "own boxes" in holds:
        return []
    around = np.full((len(ground_truth), 4), np.nan)
    if shapes.corners is not None and "corners" in holds:
        low, high = shapes.corners.min(axis=1), shapes.corners.max(axis=1)
        around = np.concatenate((low, high - low), axis=1)
    for column, there in ((shapes.masks, "masks" in holds), (shapes.polygons, "polygons" in holds)):
        if column is not None and there:
            rows = column.areas > 0 if isinstance(column, Masks) else column.counts > 0
            around[rows] = column.bounds[rows]
    number = int((np.abs(around - ground_truth.boxes) > _HALF_A_PIXEL).any(axis=1).sum())
    if not number:
        return []
    are = "is not the one around its outline and becomes it" if number == 1 else (
        "are not those around their outlines and become them")  # fmt: skip
    return [f"{form.title} has no boxes beside shapes: {boxes_text(number)} {are}."]


def _sizes(ground_truth: GroundTruth) -> NDArray[np.int64]:
    images = ground_truth.images
    return np.stack((images.heights, images.widths), axis=1)[ground_truth.image_index]


def _need_sizes(ground_truth: GroundTruth, form: Format, rows: NDArray[np.bool_]) -> None:
    unknown = np.flatnonzero(rows & (_sizes(ground_truth) <= 0).any(axis=1))
    if len(unknown):
        image = int(ground_truth.image_index[unknown[0]])
        raise form.size_unknown(ground_truth.images.files[image] or str(ground_truth.images.ids[image]))


def _caught(form: Format, make: Callable[[], T]) -> T:
    try:
        return make()
    except InputError as error:
        raise OutputError(f"{form.title} cannot be written: {error}") from error


def _measured(iou: NDArray[np.float64]) -> str:
    if not (iou < 1).any():
        return "drawn again they are the same pixel by pixel (IoU 1)"
    return f"drawn again they have an IoU of {iou.mean():.4f} in the mean, {iou.min():.4f} at worst"


def _masks(count: int) -> str:
    return "1 mask" if count == 1 else f"{count} masks"


def _theirs(count: int) -> str:
    return "1 box loses its own" if count == 1 else f"{count} boxes lose theirs"


def _instead(form: Format, column: str) -> str:
    name = dict(form.instead).get(column)
    return f" ('{name}' holds them)" if name else ""


def _their(count: int) -> str:
    return "loses its" if count == 1 else "lose their"


def _classes(count: int) -> str:
    return "1 class" if count == 1 else f"{count} classes"
