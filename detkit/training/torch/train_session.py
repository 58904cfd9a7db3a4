"""What all trainings share: beginning and resumption, how much of the run is over, steps, and checkpoints."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from detkit.errors import InputError, OutputError
from detkit.files import reason
from detkit.training.torch.checkpoint import load_checkpoint, save_checkpoint
from detkit.training.torch.history import History
from detkit.training.torch.memory import keep_freed_memory
from detkit.training.torch.parallel import GradientWorkers
from detkit.training.torch.schedule import rate_factor
from detkit.training.torch.train_settings import Length
from detkit.training.torch.training_set import BatchOrder, repeat_factors

DETECTOR = "detector.onnx"
_CPU = torch.device("cpu")
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, match_args=False)  # so attributes are read-only, as in the recipes themselves
class AnyRecipe(Protocol):
    """What the recipes of all trainings have."""

    batch: int
    rate: float
    final_rate_share: float
    weight_decay: float
    warm_up_share: float
    averaging: float
    repeat_threshold: float
    largest_gradient: float
    seed: int


class Learnt(Protocol):
    """What a session asks of the pictures that it learns from; see `TrainingSet`."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def weights(self) -> Sequence[float] | None: ...
    def certain_classes(self) -> list[NDArray[np.int64]]: ...


def make_folder(directory: Path) -> None:
    """OutputError where the folder cannot be made."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {directory}: {reason(error)}") from error


class Session(Generic[Network]):
    """A training under way: a network with the average of its weights, an optimizer, and how far it is.

    It goes on from `state`, the checkpoint's, if there is one. `groups` are those of `parameter_groups`; `order` gives
    the images of its steps.
    """

    def __init__(
        self,
        directory: Path,
        data: Learnt,
        network: Network,
        groups: list[dict[str, Any]],
        recipe: AnyRecipe,
        state: dict[str, Any] | None,
        length: Length,
        device: torch.device = _CPU,
    ) -> None:
        self.directory, self.names, self.recipe = directory, list(data.names), recipe
        network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network, self.average = network, copy.deepcopy(network)
        self.optimizer = torch.optim.AdamW(groups, fused=True)
        self.step, seconds_before = 0, 0.0
        self.best_ap: float | None = None  # the best AP that was seen, and how many looks ago
        self.since_best = self.looked_at = 0
        if state is not None:
            self._load(state)
            seconds_before = state["seconds"]
        factors = repeat_factors(data.certain_classes(), len(data.names), recipe.repeat_threshold)
        if data.weights is not None:
            factors = factors * np.asarray(data.weights)
        self.order = BatchOrder(factors, recipe.batch, recipe.seed, self.step)
        self._minutes = length.minutes
        self._steps = max(1, math.ceil((length.epochs or 0) * factors.sum() / recipe.batch))
        self._saved = time.monotonic()
        self._started = self._saved - seconds_before

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A block whose time is no time of training."""
        before = time.monotonic()
        try:
            yield
        finally:
            self._started += time.monotonic() - before

    def looked(self, average_precision: float, best: bool) -> None:
        """Note what a look at the average of the weights gave."""
        self.looked_at = self.step
        self.since_best = 0 if best else self.since_best + 1
        self.best_ap = average_precision if best else self.best_ap

    def seconds(self) -> float:
        """Of training so far, over all resumptions."""
        return time.monotonic() - self._started

    def share(self) -> float:
        """Of the run that is over, 0-1."""
        return min(1.0, self.seconds() / (self._minutes * 60) if self._minutes else self.step / self._steps)

    def steps(self, workers: GradientWorkers, history: History, checkpoint_seconds: float) -> Iterator[float]:
        """Begin steps until the run is over, each with the share that is; save every `checkpoint_seconds`."""
        while (now := self.share()) < 1:
            workers.begin(now)
            yield now
            if time.monotonic() - self._saved >= checkpoint_seconds:
                self.save()
                history.flush()
                self._saved = time.monotonic()

    def update(self, now: float) -> float:
        """Change the weights by the network's gradients, at the share `now` of the run; returns the learning rate."""
        recipe = self.recipe
        factor = rate_factor(now, recipe.warm_up_share, recipe.final_rate_share)
        for group in self.optimizer.param_groups:
            group["lr"] = group["top_rate"] * factor
        nn.utils.clip_grad_norm_(self.network.parameters(), recipe.largest_gradient)
        self.optimizer.step()
        self.step += 1
        average_weights(self.average, self.network, self.step, recipe.averaging)
        return recipe.rate * factor

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(self.directory, self.state())

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "settings": self.network.settings,
            "names": self.names,
            "recipe": asdict(self.recipe),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds(),
            "best_ap": self.best_ap,
            "since_best": self.since_best,
            "looked_at": self.looked_at,
        }

    def _load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's state, but with the rates and the decay of this session's recipe."""
        wanted = [{name: group[name] for name in ("top_rate", "weight_decay")} for group in self.optimizer.param_groups]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group, now_wanted in zip(self.optimizer.param_groups, wanted, strict=True):
            group.update(now_wanted)
        self.step = state["step"]
        self.best_ap = state.get("best_ap")
        self.since_best, self.looked_at = state.get("since_best", 0), state.get("looked_at", 0)


def prepare_process(recipe: AnyRecipe) -> None:
    """One thread a process: two processes train faster than one with two threads, and far faster beside other work."""
    keep_freed_memory()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(recipe.seed)


def load_state(directory: Path, names: Sequence[str]) -> dict[str, Any] | None:
    """The state of the checkpoint in `directory`, None where there is none; InputError if it is for other classes."""
    state = load_checkpoint(directory)
    if state is not None and state["names"] != list(names):
        raise InputError(f"{directory}: the checkpoint there is for other classes: {', '.join(state['names'][:5])} ...")
    return state


def parameter_groups(
    network: nn.Module, recipe: AnyRecipe, slow_layers: tuple[str, ...], slow_rate: float
) -> list[dict[str, Any]]:
    """Parameters by rate and by decay: `slow_layers`, by the start of their names, have a rate of their own, biases
    and normalisations do not decay.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name.startswith(slow_layers), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "top_rate": slow_rate if slow else recipe.rate,
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
