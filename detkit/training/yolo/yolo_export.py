"""The trained network as an ONNX file that detkit, and others, run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detkit.files import write_bytes
from detkit.training.torch.augmentation import PAD
from detkit.training.torch.backbone import STRIDES
from detkit.training.torch.exporting import finished, graph_of
from detkit.training.yolo.yolo_network import YoloNetwork, decode_boxes, grid_points

SUPPRESSION_IOU = 0.5  # the best of four between 0.45 and 0.65 for the bundled network, on pictures held out


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
    images = {"images": torch.zeros(1, 3, image_size, image_size)}
    axes = {"images": {0: "batch"}, "output0": {0: "batch"}}
    model = graph_of(module, images, ["output0"], axes)
    how = {
        "head": "v8",
        "channels": "rgb",
        "scale": 1 / 255,
        "resize": "letterbox",
        "letterbox": "centre",
        "pad": PAD,
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
    write_bytes(path, finished(model, metadata, half=half))
    return path
