"""Where the weights of a network to be trained come from: ImageNet, or a YOLO trained before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from detkit.errors import ModelError
from detkit.training.rcnn.rcnn_network import RcnnNetwork
from detkit.training.torch.pretrained import exported_weights, imagenet_weights_path, load_imagenet_weights

# What a YOLO's layers are called there, and here.
SHARED_LAYERS = (("backbone.", "backbone."), ("neck.", "neck."), ("head.class_branch.", "shared.class_branch."))


def initial_network(classes: int, rpn: bool, detector: Path | None) -> RcnnNetwork:
    """A network of which the backbone starts from ImageNet, or backbone, neck and class branch from a YOLO."""
    network = RcnnNetwork(classes, rpn)
    if detector is None:
        load_imagenet_weights(network.backbone, torch.load(imagenet_weights_path(), weights_only=True))
    else:
        load_yolo_weights(network, yolo_weights(detector))
    return network


def yolo_weights(path: Path) -> Mapping[str, Tensor]:
    """The weights of a YOLO that detkit trained, from the exported .onnx file or the averages of a checkpoint (.pt)."""
    if path.suffix != ".pt":
        return exported_weights(path)[0]
    try:
        weights: Mapping[str, Tensor] = torch.load(path, weights_only=True)["average"]
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file") from error
    except Exception as error:  # torch raises whatever its unpickler and its zip reader raise
        raise ModelError(f"{path}: not a checkpoint of detkit's training") from error
    return weights


def load_yolo_weights(network: RcnnNetwork, weights: Mapping[str, Tensor]) -> None:
    """Copy what the network has in common with a YOLO."""
    with torch.no_grad():
        for name, value in network.state_dict().items():
            for theirs, ours in SHARED_LAYERS:
                if name.startswith(ours) and not name.endswith("num_batches_tracked"):
                    source = weights.get(theirs + name.removeprefix(ours))
                    if source is None or source.shape != value.shape:
                        raise ModelError(f"the detector to start from has another architecture: it lacks {name}")
                    value.copy_(source)
