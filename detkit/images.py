"""Reading pictures. An image is uint8 (H, W, 3), channels in RGB order, as it is shown: EXIF rotation applied.

This is the only module that decodes picture files and the only one that swaps channels.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError
from detkit.files import is_device, reason, write_bytes

Image = NDArray[np.uint8]

# Broken files are reported by us, in one line; OpenCV's own log, and that of FFmpeg in it, would add several.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF_ORIENTATION = 0x0112
_DAMAGED = "cannot be decoded: truncated, damaged or not a picture"


def read_image(path: str | os.PathLike[str]) -> Image:
    """The picture in a file; see `decode_image`. InputError names the file where it cannot be read."""
    if is_device(path):  # a pipe would never end
        raise InputError(f"{path}: is not an ordinary file")
    try:
        content = Path(path).read_bytes()
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder, not a picture") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error
    try:
        return decode_image(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def decode_image(content: bytes) -> Image:
    """The picture in the bytes of a file, as uint8 (H, W, 3) RGB.

    EXIF and TIFF orientation is applied. Gray becomes three equal channels, CMYK is converted. Transparent pixels
    are laid on white, as a browser shows them. Of an animation the first frame is taken. Samples of more than 8
    bits are scaled, not cut: see `to_eight_bits`. InputError where the bytes are empty, truncated or no picture.
    """
    if not content:
        raise InputError("is empty (0 bytes)")
    if content.startswith(_PNG) and _is_damaged_png(content):  # libpng would say so on stderr by itself
        raise InputError(_DAMAGED)
    buffer = np.frombuffer(content, np.uint8)
    image: Any
    try:
        image = cv2.imdecode(buffer, cv2.IMREAD_COLOR_RGB) if content.startswith(_JPEG) else _decode_unchanged(buffer)
    except cv2.error as error:
        if "pixels" in str(error).lower() or "OPENCV_IO_MAX" in str(error):
            raise InputError("has more pixels than OpenCV reads (2^30; OPENCV_IO_MAX_IMAGE_PIXELS)") from error
        raise InputError(_DAMAGED) from error
    except MemoryError as error:
        raise InputError("is too large for the memory of this machine") from error
    if image is None or image.size == 0:
        raise InputError(_DAMAGED)
    return image


def to_eight_bits(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Samples of any depth as uint8, without clipping.

    Integers are divided by their full scale, which is the smallest of 2^8, 2^10, 2^12, 2^14 and 2^16 (minus 1)
    that the picture stays within: 10- and 12-bit cameras write into 16-bit files without spreading the values.
    Floating-point pictures are taken as 0 to 1 if they stay within, else divided by their maximum.
    """
    if samples.dtype == np.uint8:
        return samples
    if np.issubdtype(samples.dtype, np.floating):
        finite = np.nan_to_num(samples.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        return np.round(np.clip(finite / max(1.0, float(finite.max(initial=0))), 0, 1) * 255).astype(np.uint8)
    high = int(samples.max(initial=0))
    full_scale = next((2**bits - 1 for bits in (8, 10, 12, 14, 16) if high < 2**bits), high)
    return np.round(np.maximum(samples, 0) * (255.0 / full_scale)).astype(np.uint8)


def as_image(image: NDArray[Any]) -> Image:
    """An array that a caller passes, checked and brought to uint8 (H, W, 3) RGB.

    Taken: uint8 or deeper (`to_eight_bits`), of shape (H, W), (H, W, 1), (H, W, 3) in RGB order or (H, W, 4) RGBA.
    """
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise InputError(f"an image must have shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {np.shape(image)}")
    array = to_eight_bits(array)
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    if array.shape[2] == 4:
        array = _on_white(array)
    return np.ascontiguousarray(array)


def encode_image(image: Image, suffix: str, quality: int = 92) -> bytes:
    """The bytes of a picture file of the kind that `suffix` (".jpg", ".png" ...) names."""
    parameters = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix.lower() in (".jpg", ".jpeg") else []
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


def _decode_unchanged(buffer: NDArray[np.uint8]) -> Image | None:
    """Decode with alpha and depth kept, then do what IMREAD_COLOR would: it drops alpha and cuts depth."""
    image: Any
    image, kinds, chunks = cv2.imdecodeWithMetadata(buffer, cv2.IMREAD_UNCHANGED)
    if image is None or image.size == 0:
        return None
    image = to_eight_bits(image)
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    elif image.shape[2] == 2:  # gray and alpha
        image = _on_white(np.dstack((np.repeat(image[:, :, :1], 3, axis=2), image[:, :, 1:])))
    elif image.shape[2] == 4:
        image = _on_white(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA))
    elif image.shape[2] == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    else:  # more bands than a picture has
        raise InputError(f"has {image.shape[2]} channels; pictures with 1 to 4 are read")
    for kind, chunk in zip(kinds, chunks, strict=True):
        if int(kind) == cv2.IMAGE_METADATA_EXIF:
            image = _upright(image, _exif_orientation(bytes(chunk)))
    return image


def _is_damaged_png(content: bytes) -> bool:
    """Whether a chunk is cut off, or a critical one fails its checksum (PNG 3rd edition, 5.3)."""
    view = memoryview(content)
    start = len(_PNG)
    while (end := start + 12 + int.from_bytes(view[start : start + 4], "big")) <= len(content):
        kind = bytes(view[start + 4 : start + 8])
        if kind[:1].isupper() and zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            return True
        if kind == b"IEND":
            return False
        start = end
    return True


def _on_white(rgba: NDArray[np.uint8]) -> Image:
    alpha = rgba[:, :, 3:].astype(np.uint16)
    if int(alpha.min()) == 255:
        return np.ascontiguousarray(rgba[:, :, :3])
    blended = rgba[:, :, :3] * alpha + 255 * (255 - alpha)
    return ((blended + 127) // 255).astype(np.uint8)


def _exif_orientation(exif: bytes) -> int:
    """The orientation tag (1 to 8) of an EXIF block, 1 where there is none."""
    start = exif.find(b"Exif\0\0")
    tiff = exif[start + 6 :] if start >= 0 else exif
    order: Any = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    directory = int.from_bytes(tiff[4:8], order)
    entries = int.from_bytes(tiff[directory : directory + 2], order)
    for entry in range(entries):
        field = tiff[directory + 2 + 12 * entry : directory + 14 + 12 * entry]
        if int.from_bytes(field[:2], order) == _EXIF_ORIENTATION:
            value = int.from_bytes(field[8:10], order)
            return value if 1 <= value <= 8 else 1
    return 1


def _upright(image: Image, orientation: int) -> Image:
    """The picture as it is shown, for the EXIF orientation of the stored one (EXIF 2.32, table 6)."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)
