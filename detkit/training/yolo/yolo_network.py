"""The detector that `detkit train yolo` trains: an EfficientNet-Lite0 with a path-aggregation neck and a decoupled
head.

Images are RGB float32 (N, 3, H, W) in 0-1, H and W multiples of 32. Feature maps have strides 8, 16 and 32. Each
cell of each map is one *point*: points of all maps are concatenated, finest map first, rows before columns, to an
axis of length A.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.training.torch.backbone import LITE0_TOP, STRIDES, EfficientNetLite0
from detkit.training.torch.depthwise import pointwise_convolution
from detkit.training.torch.layers import PointwiseConv2d
from detkit.training.torch.neck import PathAggregationNeck, SharedSeparable


class DecoupledHead(nn.Module):
    """Class logits (N, classes, A) and the logits (N, 4, bins, A) of the distances left, top, right and bottom."""

    def __init__(self, channels: int, classes: int, bins: int, depth: int = 2) -> None:
        super().__init__()
        self.classes, self.bins = classes, bins
        self.class_branch = nn.ModuleList(SharedSeparable(channels) for _ in range(depth))
        self.box_branch = nn.ModuleList(SharedSeparable(channels) for _ in range(depth))
        self.class_out = PointwiseConv2d(channels, classes, bias=True)
        box_layers = [PointwiseConv2d(channels, 4 * bins, bias=True) for _ in STRIDES]
        for layer in box_layers:
            assert layer.bias is not None  # boxes start about three strides wide, not as wide as the bins go
            nn.init.constant_(layer.weight, 0.0)
            layer.bias.data.copy_(-torch.arange(bins).repeat(4) / 2)
        self.box_out = nn.ModuleList(box_layers)
        nn.init.normal_(self.class_out.weight, std=0.01)
        assert self.class_out.bias is not None
        nn.init.constant_(self.class_out.bias, -4.6)  # sigmoid(-4.6) = 0.01, the prior of RetinaNet

    def forward(self, maps: list[Tensor], evidence: list[Tensor]) -> tuple[Tensor, Tensor]:
        logits, distances = [], []
        for level, x in enumerate(maps):
            c = b = x
            for layer in self.class_branch:
                c = layer(c, level)
            for layer in self.box_branch:
                b = layer(b, level)
            logits.append((self.class_out(c) + evidence[level]).flatten(2))  # (N, classes, h * w)
            distances.append(self.box_out[level](b).flatten(2))  # (N, 4 * bins, h * w)
        return torch.cat(logits, dim=2), torch.cat(distances, dim=2).unflatten(1, (4, self.bins))


class ClassShortcut(nn.Module):
    """What the classifier's own features (N, C, H/32, W/32) say of the classes, to be added to each map's logits.

    Linear, from 0, one for each feature map: list of (N, classes, h, w). These features tell many classes apart before
    the first step, where neck and head, which start at random, need a long time.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        layers = [nn.Conv2d(channels, classes, 1, bias=False) for _ in STRIDES]
        for layer in layers:
            nn.init.zeros_(layer.weight)
        self.linear = nn.ModuleList(layers)

    def forward(self, top: Tensor) -> list[Tensor]:
        weight = torch.cat(list(self.linear.parameters()))  # one convolution for all maps
        fine, middle, coarse = pointwise_convolution(top, weight, None).chunk(len(STRIDES), dim=1)
        return [
            F.interpolate(fine, scale_factor=4.0, mode="nearest"),
            F.interpolate(middle, scale_factor=2.0, mode="nearest"),
            coarse,
        ]


class YoloNetwork(nn.Module):
    """Images (N, 3, H, W) to class logits (N, classes, A) and distance logits (N, 4, bins, A).

    A distance is from a point to a side of its box in units of the point's stride; bin i stands for the distance
    i.
    """

    def __init__(
        self, classes: int, channels: int = 96, bins: int = 16, hidden: Sequence[int] = (), top: int = LITE0_TOP
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "classes": classes, "channels": channels, "bins": bins, "hidden": tuple(hidden), "top": top
        }  # fmt: skip
        self.backbone = EfficientNetLite0(hidden, top)
        self.neck = PathAggregationNeck(self.backbone.channels, channels)
        self.head = DecoupledHead(channels, classes, bins)
        self.shortcut = ClassShortcut(top, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        *maps, top = self.backbone(images)
        return self.head(self.neck(maps), self.shortcut(top))


def grid_points(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Centres (A, 2) of all points as x, y in pixels of the input, and their strides (A,)."""
    centres, strides = [], []
    for stride in STRIDES:
        ys = (torch.arange(height // stride) + 0.5) * stride
        xs = (torch.arange(width // stride) + 0.5) * stride
        y, x = torch.meshgrid(ys, xs, indexing="ij")
        centres.append(torch.stack((x.flatten(), y.flatten()), dim=1))
        strides.append(torch.full((len(centres[-1]),), float(stride)))
    return torch.cat(centres), torch.cat(strides)


def decode_boxes(distance_logits: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Boxes (N, 4, A) xyxy in input pixels from distance logits (N, 4, bins, A), centres (A, 2) and strides (A,).

    A distance is the mean of its distribution: Li et al., "Generalized Focal Loss" (2020), equation 5.
    """
    bins = torch.arange(distance_logits.shape[2], dtype=distance_logits.dtype).view(1, 1, -1, 1)
    distances = (distance_logits.softmax(dim=2) * bins).sum(dim=2) * strides  # (N, 4, A)
    points = centres.T  # (2, A)
    return torch.cat((points - distances[:, :2], points + distances[:, 2:]), dim=1)
