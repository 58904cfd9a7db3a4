"""EfficientNet-Lite0, the backbone of the networks that detkit trains.

Images are RGB float32 (N, 3, H, W) in 0-1, H and W multiples of 32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.training.torch.layers import FrozenNormConv2d

STRIDES = (8, 16, 32)
# Stages of EfficientNet-Lite0: kernel size, stride, expansion, output channels, repeats.
LITE0_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
LITE0_STEM = 32
LITE0_TOP = 1280
IMAGENET_MEAN = 127.0 / 255.0  # EfficientNet-Lite maps 0-255 to (x - 127) / 128
IMAGENET_SCALE = 255.0 / 128.0


class InvertedResidual(nn.Module):
    """MobileNetV2's block as EfficientNet-Lite has it: no squeeze-and-excitation, ReLU6.

    `convolution` makes its layers from (channels in, channels out, kernel, stride, groups). `hidden` is the number of
    channels between them where it is not the expansion's.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int,
        expansion: int,
        convolution: Callable[..., nn.Module] = FrozenNormConv2d,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        hidden = hidden or channels_in * expansion
        self.expand = convolution(channels_in, hidden, 1) if expansion != 1 else None
        self.depthwise = convolution(hidden, hidden, kernel, stride, groups=hidden)
        self.project = convolution(hidden, channels_out, 1)
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """Feature maps of EfficientNet-Lite0 at strides 8, 16 and 32: (N, 40, H/8, W/8), (N, 112, ...), (N, 320, ...).

    Other `strides`, of 2, 4, 8, 16 and 32, give the last map of each of those. One map more (N, 1280, H/32, W/32) is
    what the classifier would average and tell its classes from. A slimmed network has other numbers of `hidden`
    channels, one for each block, and of `top` channels than the classifier.

    Tan and Le, "EfficientNet" (2019), in the "Lite" form of its authors' repository. Departures: convolutions of
    stride 2 pad both sides alike where TensorFlow pads after the picture only, which moves the feature maps and
    nothing else.
    """

    channels = (40, 112, 320)

    def __init__(self, hidden: Sequence[int] = (), top: int = LITE0_TOP, strides: Sequence[int] = STRIDES) -> None:
        super().__init__()
        self.stem = FrozenNormConv2d(3, LITE0_STEM, 3, stride=2)
        self.blocks = nn.ModuleList()
        self.taken: list[int] = []  # indices of the blocks whose outputs are the feature maps
        channels_in, stride_now = LITE0_STEM, 2
        for kernel, stride, expansion, channels_out, repeats in LITE0_STAGES:
            if stride == 2 and stride_now in strides:
                self.taken.append(len(self.blocks) - 1)
            stride_now *= stride
            for i in range(repeats):
                width = hidden[len(self.blocks)] if hidden else None
                self.blocks.append(
                    InvertedResidual(
                        channels_in, channels_out, kernel, stride if i == 0 else 1, expansion, hidden=width
                    )
                )
                channels_in = channels_out
        self.taken.append(len(self.blocks) - 1)
        self.top = FrozenNormConv2d(channels_in, top, 1)
        self.frozen_blocks = 0

    def freeze(self, blocks: int) -> None:
        """Stop training the stem and the first `blocks` blocks (0 trains everything)."""
        self.frozen_blocks = blocks
        for module in (self.stem, *self.blocks[:blocks]):
            module.requires_grad_(blocks == 0)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen_blocks):
            x = F.relu6(self.stem((images - IMAGENET_MEAN) * IMAGENET_SCALE), inplace=True)
            for i, block in enumerate(self.blocks[: self.frozen_blocks]):
                x = block(x)
                if i in self.taken:
                    maps.append(x)
        for i, block in enumerate(self.blocks):
            if i >= self.frozen_blocks:
                x = block(x)
                if i in self.taken:
                    maps.append(x)
        return [*maps, F.relu6(self.top(x), inplace=True)]
