"""Inner tensors as maps over the picture: the padding cut away, channels scaled, sorted, and the dead ones found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.graphs.letterbox import Placement

Floats = NDArray[np.float32]
# x1, y1, x2, y2 in cells of a map, the last ones left out.
Cells = tuple[int, int, int, int]

_LOW, _HIGH = 1.0, 99.0
_CONSTANT = 1e-6
_LEAST_TOKENS = 16


@dataclass(frozen=True)
class Channels:
    """The channels of a layer over one picture.

    maps       float32 (C, h, w), each scaled so that its 1st percentile is 0 and its 99th is 1, cut there
    order      the channels that live, those that answer to the box most first
    dead       the channels that say the same everywhere
    response   (C,) mean inside the box less the mean outside it, of the scaled maps; without a box their deviation
    """

    maps: Floats
    order: NDArray[np.int64]
    dead: NDArray[np.int64]
    response: NDArray[np.float64]


def as_maps(tensor: NDArray[Any], size: tuple[int, int]) -> NDArray[Any] | None:
    """A layer's output for one picture as maps (C, h, w); None where it does not lie over the picture.

    (1, C, h, w) are maps as they are; (1, T, C) are where T, or T less one class token, is a grid that goes evenly
    into an input of `size` (width, height).
    """
    if tensor.dtype.kind not in "fiu" or tensor.ndim not in (3, 4) or len(tensor) != 1:
        return None
    if tensor.ndim == 4:
        return tensor[0] if min(tensor.shape[2:]) > 1 or size == tensor.shape[:1:-1] else None
    tokens = tensor[0]
    grid = token_grid(len(tokens), size)
    if grid is None:
        return None
    rows, columns, first = grid
    return np.asarray(tokens[first:].T.reshape(-1, rows, columns))


def token_grid(count: int, size: tuple[int, int]) -> tuple[int, int, int] | None:
    """(rows, columns, tokens before them) of `count` tokens over an input of `size` (width, height), None for none."""
    width, height = size
    for first in (1, 0, 2):
        cells = count - first
        if cells < _LEAST_TOKENS:
            continue
        rows = round(math.sqrt(cells * height / width))
        if rows and cells % rows == 0 and abs(height / rows - width / (cells // rows)) < 1:
            return rows, cells // rows, first
    return None


def content_of(
    maps: NDArray[Any], placement: Placement, box: NDArray[np.float32] | None = None
) -> tuple[NDArray[Any], Cells]:
    """Maps (C, h, w) of the whole input without the cells whose centre is padding; and the cells of a picture's box."""
    height, width = maps.shape[1:]
    step = placement.size[0] / width, placement.size[1] / height
    left, right = _cells(placement.left / step[0], (placement.left + placement.resized[0]) / step[0], width)
    top, bottom = _cells(placement.top / step[1], (placement.top + placement.resized[1]) / step[1], height)
    content = maps[:, top:bottom, left:right]
    if box is None:
        return content, (0, 0, right - left, bottom - top)
    x1, y1, x2, y2 = placement.apply(np.asarray(box, np.float32)[None])[0].tolist()
    across = _cells(x1 / step[0] - left, x2 / step[0] - left, right - left)
    down = _cells(y1 / step[1] - top, y2 / step[1] - top, bottom - top)
    return content, (across[0], down[0], across[1], down[1])


def channels_of(maps: NDArray[Any], cells: Cells | None) -> Channels:
    """The channels of maps (C, h, w) of a picture's content, sorted by their response to `cells`."""
    flat = maps.reshape(len(maps), -1).astype(np.float32)
    low, high = np.percentile(flat, (_LOW, _HIGH), axis=1)
    spread = flat.max(axis=1) - flat.min(axis=1)
    dead = spread <= _CONSTANT * max(float(np.abs(flat).max(initial=0)), 1e-12)
    # A channel that fires in less than a hundredth of the picture has no percentiles apart.
    narrow = high - low <= _CONSTANT * np.maximum(spread, 1e-12)
    low, high = np.where(narrow, flat.min(axis=1), low), np.where(narrow, flat.max(axis=1), high)
    scaled = np.clip((flat - low[:, None]) / np.maximum(high - low, 1e-12)[:, None], 0, 1)
    scaled[dead] = 0
    scaled = scaled.reshape(maps.shape).astype(np.float32)
    if cells is None or (cells[2] - cells[0]) * (cells[3] - cells[1]) == scaled[0].size:
        response = scaled.std(axis=(1, 2)).astype(np.float64)
    else:
        inside = np.zeros(scaled.shape[1:], bool)
        inside[cells[1] : cells[3], cells[0] : cells[2]] = True
        response = (scaled[:, inside].mean(axis=1) - scaled[:, ~inside].mean(axis=1)).astype(np.float64)
    order = np.argsort(-response, kind="stable")
    return Channels(scaled, order[~dead[order]], np.flatnonzero(dead), response)


def _cells(start: float, end: float, count: int) -> tuple[int, int]:
    """The cells whose centre lies between two places, at least one."""
    first = min(max(math.ceil(start - 0.5), 0), count - 1)
    return first, max(min(math.ceil(end - 0.5), count), first + 1)
