"""Where the tiles of a large picture lie, and the whole picture at a size that a detector can take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any, Protocol

import cv2
import numpy as np

from detkit.errors import UsageError
from detkit.images import Image

# x1, y1, x2, y2 in whole pixels of the picture.
Rect = tuple[int, int, int, int]

SMALLEST, MOST_OVERLAP = 32, 0.75
# The whole picture is shrunk where its longer side is more than so many tiles: what needs more pixels, a tile shows.
_WHOLE_IN_TILES = 4


class Parts(Protocol):
    """A picture of which parts can be had: an array uint8 (H, W, 3), or what is sliced like one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, part: tuple[slice, slice]) -> Any: ...


@dataclass(frozen=True)
class Tiling:
    """How a picture is cut.

    tile     side of the square tiles in pixels of the picture
    overlap  what neighbours share at least, as a share of a side; what is smaller is whole in one of them

    UsageError for a tile below 32 pixels, or an overlap outside of 0 to 0.75.
    """

    tile: int = 640
    overlap: float = 0.2

    def __post_init__(self) -> None:
        if self.tile < SMALLEST:
            raise UsageError(f"a tile has at least {SMALLEST} pixels a side, not {self.tile}")
        if not 0 <= self.overlap <= MOST_OVERLAP:
            raise UsageError(f"tiles overlap by a share from 0 to {MOST_OVERLAP}, not {self.overlap:g}")

    def starts(self, length: int) -> list[int]:
        """Where tiles begin along a side: evenly spread, the last one at the end, none beyond it.

        >>> Tiling(100, 0.2).starts(260)
        [0, 80, 160]
        >>> Tiling(100, 0.2).starts(261)
        [0, 54, 107, 161]
        """
        if length <= self.tile:
            return [0]
        step = self.tile - round(self.tile * self.overlap)
        count = ceil((length - self.tile) / step) + 1
        return [int(start) for start in np.linspace(0, length - self.tile, count).round()]

    def rects(self, width: int, height: int) -> list[Rect]:
        """The tiles of a picture, row by row; none where one tile is all of it."""
        across, down = self.starts(width), self.starts(height)
        if len(across) == len(down) == 1:
            return []
        wide, high = min(self.tile, width), min(self.tile, height)
        return [(x, y, x + wide, y + high) for y in down for x in across]

    def shrink(self, width: int, height: int) -> int:
        """By which whole number the whole picture is shrunk."""
        return max(1, ceil(max(width, height) / (_WHOLE_IN_TILES * self.tile)))


def meeting(rects: list[Rect]) -> Iterator[tuple[int, int]]:
    """Pairs of the rects of `Tiling.rects` that share pixels or a border, each once."""
    across = sorted({rect[0] for rect in rects})
    columns = len(across)
    wide, high = (rects[0][2] - rects[0][0], rects[0][3] - rects[0][1]) if rects else (0, 0)
    for one, (x, y, _, _) in enumerate(rects):
        column, row_end = one % columns, (one // columns + 1) * columns
        yield from ((one, other) for other in range(one + 1, row_end) if rects[other][0] <= x + wide)
        below = row_end
        while below < len(rects) and rects[below][1] <= y + high:
            left = column
            while left > 0 and across[left - 1] + wide >= x:
                left -= 1
            for other in range(left, columns):
                if across[other] > x + wide:
                    break
                yield one, below + other
            below += columns


def shrunk(picture: Parts, by: int) -> Image:
    """A picture `by` times smaller: the mean of `by` x `by` pixels, the last of them filled up with the border's.

    It is read a strip at a time.
    """
    height, width = picture.shape[:2]
    if by == 1:
        return np.asarray(picture[0:height, 0:width], np.uint8)
    rows = max(1, 256 // by) * by
    parts = []
    for top in range(0, height, rows):
        strip = picture[top : min(top + rows, height), 0:width]
        filled = cv2.copyMakeBorder(strip, 0, -strip.shape[0] % by, 0, -width % by, cv2.BORDER_REPLICATE)
        size = (filled.shape[1] // by, filled.shape[0] // by)
        parts.append(cv2.resize(filled, size, interpolation=cv2.INTER_AREA))
    return np.concatenate(parts).astype(np.uint8, copy=False)
