"""What the motion networks share: what they see of a box, how they say where it goes, and the state between two boxes.

Everything is in sizes of the box, sqrt(width * height), and in seconds, so that one network serves near and far, large
and small pictures, and every frame rate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Memory = tuple[Tensor, ...]

FEATURES = 11
SHIFT, SPEED = 10.0, 1.0  # so that what networks see is about 1: shifts of a tenth of a size, speeds of a size a second
LONGEST = 2.0  # seconds between two boxes: a longer gap looks like this one
BEFORE = "before"  # the state that every network has: the box before, zeros for none


class MotionMemory(nn.Module, ABC):
    """A network with a memory: features of one box after the other, (T, FEATURES), to what it makes of them.

    width          of what `step` gives
    state_shapes   of its states, without the axis of tracks
    """

    width: ClassVar[int]
    state_shapes: ClassVar[dict[str, tuple[int, ...]]]

    @abstractmethod
    def step(self, x: Tensor, state: Memory) -> tuple[Tensor, Memory]:
        """Features (T, FEATURES) of the next box of T tracks and the state -> (T, width) and the next state."""


class MotionModel(nn.Module):
    """Where a track's box is `ahead` seconds after it was seen, given a memory of what came before.

    The head says three things of the last box, each four numbers (cx, cy, w, h) in its sizes: by how much it is off
    (a), how fast it moves (v), and, as two numbers for centre and sides, for how many seconds it goes on so (tau):

        box(ahead) = box + size * (a + v * tau * (1 - exp(-ahead / tau)))

    That is a velocity which fades; with a large tau the constant velocity of a Kalman filter.
    """

    def __init__(self, memory: MotionMemory) -> None:
        super().__init__()
        self.memory = memory
        self.head = nn.Linear(memory.width, 10)
        nn.init.zeros_(self.head.weight)  # begins as the last box itself
        nn.init.zeros_(self.head.bias)

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """All states by name, without the axis of tracks."""
        return {BEFORE: (4,), **self.memory.state_shapes}

    def blank(self, count: int) -> Memory:
        """The states of `count` new tracks."""
        return tuple(torch.zeros(count, *shape) for shape in self.state_shapes.values())

    def see(self, box: Tensor, since: Tensor, state: Memory) -> tuple[Tensor, Memory]:
        """What the head says (T, 10) after a box (T, 4) xyxy, `since` (T,) seconds after the one before; next state."""
        said, following = self.memory.step(features(box, since, state[0]), state[1:])
        return self.head(said), (box, *following)

    def forward(self, box: Tensor, since: Tensor, ahead: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The boxes (T, 4) expected, and the next states: the graph that is exported."""
        said, following = self.see(box, since, state)
        return (moved(box, said, ahead), *following)


def centred(box: Tensor) -> Tensor:
    """cx, cy, w, h (..., 4) of xyxy."""
    return torch.cat(((box[..., :2] + box[..., 2:]) / 2, box[..., 2:] - box[..., :2]), dim=-1)


def size_of(cxcywh: Tensor) -> Tensor:
    """sqrt(w h), (..., 1), at least one pixel."""
    sides = cxcywh[..., 2:].clamp(min=1)
    return (sides[..., :1] * sides[..., 1:]).sqrt()


def features(box: Tensor, since: Tensor, before: Tensor) -> Tensor:
    """What a network sees of a box (T, 4) after the box `before` (T, 4), (T, FEATURES).

    The change of cx, cy, w, h in sizes, and the same per second; the seconds between; whether there was a box before;
    the logarithm of width over height.
    """
    now, then = centred(box), centred(before)
    known = (before[:, 2:3] > before[:, :1]).to(box.dtype)
    change = (now - then) / size_of(now) * known
    seconds = since[:, None].clamp(min=1e-3, max=LONGEST)
    shape = (now[:, 2:3].clamp(min=1) / now[:, 3:].clamp(min=1)).log()
    return torch.cat((SHIFT * change, SPEED * change / seconds, seconds * known, known, shape), dim=1)


def moved(box: Tensor, said: Tensor, ahead: Tensor) -> Tensor:
    """The boxes (T, 4) xyxy that the head means, `ahead` (T,) seconds after `box` (T, 4)."""
    now = centred(box)
    off, speed = said[:, :4] / SHIFT, said[:, 4:8]
    tau = (F.softplus(said[:, 8:]) + 0.05).repeat_interleave(2, dim=1)  # of centre, centre, side, side
    travelled = speed * tau * (1 - torch.exp(-ahead[:, None].clamp(min=0) / tau))
    then = now + size_of(now) * (off + travelled)
    half = then[:, 2:].clamp(min=0) / 2
    return torch.cat((then[:, :2] - half, then[:, :2] + half), dim=1)
