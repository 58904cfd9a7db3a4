"""A classifier's graph rewritten so that one run over a picture scores every window position.

A window slid over a picture recomputes nearly everything that its neighbour computed. Where a classifier neither pads
nor looks at the window as a whole before its last layers, convolving the whole picture gives the same numbers: the
dense layer after the last feature map of h x w is a convolution with an h x w kernel, the later ones are
convolutions with 1 x 1 kernels, and global pooling is pooling over h x w (Sermanet et al. 2014, "OverFeat",
section 3.5; Long et al. 2015, section 3.1).

The rewriting is done on the protocol buffer itself, see `detkit.graphs.message`. A graph for which the result would not
be exact is refused with the reason, never approximated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.graphs.message import DamagedError, Message, signed

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
_ITEM_TYPES: dict[int, Any] = {1: np.dtype("<f4"), 10: np.dtype("<f2"), 11: np.dtype("<f8")}


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
        return _dense(content, window, stride)
    except DamagedError as error:
        raise NotDense(str(error)) from error


def _dense(content: bytes, window: Pair, stride: Pair) -> bytes:
    model = Message(content)
    versions = [entry.one(2, 1) for entry in map(Message, model.all(8)) if entry.text(1) in ("", "ai.onnx")]
    opset = max(versions, default=1)
    graph = _Graph(Message(model.one(7, b"")), (window[1], window[0]), (stride[1], stride[0]), opset)
    return model.put(7, graph.rewritten()).encode()


class _Graph:
    """One graph on its way to the dense one."""

    def __init__(self, message: Message, window: Pair, stride: Pair, opset: int) -> None:
        self.message, self.stride, self.opset = message, stride, opset
        self.tensors = {tensor.text(8): tensor for tensor in map(Message, message.all(5))}
        self.inputs = [value for value in map(Message, message.all(11)) if value.text(1) not in self.tensors]
        if len(self.inputs) != 1 or len(message.all(12)) != 1:
            raise NotDense("it has several inputs or outputs")
        self.maps = {self.inputs[0].text(1): _Map(window, (1, 1))}
        self.nodes: list[Message] = []
        self.added: list[Message] = []

    def rewritten(self) -> Message:
        for node in map(Message, self.message.all(1)):
            self._rewrite(node)
        output = Message(self.message.one(12, b""))
        last = self.maps.get(output.text(1))
        if last is None or last.size != (1, 1):
            raise NotDense("its output is not one row of scores for the window")
        if last.gap != self.stride:
            raise NotDense(f"its own stride of {last.gap[1]} x {last.gap[0]} pixels cannot give the one asked for")
        graph = self.message
        graph.put(1, self.nodes)
        graph.put(5, [*map(Message, graph.all(5)), *self.added])
        graph.put(11, [_any_shape(Message(value), self.inputs[0].text(1)) for value in graph.all(11)])
        graph.put(12, [_any_shape(output, output.text(1))])
        graph.put(13, [])
        return graph

    def _rewrite(self, node: Message) -> None:
        kind, sources = node.text(4), node.texts(1)
        if kind == "Constant":
            self._constant(node)
            return
        if kind == "Cast" and sources[0] in self.tensors:
            self._cast_constant(node)
            return
        if node.text(7) not in ("", "ai.onnx"):
            raise NotDense(f"it holds the operator {node.text(7)}.{kind}")
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
            node.put(4, "Identity").put(1, sources[:1]).put(2, node.texts(2)[:1]).put(5, [])
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
        self.maps[node.texts(2)[0]] = result

    def _constant(self, node: Message) -> None:
        """A Constant node becomes a named tensor, so that constants are looked up in one place."""
        attributes = [Message(value) for value in node.all(5)]
        tensors = [Message(item.one(5, b"")) for item in attributes if item.text(1) == "value"]
        if not tensors:
            raise NotDense("it holds a constant that is not a tensor")
        name = node.texts(2)[0]
        self.tensors[name] = tensors[0].put(8, name)
        self.added.append(tensors[0])

    def _cast_constant(self, node: Message) -> None:
        """Weights that are stored in 16 bits and computed with in 32: stored in 32 instead."""
        name = node.texts(2)[0]
        if _attribute(node, "to", 0) != 1:
            raise NotDense("it converts its weights to another type than 32-bit numbers")
        self.tensors[name] = _tensor(name, _values(self.tensors[node.texts(1)[0]]).astype("<f4"), 1)
        self.added.append(self.tensors[name])

    def _convolve(self, node: Message, source: _Map) -> _Map:
        weight = self.tensors.get(node.texts(1)[1])
        if weight is None or source.flat or node.texts(1)[0] not in self.maps:
            raise NotDense("a convolution's kernel is not constant")
        return self._slide(node, source, weight.integers(1)[2:])

    def _slide(self, node: Message, source: _Map, kernel: list[int]) -> _Map:
        """A layer that slides its kernel over the map, without padding."""
        kind = node.text(4)
        if source.flat or len(kernel) != 2 or len(node.texts(2)) > 1:
            raise NotDense(f"{kind} does not work on a feature map of two dimensions")
        if any(_attribute(node, "pads", [])) or _attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            raise NotDense(f"{kind} pads: at the border of a window it sees zeros, in the picture its surroundings")
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

    def _pool_all(self, node: Message, source: _Map, kind: str) -> _Map:
        if source.flat:
            raise NotDense(f"Global{kind} works on something other than a feature map")
        node.put(4, kind).put(5, [])
        _set_attribute(node, "kernel_shape", list(source.size))
        _set_attribute(node, "strides", list(self._hop(source.gap) if source.size != (1, 1) else (1, 1)))
        return _Map((1, 1), self.stride if source.size != (1, 1) else source.gap)

    def _reduce_mean(self, node: Message, source: _Map) -> _Map:
        axes = _attribute(node, "axes", [])
        if len(node.texts(1)) > 1:
            axes = self._numbers(node.texts(1)[1]).tolist()
        if sorted(int(axis) % 4 for axis in axes) != [2, 3]:
            raise NotDense("ReduceMean works on other axes than height and width")
        keep = _attribute(node, "keepdims", 1)
        node.put(1, node.texts(1)[:1])
        pooled = self._pool_all(node, source, "AveragePool")
        return pooled if keep else replace(pooled, flat=True)

    def _flatten(self, node: Message, kind: str, source: _Map) -> _Map:
        """(N, C, h, w) to (N, C h w): in the dense graph, nothing yet; the next dense layer takes the map."""
        if kind == "Flatten":
            fits = _attribute(node, "axis", 1) == 1
        elif kind == "Reshape":
            shape = [int(side) for side in self._numbers(node.texts(1)[1])]
            fits = len(shape) == 2 and shape[0] in (0, 1, -1) and (shape[1] != 1)
        else:
            fits = source.size == (1, 1)
        if not fits:
            raise NotDense(f"{kind} does not bring the map of a window to one row")
        node.put(4, "Identity").put(1, node.texts(1)[:1]).put(5, [])
        return replace(source, flat=True)

    def _dense_layer(self, node: Message, kind: str, source: _Map) -> _Map:
        """Gemm or MatMul of the row by a constant matrix: a convolution with a kernel of the map's size."""
        sources = node.texts(1)
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
        kernel = np.ascontiguousarray(matrix).reshape(outputs, length // (height * width), height, width)
        name = f"{sources[1]}/dense/{len(self.added)}"
        self.added.append(_tensor(name, kernel, weight.one(2, 1)))
        if len(sources) > 2:
            bias = self.tensors.get(sources[2])
            if bias is None or math.prod(bias.integers(1)) != outputs:
                raise NotDense("Gemm adds something other than one number for each output")
            sources[2] = f"{sources[2]}/dense/{len(self.added)}"
            self.added.append(_tensor(sources[2], _values(bias).reshape(-1), bias.one(2, 1)))
        node.put(4, "Conv").put(5, []).put(1, [sources[0], name, *sources[2:3]])
        _set_attribute(node, "kernel_shape", [height, width])
        whole = source.size != (1, 1)
        _set_attribute(node, "strides", list(self._hop(source.gap) if whole else (1, 1)))
        return _Map((1, 1), self.stride if whole else source.gap, flat=True)

    def _softmax(self, node: Message, source: _Map) -> _Map:
        axis = _attribute(node, "axis", -1 if source.flat else 1)
        if source.size != (1, 1) or axis not in ((1, -1) if source.flat else (1, -3)):
            raise NotDense("Softmax runs over another axis than the classes")
        if self.opset < 13 and node.text(4) == "Softmax":
            self._old_softmax(node)
        elif self.opset < 13:
            raise NotDense("LogSoftmax of operator sets before 13 runs over all that follows its axis")
        else:
            _set_attribute(node, "axis", 1)
        return source

    def _old_softmax(self, node: Message) -> None:
        """Before operator set 13, Softmax runs over all axes from its axis on: spelt out, it runs over one."""
        source, result = node.texts(1)[0], node.texts(2)[0]
        names = [f"{result}/dense/{part}" for part in ("max", "shifted", "exp", "sum")]
        steps = (
            ("ReduceMax", [source], names[0]),
            ("Sub", [source, names[0]], names[1]),
            ("Exp", [names[1]], names[2]),
            ("ReduceSum", [names[2]], names[3]),
        )
        for kind, sources, target in steps:
            step = Message().put(1, sources).put(2, [target]).put(4, kind)
            if kind.startswith("Reduce"):
                _set_attribute(step, "axes", [1])
            self.nodes.append(step)
        node.put(4, "Div").put(1, [names[2], names[3]]).put(5, [])

    def _combine(self, node: Message, maps: list[_Map]) -> _Map:
        """Arithmetic of maps that lie on one grid, and of constants with one number, or one for each channel."""
        if any(other != maps[0] for other in maps):
            raise NotDense(f"{node.text(4)} joins maps that do not lie on one grid")
        sources = node.texts(1)
        for place, source in enumerate(sources):
            if source in self.maps:
                continue
            tensor = self.tensors.get(source)
            if tensor is None:
                raise NotDense(f"{node.text(4)} uses something other than the picture and constants")
            shape = tensor.integers(1)
            if math.prod(shape) == 1:
                channels = [1] * len(shape)
            elif maps[0].flat and shape[:-1] == [1] * (len(shape) - 1) and maps[0].size == (1, 1):
                channels = [shape[-1], 1, 1]
            elif not maps[0].flat and shape[-2:] == [1, 1] and shape[:-3] == [1] * len(shape[:-3]):
                channels = shape
            else:
                raise NotDense(f"{node.text(4)} uses a constant that differs from place to place")
            name = f"{source}/dense/{len(self.added)}"
            self.added.append(_tensor(name, _values(tensor).reshape(channels), tensor.one(2, 1)))
            sources[place] = name
        node.put(1, sources)
        return maps[0]

    def _numbers(self, name: str) -> NDArray[Any]:
        """The whole numbers of a constant."""
        tensor = self.tensors.get(name)
        if tensor is None:
            raise NotDense("a shape is computed from the picture")
        raw = tensor.one(9, None)
        if raw is not None and tensor.one(2, 0) == 7:
            return np.frombuffer(raw, "<i8")
        return np.array(tensor.integers(7), np.int64)


def _attribute(node: Message, name: str, default: Any) -> Any:
    """An attribute's value: integers, one integer, a number or a text, by the type of `default`."""
    for item in map(Message, node.all(5)):
        if item.text(1) == name:
            if isinstance(default, list):
                return item.integers(8)
            if isinstance(default, str):
                return item.text(4)
            if isinstance(default, float):
                return float(np.array([item.one(2, 0)], np.uint32).view(np.float32)[0])
            return signed(item.one(3, 0))
    return default


def _set_attribute(node: Message, name: str, value: int | list[int]) -> None:
    kept = [item for item in map(Message, node.all(5)) if item.text(1) != name]
    attribute = Message().put(1, name)
    attribute = attribute.put(8, value).put(20, 7) if isinstance(value, list) else attribute.put(3, value).put(20, 2)
    node.put(5, [*kept, attribute])


def _values(tensor: Message) -> NDArray[Any]:
    """The numbers of a floating-point tensor stored in the file itself."""
    kind = tensor.one(2, 0)
    if kind not in _ITEM_TYPES or tensor.one(14, 0):
        raise NotDense("its weights are not floating-point numbers inside the file")
    shape = tensor.integers(1)
    raw = tensor.one(9, None)
    if raw is not None:
        return np.frombuffer(raw, _ITEM_TYPES[kind]).reshape(shape)
    if kind != 1:
        raise NotDense("its weights are stored in an unusual way")
    packed = b"".join(
        value if wire == 2 else value.to_bytes(4, "little") for number, wire, value in tensor.fields if number == 4
    )
    return np.frombuffer(packed, "<f4").reshape(shape)


def _tensor(name: str, values: NDArray[Any], kind: int) -> Message:
    message = Message().put(1, [int(side) for side in values.shape]).put(2, kind)
    return message.put(8, name).put(9, np.ascontiguousarray(values).tobytes())


def _any_shape(value: Message, picture: str) -> Message:
    """The description of an input or output with four axes of any length, but for the channels of the picture."""
    if value.text(1) != picture:
        return value
    kind = Message(value.one(2, b""))
    tensor = Message(kind.one(1, b""))
    shape = Message(tensor.one(2, b""))
    channels = Message(shape.all(1)[1]) if len(shape.all(1)) == 4 else Message()
    axes = [Message().put(1, 1), channels, Message(), Message()]
    return value.put(2, kind.put(1, tensor.put(2, Message().put(1, axes))))
