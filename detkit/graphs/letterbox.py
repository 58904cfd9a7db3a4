"""Bringing a picture to the input size of a network, and boxes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats, clip
from detkit.images import Image

Fit = Literal["center", "top-left", "stretch"]
FITS: tuple[Fit, ...] = ("center", "top-left", "stretch")


@dataclass(frozen=True)
class Placement:
    """Where a picture lies inside a network's input.

    source_size, size       (width, height) of the picture and of the input, pixels
    resized                 (width, height) of the picture inside the input
    left, top               pixels of padding before it
    """

    source_size: tuple[int, int]
    size: tuple[int, int]
    resized: tuple[int, int]
    left: int = 0
    top: int = 0

    @property
    def scale(self) -> tuple[float, float]:
        """Input pixels for one picture pixel, (x, y)."""
        return self.resized[0] / self.source_size[0], self.resized[1] / self.source_size[1]

    def apply(self, boxes: Floats) -> Floats:
        """Boxes (N, 4) xyxy in pixels of the picture as boxes in input pixels."""
        return boxes * np.array(self.scale * 2, boxes.dtype) + np.array((self.left, self.top) * 2, boxes.dtype)

    def undo(self, boxes: Floats, *, cut: bool = True) -> Floats:
        """Boxes (N, 4) xyxy in input pixels as boxes in pixels of the picture, with `cut` cut at its borders."""
        scale = np.array(self.scale * 2, dtype=boxes.dtype)
        offset = np.array((self.left, self.top) * 2, dtype=boxes.dtype)
        original = (boxes - offset) / scale
        return clip(original, *self.source_size) if cut else original

    def undo_points(self, points: Floats, *, cut: bool = False) -> Floats:
        """Points (..., 2), x and y, in input pixels as points of the picture, with `cut` moved to its borders."""
        offset, scale = (np.array(pair, dtype=points.dtype) for pair in ((self.left, self.top), self.scale))
        original = (points - offset) / scale
        return np.clip(original, 0, np.array(self.source_size, points.dtype)) if cut else original

    def undo_map(self, values: NDArray[Any], interpolation: int = cv2.INTER_LINEAR) -> NDArray[Any]:
        """A map (h, w) of the whole input as one of the picture (H, W); it may be coarser than the input.

        Of a padded input the map is brought to the input's size, cut out and brought to the picture's, as exporters do;
        else it goes to the picture's size at once.
        """
        padded = self.resized != self.size
        if padded and values.shape != self.size[::-1]:
            values = np.asarray(cv2.resize(values, self.size, interpolation=interpolation))
        if padded:
            values = values[self.top : self.top + self.resized[1], self.left : self.left + self.resized[0]]
        if values.shape != self.source_size[::-1]:
            values = np.asarray(cv2.resize(values, self.source_size, interpolation=interpolation))
        return values


def place(source_size: tuple[int, int], size: tuple[int, int], fit: Fit) -> Placement:
    """How a picture of `source_size` goes into an input of `size`, both (width, height).

    "center" and "top-left" keep the aspect and pad ("letterbox"); "stretch" fills the input. The centred one gives
    an odd pixel of padding to the right and the bottom, as ultralytics does.
    """
    if fit == "stretch":
        return Placement(source_size, size, size)
    ratio = min(size[0] / source_size[0], size[1] / source_size[1])
    # YOLOX (top-left) cuts the fraction, ultralytics (centred) rounds it.
    whole = round if fit == "center" else int
    resized = (max(1, whole(source_size[0] * ratio)), max(1, whole(source_size[1] * ratio)))
    if fit == "top-left":
        return Placement(source_size, size, resized)
    return Placement(source_size, size, resized, (size[0] - resized[0]) // 2, (size[1] - resized[1]) // 2)


def letterbox(
    image: Image,
    size: tuple[int, int],
    fit: Fit = "center",
    pad: int = 114,
    interpolation: int = cv2.INTER_LINEAR,
) -> tuple[Image, Placement]:
    """`image` (H, W, 3) resized into `size` (width, height), the rest filled with `pad`; and its placement."""
    placement = place((image.shape[1], image.shape[0]), size, fit)
    if placement.resized == size:
        same = placement.source_size == size
        return image if same else np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8), placement
    canvas = np.full((size[1], size[0], 3), pad, np.uint8)
    (width, height), left, top = placement.resized, placement.left, placement.top
    window = canvas[top : top + height, left : left + width]
    if placement.resized == placement.source_size:
        window[:] = image
    else:
        cv2.resize(image, placement.resized, dst=window, interpolation=interpolation)
    return canvas, placement
