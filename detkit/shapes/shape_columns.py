"""What an object of a table has besides its box: a mask or polygons, key points, the corners of a turned box."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError
from detkit.shapes.masks import Masks
from detkit.shapes.polygons import Polygons

# What is wanted beside boxes where everything is: each shape as the file has it.
ALL_SHAPES = "all"


@dataclass(frozen=True)
class Shapes:
    """Columns parallel to the rows of a table, N of them; a column that no row has is None.

    masks       of each row's picture; empty where a row has none
    keypoints   float64 (N, K, 3), x and y in pixels, and what the format says of visibility: COCO's 0 not labelled,
                1 hidden, 2 visible, or of a detection its score; NaN where all shapes are kept and a row has none
    corners     float64 (N, 4, 2), x and y, in order around a turned box or a quadrangle; NaN as above
    areas       float64 (N,), what decides in which range of areas a detection belongs, where it is not that of its
                shape. pycocotools takes width * height of the box for results that also have boxes
    polygons    rings of each row, where they are not drawn as masks yet; none where a row has a mask, or neither
    """

    masks: Masks | None = None
    keypoints: NDArray[np.float64] | None = None
    corners: NDArray[np.float64] | None = None
    areas: NDArray[np.float64] | None = None
    polygons: Polygons | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self._columns()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"columns of shapes must be of one length, got {lengths}")
        for name, axes in (("keypoints", (3,)), ("corners", (4, 2))):
            column = getattr(self, name)
            if column is not None and (column.ndim != 3 or column.shape[-len(axes) :] != axes):
                wanted = "(N, K, 3)" if name == "keypoints" else "(N, 4, 2)"
                raise InputError(f"{name} must have shape {wanted}, got {column.shape}")

    def __getitem__(self, index: Any) -> Shapes:
        """The rows that a boolean array, an index array or a slice selects."""
        return Shapes(**{name: column[index] for name, column in self._columns()})

    def _columns(self) -> Iterable[tuple[str, Any]]:
        for name in ("masks", "keypoints", "corners", "areas", "polygons"):
            if (column := getattr(self, name)) is not None:
                yield name, column

    def has(self, name: str, count: int) -> NDArray[np.bool_]:
        """bool (N,): which of `count` rows have something in a column."""
        column = getattr(self, name)
        if column is None:
            return np.zeros(count, bool)
        if isinstance(column, Masks):
            return column.areas > 0
        if isinstance(column, Polygons):
            return column.counts > 0
        return np.asarray(np.isfinite(column).all(axis=(1, 2)))

    def drawn(self, sizes: NDArray[np.int64]) -> Shapes:
        """The same with masks in place of polygons, drawn as COCO draws them; `sizes` (N, 2), height and width.

        InputError where a ring is no polygon or the size of its picture is not known (0).
        """
        if self.polygons is None:
            return self
        some = np.flatnonzero(self.polygons.counts)
        unknown = some[(sizes[some] <= 0).any(axis=1)]
        if len(unknown):
            raise InputError(f"mask {unknown[0]} is a polygon, and the size of its picture is not known")
        masks = Masks.drawn(self.polygons[some], sizes[some])
        others = np.flatnonzero(self.polygons.counts == 0)
        if len(others):
            rest = Masks.blank(sizes[others]) if self.masks is None else self.masks[others]
            masks = Masks.concatenate((masks, rest))[np.argsort(np.concatenate((some, others)))]
        return replace(self, masks=masks, polygons=None)
