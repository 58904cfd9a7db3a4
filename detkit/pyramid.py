"""Image pyramids: one picture at many sizes, so that a window of one size meets objects of every size.

Levels and window positions are yielded one at a time: nothing here holds more than one picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from detkit.errors import InputError, UsageError
from detkit.images import Image

Size = tuple[int, int]

LARGEST_LEVEL = 250_000_000  # pixels of an enlarged picture


@dataclass(frozen=True)
class Level:
    """One size of a picture.

    image   uint8 (h, w, 3) RGB
    scale   picture pixels for one level pixel; below 1 where the level is an enlargement
    number  0 for the finest level
    """

    image: Image
    scale: float
    number: int


def scales(size: Size, window: Size, factor: float, *, enlarge: float = 1.0, max_levels: int = 64) -> Iterator[float]:
    """Scales 1 / enlarge * factor^k of the levels into which a window still fits, finest first.

    size, window   (width, height) in pixels of the picture and of the window
    factor         size of one level over that of the next, above 1
    enlarge        how many times larger than the picture the first level is

    A factor of 1 is taken as "one level only", as OpenCV's detectMultiScale does. UsageError for a factor below 1,
    an enlargement that is not positive or a window without pixels; InputError where enlarging would fill the memory.
    """
    if not factor >= 1:
        raise UsageError(f"the pyramid factor must be at least 1, got {factor:g}")
    if not 0 < enlarge < float("inf"):
        raise UsageError(f"the enlargement must be above 0, got {enlarge:g}")
    if min(window) < 1:
        raise UsageError(f"a window needs at least one pixel, got {window[0]} x {window[1]}")
    if enlarge > 1 and size[0] * size[1] * enlarge**2 > LARGEST_LEVEL:
        raise InputError(
            f"the picture of {size[0]} x {size[1]} enlarged {enlarge:g} times has more than "
            f"{LARGEST_LEVEL / 1e6:.0f} million pixels; enlarge it less"
        )
    scale = 1 / enlarge
    for _ in range(max_levels):
        if any(side < needed for side, needed in zip(level_size(size, scale), window, strict=True)):
            return
        yield scale
        if factor == 1:
            return
        scale *= factor


def level_size(size: Size, scale: float) -> Size:
    """(width, height) of the level of a picture of `size`, halves rounded to even as OpenCV does."""
    return round(size[0] / scale), round(size[1] / scale)


def level(image: Image, scale: float, number: int = 0, *, smooth: bool = False) -> Level:
    """The level of `image` at `scale`: bilinear with exact (bit-reproducible) arithmetic, no smoothing before it.

    With `smooth`, shrinking averages all pixels that fall together, as networks' training pictures were made.
    """
    size = level_size((image.shape[1], image.shape[0]), scale)
    if size == (image.shape[1], image.shape[0]):
        return Level(image, scale, number)
    interpolation = cv2.INTER_AREA if smooth and scale > 1 else cv2.INTER_LINEAR_EXACT
    return Level(np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8), scale, number)


def pyramid(
    image: Image,
    window: Size,
    factor: float,
    *,
    enlarge: float = 1.0,
    max_levels: int = 64,
    smooth: bool = False,
) -> Iterator[Level]:
    """The levels of `image` into which `window` (width, height) fits, finest first; see `scales` and `level`.

    InputError where the window does not even fit into the first level.
    """
    size = (image.shape[1], image.shape[0])
    empty = True
    for number, scale in enumerate(scales(size, window, factor, enlarge=enlarge, max_levels=max_levels)):
        empty = False
        yield level(image, scale, number, smooth=smooth)
    if empty:
        raise window_too_large(size, window, enlarge)


def window_too_large(size: Size, window: Size, enlarge: float = 1.0, *, can_enlarge: bool = True) -> InputError:
    """The error for a picture of `size` that is smaller than the `window` at its first level, with what helps."""
    enlarged = "" if enlarge == 1 else f" enlarged {enlarge:g} times"
    needed = math.ceil(100 * max(window[0] / size[0], window[1] / size[1])) / 100
    remedy = f"enlarge it at least {needed:g} times" if can_enlarge else "take a smaller window"
    shown = f"the picture of {size[0]} x {size[1]}{enlarged}"
    return InputError(f"the window of {window[0]} x {window[1]} is larger than {shown}; {remedy}")


def grid_size(size: Size, window: Size, stride: Size, padding: Size = (0, 0)) -> Size:
    """Window positions (across, down) on a level of `size`, which `padding` pixels surround on every side."""
    across, down = (
        (side + 2 * pad - length) // step + 1
        for side, pad, length, step in zip(size, padding, window, stride, strict=True)
    )
    return max(0, across), max(0, down)


def windows(size: Size, window: Size, stride: Size, padding: Size = (0, 0)) -> Iterator[tuple[int, int]]:
    """Left and top (x, y) of each window on a level of `size`, row by row; negative inside the padding."""
    across, down = grid_size(size, window, stride, padding)
    for row in range(down):
        for column in range(across):
            yield column * stride[0] - padding[0], row * stride[1] - padding[1]
