"""The region proposal network's outputs as proposals (Ren, He, Girshick and Sun, "Faster R-CNN", 2015, section 3).

A small network looks at 3 x 3 cells of the feature map at a time and gives, for each of k anchors there, two scores
(background, object) and four offsets. All functions are pure; boxes are (N, 4) xyxy in pixels of the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import clip, decode_offsets
from detkit.nms import greedy_nms
from detkit.ordering import best_first
from detkit.proposals import Proposals

Floats = NDArray[np.float32]

PROPOSAL_IOU = 0.7  # of the suppression among proposals (section 3.3)
_BEFORE_SUPPRESSION = 6000  # as in the authors' code; with 2,000 near duplicates of the best leave out objects


def grid_anchors(size: tuple[int, int], stride: int, shapes: Sequence[tuple[float, float]]) -> Floats:
    """Anchors (h * w * k, 4) of a feature map of `size` (h, w), k `shapes` (width, height) centred on each cell.

    Cells are `stride` pixels apart, the centre of the first at stride / 2; the anchors of a cell come together, cells
    row by row (section 3.1.1).
    """
    y, x = np.mgrid[: size[0], : size[1]]
    centres = (np.stack((x, y), axis=-1).reshape(-1, 1, 2) + 0.5) * stride
    half = np.asarray(shapes, np.float32).reshape(1, -1, 2) / 2
    return np.concatenate((centres - half, centres + half), axis=2).reshape(-1, 4).astype(np.float32)


def propose(
    scores: Floats, offsets: Floats, anchors: Floats, size: tuple[float, float], count: int, iou: float = PROPOSAL_IOU
) -> Proposals:
    """The best `count` proposals of one picture of `size` (width, height), with their probabilities of an object.

    scores   (2k, h, w) logits, background and object of each anchor in turn
    offsets  (4k, h, w), tx, ty, tw, th of each anchor in turn
    anchors  (h * w * k, 4) of `grid_anchors`
    """
    logits = scores.reshape(-1, 2, *scores.shape[1:]).transpose(2, 3, 0, 1).reshape(-1, 2)
    objectness = 1 / (1 + np.exp(np.clip(logits[:, 0] - logits[:, 1], -80, 80)))  # softmax of two
    moved = offsets.reshape(-1, 4, *offsets.shape[1:]).transpose(2, 3, 0, 1).reshape(-1, 4)
    best = best_first(objectness)[:_BEFORE_SUPPRESSION]
    boxes = clip(decode_offsets(anchors[best], moved[best]), *size)
    whole = (boxes[:, 2] - boxes[:, 0] >= 1) & (boxes[:, 3] - boxes[:, 1] >= 1)
    boxes, probabilities = boxes[whole], objectness[best][whole].astype(np.float32)
    kept = greedy_nms(boxes, probabilities, iou)[:count]
    return Proposals(boxes[kept].astype(np.float32), probabilities[kept])
