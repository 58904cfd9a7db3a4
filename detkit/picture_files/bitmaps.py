"""Pictures of bare samples that OpenCV gets wrong: BMP of 16 and 32 bits, and the Netpbm formats.

OpenCV reads the fourth byte of a BMP with bit fields as transparency where no mask says so, widens five bits to
eight by adding zeros, takes a Netpbm picture's largest value to be 255, and swaps the channels of PAM.

Sources: the BITMAPINFOHEADER family (Microsoft, "Bitmap storage"), netpbm's manual pages (ppm, pgm, pam).
"""

from __future__ import annotations

import re
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError

_RGB, _BITFIELDS, _ALPHA_BITFIELDS = 0, 3, 6
_MASKS = {16: (0x7C00, 0x03E0, 0x001F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
_TRUNCATED = "cannot be decoded: truncated, damaged or not a picture"
_CHANNELS = {b"GRAYSCALE": 1, b"GRAYSCALE_ALPHA": 2, b"RGB": 3, b"RGB_ALPHA": 4, b"BLACKANDWHITE": 1}
_TOKEN = re.compile(rb"(?:\s|#[^\n]*\n)+(\d+)")


def read_bmp(content: bytes) -> NDArray[np.uint8] | None:
    """A BMP of 16 or 32 bits that is not packed, as (H, W, 3) RGB or (H, W, 4) RGBA; None for other BMPs.

    Alpha is there only where a mask says so, and not if it makes every pixel transparent, which no picture means.
    """
    (pixels, size) = struct.unpack_from("<II", content, 10)
    if size < 40:
        return None
    if len(content) < 54:
        raise InputError(_TRUNCATED)
    width, height, _, bits, packing = struct.unpack_from("<iiHHI", content, 18)
    if bits not in _MASKS or packing not in (_RGB, _BITFIELDS, _ALPHA_BITFIELDS):
        return None
    masks = _MASKS[bits]
    if packing != _RGB:
        count = 4 if size >= 56 or packing == _ALPHA_BITFIELDS else 3
        try:
            masks = (*struct.unpack_from(f"<{count}I", content, 54), 0, 0)[:4]
        except struct.error as error:
            raise InputError(_TRUNCATED) from error
    if any(mask & (mask + (mask & -mask)) for mask in masks):  # not one run of bits
        raise InputError("has bit fields with gaps, which no program writes; it is damaged")
    stride = (width * bits + 31) // 32 * 4
    if len(content) < pixels + stride * abs(height):
        raise InputError(_TRUNCATED)
    rows = np.frombuffer(content, np.uint8, stride * abs(height), pixels).reshape(abs(height), stride)
    words = rows[:, : width * bits // 8].view(f"<u{bits // 8}")
    if height > 0:  # the lowest row comes first
        words = words[::-1]
    bands = [_field(words, mask) for mask in masks if mask]
    if sum(mask > 0 for mask in masks[:3]) < 3:
        raise InputError("has no bit field for one of its colours; it is damaged")
    if masks[3] and not bands[3].any():
        bands.pop()
    return np.dstack(bands)


def _field(words: NDArray[Any], mask: int) -> Any:
    """The bits of a mask, spread to 0..255."""
    shift = (mask & -mask).bit_length() - 1
    largest = mask >> shift
    values = (words & words.dtype.type(mask)) >> shift
    if largest == 255:
        return values.astype(np.uint8)
    if largest < 65536:
        table = ((np.arange(largest + 1) * 255 + largest // 2) // largest).astype(np.uint8)
        return table[values]
    return np.round(values * (255.0 / largest)).astype(np.uint8)


def read_netpbm(content: bytes) -> NDArray[Any] | None:
    """A picture of P2, P3, P5, P6 or P7, as (H, W, channels) with RGB in this order; None for bitmaps of one bit.

    Samples are uint8, or uint16 where the largest value is above 255, spread to the whole of it.
    """
    kind = content[:2]
    if kind in (b"P1", b"P4"):
        return None
    if kind == b"P7":
        head = re.match(rb"P7\s.*?\bENDHDR\s*?\n", content[:4096], re.DOTALL)
        fields = dict(re.findall(rb"^([A-Z]+)\s+(\S+)", head[0] if head else b"", re.MULTILINE))
        try:
            width, height, channels, largest = (int(fields[key]) for key in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
        except (KeyError, ValueError) as error:
            raise InputError(_TRUNCATED) from error
        expected = _CHANNELS.get(fields.get(b"TUPLTYPE", b""), channels)
        if expected > channels or not 1 <= channels <= 4:
            raise InputError(f"has {channels} channels; pictures with 1 to 4 are read")
        start = head.end() if head else 0
    else:
        width, height, largest, start = _numbers(content)
        channels = expected = 3 if kind in (b"P3", b"P6") else 1
    if not 0 < largest < 65536:
        raise InputError(_TRUNCATED)
    count = width * height * channels
    if kind in (b"P2", b"P3"):
        samples = _written_out(content, start, count)
    else:
        depth = np.dtype(">u2" if largest > 255 else "u1")
        if len(content) < start + count * depth.itemsize:
            raise InputError(_TRUNCATED)
        samples = np.frombuffer(content, depth, count, start)
    full = 65535 if largest > 255 else 255
    samples = samples if full > 255 else np.minimum(samples, 255).astype(np.uint8)
    if largest != full:
        steps = np.minimum(np.arange(full + 1), largest)
        samples = ((steps * full + largest // 2) // largest).astype("u2" if full > 255 else "u1")[samples]
    return samples.reshape(height, width, channels)[:, :, :expected].astype(samples.dtype.newbyteorder("="))


def _numbers(content: bytes) -> tuple[int, int, int, int]:
    """(width, height, largest value, where the samples begin) of P2, P3, P5 and P6."""
    place, found = 2, []
    for _ in range(3):
        number = _TOKEN.match(content, place, place + 4096)
        if number is None:
            raise InputError(_TRUNCATED)
        found.append(int(number[1]))
        place = number.end()
    return found[0], found[1], found[2], place + 1  # one white space after the largest value


def _written_out(content: bytes, start: int, count: int) -> NDArray[np.uint16]:
    text = re.sub(rb"#[^\n]*", b" ", content[start - 1 :])
    try:
        samples = np.array(text.split(None, count)[:count], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise InputError(_TRUNCATED) from error
    if len(samples) < count or (count and (samples.min() < 0 or samples.max() > 65535)):
        raise InputError(_TRUNCATED)
    return samples.astype(np.uint16)
