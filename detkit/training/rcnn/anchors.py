"""Anchors: at each cell of the feature map the same boxes, which the region proposal network judges and moves.

Ren et al., "Faster R-CNN" (2015), section 3.1.1 and 3.1.2. Anchors of a map (h, w) are float32 (A, 4) xyxy in pixels of
the network's input: rows of the map before columns, the k shapes of a cell innermost.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from detkit.training.torch.tensor_boxes import pairwise_iou

SCALES = (24.0, 72.0, 200.0)  # square roots of the areas, pixels
RATIOS = (0.5, 1.0, 2.0)  # height / width
OBJECT_IOU, BACKGROUND_IOU = 0.7, 0.3


def anchor_shapes() -> list[tuple[float, float]]:
    """Width and height of the anchors of a cell: 3 scales, each in 3 ratios.

    The paper's scales are 128, 256 and 512 on pictures with a short side of 600 pixels. These cover the objects of
    COCO best on pictures with a long side of 416: a mean IoU of 0.50 with the best anchor.
    """
    return [(scale / ratio**0.5, scale * ratio**0.5) for scale in SCALES for ratio in RATIOS]


def grid_anchors(height: int, width: int, stride: int) -> Tensor:
    """Anchors (A, 4) of a map of `height` x `width` cells, centred on ((x + 0.5) * stride, (y + 0.5) * stride)."""
    half = torch.tensor(anchor_shapes()) / 2  # (k, 2)
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    centres = (torch.stack((x, y), dim=2) * stride).view(-1, 1, 2)  # (h * w, 1, 2)
    return torch.cat((centres - half, centres + half), dim=2).view(-1, 4)


def inside(anchors: Tensor, width: float, height: float) -> Tensor:
    """Which anchors do not cross the border of the picture, bool (A,); the others are left out of training."""
    return (anchors[:, :2] >= 0).all(dim=1) & (anchors[:, 2] <= width) & (anchors[:, 3] <= height)


class AnchorLabels(NamedTuple):
    """For each anchor 1 (object), 0 (background) or -1 (neither), int64 (A,), and the object it overlaps most (A,)."""

    labels: Tensor
    objects: Tensor


def label_anchors(anchors: Tensor, objects: Tensor) -> AnchorLabels:
    """Label anchors (A, 4) by their IoU with the objects (G, 4) of a picture.

    An anchor is an object if its IoU with one is at least 0.7, or if no anchor overlaps one more; else background if
    its IoU with all is below 0.3.
    """
    if len(objects) == 0:
        nothing = torch.zeros(len(anchors), dtype=torch.int64)
        return AnchorLabels(nothing, nothing)
    iou = pairwise_iou(objects, anchors)  # (G, A)
    largest, owner = iou.max(dim=0)
    labels = torch.full_like(owner, -1)
    labels[largest < BACKGROUND_IOU] = 0
    labels[largest >= OBJECT_IOU] = 1
    best = iou.amax(dim=1, keepdim=True) if len(anchors) else iou
    chosen, anchor = ((iou == best) & (best > 0)).nonzero(as_tuple=True)
    labels[anchor] = 1
    owner[anchor] = chosen
    return AnchorLabels(labels, owner)


def sample_anchors(labels: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Indices int64 of `count` random anchors, half of them objects and half background.

    Where there are fewer objects, background fills up; fewer than `count` come only where there are no more.
    """
    objects, background = (rng.permutation(np.flatnonzero(labels.numpy() == value)) for value in (1, 0))
    objects = objects[: count // 2]
    return torch.from_numpy(np.concatenate((objects, background[: count - len(objects)])))
