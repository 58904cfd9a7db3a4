"""Which pixels drive a unit of a chain of convolutions: the deconvolution network of Zeiler and Fergus.

M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 2.1. From the map
of one unit, all others set to nought, back to the pixels: pooling is undone by its switches (the places of the maxima),
then the signal is rectified, then filtered with the same filters transposed. The way back is an ONNX graph, made from
the way there: MaxUnpool, Relu, ConvTranspose.

Notes. Biases play no part. Where pooling windows overlap and share their maximum, MaxUnpool keeps the signal of the
last. Local response normalisation and dropout are passed through, as the paper does with its contrast normalisation; a
scaling of the input by constants is, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import ModelError
from detkit.graphs.editing import copy_of
from detkit.graphs.letterbox import Placement
from detkit.graphs.runtime import Runtime
from detkit.graphs.session import Network
from detkit.inside.feature_maps import content_of
from detkit.inside.tapped import Feeds, Shape, Tapped

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Floats = NDArray[np.float32]
Pair = tuple[int, int]

_PASSED = frozenset(("Identity", "Dropout", "LRN", "Cast"))
_SCALING = frozenset(("Sub", "Add", "Mul", "Div"))


@dataclass(frozen=True)
class Step:
    """One operator of the chain.

    node      it
    source, result   shapes of its input and output
    kernel, stride, dilation   (y, x); of what pools or filters
    pads      (top, left, bottom, right)
    """

    node: NodeProto
    source: Shape
    result: Shape
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def kind(self) -> str:
        return str(self.node.op_type)


@dataclass(frozen=True)
class Chain:
    """The operators from the picture's input on, as far as they are a chain that can be undone.

    steps   in their order
    end     why it goes no further
    """

    steps: tuple[Step, ...]
    end: str

    def until(self, tensor: str) -> Chain:
        """The part that makes a tensor. ModelError where the tensor is not one of the chain's."""
        for number, step in enumerate(self.steps, start=1):
            if step.node.output[0] == tensor:
                return Chain(self.steps[:number], "")
        raise ModelError(f"it lies behind the chain that can be projected, which ends there: {self.end}")

    def receptive_field(self, y: int, x: int) -> tuple[int, int, int, int]:
        """The pixels (x1, y1, x2, y2) of the input that a cell of the chain's last map sees, cut at the borders."""
        low, high = [y, x], [y, x]
        for step in reversed(self.steps):
            for axis in (0, 1):
                reach = step.dilation[axis] * (step.kernel[axis] - 1)
                low[axis] = low[axis] * step.stride[axis] - step.pads[axis]
                high[axis] = high[axis] * step.stride[axis] - step.pads[axis] + reach
        height, width = self.steps[0].source[2:]
        return max(low[1], 0), max(low[0], 0), min(high[1] + 1, width), min(high[0] + 1, height)


def chain_of(model: ModelProto, shapes: Mapping[str, Shape]) -> Chain:
    """The chain of convolutions, rectification and max pooling that a graph begins with.

    ModelError, without a file name, where not even the first convolution belongs to one.
    """
    stored = {tensor.name for tensor in model.graph.initializer}
    constant = set(stored)
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        if node.op_type == "Constant" or (node.input and constant.issuperset(filter(None, node.input))):
            constant.update(node.output)
        for name in node.input:
            readers.setdefault(name, []).append(node)
    pictures = [value.name for value in model.graph.input if value.name not in stored]
    tensor, steps, end = pictures[0], [], "the graph ends"
    while following := [node for node in readers.get(tensor, []) if node.op_type != "Shape"]:
        if len(following) > 1:
            names = ", ".join(sorted({node.op_type for node in following}))
            end = f"{len(following)} operators read one map ({names}), so it is no chain"
            break
        node = following[0]
        why = _why_not(node, constant, shapes)
        if why:
            end = f"{node.op_type} {node.name}".strip() + f" {why}"
            break
        steps.append(_step(node, shapes))
        tensor = node.output[0]
    if not any(step.kind == "Conv" for step in steps):
        raise ModelError(f"--projection is for chains of convolution, ReLU and max pooling: {end}")
    return Chain(tuple(steps), end)


