"""A classifier's graph rewritten so that one run over a picture scores every window position.

A window slid over a picture recomputes nearly everything that its neighbour computed. Where a classifier neither pads
nor looks at the window as a whole before its last layers, convolving the whole picture gives the same numbers: the
dense layer after the last feature map of h x w is a convolution with an h x w kernel, the later ones are
convolutions with 1 x 1 kernels, and global pooling is pooling over h x w (Sermanet et al. 2014, "OverFeat",
section 3.5; Long et al. 2015, section 3.1).

A graph for which the result would not be exact is refused with the reason, never approximated. The `onnx` package is
imported when a graph is rewritten, not before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import ModelError
from detkit.graphs.editing import parsed, with_any_size
from detkit.graphs.stored import first_padding

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

Pair = tuple[int, int]

# Operators that treat every position of a feature map alike.
# fmt: off
_ELEMENTWISE = frozenset((
    "Abs", "BatchNormalization", "Cast", "Celu", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid",
    "HardSwish", "LRN", "LeakyRelu", "Log", "Mish", "Neg", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign",
    "Sqrt", "Tanh",
))
# fmt: on
_PASSED_ON = frozenset(("Identity", "Dropout"))
_BINARY = frozenset(("Add", "Sub", "Mul", "Div", "PRelu", "Pow", "Min", "Max", "Sum"))
_PADS = "{} pads: at the border of a window it sees zeros, in the picture its surroundings"
_ONNX = ("", "ai.onnx")  # domains of the standard operators


class NotDense(Exception):
    """Why a graph cannot be applied to a whole picture with exact results."""


@dataclass(frozen=True)
class _Map:
    """What a tensor of the window is in the dense graph: a feature map of `size` (h, w) for one window.

    gap     (y, x) picture pixels from one position to the next
    flat    whether the classifier sees it as one row of numbers
    """

    size: Pair
    gap: Pair
    flat: bool = False


def make_dense(content: bytes, window: Pair, stride: Pair) -> bytes:
    """The dense graph of a classifier: (1, C, H, W) in, (1, classes, rows, columns) out.

    content   the classifier's .onnx file: one input (N, C, h, w), scores of shape (N, classes) or (N, classes, 1, 1)
    window    (width, height) of its input
    stride    (x, y) pixels between windows of the dense graph's output

    NotDense where that would not be exact, or is not understood.
    """
    try:
        padding = first_padding(content)
    except (IndexError, ValueError) as error:
        raise NotDense("the file is damaged") from error
    if padding is not None:  # most networks do: known without `onnx`
        raise NotDense(_PADS.format(padding))
    try:
        model = parsed(content)
    except ModelError as error:
        raise NotDense(str(error)) from error
    _Graph(model, (window[1], window[0]), (stride[1], stride[0])).rewrite()
    return bytes(model.SerializeToString())


class _Graph:
    """One graph on its way to the dense one; `rewrite` changes the model it is given."""

    def __init__(self, model: ModelProto, window: Pair, stride: Pair) -> None:
        versions = [entry.version for entry in model.opset_import if entry.domain in _ONNX]
        self.opset = max(versions, default=1)
        self.graph, self.stride = model.graph, stride
        self.tensors = {tensor.name: tensor for tensor in self.graph.initializer}
        self.inputs = [value for value in self.graph.input if value.name not in self.tensors]
        if len(self.inputs) != 1 or len(self.graph.output) != 1:
            raise NotDense("it has several inputs or outputs")
        self.maps = {self.inputs[0].name: _Map(window, (1, 1))}
        self.nodes: list[NodeProto] = []
        self.added: list[TensorProto] = []

    def rewrite(self) -> None:
        for node in self.graph.node:
            self._rewrite(node)
        output = self.graph.output[0]
        last = self.maps.get(output.name)
        if last is None or last.size != (1, 1):
            raise NotDense("its output is not one row of scores for the window")
        if last.gap != self.stride:
            raise NotDense(f"its own stride of {last.gap[1]} x {last.gap[0]} pixels cannot give the one asked for")
        nodes = [*self.nodes]
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        self.graph.initializer.extend(self.added)
        with_any_size(self.inputs[0])
        with_any_size(output)
        del self.graph.value_info[:]

    def _rewrite(self, node: NodeProto) -> None:
        kind, sources = node.op_type, list(node.input)
        if kind == "Constant":
            self._constant(node)
            return
        if kind == "Cast" and sources[0] in self.tensors:
            self._cast_constant(node)
            return
        if node.domain not in _ONNX:
            raise NotDense(f"it holds the operator {node.domain}.{kind}")
        maps = [self.maps[source] for source in sources if source in self.maps]
        if not maps:
            raise NotDense(f"{kind} works on something other than the picture")
        first = maps[0]
        if kind == "Conv":
            result = self._convolve(node, first)
        elif kind in ("MaxPool", "AveragePool"):
            result = self._slide(node, first, _attribute(node, "kernel_shape", []))
        elif kind in ("GlobalAveragePool", "GlobalMaxPool"):
            result = self._pool_all(node, first, kind.removeprefix("Global"))
        elif kind == "ReduceMean":
            result = self._reduce_mean(node, first)
        elif kind in ("Flatten", "Reshape", "Squeeze"):
            result = self._flatten(node, kind, first)
        elif kind in ("Gemm", "MatMul"):
            result = self._dense_layer(node, kind, first)
        elif kind in ("Softmax", "LogSoftmax"):
            result = self._softmax(node, first)
        elif kind in _ELEMENTWISE:
            if kind in ("BatchNormalization", "LRN") and first.flat and first.size != (1, 1):
                raise NotDense(f"{kind} works on every number of the window by itself")
            result = first
        elif kind in _PASSED_ON:
            _become(node, "Identity", sources[:1])
            del node.output[1:]
            result = first
        elif kind in _BINARY:
            result = self._combine(node, maps)
        elif kind == "Concat":
            if any(other != first for other in maps) or len(maps) != len(sources) or first.flat:
                raise NotDense("Concat joins tensors that do not lie on one grid")
            if _attribute(node, "axis", 1) not in (1, -3):
                raise NotDense("Concat joins along another axis than the channels")
            result = first
        else:
            raise NotDense(f"{kind} has no dense form here")
        self.nodes.append(node)
        self.maps[node.output[0]] = result

    def _constant(self, node: NodeProto) -> None:
        """A Constant node becomes a named tensor, so that constants are looked up in one place."""
        tensors = [attribute.t for attribute in node.attribute if attribute.name == "value"]
        if not tensors:
            raise NotDense("it holds a constant that is not a tensor")
        tensors[0].name = node.output[0]
        self.tensors[node.output[0]] = tensors[0]
        self.added.append(tensors[0])

    def _cast_constant(self, node: NodeProto) -> None:
        """Weights that are stored in 16 bits and computed with in 32: stored in 32 instead."""
        if _attribute(node, "to", 0) != 1:
            raise NotDense("it converts its weights to another type than 32-bit numbers")
        name = node.output[0]
        self.tensors[name] = self._add(name, _values(self.tensors[node.input[0]]).astype(np.float32))

    def _add(self, name: str, values: NDArray[Any]) -> TensorProto:
        """A further stored tensor."""
        from onnx import numpy_helper

        self.added.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return self.added[-1]

    def _convolve(self, node: NodeProto, source: _Map) -> _Map:
        weight = self.tensors.get(node.input[1])
        if weight is None or source.flat or node.input[0] not in self.maps:
            raise NotDense("a convolution's kernel is not constant")
        return self._slide(node, source, list(weight.dims)[2:])

    def _slide(self, node: NodeProto, source: _Map, kernel: list[int]) -> _Map:
        """A layer that slides its kernel over the map, without padding."""
        kind = node.op_type
        if source.flat or len(kernel) != 2 or len(node.output) > 1:
            raise NotDense(f"{kind} does not work on a feature map of two dimensions")
        if any(_attribute(node, "pads", [])) or _attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            raise NotDense(_PADS.format(kind))
        steps = _attribute(node, "strides", [1, 1])
        dilations = _attribute(node, "dilations", [1, 1])
        spans = [(size - 1) * spread + 1 for size, spread in zip(kernel, dilations, strict=True)]
        rests = [side - span for side, span in zip(source.size, spans, strict=True)]
        if min(rests) < 0:
            raise NotDense(f"{kind} has a kernel larger than its input")
        if _attribute(node, "ceil_mode", 0) and any(rest % step for rest, step in zip(rests, steps, strict=True)):
            raise NotDense(f"{kind} rounds its size up: at the border of a window it sees less than in the picture")
        size = (rests[0] // steps[0] + 1, rests[1] // steps[1] + 1)
        gap = (source.gap[0] * steps[0], source.gap[1] * steps[1])
        if size == (1, 1) and source.size != (1, 1):
            # A layer that sees the whole window: its positions are windows, so its stride is the windows' own.
            hop = self._hop(source.gap)
            _set_attribute(node, "strides", list(hop))
            gap = self.stride
        return _Map(size, gap)

    def _hop(self, gap: Pair) -> Pair:
        """Positions of a map from window to window."""
        if self.stride[0] % gap[0] or self.stride[1] % gap[1]:
            x, y = gap[1], gap[0]
            raise NotDense(f"windows can only be multiples of {x} x {y} pixels apart, the stride of its layers")
        return self.stride[0] // gap[0], self.stride[1] // gap[1]

    def _pool_all(self, node: NodeProto, source: _Map, kind: str) -> _Map:
        if source.flat:
            raise NotDense(f"Global{kind} works on something other than a feature map")
        _become(node, kind, list(node.input))
        _set_attribute(node, "kernel_shape", list(source.size))
        _set_attribute(node, "strides", list(self._hop(source.gap) if source.size != (1, 1) else (1, 1)))
        return _Map((1, 1), self.stride if source.size != (1, 1) else source.gap)

    def _reduce_mean(self, node: NodeProto, source: _Map) -> _Map:
        axes = _attribute(node, "axes", [])
        if len(node.input) > 1:
            axes = self._numbers(node.input[1]).tolist()
        if sorted(int(axis) % 4 for axis in axes) != [2, 3]:
            raise NotDense("ReduceMean works on other axes than height and width")
        keep = _attribute(node, "keepdims", 1)
        del node.input[1:]
        pooled = self._pool_all(node, source, "AveragePool")
        return pooled if keep else replace(pooled, flat=True)

    def _flatten(self, node: NodeProto, kind: str, source: _Map) -> _Map:
        """(N, C, h, w) to (N, C h w): in the dense graph, nothing yet; the next dense layer takes the map."""
        if kind == "Flatten":
            fits = _attribute(node, "axis", 1) == 1
        elif kind == "Reshape":
            shape = [int(side) for side in self._numbers(node.input[1])]
            fits = len(shape) == 2 and shape[0] in (0, 1, -1) and (shape[1] != 1)
        else:
            fits = source.size == (1, 1)
        if not fits:
            raise NotDense(f"{kind} does not bring the map of a window to one row")
        _become(node, "Identity", node.input[:1])
        return replace(source, flat=True)

    def _dense_layer(self, node: NodeProto, kind: str, source: _Map) -> _Map:
        """Gemm or MatMul of the row by a constant matrix: a convolution with a kernel of the map's size."""
        sources = list(node.input)
        weight = self.tensors.get(sources[1]) if len(sources) > 1 else None
        if weight is None or not source.flat or sources[0] not in self.maps:
            raise NotDense(f"{kind} is not a layer over the row of the window's numbers")
        matrix = _values(weight)
        if kind == "Gemm":
            factors = (_attribute(node, "alpha", 1.0), _attribute(node, "beta", 1.0), _attribute(node, "transA", 0))
            if factors != (1.0, 1.0, 0):
                raise NotDense("Gemm has factors or a transposed input")
        if kind == "MatMul" or not _attribute(node, "transB", 0):
            matrix = matrix.T
        height, width = source.size
        outputs, length = matrix.shape
        if length % (height * width):
            raise NotDense(f"{kind} does not fit the map of {width} x {height} before it")
        name = f"{sources[1]}/dense/{len(self.added)}"
        self._add(name, matrix.reshape(outputs, length // (height * width), height, width))
        if len(sources) > 2:
            bias = self.tensors.get(sources[2])
            if bias is None or math.prod(bias.dims) != outputs:
                raise NotDense("Gemm adds something other than one number for each output")
            sources[2] = f"{sources[2]}/dense/{len(self.added)}"
            self._add(sources[2], _values(bias).reshape(-1))
        _become(node, "Conv", [sources[0], name, *sources[2:3]])
        _set_attribute(node, "kernel_shape", [height, width])
        whole = source.size != (1, 1)
        _set_attribute(node, "strides", list(self._hop(source.gap) if whole else (1, 1)))
        return _Map((1, 1), self.stride if whole else source.gap, flat=True)

    def _softmax(self, node: NodeProto, source: _Map) -> _Map:
        axis = _attribute(node, "axis", -1 if source.flat else 1)
        if source.size != (1, 1) or axis not in ((1, -1) if source.flat else (1, -3)):
            raise NotDense("Softmax runs over another axis than the classes")
        if self.opset < 13 and node.op_type == "Softmax":
            self._old_softmax(node)
        elif self.opset < 13:
            raise NotDense("LogSoftmax of operator sets before 13 runs over all that follows its axis")
        else:
            _set_attribute(node, "axis", 1)
        return source

    def _old_softmax(self, node: NodeProto) -> None:
        """Before operator set 13, Softmax runs over all axes from its axis on: spelt out, it runs over one."""
        from onnx import helper

        source, result = node.input[0], node.output[0]
        largest, shifted, exponential, total = (f"{result}/dense/{part}" for part in ("max", "shifted", "exp", "sum"))
        self.nodes += [
            helper.make_node("ReduceMax", [source], [largest], axes=[1]),
            helper.make_node("Sub", [source, largest], [shifted]),
            helper.make_node("Exp", [shifted], [exponential]),
            helper.make_node("ReduceSum", [exponential], [total], axes=[1]),
        ]
        _become(node, "Div", [exponential, total])

    def _combine(self, node: NodeProto, maps: list[_Map]) -> _Map:
        """Arithmetic of maps that lie on one grid, and of constants with one number, or one for each channel."""
        if any(other != maps[0] for other in maps):
            raise NotDense(f"{node.op_type} joins maps that do not lie on one grid")
        for place, source in enumerate(node.input):
            if source in self.maps:
                continue
            tensor = self.tensors.get(source)
            if tensor is None:
                raise NotDense(f"{node.op_type} uses something other than the picture and constants")
            shape = list(tensor.dims)
            if math.prod(shape) == 1:
                channels = [1] * len(shape)
            elif maps[0].flat and shape[:-1] == [1] * (len(shape) - 1) and maps[0].size == (1, 1):
                channels = [shape[-1], 1, 1]
            elif not maps[0].flat and shape[-2:] == [1, 1] and shape[:-3] == [1] * len(shape[:-3]):
                channels = shape
            else:
                raise NotDense(f"{node.op_type} uses a constant that differs from place to place")
            name = f"{source}/dense/{len(self.added)}"
            self._add(name, _values(tensor).reshape(channels))
            node.input[place] = name
        return maps[0]

    def _numbers(self, name: str) -> NDArray[Any]:
        """The whole numbers of a constant."""
        from onnx import numpy_helper

        tensor = self.tensors.get(name)
        if tensor is None:
            raise NotDense("a shape is computed from the picture")
        return numpy_helper.to_array(tensor).astype(np.int64).ravel()


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    """An attribute's value: integers, one integer, a number or a text, by the type of `default`."""
    for item in node.attribute:
        if item.name == name:
            if isinstance(default, list):
                return list(item.ints)
            if isinstance(default, str):
                return item.s.decode(errors="replace")
            return item.f if isinstance(default, float) else item.i
    return default


def _set_attribute(node: NodeProto, name: str, value: int | list[int]) -> None:
    from onnx import helper

    kept = [item for item in node.attribute if item.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def _become(node: NodeProto, kind: str, sources: Sequence[str]) -> None:
    """Make the node another operator, with these inputs and without attributes."""
    kept = list(sources)
    node.op_type = kind
    del node.input[:], node.attribute[:]
    node.input.extend(kept)


def _values(tensor: TensorProto) -> NDArray[Any]:
    """The numbers of a floating-point tensor stored in the file itself."""
    from onnx import TensorProto, numpy_helper

    if tensor.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE) or tensor.external_data:
        raise NotDense("its weights are not floating-point numbers inside the file")
    try:
        return numpy_helper.to_array(tensor)
    except ValueError as error:
        raise NotDense("the file is damaged: a tensor is shorter than it says") from error
