"""A look into an .onnx file without loading it: its metadata, where its weights lie, how its initializers are shaped.

Only the protocol buffer fields that this needs are walked (onnx.proto, ModelProto); everything else, the weights
above all, is skipped by its length. The `onnx` package would do it too, but takes 0.2 s to import, which every start
would pay; graphs are changed with it, see `detkit.graphs.editing`.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from detkit.errors import ModelError
from detkit.files import opened
from detkit.graphs.other_files import what_it_is

# Field numbers of the messages that hold graphs, nodes and tensors (onnx.proto).
_MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTIONS = 7, 14, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE_INITIALIZER = 1, 5, 15
_FUNCTION_NODE = 7
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES = 22, 23
_ATTRIBUTE_NAME, _ATTRIBUTE_TEXT, _ATTRIBUTE_INTEGERS = 1, 4, 8
_SPARSE_VALUES, _SPARSE_INDICES = 1, 2
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_FLOATS, _TENSOR_NAME, _TENSOR_RAW, _TENSOR_EXTERNAL_DATA = 1, 2, 4, 8, 9, 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2

# Which child fields of each kind of message lead on, and to what.
_CHILDREN = {
    "model": {_MODEL_GRAPH: "graph", _MODEL_FUNCTIONS: "function"},
    "graph": {_GRAPH_NODE: "node", _GRAPH_INITIALIZER: "tensor", _GRAPH_SPARSE_INITIALIZER: "sparse"},
    "function": {_FUNCTION_NODE: "node"},
    "node": {_NODE_ATTRIBUTE: "attribute"},
    "attribute": {
        _ATTRIBUTE_TENSOR: "tensor",
        _ATTRIBUTE_TENSORS: "tensor",
        _ATTRIBUTE_GRAPH: "graph",
        _ATTRIBUTE_GRAPHS: "graph",
        _ATTRIBUTE_SPARSE: "sparse",
        _ATTRIBUTE_SPARSES: "sparse",
    },
    "sparse": {_SPARSE_VALUES: "tensor", _SPARSE_INDICES: "tensor"},
}


# numpy's types of the numbers that scale a picture, by TensorProto.DataType.
_NUMBERS = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 10: "<f2", 11: "<f8"}
_MOST_NUMBERS = 64


@dataclass(frozen=True)
class Tensor:
    """A stored tensor: its name, its shape, and the file that holds its data ("" for the .onnx file itself)."""

    name: str
    shape: tuple[int, ...]
    location: str


def stored_tensors(path: str | os.PathLike[str]) -> list[Tensor]:
    """All tensors stored in a graph, those of nested graphs and attributes included.

    ModelError where the file cannot be read or is no protocol buffer.
    """
    return _looked_into(path, lambda view: list(_tensors(view, 0, len(view), "model")))


def metadata_of(path: str | os.PathLike[str]) -> dict[str, str]:
    """The custom metadata of an .onnx file. ModelError where it cannot be read or is no protocol buffer."""

    def entries(view: memoryview) -> dict[str, str]:
        found = [_entry(view, b, e) for number, b, e in fields(view, 0, len(view)) if number == _MODEL_METADATA]
        return dict(found)

    return _looked_into(path, entries)


@dataclass(frozen=True)
class Node:
    """An operator of a graph, its inputs and outputs by name, and those of its inputs that are a few numbers."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: Mapping[str, tuple[float, ...]]


