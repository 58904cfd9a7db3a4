"""Max pooling that remembers where the maxima were, and unpooling that puts values back there.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (2014), call those places *switches*; Noh,
Hong and Han, "Learning Deconvolution Network for Semantic Segmentation" (2015), section 3.2.1, unpool with them.

PyTorch counts a place within its plane and ONNX over the whole tensor, batch and channels included. Both count alike in
pooling and unpooling, so switches only ever go from the one to the other, and exported graphs have ONNX's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class _Pool(torch.autograd.Function):
    """The graph node MaxPool with both of its outputs; only traced."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        pooled, switches = F.max_pool2d(x, 2, return_indices=True)
        return pooled, switches

    @staticmethod
    def symbolic(g: Any, x: Any) -> Any:
        pooled, switches = g.op("MaxPool", x, kernel_shape_i=[2, 2], strides_i=[2, 2], outputs=2)
        batch_and_channels = x.type().sizes()
        if batch_and_channels is not None:
            pooled.setType(x.type().with_sizes([*batch_and_channels[:2], None, None]))
        return pooled, switches


class _Unpool(torch.autograd.Function):
    """The graph node MaxUnpool; only traced."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, switches: Tensor) -> Tensor:
        # The sides are traced, and `F.max_unpool2d` compares them.
        result: Tensor = torch.ops.aten.max_unpool2d(x, switches, [2 * int(side) for side in x.shape[2:]])
        return result

    @staticmethod
    def symbolic(g: Any, x: Any, switches: Any) -> Any:
        result = g.op("MaxUnpool", x, switches, kernel_shape_i=[2, 2], strides_i=[2, 2])
        sizes = x.type().sizes()
        if sizes is not None:
            result.setType(x.type().with_sizes([*sizes[:2], None, None]))
        return result


def pool(x: Tensor) -> tuple[Tensor, Tensor]:
    """The maxima (N, C, H/2, W/2) of 2 x 2 pixels, and their switches; H and W even."""
    if torch.onnx.is_in_onnx_export():
        pooled, switches = _Pool.apply(x)
    else:
        pooled, switches = F.max_pool2d(x, 2, return_indices=True)
    return pooled, switches


def unpool(x: Tensor, switches: Tensor) -> Tensor:
    """Each value of x (N, C, h, w) at the place that its switch says, in (N, C, 2 h, 2 w) of zeros."""
    if torch.onnx.is_in_onnx_export():
        result: Tensor = _Unpool.apply(x, switches)
        return result
    return F.max_unpool2d(x, switches, [2, 2])
