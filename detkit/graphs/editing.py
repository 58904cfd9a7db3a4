"""Graphs made from graphs: parts of one, other outputs, an open input size, other metadata.

The one module that changes a graph, with `dense_graph`. It needs the `onnx` package, which takes 0.2 s to import: it is
imported when a graph is edited, not before. What every start needs is read by `detkit.graphs.stored` without it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from detkit.errors import ModelError
from detkit.files import read_file

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto


def load(path: str | os.PathLike[str]) -> ModelProto:
    """The graph of an .onnx file; weights that lie beside it stay there. ModelError where it is none."""
    content = read_file(path, ModelError)
    try:
        return parsed(content)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def load_whole(path: str | os.PathLike[str]) -> ModelProto:
    """The graph of an .onnx file with the weights that lie beside it. ModelError where they are not there."""
    import onnx

    model = load(path)
    try:
        onnx.load_external_data_for_model(model, os.path.dirname(os.path.abspath(path)))
    except Exception as error:  # onnx's own errors, of which some are bare ValueErrors
        raise ModelError(f"{path}: its weights beside it cannot be read: {' '.join(str(error).split())}") from error
    return model


def parsed(content: bytes) -> ModelProto:
    """The graph in the bytes of an .onnx file. ModelError, without a file name, where they are none."""
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise ModelError("the file is damaged") from error
    if not model.HasField("graph"):
        raise ModelError("the file is damaged: it holds no graph")
    return model


def copy_of(model: ModelProto) -> ModelProto:
    """A copy that can be changed without changing `model`."""
    made = type(model)()
    made.CopyFrom(model)
    return made


def with_outputs(model: ModelProto, names: Sequence[str]) -> ModelProto:
    """The graph with these inner tensors as outputs beside its own. ModelError names one that is not there."""
    made = copy_of(model)
    known = {name for node in made.graph.node for name in node.output}
    present = {value.name for value in made.graph.output}
    for name in dict.fromkeys(names):
        if name not in known:
            raise ModelError(f"has no tensor {name!r}")
        if name not in present:
            made.graph.output.add(name=name)
    return made


def part_of(model: ModelProto, outputs: Sequence[str]) -> ModelProto:
    """The part of a graph that makes the named outputs, with the inputs that it needs.

    For graphs without nested ones (If, Loop, Scan). ModelError where an output is not there.
    """
    known = {value.name: value for value in model.graph.output}
    missing = [name for name in outputs if name not in known]
    if missing:
        raise ModelError(f"the graph has no output {missing[0]!r}")
    needed, kept = set(outputs), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    graph = type(model.graph)(name=model.graph.name, doc_string=model.graph.doc_string)
    graph.node.extend(kept[::-1])
    graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in needed)
    graph.input.extend(value for value in model.graph.input if value.name in needed)
    graph.output.extend(known[name] for name in outputs)
    made = type(model)(ir_version=model.ir_version)
    made.opset_import.extend(model.opset_import)
    made.metadata_props.extend(model.metadata_props)
    made.functions.extend(model.functions)
    made.graph.CopyFrom(graph)
    return made


def with_open_size(model: ModelProto, picture: str, first_axis: int) -> ModelProto:
    """The graph with the height and width of the input `picture` left open, the axes `first_axis` and the next."""
    made = copy_of(model)
    for value in made.graph.input:
        if value.name == picture:
            for axis in value.type.tensor_type.shape.dim[first_axis : first_axis + 2]:
                axis.Clear()
    del made.graph.value_info[:]
    return made


def with_input_size(model: ModelProto, height: int, width: int) -> ModelProto:
    """The graph with its first input, (N, C, H, W), fixed to one height and width, and shapes after it left open.

    ModelError where the first input is not of that rank.
    """
    made = copy_of(model)
    axes = made.graph.input[0].type.tensor_type.shape.dim if made.graph.input else []
    if len(axes) != 4:
        raise ModelError("the graph's first input is not a batch of pictures")
    axes[2].dim_value, axes[3].dim_value = height, width
    for output in made.graph.output:
        output.type.tensor_type.ClearField("shape")
    del made.graph.value_info[:]
    return made


def with_any_size(value: ValueInfoProto) -> None:
    """Describe a tensor (N, C, H, W) as of one picture of any size: (1, C, ?, ?); of another rank, as (1, ?, ?, ?)."""
    shape = value.type.tensor_type.shape
    channels = shape.dim[1].dim_value if len(shape.dim) == 4 else 0
    shape.Clear()
    for length in (1, channels, 0, 0):
        axis = shape.dim.add()
        if length:
            axis.dim_value = length


def with_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """The .onnx file `content` with this custom metadata in place of its own."""
    model = parsed(content)
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    return bytes(model.SerializeToString())