def projectable(chain: Chain) -> list[str]:
    """The tensors that units are taken from: each convolution's map after its rectification, where it has one."""
    found = []
    for number, step in enumerate(chain.steps):
        if step.kind == "Conv":
            after = chain.steps[number + 1] if number + 1 < len(chain.steps) else None
            found.append(str(after.node.output[0] if after and after.kind in ("Relu", "Clip") else step.node.output[0]))
    return found


class Deconvolution:
    """The way there and back for one map of a chain.

    tensor   the map
    """

    def __init__(self, tapped: Tapped, chain: Chain, tensor: str, runtime: Runtime = Runtime()) -> None:
        self.tensor, self.chain = tensor, chain.until(tensor)
        self._pools = [step for step in self.chain.steps if step.kind == "MaxPool"]
        self._switches = [f"{step.node.output[0]}_switches" for step in self._pools]
        self._there = Network(tapped.path, runtime, content=self._with_switches(tapped.model))
        self._back = Network(tapped.path, runtime, content=bytes(self._backward(tapped).SerializeToString()))

    def forward(self, feeds: Feeds) -> tuple[Floats, dict[str, NDArray[Any]]]:
        """The map (C, h, w) of a picture, and the switches of the pooling before it."""
        found = self._there.run(feeds, [self.tensor, *self._switches])
        return np.asarray(found[0][0], np.float32), dict(zip(self._switches, found[1:], strict=True))

    def project(self, maps: Floats, switches: Mapping[str, NDArray[Any]], unit: tuple[int, int, int]) -> Floats:
        """What of the input drives a unit (channel, y, x) of a map (C, h, w): (C_in, H, W), in the input's numbers."""
        signal = np.zeros((1, *maps.shape), np.float32)
        signal[(0, *unit)] = maps[unit]
        return np.asarray(self._back.run({"signal": signal, **switches})[0][0], np.float32)

    def _with_switches(self, model: ModelProto) -> bytes:
        """The graph whose pools say where their maxima were."""
        made = copy_of(model)
        wanted = dict(zip((step.node.output[0] for step in self._pools), self._switches, strict=True))
        for node in made.graph.node:
            if node.output and node.output[0] in wanted:
                del node.output[1:]
                node.output.append(wanted[node.output[0]])
        del made.graph.output[:]
        for name in (self.tensor, *self._switches):
            made.graph.output.add(name=name)
        return bytes(made.SerializeToString())

    def _backward(self, tapped: Tapped) -> ModelProto:
        from onnx import TensorProto, helper, numpy_helper

        nodes, stored = [], []
        inputs = [helper.make_tensor_value_info("signal", TensorProto.FLOAT, list(self.chain.steps[-1].result))]
        switches = dict(zip((step.node.output[0] for step in self._pools), self._switches, strict=True))
        signal = "signal"
        for number, step in enumerate(reversed(self.chain.steps)):
            made, name = f"back_{number}", str(step.node.output[0])
            if step.kind == "MaxPool":
                inputs.append(helper.make_tensor_value_info(switches[name], TensorProto.INT64, list(step.result)))
                stored.append(numpy_helper.from_array(np.array(step.source, np.int64), f"{made}_shape"))
                nodes.append(
                    helper.make_node(
                        "MaxUnpool", [signal, switches[name], f"{made}_shape"], [made],
                        kernel_shape=step.kernel, strides=step.stride, pads=step.pads,
                    )
                )  # fmt: skip
            elif step.kind in ("Relu", "Clip"):
                nodes.append(helper.make_node("Relu", [signal], [made]))
            elif step.kind == "Conv":
                weights = np.asarray(tapped.constant(step.node.input[1]), np.float32)
                stored.append(numpy_helper.from_array(weights, f"{made}_filters"))
                nodes.append(_transposed(step, signal, f"{made}_filters", made))
            else:
                nodes.append(helper.make_node("Identity", [signal], [made]))
            signal = made
        outputs = [helper.make_tensor_value_info(signal, TensorProto.FLOAT, list(self.chain.steps[0].source))]
        graph = helper.make_graph(nodes, "deconvolution", inputs, outputs, stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def strongest(maps: Floats, channel: int, placement: Placement | None = None) -> tuple[int, int, int]:
    """The unit (channel, y, x) of a channel that is driven most; with a placement, of those over the picture."""
    places = np.arange(maps[channel].size).reshape(1, *maps.shape[1:])
    if placement is not None:
        places, _ = content_of(places, placement)
    best = places.ravel()[int(maps[channel].ravel()[places.ravel()].argmax())]
    y, x = np.unravel_index(int(best), maps.shape[1:])
    return channel, int(y), int(x)


def as_picture(projection: Floats, bgr: bool = False) -> NDArray[np.uint8]:
    """A projection (C, H, W) as a picture (H, W, 3) RGB: gray is nought, the largest number black or white."""
    planes = projection[::-1] if bgr and len(projection) == 3 else projection
    largest = max(float(np.abs(planes).max(initial=0)), 1e-12)
    shown = np.rint((planes / largest / 2 + 0.5) * 255).astype(np.uint8).transpose(1, 2, 0)
    return np.repeat(shown, 3, axis=2) if shown.shape[2] == 1 else np.ascontiguousarray(shown[:, :, :3])


def _why_not(node: NodeProto, constant: set[str], shapes: Mapping[str, Shape]) -> str:
    """Why a node is no step of the chain, "" where it is one."""
    kind = node.op_type
    shape = shapes.get(node.output[0], ())
    if kind == "Conv":
        return "" if node.input[1] in constant and len(shape) == 4 else "has filters that are not stored"
    if kind == "MaxPool":
        flags = {one.name: one for one in node.attribute}
        return "orders its maxima by columns" if "storage_order" in flags and flags["storage_order"].i else ""
    if kind in _PASSED or kind == "Relu":
        return ""
    if kind == "Clip":  # ReLU6
        return ""
    if kind in _SCALING and any(name in constant for name in node.input):
        return ""
    if kind in ("Flatten", "Reshape", "Gemm", "MatMul"):
        return "looks at the picture as a whole"
    if kind in _SCALING or kind == "Concat":
        return "joins two ways"
    return "is no convolution, ReLU or max pooling"


def _step(node: NodeProto, shapes: Mapping[str, Shape]) -> Step:
    from onnx import helper

    source, result = shapes[node.input[0]], shapes[node.output[0]]
    if node.op_type not in ("Conv", "MaxPool"):
        return Step(node, source, result)
    flags = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    kernel = tuple(flags.get("kernel_shape") or shapes[node.input[1]][2:])
    stride, dilation = tuple(flags.get("strides", (1, 1))), tuple(flags.get("dilations", (1, 1)))
    pads = tuple(flags.get("pads", (0, 0, 0, 0)))
    mode = flags.get("auto_pad", b"NOTSET").decode()
    if mode.startswith("SAME"):
        missing = [
            max((result[2 + k] - 1) * stride[k] + dilation[k] * (kernel[k] - 1) + 1 - source[2 + k], 0) for k in (0, 1)
        ]
        first = [each // 2 if mode == "SAME_UPPER" else -(-each // 2) for each in missing]
        pads = (*first, *(each - one for each, one in zip(missing, first, strict=True)))
    return Step(node, source, result, kernel, stride, dilation, pads)  # type: ignore[arg-type]


def _transposed(step: Step, signal: str, filters: str, made: str) -> NodeProto:
    """The transposed convolution of a step, whose output has the size of the step's input."""
    from onnx import helper

    groups = next((one.i for one in step.node.attribute if one.name == "group"), 1)
    missing = [
        step.source[2 + k]
        - ((step.result[2 + k] - 1) * step.stride[k] - step.pads[k] - step.pads[2 + k])
        - step.dilation[k] * (step.kernel[k] - 1)
        - 1
        for k in (0, 1)
    ]
    return helper.make_node(
        "ConvTranspose", [signal, filters], [made], kernel_shape=step.kernel, strides=step.stride,
        dilations=step.dilation, pads=step.pads, output_padding=missing, group=groups,
    )  # fmt: skip


def most_driven(values: Sequence[NDArray[np.float32]], count: int) -> NDArray[np.int64]:
    """The rows of `values`, one (C,) a picture, that drive each channel most, best first: (count, C)."""
    table = np.stack(values)
    return np.argsort(-table, axis=0, kind="stable")[:count]
