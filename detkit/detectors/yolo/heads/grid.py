"""Grids of the output levels of a head."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from detkit.boxes import Floats
from detkit.errors import ModelError

# Strides of the grids that exporters use; P6 networks have a fourth level, tiny ones two.
STRIDES = ((8, 16, 32), (8, 16, 32, 64), (16, 32), (32,))


def cells(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """(columns, rows) of the level of a stride, for an input of `size` (width, height)."""
    return -(-size[0] // stride), -(-size[1] // stride)


def count(size: tuple[int, int], strides: tuple[int, ...]) -> int:
    """The number of cells of all levels: 3,549 for 416 x 416 at strides 8, 16, 32."""
    return sum(columns * rows for columns, rows in (cells(size, stride) for stride in strides))


def matching(size: tuple[int, int], rows: int, anchors: int = 1) -> tuple[int, ...] | None:
    """The strides whose grids have `rows` cells in all, times `anchors`; None where none do."""
    return next((strides for strides in STRIDES if rows == anchors * count(size, strides)), None)


def of_rows(size: tuple[int, int], rows: int) -> tuple[int, ...]:
    """The strides of an output with a row a cell. ModelError where no grids have as many cells."""
    strides = matching(size, rows)
    if strides is None:
        raise ModelError(
            f"{rows} rows are no sum of grids of a {size[0]} x {size[1]} input; give 'strides' in the sidecar"
        )
    return strides


@lru_cache(maxsize=64)
def points(size: tuple[int, int], strides: tuple[int, ...], offset: float = 0.0) -> tuple[Floats, Floats]:
    """Cell positions (N, 2) x, y in cells, plus `offset`, and the stride of each (N, 1); rows of a level first."""
    places, steps = [], []
    for stride in strides:
        columns, rows = cells(size, stride)
        y, x = np.mgrid[:rows, :columns]
        places.append(np.stack((x, y), axis=-1).reshape(-1, 2) + offset)
        steps.append(np.full((rows * columns, 1), stride))
    found = np.concatenate(places).astype(np.float32), np.concatenate(steps).astype(np.float32)
    for array in found:
        array.flags.writeable = False  # it is shared by all callers
    return found
