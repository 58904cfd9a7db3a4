"""Pairs of masks that overlap, and of their boundaries (Cheng et al., "Boundary IoU", 2021)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detkit.metrics.overlaps import Pairs
from detkit.metrics.pairing import gather_pairs
from detkit.shapes.masks import Masks, pair_iou

Rows = tuple[NDArray[np.int64], NDArray[np.int64]]


def mask_pairs(
    cells: NDArray[np.int64],
    masks: Masks,
    truth_cells: NDArray[np.int64],
    truth_masks: Masks,
    truth_crowd: NDArray[np.bool_],
    min_iou: float,
    *,
    rows: Rows | None = None,
) -> Pairs:
    """All pairs of the same cell whose masks have an IoU of at least `min_iou` > 0, equal to pycocotools' to the bit.

    cells, masks              int64 (D,) and D masks: detections
    truth_cells, truth_masks  int64 (M,) and M masks; truth_crowd bool (M,), by which the detection's area is divided
    rows                      where detection d is `masks[rows[0][d]]`, and true object m `truth_masks[rows[1][m]]`

    Time is linear in the pairs that share a cell, and in the runs of those whose boxes and areas allow the overlap.
    """
    found, true = rows or (np.arange(len(cells)), np.arange(len(truth_cells)))
    crowd = np.zeros(len(truth_masks), bool)
    crowd[true] = truth_crowd

    def overlap(detection: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
        return pair_iou(masks, truth_masks, found.take(detection), true.take(truth), crowd, min_iou)

    return gather_pairs(cells, truth_cells, overlap, min_iou)


def boundary_pairs(
    cells: NDArray[np.int64],
    masks: Masks,
    truth_cells: NDArray[np.int64],
    truth_masks: Masks,
    truth_crowd: NDArray[np.bool_],
    min_iou: float,
    *,
    rows: Rows | None = None,
) -> Pairs:
    """As `mask_pairs`, the overlap being the smaller of the IoU of the masks and that of their boundaries.

    With a crowd it is the masks' overlap alone: the outline of a region of many objects is not that of any of them.
    faster-coco-eval takes crowds so, too. Boundaries: see `masks.boundaries`.
    """
    found, true = rows or (np.arange(len(cells)), np.arange(len(truth_cells)))
    pairs = mask_pairs(cells, masks, truth_cells, truth_masks, truth_crowd, min_iou, rows=(found, true))
    thin = np.flatnonzero(~truth_crowd[pairs.truth])
    iou = pairs.iou.copy()
    edges = pair_iou(masks.boundaries, truth_masks.boundaries, found[pairs.detection[thin]], true[pairs.truth[thin]])
    iou[thin] = np.minimum(iou[thin], edges)
    return Pairs(pairs.detection, pairs.truth, iou).where(iou >= min_iou)
