"""Parts of a TIFF file as TIFF files of their own: the strips or tiles that a part needs, under a new directory.

What decodes whole files then decodes parts, with all that it knows of samples and colours (see `tiff`).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detkit.errors import InputError
from detkit.picture_files.tiff import (
    COMPRESSION,
    DAMAGED,
    HEIGHT,
    PLANAR,
    ROWS,
    SAMPLES,
    SIGNED,
    STRIP_OFFSETS,
    STRIP_SIZES,
    TILE_HEIGHT,
    TILE_OFFSETS,
    TILE_SIZES,
    TILE_WIDTH,
    WIDTH,
    Directory,
    Layout,
    TiffError,
    check_readable,
    read_directory,
)

# What samples mean, and how they are packed: copied as it is. 320: colours of a palette; 347: tables of JPEG;
# 529 to 532: YCbCr.
_COPIED = (258, 259, 262, 266, 277, 284, 292, 293, 317, 320, 332, 338, 339, 347, 529, 530, 531, 532)
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_LONG = 4
_MOST_ROWS = 1024  # of a strip or tile, beyond which a part is as good as the whole
_CUT_TO = 64  # rows into which a single strip that is not compressed is cut


@dataclass(frozen=True)
class Blocks:
    """The blocks, strips or tiles, of a picture of `size` (width, height).

    block      (width, height) of each
    places     (offset, bytes) of each in the file, row by row, and plane by plane where `planes` is more than 1
    entries    of the directory that are copied: tag -> (type, number of values, their bytes)
    """

    size: tuple[int, int]
    block: tuple[int, int]
    places: tuple[tuple[int, int], ...]
    planes: int
    tiles: bool
    order: str
    entries: Mapping[int, tuple[int, int, bytes]]


def blocks_of(content: Any) -> Blocks | None:
    """The blocks of a TIFF file; None where it is better read as a whole, or nothing but reading it tells.

    That is so where its blocks are large, and for samples of more than 8 bits, whose range only all of them tell.
    """
    try:
        directory = read_directory(content)
        check_readable(directory)
        layout = Layout.of(directory)
    except (TiffError, InputError):
        return None
    if layout.bits > 8 or layout.format == SIGNED:
        return None
    width, height = directory.one(WIDTH, 0), directory.one(HEIGHT, 0)
    if layout.tiles:
        block, tags = (directory.one(TILE_WIDTH, 0), directory.one(TILE_HEIGHT, 0)), (TILE_OFFSETS, TILE_SIZES)
    else:
        block, tags = (width, min(directory.one(ROWS, height), height)), (STRIP_OFFSETS, STRIP_SIZES)
    if min(*block, width, height) < 1:
        return None
    planes = directory.one(SAMPLES, 1) if directory.one(PLANAR, 1) == 2 else 1
    offsets, sizes = directory.tags.get(tags[0], ()), directory.tags.get(tags[1], ())
    count = -(-width // block[0]) * -(-height // block[1]) * planes
    if min(len(offsets), len(sizes)) < count:
        return None
    places = tuple(zip(map(int, offsets[:count]), map(int, sizes[:count]), strict=True))
    if block[1] > _MOST_ROWS:
        if layout.tiles or count != 1 or directory.one(COMPRESSION, 1) != 1:
            return None
        places = _cut(places[0], height, -(-width * layout.samples * layout.bits // 8))
        block = (width, _CUT_TO)
    return Blocks((width, height), block, places, planes, layout.tiles, directory.order, _entries(content, directory))


def _cut(place: tuple[int, int], height: int, row: int) -> tuple[tuple[int, int], ...]:
    """The places of strips of `_CUT_TO` rows, of `row` bytes, that a strip is made of."""
    return tuple(
        (place[0] + top * row, min(_CUT_TO, height - top) * row) for top in range(0, height, _CUT_TO)
    )  # fmt: skip


def _entries(content: Any, directory: Directory) -> dict[int, tuple[int, int, bytes]]:
    order, big = directory.order, directory.big
    view = memoryview(content)
    (start,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", view, 8 if big else 4)
    (count,) = struct.unpack_from(f"{order}Q" if big else f"{order}H", view, start)
    start, size, head = (start + 8, 20, 12) if big else (start + 2, 12, 8)
    found = {}
    for place in range(start, start + count * size, size):
        tag, kind = struct.unpack_from(f"{order}HH", view, place)
        (number,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", view, place + 4)
        if tag in _COPIED and kind in _SIZES:
            length, at = number * _SIZES[kind], place + head
            if length > size - head:
                (at,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", view, at)
            found[tag] = (kind, number, bytes(view[at : at + length]))
    return found


def part_of(content: Any, blocks: Blocks, rect: tuple[int, int, int, int]) -> tuple[bytes, int, int]:
    """A TIFF file of the blocks that `rect` (x1, y1, x2, y2) needs, and the left and top of its picture.

    InputError where the file ends before they do.
    """
    (wide, high), (width, height) = blocks.block, blocks.size
    columns, rows = -(-width // wide), -(-height // high)
    left, top = rect[0] // wide, rect[1] // high
    right, bottom = min(-(-rect[2] // wide), columns), min(-(-rect[3] // high), rows)
    numbers = [
        (plane * rows + row) * columns + column
        for plane in range(blocks.planes)
        for row in range(top, bottom)
        for column in range(left, right)
    ]
    view = memoryview(content)
    data, offsets, sizes = [], [], []
    end = 8
    for number in numbers:
        offset, length = blocks.places[number]
        if offset + length > len(view):
            raise InputError(DAMAGED)
        data.append(bytes(view[offset : offset + length]) + b"\0" * (length % 2))
        offsets.append(end)
        sizes.append(length)
        end += len(data[-1])
    size = (min(right * wide, width) - left * wide, min(bottom * high, height) - top * high)
    new = {WIDTH: [size[0]], HEIGHT: [size[1]]}
    if blocks.tiles:
        new |= {TILE_WIDTH: [wide], TILE_HEIGHT: [high], TILE_OFFSETS: offsets, TILE_SIZES: sizes}
    else:
        new |= {ROWS: [high], STRIP_OFFSETS: offsets, STRIP_SIZES: sizes}
    entries = dict(blocks.entries)
    entries |= {tag: (_LONG, len(own), struct.pack(f"{blocks.order}{len(own)}I", *own)) for tag, own in new.items()}
    return _file(blocks.order, b"".join(data), entries), left * wide, top * high


def _file(order: str, data: bytes, entries: Mapping[int, tuple[int, int, bytes]]) -> bytes:
    start = 8 + len(data)
    beside_at = start + 2 + 12 * len(entries) + 4
    rows, beside = b"", b""
    for tag, (kind, number, content) in sorted(entries.items()):
        if len(content) > 4:
            content, place = struct.pack(f"{order}I", beside_at + len(beside)), content
            beside += place + b"\0" * (len(place) % 2)
        rows += struct.pack(f"{order}HHI", tag, kind, number) + content.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    return b"".join((head, data, struct.pack(f"{order}H", len(entries)), rows, bytes(4), beside))
