"""How a picture becomes a network's input: its size, its channels, and the scale of its numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.graphs.letterbox import Fit, Placement, letterbox
from detkit.images import Image

Size = tuple[int, int]
Anchors = tuple[tuple[tuple[float, float], ...], ...]

# How the input size follows the picture where a graph leaves height and width open:
#   square    the exporter's square size
#   aspect    the long side at that size, the short side padded to the next multiple of the stride (ultralytics)
#   shortest  the short side at `size`, the long one at most `longest` (DETR, Faster R-CNN), to multiples of `stride`
#   native    the picture as it is: the graph resizes by itself (torchvision)
Dynamic = Literal["square", "aspect", "shortest", "native"]
DYNAMICS: tuple[Dynamic, ...] = ("square", "aspect", "shortest", "native")


@dataclass(frozen=True)
class PixelFormat:
    """The numbers of a picture's input.

    dtype          their type
    channels_last  (H, W, C) rather than (C, H, W)
    channels       3, or 1 for gray
    quantised      scale and zero point of 8-bit integers: number = value / scale + zero point; None: pixel - 128
    """

    dtype: np.dtype[Any]
    channels_last: bool = False
    channels: int = 3
    quantised: tuple[float, float] | None = None


@dataclass(frozen=True)
class Preparation:
    """How a network wants its picture.

    fit, pad     see `letterbox`
    color        channel order of the input
    mean, std    of each channel in that order, on the scale 0 to 255: input = (pixel - mean) / std
    size         side in pixels where the graph leaves it open; see `Dynamic`
    stride       the input's sides are multiples of it where the graph leaves them open
    """

    fit: Fit = "center"
    pad: int = 114
    color: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    size: int = 640
    dynamic: Dynamic = "square"
    stride: int = 32
    longest: int = 1333

    def input_size(self, source: Size) -> Size:
        """Input (width, height) for a picture of `source` (width, height), where the graph leaves it open."""
        width, height = source
        if self.dynamic == "native":
            return source
        if self.dynamic == "square":
            return self.size, self.size
        if self.dynamic == "aspect":
            ratio = self.size / max(width, height)
        else:
            ratio = min(self.size / min(width, height), self.longest / max(width, height))
        return self._multiple(round(width * ratio)), self._multiple(round(height * ratio))

    def _multiple(self, side: int) -> int:
        return max(1, -(-side // self.stride)) * self.stride

    def for_pixels_to(self, highest: int) -> Preparation:
        """The same without mean and deviation: pixels are on the scale 0 to `highest`, 1 or 255."""
        std = 255.0 / highest
        return replace(self, mean=(0.0, 0.0, 0.0), std=(std, std, std))

    def place(self, image: Image, size: Size) -> tuple[Image, Placement]:
        """`image` inside an input of `size`, and where it lies in it."""
        return letterbox(image, size, self.fit, self.pad)

    def tensor(self, canvas: Image, pixels: PixelFormat) -> NDArray[Any]:
        """`canvas` (H, W, 3) RGB as the network's input: (C, H, W), or (H, W, C) with the channels last.

        An integer input takes the pixels as they are, in the network's channel order; one of signed 8-bit integers as
        it was quantised. Gray is that of ITU-R BT.601, as OpenCV makes it, with the first of `mean` and `std`.
        """
        if pixels.dtype == np.int8:
            planes = self._quantised(canvas, pixels)
        elif np.issubdtype(pixels.dtype, np.integer):
            planes = _ordered(canvas, pixels.channels, self.color).transpose(2, 0, 1)
        else:
            planes = self._scaled(canvas, pixels.channels)
        if pixels.channels_last:
            planes = planes.transpose(1, 2, 0)
        return np.ascontiguousarray(planes).astype(pixels.dtype, copy=False)

    def _scaled(self, canvas: Image, channels: int) -> NDArray[Any]:
        """(C, H, W) float32: (pixel - mean) / std."""
        if channels == 1:
            gray = _ordered(canvas, 1, self.color).transpose(2, 0, 1).astype(np.float32)
            return (gray - np.float32(self.mean[0])) / np.float32(self.std[0])
        blob: NDArray[Any] = cv2.dnn.blobFromImage(canvas, mean=self.mean, swapRB=self.color == "bgr")[0]
        # Divided, as exporters do: of a product with 1 / 255 the last bit differs, which large outputs show.
        for channel, std in zip(blob, self.std, strict=True):
            if std != 1:
                channel /= np.float32(std)
        return blob

    def _quantised(self, canvas: Image, pixels: PixelFormat) -> NDArray[Any]:
        """(C, H, W) of numbers from -128 to 127."""
        if pixels.quantised is None:
            return _ordered(canvas, pixels.channels, self.color).transpose(2, 0, 1).astype(np.int16) - 128
        scale, zero = pixels.quantised
        return np.clip(np.rint(self._scaled(canvas, pixels.channels) / scale + zero), -128, 127)


def _ordered(canvas: Image, channels: int, color: str) -> NDArray[Any]:
    """(H, W, C) uint8 of an RGB picture, gray or in the channel order of the network."""
    if channels == 1:
        return np.asarray(cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY))[:, :, None]
    return canvas[:, :, ::-1] if color == "bgr" else canvas


RGB = Preparation()
RAW_BGR = Preparation(fit="top-left", color="bgr", std=(1.0, 1.0, 1.0))
IMAGENET = Preparation(fit="stretch", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
IMAGENET_BGR = Preparation(color="bgr", mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395))
