"""What a detection head is: how its picture is prepared, and how its outputs become boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats
from detkit.images import Image
from detkit.letterbox import Fit, Placement, letterbox

Outputs = Sequence[NDArray[Any]]
Size = tuple[int, int]
Anchors = tuple[tuple[tuple[float, float], ...], ...]

# How the input size follows the picture where a graph leaves height and width open:
#   square    the exporter's square size
#   aspect    the long side at that size, the short side padded to the next multiple of the stride (ultralytics)
#   shortest  the short side at `size`, the long one at most `longest` (DETR, Faster R-CNN), to multiples of `stride`
#   native    the picture as it is: the graph resizes by itself (torchvision)
Dynamic = Literal["square", "aspect", "shortest", "native"]


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

    def place(self, image: Image, size: Size) -> tuple[Image, Placement]:
        """`image` inside an input of `size`, and where it lies in it."""
        return letterbox(image, size, self.fit, self.pad)

    def tensor(self, canvas: Image, dtype: np.dtype[Any], channels_last: bool) -> NDArray[Any]:
        """`canvas` (H, W, 3) RGB as the network's input: (3, H, W), or (H, W, 3) with `channels_last`.

        An integer input takes the pixels as they are, in the network's channel order.
        """
        if np.issubdtype(dtype, np.integer):
            ordered = canvas[:, :, ::-1] if self.color == "bgr" else canvas
            planes = ordered if channels_last else ordered.transpose(2, 0, 1)
            return np.ascontiguousarray(planes).astype(dtype, copy=False)
        scale = 1 / self.std[0]
        blob = cv2.dnn.blobFromImage(canvas, scale, mean=self.mean, swapRB=self.color == "bgr")[0]
        for channel in (1, 2):
            if self.std[channel] != self.std[0]:
                blob[channel] *= self.std[0] / self.std[channel]
        if channels_last:
            blob = np.ascontiguousarray(blob.transpose(1, 2, 0))
        return blob.astype(dtype, copy=False)


RGB = Preparation()
RAW_BGR = Preparation(fit="top-left", color="bgr", std=(1.0, 1.0, 1.0))
IMAGENET = Preparation(fit="stretch", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
IMAGENET_BGR = Preparation(color="bgr", mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395))


@dataclass(frozen=True)
class Frame:
    """What a decode function may know of the picture whose outputs it reads.

    size       input (width, height) in pixels
    conf       boxes of lower or equal score may be left out
    multi_label  whether a box counts for every class above `conf`, or for its best class only
    anchors    (width, height) in input pixels, per output level, largest grid first
    strides    of the levels, or () for the head's own
    """

    size: Size
    conf: float = 0.0
    multi_label: bool = False
    anchors: Anchors = ()
    strides: tuple[int, ...] = ()


@dataclass(frozen=True)
class Candidates:
    """Decoded boxes of one picture before suppression: (N, 4) xyxy in input pixels, scores (N,), class ids (N,)."""

    boxes: Floats
    scores: Floats
    class_ids: NDArray[np.int64]


# outputs of a run, index of the picture in the batch, frame -> candidates
Decode = Callable[[Outputs, int, Frame], Candidates]
# input size (width, height) -> the values of the inputs beside the picture, by name
Extra = Callable[[Size], NDArray[Any]]


Shape = tuple[int, ...]
# output shapes -> number of classes, None where they do not show it
CountClasses = Callable[[Sequence[Shape]], int | None]


def _not_shown(shapes: Sequence[Shape]) -> int | None:
    return None


@dataclass(frozen=True)
class Head:
    """A family of graphs with the same inputs and outputs.

    name         as in `--head`
    about        one line: whose exporter writes it
    decode       its decode function
    classes      reads the number of classes off the output shapes
    nms          whether its boxes still need suppression
    iou          the exporter's own threshold for that
    multi_label  whether its exporter's own decoding counts a box for every class above the score threshold
    anchors      where the head always has the same ones
    extra        values for the inputs beside the picture, by input name
    first_label  the label of the first class in the outputs: 1 where 0 is the background
    coco_ids     whether graphs trained on COCO give its category ids, 1 to 90 with gaps, as labels
    cut          whether its exporter's own decoding cuts boxes at the borders of the picture
    names        "coco" where every graph of the family was trained on it
    """

    name: str
    about: str
    decode: Decode
    preparation: Preparation = RGB
    classes: CountClasses = _not_shown
    nms: bool = True
    iou: float = 0.45
    multi_label: bool = False
    anchors: Anchors = ()
    extra: dict[str, Extra] = field(default_factory=dict)
    first_label: int = 0
    coco_ids: bool = False
    cut: bool = True
    names: str = ""
