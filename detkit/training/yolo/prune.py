"""Slimming of a trained detector: hidden channels that others can stand in for go, without training.

python -m detkit.training.yolo.prune yolo-lite0.onnx slim.onnx --images DIR --hidden 32,80,... --top 512
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.training.torch.augmentation import PAD
from detkit.training.torch.backbone import STRIDES
from detkit.training.torch.layers import FrozenNormConv2d
from detkit.training.torch.picture_store import read_shrunk
from detkit.training.torch.pretrained import exported_weights
from detkit.training.yolo.yolo_export import export_onnx
from detkit.training.yolo.yolo_network import YoloNetwork
from detkit.training.yolo.yolo_weights import initial_network

RIDGE = 1e-4  # of the mean square of the channels
SAMPLES = 20_000  # of each layer's pixels


def surviving_channels(moments: Tensor, weight: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Which `keep` inputs of a linear layer to keep, sorted, and the weights (D, keep) that make up for the others.

    moments (C, C) is X^T X of inputs X, weight (D, C). Inputs go one by one, each time that whose loss changes the
    output least when the weights of those left are fitted anew: Hassibi and Stork, "Second order derivatives for
    network pruning: Optimal Brain Surgeon" (1993), equation 5, here for whole columns of a linear layer.
    """
    moments, weight = moments.double(), weight.double().clone()
    ridge = RIDGE * moments.diagonal().mean() * torch.eye(len(moments), dtype=torch.float64)
    inverse = torch.linalg.inv(moments + ridge)
    left = torch.ones(len(moments), dtype=torch.bool)
    for _ in range(len(moments) - keep):
        cost = weight.square().sum(dim=0) / inverse.diagonal().clamp(min=1e-30)
        gone = torch.where(left, cost, torch.inf).argmin()
        row = inverse[gone] / inverse[gone, gone]
        weight -= weight[:, gone, None] * row
        inverse -= inverse[:, gone, None] * row
        left[gone] = False
        weight[:, ~left] = 0
    kept = left.nonzero().squeeze(1)
    return kept, weight[:, kept].float()


def _moments(layer: nn.Module, network: nn.Module, batches: Sequence[Tensor]) -> Tensor:
    """X^T X of what `layer`, of the network, is given for batches of images, at some of the pixels."""
    total: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rows = inputs[0].permute(0, 2, 3, 1).flatten(0, 2)
        rows = rows[torch.randperm(len(rows))[: SAMPLES // len(batches) + 1]].double()
        total.append(rows.T @ rows)

    hook = layer.register_forward_pre_hook(note)
    with torch.no_grad():
        for images in batches:
            network(images)
    hook.remove()
    return torch.stack(total).sum(dim=0)


def slim(network: YoloNetwork, hidden: Sequence[int], top: int, batches: Sequence[Tensor]) -> YoloNetwork:
    """A copy of `network` whose backbone has so many hidden channels in each block, and `top` features.

    batches are images (N, 3, H, W) RGB in 0-1 that say which channels matter. Blocks are slimmed in their order, each
    fitted to what those before it now give.
    """
    torch.manual_seed(0)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    result = YoloNetwork(**{**network.settings, "hidden": hidden, "top": top}).eval()
    widths = [len(state[f"backbone.blocks.{i}.depthwise.weight"]) for i in range(len(network.backbone.blocks))]
    current = network.eval()
    for i, (width, keep) in enumerate(zip(widths, hidden, strict=True)):
        if keep >= width:
            continue
        name = f"backbone.blocks.{i}"
        project = current.get_submodule(f"{name}.project")
        assert isinstance(project, FrozenNormConv2d)
        matrix = (project.weight[:, :, 0, 0] * project.scale[:, None]).detach()  # so that outputs count as they are
        kept, weight = surviving_channels(_moments(project, current, batches), matrix, keep)
        for layer in (f"{name}.expand", f"{name}.depthwise"):
            for kind in ("weight", "bias", "scale"):
                state[f"{layer}.{kind}"] = state[f"{layer}.{kind}"][kept]
        state[f"{name}.project.weight"] = (weight / project.scale[:, None])[:, :, None, None]
        now = [*hidden[: i + 1], *widths[i + 1 :]]
        current = YoloNetwork(**{**network.settings, "hidden": now}).eval()
        current.load_state_dict(state)
    if top < len(state["backbone.top.weight"]):
        layers = [f"shortcut.linear.{i}.weight" for i in range(len(STRIDES))]
        weights = torch.cat([state[layer][:, :, 0, 0] for layer in layers])
        seen: list[Tensor] = []
        hook = current.backbone.top.register_forward_hook(lambda m, i, o: seen.append(F.relu6(o.detach())))
        with torch.no_grad():
            for images in batches:
                current(images)
        hook.remove()
        rows = torch.cat([x.permute(0, 2, 3, 1).flatten(0, 2) for x in seen]).double()
        kept, weight = surviving_channels(rows.T @ rows, weights, top)
        for kind in ("weight", "bias", "scale"):
            state[f"backbone.top.{kind}"] = state[f"backbone.top.{kind}"][kept]
        for layer, part in zip(layers, weight.chunk(len(layers)), strict=True):
            state[layer] = part[:, :, None, None]
    result.load_state_dict(state)
    return result


def batches_of(paths: Sequence[Path], size: int, batch: int = 8) -> list[Tensor]:
    """Images (batch, 3, size, size) RGB in 0-1, each picture shrunk into the upper left corner."""
    batches = []
    for start in range(0, len(paths), batch):
        part = paths[start : start + batch]
        canvas = np.full((len(part), size, size, 3), PAD, np.uint8)
        for own, path in zip(canvas, part, strict=True):
            image, _ = read_shrunk(path, size)
            own[: image.shape[0], : image.shape[1]] = image
        batches.append(torch.from_numpy(canvas).permute(0, 3, 1, 2).float() / 255)
    return batches


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Slim an exported detector; its training goes on from the result.")
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=Path, required=True, help="pictures that say which channels matter")
    parser.add_argument("--pictures", type=int, default=48)
    parser.add_argument("--hidden", required=True, help="channels in each of the 16 blocks, by commas")
    parser.add_argument("--top", type=int, required=True)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    names = exported_weights(options.model)[1]
    paths = sorted(options.images.iterdir())
    chosen = np.random.default_rng(options.seed).choice(len(paths), options.pictures, replace=False).tolist()
    batches = batches_of([paths[i] for i in chosen], options.size)
    hidden = [int(number) for number in options.hidden.split(",")]
    network = slim(initial_network(names, options.model), hidden, options.top, batches)
    export_onnx(network, options.out, options.size, names)


if __name__ == "__main__":
    main()
