"""Small graphs for the tests of `detkit look`, made without PyTorch, and a subject whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from detkit.graphs.letterbox import Placement
from detkit.images import Image
from detkit.inside.likeness import Rows
from detkit.inside.subjects import Subject, View


def save(
    path: Path, nodes: Sequence[onnx.NodeProto], stored: dict[str, np.ndarray], shape: Sequence[int | str], output: str
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array.astype(array.dtype), name) for name, array in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def residual_classifier(path: Path, seed: int = 0) -> Path:
    """Conv, BatchNormalization and Relu; a residual block; a gate; pooling and Gemm: 3 x 32 x 32 to 5 classes."""
    random = np.random.default_rng(seed)

    def numbers(*shape: int) -> np.ndarray:
        return random.normal(0, 0.3, shape).astype(np.float32)

    stored = {
        "w1": numbers(8, 3, 3, 3), "b1": numbers(8), "scale": numbers(8) + 1, "shift": numbers(8), "mean": numbers(8),
        "var": np.abs(numbers(8)) + 0.5, "w2": numbers(8, 8, 3, 3), "b2": numbers(8), "w3": numbers(8, 1, 3, 3),
        "w4": numbers(5, 8), "b4": numbers(5), "shape": np.array([1, 8], np.int64),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], "stem", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", ["c1", "scale", "shift", "mean", "var"], ["n1"]),
        node("Relu", ["n1"], ["r1"]),
        node("Conv", ["r1", "w2", "b2"], ["c2"], "body", pads=[1, 1, 1, 1]),
        node("Add", ["c2", "r1"], ["a2"]),
        node("Relu", ["a2"], ["r2"]),
        node("Conv", ["r2", "w3"], ["c3"], "depthwise", pads=[1, 1, 1, 1], group=8),
        node("Sigmoid", ["c3"], ["s3"]),
        node("Mul", ["c3", "s3"], ["m3"]),
        node("GlobalAveragePool", ["m3"], ["p"], "pool"),
        node("Reshape", ["p", "shape"], ["row"]),
        node("Gemm", ["row", "w4", "b4"], ["scores"], "classes", transB=1),
    ]
    return save(path, nodes, stored, [1, 3, 32, 32], "scores")


class BrightRegion(Subject):
    """A detector of one box whose score is the mean brightness of a region, from 0 to 1, whatever lies elsewhere."""

    kind = "detector"
    names = ("light",)
    path = Path("bright.onnx")

    def __init__(self, region: tuple[int, int, int, int]) -> None:
        self.region = region

    def view(self, image: Image) -> View:
        size = (image.shape[1], image.shape[0])
        return View(image, Placement(size, size, size), (0, 0, 0))

    def rows(self, contents: Sequence[Image], view: View) -> list[Rows]:
        x1, y1, x2, y2 = self.region
        box = np.array([self.region], np.float32)
        scores = [content[y1:y2, x1:x2].mean() / 255 for content in contents]
        return [Rows(box, np.array([[score]], np.float32)) for score in scores]
