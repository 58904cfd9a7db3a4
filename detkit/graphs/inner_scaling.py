"""The scaling of pixels that a graph does itself in its first nodes, read off the file without loading it.

A graph that begins with (pixel - 123.7) / 58.4 wants pixels from 0 to 255, one that begins with (x - 0.485) / 0.229
wants them from 0 to 1; the order of the three numbers, where they are ImageNet's, tells RGB from BGR.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detkit.errors import ModelError
from detkit.graphs.stored import Node, first_nodes

_AFFINE = frozenset(("Add", "Sub", "Mul", "Div", "BatchNormalization"))
_PASSING = frozenset(("Cast", "Identity", "Transpose", "Unsqueeze", "Squeeze", "QuantizeLinear", "DequantizeLinear"))
# Numbers of an integer input, from the scale and zero point of a DequantizeLinear that reads it.
Quantised = tuple[float, float]
_IMAGENET_MEAN = np.array((0.485, 0.456, 0.406))
_EPSILON = 1e-5
_LITTLE = 0.25


@dataclass(frozen=True)
class InnerScaling:
    """What the graph's first nodes do to its input x: (x - mean) / std for each channel.

    highest    255 where they want pixels from 0 to 255, 1 where they want shares
    color      "rgb" or "bgr" where the numbers tell
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    highest: Literal[1, 255]
    color: Literal["rgb", "bgr"] | None


def inner_scaling(path: str | os.PathLike[str], picture: str) -> InnerScaling | None:
    """What the graph does to the input `picture` before its first layer; None where that is next to nothing."""
    mean, std = np.zeros(1), np.ones(1)
    for node in _chain(path, picture):
        step = _affine(node)
        if step is None:
            break
        # ((x - mean) / std) * factor + offset
        factor, offset = step
        if np.any(factor == 0) or not np.all(np.isfinite(factor)):
            return None
        mean, std = mean - offset * std / factor, std / factor
    if np.max(np.abs(mean)) < _LITTLE and np.min(np.abs(std)) > _LITTLE and 1 - _LITTLE < np.max(np.abs(std)) < 2:
        return None  # nothing, or a normalisation of what is normalised already
    return InnerScaling(tuple(mean.tolist()), tuple(std.tolist()), _highest(mean, std), _color(mean))


def input_quantisation(path: str | os.PathLike[str], picture: str) -> Quantised | None:
    """Scale and zero point of an integer input whose first node is DequantizeLinear, None where it is another."""
    for node in _chain(path, picture):
        if node.operator == "DequantizeLinear":
            scale = node.numbers.get(node.inputs[1], ())
            zero = node.numbers.get(node.inputs[2], (0.0,)) if len(node.inputs) > 2 else (0.0,)
            return (scale[0], zero[0] if zero else 0.0) if len(scale) == 1 else None
        if node.operator not in ("Transpose", "Identity"):
            return None
    return None


def _chain(path: str | os.PathLike[str], picture: str) -> list[Node]:
    try:
        return first_nodes(path, picture, _AFFINE | _PASSING)
    except ModelError:
        return []


def _affine(node: Node) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """(factor, offset) of a node that maps every channel by itself, None for one that does not."""
    one, none = np.ones(1), np.zeros(1)
    if node.operator in _PASSING:
        return one, none
    if node.operator == "BatchNormalization":
        parts = [np.array(node.numbers.get(name, ())) for name in node.inputs[1:5]]
        if len(parts) < 4 or len({len(part) for part in parts}) > 1 or len(parts[0]) not in (1, 3):
            return None
        gamma, beta, mean, variance = parts
        factor = gamma / np.sqrt(variance + _EPSILON)
        return factor, beta - mean * factor
    if node.operator not in _AFFINE or len(node.inputs) != 2:
        return None
    numbers = [np.array(node.numbers[name]) for name in node.inputs if name in node.numbers]
    if len(numbers) != 1 or len(numbers[0]) not in (1, 3):
        return None
    if node.operator in ("Sub", "Div") and node.inputs[1] not in node.numbers:
        return None  # a constant less the picture, or over it
    values = numbers[0]
    if node.operator in ("Mul", "Div"):
        with np.errstate(divide="ignore"):
            return (values if node.operator == "Mul" else 1 / values), none
    return one, (values if node.operator == "Add" else -values)


def _highest(mean: NDArray[np.float64], std: NDArray[np.float64]) -> Literal[1, 255]:
    """Whether the input is from 0 to 255: pixels are brought to a few units around nought, or lose a mean of pixels."""
    return 255 if np.max(np.abs(std)) > 4 or np.max(np.abs(mean)) > 4 else 1


def _color(mean: NDArray[np.float64]) -> Literal["rgb", "bgr"] | None:
    if len(mean) != 3:
        return None
    shares = mean / 255 if np.max(np.abs(mean)) > 4 else mean
    if np.allclose(shares, _IMAGENET_MEAN, atol=0.01):
        return "rgb"
    return "bgr" if np.allclose(shares, _IMAGENET_MEAN[::-1], atol=0.01) else None
