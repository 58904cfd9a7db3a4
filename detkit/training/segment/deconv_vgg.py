"""DeconvNet: VGG-16 and its mirror image.

Noh, Hong and Han, "Learning Deconvolution Network for Semantic Segmentation", ICCV 2015, section 3 and the table of
its supplement.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detkit.training.segment.segment_network import Deconvolution, SegmentNetwork
from detkit.training.segment.unpooling import pool, unpool

# Channels of the convolutions before each of the five poolings, VGG-16's configuration D.
VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
FULLY_CONNECTED = 4096
CELLS = 7  # a side of the last map of a picture of 224 pixels
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class DeconvNet(SegmentNetwork):
    """The network of the paper: 13 convolutions, two fully connected layers as such, and their mirror image.

    Each of five max poolings leaves its switches for the unpooling opposite. Convolutions and transposed ones have a
    batch normalisation and a ReLU behind them. `width` multiplies all numbers of channels but those of picture and
    classes; at 1 there are 251.8 million parameters.

    Departures: pictures larger than 224 x 224 are taken as they are, where the paper cuts out proposals; the first
    weights are random (He et al. 2015), those that VGG-16 learnt on ImageNet being not to be had as a package.
    """

    smallest = 32 * CELLS
    mean: Tensor
    std: Tensor

    def __init__(self, classes: int, width: float = 1.0) -> None:
        super().__init__()
        self.settings = {"network": "deconvnet", "classes": classes, "width": width}
        stages = [[_wide(channels, width) for channels in stage] for stage in VGG16]
        hidden = _wide(FULLY_CONNECTED, width)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        channels_in = 3
        for stage in stages:
            self.encoder.append(nn.Sequential(*_convolutions(channels_in, stage)))
            channels_in = stage[-1]
        self.fc6 = nn.Sequential(*_convolutions(channels_in, [hidden], CELLS, padding=0))
        self.fc7 = nn.Sequential(*_convolutions(hidden, [hidden], 1))
        self.fc6_mirror = Deconvolution(hidden, channels_in, CELLS, padding=0)
        for number in reversed(range(len(stages))):
            mirrored = stages[number][::-1]
            channels_out = [*mirrored[1:], stages[number - 1][-1] if number else mirrored[-1]]
            self.decoder.append(
                nn.Sequential(*(Deconvolution(a, b) for a, b in zip(mirrored, channels_out, strict=True)))
            )
        self.score = nn.Conv2d(stages[0][0], classes, 1)
        self.register_buffer("mean", _per_channel(IMAGENET_MEAN), persistent=False)
        self.register_buffer("std", _per_channel(IMAGENET_STD), persistent=False)

    def whole(self, pictures: Tensor) -> list[Tensor]:
        x = (pictures - self.mean) / self.std
        switches = []
        for stage in self.encoder:
            x, where = pool(stage(x))
            switches.append(where)
        x = self.fc6_mirror(self.fc7(self.fc6(x)))
        for stage, where in zip(self.decoder, reversed(switches), strict=True):
            x = stage(unpool(x, where))
        return [self.score(x)]


def _wide(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def _per_channel(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1) / 255


def _convolutions(
    channels_in: int, channels: Sequence[int], kernel: int = 3, padding: int | None = None
) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for channels_out in channels:
        convolution = nn.Conv2d(
            channels_in, channels_out, kernel, padding=kernel // 2 if padding is None else padding, bias=False
        )
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        layers += [convolution, nn.BatchNorm2d(channels_out, momentum=0.03), nn.ReLU(inplace=True)]
        channels_in = channels_out
    return layers
