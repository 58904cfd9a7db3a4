"""Features of regions (Girshick et al. 2014, sections 2.1 and 2.2, appendix A): warp, then a network's inner tensors.

Any classifier network serves. Which of its tensors are the features is said by name; without, they are the row of
numbers that its last layer tells the classes from (AlexNet's fc7), and, for the box regressors, the last feature map
(AlexNet's pool5). Maps are averaged over a grid of at most 3 x 3 cells, a departure from the paper.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.errors import ModelError
from detkit.graphs.classifier_input import PictureInput
from detkit.graphs.editing import load, with_open_size, with_outputs
from detkit.graphs.registry import resolve
from detkit.graphs.runtime import Runtime
from detkit.graphs.session import Network
from detkit.graphs.sidecar import read_sidecar
from detkit.images import Image

if TYPE_CHECKING:
    from onnx import ModelProto

Floats = NDArray[np.float32]
Pair = tuple[int, int]

CONTEXT = 16  # pixels of the warped region around the box
CELLS = 3  # cells a side that a feature map is averaged over
_WIDEST_MAP = 512  # channels of what counts as the last feature map
_REGIONS_PER_RUN = 32


@dataclass(frozen=True)
class Features:
    """Which features of a region.

    row, grid   names of the tensors for the SVMs and for the box regressors; None chooses, see above
    size        (width, height) of the warped regions; None takes the graph's own, or 224 x 224 where it is open. A
                network that pools over all positions takes any
    context     pixels of the warped region that show what is around the box
    """

    row: str | None = None
    grid: str | None = None
    size: Pair | None = None
    context: int = CONTEXT


class RegionFeatures:
    """A network that makes features of the regions of a picture.

    model    a classifier by name or file; None takes the bundled one
    wanted, runtime   see `Features`, `Runtime`

    ModelError where the network has no such tensor.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        wanted: Features = Features(),
        runtime: Runtime = Runtime(),
    ) -> None:
        path = resolve(model, "slide")
        graph = load(path)
        plain = Network(path, runtime)
        picture = PictureInput(plain, read_sidecar(path))
        size = wanted.size or picture.size or (224, 224)
        if size != picture.size:
            graph = with_open_size(graph, picture.info.name, 1 if picture.channels_last else 2)
        row = wanted.row or _classified_from(graph, path)
        grid = wanted.grid or _last_map(path, graph, plain, picture, size)
        self.network = Network(path, runtime, content=_content(path, graph, (row, grid)))
        self.picture, self.size, self.context = picture, size, wanted.context
        self.row, self.grid = row, grid
        if 2 * wanted.context >= min(size):
            raise ModelError(
                f"{path}: regions of {size[0]} x {size[1]} pixels leave no room for {wanted.context} around"
            )

    def __call__(self, image: Image, boxes: NDArray[Any]) -> tuple[Floats, Floats]:
        """Features (N, D) for the SVMs and (N, M) for the regressors, of boxes (N, 4) xyxy in a picture (H, W, 3)."""
        rows, maps = [], []
        for start in range(0, len(boxes), _REGIONS_PER_RUN):
            tensors = self.tensors(image, boxes[start : start + _REGIONS_PER_RUN])
            for outputs in self._run(tensors):
                rows.append(outputs[0])
                maps.append(outputs[1])
        if not rows:
            empty = self._run(self.tensors(np.zeros((8, 8, 3), np.uint8), np.array([[0, 0, 8, 8]], np.float32)))
            return empty[0][0][:0], empty[0][1][:0]
        return np.concatenate(rows), np.concatenate(maps)

    def tensors(self, image: Image, boxes: NDArray[Any]) -> NDArray[Any]:
        """The network's input (N, C, H, W) or (N, H, W, C) for boxes (N, 4)."""
        return np.stack(
            [self.picture.tensor(warp(image, box, self.size, self.context, self.picture.mean)) for box in boxes]
        )

    def _run(self, tensors: NDArray[Any]) -> list[tuple[Floats, Floats]]:
        """Flat features of warped regions; graphs with a fixed batch get it filled up."""
        fixed = self.picture.info.shape[0]
        step = fixed or len(tensors)
        found = []
        for start in range(0, len(tensors), step):
            part = tensors[start : start + step]
            count = len(part)
            if count < step:
                part = np.concatenate((part, np.repeat(part[-1:], step - count, axis=0)))
            rows, maps = self.network.run({self.picture.info.name: part}, (self.row, self.grid))
            if min(rows.ndim, maps.ndim) < 2 or not len(rows) == len(maps) == step:
                raise ModelError(
                    f"{self.network.path}: its tensors {self.row} {rows.shape} and {self.grid} {maps.shape} are not "
                    "one row of numbers or one map a region"
                )
            found.append((_flat(rows)[:count], _flat(maps)[:count]))
        return found


