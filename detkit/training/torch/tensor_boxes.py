"""Overlaps of boxes in tensors."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-9


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union (M, N) of boxes (M, 4) and (N, 4), xyxy; 0 where the union is empty."""
    overlap = (torch.minimum(a[:, None, 2:], b[:, 2:]) - torch.maximum(a[:, None, :2], b[:, :2])).clamp(min=0).prod(2)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).clamp(min=0).prod(1) for x in (a, b))
    return overlap / (area_a[:, None] + area_b - overlap).clamp(min=EPSILON)
