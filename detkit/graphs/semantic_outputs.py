"""Which output of a graph is a map of classes, and how it says them: by shape, type and values of trial runs.

Shape is a hint, values are evidence: one channel is probabilities or logits by its numbers, several are one choice
(softmax, logits) or a choice each (sigmoids), whose sum over a pixel tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detkit.graphs.preparation import Size
from detkit.graphs.session import TensorInfo
from detkit.graphs.stored import last_node

# What the numbers of a map are:
#   ids            class numbers, the choice is made inside
#   choice         a number a class, the highest of which is the pixel's: logits, or a softmax of them
#   each           a probability of its own for each class, with its sigmoid
#   logit          one channel without its sigmoid: above 0 is the foreground
#   probability    one channel with it: above a threshold
Kind = Literal["ids", "choice", "each", "logit", "probability"]

# A network's map has so many times fewer pixels a side than its input.
_STRIDES = (1, 2, 4, 8, 16, 32)
_SLACK = 2e-3
_SUMS = 1e-2
_HIGHEST_ID = 255
# Operators between the one that decides what the numbers are and the output.
_PASSING = frozenset(
    ("Resize", "Upsample", "Transpose", "Squeeze", "Unsqueeze", "Reshape", "Cast", "Identity", "Slice", "Crop",
     "Split", "Gather", "QuantizeLinear", "DequantizeLinear")
)  # fmt: skip
_SIGMOIDS = ("Sigmoid", "HardSigmoid")
_UNDECIDED = (
    "its one channel holds numbers from 0 to 1 for the trial pictures and the graph ends in no sigmoid: they may be "
    "probabilities or logits"
)
_ABOVE = (
    "its one channel is above 0 everywhere in the trial pictures: it looks like a measure, depth for example, and not "
    "like logits of a foreground"
)


@dataclass(frozen=True)
class MapOutput:
    """An output that is a map of classes.

    name, kind      of the output, and what its numbers are
    channels_last   (B, h, w, C) rather than (B, C, h, w)
    classes         how many channels there are; 1 for a foreground alone, None of ids, which do not show it
    stride          the input has so many times more pixels a side
    """

    name: str
    kind: Kind
    channels_last: bool = False
    classes: int | None = None
    stride: int = 1

    def map_of(self, output: NDArray[Any], index: int) -> NDArray[Any]:
        """The map of the picture `index` of a batch: (C, h, w), or (h, w) of ids and of a single channel."""
        one = output[index] if output.ndim > 2 else output
        if self.kind in ("choice", "each"):
            return np.moveaxis(one, -1, 0) if self.channels_last else np.asarray(one)
        last = self.channels_last and one.ndim == 3
        return np.asarray(one.reshape(one.shape[:2] if last else one.shape[-2:]))


@dataclass(frozen=True)
class Undecided:
    """An output that is a map, where its numbers do not tell what they are."""

    name: str
    why: str


def map_outputs(
    path: Any, outputs: Sequence[TensorInfo], trials: Sequence[Sequence[NDArray[Any]]], size: Size
) -> list[MapOutput | Undecided]:
    """The outputs of a graph that may be maps of classes, by their values for trial pictures of `size`.

    path     of the graph, whose last operators are asked where values do not decide
    trials   the outputs for each trial picture
    """
    found = []
    for place, info in enumerate(outputs):
        values = [trial[place] for trial in trials]
        one = _map_output(path, info.name, values, size)
        if one is not None:
            found.append(one)
    return found


def _map_output(path: Any, name: str, values: Sequence[NDArray[Any]], size: Size) -> MapOutput | Undecided | None:
    shape = values[0].shape
    layout = _layout(shape, size)
    if layout is None:
        return None
    channels, last, stride = layout
    if values[0].dtype.kind in "iub":
        return MapOutput(name, "ids", last, None, stride) if channels == 1 else None
    if not all(np.isfinite(value).all() for value in values):
        return Undecided(name, "its numbers are not finite for the trial pictures")
    low, high = min(float(value.min()) for value in values), max(float(value.max()) for value in values)
    shares = low >= -_SLACK and high <= 1 + _SLACK
    if channels > 1:
        axis = -1 if last else 1
        sums = max(float(np.abs(value.sum(axis=axis) - 1).max()) for value in values)
        each = shares and sums > _SUMS
        return MapOutput(name, "each" if each else "choice", last, channels, stride)
    whole = all(bool((value == np.round(value)).all()) for value in values)
    if whole and low >= 0 and high <= _HIGHEST_ID:
        return MapOutput(name, "ids", last, None, stride)
    if not shares:
        return Undecided(name, _ABOVE) if low > 0 else MapOutput(name, "logit", last, 1, stride)
    if last_node(path, name, _PASSING) in _SIGMOIDS:
        return MapOutput(name, "probability", last, 1, stride)
    return Undecided(name, _UNDECIDED)


def _layout(shape: Sequence[int], size: Size) -> tuple[int, bool, int] | None:
    """(channels, whether they are last, stride) of a map; None for other shapes."""
    if len(shape) == 2:
        stride = _stride(shape, size)
        return None if stride is None else (1, False, stride)
    if len(shape) == 3:
        stride = _stride(shape[1:], size)
        return None if stride is None else (1, False, stride)
    if len(shape) != 4:
        return None
    first, last = _stride(shape[2:], size), _stride(shape[1:3], size)
    if first is not None and (last is None or shape[1] <= shape[3]):
        return shape[1], False, first
    return None if last is None else (shape[3], True, last)


def _stride(sides: Sequence[int], size: Size) -> int | None:
    """How many times smaller than an input of `size` (width, height) a map of (h, w) is; None where it is no whole."""
    width, height = size
    if min(sides) < 2:
        return None
    for stride in _STRIDES:
        if all(
            own in (whole // stride, -(-whole // stride)) for own, whole in zip(sides, (height, width), strict=True)
        ):
            return stride
    return None
