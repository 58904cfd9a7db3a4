"""TIFF files whose samples OpenCV gets wrong: extra bands, inverted or signed samples, half floats.

OpenCV takes any fourth band for transparency, bands that are not called colours for gray, and minus one for 255.
libtiff inside it decompresses well, though. So the directory is written anew, as that of a gray picture with
`samples` times as many columns, and what OpenCV then decodes are the bare samples; what they mean is decided here.

Source: TIFF 6.0 (Adobe 1992), BigTIFF (libtiff.org), TIFF Technical Note 3 (floating-point predictor).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5
ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA = 1, 2
UNSIGNED, SIGNED, FLOAT = 1, 2, 3

WIDTH, HEIGHT, _BITS, COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_FILL_ORDER, STRIP_OFFSETS, _ORIENTATION, SAMPLES, ROWS, STRIP_SIZES, PLANAR, _PREDICTOR = (
    266,
    273,
    274,
    277,
    278,
    279,
    284,
    317,
)
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_SIZES, _EXTRA, _FORMAT = 322, 323, 324, 325, 338, 339
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_MOST_VALUES = 1 << 24
DAMAGED = "cannot be decoded: truncated, damaged or not a picture"
# The tags that are read here; ASCII texts, colour profiles and the like are passed over.
_READ = frozenset(
    (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 322, 323, 324, 325, 330, 338, 339, 50706)
)
# Ways of compressing that OpenCV's libtiff takes apart; it gives a black picture, or none, for others.
_COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32771, 32773, 32809, 32946}
_NAMES = {
    6: "old-style JPEG",
    34676: "SGI Log",
    34677: "SGI Log",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
}
_BARE = {1, 5, 8, 32773, 32946}  # of these, the ones that hold samples and not pictures
_PHOTOMETRICS = {WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, 6}  # 6: YCbCr
_COLOUR_NAMES = {
    8: "in CIE L*a*b*",
    9: "in ICC L*a*b*",
    10: "in ITU L*a*b*",
    32803: "of a sensor",
    34892: "of a sensor",
}
_COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, CMYK: 4}


class TiffError(ValueError):
    """The directory is damaged."""


@dataclass(frozen=True)
class Directory:
    """The first directory of a TIFF file.

    order           "<" or ">"
    big             whether it is BigTIFF
    tags            the values of the tags that matter here
    orientation_at  where the value of the orientation stands, and its type for `struct`; (0, "") where it is not said
    """

    order: str
    big: bool
    tags: Mapping[int, tuple[Any, ...]]
    orientation_at: tuple[int, str] = (0, "")

    def one(self, tag: int, default: int) -> int:
        values = self.tags.get(tag, ())
        return int(values[0]) if values else default


@dataclass(frozen=True)
class Layout:
    """What the samples of a picture are.

    samples      a pixel has so many, of `bits` each, of the number format `format`
    photometric  what the first of them mean
    extra        what the last of them mean: ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA or 0, for anything
    planes       whether each band is stored by itself
    tiles        whether the picture is stored in tiles, and not in strips of rows
    pictures     whether strips and tiles are pictures of their own (JPEG, fax), and not packed samples
    """

    samples: int
    bits: int
    format: int
    photometric: int
    extra: tuple[int, ...]
    planes: bool
    tiles: bool
    pictures: bool

    @classmethod
    def of(cls, directory: Directory) -> Layout:
        samples = directory.one(SAMPLES, 1)
        if samples < 1:
            raise InputError(DAMAGED)
        bits, formats = directory.tags.get(_BITS, (1,)), directory.tags.get(_FORMAT, (UNSIGNED,))
        if len({*bits}) > 1 or len({*formats}) > 1:
            raise InputError("has bands of different depths; save it with one")
        format = int(formats[0])
        return cls(
            samples,
            int(bits[0]),
            format if format in (SIGNED, FLOAT) else UNSIGNED,
            directory.one(_PHOTOMETRIC, BLACK_IS_ZERO),
            tuple(int(value) for value in directory.tags.get(_EXTRA, ())),
            samples > 1 and directory.one(PLANAR, 1) == 2,
            TILE_OFFSETS in directory.tags,
            directory.one(COMPRESSION, 1) not in _BARE,
        )

    @property
    def plain(self) -> bool:
        """Whether OpenCV reads such a picture right by itself."""
        if self.photometric not in _COLOURS or self.bits < 8:  # palettes, YCbCr, bilevel
            return not self.extra
        if self.format == SIGNED or (self.format == FLOAT and self.bits < 32) or self.extra:
            return False
        if self.photometric == WHITE_IS_ZERO or self.planes:
            return False
        if self.tiles and self.bits == 8 and not self.pictures:  # not read where they are not compressed
            return False
        return self.samples == _COLOURS[self.photometric] and (self.photometric != CMYK or self.bits == 8)


def read_directory(content: Any) -> Directory:
    """The first directory of a TIFF file. TiffError where it is cut off."""
    view = memoryview(content)
    order = "<" if bytes(view[:2]) == b"II" else ">"
    try:
        big = struct.unpack_from(f"{order}H", view, 2)[0] == 43
        (start,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", view, 8 if big else 4)
        (count,) = struct.unpack_from(f"{order}Q" if big else f"{order}H", view, start)
        size, head, start = (20, 12, start + 8) if big else (12, 8, start + 2)
        tags: dict[int, tuple[Any, ...]] = {}
        orientation_at = (0, "")
        for place in range(start, start + min(count, 4096) * size, size):
            tag, kind = struct.unpack_from(f"{order}HH", view, place)
            if tag not in _READ or kind not in _TYPES:
                continue
            (number,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", view, place + 4)
            if number > _MOST_VALUES:
                raise TiffError("a field of too many values")
            values = f"{order}{number}{_TYPES[kind]}"
            at = place + head
            if struct.calcsize(values) > size - head:
                (at,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", view, at)
            tags.setdefault(tag, struct.unpack_from(values, view, at))
            if tag == _ORIENTATION and number == 1:
                orientation_at = at, order + _TYPES[kind]
    except (struct.error, OverflowError) as error:
        raise TiffError("the directory is cut off") from error
    return Directory(order, big, tags, orientation_at)


def upright_stored(content: bytes, directory: Directory) -> bytes:
    """The file with orientation 1, so that its pixels are decoded as they are stored."""
    at, form = directory.orientation_at
    return content[:at] + struct.pack(form, 1) + content[at + struct.calcsize(form) :] if at else content


def check_readable(directory: Directory) -> None:
    """InputError where OpenCV would give a black picture, other colours, or none."""
    photometric = directory.one(_PHOTOMETRIC, BLACK_IS_ZERO)
    if photometric not in _PHOTOMETRICS:
        name = _COLOUR_NAMES.get(photometric, f"of kind {photometric}")
        raise InputError(f"holds colours {name}, which are not read in TIFF; save it as RGB")
    number = directory.one(COMPRESSION, 1)
    if number not in _COMPRESSIONS:
        name = _NAMES.get(number, f"method {number}")
        raise InputError(f"is compressed with {name}, which is not read in TIFF; save it with LZW or Deflate")


def read_samples(content: bytes, directory: Directory, decode: Callable[[bytes], NDArray[Any] | None]) -> NDArray[Any]:
    """The bare samples (H, W, samples) of a picture, in the number format of the file.

    decode  gives the one channel (H, W) of a gray TIFF file, None where it is damaged
    """
    layout = Layout.of(directory)
    if layout.pictures or layout.bits not in (8, 16, 32, 64) or directory.one(_FILL_ORDER, 1) != 1:
        bands = f"{layout.samples} bands of {layout.bits} bits"
        raise InputError(f"holds {bands} in a way that is not read; save it as RGB of 8 or 16")
    predictor = directory.one(_PREDICTOR, 1)
    if predictor == 3:
        raise InputError("holds more than colours with a floating-point predictor; save it without a predictor")

    def flat(across: int, plane: int | None) -> NDArray[Any]:
        if directory.one(COMPRESSION, 1) == 1:
            return _uncompressed(content, directory, layout, across, plane)
        return _decoded(_gray(content, directory, layout, across, plane), decode)

    if layout.planes:
        bare = np.dstack([_summed(flat(1, plane)[:, :, None], directory, predictor) for plane in range(layout.samples)])
    else:
        rows = flat(layout.samples, None)
        bare = _summed(rows.reshape(len(rows), -1, layout.samples), directory, predictor)
    kinds: dict[int, str] = {UNSIGNED: "u", SIGNED: "i", FLOAT: "f"}
    return bare.view(np.dtype(f"{kinds[layout.format]}{layout.bits // 8}"))


def _uncompressed(content: bytes, directory: Directory, layout: Layout, across: int, plane: int | None) -> NDArray[Any]:
    """The rows (H, W * across) of unsigned numbers of a file that is not compressed."""
    width, height = directory.one(WIDTH, 0) * across, directory.one(HEIGHT, 0)
    if layout.tiles:
        wide, high = directory.one(TILE_WIDTH, 0) * across, directory.one(TILE_HEIGHT, 0)
    else:
        wide, high = width, min(directory.one(ROWS, 2**32 - 1), height)
    if min(width, height, wide, high) < 1:
        raise InputError(DAMAGED)
    offsets = [int(offset) for offset in directory.tags.get(TILE_OFFSETS if layout.tiles else STRIP_OFFSETS, ())]
    columns = -(-width // wide)
    count = columns * -(-height // high)
    offsets = offsets[(plane or 0) * count :][:count]
    stored = np.dtype(f"{directory.order}u{layout.bits // 8}")
    rows = np.empty((height, width), stored.newbyteorder("="))
    if len(offsets) < count:
        raise InputError(DAMAGED)
    for place, offset in enumerate(offsets):
        top, left = place // columns * high, place % columns * wide
        there = high if layout.tiles else min(high, height - top)  # the last strip holds only what is left
        if offset + there * wide * stored.itemsize > len(content):
            raise InputError(DAMAGED)
        block = np.frombuffer(content, stored, there * wide, offset).reshape(there, wide)
        part = rows[top : top + high, left : left + wide]
        part[:] = block[: part.shape[0], : part.shape[1]]
    return rows


def _decoded(content: bytes, decode: Callable[[bytes], NDArray[Any] | None]) -> NDArray[Any]:
    found = decode(content)
    if found is None or found.ndim != 2:
        raise InputError(DAMAGED)
    return found


def _summed(stored: NDArray[Any], directory: Directory, predictor: int) -> NDArray[Any]:
    """Undo horizontal differencing (TIFF 6.0, section 14), which begins anew in each tile."""
    if predictor != 2:
        return stored
    numbers = stored.view(np.dtype(f"u{stored.dtype.itemsize}"))
    width = directory.one(TILE_WIDTH, numbers.shape[1])
    for left in range(0, numbers.shape[1], width):
        tile = numbers[:, left : left + width]
        np.cumsum(tile, axis=1, dtype=numbers.dtype, out=tile)
    return numbers


def _gray(content: bytes, directory: Directory, layout: Layout, across: int, plane: int | None) -> bytes:
    """The file with the directory of a gray picture that is `across` times as wide, of one plane if asked for."""
    tags = directory.tags
    new: dict[int, tuple[int, ...]] = {
        WIDTH: (directory.one(WIDTH, 0) * across,),
        HEIGHT: (directory.one(HEIGHT, 0),),
        _BITS: (layout.bits,),
        COMPRESSION: (directory.one(COMPRESSION, 1),),
        _PHOTOMETRIC: (BLACK_IS_ZERO,),
        _FILL_ORDER: (directory.one(_FILL_ORDER, 1),),
        SAMPLES: (1,),
        PLANAR: (1,),
        # Floats of 32 and 64 bits are decoded as what they are; all else as bits, which numpy then reads.
        _FORMAT: (FLOAT if layout.format == FLOAT and layout.bits >= 32 else UNSIGNED,),
    }
    if layout.tiles:
        new |= {TILE_WIDTH: (directory.one(TILE_WIDTH, 0) * across,), TILE_HEIGHT: (directory.one(TILE_HEIGHT, 0),)}
        lists = (TILE_OFFSETS, TILE_SIZES)
    else:
        new[ROWS] = (min(directory.one(ROWS, 2**32 - 1), directory.one(HEIGHT, 0)),)
        lists = (STRIP_OFFSETS, STRIP_SIZES)
    for tag in lists:
        values = tuple(int(value) for value in tags.get(tag, ()))
        each = len(values) // layout.samples
        new[tag] = values if plane is None else values[plane * each : (plane + 1) * each]
    return _with_directory(content, directory, new)


def _with_directory(content: bytes, directory: Directory, tags: Mapping[int, tuple[int, ...]]) -> bytes:
    """The file with another first directory, written behind everything else."""
    order, big = directory.order, directory.big
    number, kind, letter = ("Q", 16, "Q") if big else ("I", 4, "I")
    start = len(content) + len(content) % 2
    room = struct.calcsize(f"{order}{number}")
    lists_at = start + (8 if big else 2) + len(tags) * (20 if big else 12) + room
    entries, lists = b"", b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(packed) > room:
            packed, lists = struct.pack(f"{order}{number}", lists_at + len(lists)), lists + packed
        short = len(values) == 1 and tag not in (WIDTH, HEIGHT, ROWS, STRIP_OFFSETS, STRIP_SIZES)
        if short and tag not in (TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_SIZES):
            entries += struct.pack(f"{order}HH{number}H{room - 2}x", tag, 3, 1, values[0])
        else:
            entries += struct.pack(f"{order}HH{number}", tag, kind, len(values)) + packed.ljust(room, b"\0")
    count = struct.pack(f"{order}Q" if big else f"{order}H", len(tags))
    head = content[:8] + struct.pack(f"{order}Q", start) if big else content[:4] + struct.pack(f"{order}I", start)
    body = content[len(head) :]
    return b"".join((head, body, b"\0" * (len(content) % 2), count, entries, bytes(room), lists))


def colours(
    samples: NDArray[Any], layout: Layout, to_eight_bits: Callable[[NDArray[Any]], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """The picture (H, W, 3) RGB or (H, W, 4) RGBA, alpha not multiplied in, of bare samples (H, W, samples).

    InputError where the file does not say which of its bands are red, green and blue.
    """
    count = _COLOURS.get(layout.photometric, 0)
    if count == 1 and layout.samples - _alphas(layout.extra) == 3:
        count = 3  # three bands that are not called colours: whoever chose three, chose them to be seen
    if not count or count > layout.samples or (count == 1 and layout.samples > 2):
        raise InputError(
            f"has {layout.samples} bands and does not say which are red, green and blue; choose three, for example "
            "with gdal_translate -b 1 -b 2 -b 3 -co PHOTOMETRIC=RGB"
        )
    seen: Any = to_eight_bits(samples[:, :, :count])
    if layout.photometric == WHITE_IS_ZERO:
        seen = 255 - seen
    if layout.photometric == CMYK:
        ink = 255 - seen.astype(np.uint16)
        seen = ((ink[:, :, :3] * ink[:, :, 3:] + 127) // 255).astype(np.uint8)
    elif count == 1:
        seen = np.repeat(seen, 3, axis=2)
    # The extra samples are the last; where a band has no entry it is of no meaning.
    meanings = (*layout.extra, *(0 for _ in range(samples.shape[2])))[: layout.samples - count]
    place = next((place for place, meaning in enumerate(meanings) if meaning in (1, 2)), None)
    if place is None:
        return np.asarray(seen, np.uint8)
    alpha = to_eight_bits(samples[:, :, count + place : count + place + 1])
    if meanings[place] == ASSOCIATED_ALPHA:  # the colours hold it already
        return np.asarray(np.minimum(seen.astype(np.uint16) + (255 - alpha), 255), np.uint8)
    return np.concatenate((seen, alpha), axis=2)


def _alphas(extra: tuple[int, ...]) -> int:
    return sum(meaning in (ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA) for meaning in extra)
