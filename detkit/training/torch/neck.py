"""What lies between backbone and heads: three feature maps that know of each other.

Feature maps have strides 8, 16 and 32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.training.torch.backbone import STRIDES
from detkit.training.torch.layers import DepthwiseConv2d, NormConv2d, PointwiseConv2d, separable


class Fusion(nn.Module):
    """Two maps (N, C, h, w) to one: concatenated, mixed, then a separable convolution beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = NormConv2d(2 * channels, channels)
        self.refine = separable(channels, channels)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        x = self.mix(torch.cat((a, b), dim=1))
        return x + self.refine(x)


class PathAggregationNeck(nn.Module):
    """Liu et al., "Path Aggregation Network" (2018): a pass from coarse to fine, then one from fine to coarse.

    Departures: maps are concatenated, not added; convolutions are separable, as in NanoDet and YOLOX-Nano.
    """

    def __init__(self, channels_in: tuple[int, int, int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(NormConv2d(c, channels) for c in channels_in)
        self.down = nn.ModuleList(Fusion(channels) for _ in range(2))
        self.up = nn.ModuleList(Fusion(channels) for _ in range(2))
        self.stride = nn.ModuleList(separable(channels, channels, stride=2) for _ in range(2))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        fine, middle, coarse = (lateral(x) for lateral, x in zip(self.lateral, maps, strict=True))
        middle = self.down[0](middle, F.interpolate(coarse, scale_factor=2.0, mode="nearest"))
        fine = self.down[1](fine, F.interpolate(middle, scale_factor=2.0, mode="nearest"))
        middle = self.up[0](middle, self.stride[0](fine))
        coarse = self.up[1](coarse, self.stride[1](middle))
        return [fine, middle, coarse]


class SharedSeparable(nn.Module):
    """A separable convolution whose weights all feature maps share, while each map has its own normalisations.

    As the head of RTMDet (Lyu et al., 2022): objects of a class look alike at every scale, their statistics
    differ.
    """

    def __init__(self, channels: int, kernel: int = 5) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv2d(channels, kernel)
        self.pointwise = PointwiseConv2d(channels, channels)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels, momentum=0.03) for _ in range(2 * len(STRIDES)))

    def forward(self, x: Tensor, level: int) -> Tensor:
        x = F.relu(self.norms[2 * level](self.depthwise(x)), inplace=True)
        return F.relu(self.norms[2 * level + 1](self.pointwise(x)), inplace=True)
