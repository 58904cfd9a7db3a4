"""Where the weights of a network to be trained come from: ImageNet, or a detector trained before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detkit.errors import ModelError
from detkit.training.torch.pretrained import exported_weights, imagenet_weights_path, load_imagenet_weights
from detkit.training.yolo.yolo_network import YoloNetwork

CLASS_LAYERS = ("head.class_out.", "shortcut.linear.")  # one row for each class


def load_detector_weights(
    network: YoloNetwork, names: Sequence[str], weights: Mapping[str, Tensor], weight_names: Sequence[str]
) -> None:
    """Copy a detector's weights into `network`, which finds `names`.

    Of the layers that tell the classes, the rows of classes with the same name in both are copied; others stay.
    """
    state = network.state_dict()
    missing = [name for name in state if name not in weights and not name.endswith("num_batches_tracked")]
    if missing:
        raise ModelError(f"the detector to start from has another architecture: it lacks {missing[0]}")
    shared = [(names.index(name), weight_names.index(name)) for name in names if name in weight_names]
    with torch.no_grad():
        for name, value in state.items():
            if name.startswith(CLASS_LAYERS):
                for mine, theirs in shared:
                    value[mine].copy_(weights[name][theirs])
            elif name in weights:
                value.copy_(weights[name])


def initial_network(names: Sequence[str], detector: Path | None) -> YoloNetwork:
    """A network for the classes `names` that starts from an exported detector, or from ImageNet's backbone."""
    if detector is None:
        network = YoloNetwork(len(names))
        load_imagenet_weights(network.backbone, torch.load(imagenet_weights_path(), weights_only=True))
        return network
    weights, weight_names = exported_weights(detector)
    network = YoloNetwork(len(names), **widths(weights))
    load_detector_weights(network, names, weights, weight_names)
    return network


def widths(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """How wide a detector with these weights is, as `YoloNetwork` takes it; empty where they are no detector's."""
    blocks = sum(name.endswith(".depthwise.weight") and name.startswith("backbone.blocks.") for name in weights)
    if not blocks or "backbone.top.weight" not in weights:
        return {}
    hidden = [len(weights.get(f"backbone.blocks.{i}.depthwise.weight", ())) for i in range(blocks)]
    return {"hidden": hidden, "top": len(weights["backbone.top.weight"])}
