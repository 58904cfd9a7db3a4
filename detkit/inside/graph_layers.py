"""The layers of a graph: which operators there are, how large their outputs are, and what they cost.

A layer is an operator that computes, with what follows it number by number (batch normalisation, bias, activation):
`Conv + BatchNormalization + Relu` is one. Operators that only move or count (Reshape, Slice, Shape ...) and those that
work on constants alone are no layers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Shape = tuple[int, ...]

# Operators with weights, and which input holds them; others of the kind multiply two tensors.
_WEIGHTS = {
    "Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1, "FusedConv": 1, "FusedGemm": 1, "FusedMatMul": 1,
    "ConvInteger": 1, "MatMulInteger": 1, "QLinearConv": 3, "QLinearMatMul": 3, "DeformConv": 1,
}  # fmt: skip
_CONVOLUTIONS = ("Conv", "FusedConv", "ConvInteger", "QLinearConv", "DeformConv")
# What follows a layer number by number and belongs to it.
_FOLDED = frozenset((
    "BatchNormalization", "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu",
    "Selu", "Celu", "Gelu", "FastGelu", "BiasGelu", "Mish", "Softplus", "Erf", "Swish", "Identity", "Dropout", "Cast",
    "QuantizeLinear", "DequantizeLinear",
))  # fmt: skip
_ARITHMETIC = frozenset(("Add", "Sub", "Mul", "Div", "Pow"))
# What only moves, counts or chooses numbers.
_PLUMBING = frozenset((
    "Shape", "Size", "Constant", "ConstantOfShape", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice",
    "Split", "Gather", "GatherElements", "GatherND", "ScatterND", "ScatterElements", "Expand", "Tile", "Range", "Cast",
    "CastLike", "Identity", "Dropout", "Pad", "NonZero", "Where", "Equal", "Greater", "Less", "GreaterOrEqual",
    "LessOrEqual", "Not", "And", "Or", "Floor", "Ceil", "Round", "Mod", "Min", "Max", "Neg", "Exp", "Log", "Sqrt",
    "Reciprocal", "Abs", "Sign", "Trilu", "OneHot", "EyeLike", "CumSum", "ReduceMax", "ReduceMin", "ReduceSum",
    "ReduceProd", "ArgMax", "ArgMin", "TopK", "NonMaxSuppression", "If", "Loop", "Scan", "IsNaN", "IsInf",
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear",
)) | _ARITHMETIC  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """One layer of a graph.

    number         from 1, in the graph's order
    name           that of its first node, or of its output where nodes have none
    operator       its operators, joined by " + "
    output         the tensor that it ends in
    shape          of that tensor; () where it is not known
    parameters     stored numbers that it multiplies and adds, running statistics left out; shared ones count each time
    multiply_adds  products that are summed, for one run; 0 for operators without any, None where a shape is missing
    """

    number: int
    name: str
    operator: str
    output: str
    shape: Shape
    parameters: int
    multiply_adds: int | None


def layers_of(model: ModelProto, shapes: Mapping[str, Shape]) -> list[Layer]:
    """The layers of a graph whose tensors have these `shapes`."""
    graph = _Graph(model)
    found: list[Layer] = []
    for chain in graph.chains():
        last = chain[-1].output[0]
        if last in shapes and len(shapes[last]) < 2:  # sizes on their way to a Reshape or Resize
            continue
        kinds = [node.op_type for node in chain if node.op_type not in ("Identity", "Dropout", "Cast")]
        stored = sum(size for node in chain for _, size in graph.stored(node))
        cost = _multiply_adds(chain[0], shapes)
        name = chain[0].name or last
        found.append(Layer(len(found) + 1, name, " + ".join(kinds), last, shapes.get(last, ()), stored, cost))
    return found


def parameters_in_all(model: ModelProto) -> int:
    """The stored numbers that layers multiply and add, each once however often it is used."""
    graph = _Graph(model)
    sources = {source: size for chain in graph.chains() for node in chain for source, size in graph.stored(node)}
    return sum(sources.values())


def rest_of(model: ModelProto) -> Counter[str]:
    """The operators on the picture's way that belong to no layer, counted."""
    graph = _Graph(model)
    counted = {id(node) for chain in graph.chains() for node in chain}
    return Counter(
        node.op_type
        for node in graph.nodes
        if id(node) not in counted and not (graph.constant.issuperset(node.output) and node.output)
    )


