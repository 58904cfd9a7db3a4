"""The network that `detkit train rcnn` trains: detkit's YOLO backbone and neck, a region proposal network and a head.

Images are RGB float32 (N, 3, H, W) in 0-1, H and W multiples of 32. The backbone, the neck and the first layers of the
head are those of `detkit.training.yolo.yolo_network`, so that they can start from a trained YOLO.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.training.rcnn.anchors import anchor_shapes
from detkit.training.rcnn.roi_pool import POOLED, roi_max_pool
from detkit.training.torch.backbone import LITE0_TOP, STRIDES, EfficientNetLite0
from detkit.training.torch.neck import PathAggregationNeck, SharedSeparable

STRIDE = 8  # of the feature map
NECK_CHANNELS = 96
DROPOUT = 0.3


class SharedMap(nn.Module):
    """One map (N, C, H/8, W/8) from the neck's three and the backbone's classifying features (N, 1280, H/32, W/32).

    Each map is reduced by a 1 x 1 convolution, enlarged to the finest and added. Those of the neck go beside what a
    YOLO's class branch makes of them, which knows more of classes and less of borders.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.class_branch = nn.ModuleList(SharedSeparable(NECK_CHANNELS) for _ in range(2))
        self.reduce = nn.ModuleList(nn.Conv2d(2 * NECK_CHANNELS, channels, 1) for _ in STRIDES)
        self.top = nn.Conv2d(LITE0_TOP, channels, 1, bias=False)

    def forward(self, maps: list[Tensor], top: Tensor) -> Tensor:
        reduced = []
        for level, x in enumerate(maps):
            c = x
            for layer in self.class_branch:
                c = layer(c, level)
            reduced.append(self.reduce[level](torch.cat((x, c), dim=1)))
        fine, middle, coarse = reduced
        middle = middle + F.interpolate(coarse + self.top(top), scale_factor=2.0, mode="nearest")
        return F.relu(fine + F.interpolate(middle, scale_factor=2.0, mode="nearest"))


class RegionProposalNetwork(nn.Module):
    """A map (N, C, h, w) to scores (N, 2k, h, w) and offsets (N, 4k, h, w) of the k anchors of each cell.

    Ren et al. 2015, section 3.1. Channel 2a is the logit of "background" for anchor a, 2a + 1 that of "object";
    channels 4a to 4a + 3 are tx, ty, tw, th.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        anchors = len(anchor_shapes())
        self.hidden = nn.Conv2d(channels, channels, 3, padding=1)
        self.scores = nn.Conv2d(channels, 2 * anchors, 1)
        self.offsets = nn.Conv2d(channels, 4 * anchors, 1)
        for layer in (self.scores, self.offsets):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.hidden(x))
        return self.scores(x), self.offsets(x)


class RoiHead(nn.Module):
    """Pooled RoIs (R, C, 7, 7) to class logits (R, classes + 1), background first, and offsets (R, classes, 4).

    Girshick 2015, section 2.1: two fully connected layers and two siblings. The offsets are in units of
    `rcnn_objective.OFFSET_SCALE`.
    """

    def __init__(self, channels: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(channels * POOLED**2, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.classes = nn.Linear(hidden, classes + 1)
        self.offsets = nn.Linear(hidden, 4 * classes)
        self.box_shape = (classes, 4)
        for layer, spread in ((self.classes, 0.01), (self.offsets, 0.001)):  # the paper's
            nn.init.normal_(layer.weight, std=spread)
            nn.init.zeros_(layer.bias)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        x = F.dropout(F.relu(self.first(pooled.flatten(1))), DROPOUT, self.training)
        x = F.dropout(F.relu(self.second(x)), DROPOUT, self.training)
        return self.classes(x), self.offsets(x).unflatten(1, self.box_shape)


class Features(NamedTuple):
    """What one pass over images gives: the map (N, C, h, w) and the proposal network's scores and offsets, or None."""

    map: Tensor
    rpn_scores: Tensor | None
    rpn_offsets: Tensor | None


class RcnnNetwork(nn.Module):
    """`features` of images (N, 3, H, W), then `classify` for RoIs (R, 5). The backbone does not train.

    Without proposal network, `rpn` False, it is the network of Fast R-CNN.
    """

    def __init__(self, classes: int, rpn: bool, channels: int = 64, hidden: int = 512) -> None:
        super().__init__()
        self.settings = {"classes": classes, "rpn": rpn, "channels": channels, "hidden": hidden}
        self.backbone = EfficientNetLite0().requires_grad_(False)
        self.neck = PathAggregationNeck(self.backbone.channels, NECK_CHANNELS)
        self.shared = SharedMap(channels)
        self.rpn = RegionProposalNetwork(channels) if rpn else None
        self.head = RoiHead(channels, hidden, classes)

    def features(self, images: Tensor) -> Features:
        *maps, top = self.backbone(images)
        x = self.shared(self.neck(maps), top)
        return Features(x, *(self.rpn(x) if self.rpn is not None else (None, None)))

    def classify(self, features: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (R, classes + 1) and scaled offsets (R, classes, 4) of RoIs (R, 5): picture, box in pixels."""
        pooled = roi_max_pool(features, rois, STRIDE)
        device = next(self.head.parameters()).device  # pooling is on the CPU, wherever the head is
        logits, offsets = self.head(pooled.to(device))
        return logits.to(features.device), offsets.to(features.device)
