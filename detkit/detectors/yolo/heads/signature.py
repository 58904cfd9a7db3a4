"""All that tells heads apart: inputs, outputs, metadata, the number of class names, and the outputs of a trial run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from detkit.detectors.yolo.heads import level_grids
from detkit.detectors.yolo.heads.types import PLAIN, Layout, Shape
from detkit.errors import ModelError
from detkit.graphs.session import TensorInfo

# Channels of what can be a picture, when it is said that detkit does not read it.
_MOST_CHANNELS = 64
_V1_SIZE, _V1_CLASSES, _V1_NUMBERS = (448, 448), 20, 1470


@dataclass(frozen=True)
class Match:
    """A head that fits a graph, why, and how the graph writes its outputs."""

    head: str
    reason: str
    layout: Layout = PLAIN


@dataclass(frozen=True)
class Note:
    """What a graph seems to be where it fits no head; and the head that gives its boxes, with their layout.

    head   "" where the boxes cannot be had
    """

    text: str
    head: str = ""
    layout: Layout = PLAIN


Found = Match | Note


@dataclass(frozen=True)
class Signature:
    """What is known of a graph.

    size     input (width, height) in pixels of the trial run
    names    number of class names that the graph, its sidecar or the user gives; None where they give none
    values   the outputs for a test picture, floating-point numbers in 32 bits
    """

    inputs: Sequence[TensorInfo]
    outputs: Sequence[TensorInfo]
    metadata: Mapping[str, str]
    size: tuple[int, int]
    names: int | None
    values: Sequence[NDArray[Any]]

    @property
    def image(self) -> TensorInfo:
        return image_input(self.inputs)

    @property
    def output_names(self) -> list[str]:
        return [output.name.lower() for output in self.outputs]

    @property
    def input_names(self) -> list[str]:
        return [value.name for value in self.inputs]

    def shapes(self) -> list[Shape]:
        """The output shapes: the declared ones, and those of the trial run where the graph leaves axes open."""
        declared = [output.shape for output in self.outputs]
        if all(shape and all(axis is not None for axis in shape) for shape in declared):
            return [tuple(int(axis or 0) for axis in shape) for shape in declared]
        return [value.shape for value in self.values]

    def cells(self, rows: int, anchors: int = 1) -> tuple[int, ...] | None:
        """The strides of the grids that have `rows` cells, times `anchors`."""
        return level_grids.matching(self.size, rows, anchors)

    def says(self, word: str) -> bool:
        """Whether the metadata name a family."""
        text = " ".join(self.metadata.get(key, "") for key in ("description", "model_family", "head", "model_name"))
        return word in text.lower().replace("-", "").replace("_", "")

    @property
    def finished(self) -> bool:
        """Whether ultralytics' metadata say that suppression is done, or not needed."""
        return self.metadata.get("end2end") == "True" or "'nms': True" in self.metadata.get("args", "")

    @property
    def paddle(self) -> bool:
        return "scale_factor" in self.input_names

    def names_fit(self, classes: int) -> bool:
        return self.names is None or self.names == classes


def image_input(inputs: Sequence[TensorInfo]) -> TensorInfo:
    """The input that takes the picture: the one with three or four axes. ModelError where there is none."""
    pictures = [value for value in inputs if len(value.shape) in (3, 4)]
    # DETR's pixel mask has three axes beside the picture's four.
    best = max(pictures, key=lambda value: len(value.shape), default=None)
    if best is None:
        raise ModelError("no input of the graph takes a picture: none has 3 or 4 axes")
    return best


def channels_last(image: TensorInfo) -> bool:
    """Whether the picture's channels are its last axis (NHWC)."""
    first = image.shape[-3]
    return image.shape[-1] in (1, 3) and first not in (1, 3)


def channel_count(image: TensorInfo) -> int:
    """Channels of the picture: 3 where the graph leaves them open. ModelError for other numbers than 1 and 3."""
    channels = image.shape[-1] if channels_last(image) else image.shape[-3]
    if channels is None or channels in (1, 3):
        return channels or 3
    last = image.shape[-1]
    if channels > _MOST_CHANNELS and last is not None and last <= _MOST_CHANNELS:
        channels = last
    raise ModelError(f"its input takes pictures of {channels} channels, {image}: detkit gives 3 (colour) or 1 (gray)")


def whole_picture(inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> bool:
    """Whether a graph gives one row of numbers for a picture, as classifiers and embeddings do.

    (batch, K), or (batch, K, 1, 1), in every output. Tables of boxes have 5 to 7 columns and as many rows as boxes.
    """
    image = image_input(inputs)
    if len(image.shape) != 4 or len(inputs) > 1:
        return False
    return bool(outputs) and all(_row_a_picture(output.shape, image.shape[0]) for output in outputs)


def _row_a_picture(shape: Sequence[int | None], batch: int | None) -> bool:
    if len(shape) == 4 and tuple(shape[2:]) == (1, 1):
        shape = shape[:2]
    if len(shape) != 2 or shape[1] is None:
        return False
    return shape[0] == batch and (batch is not None or shape[1] not in (5, 6, 7))


def is_classifier(inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], metadata: Mapping[str, str]) -> bool:
    """Whether a graph names whole pictures: its metadata say so, or it gives one row of numbers for a picture.

    YOLO v1's flat output is such a row, too.
    """
    task = metadata.get("task", "")
    if task in ("classify", "classification", "image-classification"):
        return True
    if task == "detect" or len(outputs) != 1 or not whole_picture(inputs, outputs):
        return False
    return flat_v1(image_input(inputs), outputs[0].shape) is None


def flat_v1(image: TensorInfo, shape: Sequence[int | None]) -> int | None:
    """VOC's 20 classes for YOLO v1's flat output (B, 7 * 7 * (10 + 20)) of 448 pixels, None for other outputs."""
    flat = len(shape) == 2 and shape[1] == _V1_NUMBERS and tuple(image.shape[-2:]) == _V1_SIZE
    return _V1_CLASSES if flat else None
