"""AP of a detector that was just trained, on the pictures that were held out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from detkit.boxes import xyxy_to_xywh
from detkit.dataset import GroundTruth, Predictions
from detkit.detections import Detections
from detkit.metrics.coco import evaluate_coco
from detkit.training.pictures import AnnotatedPicture

_COLUMNS = ("image_index", "class_index", "boxes", "areas", "crowd", "difficult", "ignore", "truncated", "occluded")


def average_precision(
    detections: Iterable[Detections], pictures: Sequence[AnnotatedPicture], truth: GroundTruth
) -> tuple[float, float]:
    """AP and AP50, as COCO defines them, of the detections of each picture against its part of the annotations."""
    found = list(detections)
    rows = np.array([picture.row for picture in pictures])
    predictions = Predictions(
        np.repeat(rows, [len(one) for one in found]),
        np.concatenate([one.class_ids for one in found]),
        xyxy_to_xywh(np.concatenate([one.boxes for one in found])).astype(np.float64),
        np.concatenate([one.scores for one in found]).astype(np.float64),
    )
    kept = np.isin(truth.image_index, rows)
    part = replace(
        truth,
        ids=tuple(entry for entry, keep in zip(truth.ids, kept.tolist(), strict=True) if keep),
        **{name: getattr(truth, name)[kept] for name in _COLUMNS},
    )
    figures = evaluate_coco(part, predictions).figures
    return figures["AP"], figures["AP50"]
