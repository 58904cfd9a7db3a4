"""Masks as numbers of pixels: one object a pixel, as label maps have them, and what overlapping masks lose by it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detkit.shapes.masks import Masks, pair_iou


def painted(masks: Masks, height: int, width: int) -> NDArray[np.int32]:
    """int32 (height, width): 1 + the row of the mask that a pixel belongs to, 0 where there is none.

    Where masks share pixels, the smaller one has them, of equals the later one.
    """
    labels = np.zeros((height, width), np.int32)
    for row in np.argsort(-masks.areas, kind="stable").tolist():
        if masks.areas[row]:
            pixels, left, top = masks.window(row)
            labels[top : top + pixels.shape[0], left : left + pixels.shape[1]][pixels] = row + 1
    return labels


def unshared(masks: Masks, image_index: NDArray[np.int64]) -> tuple[Masks, NDArray[np.float64]]:
    """Masks of which no two of a picture share a pixel, as `painted`, and the IoU (C,) of those that lost some."""
    order = np.argsort(image_index, kind="stable")
    firsts = np.flatnonzero(np.append(True, np.diff(image_index[order]) != 0)[: len(order)])
    parts = []
    for begin, end in zip(firsts, np.append(firsts[1:], len(order)), strict=True):
        own = masks[order[begin:end]]
        height, width = own.sizes.max(axis=0).tolist()
        if own.areas.sum() == 0 or _lie_apart(own):
            parts.append(own)
            continue
        found, rows = Masks.from_labels(painted(own, height, width))
        both = Masks.concatenate((Masks.blank(own.sizes), found))
        places = np.arange(len(own))
        places[rows - 1] = len(own) + np.arange(len(rows))
        parts.append(both[places])
    made = Masks.concatenate(parts)[np.argsort(order)] if parts else masks
    changed = np.flatnonzero(made.areas != masks.areas)
    return made, pair_iou(masks, made, changed, changed)


def _lie_apart(masks: Masks) -> bool:
    """Whether no two masks can share a pixel, as they together have no more pixels than all of them cover."""
    together = masks.union(np.zeros(len(masks), np.int64), 1)
    return bool(together.areas[0] == masks.areas.sum())
