"""What a training step minimises: the losses of a batch, from its objects and from a teacher."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from detkit.training.yolo.task_aligned import task_aligned_assignment
from detkit.training.yolo.yolo_data import Batch
from detkit.training.yolo.yolo_losses import ciou_loss, distribution_focal_loss, quality_focal_loss
from detkit.training.yolo.yolo_network import decode_boxes, grid_points
from detkit.training.yolo.yolo_recipe import Recipe


class Losses(NamedTuple):
    """The weighted terms whose sum is minimised."""

    classes: Tensor
    boxes: Tensor
    distances: Tensor


def box_losses(
    boxes: Tensor, distance_logits: Tensor, targets: Tensor, weights: Tensor, centres: Tensor, strides: Tensor
) -> tuple[Tensor, Tensor]:
    """CIoU and distribution focal loss of P points: boxes and targets (P, 4), logits (P, 4, bins), centres (P, 2)."""
    sides = torch.cat((centres - targets[:, :2], targets[:, 2:] - centres), dim=1) / strides[:, None]
    return ciou_loss(boxes, targets, weights), distribution_focal_loss(distance_logits, sides, weights)


def batch_losses(logits: Tensor, distance_logits: Tensor, batch: Batch, recipe: Recipe) -> Losses:
    """Losses of the network's output, logits (N, C, A) and distance logits (N, 4, bins, A), on a batch.

    Without a teacher the target of a point's class is its task-aligned score. With one it is a mean of that and of
    the teacher's score at the same point, `teacher_share` being the teacher's part, and the teacher's boxes are
    learnt where its score reaches `teacher_least_score`, with that score as weight. All terms are divided by the
    sum of the class targets.
    """
    height, width = batch.images.shape[2:]
    centres, strides = grid_points(height, width)
    boxes = decode_boxes(distance_logits, centres, strides).transpose(1, 2)  # (N, A, 4)
    distributions = distance_logits.permute(0, 3, 1, 2)  # (N, A, 4, bins)
    probabilities = logits.detach().sigmoid().transpose(1, 2)  # (N, A, C)
    share = 0.0 if batch.teacher_scores is None else recipe.teacher_share

    targets = torch.zeros_like(logits)  # (N, C, A)
    box_total = distance_total = logits.new_zeros(())
    for i, (true_boxes, true_classes, sure) in enumerate(zip(batch.boxes, batch.classes, batch.scores, strict=True)):
        assigned = task_aligned_assignment(probabilities[i], boxes[i].detach(), centres, true_boxes, true_classes, sure)
        points = (assigned.object >= 0).nonzero().squeeze(1)
        if len(points):
            objects, weights = assigned.object[points], assigned.score[points] * (1 - share)
            if sure is None:
                targets[i, true_classes[objects], points] = weights
            else:  # several classes where the labels disagree
                index = true_classes[:, None].expand_as(assigned.scores)
                targets[i].scatter_reduce_(0, index, assigned.scores * (1 - share), "amax")
            b, d = box_losses(
                boxes[i, points],
                distributions[i, points],
                true_boxes[objects],
                weights,
                centres[points],
                strides[points],
            )
            box_total, distance_total = box_total + b, distance_total + d
    if batch.teacher_scores is not None and batch.teacher_boxes is not None:
        teacher_scores = batch.teacher_scores.float()  # (N, A, C)
        targets += teacher_scores.transpose(1, 2) * share
        best = teacher_scores.amax(dim=2)
        picture, point = (best >= recipe.teacher_least_score).nonzero(as_tuple=True)
        b, d = box_losses(
            boxes[picture, point],
            distributions[picture, point],
            batch.teacher_boxes[picture, point],
            best[picture, point] * share,
            centres[point],
            strides[point],
        )
        box_total, distance_total = box_total + b, distance_total + d
    total = targets.sum().clamp(min=1.0)
    return Losses(
        recipe.class_gain * quality_focal_loss(logits, targets, recipe.focus) / total,
        recipe.box_gain * box_total / total,
        recipe.distance_gain * distance_total / total,
    )
