"""What motion networks learn from: stretches of what was seen of an object, and where it truly was later on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.errors import InputError
from detkit.tracking.walks import Walks

SKIPS = (1, 2, 3)  # of the boxes that are seen, each N-th: low frame rates look like this
FARTHEST = 16  # frames ahead, times the skip
PACE = 0.7  # of a stretch, time goes by faster or slower by up to e^PACE: another frame rate, another speed
JITTER = 0.03  # of a stretch, the deviation of what is added to its boxes, up to this, in sizes


@dataclass(frozen=True)
class Stretches:
    """A batch of B stretches of K boxes.

    boxes    (K, B, 4) xyxy; times (K, B), seconds; there (K, B) bool: false before an object's first box
    ahead    (K, B), seconds from each box to the target
    target   (K, B, 4) xyxy, where the object is then; known (K, B) bool: whether that is annotated
    """

    boxes: Tensor
    times: Tensor
    there: Tensor
    ahead: Tensor
    target: Tensor
    known: Tensor


class MotionSamples:
    """All seen boxes of all walks, by object and time; `batch` draws stretches of them. InputError where none is."""

    def __init__(self, walks: Sequence[Walks], length: int) -> None:
        self.length = length
        boxes, frames, firsts, rates, truths, places = [], [], [], [], [], []
        count = begun = 0
        for walk in walks:
            column, frame = np.nonzero(np.isfinite(walk.seen[..., 0]).T)  # by object, then by frame
            boxes.append(walk.seen[frame, column])
            frames.append(frame)
            _, first, sizes = np.unique(column, return_index=True, return_counts=True)
            firsts.append(np.repeat(first, sizes) + count)
            rates.append(np.full(len(frame), walk.rate))
            later = np.full((FARTHEST * max(SKIPS), *walk.truth.shape[1:]), np.nan)
            padded = np.concatenate((walk.truth, later))
            truths.append(padded.transpose(1, 0, 2).reshape(-1, 4))
            places.append(begun + column * len(padded) + frame)
            count += len(frame)
            begun += len(truths[-1])
        if not count:
            raise InputError("there is no box to learn from: no detection overlaps an annotated object")
        self._boxes: NDArray[np.float64] = np.concatenate(boxes)
        self._frames, self._firsts = np.concatenate(frames), np.concatenate(firsts)
        self._rates, self._truth, self._places = np.concatenate(rates), np.concatenate(truths), np.concatenate(places)

    def __len__(self) -> int:
        return len(self._boxes)

    def batch(self, count: int, rng: np.random.Generator) -> Stretches:
        """`count` stretches that end at boxes drawn evenly; half mirrored, each with a pace and a noise of its own."""
        end = rng.integers(len(self), size=count)
        skip = rng.choice(SKIPS, size=count, p=(0.6, 0.2, 0.2))
        rows = end - skip * np.arange(self.length - 1, -1, -1)[:, None]  # (K, B)
        there = rows >= self._firsts[end]
        rows = np.where(there, rows, end)
        frames_ahead = np.floor(np.exp(rng.uniform(0, np.log(FARTHEST + 1), rows.shape))).astype(np.int64) * skip
        target = self._truth[self._places[rows] + frames_ahead]
        known = there & np.isfinite(target[..., 0])
        boxes, rates = self._boxes[rows], self._rates[rows] * np.exp(rng.uniform(-PACE, PACE, count))
        target = np.where(known[..., None], target, boxes)
        mirrored = rng.random(count) < 0.5
        for one in (boxes, target):
            one[:, mirrored] = one[:, mirrored][..., [2, 1, 0, 3]] * (-1, 1, -1, 1)
        boxes = _jittered(boxes, rng)
        # a picture's corner says nothing; near it, 32 bits hold the most digits
        corner = boxes[-1:, :, :2]
        boxes, target = boxes - np.tile(corner, 2), target - np.tile(corner, 2)
        return Stretches(
            _tensor(boxes),
            _tensor((self._frames[rows] - self._frames[end]) / rates),
            torch.from_numpy(there),
            _tensor(frames_ahead / rates),
            _tensor(target),
            torch.from_numpy(known),
        )


def _jittered(boxes: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Boxes (K, B, 4) whose sides are off at random, in each stretch as much as a detector of its own."""
    size = np.sqrt(np.maximum(boxes[..., 2:] - boxes[..., :2], 1).prod(axis=2, keepdims=True))
    deviation = rng.uniform(0, JITTER, (1, boxes.shape[1], 1))
    return np.asarray(boxes + size * deviation * rng.normal(size=boxes.shape))


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
