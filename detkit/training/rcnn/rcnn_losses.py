"""The terms of the training loss, each a plain function of predictions and targets."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

RPN_BOX_WEIGHT = 10.0  # lambda of Faster R-CNN, equation 1


def smooth_l1(difference: Tensor) -> Tensor:
    """0.5 x^2 where |x| < 1, else |x| - 0.5, element by element. Girshick 2015, equation 3."""
    size = difference.abs()
    return torch.where(size < 1, 0.5 * difference.square(), size - 0.5)


def rpn_class_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log softmax of the right one of two scores (S, 2), background and object; labels (S,) 0 or 1."""
    return F.cross_entropy(scores, labels)


def rpn_box_loss(offsets: Tensor, targets: Tensor, locations: int) -> Tensor:
    """Sum of the smooth L1 of the offsets (P, 4) of object anchors, times 10, by the number of anchor locations."""
    return RPN_BOX_WEIGHT * smooth_l1(offsets - targets).sum() / locations


class RpnLoss(NamedTuple):
    """The two terms of the region proposal network's loss."""

    classes: Tensor
    boxes: Tensor


def rpn_loss(scores: Tensor, offsets: Tensor, labels: Tensor, targets: Tensor, locations: int) -> RpnLoss:
    """Both terms for the S sampled anchors of a picture. Ren et al. 2015, equations 1 and 2.

    scores (S, 2), offsets and targets (S, 4), labels (S,): 1 object, 0 background, whose offsets do not count;
    `locations` is N_reg, the number of cells of the feature map.
    """
    objects = labels == 1
    return RpnLoss(rpn_class_loss(scores, labels), rpn_box_loss(offsets[objects], targets[objects], locations))


def class_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Mean of -log softmax of each RoI's class: logits (R, C + 1), classes (R,), 0 the background."""
    return F.cross_entropy(logits, classes)


def box_loss(offsets: Tensor, targets: Tensor, classes: Tensor) -> Tensor:
    """Smooth L1 of the offsets that belong to each object's class, over the number R of all RoIs.

    offsets (R, C, 4), targets (R, 4), classes (R,), 0 the background, which has no box. Girshick 2015, equation 2.
    """
    objects = (classes > 0).nonzero().squeeze(1)
    own = offsets[objects, classes[objects] - 1]  # (P, 4)
    return smooth_l1(own - targets[objects]).sum() / max(1, len(classes))
