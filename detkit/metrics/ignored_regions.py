"""Regions in which detections do not count, under the rules of those who made the annotations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detkit.dataset import DONT_CARE, GroundTruth


def regions_of_all_classes(ground_truth: GroundTruth) -> GroundTruth:
    """`DontCare` as KITTI's evaluation takes it: no class, but regions in which no detection of any class counts.

    Each box of the class becomes a region of every other class with the flags `crowd` and `ignore`, so that it takes
    any number of detections that lie in it. Annotations in which the class has other boxes, or is the only one, are
    returned as they are.
    """
    table = ground_truth.categories
    if DONT_CARE not in table.names or len(table) < 2:
        return ground_truth
    own = table.names.index(DONT_CARE)
    is_region = ground_truth.class_index == own
    if not ground_truth.ignore[is_region].all():
        return ground_truth
    others = len(table) - 1
    boxes = np.count_nonzero(~is_region)
    rows = np.concatenate((np.flatnonzero(~is_region), np.repeat(np.flatnonzero(is_region), others)))
    result = ground_truth[rows]
    classes, crowd = result.class_index, result.crowd  # copies, as rows were chosen by number
    classes -= classes > own
    classes[boxes:] = np.tile(np.arange(others), np.count_nonzero(is_region))
    crowd[boxes:] = True
    return replace(
        result, categories=table[np.arange(len(table)) != own], class_index=classes, ids=tuple(range(1, len(rows) + 1))
    )
