"""What an object of a table has besides its box: a mask, key points, the corners of a turned box."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError
from detkit.shapes.masks import Masks


@dataclass(frozen=True)
class Shapes:
    """Columns parallel to the rows of a table, N of them; a column that no row has is None.

    masks       of each row's picture
    keypoints   float64 (N, K, 3), x and y in pixels, and what the format says of visibility: COCO's 0 not labelled,
                1 hidden, 2 visible, or of a detection its score
    corners     float64 (N, 4, 2), x and y, in order around a turned box or a quadrangle
    areas       float64 (N,), what decides in which range of areas a detection belongs, where it is not that of its
                shape. pycocotools takes width * height of the box for results that also have boxes
    """

    masks: Masks | None = None
    keypoints: NDArray[np.float64] | None = None
    corners: NDArray[np.float64] | None = None
    areas: NDArray[np.float64] | None = None

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
        for name in ("masks", "keypoints", "corners", "areas"):
            if (column := getattr(self, name)) is not None:
                yield name, column
