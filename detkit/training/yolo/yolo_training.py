"""The training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from detkit.training.torch.devices import batches, mixes_precision, on_cpu, training_device
from detkit.training.torch.history import History
from detkit.training.torch.parallel import GradientWork, GradientWorkers
from detkit.training.torch.picture_store import PictureStore
from detkit.training.torch.train_session import (
    Session,
    load_state,
    make_folder,
    parameter_groups,
    prepare_process,
)
from detkit.training.torch.train_settings import Length, Start, Work
from detkit.training.torch.training_set import BatchOrder, TrainingSet
from detkit.training.torch.watching import Watcher
from detkit.training.yolo.teacher import YoloxTeacher
from detkit.training.yolo.yolo_data import AugmentedPictures, Batch, Request, collate
from detkit.training.yolo.yolo_export import export_onnx
from detkit.training.yolo.yolo_network import YoloNetwork
from detkit.training.yolo.yolo_objective import Losses, batch_losses
from detkit.training.yolo.yolo_recipe import Recipe
from detkit.training.yolo.yolo_weights import initial_network

SLOW_LAYERS = ("backbone.", "shortcut.")  # what ImageNet taught


class Progress(NamedTuple):
    """What is known after a step."""

    step: int
    share: float  # of the run that is over, 0-1
    seconds: float  # of training so far, over all resumptions
    loss: float
    class_loss: float
    box_loss: float
    distance_loss: float
    rate: float  # of learning, of neck and head
    size: int  # side of the training pictures, pixels


@dataclass(frozen=True)
class YoloStart(Start):
    """Where the training of a YOLO begins.

    detector  gives its weights to the whole network, as far as classes have the same names
    teacher   an ONNX YOLOX of the same classes in the same order, which labels the pictures in addition
    origin    what the file's metadata says of it, beside the length: command, seed, commit
    """

    teacher: Path | None = None
    origin: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class YoloWork(Work):
    """How the training of a YOLO is worked off.

    store  a folder where decoded pictures lie, and not in each process's memory
    """

    store: Path | None = None


def train_yolo(
    data: TrainingSet,
    directory: Path,
    length: Length,
    recipe: Recipe = Recipe(),
    *,
    start: YoloStart = YoloStart(),
    work: YoloWork = YoloWork(),
    progress: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Train a detector on `data` and return the path of the exported ONNX file.

    `directory` gets the file, a checkpoint now and then, and the history of the losses. `progress` is told of each
    step. Where `work.watching` has pictures that measure, the file is the best state that they saw.
    """
    device = training_device(work.device)
    if mixes_precision(device):
        recipe = replace(recipe, mixed_precision=True)
    processes = work.processes if device.type == "cpu" else 1
    if start.teacher is not None:
        YoloxTeacher(start.teacher, len(data.names))  # says now what it would say in every process
    make_folder(directory)
    prepare_process(recipe)

    state = load_state(directory, data.names) if start.resume else None
    network = YoloNetwork(**state["settings"]) if state is not None else initial_network(data.names, start.detector)
    network.backbone.freeze(recipe.frozen_blocks)
    groups = parameter_groups(network, recipe, SLOW_LAYERS, recipe.backbone_rate)
    session = Session(directory, data, network, groups, recipe, state, length, device)

    def export(path: Path) -> Path:
        run = {"minutes": round(session.seconds() / 60, 1), "steps": session.step, "pictures": len(data.paths)}
        training = {**(start.origin or {}), **run}
        return export_onnx(on_cpu(session.average), path, recipe.image_size, data.names, training=training)

    watcher = Watcher(work.watching, session, export)

    if work.store is not None:  # here, so that not every process does it
        PictureStore(work.store, data.paths, recipe.stored_side)
    arguments = (data, recipe, session.order, start.teacher, work.store)
    with (
        History(directory, Progress._fields, session.step) as history,
        GradientWorkers(network, processes, run_worker, arguments, len(Losses._fields)) as workers,
        batches(BatchSource(*arguments, 0, processes).next, device) as next_batch,
    ):
        for now in session.steps(workers, history, work.checkpoint_seconds):
            batch = next_batch(now)
            losses = workers.finish(gradients(network, batch, recipe))
            rate, size = session.update(now), batch.images.shape[2]
            seconds, share = session.seconds(), session.share()
            classes, boxes, distances = losses
            report = Progress(session.step, share, seconds, sum(losses), classes, boxes, distances, rate, size)
            history.add(report)
            progress(report)
            if watcher.after_step(report.loss, rate):
                break
    return watcher.finish()


class BatchSource:
    """The batches of a training or, of `processes`, the part that falls to process `rank`."""

    def __init__(
        self,
        data: TrainingSet,
        recipe: Recipe,
        order: BatchOrder,
        teacher: Path | None = None,
        store: Path | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.recipe = recipe
        pixels = PictureStore(store, data.paths, recipe.stored_side) if store else None
        self.pictures = AugmentedPictures(data, recipe.image_size, teacher, recipe, pixels)
        self.images = order.part(rank, processes)

    def next(self, share: float) -> Batch:
        """The next batch, for the share of the run that is over."""
        size, final = self.recipe.picture_size(share), share >= self.recipe.final_share
        requests = [Request(image, seed, size, final) for image, seed in next(self.images)]
        return collate([self.pictures.make(request) for request in requests])


def run_worker(
    work: GradientWork, data: TrainingSet, recipe: Recipe, order: BatchOrder, teacher: Path | None, store: Path | None
) -> None:
    """What each process but the first does: gradients of its part of each batch."""
    prepare_process(recipe)
    source = BatchSource(data, recipe, order, teacher, store, work.rank, work.processes)
    assert isinstance(work.network, YoloNetwork)
    while (now := work.begin()) is not None:
        work.finish(gradients(work.network, source.next(now), recipe))


def gradients(network: YoloNetwork, batch: Batch, recipe: Recipe) -> tuple[float, float, float]:
    """Set the network's gradients to those of the losses of a batch; returns losses of classes, boxes, distances."""
    network.zero_grad()
    images = batch.images.to(next(network.parameters()).device).float() / 255
    with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.mixed_precision):
        logits, distance_logits = network(images)
    # Labels are assigned on the CPU, wherever the network computes: its outputs are small beside what is inside.
    losses = batch_losses(logits.float().cpu(), distance_logits.float().cpu(), batch, recipe)
    (losses.classes + losses.boxes + losses.distances).backward()
    return losses.classes.item(), losses.boxes.item(), losses.distances.item()
