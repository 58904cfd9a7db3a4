"""Pictures of which only parts are in memory: TIFF files of strips or tiles; every other picture is read as a whole."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

from detkit.errors import InputError
from detkit.files import is_device
from detkit.images import Image, decode_image, read_image, upright
from detkit.picture_files.picture_headers import TIFF, read_header
from detkit.picture_files.tiff_parts import Blocks, blocks_of, part_of

# Pixels from which parts pay.
_LARGE = 16_000_000


class LargeImage:
    """A picture whose parts are sliced as those of an array: `picture[y1:y2, x1:x2]` is uint8 (h, w, 3) RGB, upright.

    shape   (height, width, 3), as it is shown

    InputError, when a part is sliced, where it cannot be decoded. One thread at a time.
    """

    def __init__(self, path: Path, content: mmap.mmap, blocks: Blocks, orientation: int) -> None:
        self.path, self._content, self._blocks, self._orientation = path, content, blocks, orientation
        width, height = blocks.size
        self.shape = (width, height, 3) if orientation >= 5 else (height, width, 3)
        self._last: tuple[tuple[int, int], Image] | None = None  # rows of strips, which many parts share

    def __getitem__(self, part: tuple[slice, slice]) -> Image:
        y1, y2, _ = part[0].indices(self.shape[0])
        x1, x2, _ = part[1].indices(self.shape[1])
        x1, y1, x2, y2 = self._stored(x1, y1, x2, y2)
        try:
            if self._blocks.tiles:
                image, left, top = self._decoded((x1, y1, x2, y2))
            else:
                image, left, top = self._rows(y1, y2)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from error
        return upright(image[y1 - top : y2 - top, x1 - left : x2 - left], self._orientation)

    def _stored(self, x1: int, y1: int, x2: int, y2: int) -> tuple[int, int, int, int]:
        """A rect of the shown picture as one of the stored; see `images.upright`."""
        height, width = self.shape[:2]
        if self._orientation in (2, 3, 6, 7):
            x1, x2 = width - x2, width - x1
        if self._orientation in (3, 4, 7, 8):
            y1, y2 = height - y2, height - y1
        return (y1, x1, y2, x2) if self._orientation >= 5 else (x1, y1, x2, y2)

    def _rows(self, y1: int, y2: int) -> tuple[Image, int, int]:
        high = self._blocks.block[1]
        wanted = (y1 // high, -(-y2 // high))
        if self._last is None or self._last[0] != wanted:
            self._last = None  # never two of them
            self._last = wanted, self._decoded((0, y1, self._blocks.size[0], y2))[0]
        return self._last[1], 0, wanted[0] * high

    def _decoded(self, rect: tuple[int, int, int, int]) -> tuple[Image, int, int]:
        try:
            content, left, top = part_of(self._content, self._blocks, rect)
        except (struct.error, ValueError, LookupError, ArithmeticError) as error:
            raise InputError("cannot be decoded: truncated or damaged") from error
        return decode_image(content), left, top


def open_image(path: str | os.PathLike[str]) -> Image | LargeImage:
    """The picture in a file: by its parts, where it is large and its format allows it, else as `read_image` gives it.

    A picture that is read by parts may have more pixels than `images.set_max_pixels` allows; its parts may not.
    """
    try:
        if is_device(path):
            return read_image(path)
        with open(path, "rb") as file:
            if file.read(4) not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
                return read_image(path)
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return read_image(path)  # which says what is wrong with it
    header = read_header(content)
    if header is None or header.kind != TIFF or header.strange or header.width * header.height < _LARGE:
        return read_image(path)
    try:
        blocks = blocks_of(content)
    except (struct.error, ValueError, LookupError, ArithmeticError):
        blocks = None
    return read_image(path) if blocks is None else LargeImage(Path(path), content, blocks, header.orientation)
