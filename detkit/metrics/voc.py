"""Pascal VOC's average precision (Everingham et al., "The Pascal Visual Object Classes Challenge", 2010).

Departures from the development kit: sides of boxes are differences of coordinates unless `inclusive` is set; the
eleven recalls of 2007 are the doubles nearest to 0, 0.1 ... 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.dataset import GroundTruth, Predictions
from detkit.metrics.average_precision import VOC07_RECALLS, average_precision, mean_defined
from detkit.metrics.outcomes import Outcomes, voc_outcomes


@dataclass(frozen=True)
class VocResult:
    """figures: AP, the mean over classes with boxes; average_precision float64 (K,), -1 without boxes."""

    figures: dict[str, float]
    average_precision: NDArray[np.float64]
    outcomes: Outcomes


def evaluate_voc(
    ground_truth: GroundTruth,
    predictions: Predictions,
    iou: float = 0.5,
    *,
    eleven_points: bool = False,
    max_det: int | None = None,
    inclusive: bool = False,
) -> VocResult:
    """VOC's AP at one overlap: the area under the curve (2010 on), or 2007's mean over eleven recalls."""
    outcomes = voc_outcomes(ground_truth, predictions, iou, max_det=max_det, inclusive=inclusive)
    values = class_ap(outcomes, eleven_points=eleven_points)
    return VocResult({"AP": mean_defined(values)}, values, outcomes)


def class_ap(outcomes: Outcomes, *, eleven_points: bool) -> NDArray[np.float64]:
    """float64 (K,): AP of each class, -1 where it has no boxes that count."""
    recalls = VOC07_RECALLS if eleven_points else None
    return average_precision(*outcomes.hit_curve(), outcomes.positives, recalls=recalls)
