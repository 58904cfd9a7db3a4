"""The terms of the training loss, each a plain function of predictions and targets.

`weights` gives each row its share; every function returns the weighted sum, for the caller to divide by what it
sums over.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-7


def complete_iou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU (N,) of boxes a and b, (N, 4) xyxy, row by row.

    Zheng et al., "Distance-IoU Loss" (2020), equations 10 and 11: IoU - distance^2 / diagonal^2 - alpha * v. As
    the authors' code does, no gradient flows through alpha.
    """
    size_a, size_b = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    overlap = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    union = size_a.prod(1) + size_b.prod(1) - overlap
    iou = overlap / (union + EPSILON)
    hull = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    between = (a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2
    angle_a, angle_b = (torch.atan(s[:, 0] / (s[:, 1] + EPSILON)) for s in (size_a, size_b))
    v = 4 / math.pi**2 * (angle_b - angle_a) ** 2
    with torch.no_grad():
        alpha = v / (1 - iou + v + EPSILON)
    return iou - between.square().sum(1) / (hull.square().sum(1) + EPSILON) - alpha * v


def ciou_loss(boxes: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Sum of weights (N,) * (1 - complete IoU) of boxes and targets, (N, 4) xyxy."""
    return (weights * (1 - complete_iou(boxes, targets))).sum()


def distribution_focal_loss(distance_logits: Tensor, distances: Tensor, weights: Tensor) -> Tensor:
    """Cross entropy to the two bins around each true distance, shared by nearness.

    Li et al., "Generalized Focal Loss" (2020), equation 6. distance_logits (N, 4, bins), distances (N, 4) in
    strides, which are clamped to the bins there are, weights (N,). The four sides of a box are averaged.
    """
    bins = distance_logits.shape[-1]
    distances = distances.clamp(0, bins - 1 - 1e-3)
    lower = distances.floor()
    above = distances - lower
    log_p = distance_logits.log_softmax(dim=-1)
    index = lower.long().unsqueeze(-1)
    at_lower, at_upper = log_p.gather(-1, index).squeeze(-1), log_p.gather(-1, index + 1).squeeze(-1)
    return -(weights[:, None] * (at_lower * (1 - above) + at_upper * above)).sum() / 4


def quality_focal_loss(logits: Tensor, targets: Tensor, beta: float) -> Tensor:
    """Sum of |target - sigmoid(logit)|^beta times the binary cross entropy, for targets in 0-1 of the logits' shape.

    Li et al., "Generalized Focal Loss" (2020), equation 2. With beta 0 it is the binary cross entropy.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if beta == 0:
        return cross_entropy.sum()
    return ((targets - logits.sigmoid()).abs().pow(beta) * cross_entropy).sum()
