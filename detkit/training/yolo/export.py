"""The trained network as an ONNX file that detkit, and others, run."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from detkit.files import write_bytes

from .network import STRIDES, YoloNetwork, decode_boxes, grid_points

OPSET = 17
SUPPRESSION_IOU = 0.5  # the best of four between 0.45 and 0.65 for the bundled network, on pictures held out
HALF_LEAST_SIZE = 256  # initializers with fewer elements stay in 32 bits


class ExportedNetwork(nn.Module):
    """Images (N, 3, H, W) RGB in 0-1 to (N, 4 + C, A): cx, cy, w, h in pixels of the input, then scores in 0-1."""

    centres: Tensor
    strides: Tensor

    def __init__(self, network: YoloNetwork, image_size: int) -> None:
        super().__init__()
        self.network = network
        centres, strides = grid_points(image_size, image_size)
        self.register_buffer("centres", centres)
        self.register_buffer("strides", strides)

    def forward(self, images: Tensor) -> Tensor:
        logits, distance_logits = self.network(images)
        boxes = decode_boxes(distance_logits, self.centres, self.strides)
        corner_a, corner_b = boxes[:, :2], boxes[:, 2:]
        return torch.cat(((corner_a + corner_b) / 2, corner_b - corner_a, logits.sigmoid()), dim=1)


def store_in_half(model: onnx.ModelProto) -> None:
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


def export_onnx(
    network: YoloNetwork,
    path: Path,
    image_size: int,
    names: Sequence[str],
    half: bool = True,
    training: Mapping[str, Any] | None = None,
) -> Path:
    """Write `network` to `path` for square images of a side of `image_size` and any batch, and return the path.

    Input `images`, output `output0` and metadata are those of ultralytics' v8 detectors; the metadata's `detkit`
    is a JSON object that says how to prepare the image. With `half` the weights are stored in 16 bits; they
    compute in 32. Weights keep their names, so that training can start from the file. `training` says how they came
    about, and becomes a JSON object of the metadata.
    """
    module = ExportedNetwork(network, image_size).eval()
    buffer: Any = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(1, 3, image_size, image_size),),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            training=torch.onnx.TrainingMode.PRESERVE,  # keep normalisations, and with them the names of the weights
            do_constant_folding=False,  # runtimes fold, and fuse, when they load the graph
            input_names=["images"],
            output_names=["output0"],
            dynamic_axes={"images": {0: "batch"}, "output0": {0: "batch"}},
        )
    model = onnx.load_from_string(buffer.getvalue())
    if half:
        store_in_half(model)
    how = {
        "head": "v8",
        "channels": "rgb",
        "scale": 1 / 255,
        "resize": "letterbox",
        "letterbox": "centre",
        "pad": 114,
        "iou": SUPPRESSION_IOU,
        "network": "EfficientNet-Lite0",
    }
    metadata = {
        "names": str(dict(enumerate(names))),
        "stride": str(max(STRIDES)),
        "imgsz": str([image_size, image_size]),
        "task": "detect",
        "detkit": json.dumps(how),
    }
    if training is not None:
        metadata["training"] = json.dumps(training)
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    write_bytes(path, model.SerializeToString())
    return path
