"""Label maps as PNG files: palette indices and gray values as they are stored, which pictures readers do not keep.

OpenCV turns a palette PNG into colours. Its pixels are stored like those of a gray picture of the same depth, so the
file is handed to it as one: everything else (filters, interlacing, checks) is libpng's work.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError
from detkit.files import read_file, write_bytes

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAY, _INDEXED = 0, 3
_IDAT, _IHDR, _PLTE, _IEND = b"IDAT", b"IHDR", b"PLTE", b"IEND"


@dataclass(frozen=True)
class LabelPng:
    """What a PNG file stores.

    values    uint8 or uint16 (H, W): palette indices or gray values; or uint8 (H, W, 3) RGB
    colours   uint8 (P, 3), RGB of its palette, None where it has none
    """

    values: NDArray[Any]
    colours: NDArray[np.uint8] | None


def read_label_png(path: str | os.PathLike[str]) -> LabelPng:
    """The values of a PNG file, see `decode_label_png`. InputError, with the file's name, where it cannot be read."""
    content = read_file(path)
    try:
        return decode_label_png(content)
    except InputError as error:
        raise InputError(f"{os.fspath(path)}: {error}") from error


def decode_label_png(content: bytes) -> LabelPng:
    """The values that the bytes of a PNG file store, of any depth and interlaced or not; an alpha channel is dropped.

    InputError for anything but a PNG, and for a damaged one.
    """
    chunks = list(_chunks(content))
    header = chunks[0][1]
    depth, kind = header[8], header[9]
    colours = None
    if kind == _INDEXED:
        palette = next((data for name, data in chunks if name == _PLTE), None)
        if palette is None or len(palette) % 3:
            raise InputError("is a PNG with indices and no palette")
        colours = np.frombuffer(palette, np.uint8).reshape(-1, 3)
        as_gray = header[:9] + bytes([_GRAY]) + header[10:]
        kept = [(_IHDR, as_gray), *((name, data) for name, data in chunks if name in (_IDAT, _IEND))]
        content = _SIGNATURE + b"".join(_chunk(name, data) for name, data in kept)
    try:
        values: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise InputError("cannot be decoded: damaged, or too large") from error
    if values is None:
        raise InputError("cannot be decoded: truncated or damaged")
    if values.ndim == 3:
        if values.dtype != np.uint8:
            raise InputError("is a colour PNG of 16 bits, which no label map is")
        return LabelPng(np.ascontiguousarray(values[..., 2::-1]), None)
    if depth < 8:  # spread over 0 to 255 in decoding
        values = values // np.uint8(255 // (2**depth - 1))
    if colours is not None and values.size and int(values.max()) >= len(colours):
        raise InputError(f"has the index {int(values.max())}, and its palette {len(colours)} colours")
    return LabelPng(values, colours)


def encode_palette_png(indices: NDArray[np.uint8], colours: NDArray[np.uint8]) -> bytes:
    """A PNG of 8-bit indices (H, W) and the palette (P, 3) RGB, P <= 256. InputError for an index without a colour."""
    if indices.ndim != 2 or indices.dtype != np.uint8 or not indices.size:
        raise InputError(f"indices must be uint8 (height, width), got {indices.dtype} {indices.shape}")
    if int(indices.max()) >= len(colours):
        raise InputError(f"there is the index {int(indices.max())}, and the palette has {len(colours)} colours")
    height, width = indices.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row begins with its filter, 0 for none
    rows[:, 1:] = indices
    return _SIGNATURE + b"".join(
        (
            _chunk(_IHDR, struct.pack(">IIBBBBB", width, height, 8, _INDEXED, 0, 0, 0)),
            _chunk(_PLTE, np.ascontiguousarray(colours, np.uint8).tobytes()),
            _chunk(_IDAT, zlib.compress(rows.tobytes(), 6)),
            _chunk(_IEND, b""),
        )
    )


def write_palette_png(path: str | os.PathLike[str], indices: NDArray[np.uint8], colours: NDArray[np.uint8]) -> None:
    """Write `encode_palette_png`'s bytes, all or nothing."""
    write_bytes(path, encode_palette_png(indices, colours))


def panoptic_ids(picture: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Segment ids (H, W) of a COCO panoptic PNG (H, W, 3) RGB: R + 256 G + 65536 B."""
    wide = picture.astype(np.int64)
    return wide[..., 0] | wide[..., 1] << 8 | wide[..., 2] << 16


def panoptic_picture(ids: NDArray[Any]) -> NDArray[np.uint8]:
    """The RGB picture (H, W, 3) of segment ids (H, W), the inverse of `panoptic_ids`. InputError outside of 24 bits."""
    wide = ids.astype(np.int64)
    if wide.size and (wide.min() < 0 or wide.max() >= 1 << 24):
        raise InputError("ids of segments must be from 0 to 16777215 to be written as colours")
    return np.stack((wide & 255, wide >> 8 & 255, wide >> 16), axis=-1).astype(np.uint8)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not content.startswith(_SIGNATURE):
        raise InputError("is no PNG file, which label maps are")
    place = len(_SIGNATURE)
    name = b""
    while name != _IEND:
        if place + 12 > len(content):
            raise InputError("is a truncated PNG file")
        (length,) = struct.unpack_from(">I", content, place)
        name = content[place + 4 : place + 8]
        data = content[place + 8 : place + 8 + length]
        end = place + 8 + length
        if end + 4 > len(content):
            raise InputError("is a truncated PNG file")
        if struct.unpack_from(">I", content, end)[0] != zlib.crc32(name + data):
            raise InputError("is a damaged PNG file: a checksum is wrong")
        if place == len(_SIGNATURE) and (name != _IHDR or length != 13):
            raise InputError("is a PNG file without a header")
        yield name, data
        place = end + 4


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
