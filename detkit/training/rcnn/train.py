"""The training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from detkit.errors import InputError
from detkit.training.yolo.data import TrainingSet
from detkit.training.yolo.history import History
from detkit.training.yolo.parallel import GradientWork, GradientWorkers
from detkit.training.yolo.session import (
    DETECTOR,
    Session,
    check_length,
    load_state,
    make_folder,
    parameter_groups,
    prepare_process,
)

from .data import Batch, BatchSource
from .export import export_onnx
from .network import RcnnNetwork
from .objective import Losses, batch_losses, multi_task_loss
from .precomputed import FILE as PROPOSALS
from .precomputed import Boxes, Propose, kept_proposals
from .recipe import Recipe
from .weights import initial_network

SLOW_LAYERS = ("neck.", "shared.class_branch.")  # what a YOLO taught
Variant = Literal["fast", "faster"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)


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
    *,
    variant: Variant = "faster",
    minutes: float | None = None,
    epochs: float | None = None,
    recipe: Recipe = Recipe(),
    detector: Path | None = None,
    proposals: Propose | None = None,
    proposals_by: str = "",
    resume: bool = False,
    processes: int = 2,
    checkpoint_seconds: float = 120.0,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Train a Fast or a Faster R-CNN on `data` for so many minutes or epochs; returns the exported file's path.

    The backbone has ImageNet's weights or, given `detector` (a checkpoint or exported file of a YOLO's training),
    backbone and neck start from that detector's.

    `proposals` gives the boxes (N, 4) xyxy of a picture by its path, in its pixels, and is asked for all pictures
    before the minutes begin; a picture for which it raises InputError is left out. The answers stay in `directory`,
    where a resumed training finds them if it gives the same `proposals_by`, the method's name. "fast" needs proposals;
    "faster" learns to propose, and with them its head learns from both, so that it can take either.

    `directory` gets the file, a checkpoint every `checkpoint_seconds`, and the history of the losses. With `resume`
    the checkpoint there is continued, if there is one; its minutes count. The schedule follows the share of the
    minutes or of the epochs that is over; with epochs, equal seeds give equal runs on one machine. Each of `processes`
    has one thread and a part of each batch.
    """
    if variant not in VARIANTS:
        raise InputError(f"variant {variant!r} is not known; there are {', '.join(VARIANTS)}")
    if variant == "fast" and proposals is None:
        raise InputError("Fast R-CNN cannot train without proposals")
    check_length(minutes, epochs)
    if recipe.batch < processes:
        raise InputError(f"a batch of {recipe.batch} pictures cannot be shared by {processes} processes")
    make_folder(directory)
    prepare_process(recipe)

    rpn = variant == "faster"
    state = load_state(directory, data.names) if resume else None
    if state is not None and state["settings"].get("rpn") != rpn:
        raise InputError(f"{directory}: the checkpoint there is not of the variant {variant}")
    boxes = None
    if proposals is not None:
        if not resume:
            (directory / PROPOSALS).unlink(missing_ok=True)
        data, boxes = _with_proposals(data, kept_proposals(directory, data.paths, proposals, proposals_by))
    fresh = RcnnNetwork(len(data.names), rpn) if state is not None else None
    network = fresh or initial_network(len(data.names), rpn, detector)
    groups = parameter_groups(network, recipe, SLOW_LAYERS, recipe.neck_rate)
    session = Session(directory, data, network, groups, recipe, state, minutes, epochs)

    arguments = (data, boxes, recipe, session.factors, session.step)
    with (
        History(directory, session.step, Progress._fields) as history,
        GradientWorkers(network, processes, run_worker, arguments, len(Losses._fields)) as workers,
    ):
        source = BatchSource(*arguments, 0, processes)
        for now in session.steps(workers, history, checkpoint_seconds):
            losses = workers.finish(gradients(network, source.next(), recipe))
            rate, seconds, share = session.update(now), session.seconds(), session.share()
            rpn_classes, rpn_boxes, classes, offsets = losses
            report = Progress(session.step, share, seconds, sum(losses), rpn_classes, rpn_boxes, classes, offsets, rate)
            history.add(report)
            progress(report)
    session.save()
    return export_onnx(session.average, directory / DETECTOR, recipe.image_size, data.names)


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
    work: GradientWork,
    data: TrainingSet,
    proposals: Sequence[Boxes] | None,
    recipe: Recipe,
    factors: NDArray[np.float64],
    step: int,
) -> None:
    """What each process but the first does: gradients of its part of each batch."""
    prepare_process(recipe)
    source = BatchSource(data, proposals, recipe, factors, step, work.rank, work.processes)
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
