"""Regions of interest (RoIs): where they come from, and which of them teach the head.

Boxes are float32 (N, 4) xyxy in pixels of the network's input.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from detkit.nms import greedy_nms
from detkit.training.rcnn.offsets import clip, decode
from detkit.training.torch.tensor_boxes import pairwise_iou

PROPOSAL_OVERLAP = 0.7  # IoU above which the worse of two proposals goes
LEAST_SIDE = 2.0  # of a proposal, pixels
OBJECT_IOU = 0.5


def propose(
    scores: Tensor, offsets: Tensor, anchors: Tensor, width: int, height: int, candidates: int, count: int
) -> Tensor:
    """Proposals (P, 4) of one picture of `width` x `height` pixels, best first, from the region proposal network.

    scores (A, 2) are logits of background and object, offsets and anchors (A, 4). Ren et al. 2015, section 3.3:
    the best `candidates` boxes, cut at the border, go through non-maximum suppression, which leaves `count`.
    """
    object_score = scores[:, 1] - scores[:, 0]  # the logit of the softmax
    best = object_score.topk(min(candidates, len(anchors))).indices
    boxes = clip(decode(offsets[best], anchors[best]), width, height)
    wide = (boxes[:, 2:] - boxes[:, :2] >= LEAST_SIDE).all(dim=1)
    boxes, object_score = boxes[wide], object_score[best][wide]
    kept = greedy_nms(boxes.numpy(), object_score.numpy(), PROPOSAL_OVERLAP)
    return boxes[torch.from_numpy(kept[:count])]


class SampledRois(NamedTuple):
    """RoIs (R, 4) that teach the head, objects first: class (R,), 0 the background; the true box (R, 4) of objects."""

    boxes: Tensor
    classes: Tensor
    targets: Tensor


def sample_rois(
    proposals: Tensor,
    objects: Tensor,
    classes: Tensor,
    count: int,
    object_share: float,
    background_low: float,
    rng: np.random.Generator,
) -> SampledRois:
    """`count` random RoIs of a picture, of its proposals (P, 4) and its objects (G, 4) of `classes` (G,), 0 the first.

    Girshick, "Fast R-CNN" (2015), section 2.3: a share of at most `object_share` has an IoU of 0.5 or more with an
    object and its class, the others a largest IoU in [background_low, 0.5). As in the authors' code, the objects
    themselves are among the RoIs.
    """
    boxes = torch.cat((proposals, objects))
    if len(objects):
        largest, owner = pairwise_iou(boxes, objects).max(dim=1)
    else:
        largest, owner = boxes.new_zeros(len(boxes)), torch.zeros(len(boxes), dtype=torch.int64)
    at_object = largest >= OBJECT_IOU
    on_objects = rng.permutation(np.flatnonzero(at_object.numpy()))[: round(count * object_share)]
    beside = rng.permutation(np.flatnonzero((~at_object & (largest >= background_low)).numpy()))
    chosen = torch.from_numpy(np.concatenate((on_objects, beside[: count - len(on_objects)])))
    owner = owner[chosen]
    names = torch.zeros(len(chosen), dtype=torch.int64)
    names[: len(on_objects)] = classes[owner[: len(on_objects)]] + 1
    targets = boxes[chosen].clone()
    targets[: len(on_objects)] = objects[owner[: len(on_objects)]]
    return SampledRois(boxes[chosen], names, targets)
