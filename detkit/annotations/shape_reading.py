"""Masks, polygons, key points and corners from the objects of JSON: COCO's keys and those of our own JSON Lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.columns import finite_numbers
from detkit.annotations.problems import Problems
from detkit.errors import InputError
from detkit.shapes.masks import Masks
from detkit.shapes.polygons import Polygons
from detkit.shapes.shape_columns import ALL_SHAPES, Shapes

Rows = Sequence[dict[str, Any]]
_MASK_KEYS = ("segmentation", "mask")


def shapes_of(
    rows: Rows, wanted: str, sizes: NDArray[np.int64], problems: Problems, masks: Iterable[list[Any]] | None = None
) -> Shapes:
    """The column `wanted` ("masks", "keypoints", "corners", "all" or "") of objects, none where no object has it.

    rows    objects with `segmentation` (polygons or RLE) or `mask` (RLE); `keypoints`, flat or three numbers a point;
            `corners`, or a `segmentation` of one ring of four points
    sizes   (N, 2), height and width of each object's picture, 0 where they are not known: an RLE gives its own.
            Polygons of pictures that are not known stay polygons
    masks   what `segmentation` holds, some rows at a time, where it is not in `rows`

    With "all" polygons stay polygons, and a ring of four points, too. InputError where a shape is not what the format
    says.
    """
    try:
        if wanted == ALL_SHAPES:
            return _all(rows, sizes, problems, masks)
        if wanted == "masks" and (masks is not None or any(row.get(key) for row in rows for key in _MASK_KEYS)):
            return _masks(_segmentations(rows) if masks is None else masks, sizes, problems)
        if wanted == "keypoints" and any(row.get("keypoints") for row in rows):
            return Shapes(keypoints=_keypoints(rows, problems))
        if wanted == "corners":
            rings = _rings_of_four(rows, masks)
            if any(rings):
                return Shapes(corners=_corners(rings))
    except InputError as error:
        raise InputError(f"{problems.where}: {error}") from error
    return Shapes()


def boxes_around(shapes: Shapes) -> NDArray[np.float64] | None:
    """x, y, width, height (N, 4) of what `shapes` hold, as pycocotools has them for results without a bbox."""
    points = shapes.keypoints[..., :2] if shapes.keypoints is not None else shapes.corners
    if shapes.masks is not None or shapes.polygons is not None:
        both = [column.bounds for column in (shapes.masks, shapes.polygons) if column is not None]
        return np.asarray(np.sum(both, axis=0), np.float64)  # zeros where it is the other
    if points is None or not points.shape[1]:
        return None
    low, high = points.min(axis=1), points.max(axis=1)
    return np.concatenate((low, high - low), axis=1)


def _segmentations(rows: Rows) -> Iterator[list[Any]]:
    yield [next((row[key] for key in _MASK_KEYS if row.get(key)), []) for row in rows]


def _all(rows: Rows, sizes: NDArray[np.int64], problems: Problems, masks: Iterable[list[Any]] | None) -> Shapes:
    kept = _outlines(_segmentations(rows) if masks is None else masks, sizes, problems, strict=False)
    keypoints = corners = None
    if any(row.get("keypoints") for row in rows):
        keypoints = _keypoints(rows, None)
    own = [_own_corners(row) for row in rows]
    if any(own):
        corners = np.full((len(rows), 4, 2), np.nan)
        some = [place for place, ring in enumerate(own) if ring]
        corners[some] = _corners([own[place] for place in some])
    return Shapes(kept.masks, keypoints, corners, None, kept.polygons)


def _masks(parts: Iterable[list[Any]], sizes: NDArray[np.int64], problems: Problems) -> Shapes:
    shapes = _outlines(parts, sizes, problems, strict=True)
    if shapes.masks is None and shapes.polygons is None:
        return shapes
    none = ~(shapes.has("masks", len(sizes)) | shapes.has("polygons", len(sizes)))
    if shapes.masks is not None and none.any():
        none &= shapes.masks.sizes.sum(axis=1) == 0
    if none.any():
        problems.add("objects without a mask, taken as empty ones", f"object {np.argmax(none)}", int(none.sum()))
    if shapes.polygons is not None and not (sizes[shapes.polygons.counts > 0] > 0).all():
        return shapes
    return shapes.drawn(sizes)


def _outlines(parts: Iterable[list[Any]], sizes: NDArray[np.int64], problems: Problems, *, strict: bool) -> Shapes:
    """Polygons and masks as they are, each column None where no object has one."""
    rings: list[Polygons] = []
    masks: list[Masks] = []
    masked: list[int] = []
    place = 0
    for part in parts:
        first, listed, encoded = place, [], []
        for segmentation in part:
            if isinstance(segmentation, dict) and segmentation:
                encoded.append(segmentation)
                masked.append(place)
                segmentation = []
            elif not isinstance(segmentation, list):
                if segmentation is not None and segmentation != {}:
                    raise InputError(f"mask {place} is neither polygons nor RLE, but {type(segmentation).__name__}")
                segmentation = []
            elif not strict and not all(map(_is_ring, segmentation)):
                problems.add("rings that are not at least three points of finite numbers, left out", f"object {place}")
                segmentation = list(filter(_is_ring, segmentation))
            listed.append(segmentation)
            place += 1
        try:
            rings.append(Polygons.from_rings(listed))
            if encoded:
                masks.append(_rle(encoded, sizes[masked[-len(encoded) :]]))
        except InputError as error:
            raise InputError(f"in objects {first} to {place - 1}: {error}") from error
    polygons = Polygons.concatenate(rings)
    return Shapes(
        masks=_spread(Masks.concatenate(masks), masked, sizes) if masks else None,
        polygons=polygons if len(polygons.rings) > 1 else None,
    )


def _rle(encoded: list[dict[str, Any]], sizes: NDArray[np.int64]) -> Masks:
    """The masks of some RLE, which give their own size where that of their picture is not known (0)."""
    own = sizes.copy()
    for row in np.flatnonzero((own <= 0).any(axis=1)).tolist():
        numbers = finite_numbers(encoded[row].get("size"), 2)
        if numbers is None or not all(0 <= number < 2**31 for number in numbers):
            raise InputError(f"a mask has the size {encoded[row].get('size')}, and not a height and a width")
        own[row] = np.array(numbers, np.int64)
    return Masks.from_coco(encoded, own)


def _spread(masks: Masks, rows: list[int], sizes: NDArray[np.int64]) -> Masks:
    """The masks of `rows` among N objects, of which the others have blank ones."""
    if len(rows) == len(sizes):
        return masks
    own = np.array(rows, np.int64)
    others = np.setdiff1d(np.arange(len(sizes)), own)
    both = Masks.concatenate((masks, Masks.blank(np.maximum(sizes[others], 0))))
    return both[np.argsort(np.concatenate((own, others)))]


def _is_ring(ring: Any) -> bool:
    """Whether it has three points or more: x1, y1, x2, y2 ... or pairs."""
    if isinstance(ring, list) and ring and all(isinstance(point, list) and len(point) == 2 for point in ring):
        ring = [number for point in ring for number in point]
    if not isinstance(ring, list) or len(ring) < 6 or len(ring) % 2:
        return False
    return finite_numbers(ring, len(ring)) is not None


def _keypoints(rows: Rows, problems: Problems | None) -> NDArray[np.float64]:
    """(N, K, 3); objects without have zeros, and that is said to `problems`, or NaN without these."""
    found = [row.get("keypoints") or [] for row in rows]
    count = max(map(len, found))
    nested = any(points and isinstance(points[0], list) for points in found)
    shape = (count, 3) if nested else (count // 3, 3)
    result = np.full((len(rows), *shape), 0.0 if problems else np.nan)
    missing = 0
    for place, points in enumerate(found):
        if not points:
            missing += 1
            continue
        flat = [number for point in points for number in point] if nested else points
        numbers = finite_numbers(flat, len(flat))
        if numbers is None or len(flat) % 3 or (problems is not None and len(flat) != 3 * shape[0]):
            raise InputError(f"the keypoints of object {place} are not {shape[0]} times three finite numbers")
        result[place, : len(flat) // 3] = np.array(numbers).reshape(-1, 3)
        result[place, len(flat) // 3 :] = 0
    if missing and problems is not None:
        problems.add("objects without key points, which count as unlabelled", "keypoints", missing)
    return result


def _corners(rings: Sequence[list[Any]]) -> NDArray[np.float64]:
    found = [finite_numbers(ring, 8) for ring in rings]
    if None in found:
        raise InputError(f"object {found.index(None)} has no four corners, as others have")
    return np.array(found).reshape(-1, 4, 2)


def _rings_of_four(rows: Rows, masks: Iterable[list[Any]] | None) -> list[list[Any]]:
    """The eight numbers of each turned box, [] where an object has none."""
    segmentations: Iterable[Any] = (row.get("segmentation") for row in rows)
    if masks is not None:
        segmentations = (one for part in masks for one in part)
    return [_own_corners(row) or _only_four(rings) for row, rings in zip(rows, segmentations, strict=True)]


def _own_corners(row: dict[str, Any]) -> list[Any]:
    corners = row.get("corners")
    if isinstance(corners, list) and len(corners) == 4 and all(isinstance(one, list) for one in corners):
        return [number for corner in corners for number in corner]
    return []


def _only_four(rings: Any) -> list[Any]:
    one = isinstance(rings, list) and len(rings) == 1 and isinstance(rings[0], list) and len(rings[0]) == 8
    return list(rings[0]) if one else []
