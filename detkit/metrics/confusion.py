"""The confusion matrix of a detector, with a row and a column for the background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detkit.dataset import GroundTruth
from detkit.metrics.iou_types import Side, overlap_of
from detkit.metrics.matching import match_greedily
from detkit.metrics.outcomes import Outcomes


def confusion_matrix(ground_truth: GroundTruth, outcomes: Outcomes, score: float, iou: float) -> NDArray[np.int64]:
    """int64 (K + 1, K + 1): row the true class, column the detected one, the last of each the background.

    outcomes   matches within classes at `iou`; of them the detections of at least `score`

    First every class is matched by itself, so the diagonal is the true positives of each class. Then the detections
    and boxes that are left are matched across classes, best score first: a pair is a confusion. What is left then is
    a false positive on the background (last row) or a missed box (last column). Detections and boxes that do not
    count are left out, and so are false positives on a crowd or an ignored box of another class.

    Row sums are the true boxes of each class; column sums its detections that count, less those left out.
    """
    classes = len(ground_truth.categories)
    matrix = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    ranking = outcomes.ranking
    accepted = ranking.scores >= score
    hit = np.flatnonzero(accepted & outcomes.hit)
    np.add.at(matrix, (ranking.class_index[hit], ranking.class_index[hit]), 1)

    false = np.flatnonzero(accepted & outcomes.counts & ~outcomes.hit)
    false = false[np.argsort(-ranking.scores[false], kind="stable")]
    left = outcomes.positive.copy()
    left[outcomes.truth[hit]] = False
    rest = np.flatnonzero(left | ~outcomes.positive)
    ignored, crowd = ~outcomes.positive[rest], ground_truth.crowd[rest]
    cells = ranking.image[false]
    pairs = overlap_of(ground_truth).pairs(
        Side.of_found(ranking.found, cells, ranking.rows[false]),
        Side.of_truth(ground_truth, ground_truth.image_index[rest], rest),
        crowd,
        iou,
    )
    # what is left of a class at `iou` cannot match within it, but for boxes that another detection had claimed
    other = ranking.class_index[false][pairs.detection] != ground_truth.class_index[rest][pairs.truth]
    matches = match_greedily(pairs.where(other), cells, np.array([iou]), ignored[None], crowd)
    partner = np.full(len(false), -1)
    partner[matches.detection] = matches.truth[0, 0]

    confused = np.flatnonzero(partner >= 0)
    confused = confused[~ignored[partner[confused]]]
    true_class = ground_truth.class_index[rest][partner[confused]]
    np.add.at(matrix, (true_class, ranking.class_index[false[confused]]), 1)
    np.add.at(matrix[classes], ranking.class_index[false[partner < 0]], 1)

    missed = left.copy()
    missed[rest[partner[confused]]] = False
    np.add.at(matrix[:, classes], ground_truth.class_index[missed], 1)
    return matrix
