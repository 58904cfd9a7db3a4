"""AP of a detector that was just trained, on the pictures that were held out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from detkit.boxes import xyxy_to_xywh
from detkit.dataset import GroundTruth, Predictions
from detkit.detections import Detections
from detkit.metrics.coco import evaluate_coco
from detkit.training.pictures import AnnotatedPicture


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
    part = truth[np.isin(truth.image_index, rows)]
    figures = evaluate_coco(part, predictions).figures
    return figures["AP"], figures["AP50"]
