"""The training loop of networks that tell the class of every pixel."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from detkit.errors import InputError
from detkit.label_maps.palettes import IGNORED
from detkit.metrics.semantic import SemanticResult, pixel_confusion
from detkit.training.segment.deconv_lite0 import DeconvLite0
from detkit.training.segment.deconv_vgg import DeconvNet
from detkit.training.segment.labelled_pictures import LabelledSet, LabelledStore
from detkit.training.segment.segment_augmentation import crop, fitted
from detkit.training.segment.segment_network import SegmentNetwork
from detkit.training.segment.segment_recipe import SegmentRecipe
from detkit.training.segment.segment_stores import SegmentStores
from detkit.training.torch.checkpoint import load_checkpoint
from detkit.training.torch.history import History
from detkit.training.torch.parallel import GradientWork, GradientWorkers
from detkit.training.torch.pretrained import imagenet_weights_path, load_imagenet_weights
from detkit.training.torch.train_session import Session, load_state, make_folder, parameter_groups, prepare_process
from detkit.training.torch.train_settings import Length, Work
from detkit.training.torch.training_set import BatchOrder

NETWORKS: dict[str, type[SegmentNetwork]] = {"lite0": DeconvLite0, "deconvnet": DeconvNet}
TERMS = 2  # losses that are reported


class SegmentProgress(NamedTuple):
    """What is known after a step."""

    step: int
    share: float  # of the run that is over, 0-1
    seconds: float  # of training so far, over all resumptions
    loss: float
    fine_loss: float
    coarse_loss: float
    rate: float  # of learning
    size: int  # side of the crops, pixels
    miou: float  # of the held-out pictures, measured last; nan before


@dataclass(frozen=True)
class SegmentStart:
    """Where a training begins.

    network   "lite0" or "deconvnet"
    width     of DeconvNet
    weights   a checkpoint of another training, whose weights are taken as far as layers have its names and sizes
    resume    whether the checkpoint in the folder is continued, if there is one; its minutes count
    """

    network: str = "lite0"
    width: float = 1.0
    weights: Path | None = None
    resume: bool = False


@dataclass(frozen=True)
class SegmentOutcome:
    """What a training gives: the network whose mIoU was the best, that figure (nan: none), and what the run was."""

    network: SegmentNetwork
    miou: float
    run: Mapping[str, Any]


class SegmentSession(Session[SegmentNetwork]):
    """A training under way that keeps the best averaged weights so far, by the mIoU of the held-out pictures."""

    def __init__(
        self,
        directory: Path,
        data: LabelledSet,
        network: SegmentNetwork,
        recipe: SegmentRecipe,
        state: dict[str, Any] | None,
        length: Length,
    ) -> None:
        groups = parameter_groups(network, recipe, network.slow_layers, recipe.backbone_rate)
        super().__init__(directory, data, network, groups, recipe, state, length)
        self.measured = 0 if state is None else int(state["measured"])
        self.miou = float("nan") if state is None else float(state["miou"])
        self.best_miou = float("nan") if state is None else float(state["best_miou"])
        self.best_weights: dict[str, Tensor] | None = None if state is None else state["best_weights"]

    def state(self) -> dict[str, Any]:
        return {
            **super().state(),
            "measured": self.measured,
            "miou": self.miou,
            "best_miou": self.best_miou,
            "best_weights": self.best_weights,
        }

    def measure(self, pictures: LabelledStore, recipe: SegmentRecipe, share: float) -> None:
        """Measure the averaged network, at the share of the run that is over, and keep it if it is the best."""
        self.measured = int(share * recipe.measurements)
        self.miou = mean_iou(self.average, pictures, recipe)
        if not self.best_miou >= self.miou:  # nan before the first
            self.best_miou = self.miou
            self.best_weights = copy.deepcopy(self.average.state_dict())


def train_segment(
    stores: SegmentStores,
    names: Sequence[str],
    directory: Path,
    length: Length,
    recipe: SegmentRecipe = SegmentRecipe(),
    *,
    start: SegmentStart = SegmentStart(),
    work: Work = Work(),
    progress: Callable[[SegmentProgress], None] = lambda _: None,
) -> SegmentOutcome:
    """Train a network for the classes `names`; `directory` gets checkpoints and the history of the losses.

    `progress` is told of each step.
    """
    make_folder(directory)
    prepare_process(recipe)
    learn = LabelledStore(stores.learn)
    measure = None if stores.measure is None else LabelledStore(stores.measure)
    data = LabelledSet(names, learn.counts)
    state = load_state(directory, names) if start.resume else None
    network = restored(state["settings"]) if state is not None else first_network(start, len(names))
    if (size := recipe.crop_size(0.0)) < network.smallest:
        raise InputError(
            f"crops of {size} pixels are too small for the network, which takes {network.smallest} and more: train on "
            "larger pictures"
        )
    network.freeze(recipe.frozen_blocks)
    session = SegmentSession(directory, data, network, recipe, state, length)
    weights = data.loss_weights(recipe.balance)
    arguments = (stores.learn, recipe, session.order, weights)
    with (
        History(directory, SegmentProgress._fields, session.step) as history,
        GradientWorkers(network, work.processes, run_worker, arguments, TERMS) as workers,
    ):
        source = CropSource(*arguments, 0, work.processes)
        for now in session.steps(workers, history, work.checkpoint_seconds):
            squares = source.next(now)
            losses = workers.finish(gradients(network, squares, source.weights, recipe))
            rate = session.update(now)
            share = session.share()
            if measure is not None and int(share * recipe.measurements) > session.measured:
                session.measure(measure, recipe, share)
            size = squares.shape[1]
            report = SegmentProgress._make(
                (session.step, share, session.seconds(), sum(losses), *losses, rate, size, session.miou)
            )
            history.add(report)
            progress(report)
        if measure is not None and session.measured < recipe.measurements:
            session.measure(measure, recipe, 1.0)
    session.save()
    best = session.average
    if session.best_weights is not None:
        best.load_state_dict(session.best_weights)
    run = {
        "minutes": round(session.seconds() / 60, 1), "steps": session.step, "pictures": len(learn), "seed": recipe.seed
    }  # fmt: skip
    return SegmentOutcome(best.eval(), session.best_miou, run)


def restored(settings: Mapping[str, Any]) -> SegmentNetwork:
    """A network as its `settings` say, with random weights."""
    given = {key: value for key, value in settings.items() if key != "network"}
    return NETWORKS[settings["network"]](**given)


def first_network(start: SegmentStart, classes: int) -> SegmentNetwork:
    """A network to begin with: what ImageNet taught, where the network has such a part, else random."""
    network: SegmentNetwork = DeconvNet(classes, start.width) if start.network == "deconvnet" else DeconvLite0(classes)
    if start.weights is not None:
        take_weights(network, start.weights)
    elif isinstance(network, DeconvLite0):
        load_imagenet_weights(network.backbone, torch.load(imagenet_weights_path(), weights_only=True))
    return network


def take_weights(network: SegmentNetwork, path: Path) -> None:
    """Copy the averaged weights of a checkpoint into `network`, where layers have the same names and sizes.

    InputError where it is no checkpoint, or none of its layers fits.
    """
    state = load_checkpoint(path.parent, path.name)
    if state is None:
        raise InputError(f"{path}: there is no such file")
    own = network.state_dict()
    fitting = {
        name: value
        for name, value in state["average"].items()
        if name in own and own[name].shape == value.shape and own[name].is_floating_point()
    }
    if not fitting:
        raise InputError(f"{path}: is the checkpoint of another kind of network")
    network.load_state_dict({**own, **fitting})


class CropSource:
    """The crops of a training or, of `processes`, the part that falls to process `rank`."""

    def __init__(
        self,
        store: Path,
        recipe: SegmentRecipe,
        order: BatchOrder,
        weights: NDArray[np.float32],
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.recipe, self.store = recipe, LabelledStore(store)
        self.weights = torch.from_numpy(weights)
        self.pictures = order.part(rank, processes)

    def next(self, share: float) -> NDArray[np.uint8]:
        """The next crops (N, S, S, 4), RGB and the class number, for the share of the run that is over."""
        recipe = self.recipe
        size = recipe.crop_size(share)
        return np.stack(
            [
                crop(self.store.picture(number), size, np.random.default_rng(seed), recipe.image_size, recipe.scales)
                for number, seed in next(self.pictures)
            ]
        )


def run_worker(
    work: GradientWork, store: Path, recipe: SegmentRecipe, order: BatchOrder, weights: NDArray[np.float32]
) -> None:
    """What each process but the first does: gradients of its part of each batch."""
    prepare_process(recipe)
    source = CropSource(store, recipe, order, weights, work.rank, work.processes)
    assert isinstance(work.network, SegmentNetwork)
    while (now := work.begin()) is not None:
        work.finish(gradients(work.network, source.next(now), source.weights, recipe))


def tensors(squares: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Pictures float32 (N, 3, S, S) in 0-1 and class numbers int64 (N, S, S) of squares uint8 (N, S, S, 4)."""
    pictures = torch.from_numpy(np.ascontiguousarray(squares[..., :3])).permute(0, 3, 1, 2).float() / 255
    return pictures, torch.from_numpy(np.ascontiguousarray(squares[..., 3])).long()


