"""Masks, key points and corners from the objects of a JSON file: COCO's keys and those of our own JSON Lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.columns import finite_numbers
from detkit.annotations.problems import Problems
from detkit.errors import InputError
from detkit.shapes.masks import Masks
from detkit.shapes.shape_columns import Shapes

Rows = Sequence[dict[str, Any]]
_MASK_KEYS = ("segmentation", "mask")


def shapes_of(rows: Rows, wanted: str, sizes: NDArray[np.int64], problems: Problems) -> Shapes:
    """The column `wanted` ("masks", "keypoints", "corners" or "") of objects, none where no object has it.

    rows    objects with `segmentation` (polygons or RLE) or `mask` (RLE); `keypoints`, flat or three numbers a point;
            `corners`, or a `segmentation` of one ring of four points
    sizes   (N, 2), height and width of each object's picture, 0 where they are not known: an RLE gives its own

    InputError where a shape is not what the format says, or a polygon's picture has no size.
    """
    try:
        if wanted == "masks" and any(row.get(key) for row in rows for key in _MASK_KEYS):
            return Shapes(masks=_masks(rows, sizes, problems))
        if wanted == "keypoints" and any(row.get("keypoints") for row in rows):
            return Shapes(keypoints=_keypoints(rows, problems))
        if wanted == "corners" and any(map(_ring, rows)):
            return Shapes(corners=_corners(rows))
    except InputError as error:
        raise InputError(f"{problems.where}: {error}") from error
    return Shapes()


def boxes_around(shapes: Shapes) -> NDArray[np.float64] | None:
    """x, y, width, height (N, 4) of what `shapes` hold, as pycocotools has them for results without a bbox."""
    points = shapes.keypoints[..., :2] if shapes.keypoints is not None else shapes.corners
    if shapes.masks is not None:
        return shapes.masks.bounds.astype(np.float64)
    if points is None or not points.shape[1]:
        return None
    low, high = points.min(axis=1), points.max(axis=1)
    return np.concatenate((low, high - low), axis=1)


def _masks(rows: Rows, sizes: NDArray[np.int64], problems: Problems) -> Masks:
    found: list[Any] = [next((row[key] for key in _MASK_KEYS if row.get(key)), []) for row in rows]
    own = sizes.copy()
    for place in np.flatnonzero((own <= 0).any(axis=1)).tolist():
        size = found[place].get("size") if isinstance(found[place], dict) else None
        numbers = finite_numbers(size, 2)
        if numbers is None:
            raise InputError(f"mask {place} is a polygon, and the size of its picture is not known")
        own[place] = np.array(numbers, np.int64)
    if missing := found.count([]):
        problems.add("objects without a mask, taken as empty ones", f"object {found.index([])}", missing)
    return Masks.from_coco(found, own)


def _keypoints(rows: Rows, problems: Problems) -> NDArray[np.float64]:
    found = [row.get("keypoints") or [] for row in rows]
    count = max(map(len, found))
    nested = any(points and isinstance(points[0], list) for points in found)
    shape = (count, 3) if nested else (count // 3, 3)
    result = np.zeros((len(rows), *shape))
    missing = 0
    for place, points in enumerate(found):
        if not points:
            missing += 1
            continue
        flat = [number for point in points for number in point] if nested else points
        numbers = finite_numbers(flat, 3 * shape[0])
        if numbers is None:
            raise InputError(f"the keypoints of object {place} are not {shape[0]} times three finite numbers")
        result[place] = np.array(numbers).reshape(shape)
    if missing:
        problems.add("objects without key points, which count as unlabelled", "keypoints", missing)
    return result


def _corners(rows: Rows) -> NDArray[np.float64]:
    found = [finite_numbers(_ring(row), 8) for row in rows]
    if None in found:
        raise InputError(f"object {found.index(None)} has no four corners, as others have")
    return np.array(found).reshape(-1, 4, 2)


def _ring(row: dict[str, Any]) -> list[Any]:
    """The eight numbers of a turned box, [] where it has none."""
    corners = row.get("corners")
    if isinstance(corners, list) and len(corners) == 4 and all(isinstance(one, list) for one in corners):
        return [number for corner in corners for number in corner]
    rings = row.get("segmentation")
    one = isinstance(rings, list) and len(rings) == 1 and isinstance(rings[0], list) and len(rings[0]) == 8
    return list(rings[0]) if one and isinstance(rings, list) else []
