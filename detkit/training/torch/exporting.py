"""Trained networks as .onnx files: what all of them have in common."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

OPSET = 17
HALF_LEAST_SIZE = 256  # initializers with fewer elements stay in 32 bits


def store_in_half(model: ModelProto) -> None:
    """Store large float32 initializers as float16, each with a cast to float32 that a runtime folds on loading."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < HALF_LEAST_SIZE:
            continue
        name = tensor.name
        half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.half")
        tensor.CopyFrom(half)
        casts.append(helper.make_node("Cast", [half.name], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)


def graph_of(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
    *,
    keep_names: bool = True,
) -> ModelProto:
    """The graph that `module` computes from examples of its inputs, in their order, to the outputs named here.

    `axes` names those that may have any length. With `keep_names` normalisations stay, and weights have the names of
    the module's, so that training can start from the file; runtimes fold, and fuse, when they load the graph.
    """
    mode = torch.onnx.TrainingMode.PRESERVE if keep_names else torch.onnx.TrainingMode.EVAL
    buffer: Any = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: dict(open_axes) for name, open_axes in axes.items()},
            training=mode,
            do_constant_folding=not keep_names,
        )
    return onnx.load_from_string(buffer.getvalue())


def finished(model: ModelProto, metadata: Mapping[str, str], *, half: bool = True) -> bytes:
    """The .onnx file of a graph with this metadata. With `half` weights are stored in 16 bits; they compute in 32."""
    if half:
        store_in_half(model)
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
