"""Grids of the output levels of a head."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from detkit.boxes import Floats
from detkit.errors import ModelError

# What exporters use first: P3 to P5, P3 to P6, two levels, one; then any levels in a row from stride 4 to 128.
_USUAL = ((8, 16, 32), (8, 16, 32, 64), (16, 32), (32,))
_ALL = (4, 8, 16, 32, 64, 128)
_ONE_LEVEL = 32  # the coarsest stride that a head of a single level has
STRIDES: tuple[tuple[int, ...], ...] = (
    *_USUAL,
    *(
        levels
        for count in range(len(_ALL), 0, -1)
        for levels in (_ALL[start : start + count] for start in range(len(_ALL) - count + 1))
        if levels not in _USUAL and (count > 1 or levels[0] <= _ONE_LEVEL)
    ),
)


def cells(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """(columns, rows) of the level of a stride, for an input of `size` (width, height)."""
    return -(-size[0] // stride), -(-size[1] // stride)


def count(size: tuple[int, int], strides: tuple[int, ...]) -> int:
    """The number of cells of all levels: 3,549 for 416 x 416 at strides 8, 16, 32."""
    return sum(columns * rows for columns, rows in (cells(size, stride) for stride in strides))


def matching(size: tuple[int, int], rows: int, anchors: int = 1) -> tuple[int, ...] | None:
    """The strides whose grids have `rows` cells in all, times `anchors`; None where none do.

    With anchors, of two levels or more: three times the cells of one level is too many numbers to tell anything.
    """
    fits = (strides for strides in STRIDES if rows == anchors * count(size, strides))
    return next((strides for strides in fits if anchors == 1 or len(strides) > 1), None)


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
