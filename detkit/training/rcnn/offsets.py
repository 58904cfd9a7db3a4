"""Boxes as offsets from reference boxes, which are anchors or proposals.

Boxes and references are float (..., 4) xyxy in pixels, offsets (..., 4) are tx, ty, tw, th. Girshick et al., "Rich
feature hierarchies" (2014), appendix C: equations 6 to 9 (`encode`) and 1 to 4 (`decode`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST_GROWTH = math.log(1000 / 16)  # of tw and th, so that an untrained network's exponentials stay finite


def encode(boxes: Tensor, references: Tensor) -> Tensor:
    """Offsets that lead from references to boxes; both must have positive sizes."""
    sizes, reference_sizes = boxes[..., 2:] - boxes[..., :2], references[..., 2:] - references[..., :2]
    centres, reference_centres = (boxes[..., :2] + boxes[..., 2:]) / 2, (references[..., :2] + references[..., 2:]) / 2
    return torch.cat(((centres - reference_centres) / reference_sizes, (sizes / reference_sizes).log()), dim=-1)


def decode(offsets: Tensor, references: Tensor) -> Tensor:
    """Boxes that offsets lead to; no box grows by more than 62.5 times."""
    reference_sizes = references[..., 2:] - references[..., :2]
    centres = (references[..., :2] + references[..., 2:]) / 2 + offsets[..., :2] * reference_sizes
    half = offsets[..., 2:].clamp(max=LARGEST_GROWTH).exp() * reference_sizes / 2
    return torch.cat((centres - half, centres + half), dim=-1)


def clip(boxes: Tensor, width: float, height: float) -> Tensor:
    """Boxes cut at the borders of a picture."""
    return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
