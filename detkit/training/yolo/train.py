"""The training loop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from detkit.errors import InputError

from .checkpoint import load_checkpoint, save_checkpoint
from .data import AugmentedPictures, Batch, Request, TrainingSet, batch_images, collate, repeat_factors
from .export import export_onnx
from .history import History, Progress
from .memory import keep_freed_memory
from .network import YoloNetwork
from .objective import batch_losses
from .parallel import GradientWork, GradientWorkers
from .recipe import Recipe
from .schedule import picture_size, rate_factor
from .weights import initial_network

DETECTOR = "detector.onnx"


def train_yolo(
    data: TrainingSet,
    directory: Path,
    *,
    minutes: float | None = None,
    epochs: float | None = None,
    recipe: Recipe = Recipe(),
    detector: Path | None = None,
    teacher: Path | None = None,
    resume: bool = False,
    processes: int = 2,
    checkpoint_seconds: float = 120.0,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Train a detector on `data` for so many minutes or epochs and return the path of the exported ONNX file.

    The backbone starts from ImageNet's weights or, given `detector` (a file of an earlier training), the whole
    network from that detector's; a `teacher`, an ONNX YOLOX of the same classes in the same order, labels the
    pictures in addition.

    `directory` gets the file, a checkpoint every `checkpoint_seconds`, and the history of the losses. With
    `resume` the checkpoint there is continued, if there is one; its minutes count. The schedule follows the share
    of the minutes or of the epochs that is over; with epochs, equal seeds give equal runs on one machine.
    Each of `processes` has one thread
    and a part of each batch.
    """
    if (minutes is None) == (epochs is None):
        raise InputError("give either minutes or epochs")
    if min(minutes or 0, epochs or 0) < 0:
        raise InputError("minutes and epochs cannot be negative")
    directory.mkdir(parents=True, exist_ok=True)
    prepare_process(recipe)

    state = load_checkpoint(directory) if resume else None
    if state is not None and state["names"] != list(data.names):
        raise InputError(f"{directory}: the checkpoint there is for other classes: {', '.join(state['names'][:5])} ...")
    network = YoloNetwork(len(data.names)) if state is not None else initial_network(data.names, detector)
    network.backbone.freeze(recipe.frozen_blocks)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(parameter_groups(network, recipe), fused=True)
    step, seconds_before = 0, 0.0
    if state is not None:
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        for group, now_wanted in zip(optimizer.param_groups, parameter_groups(network, recipe), strict=True):
            group.update(top_rate=now_wanted["top_rate"], weight_decay=now_wanted["weight_decay"])
        step, seconds_before = state["step"], state["seconds"]

    factors = repeat_factors(data.classes, len(data.names), recipe.repeat_threshold)
    steps = max(1, math.ceil((epochs or 0) * factors.sum() / recipe.batch))
    started = time.monotonic() - seconds_before

    def share() -> float:
        return min(1.0, (time.monotonic() - started) / (minutes * 60) if minutes else step / steps)

    def save() -> None:
        save_checkpoint(
            directory,
            {
                "settings": network.settings,
                "names": list(data.names),
                "recipe": asdict(recipe),
                "network": network.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "seconds": time.monotonic() - started,
            },
        )

    saved = time.monotonic()
    with (
        History(directory, step) as history,
        GradientWorkers(network, processes, run_worker, (data, teacher, recipe, factors, step)) as workers,
    ):
        source = BatchSource(data, teacher, recipe, factors, step, 0, processes)
        while (now := share()) < 1:
            workers.begin(now)
            batch = source.next(now)
            losses = workers.finish(gradients(network, batch, recipe))
            factor = rate_factor(now, recipe.warm_up_share, recipe.final_rate_share)
            for group in optimizer.param_groups:
                group["lr"] = group["top_rate"] * factor
            nn.utils.clip_grad_norm_(network.parameters(), recipe.largest_gradient)
            optimizer.step()
            step += 1
            average_weights(average, network, step, recipe.averaging)
            seconds, size = time.monotonic() - started, batch.images.shape[2]
            report = Progress(step, share(), seconds, sum(losses), *losses, recipe.rate * factor, size)
            history.add(report)
            progress(report)
            if time.monotonic() - saved >= checkpoint_seconds:
                save()
                history.flush()
                saved = time.monotonic()
    save()
    return export_onnx(average, directory / DETECTOR, recipe.image_size, data.names)


class BatchSource:
    """The part of each step's batch that falls to process `rank` of `processes`."""

    def __init__(
        self,
        data: TrainingSet,
        teacher: Path | None,
        recipe: Recipe,
        factors: NDArray[np.float64],
        step: int,
        rank: int,
        processes: int,
    ) -> None:
        self.recipe, self.mine = recipe, slice(rank, None, processes)
        self.pictures = AugmentedPictures(data, recipe.image_size, teacher)
        self.images = batch_images(factors, recipe.batch, recipe.seed, step)

    def next(self, share: float) -> Batch:
        """The next batch, for the share of the run that is over."""
        size, final = picture_size(share, self.recipe), share >= self.recipe.final_share
        requests = [Request(image, seed, size, final) for image, seed in next(self.images)[self.mine]]
        return collate([self.pictures.make(request) for request in requests])


def prepare_process(recipe: Recipe) -> None:
    """One thread a process: two processes train faster than one with two threads, and far faster beside other work."""
    keep_freed_memory()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(recipe.seed)


def run_worker(
    work: GradientWork,
    data: TrainingSet,
    teacher: Path | None,
    recipe: Recipe,
    factors: NDArray[np.float64],
    step: int,
) -> None:
    """What each process but the first does: gradients of its part of each batch."""
    prepare_process(recipe)
    source = BatchSource(data, teacher, recipe, factors, step, work.rank, work.processes)
    while (now := work.begin()) is not None:
        work.finish(gradients(work.network, source.next(now), recipe))


def gradients(network: YoloNetwork, batch: Batch, recipe: Recipe) -> tuple[float, float, float]:
    """Set the network's gradients to those of the losses of a batch; returns losses of classes, boxes, distances."""
    network.zero_grad()
    logits, distance_logits = network(batch.images.float() / 255)
    losses = batch_losses(logits, distance_logits, batch, recipe)
    (losses.classes + losses.boxes + losses.distances).backward()
    return losses.classes.item(), losses.boxes.item(), losses.distances.item()


def parameter_groups(network: YoloNetwork, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters by rate and by decay: what ImageNet taught goes slower, biases and normalisations do not decay."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            slow = name.startswith(("backbone.", "shortcut."))
            groups.setdefault((slow, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "top_rate": recipe.backbone_rate if slow else recipe.rate,
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for (slow, decays), parameters in groups.items()
    ]


def average_weights(average: nn.Module, network: nn.Module, step: int, decay: float) -> None:
    """Move `average` towards `network`: the exponential moving average of all weights and normalisation
    statistics.

    Early on the decay is (1 + step) / (10 + step), so that the random beginning is soon forgotten.
    """
    decay = min(decay, (1 + step) / (10 + step))
    new = network.state_dict()
    with torch.no_grad():
        for name, value in average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(new[name], 1 - decay)
            else:
                value.copy_(new[name])
