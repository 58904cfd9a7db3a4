"""Which points of the grid are to find which object: task-aligned assignment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from detkit.training.torch.tensor_boxes import pairwise_iou

EPSILON = 1e-9


@dataclass(frozen=True)
class Alignment:
    """t = score^alpha * iou^beta says how well a point fits an object, and each has so many candidates.

    The paper's constants are alpha 1, beta 6 and 13 candidates; those here are the usual ones of one-stage detectors
    since.
    """

    candidates: int = 10
    alpha: float = 0.5
    beta: float = 6.0


class Assignment(NamedTuple):
    """Targets of one picture: for each point the index of the object it is to find, or -1, and its score in 0-1.

    `scores` has the score of each object at each of its points, also where another object owns the point.
    """

    object: Tensor  # (A,) int64
    score: Tensor  # (A,)
    scores: Tensor  # (G, A)


def task_aligned_assignment(
    scores: Tensor,
    boxes: Tensor,
    centres: Tensor,
    object_boxes: Tensor,
    object_classes: Tensor,
    confidence: Tensor | None = None,
    alignment: Alignment = Alignment(),
) -> Assignment:
    """Assign the points of one picture to its objects by how well score and box already agree there.

    Feng et al., "TOOD: Task-aligned One-stage Object Detection" (2021), section 3.2: the points inside
    each object's box with the largest t of the `alignment` are its positives, and a point's target score is t, scaled
    so that each object's largest is its largest IoU. A point chosen by several objects goes to the one it overlaps
    most.

    scores (A, classes) in 0-1, boxes (A, 4) xyxy, centres (A, 2) xy, object_boxes (G, 4) xyxy, object_classes (G,)
    int64; all in pixels of the network's input. Where objects are certain to a `confidence` (G,) in 0-1 only, their
    target scores are multiplied with it, and it weighs which object owns a point.
    """
    points = len(centres)
    if len(object_boxes) == 0:
        return Assignment(torch.full((points,), -1), torch.zeros(points), torch.zeros(0, points))
    sure = torch.ones(len(object_boxes)) if confidence is None else confidence
    sides = torch.cat((centres - object_boxes[:, None, :2], object_boxes[:, None, 2:] - centres), dim=2)  # (G, A, 4)
    inside = sides.amin(dim=2) > EPSILON
    iou = pairwise_iou(object_boxes, boxes) * inside  # (G, A)
    t = scores[:, object_classes].T.pow(alignment.alpha) * iou.pow(alignment.beta) * inside  # (G, A)

    best = t.topk(min(alignment.candidates, points), dim=1).indices
    chosen = torch.zeros_like(inside).scatter_(1, best, True) & inside
    owner = torch.where(chosen, iou * sure[:, None], torch.full_like(iou, -1.0)).argmax(dim=0)  # (A,)
    positive = chosen.any(dim=0)

    mine = torch.zeros_like(chosen).scatter_(0, owner[None], True) & positive
    counted = mine if confidence is None else chosen
    t = t * counted
    largest_t = t.amax(dim=1, keepdim=True).clamp(min=EPSILON)
    largest_iou = (iou * counted).amax(dim=1, keepdim=True)
    scores = t / largest_t * largest_iou * sure[:, None]
    return Assignment(torch.where(positive, owner, -1), (scores * mine).amax(dim=0), scores)
