"""The training of a motion network: stretches of tracks, box after box, and the loss of what it expected."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.errors import InputError
from detkit.tracking.walks import Walks
from detkit.training.motion import NETWORKS
from detkit.training.motion.motion_data import MotionSamples, Stretches
from detkit.training.motion.motion_export import export_motion
from detkit.training.motion.motion_model import MotionModel, centred, moved, size_of
from detkit.training.torch.checkpoint import load_checkpoint, save_checkpoint
from detkit.training.torch.history import History
from detkit.training.torch.schedule import rate_factor
from detkit.training.torch.train_session import average_weights, make_folder

BETA = 0.05  # of the smooth L1 loss, in sizes: below it errors count by their squares


@dataclass(frozen=True)
class MotionRecipe:
    """How a motion network is trained.

    network   a row of `NETWORKS`; steps, of `batch` stretches of `length` boxes; rate, of Adam at its highest
    """

    network: str = "lstm"
    steps: int = 600
    batch: int = 256
    length: int = 16
    rate: float = 5e-3
    final_rate_share: float = 0.02
    warm_up_share: float = 0.05
    averaging: float = 0.99
    largest_gradient: float = 1.0
    seed: int = 0


class MotionProgress(NamedTuple):
    """What is known after a step."""

    step: int
    share: float  # of the run that is over, 0-1
    seconds: float  # since this process began
    loss: float
    rate: float


def train_motion(
    walks: Sequence[Walks],
    path: Path,
    recipe: MotionRecipe = MotionRecipe(),
    *,
    resume: bool = False,
    origin: Mapping[str, Any] | None = None,
    progress: Callable[[MotionProgress], None] = lambda _: None,
) -> Path:
    """Train on `walks`, write the graph to `path`, and return it.

    The checkpoint and the history of the loss lie in the folder `training_folder(path)`. With `resume` a training that
    was interrupted there goes on; equal seeds give equal files, interrupted or not. `origin` goes into the metadata.
    """
    folder = training_folder(path)
    make_folder(folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the network is too small for more
    try:
        torch.manual_seed(recipe.seed)
        network = MotionModel(NETWORKS[recipe.network]())
        run = _Run(folder, network, recipe, load_checkpoint(folder) if resume else None)
        samples = MotionSamples(walks, recipe.length)
        run.train(samples, progress)
    finally:
        torch.set_num_threads(threads)
    said = {"network": recipe.network, "steps": recipe.steps, "boxes": len(samples), "seed": recipe.seed}
    return export_motion(run.average, path, {**said, **(origin or {})})


def training_folder(path: Path) -> Path:
    """Where the checkpoint of the training of a graph lies: NAME-training beside it."""
    return path.with_name(f"{path.stem}-training")


class _Run:
    """A training under way."""

    def __init__(self, folder: Path, network: MotionModel, recipe: MotionRecipe, state: dict[str, Any] | None) -> None:
        self.folder, self.network, self.recipe = folder, network, recipe
        self.average = copy.deepcopy(network)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=recipe.rate)
        self.step = 0
        self._started = self._saved = time.monotonic()
        if state is not None:
            wanted = asdict(recipe)
            if state.get("recipe") != wanted:
                there = state.get("recipe", {})
                other = [f"{name} {there.get(name)}" for name, value in wanted.items() if there.get(name) != value]
                raise InputError(f"{folder}: the training there has other settings: {', '.join(other)}")
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]

    def train(self, samples: MotionSamples, progress: Callable[[MotionProgress], None]) -> None:
        recipe = self.recipe
        self.network.train()
        with History(self.folder, MotionProgress._fields, self.step) as history:
            try:
                while self.step < recipe.steps:
                    rng = np.random.default_rng((recipe.seed, self.step))
                    loss = self._step(samples.batch(recipe.batch, rng))
                    seconds, share = time.monotonic() - self._started, self.step / recipe.steps
                    report = MotionProgress(self.step, share, seconds, loss, self.optimizer.param_groups[0]["lr"])
                    history.add(report)
                    progress(report)
            finally:  # also of what is interrupted: a step takes milliseconds, a checkpoint too
                self.save()

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(
            self.folder,
            {
                "recipe": asdict(self.recipe),
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
            },
        )

    def _step(self, stretches: Stretches) -> float:
        recipe = self.recipe
        factor = rate_factor((self.step + 1) / recipe.steps, recipe.warm_up_share, recipe.final_rate_share)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate * factor
        self.optimizer.zero_grad()
        loss = motion_loss(self.network, stretches)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), recipe.largest_gradient)
        self.optimizer.step()
        self.step += 1
        average_weights(self.average, self.network, self.step, recipe.averaging)
        return float(loss.item())


def said_of(network: MotionModel, stretches: Stretches) -> Tensor:
    """What the head says after each box of stretches, (K, B, 10); a memory is blank until an object's first box."""
    there = stretches.there
    state = network.blank(there.shape[1])
    zero = torch.zeros_like(stretches.times[0])
    said = []
    for step, box in enumerate(stretches.boxes):
        since = torch.where(there[step - 1], stretches.times[step] - stretches.times[step - 1], zero) if step else zero
        out, following = network.see(box, since, state)
        said.append(out)
        state = tuple(
            torch.where(there[step].view(-1, *[1] * (one.ndim - 1)), one, torch.zeros_like(one)) for one in following
        )
    return torch.stack(said)


def motion_loss(network: MotionModel, stretches: Stretches) -> Tensor:
    """Smooth L1 of cx, cy, w, h in sizes of the true box, over all boxes whose later place is known."""
    known = stretches.known
    said = said_of(network, stretches)[known]
    expected = moved(stretches.boxes[known], said, stretches.ahead[known])
    true = centred(stretches.target[known])
    error = (centred(expected) - true) / size_of(true)
    return F.smooth_l1_loss(error, torch.zeros_like(error), beta=BETA)
