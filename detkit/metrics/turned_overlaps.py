"""Pairs of turned boxes that overlap, by polygon clipping in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detkit.metrics.overlaps import Pairs
from detkit.metrics.pairing import gather_pairs
from detkit.shapes.turned_boxes import area, pair_iou


def turned_pairs(
    cells: NDArray[np.int64],
    corners: NDArray[np.float64],
    truth_cells: NDArray[np.int64],
    truth_corners: NDArray[np.float64],
    truth_crowd: NDArray[np.bool_],
    min_iou: float,
) -> Pairs:
    """All pairs of the same cell whose quadrangles, corners (D, 4, 2) and (M, 4, 2), have an IoU of at least `min_iou`.

    With a crowd, the area of the detection is divided by in place of the union, as COCO does with boxes.
    """
    crowded = bool(truth_crowd.any())
    areas, truth_areas = (area(corners), area(truth_corners)) if crowded else (None, None)

    def measure(detection: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
        iou = pair_iou(corners, truth_corners, detection, truth)
        if areas is None or truth_areas is None:
            return iou
        own = areas[detection]
        common = iou / (1 + iou) * (own + truth_areas[truth])
        share = np.divide(common, own, out=np.zeros_like(common), where=own > 0)
        return np.where(truth_crowd[truth], np.minimum(share, 1.0), iou)

    return gather_pairs(cells, truth_cells, measure, min_iou)
