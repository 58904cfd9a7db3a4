"""Slimming of a trained detector: hidden channels that others can stand in for go, without training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .network import FrozenNormConv2d, YoloNetwork

RIDGE = 1e-4  # of the mean square of the channels
SAMPLES = 20_000  # of each layer's pixels


def surviving_channels(moments: Tensor, weight: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Which `keep` inputs of a linear layer to keep, sorted, and the weights (D, keep) that make up for the others.

    moments (C, C) is X^T X of inputs X, weight (D, C). Inputs go one by one, each time that whose loss changes the
    output least when the weights of those left are fitted anew: Hassibi and Stork, "Second order derivatives for network
    pruning: Optimal Brain Surgeon" (1993), equations 5, here for whole columns of a linear layer.
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

    batches are images (N, 3, H, W) RGB in 0-1 that say which channels matter. Blocks are slimmed in their order, so that
    each makes up for what those before it lost, too.
    """
    torch.manual_seed(0)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    result = YoloNetwork(**{**network.settings, "hidden": hidden, "top": top}).eval()
    widths = [block.depthwise.weight.shape[0] for block in network.backbone.blocks]  # type: ignore[union-attr]
    steps = [
        (f"backbone.blocks.{i}", i, new) for i, (old, new) in enumerate(zip(widths, hidden, strict=True)) if new < old
    ]
    current = network.eval()
    for name, i, keep in steps:
        block = current.get_submodule(name)
        project = block.project
        assert isinstance(project, FrozenNormConv2d)
        matrix = (project.weight[:, :, 0, 0] * project.scale[:, None]).detach()  # so that outputs count as they are
        kept, weight = surviving_channels(_moments(project, current, batches), matrix, keep)
        for part in ("expand", "depthwise"):
            for kind in ("weight", "bias", "scale"):
                state[f"{name}.{part}.{kind}"] = state[f"{name}.{part}.{kind}"][kept]
        state[f"{name}.project.weight"] = (weight / project.scale[:, None])[:, :, None, None]
        now = [*hidden[: i + 1], *widths[i + 1 :]]
        current = YoloNetwork(**{**network.settings, "hidden": now}).eval()
        current.load_state_dict(state)
    if top < len(state["backbone.top.weight"]):
        weights = torch.cat([layer.weight[:, :, 0, 0] for layer in current.shortcut.linear]).detach()
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
        for i, part in enumerate(weight.chunk(len(current.shortcut.linear))):
            state[f"shortcut.linear.{i}.weight"] = part[:, :, None, None]
    result.load_state_dict(state)
    return result