def first_nodes(path: str | os.PathLike[str], start: str, operators: frozenset[str]) -> list[Node]:
    """The chain of nodes that reads the tensor `start`, each the output before it, while they are `operators`."""

    def chain(view: memoryview) -> list[Node]:
        model = {number: (b, e) for number, b, e in fields(view, 0, len(view)) if number == _MODEL_GRAPH}
        graph = list(fields(view, *model.get(_MODEL_GRAPH, (0, 0))))
        found: list[Node] = []
        constants: dict[str, tuple[float, ...]] = {}
        current = start
        for begin, stop in ((b, e) for number, b, e in graph if number == _GRAPH_NODE):
            node = _node(view, begin, stop)
            if node.operator == "Constant":
                constants |= {name: node.numbers[""] for name in node.outputs if "" in node.numbers}
            elif current in node.inputs:
                found.append(node)
                if node.operator not in operators:
                    break
                current = node.outputs[0]
        wanted = {name for node in found for name in node.inputs} - set(constants)
        for begin, stop in ((b, e) for number, b, e in graph if number == _GRAPH_INITIALIZER):
            name = next((text(view, b, e) for number, b, e in fields(view, begin, stop) if number == _TENSOR_NAME), "")
            if name in wanted and (numbers := _numbers(view, begin, stop)):
                constants[name] = numbers
        return [replace(node, numbers={k: constants[k] for k in node.inputs if k in constants}) for node in found]

    return _looked_into(path, chain)


def last_node(path: str | os.PathLike[str], end: str, passing: frozenset[str]) -> str | None:
    """The operator that makes the tensor `end`, those of `passing` left aside; None where there is none."""

    def search(view: memoryview) -> str | None:
        model = {number: (b, e) for number, b, e in fields(view, 0, len(view)) if number == _MODEL_GRAPH}
        graph = fields(view, *model.get(_MODEL_GRAPH, (0, 0)))
        wanted, found = end, None
        for begin, stop in reversed([(b, e) for number, b, e in graph if number == _GRAPH_NODE]):
            node = _node(view, begin, stop)
            if wanted in node.outputs and node.inputs:
                found = node.operator
                if found not in passing:
                    return found
                wanted = node.inputs[0]
        return None

    return _looked_into(path, search)


def first_padding(content: bytes) -> str | None:
    """The first operator of a graph, by the bytes of its file, that pads its input; None where none does."""
    view = memoryview(content)
    graph = next(((b, e) for number, b, e in fields(view, 0, len(view)) if number == _MODEL_GRAPH), (0, 0))
    for number, begin, stop in fields(view, *graph):
        if number == _GRAPH_NODE and _pads(view, begin, stop):
            return _node(view, begin, stop).operator
    return None


def _pads(view: memoryview, start: int, end: int) -> bool:
    for number, begin, stop in fields(view, start, end):
        if number != _NODE_ATTRIBUTE:
            continue
        parts = list(fields(view, begin, stop))
        name = next((text(view, b, e) for inner, b, e in parts if inner == _ATTRIBUTE_NAME), "")
        if name == "auto_pad":
            value = next((text(view, b, e) for inner, b, e in parts if inner == _ATTRIBUTE_TEXT), "")
            if value not in ("", "NOTSET", "VALID"):
                return True
        elif name == "pads":
            # A packed list of noughts is as many noughts; one that is not packed comes number by number.
            numbers = [bytes(view[b:e]) if e >= 0 else bytes([b != 0]) for i, b, e in parts if i == _ATTRIBUTE_INTEGERS]
            if any(any(number) for number in numbers):
                return True
    return False


def refuse_data_outside(path: str | os.PathLike[str]) -> None:
    """ModelError where a graph's external data lies outside the folder of the graph.

    A graph from elsewhere could otherwise make a process read any file of the machine.
    """
    folder = Path(path).resolve().parent
    for location in sorted({tensor.location for tensor in stored_tensors(path)} - {""}):
        try:
            inside = (folder / location).resolve().is_relative_to(folder)
        except (OSError, RuntimeError, ValueError):  # no name of a file, or links in a circle
            inside = False
        if not inside:
            raise ModelError(f"{path}: refused: its weights lie outside its own folder, in {location[:80]!r}")


Found = TypeVar("Found")