class _Graph:
    """A graph with what its layers are found by: constant tensors, and who reads each tensor."""

    def __init__(self, model: ModelProto) -> None:
        self.nodes = list(model.graph.node)
        # name -> (the stored tensor it comes from, numbers in it)
        self._sizes = {tensor.name: (tensor.name, math.prod(tensor.dims)) for tensor in model.graph.initializer}
        self.constant = set(self._sizes)
        self._readers: dict[str, list[int]] = {}
        self._maker = {name: place for place, node in enumerate(self.nodes) for name in node.output}
        self._ends = {value.name for value in model.graph.output}
        self._chains: dict[int, list[int]] = {}
        self._taken: set[int] = set()
        for place, node in enumerate(self.nodes):
            for name in node.input:
                self._readers.setdefault(name, []).append(place)
            if node.op_type == "Constant" or (node.input and self.constant.issuperset(filter(None, node.input))):
                self.constant.update(node.output)
                self._sizes.update(self._derived(node))
        for place in range(len(self.nodes)):
            if place not in self._taken and self._is_layer(self.nodes[place]):
                self._chains[place] = self._followers(place)
                self._taken.update(self._chains[place])

    def chains(self) -> Iterator[list[NodeProto]]:
        """The nodes of each layer."""
        return ([self.nodes[place] for place in sorted(chain)] for chain in self._chains.values())

    def stored(self, node: NodeProto) -> Iterator[tuple[str, int]]:
        """(name of the stored tensor, numbers in it) of what a node multiplies and adds."""
        inputs = list(node.input)
        if node.op_type == "BatchNormalization":
            inputs = inputs[:3]
        elif node.op_type in ("Clip", "Resize", "Pow", "QuantizeLinear", "DequantizeLinear", "MaxRoiPool", "RoiAlign"):
            inputs = []  # limits, sizes and exponents
        elif node.op_type.startswith(("QLinearConv", "QLinearMatMul")):
            inputs = [inputs[3], *inputs[8:]]
        for name in inputs:
            if name in self._sizes:
                yield self._sizes[name]

    def _derived(self, node: NodeProto) -> dict[str, tuple[str, int]]:
        """What a constant node's outputs are made of: numbers that it holds, or stored ones in another form."""
        if node.op_type == "Constant":
            held = [attribute.t for attribute in node.attribute if attribute.name == "value"]
            return {node.output[0]: (node.output[0], math.prod(held[0].dims))} if held else {}
        largest = max(
            (self._sizes[name] for name in node.input if name in self._sizes), key=lambda s: s[1], default=None
        )
        return {} if largest is None else {node.output[0]: largest}

    def _is_layer(self, node: NodeProto) -> bool:
        if not node.output or self.constant.issuperset(node.output):
            return False
        flowing = [name for name in node.input if name and name not in self.constant]
        if node.op_type == "Add" and len(flowing) == 2:  # a shortcut (He et al. 2016)
            return True
        return bool(flowing) and node.op_type not in _PLUMBING

    def _followers(self, place: int) -> list[int]:
        """The places of the layer's nodes: the first, and those that treat its numbers one by one, alone."""
        places = [place]
        while True:
            following = self._next(self.nodes[places[-1]].output[0])
            if not following or any(other in self._taken for other in following):
                return places
            places += following

    def _next(self, tensor: str) -> list[int]:
        """The nodes that belong to the layer that `tensor` has ended in so far, [] where there are none."""
        readers = sorted(set(self._readers.get(tensor, ())))
        if tensor in self._ends or not readers:
            return []
        first = self.nodes[readers[0]]
        if len(readers) == 1:
            shortcut = first.op_type == "Add" and self._joined_convolution(first) == tensor
            return readers if shortcut or first.op_type in _FOLDED or self._with_constant(first) else []
        # x * sigmoid(x) and its kin: a gate on the same tensor.
        gate, product = readers[0], readers[-1]
        if len(readers) == 2 and self.nodes[product].op_type == "Mul":
            between = [gate]
            while len(between) < 5 and self._readers.get(self.nodes[between[-1]].output[0], []) != [product]:
                following = self._readers.get(self.nodes[between[-1]].output[0], [])
                if len(following) != 1:
                    return []
                between += following
            steps = [self.nodes[one] for one in between]
            if all(step.op_type in _FOLDED or self._with_constant(step) for step in steps):
                return [*between, product]
        return []

    def _joined_convolution(self, add: NodeProto) -> str:
        """The convolution that a shortcut joins: the first that nothing else reads, as onnxruntime has it."""
        for name in add.input:
            place = self._maker.get(name)
            if place is not None and self.nodes[place].op_type == "Conv" and len(self._readers[name]) == 1:
                return str(name)
        return ""

    def _with_constant(self, node: NodeProto) -> bool:
        return node.op_type in _ARITHMETIC and any(name in self.constant for name in node.input)


def _multiply_adds(node: NodeProto, shapes: Mapping[str, Shape]) -> int | None:
    kind = node.op_type
    if kind not in _WEIGHTS:
        return 0 if kind not in ("Attention", "MultiHeadAttention", "Einsum", "LSTM", "GRU", "RNN") else None
    weight = shapes.get(node.input[_WEIGHTS[kind]], ())
    first, result = shapes.get(node.input[0], ()), shapes.get(node.output[0], ())
    if not weight or not result or not first:
        return None
    if kind in _CONVOLUTIONS:
        return math.prod(result) * math.prod(weight[1:])  # (C_out, C_in / groups, kh, kw)
    if kind == "ConvTranspose":
        return math.prod(first) * math.prod(weight[1:])  # (C_in, C_out / groups, kh, kw)
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    inner = first[-2] if transposed and len(first) > 1 else first[-1]
    return math.prod(result) * inner


def chosen_layers(layers: Sequence[Layer], wanted: str) -> list[Layer]:
    """Layers by number ("7"), by range ("3-9"), by a name or a part of it, or "all"; [] where none is called so."""
    text = wanted.strip()
    if text == "all":
        return list(layers)
    first, dash, last = text.partition("-")
    if first.isdecimal() and (last.isdecimal() if dash else True):
        low, high = int(first), int(last or first)
        return [layer for layer in layers if low <= layer.number <= high]
    exact = [layer for layer in layers if text in (layer.name, layer.output)]
    return exact or [layer for layer in layers if text.casefold() in f"{layer.name} {layer.operator}".casefold()]
