"""The training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .data import AugmentedPictures, Batch, PictureStore, Request, TrainingSet, batch_images, collate
from .export import export_onnx
from .history import History, Progress
from .network import YoloNetwork
from .objective import batch_losses
from .parallel import GradientWork, GradientWorkers
from .recipe import Recipe
from .schedule import picture_size
from .session import DETECTOR, Session, check_length, load_state, make_folder, parameter_groups, prepare_process
from .teacher import YoloxTeacher
from .weights import initial_network

SLOW_LAYERS = ("backbone.", "shortcut.")  # what ImageNet taught


def train_yolo(
    data: TrainingSet,
    directory: Path,
    *,
    minutes: float | None = None,
    epochs: float | None = None,
    recipe: Recipe = Recipe(),
    detector: Path | None = None,
    teacher: Path | None = None,
    store: Path | None = None,
    resume: bool = False,
    processes: int = 2,
    checkpoint_seconds: float = 120.0,
    progress: Callable[[Progress], None] = lambda _: None,
    origin: Mapping[str, Any] | None = None,
) -> Path:
    """Train a detector on `data` for so many minutes or epochs and return the path of the exported ONNX file.

    The backbone starts from ImageNet's weights or, given `detector` (a file of an earlier training), the whole
    network from that detector's; a `teacher`, an ONNX YOLOX of the same classes in the same order, labels the
    pictures in addition. Given a folder as `store`, decoded pictures lie there and not in each process's memory.

    `directory` gets the file, a checkpoint every `checkpoint_seconds`, and the history of the losses. With
    `resume` the checkpoint there is continued, if there is one; its minutes count. The schedule follows the share
    of the minutes or of the epochs that is over; with epochs, equal seeds give equal runs on one machine.
    The file's metadata tells the length, and what `origin` says: command, seed, commit.
    Each of `processes` has one thread and a part of each batch.
    """
    check_length(minutes, epochs)
    if teacher is not None:
        YoloxTeacher(teacher, len(data.names))  # says now what it would say in every process
    make_folder(directory)
    prepare_process(recipe)

    state = load_state(directory, data.names) if resume else None
    network = YoloNetwork(**state["settings"]) if state is not None else initial_network(data.names, detector)
    network.backbone.freeze(recipe.frozen_blocks)
    groups = parameter_groups(network, recipe, SLOW_LAYERS, recipe.backbone_rate)
    session = Session(directory, data, network, groups, recipe, state, minutes, epochs)

    if store is not None:  # here, so that not every process does it
        PictureStore(store, data.paths, store_size(recipe))
    arguments = (data, teacher, store, recipe, session.factors, session.step)
    with (
        History(directory, session.step) as history,
        GradientWorkers(network, processes, run_worker, arguments) as workers,
    ):
        source = BatchSource(*arguments, 0, processes)
        for now in session.steps(workers, history, checkpoint_seconds):
            batch = source.next(now)
            losses = workers.finish(gradients(network, batch, recipe))
            rate, size = session.update(now), batch.images.shape[2]
            seconds, share = session.seconds(), session.share()
            classes, boxes, distances = losses
            report = Progress(session.step, share, seconds, sum(losses), classes, boxes, distances, rate, size)
            history.add(report)
            progress(report)
    session.save()
    length = {"minutes": round(session.seconds() / 60, 1), "steps": session.step, "pictures": len(data.paths)}
    return export_onnx(
        session.average, directory / DETECTOR, recipe.image_size, data.names, training={**(origin or {}), **length}
    )


def store_size(recipe: Recipe) -> int:
    """The long side that pictures are stored with: as large as they are ever shown."""
    return round(recipe.image_size * recipe.scales[1])


class BatchSource:
    """The part of each step's batch that falls to process `rank` of `processes`."""

    def __init__(
        self,
        data: TrainingSet,
        teacher: Path | None,
        store: Path | None,
        recipe: Recipe,
        factors: NDArray[np.float64],
        step: int,
        rank: int,
        processes: int,
    ) -> None:
        self.recipe, self.mine = recipe, slice(rank, None, processes)
        pixels = PictureStore(store, data.paths, store_size(recipe)) if store else None
        self.pictures = AugmentedPictures(data, recipe.image_size, teacher, recipe, pixels)
        self.images = batch_images(factors, recipe.batch, recipe.seed, step)

    def next(self, share: float) -> Batch:
        """The next batch, for the share of the run that is over."""
        size, final = picture_size(share, self.recipe), share >= self.recipe.final_share
        requests = [Request(image, seed, size, final) for image, seed in next(self.images)[self.mine]]
        return collate([self.pictures.make(request) for request in requests])


def run_worker(
    work: GradientWork,
    data: TrainingSet,
    teacher: Path | None,
    store: Path | None,
    recipe: Recipe,
    factors: NDArray[np.float64],
    step: int,
) -> None:
    """What each process but the first does: gradients of its part of each batch."""
    prepare_process(recipe)
    source = BatchSource(data, teacher, store, recipe, factors, step, work.rank, work.processes)
    assert isinstance(work.network, YoloNetwork)
    while (now := work.begin()) is not None:
        work.finish(gradients(work.network, source.next(now), recipe))


def gradients(network: YoloNetwork, batch: Batch, recipe: Recipe) -> tuple[float, float, float]:
    """Set the network's gradients to those of the losses of a batch; returns losses of classes, boxes, distances."""
    network.zero_grad()
    images = batch.images.float() / 255
    with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.mixed_precision):
        logits, distance_logits = network(images)
    losses = batch_losses(logits.float(), distance_logits.float(), batch, recipe)
    (losses.classes + losses.boxes + losses.distances).backward()
    return losses.classes.item(), losses.boxes.item(), losses.distances.item()
