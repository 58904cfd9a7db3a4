"""RoI max pooling that trains on a CPU: each RoI of a feature map as 7 x 7 cells.

Girshick 2015, section 2.1, with the rounding of the authors' code, which ONNX's MaxRoiPool has as well: corners go to
the nearest cell, the last one counts, and neighbouring bins may share a row or a column.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.compiled import compiled

POOLED = 7
Arrays = NDArray[np.float32]


@compiled
def _pool(x: Arrays, rois: Arrays, scale: float, pooled: int) -> tuple[Arrays, NDArray[np.int32]]:
    """Maxima (R, pooled, pooled, C) of x (N, h, w, C), and the cell y * w + x of each, -1 where a bin is empty."""
    _, height, width, channels = x.shape
    result = np.zeros((len(rois), pooled, pooled, channels), np.float32)
    cells = np.full((len(rois), pooled, pooled, channels), -1, np.int32)
    for r in range(len(rois)):
        n = int(rois[r, 0])
        first_x, first_y, last_x, last_y = [int(np.floor(float(rois[r, i]) * scale + 0.5)) for i in range(1, 5)]
        # Single precision, as in the runtimes: where a bin's border falls on a cell's, rounding decides.
        step_y = np.float32(max(last_y - first_y + 1, 1)) / np.float32(pooled)
        step_x = np.float32(max(last_x - first_x + 1, 1)) / np.float32(pooled)
        for i in range(pooled):
            top = min(max(int(np.floor(np.float32(i) * step_y)) + first_y, 0), height)
            bottom = min(max(int(np.ceil(np.float32(i + 1) * step_y)) + first_y, 0), height)
            for j in range(pooled):
                left = min(max(int(np.floor(np.float32(j) * step_x)) + first_x, 0), width)
                right = min(max(int(np.ceil(np.float32(j + 1) * step_x)) + first_x, 0), width)
                for row in range(top, bottom):
                    for column in range(left, right):
                        cell = row * width + column
                        for c in range(channels):
                            value = x[n, row, column, c]
                            if cells[r, i, j, c] < 0 or value > result[r, i, j, c]:
                                result[r, i, j, c] = value
                                cells[r, i, j, c] = cell
    return result, cells


@compiled
def _scatter(gradient: Arrays, cells: NDArray[np.int32], pictures: NDArray[np.int64], shape: Any) -> Arrays:
    """The gradient (N, h * w, C) of the map: that of each pooled value goes to the cell it came from."""
    result = np.zeros(shape, np.float32)
    for r in range(gradient.shape[0]):
        for i in range(gradient.shape[1]):
            for j in range(gradient.shape[2]):
                for c in range(gradient.shape[3]):
                    if cells[r, i, j, c] >= 0:
                        result[pictures[r], cells[r, i, j, c], c] += gradient[r, i, j, c]
    return result


class _RoiMaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features: Tensor, rois: Tensor, scale: float) -> Tensor:  # type: ignore[no-untyped-def]
        x = np.ascontiguousarray(features.detach().permute(0, 2, 3, 1).numpy())
        pooled, cells = _pool(x, np.ascontiguousarray(rois.detach().numpy()), scale, POOLED)
        ctx.cells, ctx.pictures, ctx.shape = cells, rois[:, 0].long().numpy(), x.shape
        return torch.from_numpy(pooled).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, gradient: Tensor):  # type: ignore[no-untyped-def]
        n, height, width, channels = ctx.shape
        rows = np.ascontiguousarray(gradient.permute(0, 2, 3, 1).numpy())
        sums = _scatter(rows, ctx.cells, ctx.pictures, (n, height * width, channels))
        return torch.from_numpy(sums).view(n, height, width, channels).permute(0, 3, 1, 2), None, None

    @staticmethod
    def symbolic(g: Any, features: Any, rois: Any, scale: float) -> Any:
        return g.op("MaxRoiPool", features, rois, pooled_shape_i=[POOLED, POOLED], spatial_scale_f=scale)


def roi_max_pool(features: Tensor, rois: Tensor, stride: int) -> Tensor:
    """Maxima (R, C, 7, 7) of feature maps (N, C, h, w) in RoIs float32 (R, 5): picture, x1, y1, x2, y2 in input pixels.

    A bin outside the map is 0. Exported, it is ONNX's operator MaxRoiPool.
    """
    result: Tensor = _RoiMaxPool.apply(features, rois, 1 / stride)
    return result
