"""Depthwise and pointwise convolutions that train fast on a CPU, in 32 bits and in 16 (bfloat16)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from detkit.compiled import compiled

Arrays = NDArray[np.float32]


@compiled
def weight_gradient(x: Arrays, gradient: Arrays, kernel: int, stride: int) -> Arrays:
    """Gradient (kernel, kernel, C) of a depthwise convolution's weights, padded with kernel // 2 zeros on each side.

    x (N, H, W, C) is the input and gradient (N, h, w, C) that of the output. The innermost loop runs over the
    channels, which lie side by side: oneDNN's kernel takes four to ten times as long where `kernel` is 5.
    """
    batch, height, width, channels = x.shape
    rows, columns = gradient.shape[1:3]
    padding = kernel // 2
    result = np.zeros((kernel, kernel, channels), np.float32)
    for n in range(batch):
        for row in range(rows):
            for i in range(kernel):
                y = row * stride + i - padding
                if y < 0 or y >= height:
                    continue
                for j in range(kernel):
                    first = max(0, (padding - j + stride - 1) // stride)
                    last = min(columns, (width - 1 + padding - j) // stride + 1)
                    for column in range(first, last):
                        at = column * stride + j - padding
                        for c in range(channels):
                            result[i, j, c] += x[n, y, at, c] * gradient[n, row, column, c]
    return result


class _DepthwiseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.biased = stride, bias is not None
        return F.conv2d(x, weight, bias, stride, weight.shape[2] // 2, groups=weight.shape[0])

    @staticmethod
    def backward(ctx, gradient: Tensor):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        kernel, stride, channels = weight.shape[2], ctx.stride, weight.shape[0]
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        to_input = to_weight = to_bias = None
        if ctx.needs_input_grad[0] and stride == 1:
            to_input = F.conv2d(gradient, weight.flip(2, 3), None, 1, kernel // 2, groups=channels)
        elif ctx.needs_input_grad[0]:  # in 32 bits: oneDNN has no fast one in 16
            half = gradient.dtype
            gradient, weight, x = gradient.float(), weight.float(), x.float()
            to_input = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, [stride] * 2, [kernel // 2] * 2, [1, 1], False, [0, 0], channels,
                [True, False, False],
            )[0].to(half)  # fmt: skip
        if ctx.needs_input_grad[1]:
            rows = x.float().contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).numpy()
            sums = weight_gradient(rows, gradient.float().permute(0, 2, 3, 1).numpy(), kernel, stride)
            to_weight = torch.from_numpy(sums).permute(2, 0, 1).unsqueeze(1)
        if ctx.biased and ctx.needs_input_grad[2]:
            to_bias = gradient.sum(dim=(0, 2, 3))
        return to_input, to_weight, to_bias, None


def depthwise_convolution(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Convolution of each channel with its own kernel: x (N, C, H, W), weight (C, 1, k, k), k odd, bias (C,) or None.

    The result is F.conv2d's with a padding of k // 2; only the gradient of the weight is computed another way.
    """
    if not torch.is_grad_enabled() or not weight.requires_grad or x.device.type != "cpu":
        return F.conv2d(x, weight, bias, stride, weight.shape[2] // 2, groups=weight.shape[0])
    half = torch.is_autocast_enabled("cpu")
    if half:
        x, weight, bias = x.bfloat16(), weight.bfloat16(), None if bias is None else bias.bfloat16()
    if half or weight.shape[2] == 5:
        result: Tensor = _DepthwiseConvolution.apply(x, weight, bias, stride)
        return result
    return F.conv2d(x, weight, bias, stride, weight.shape[2] // 2, groups=weight.shape[0])


def pointwise_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolution with kernels of one pixel: x (N, C, H, W), weight (D, C, 1, 1), bias (D,) or None.

    In mixed precision on a CPU it is computed as a product of matrices: oneDNN's gradient of the convolution takes ten
    times as long.
    """
    if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        rows = x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
        return F.linear(rows, weight[:, :, 0, 0], bias).permute(0, 3, 1, 2)
    return F.conv2d(x, weight, bias)
