"""What all networks that tell the class of every pixel have in common."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.training.torch.augmentation import PAD


class SegmentNetwork(nn.Module):
    """Pictures RGB float32 (N, 3, H, W) in 0-1 to logits (N, classes, H, W), H and W of any size.

    settings      what the constructor was called with
    stride        sides are padded to multiples of it, below and to the right, and the logits cut to the picture again
    smallest      ... and to so many pixels at least
    slow_layers   how the names of those layers begin that were learnt before, and have a lower rate
    """

    settings: dict[str, Any]
    stride = 32
    smallest = 32
    slow_layers: tuple[str, ...] = ()

    def whole(self, pictures: Tensor) -> list[Tensor]:
        """Logits (N, classes, H, W) of pictures whose sides need no padding, and in training coarser ones to learn by.

        Coarser ones are (N, classes, h, w), each of whose cells is a square of the picture.
        """
        raise NotImplementedError

    def freeze(self, blocks: int) -> None:
        """Stop training the first blocks of what was learnt before, as far as there is such a part."""

    def forward(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[2:]
        below, right = self._missing(height), self._missing(width)
        padded = F.pad(pictures, (0, right, 0, below), value=PAD / 255)
        return self.whole(padded)[0][:, :, :height, :width]

    def _missing(self, side: Any) -> Any:
        """Pixels to the next side that the network takes; an export traces what is done to a side."""
        rest = (self.stride - side % self.stride) % self.stride
        if self.smallest <= self.stride:
            return rest
        if torch.onnx.is_in_onnx_export():
            return torch.maximum(torch.as_tensor(rest), torch.as_tensor(self.smallest - side))
        return max(rest, self.smallest - side)


class Deconvolution(nn.Sequential):
    """Transposed convolution that keeps the size, batch normalisation and ReLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 3, padding: int | None = None) -> None:
        padding = kernel // 2 if padding is None else padding
        convolution = nn.ConvTranspose2d(channels_in, channels_out, kernel, padding=padding, bias=False)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        super().__init__(convolution, nn.BatchNorm2d(channels_out, momentum=0.03), nn.ReLU(inplace=True))
