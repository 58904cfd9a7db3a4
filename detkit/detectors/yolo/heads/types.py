"""What a detection head is: how its picture is prepared, and how its outputs become boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats
from detkit.graphs.preparation import RGB, Anchors, Preparation, Size

Outputs = Sequence[NDArray[Any]]


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
