"""What a training step minimises: the multi-task loss of a batch, of the proposal network and of the head."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from detkit.training.rcnn.anchors import grid_anchors, inside, label_anchors, sample_anchors
from detkit.training.rcnn.offsets import encode
from detkit.training.rcnn.rcnn_data import Batch
from detkit.training.rcnn.rcnn_losses import RpnLoss, box_loss, class_loss, rpn_loss
from detkit.training.rcnn.rcnn_network import STRIDE, Features, RcnnNetwork
from detkit.training.rcnn.rcnn_recipe import Recipe
from detkit.training.rcnn.rois import SampledRois, propose, sample_rois

# Standard deviations of the head's offsets tx, ty, tw, th, by which its targets are divided (their means are 0). The
# papers normalise by the statistics of the training set; these are the constants of the authors' later code.
OFFSET_SCALE = (0.1, 0.1, 0.2, 0.2)


class Losses(NamedTuple):
    """The terms whose sum is minimised, each a mean over pictures or over RoIs."""

    rpn_classes: Tensor
    rpn_boxes: Tensor
    classes: Tensor
    boxes: Tensor


def multi_task_loss(losses: Losses) -> Tensor:
    """The sum of all terms: Girshick 2015, equation 1 with lambda 1, and Ren et al. 2015, equation 1."""
    return torch.stack(losses).sum()


def batch_losses(network: RcnnNetwork, batch: Batch, recipe: Recipe) -> Losses:
    """The losses of the network on a batch of at least one picture.

    Proposal network and head are trained together (Ren et al. 2015, section 3.2, "approximate joint training"): no
    gradient flows through the proposals' coordinates.
    """
    rng = np.random.default_rng((*batch.seed, 1))
    device = next(network.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.mixed_precision):
        features = network.features(batch.images.to(device).float() / 255)
    # Boxes are sampled and compared on the CPU, wherever the network computes.
    features = Features(*(None if part is None else part.float().cpu() for part in features))  # type: ignore[arg-type]
    proposals = batch.proposals
    rpn = RpnLoss(features.map.new_zeros(()), features.map.new_zeros(()))
    if network.rpn is not None:
        rpn, own = rpn_losses(features, batch, recipe, rng)
        proposals = [torch.cat(both) for both in zip(own, batch.proposals, strict=True)]
    sampled = [
        sample_rois(found, boxes, classes, recipe.rois, recipe.object_share, recipe.background_low, rng)
        for found, boxes, classes in zip(proposals, batch.boxes, batch.classes, strict=True)
    ]
    return Losses(*rpn, *head_losses(network, features.map, sampled))


def rpn_losses(
    features: Features, batch: Batch, recipe: Recipe, rng: np.random.Generator
) -> tuple[RpnLoss, list[Tensor]]:
    """The proposal network's losses, means over pictures, and its proposals (P, 4) for each picture."""
    assert features.rpn_scores is not None
    assert features.rpn_offsets is not None
    height, width = features.map.shape[2:]
    anchors = grid_anchors(height, width, STRIDE)
    scores, offsets = by_anchor(features.rpn_scores, 2), by_anchor(features.rpn_offsets, 4)
    class_total = box_total = scores.new_zeros(())
    proposals = []
    for picture, (size, objects) in enumerate(zip(batch.sizes, batch.boxes, strict=True)):
        whole = inside(anchors, *size).nonzero().squeeze(1)
        labels, owners = label_anchors(anchors[whole], objects)
        sample = sample_anchors(labels, recipe.anchors, rng)
        chosen = whole[sample]
        targets = torch.zeros(len(chosen), 4)
        hits = labels[sample] == 1
        targets[hits] = encode(objects[owners[sample][hits]], anchors[chosen][hits])
        if len(chosen):
            terms = rpn_loss(scores[picture, chosen], offsets[picture, chosen], labels[sample], targets, height * width)
            class_total, box_total = class_total + terms.classes, box_total + terms.boxes
        with torch.no_grad():
            proposals.append(
                propose(scores[picture], offsets[picture], anchors, *size, recipe.candidates, recipe.proposals)
            )
    return RpnLoss(class_total / len(proposals), box_total / len(proposals)), proposals


def head_losses(network: RcnnNetwork, features: Tensor, sampled: list[SampledRois]) -> tuple[Tensor, Tensor]:
    """The head's losses of classes and boxes, means over the RoIs that were sampled from each picture."""
    boxes, classes, targets = (torch.cat(parts) for parts in zip(*sampled, strict=True))
    pictures = torch.cat([torch.full((len(s.boxes), 1), float(i)) for i, s in enumerate(sampled)])
    logits, offsets = network.classify(features, torch.cat((pictures, boxes), dim=1))
    wanted = torch.zeros(len(boxes), 4)
    hits = classes > 0
    wanted[hits] = encode(targets[hits], boxes[hits]) / boxes.new_tensor(OFFSET_SCALE)
    return class_loss(logits, classes), box_loss(offsets, wanted, classes)


def by_anchor(output: Tensor, values: int) -> Tensor:
    """An output (N, k * values, h, w) of the proposal network as (N, A, values), in the order of `grid_anchors`."""
    return output.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, values))
