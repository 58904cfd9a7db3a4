"""The trained network as an ONNX file of three parts that run apart: images, proposals, RoIs."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from detkit.files import write_bytes
from detkit.training.rcnn.anchors import anchor_shapes
from detkit.training.rcnn.rcnn_network import STRIDE, RcnnNetwork
from detkit.training.rcnn.rcnn_objective import OFFSET_SCALE
from detkit.training.torch.exporting import finished, graph_of


class ExportedNetwork(nn.Module):
    """Images (1, 3, H, W), features (1, C, h, w) and RoIs (R, 5) to all outputs of the file.

    The feature map and the proposal network's outputs, where there is one, depend on the images only; class scores
    (R, C + 1), a softmax, and offsets (R, C, 4) on features and RoIs only.
    """

    def __init__(self, network: RcnnNetwork) -> None:
        super().__init__()
        self.network = unscaled(network).eval()

    def forward(self, images: Tensor, features: Tensor, rois: Tensor) -> tuple[Tensor, ...]:
        found = self.network.features(images)
        logits, offsets = self.network.classify(features, rois)
        head = (logits.softmax(dim=1), offsets)
        if found.rpn_scores is None or found.rpn_offsets is None:
            return (found.map, *head)
        return (found.map, found.rpn_scores, found.rpn_offsets, *head)


def unscaled(network: RcnnNetwork) -> RcnnNetwork:
    """A copy whose offsets are not divided by OFFSET_SCALE: its last layer is multiplied with it."""
    network = copy.deepcopy(network)
    scale = torch.tensor(OFFSET_SCALE).repeat(network.settings["classes"])  # (4 * classes,)
    with torch.no_grad():
        network.head.offsets.weight.mul_(scale[:, None])
        network.head.offsets.bias.mul_(scale)
    return network


def export_onnx(network: RcnnNetwork, path: Path, image_size: int, names: Sequence[str], half: bool = True) -> Path:
    """Write `network` to `path` and return the path.

    Inputs are `images` (1, 3, H, W), RGB in 0-1, H and W multiples of 32; `features`, which are the output
    `feature_map`; and `rois` (R, 5): 0 and a box xyxy in pixels of the images. With `half` the weights are stored in
    16 bits; they compute in 32.
    """
    rpn = network.rpn is not None
    outputs = ["feature_map", *(["rpn_scores", "rpn_offsets"] if rpn else []), "class_scores", "box_offsets"]
    cells = image_size // STRIDE
    channels = network.settings["channels"]
    axes = {name: {2: "map_height", 3: "map_width"} for name in ("features", *outputs[:-2])}
    axes |= {name: {0: "rois"} for name in ("rois", *outputs[-2:])} | {"images": {2: "height", 3: "width"}}
    inputs = {
        "images": torch.zeros(1, 3, image_size, image_size),
        "features": torch.zeros(1, channels, cells, cells),
        "rois": torch.tensor([[0.0, 0.0, 0.0, image_size, image_size]]),
    }
    model = graph_of(ExportedNetwork(network), inputs, outputs, axes)
    metadata = {
        "head": "faster-rcnn" if rpn else "fast-rcnn",
        "names": json.dumps(dict(enumerate(names))),
        "size": str(image_size),
        "stride": str(STRIDE),
        "task": "detect",
        "channels": "rgb",
        "scale": str(1 / 255),
        "network": "EfficientNet-Lite0",
    }
    if rpn:
        metadata["anchors"] = json.dumps(anchor_shapes())
    write_bytes(path, finished(model, metadata, half=half))
    return path
