"""Layers of the networks that detkit trains: convolutions with their normalisations."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.training.torch.depthwise import depthwise_convolution, pointwise_convolution


class FrozenNormConv2d(nn.Module):
    """A convolution and the batch normalisation after it, whose statistics and gain no longer change.

    `scale` is gain / sqrt(variance + epsilon) and stays fixed; `weight` and `bias` (offset - mean * scale) train.
    The scale is multiplied into the weight on the fly, so no normalisation passes over the activations, forward or
    backward.
    """

    scale: Tensor

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.stride, self.padding, self.groups = stride, kernel // 2, groups
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in // groups, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_out" if groups == 1 else "fan_in", nonlinearity="relu")
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.register_buffer("scale", torch.ones(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.scale.view(-1, 1, 1, 1)
        if self.groups > 1:
            return depthwise_convolution(x, weight, self.bias, self.stride)
        if self.padding == 0 and self.stride == 1:
            return pointwise_convolution(x, weight, self.bias)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class DepthwiseConv2d(nn.Conv2d):
    """One kernel for each channel, no bias, padded to keep the size where the stride is 1."""

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        return depthwise_convolution(input, self.weight, None, self.stride[0])


class PointwiseConv2d(nn.Conv2d):
    """One pixel's channels to others."""

    def __init__(self, channels_in: int, channels_out: int, bias: bool = False) -> None:
        super().__init__(channels_in, channels_out, 1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        return pointwise_convolution(input, self.weight, self.bias)


class NormConv2d(nn.Sequential):
    """Convolution, batch normalisation and ReLU."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1, depthwise: bool = False
    ) -> None:
        layers: list[nn.Module] = [
            DepthwiseConv2d(channels_in, kernel, stride) if depthwise else PointwiseConv2d(channels_in, channels_out),
            nn.BatchNorm2d(channels_out, momentum=0.03),
            nn.ReLU(inplace=True),
        ]
        super().__init__(*layers)


def separable(channels_in: int, channels_out: int, kernel: int = 5, stride: int = 1) -> nn.Sequential:
    """A depthwise and a pointwise convolution, each with its normalisation and ReLU."""
    return nn.Sequential(
        NormConv2d(channels_in, channels_in, kernel, stride, depthwise=True), NormConv2d(channels_in, channels_out)
    )


def quick_in_half() -> bool:
    """Whether this processor computes in bfloat16, so that mixed precision makes a training quicker."""
    return bool(torch.cpu._is_avx512_bf16_supported())