def warp(image: Image, box: Any, size: Pair, context: int, fill: Sequence[float]) -> Image:
    """A region of a picture uint8 (H, W, 3) at the network's size (width, height), as uint8 (height, width, 3).

    The box (x1, y1, x2, y2) is stretched to the size less `context` pixels on each side, which show what is around it;
    what would be outside the picture has the colour `fill` (Girshick et al. 2014, appendix A, "warp").
    """
    x1, y1, x2, y2 = (float(value) for value in box)
    scale_x = max(x2 - x1, 1.0) / (size[0] - 2 * context)
    scale_y = max(y2 - y1, 1.0) / (size[1] - 2 * context)
    left, top = round(x1 - context * scale_x), round(y1 - context * scale_y)
    right = max(left + 1, round(x1 + (size[0] - context) * scale_x))
    bottom = max(top + 1, round(y1 + (size[1] - context) * scale_y))
    height, width = image.shape[:2]
    inside = image[max(0, top) : max(0, min(height, bottom)), max(0, left) : max(0, min(width, right))]
    out = np.empty((size[1], size[0], 3), np.uint8)
    out[:] = np.rint(np.broadcast_to(np.asarray(fill, np.float32), 3)).astype(np.uint8)
    if inside.size == 0:
        return out
    # Where the part inside the picture lies in the output.
    columns = [round((edge - left) * size[0] / (right - left)) for edge in (max(0, left), min(width, right))]
    rows = [round((edge - top) * size[1] / (bottom - top)) for edge in (max(0, top), min(height, bottom))]
    target = (columns[1] - columns[0], rows[1] - rows[0])
    if min(target) < 1:
        return out
    smaller = inside.shape[1] > target[0] and inside.shape[0] > target[1]
    resized = cv2.resize(inside, target, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    out[rows[0] : rows[1], columns[0] : columns[1]] = resized
    return out


def _flat(features: NDArray[Any]) -> Floats:
    """(N, D) from (N, D), or from maps (N, C, h, w) averaged over a grid of at most CELLS x CELLS cells."""
    values = features.astype(np.float32, copy=False)
    if values.ndim == 4 and max(values.shape[2:]) > CELLS:
        for axis in (2, 3):
            edges = np.linspace(0, values.shape[axis], min(CELLS, values.shape[axis]) + 1).round().astype(int)
            parts = [
                np.take(values, range(first, end), axis).mean(axis=axis, keepdims=True)
                for first, end in pairwise(edges)
            ]
            values = np.concatenate(parts, axis=axis)
    return np.ascontiguousarray(values.reshape(len(values), -1))


def _classified_from(model: ModelProto, path: Path) -> str:
    """The tensor that the last dense layer takes."""
    for node in reversed(model.graph.node):
        if node.op_type in ("Gemm", "MatMul"):
            return str(node.input[0])
    raise ModelError(f"{path}: has no dense layer whose input could be the features: name a tensor")


def _last_map(path: Path, model: ModelProto, network: Network, picture: PictureInput, size: Pair) -> str:
    """The last feature map of several positions and of no more channels than AlexNet's, by running the graph once."""
    kinds = ("Conv", "Relu", "Clip", "Add", "MaxPool", "AveragePool", "BatchNormalization", "Concat", "Mul")
    names = [node.output[0] for node in model.graph.node if node.op_type in kinds]
    probing = Network(path, Runtime("cpu", network.threads), content=_content(path, model, names))
    tensor = picture.tensor(np.zeros((size[1], size[0], 3), np.uint8))[None]
    outputs = probing.run({picture.info.name: np.repeat(tensor, picture.info.shape[0] or 1, axis=0)}, names)
    for name, output in zip(reversed(names), reversed(outputs), strict=True):
        if output.ndim == 4 and min(output.shape[2:]) > 1 and output.shape[1] <= _WIDEST_MAP:
            return str(name)
    raise ModelError(f"{path}: has no feature map of at most {_WIDEST_MAP} channels: name a tensor")


def _content(path: Path, model: ModelProto, names: Sequence[str]) -> bytes:
    """The graph with these inner tensors as outputs beside its own, as the bytes of a file."""
    try:
        return bytes(with_outputs(model, names).SerializeToString())
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