def _looked_into(path: str | os.PathLike[str], look: Callable[[memoryview], Found]) -> Found:
    """What `look` finds in the bytes of a file. ModelError where it cannot be read or is no protocol buffer."""
    other = what_it_is(path)
    if other is not None:
        raise ModelError(f"{path}: {other}")
    try:
        with opened(path, ModelError) as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ModelError(f"{path}: is empty (0 bytes)")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content, memoryview(content) as view:
                return look(view)
    except (IndexError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: is not an ONNX file, or is damaged") from error


def _tensors(view: memoryview, start: int, end: int, kind: str) -> Iterator[Tensor]:
    if kind == "tensor":
        yield _tensor(view, start, end)
        return
    children = _CHILDREN[kind]
    for number, begin, stop in fields(view, start, end):
        if number in children and stop >= 0:
            yield from _tensors(view, begin, stop, children[number])


def _tensor(view: memoryview, start: int, end: int) -> Tensor:
    name, location, shape = "", "", []
    for number, begin, stop in fields(view, start, end):
        if number == _TENSOR_DIMS and stop < 0:
            shape.append(begin)
        elif number == _TENSOR_DIMS:
            while begin < stop:  # packed
                value, begin = read_varint(view, begin)
                shape.append(value)
        elif number == _TENSOR_NAME:
            name = bytes(view[begin:stop]).decode(errors="replace")
        elif number == _TENSOR_EXTERNAL_DATA:
            key, text = _entry(view, begin, stop)
            location = text if key == "location" else location
    return Tensor(name, tuple(shape), location)


def _node(view: memoryview, start: int, end: int) -> Node:
    names: dict[int, list[str]] = {_NODE_INPUT: [], _NODE_OUTPUT: [], _NODE_OPERATOR: []}
    numbers: dict[str, tuple[float, ...]] = {}
    for number, begin, stop in fields(view, start, end):
        if number in names:
            names[number].append(text(view, begin, stop))
        elif number == _NODE_ATTRIBUTE:
            for inner, b, e in fields(view, begin, stop):
                if inner == _ATTRIBUTE_TENSOR and e >= 0:
                    numbers[""] = _numbers(view, b, e)
    operator = names[_NODE_OPERATOR][0] if names[_NODE_OPERATOR] else ""
    return Node(operator, tuple(names[_NODE_INPUT]), tuple(names[_NODE_OUTPUT]), numbers)


def _numbers(view: memoryview, start: int, end: int) -> tuple[float, ...]:
    """The numbers of a small tensor, () of a large one."""
    kind, content = 0, b""
    for number, begin, stop in fields(view, start, end):
        if number == _TENSOR_TYPE:
            kind = begin
        elif number in (_TENSOR_RAW, _TENSOR_FLOATS) and 0 <= stop - begin <= 8 * _MOST_NUMBERS:
            content = bytes(view[begin:stop])
    if kind not in _NUMBERS:
        return ()
    return tuple(np.frombuffer(content, _NUMBERS[kind]).astype(float).tolist())


def text(view: memoryview, start: int, end: int) -> str:
    return bytes(view[start:end]).decode(errors="replace")


def _entry(view: memoryview, start: int, end: int) -> tuple[str, str]:
    """Key and value of an entry of metadata or of external data."""
    entry = {number: bytes(view[b:e]).decode(errors="replace") for number, b, e in fields(view, start, end) if e >= 0}
    return entry.get(_ENTRY_KEY, ""), entry.get(_ENTRY_VALUE, "")


def fields(view: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, begin, stop) of each length-delimited field; (number, value, -1) of each varint one."""
    position = start
    while position < end:
        tag, position = read_varint(view, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = read_varint(view, position)
            yield number, value, -1
        elif wire == 2:
            length, position = read_varint(view, position)
            if position + length > end:
                raise ValueError("field longer than its message")
            yield number, position, position + length
            position += length
        elif wire in (1, 5):
            position += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")


def read_varint(view: memoryview | bytes, position: int) -> tuple[int, int]:
    """A base-128 number and the position after it. IndexError or ValueError where the bytes end or it does not."""
    value = shift = 0
    while True:
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("varint too long")
