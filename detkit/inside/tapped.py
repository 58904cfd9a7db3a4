"""A graph whose inner tensors come out, run by onnxruntime.

An inner tensor as a further output can keep onnxruntime from joining the operators around it, which may change the last
bits of what follows. Layers end where such joints end, so that results stay as they were; `Tapped.difference` tells.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detkit.graphs.editing import copy_of, part_of, with_outputs
from detkit.graphs.runtime import Runtime
from detkit.graphs.session import Network

if TYPE_CHECKING:
    from onnx import ModelProto

Feeds = Mapping[str, NDArray[Any]]
Shape = tuple[int, ...]

_MOST_AT_ONCE = 64_000_000  # numbers of inner tensors that one run gives


class Tapped:
    """A graph and sessions of it that give its inner tensors.

    path    the file that it comes from
    model   the graph, its weights with it
    """

    def __init__(self, path: str | os.PathLike[str], model: ModelProto, runtime: Runtime = Runtime()) -> None:
        self.path, self.model, self.runtime = path, model, runtime
        self.outputs = [value.name for value in model.graph.output]

    def session(self, names: Sequence[str]) -> Network:
        """The graph with these tensors as outputs beside its own."""
        content = with_outputs(self.model, [name for name in names if name not in self.outputs]).SerializeToString()
        return Network(self.path, self.runtime, content=bytes(content))

    def run(self, names: Sequence[str], feeds: Feeds) -> dict[str, NDArray[Any]]:
        """These tensors for one run. ModelError where the graph has none of such a name."""
        return dict(zip(names, self.session(names).run(feeds, names), strict=True))

    def each(
        self, names: Sequence[str], feeds: Feeds, shapes: Mapping[str, Shape]
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """(name, tensor) of many tensors, in as many runs as memory asks for."""
        group: list[str] = []
        size = 0
        for name in names:
            own = math.prod(shapes.get(name, ())) or 1
            if group and size + own > _MOST_AT_ONCE:
                yield from self.run(group, feeds).items()
                group, size = [], 0
            group.append(name)
            size += own
        if group:
            yield from self.run(group, feeds).items()

    def constant(self, name: str) -> NDArray[Any]:
        """A stored tensor, or one that is made of stored ones alone. ModelError where there is none."""
        from onnx import numpy_helper

        for tensor in self.model.graph.initializer:
            if tensor.name == name:
                return np.asarray(numpy_helper.to_array(tensor))
        part = part_of(with_outputs(self.model, [name]), [name])
        return Network(self.path, self.runtime, content=bytes(part.SerializeToString())).run({}, [name])[0]

    def difference(self, names: Sequence[str], feeds: Feeds) -> float:
        """The largest difference of the graph's own outputs with and without these tensors as outputs: 0 as a rule."""
        plain = Network(self.path, self.runtime, content=bytes(self.model.SerializeToString())).run(feeds, self.outputs)
        extended = self.session(names).run(feeds, self.outputs)
        return max((_apart(a, b) for a, b in zip(plain, extended, strict=True)), default=0.0)

    def shapes(self, feeds: Feeds) -> dict[str, Shape]:
        """The shape of every tensor for these inputs: inferred, and where that does not tell, as a run has them."""
        found = inferred_shapes(self.model, feeds)
        constant = {tensor.name for tensor in self.model.graph.initializer}
        made = [name for node in self.model.graph.node if node.op_type != "Constant" for name in node.output if name]
        missing = [name for name in made if name not in found and name not in constant]
        if missing:
            found |= {name: value.shape for name, value in self.run(missing, feeds).items()}
        return found


def inferred_shapes(model: ModelProto, feeds: Feeds) -> dict[str, Shape]:
    """The shapes that follow from those of the inputs and of what is stored; what they do not tell is left out."""
    import onnx

    sized = copy_of(model)
    for value in sized.graph.input:
        if value.name in feeds:
            axes = value.type.tensor_type.shape
            axes.Clear()
            for length in feeds[value.name].shape:
                axes.dim.add().dim_value = length
    for value in sized.graph.output:  # whose declared names for axes would stand against the sizes
        value.type.tensor_type.ClearField("shape")
    del sized.graph.value_info[:]
    try:
        sized = onnx.shape_inference.infer_shapes(sized, data_prop=True)
    except Exception:  # of a graph that onnx does not understand and onnxruntime may
        return {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    found = {tensor.name: tuple(tensor.dims) for tensor in sized.graph.initializer}
    for value in [*sized.graph.input, *sized.graph.value_info, *sized.graph.output]:
        axes = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(axis.HasField("dim_value") for axis in axes):
            found[value.name] = tuple(axis.dim_value for axis in axes)
    return found


def _apart(a: NDArray[Any], b: NDArray[Any]) -> float:
    if a.shape != b.shape:
        return float("inf")
    if a.dtype == np.object_ or np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
        return 0.0
    return float(np.nanmax(np.abs(a.astype(np.float64) - b.astype(np.float64))))
