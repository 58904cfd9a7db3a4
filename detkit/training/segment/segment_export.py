"""The trained network as an ONNX file: any batch, any height and width."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from detkit.files import write_bytes
from detkit.training.segment.segment_network import Deconvolution, SegmentNetwork
from detkit.training.torch.exporting import finished, graph_of


def export_segment(
    network: SegmentNetwork,
    path: Path,
    image_size: int,
    names: Sequence[str],
    training: Mapping[str, Any] | None = None,
    half: bool = True,
) -> Path:
    """Write `network` to `path` and return it.

    Input `images` (N, 3, H, W) RGB in 0-1, output `logits` (N, classes, H, W). Sides need not be multiples of
    anything: the graph pads, and cuts the logits. Its metadata has ultralytics' `task` ("semantic"), `names` and
    `imgsz`, and says how the picture is prepared: its long side at `imgsz` and the short one as it comes (`dynamic`
    "aspect"), `mean` and `std` of pixels from 0 to 255. With `half` weights are stored in 16 bits; they
    compute in 32. `training` says how they came about, and becomes a JSON object of the metadata.

    A switch is where the highest of four numbers is. Where two of them are equal but for rounding, two programs may
    choose differently, and their logits then differ around that place by more than rounding does.
    """
    # Odd sides, so that nothing of the padding is taken for constant.
    examples = {"images": torch.zeros(1, 3, image_size + 1, image_size + 3)}
    open_axes = {0: "batch", 2: "height", 3: "width"}
    axes = {"images": open_axes, "logits": open_axes}
    model = graph_of(folded(network), examples, ["logits"], axes, keep_names=False)
    metadata = {
        "names": str(dict(enumerate(names))),
        "imgsz": str([image_size, image_size]),
        "task": "semantic",
        "color": "rgb",
        "mean": str([0.0, 0.0, 0.0]),
        "std": str([255.0, 255.0, 255.0]),
        "fit": "stretch",
        "dynamic": "aspect",
    }
    if training is not None:
        metadata["training"] = json.dumps(training)
    write_bytes(path, finished(model, metadata, half=half))
    return path


def folded(network: SegmentNetwork) -> SegmentNetwork:
    """A copy, not to be trained, whose normalisations behind transposed convolutions are part of their weights.

    Runtimes do that for convolutions, and not for transposed ones.
    """
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if isinstance(module, Deconvolution):
            convolution, normalisation = module[0], module[1]
            assert isinstance(convolution, nn.ConvTranspose2d)
            assert isinstance(normalisation, nn.BatchNorm2d)
            module[0], module[1] = fuse_conv_bn_eval(convolution, normalisation, transpose=True), nn.Identity()
    return network
