"""Reading pictures. An image is uint8 (H, W, 3), channels in RGB order, as it is shown: EXIF rotation applied.

This is the only module that decodes picture files and the only one that swaps channels. A file's header is read
first: it says whether the picture is one that is read, how it is turned, and whether its pixels are within the limit,
before memory is taken for them. Then OpenCV decodes, except where it is known to be wrong (`tiff`, `bitmaps`).
"""

from __future__ import annotations

import os
import re
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from detkit.errors import InputError, missing_library

try:
    import cv2
except ImportError as error:
    raise missing_library(error) or error from error
import numpy as np
from numpy.typing import NDArray

from detkit.files import is_device, read_file, reason, write_bytes
from detkit.picture_files import bitmaps, tiff
from detkit.picture_files.native_messages import native_messages
from detkit.picture_files.picture_headers import (
    BMP,
    HEIC,
    JPEG,
    NETPBM,
    PNG,
    TIFF,
    Header,
    png_chunks,
    read_header,
)
from detkit.remote import RemotePath

Image = NDArray[np.uint8]

# Broken files are reported by us, in one line; OpenCV's own log, and that of FFmpeg in it, would add several.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

# Pixels of the largest picture that is read, of up to 4 bytes each in the file: the largest phone cameras' 16,320 x
# 12,240 are below it. Deeper pixels count as more.
MAX_PIXELS = 200_000_000

_DAMAGED = "cannot be decoded: truncated, damaged or not a picture"
_AS_STORED = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
# Chunks of a PNG that pixels depend on. The others only make libpng complain (profiles, texts, wrong times).
_PNG_CHUNKS = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT"))
_PADDING = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
_HARMLESS = ("Unknown Adobe color", "Warning: unknown JFIF", "Caution: quantization")
_AT_A_TIME = 1 << 22  # samples
_TABLE_FROM = 1 << 16  # samples from which a table of all 16-bit values pays


def read_image(path: str | os.PathLike[str]) -> Image:
    """The picture in a file or an object; see `decode_image`. InputError names it where it cannot be read."""
    return decode_named(path, read_content(path))


def read_content(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a picture's file or object. InputError names it where it cannot be read."""
    if isinstance(path, RemotePath):
        return read_file(path)
    if is_device(path):  # a pipe would never end
        raise InputError(f"{path}: is not an ordinary file")
    try:
        return Path(path).read_bytes()
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder, not a picture") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {reason(error) if isinstance(error, OSError) else error}") from error
    except MemoryError as error:
        raise InputError(f"{path}: is too large for the memory of this machine") from error