def gradients(
    network: SegmentNetwork, squares: NDArray[np.uint8], weights: Tensor, recipe: SegmentRecipe
) -> tuple[float, float]:
    """Set the network's gradients to those of the losses of crops; returns the losses of fine and coarse logits."""
    network.zero_grad()
    pictures, classes = tensors(squares)
    with torch.autocast(pictures.device.type, torch.bfloat16, enabled=recipe.mixed_precision):
        fine, *coarse = network.whole(pictures)
    loss = pixel_loss(fine, classes, weights)
    beside = sum((coarse_loss(logits, classes, weights) for logits in coarse), loss.new_zeros(()))
    (loss + recipe.coarse_gain * beside).backward()
    return loss.item(), float(recipe.coarse_gain * beside.item())


def pixel_loss(logits: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross entropy of logits (N, K, H, W) and classes (N, H, W), a mean over the pixels that have a class."""
    # As rows, in which logits with their channels last in memory lie already.
    rows = logits.permute(0, 2, 3, 1).reshape(-1, logits.shape[1]).float()
    total = F.cross_entropy(rows, classes.reshape(-1), weights, ignore_index=IGNORED, reduction="sum")
    return total / (classes != IGNORED).sum().clamp(min=1)


def coarse_loss(logits: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """The same for logits (N, K, h, w), each of whose cells has the class of the pixel in its middle."""
    cell = classes.shape[1] // logits.shape[2]
    return pixel_loss(logits, classes[:, cell // 2 :: cell, cell // 2 :: cell], weights)


def mean_iou(network: SegmentNetwork, pictures: LabelledStore, recipe: SegmentRecipe, batch: int = 8) -> float:
    """mIoU of a network on pictures at its image size, over the classes that are there or found."""
    network.eval()
    classes = network.settings["classes"]
    matrix = np.zeros((classes, classes + 1), np.int64)
    for first in range(0, len(pictures), batch):
        numbers = range(first, min(first + batch, len(pictures)))
        squares = np.stack([fitted(pictures.picture(number), recipe.image_size) for number in numbers])
        images, truth = tensors(squares)
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.mixed_precision):
            found = network(images).argmax(dim=1)
        for one, other in zip(truth.numpy(), found.numpy(), strict=True):
            matrix += pixel_confusion(one, other, classes)
    return SemanticResult(matrix).figures["mIoU"]
