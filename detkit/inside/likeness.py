"""How much of a box is left in what a detector says of a changed picture (Petsiuk et al. 2021, "D-RISE", 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats, area, intersection


@dataclass(frozen=True)
class Rows:
    """What a network says of one picture before suppression.

    boxes    float32 (N, 4) xyxy in pixels of the view; of a classifier one, the whole view
    vectors  float32 (N, C), the score of each class; what is below the detector's own least score is 0
    """

    boxes: Floats
    vectors: Floats


@dataclass(frozen=True)
class Target:
    """What is to be explained: a box, or the class of a whole picture.

    name     class and score, for people
    box      xyxy in pixels of the view; None for a class of the whole picture
    vector   float32 (C,), its scores; of a whole picture's class 1 at the class
    class_id, score   its class, and the score that was found
    """

    name: str
    box: NDArray[np.float32] | None
    vector: Floats
    class_id: int
    score: float


def likeness(rows: Rows, targets: Sequence[Target]) -> NDArray[np.float64]:
    """How much of each target is there, (T,): of the row that is most like it, IoU * cosine of classes * score (eq. 4).

    Where a detector has no objectness, the row's best class score stands for it. Of a whole picture's class it is its
    probability.
    """
    found = np.zeros(len(targets))
    if not len(rows.boxes):
        return found
    lengths = np.linalg.norm(rows.vectors, axis=1)
    best = rows.vectors.max(axis=1)
    areas = area(rows.boxes)
    for number, target in enumerate(targets):
        if target.box is None:
            found[number] = rows.vectors[0, target.class_id]
            continue
        box = target.box[None].astype(rows.boxes.dtype)
        shared = intersection(box, rows.boxes)[0]
        near = np.flatnonzero(shared > 0)
        if not len(near):
            continue
        overlap = shared[near] / (area(box)[0] + areas[near] - shared[near])
        width = min(rows.vectors.shape[1], len(target.vector))
        cosine = rows.vectors[near, :width] @ target.vector[:width]
        cosine = cosine / np.maximum(lengths[near] * np.linalg.norm(target.vector), 1e-12)
        found[number] = float((overlap * cosine * best[near]).max())
    return found


def vectors_of(scores: Floats, class_ids: NDArray[np.int64], rows: NDArray[np.int64], count: int) -> Floats:
    """Class vectors (R, C) of scored classes: entry k is `scores[k]` of class `class_ids[k]` in row `rows[k]`."""
    made = np.zeros((int(rows.max(initial=-1)) + 1, count), np.float32)
    made[rows, class_ids] = scores
    return made
