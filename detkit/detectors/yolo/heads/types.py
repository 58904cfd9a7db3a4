"""What a detection head is: how its picture is prepared, and how its outputs become boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats, cxcywh_to_xyxy
from detkit.graphs.preparation import RGB, Anchors, Preparation, Size

Outputs = Sequence[NDArray[Any]]
Shape = tuple[int, ...]


class UnsoundError(ValueError):
    """A network's outputs are not what its head says: scores that are none, classes that are no whole numbers."""


@dataclass(frozen=True)
class Layout:
    """How a graph writes its head's outputs, where exporters differ.

    outputs     places of the head's outputs among the graph's, in the head's own order; None: all, as they are
    transposed  the last two axes of the first output are swapped
    classes     class columns; what follows them (key points, mask coefficients) is left. None: all there are
    centres     finished boxes are centre and size, not corners
    shares      boxes are shares of the input, not pixels
    logits      class scores lack their sigmoid
    first_label  the label of the first class, where it is not the head's own
    turned      an angle in radians follows the classes, of a box of centre and size; what encloses it is its box
    points      number of key points that follow the classes, and numbers of each (x, y, and a visibility or not)
    maps        the last output holds a map of probabilities a box, of the whole input: (n, 1, h, w), or (B, n, h, w)
    coefficients  mask coefficients that follow the classes; the second output holds the prototypes (B, K, h, w)
    cropped     masks get their sigmoid and are cut by their boxes before they are enlarged, as YOLACT's are
    offsets     boxes are offsets to priors
    rows_first  corners are y1, x1, y2, x2
    """

    outputs: tuple[int, ...] | None = None
    transposed: bool = False
    classes: int | None = None
    centres: bool = False
    shares: bool = False
    logits: bool = False
    turned: bool = False
    first_label: int | None = None
    points: tuple[int, int] = (0, 0)
    coefficients: int = 0
    maps: bool = False
    cropped: bool = False
    offsets: bool = False
    rows_first: bool = False

    @property
    def task(self) -> str:
        """What the graph gives, as ultralytics' metadata call it."""
        beside = ((self.coefficients or self.maps, "segment"), (self.points[0], "pose"), (self.turned, "obb"))
        return next((task for there, task in beside if there), "detect")

    def arranged(self, outputs: Outputs) -> Outputs:
        """The outputs (B, ...) as the head reads them."""
        if self.outputs is not None:
            outputs = [outputs[place] for place in self.outputs]
        return [outputs[0].swapaxes(-1, -2), *outputs[1:]] if self.transposed else outputs

    def arranged_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shapes of the outputs as the head reads them."""
        chosen = list(shapes) if self.outputs is None else [shapes[place] for place in self.outputs]
        if self.transposed:
            chosen[0] = (*chosen[0][:-2], chosen[0][-1], chosen[0][-2])
        return chosen

    def boxes(self, boxes: Floats, size: Size) -> Floats:
        """Decoded boxes (N, 4) as corners in pixels of an input of `size` (width, height)."""
        if self.centres:
            boxes = cxcywh_to_xyxy(boxes)
        return boxes * np.array(size * 2, np.float32) if self.shares else boxes


PLAIN = Layout()


@dataclass(frozen=True)
class Frame:
    """What a decode function may know of the picture whose outputs it reads.

    size       input (width, height) in pixels
    conf       boxes of lower or equal score may be left out
    multi_label  whether a box counts for every class above `conf`, or for its best class only
    anchors    (width, height) in input pixels, per output level, largest grid first
    strides    of the levels, or () for the head's own
    layout     how the graph writes the outputs; heads that know several read it
    """

    size: Size
    conf: float = 0.0
    multi_label: bool = False
    anchors: Anchors = ()
    strides: tuple[int, ...] = ()
    layout: Layout = PLAIN


@dataclass(frozen=True)
class Candidates:
    """Decoded boxes of one picture before suppression: (N, 4) xyxy in input pixels, scores (N,), class ids (N,).

    rest        float32 (N, K), what the layout says of each beside its box: mask coefficients, key points in input
                pixels, or the turned box (centre x, y, width, height, angle); (N, 0) for none
    prototypes  float32 (K, h, w) of the picture's masks; or a map for each of the graph's boxes, whose number is `rest`
    """

    boxes: Floats
    scores: Floats
    class_ids: NDArray[np.int64]
    rest: Floats | None = None
    prototypes: Floats | None = None

    def __getitem__(self, rows: NDArray[Any]) -> Candidates:
        """Some of them."""
        rest = None if self.rest is None else self.rest[rows]
        return Candidates(self.boxes[rows], self.scores[rows], self.class_ids[rows], rest, self.prototypes)


# outputs of a run, index of the picture in the batch, frame -> candidates
Decode = Callable[[Outputs, int, Frame], Candidates]
# input size (width, height) -> the values of the inputs beside the picture, by name
Extra = Callable[[Size], NDArray[Any]]


# output shapes -> number of classes, None where they do not show it
CountClasses = Callable[[Sequence[Shape]], int | None]


def _no_rule(shapes: Sequence[Shape]) -> str:
    return ""


def _not_shown(shapes: Sequence[Shape]) -> int | None:
    return None


def _channels_first(prototypes: NDArray[Any], channels: int) -> NDArray[Any]:
    return prototypes if len(prototypes) == channels else prototypes.transpose(2, 0, 1)


@dataclass(frozen=True)
class Head:
    """A family of graphs with the same inputs and outputs.

    name         as in `--head`
    about        one line: whose exporter writes it
    decode       its decode function
    classes      reads the number of classes off the output shapes
    nms          whether its boxes still need suppression
    fast         whether its exporter suppresses by every better box, be it suppressed itself or not
    iou          the exporter's own threshold for that
    multi_label  whether its exporter's own decoding counts a box for every class above the score threshold
    anchors      where the head always has the same ones
    extra        values for the inputs beside the picture, by input name
    first_label  the label of the first class in the outputs: 1 where 0 is the background
    coco_ids     whether graphs trained on COCO give its category ids, 1 to 90 with gaps, as labels
    cut          whether its exporter's own decoding cuts boxes at the borders of the picture
    names        "coco" where every graph of the family was trained on it
    assumes      what the picture's preparation rests on where other families give the same outputs, "" where none do
    fits         why a graph with outputs of these shapes may have it, "" where it cannot; for heads that no rule of the
                 recognition proposes
    """

    name: str
    about: str
    decode: Decode
    preparation: Preparation = RGB
    classes: CountClasses = _not_shown
    nms: bool = True
    fast: bool = False
    iou: float = 0.45
    multi_label: bool = False
    anchors: Anchors = ()
    extra: dict[str, Extra] = field(default_factory=dict)
    first_label: int = 0
    coco_ids: bool = False
    cut: bool = True
    names: str = ""
    assumes: str = ""
    fits: Callable[[Sequence[Shape]], str] = _no_rule

    def decoded(self, outputs: Outputs, index: int, frame: Frame) -> Candidates:
        """Candidates of the picture `index` of a batch, as corners in input pixels, with the graph's own labels.

        UnsoundError where scores or labels are not what the head says.
        """
        arranged = frame.layout.arranged(outputs)
        found = self.decode(arranged[:-1] if frame.layout.maps else arranged, index, frame)
        if frame.layout.maps:
            maps = arranged[-1][:, 0] if arranged[0].ndim < 3 else arranged[-1][index]
            found = replace(found, prototypes=maps)
        if frame.layout.coefficients:
            found = replace(found, prototypes=_channels_first(arranged[1][index], frame.layout.coefficients))
        return replace(found, boxes=frame.layout.boxes(found.boxes, frame.size))

    def class_count(self, shapes: Sequence[Shape], layout: Layout) -> int | None:
        """The number of classes, None where the outputs do not show it."""
        return layout.classes if layout.classes is not None else self.classes(layout.arranged_shapes(shapes))