def decode_named(path: str | os.PathLike[str], content: bytes) -> Image:
    """The picture in the bytes of a file; see `decode_image`. InputError names the file."""
    try:
        return decode_image(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def decode_image(content: bytes) -> Image:
    """The picture in the bytes of a file, as uint8 (H, W, 3) RGB.

    EXIF, TIFF and HEIF orientation is applied. Gray becomes three equal channels, CMYK is converted, inverted samples
    are turned over. Transparent pixels are laid on white, as a browser shows them; bands that the file does not call
    transparency are left out. Of an animation the first frame is taken. Samples of more than 8 bits are scaled, not
    cut: see `to_eight_bits`. InputError where the bytes are empty, truncated, damaged, no picture or a kind that is
    not read, and where the header asks for more pixels than `set_max_pixels` allows.
    """
    header = check_header(content)
    try:
        with _gate.entered(header.cost):
            image = _decode(content, header)
    except cv2.error as error:
        if "pixels" in str(error).lower() or "OPENCV_IO_MAX" in str(error):
            raise InputError("has more pixels than OpenCV reads (2^30; OPENCV_IO_MAX_IMAGE_PIXELS)") from error
        raise InputError(_DAMAGED) from error
    except MemoryError as error:
        raise InputError("is too large for the memory of this machine") from error
    except (struct.error, ValueError, LookupError, ArithmeticError) as error:  # fields that contradict each other
        raise InputError(_DAMAGED) from error
    return image if header.kind == HEIC else upright(image, header.orientation)  # libheif has turned it


def check_header(content: bytes) -> Header:
    """The header of a picture that may be decoded. InputError where it may not, with the reason."""
    if not content:
        raise InputError("is empty (0 bytes)")
    header = read_header(content)
    if header is None:
        raise InputError(_DAMAGED)
    if header.strange:
        raise InputError(header.strange)
    if header.cost > _gate.max_pixels:
        deep = f" of {header.bytes_per_pixel} bytes" if header.bytes_per_pixel > 4 else ""
        raise InputError(
            f"is {header.width} x {header.height} pixels{deep}, more than the {_gate.max_pixels:,} of 4 bytes that are "
            f"read; --max-pixels {header.cost} allows it"
        )
    return header


def set_max_pixels(count: int) -> None:
    """From now on, read pictures of at most so many pixels, and decode no more than so many at a time."""
    if count < 1:
        raise InputError(f"the number of pixels must be above 0, not {count}")
    _gate.max_pixels = count


def max_pixels() -> int:
    """Pixels of the largest picture that is read."""
    return _gate.max_pixels


def to_eight_bits(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Samples of any depth as uint8, without clipping.

    Integers are divided by their full scale, which is the smallest of 2^8, 2^10, 2^12, 2^14 and 2^16 (minus 1)
    that the picture stays within: 10- and 12-bit cameras write into 16-bit files without spreading the values.
    Signed ones reach to half of that. Floating-point pictures are taken as 0 to 1 if they stay within, else divided by
    their maximum. InputError where samples are below 0 (in floating point: by more than a twentieth of the range, as
    resampling makes some): which of them is black, only who wrote them knows.
    """
    if samples.dtype in (np.uint8, np.bool_):
        return samples.astype(np.uint8) * 255 if samples.dtype == np.bool_ else samples
    if np.issubdtype(samples.dtype, np.floating):
        finite = np.nan_to_num(samples.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        scale = max(1.0, float(finite.max(initial=0)))
        _refuse_negative(float(finite.min(initial=0)), scale, 0.05 * scale)
        finite /= scale
        np.clip(finite, 0, 1, out=finite)
        finite *= 255
        return np.rint(finite, out=finite).astype(np.uint8)
    high, kind = int(samples.max(initial=0)), np.iinfo(samples.dtype)
    _refuse_negative(int(samples.min(initial=0)), high, 0)
    full_scale = next((2**bits - 1 for bits in (8, 10, 12, 14, 16) if high < 2**bits), high)
    if high < 65536:
        full_scale = min(full_scale, int(kind.max))
    elif high > kind.max // 2:  # spread over all of 32 or 64 bits
        full_scale = int(kind.max)
    if high < 65536 and samples.size >= _TABLE_FROM:
        table = np.round(np.arange(high + 1) * (255.0 / full_scale)).astype(np.uint8)
        return _by_rows(lambda rows: table[rows], samples)
    return _by_rows(lambda rows: np.round(rows * (255.0 / full_scale)).astype(np.uint8), samples)


def _by_rows(change: Callable[[NDArray[Any]], NDArray[np.uint8]], samples: NDArray[Any]) -> NDArray[np.uint8]:
    """`change` of some rows at a time, since what it needs on the way is many times as large as what it gives."""
    if samples.size <= _AT_A_TIME:
        return change(samples)
    step = max(_AT_A_TIME * len(samples) // samples.size, 1)
    return np.concatenate([change(samples[top : top + step]) for top in range(0, len(samples), step)])


def _refuse_negative(low: float, high: float, allowed: float) -> None:
    if low < -allowed:
        raise InputError(
            f"has negative samples ({low:.6g} to {high:.6g}), and does not say which of them is black; "
            "scale them to 0 and above"
        )


def as_image(image: NDArray[Any]) -> Image:
    """An array that a caller passes, checked and brought to uint8 (H, W, 3) RGB.

    Taken: uint8 or deeper (`to_eight_bits`), of shape (H, W), (H, W, 1), (H, W, 3) in RGB order or (H, W, 4) RGBA.
    """
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise InputError(f"an image must have shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {np.shape(image)}")
    return _three_channels(to_eight_bits(array))


def encode_image(image: Image, suffix: str, quality: int | None = None) -> bytes:
    """The bytes of a picture file of the kind that `suffix` (".jpg", ".png" ...) names.

    quality   1 to 100 of JPEG (92 where none is given) and of WebP (without loss where none is given)
    """
    parameters: list[int] = []
    if suffix.lower() in (".jpg", ".jpeg"):
        parameters = [cv2.IMWRITE_JPEG_QUALITY, 92 if quality is None else quality]
    elif suffix.lower() == ".webp" and quality is not None:
        parameters = [cv2.IMWRITE_WEBP_QUALITY, quality]
    try:
        ok, buffer = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), parameters)
    except cv2.error as error:
        raise InputError(f"pictures cannot be written as {suffix}") from error
    if not ok:
        raise InputError(f"a picture of {image.shape[1]} x {image.shape[0]} cannot be written as {suffix}")
    return bytes(buffer)


def write_image(path: str | os.PathLike[str], image: Image) -> None:
    """Write a picture; the ending of `path` names the format. OutputError where the file cannot be written."""
    write_bytes(path, encode_image(image, Path(path).suffix or ".jpg"))


class _Gate:
    """Lets pictures be decoded side by side while their pixels together are within the limit, or one alone.

    What a library printed is known to be about one picture only if no other was decoded meanwhile. So where something
    was printed, each picture that was under way is decoded once more, alone; a picture that is whole prints nothing.
    """

    def __init__(self) -> None:
        self.max_pixels = MAX_PIXELS
        self.empty()

    def empty(self) -> None:
        """As if nobody were inside: a forked process does not have the threads that were."""
        self._changed = threading.Condition()
        self._inside = self._pixels = self._waiting_alone = 0

    @contextmanager
    def entered(self, pixels: int) -> Iterator[None]:
        with self._changed:
            while self._waiting_alone or (self._inside and self._pixels + pixels > self.max_pixels):
                self._changed.wait()
            self._enter(pixels)
        try:
            yield
        finally:
            with self._changed:
                self._leave(pixels)

    @contextmanager
    def alone(self, pixels: int) -> Iterator[None]:
        """Within `entered`: nobody else is inside until the block ends."""
        with self._changed:
            self._waiting_alone += 1
            self._leave(pixels)
            while self._inside:
                self._changed.wait()
            self._enter(pixels)
        try:
            yield
        finally:
            with self._changed:
                self._waiting_alone -= 1
                self._changed.notify_all()

    def _enter(self, pixels: int) -> None:
        self._inside += 1
        self._pixels += pixels
        messages = native_messages()
        if self._inside == 1 and messages is not None:
            messages.divert()

    def _leave(self, pixels: int) -> None:
        self._inside -= 1
        self._pixels -= pixels
        messages = native_messages()
        if self._inside == 0 and messages is not None:
            messages.restore()
        self._changed.notify_all()


_gate = _Gate()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_gate.empty)


def _decode(content: bytes, header: Header) -> Image:
    """The picture as it is stored: not turned yet (but for HEIC)."""
    if header.kind == TIFF:
        return _decode_tiff(content)
    if header.kind == BMP:
        bands = bitmaps.read_bmp(content)
        if bands is not None:
            return _three_channels(bands)
    if header.kind == NETPBM:
        bands = bitmaps.read_netpbm(content)
        if bands is not None:
            if bands.shape[2] == 2:  # gray and alpha
                bands = bands[:, :, [0, 0, 0, 1]]
            return _three_channels(_high_bytes(bands) if bands.dtype == np.uint16 else bands)
    if header.kind == HEIC:
        return _decode_heic(content)
    if header.kind == PNG:
        content = _checked_png(content)
    flags = _AS_STORED if header.kind == JPEG else cv2.IMREAD_UNCHANGED
    image: Any = _listened(lambda: cv2.imdecode(np.frombuffer(content, np.uint8), flags), content, header)
    if image is None or image.size == 0:
        raise InputError(_DAMAGED)
    if header.kind == JPEG:
        return np.asarray(image, np.uint8)
    if header.kind == PNG and image.ndim == 2:
        image = _with_gray_key(image, content)
    return _coloured(image)


@contextmanager
def hushed() -> Iterator[None]:
    """Keeps what native libraries print off the terminal, as while pictures are decoded: for encoders of videos."""
    with _gate.entered(0):
        yield


def _listened(decode: Callable[[], Any], content: bytes, header: Header) -> Any:
    """What `decode` gives. InputError where the libraries printed that a JPEG is damaged while they decoded it."""
    messages = native_messages()
    if messages is None:
        return decode()
    before = messages.size()
    image = decode()
    if messages.size() == before:
        return image
    with _gate.alone(header.cost):
        messages.take()
        image = decode()
        said = messages.take()
    if image is not None and header.kind == JPEG:
        _refuse_damaged(said, content)
    return image


def _refuse_damaged(said: list[str], content: bytes) -> None:
    for line in said:
        if line.startswith(_HARMLESS):
            continue
        padding = _PADDING.match(line)
        if padding is not None:  # some cameras fill up the end; what is left of a broken stream is not all the same
            end = content.rfind(b"\xff\xd9")
            rest = content[max(end - int(padding[1]), 0) : end]
            if len(set(rest)) == 1 and rest[:1] in (b"\0", b"\xff"):
                continue
        raise InputError(f"is damaged, a part of it cannot be decoded ({line.strip()})")


def _decode_tiff(content: bytes) -> Image:
    directory = tiff.read_directory(content)
    tiff.check_readable(directory)
    layout = tiff.Layout.of(directory)
    if layout.plain:
        stored = tiff.upright_stored(content, directory)
        image: Any = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_UNCHANGED)
        if image is None or image.size == 0:
            few = layout.bits not in (8, 16, 32, 64)
            raise InputError(f"is a TIFF of {layout.bits} bits a sample; save it with 8" if few else _DAMAGED)
        return _coloured(image)
    samples = tiff.read_samples(
        content, directory, lambda gray: cv2.imdecode(np.frombuffer(gray, np.uint8), cv2.IMREAD_UNCHANGED)
    )
    return _three_channels(tiff.colours(samples, layout, to_eight_bits))


def _decode_heic(content: bytes) -> Image:
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError("is HEIC, which is read with the package pillow-heif (pip install pillow-heif)") from error
    try:
        picture = pillow_heif.open_heif(content, convert_hdr_to_8bit=True)
        array = np.asarray(picture)
    except (ValueError, RuntimeError, SyntaxError, LookupError, EOFError, OSError) as error:
        raise InputError(_DAMAGED) from error
    return as_image(array)


def _coloured(image: NDArray[Any]) -> Image:
    """What OpenCV gives with alpha and depth kept, as IMREAD_COLOR would be right: that drops alpha and cuts depth."""
    image = to_eight_bits(image)
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)  # type: ignore[return-value]
    if image.shape[2] == 2:  # gray and alpha
        return _three_channels(image[:, :, [0, 0, 0, 1]])
    if image.shape[2] == 4:
        return _three_channels(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA))  # type: ignore[arg-type]
    if image.shape[2] == 3:
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]
    raise InputError(f"has {image.shape[2]} channels; pictures with 1 to 4 are read")


def _high_bytes(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Samples that are known to fill 16 bits, as 8."""
    return _by_rows(lambda rows: ((rows.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8), samples)


def _checked_png(content: bytes) -> bytes:
    """The chunks of a PNG that its pixels depend on. InputError where one is cut off or fails its checksum (5.3)."""
    view = memoryview(content)
    kept = [view[:8]]
    kind = b""
    for kind, start, end in png_chunks(content):
        if kind[:1].isupper() and zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise InputError(_DAMAGED)
        if kind in _PNG_CHUNKS:
            kept.append(view[start:end])
    if kind != b"IEND":
        raise InputError(_DAMAGED)
    return b"".join(kept)


def _with_gray_key(image: NDArray[Any], content: bytes) -> NDArray[Any]:
    """A gray PNG with the gray that is transparent made white; OpenCV leaves it (PNG, 11.3.1.1)."""
    key = next((content[start + 8 : end - 4] for kind, start, end in png_chunks(content) if kind == b"tRNS"), b"")
    bits = content[24]
    if len(key) != 2:
        return image
    full = 255 if bits <= 8 else 65535
    value = int.from_bytes(key, "big") & (2**bits - 1)
    image[image == value * full // (2**bits - 1)] = full
    return image


def _three_channels(image: NDArray[np.uint8]) -> Image:
    """(H, W, 1), (H, W, 3) or (H, W, 4) as (H, W, 3), alpha laid on white."""
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    return _on_white(image) if image.shape[2] == 4 else np.ascontiguousarray(image)


def _on_white(rgba: NDArray[np.uint8]) -> Image:
    if int(rgba[:, :, 3].min()) == 255:
        return np.ascontiguousarray(rgba[:, :, :3])

    def blended(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        alpha = rows[:, :, 3:].astype(np.uint16)
        return ((rows[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)

    return _by_rows(blended, rgba)


def upright(image: Image, orientation: int) -> Image:
    """The picture as it is shown, for the EXIF orientation of the stored one (EXIF 2.32, table 6)."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)
