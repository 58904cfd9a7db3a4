"""The training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from detkit.errors import InputError
from detkit.training.rcnn.precomputed import FILE as PROPOSALS
from detkit.training.rcnn.precomputed import Boxes, GivenProposals, kept_proposals
from detkit.training.rcnn.rcnn_data import Batch, BatchSource
from detkit.training.rcnn.rcnn_export import export_onnx
from detkit.training.rcnn.rcnn_network import RcnnNetwork
from detkit.training.rcnn.rcnn_objective import Losses, batch_losses, multi_task_loss
from detkit.training.rcnn.rcnn_recipe import Recipe
from detkit.training.rcnn.rcnn_weights import initial_network
from detkit.training.torch.devices import batches, mixes_precision, on_cpu, training_device
from detkit.training.torch.history import History
from detkit.training.torch.parallel import GradientWork, GradientWorkers
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

SLOW_LAYERS = ("neck.", "shared.class_branch.")  # what a YOLO taught


class Progress(NamedTuple):
    """What is known after a step."""

    step: int
    share: float  # of the run that is over, 0-1
    seconds: float  # of training so far, over all resumptions
    loss: float
    rpn_class_loss: float
    rpn_box_loss: float
    class_loss: float
    box_loss: float
    rate: float  # of learning, of what follows the neck


def train_rcnn(
    data: TrainingSet,
    directory: Path,
    length: Length,
    recipe: Recipe = Recipe(),
    *,
    proposals: GivenProposals | None = None,
    start: Start = Start(),
    work: Work = Work(),
    progress: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Train the recipe's variant, a Fast or a Faster R-CNN, on `data`; returns the exported file's path.

    "fast" needs proposals; "faster" learns to propose, and with them its head learns from both, so that it can take
    either. A `start.detector`, a checkpoint or exported file of a YOLO's training, gives backbone and neck.

    `directory` gets the file, a checkpoint now and then, and the history of the losses. `progress` is told of each
    step. Where `work.watching` has pictures that measure, the file is the best state that they saw.
    """
    device = training_device(work.device)
    if mixes_precision(device):
        recipe = replace(recipe, mixed_precision=True)
    processes = work.processes if device.type == "cpu" else 1
    rpn = recipe.variant == "faster"
    if not rpn and proposals is None:
        raise InputError("Fast R-CNN cannot train without proposals")
    if recipe.batch < processes:
        raise InputError(f"a batch of {recipe.batch} pictures cannot be shared by {processes} processes")
    make_folder(directory)
    prepare_process(recipe)

    state = load_state(directory, data.names) if start.resume else None
    if state is not None and state["settings"].get("rpn") != rpn:
        raise InputError(f"{directory}: the checkpoint there is not of the variant {recipe.variant}")
    boxes = None
    if proposals is not None:
        if not start.resume:
            (directory / PROPOSALS).unlink(missing_ok=True)
        kept = kept_proposals(directory, data.paths, proposals)
        data, boxes = _with_proposals(data, kept)
    fresh = RcnnNetwork(len(data.names), rpn) if state is not None else None
    network = fresh or initial_network(len(data.names), rpn, start.detector)
    groups = parameter_groups(network, recipe, SLOW_LAYERS, recipe.neck_rate)
    session = Session(directory, data, network, groups, recipe, state, length, device)

    def export(path: Path) -> Path:
        return export_onnx(on_cpu(session.average), path, recipe.image_size, data.names)

    watcher = Watcher(work.watching, session, export)

    arguments = (data, boxes, recipe, session.order)
    source = BatchSource(*arguments, 0, processes)
    with (
        History(directory, Progress._fields, session.step) as history,
        GradientWorkers(network, processes, run_worker, arguments, len(Losses._fields)) as workers,
        batches(lambda _: source.next(), device) as next_batch,
    ):
        for now in session.steps(workers, history, work.checkpoint_seconds):
            losses = workers.finish(gradients(network, next_batch(now), recipe))
            rate, seconds, share = session.update(now), session.seconds(), session.share()
            rpn_classes, rpn_boxes, classes, offsets = losses
            report = Progress(session.step, share, seconds, sum(losses), rpn_classes, rpn_boxes, classes, offsets, rate)
            history.add(report)
            progress(report)
            if watcher.after_step(report.loss, rate):
                break
    return watcher.finish()


def _with_proposals(data: TrainingSet, boxes: Sequence[Boxes | None]) -> tuple[TrainingSet, list[Boxes]]:
    """The pictures that have proposals, and these. InputError where none has."""
    kept = [(number, own) for number, own in enumerate(boxes) if own is not None]
    if not kept:
        raise InputError("no picture to learn from has proposals")
    rows = [number for number, _ in kept]
    paths, objects, classes = (
        [data.paths[n] for n in rows],
        [data.boxes[n] for n in rows],
        [data.classes[n] for n in rows],
    )
    return TrainingSet(paths, objects, classes, data.names), [own for _, own in kept]


def run_worker(
    work: GradientWork, data: TrainingSet, proposals: Sequence[Boxes] | None, recipe: Recipe, order: BatchOrder
) -> None:
    """What each process but the first does: gradients of its part of each batch."""
    prepare_process(recipe)
    source = BatchSource(data, proposals, recipe, order, work.rank, work.processes)
    assert isinstance(work.network, RcnnNetwork)
    while work.begin() is not None:
        work.finish(gradients(work.network, source.next(), recipe))


def gradients(network: RcnnNetwork, batch: Batch, recipe: Recipe) -> tuple[float, ...]:
    """Set the network's gradients to those of the losses of a batch, and return the losses.

    Dropout is drawn from the batch's seed, so that a resumed training goes on like one that was not interrupted.
    """
    torch.manual_seed(int(np.random.default_rng((*batch.seed, 2)).integers(2**31)))
    network.zero_grad()
    losses = batch_losses(network, batch, recipe)
    multi_task_loss(losses).backward()  # type: ignore[no-untyped-call]
    return tuple(loss.item() for loss in losses)
