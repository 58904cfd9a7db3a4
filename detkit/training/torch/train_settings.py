"""What a caller says about a training beside its recipe: how long, from where, and with how many processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from detkit.errors import InputError


@dataclass(frozen=True)
class Length:
    """How long to train: so many minutes, or so many times over the pictures. InputError unless it is one of the two.

    The schedule follows the share of it that is over. With epochs, equal seeds give equal runs on one machine.
    """

    minutes: float | None = None
    epochs: float | None = None

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.epochs is None):
            raise InputError("give either minutes or epochs")
        if min(self.minutes or 0, self.epochs or 0) < 0:
            raise InputError("minutes and epochs cannot be negative")


@dataclass(frozen=True)
class Start:
    """Where a training begins.

    detector  the file of a detector trained before; None begins with ImageNet's weights in the backbone
    resume    whether the checkpoint in the folder is continued, if there is one; its minutes count
    """

    detector: Path | None = None
    resume: bool = False


class Measured(NamedTuple):
    """What one look at a training says.

    share      of the run that is over, 0-1
    seconds    of training so far
    loss, rate   the mean loss since the look before, and the rate of learning
    figures    AP and AP50 on the pictures held out
    best       whether AP is the best so far
    """

    share: float
    seconds: float
    loss: float
    rate: float
    figures: tuple[float, float]
    best: bool


@dataclass(frozen=True)
class Watching:
    """How a training is watched.

    measure   an exported file -> AP and AP50 on pictures held out; None where there are none
    times     how often in a run, at equal shares of it
    patience  after so many looks without a better AP the training ends; None: it runs to its end
    told      is told of each look
    """

    measure: Callable[[Path], tuple[float, float]] | None = None
    times: int = 10
    patience: int | None = None
    told: Callable[[Measured], None] = lambda _: None


@dataclass(frozen=True)
class Work:
    """How a training is worked off.

    processes           each has one thread and a part of each batch
    checkpoint_seconds  after so many the checkpoint is written again
    device              "cpu", "cuda", "cuda:N" or "auto"; on a card there is one process
    watching            how it is looked at as it goes
    """

    processes: int = 2
    checkpoint_seconds: float = 120.0
    device: str = "cpu"
    watching: Watching = Watching()
