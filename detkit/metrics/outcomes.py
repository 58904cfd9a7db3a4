"""What became of each detection at one overlap: the common ground of VOC's AP, counts, curves and error bars."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detkit.dataset import GroundTruth, Predictions
from detkit.metrics.coco import Faults, forget_id_zero, match_ranking, outside_ranges
from detkit.metrics.iou_types import Side, overlap_of
from detkit.metrics.ranking import Ranking, rank


@dataclass(frozen=True)
class Outcomes:
    """N ranked detections and M true boxes of K classes, matched at one overlap.

    ranking     the detections
    truth       int64 (N,), the true box that each has found or claimed, -1 for none
    hit         bool (N,), true positives
    counts      bool (N,), false for detections that count neither for nor against
    positive    bool (M,), the true boxes that count
    positives   int64 (K,), their number in each class
    images      the number of images I

    A detection that counts and is no hit is a false positive; a `positive` box that no hit has is missed.
    """

    ranking: Ranking
    truth: NDArray[np.int64]
    hit: NDArray[np.bool_]
    counts: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    positives: NDArray[np.int64]
    images: int

    @property
    def missed(self) -> NDArray[np.bool_]:
        """bool (M,): the boxes that count and that no detection at all has found."""
        missed = self.positive.copy()
        missed[self.truth[self.hit]] = False
        return missed

    def seen(self) -> NDArray[np.int64]:
        """int64 (N,): the detections of the same class that count, up to and with each."""
        total = np.concatenate(([0], np.cumsum(self.counts)))
        return total[1:] - total[self.ranking.starts[:-1]][self.ranking.class_index]

    def hit_curve(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(class_of, seen) of the hits, what the functions of `average_precision` take."""
        return self.ranking.class_index[self.hit], self.seen()[self.hit]


def coco_outcomes(
    ground_truth: GroundTruth,
    predictions: Predictions,
    iou: float = 0.5,
    *,
    max_det: int | None = 100,
    min_score: float | None = None,
    faults: Faults = Faults(),
) -> Outcomes:
    """Outcomes under COCO's rule (see `matching.match_greedily`); crowd and ignored boxes do not count.

    Of `faults`, only that of annotation 0 is repeated here.
    """
    ranking = _ranked(ground_truth, predictions, max_det, min_score)
    ignored = ground_truth.crowd | ground_truth.ignore
    matches = match_ranking(ground_truth, ranking, np.array([iou]), ignored[None])
    if faults.id_zero_unmatched:
        matches = forget_id_zero(ground_truth, matches, ignored[None])
    return outcomes_of_matches(ground_truth, ranking, matches.detection, matches.truth[0, 0])


def outcomes_of_matches(
    ground_truth: GroundTruth, ranking: Ranking, detection: NDArray[np.int64], matched: NDArray[np.int32]
) -> Outcomes:
    """Outcomes of detections matched by COCO's rule: positions `detection` (C,) and their boxes `matched` (C,).

    A detection that has found nothing and has an area outside of COCO's widest range (width * height below 0, or
    above 1e10) does not count.
    """
    ignored = ground_truth.crowd | ground_truth.ignore
    truth = np.full(len(ranking), -1, dtype=np.int64)
    truth[detection] = matched
    spared = outside_ranges(ranking.areas)[0]
    spared[detection] = np.where(matched >= 0, ignored[matched], spared[detection]) if len(ignored) else False
    return _outcomes(ground_truth, ranking, truth, (truth >= 0) & ~spared, ~spared, ~ignored)


def voc_outcomes(
    ground_truth: GroundTruth,
    predictions: Predictions,
    iou: float = 0.5,
    *,
    max_det: int | None = None,
    min_score: float | None = None,
    inclusive: bool = False,
) -> Outcomes:
    """Outcomes under Pascal VOC's rule (VOCevaldet.m of the development kit; Everingham et al. 2010, section 4.2).

    Each detection goes to the true box of its class that it overlaps most, of equals the first. At `iou` or more it
    finds that box, unless a better one has: then it is a false positive, whatever other box may be within reach.
    On a box marked difficult (or ignored, or a crowd) it does not count.

    inclusive   measure boxes as the kit does, whose corners are pixels that belong to the box: sides longer by 1.
                Without it sides are differences of coordinates, as everywhere else here.
    """
    ranking = _ranked(ground_truth, predictions, max_det, min_score)
    classes = len(ground_truth.categories)
    wider = np.array([0.0, 0.0, 1.0, 1.0]) if inclusive else np.zeros(4)
    cells = ranking.image * classes + ranking.class_index
    truth_cells = ground_truth.image_index * classes + ground_truth.class_index
    found = replace(predictions, boxes=predictions.boxes + wider)
    truth = replace(ground_truth, boxes=ground_truth.boxes + wider)
    pairs = overlap_of(ground_truth).pairs(
        Side.of_found(found, cells, ranking.rows),
        Side.of_truth(truth, truth_cells),
        np.zeros(len(ground_truth), dtype=bool),
        iou,
    )
    order = np.lexsort((-pairs.truth, pairs.iou, pairs.detection))  # the last of a detection is its box
    detection, wanted = pairs.detection[order], pairs.truth[order]
    last = np.append(detection[1:] != detection[:-1], True)[: len(order)]
    detection, wanted = detection[last], wanted[last]

    skipped = ground_truth.difficult | ground_truth.ignore | ground_truth.crowd
    first = np.full(len(ground_truth), -1)
    first[wanted[::-1]] = detection[::-1]
    matched = np.full(len(ranking), -1, dtype=np.int64)
    matched[detection] = wanted
    hit = np.zeros(len(ranking), dtype=bool)
    hit[detection] = (first[wanted] == detection) & ~skipped[wanted]
    counts = np.ones(len(ranking), dtype=bool)
    counts[detection] = ~skipped[wanted]
    return _outcomes(ground_truth, ranking, matched, hit, counts, ~skipped)


def _ranked(
    ground_truth: GroundTruth, predictions: Predictions, max_det: int | None, min_score: float | None
) -> Ranking:
    ids, classes = ground_truth.images.ids, len(ground_truth.categories)
    return rank(predictions, ids, classes, max_det=max_det, min_score=min_score)


def _outcomes(
    ground_truth: GroundTruth,
    ranking: Ranking,
    truth: NDArray[np.int64],
    hit: NDArray[np.bool_],
    counts: NDArray[np.bool_],
    positive: NDArray[np.bool_],
) -> Outcomes:
    positives = np.bincount(ground_truth.class_index[positive], minlength=len(ground_truth.categories))
    return Outcomes(ranking, truth, hit, counts, positive, positives, len(ground_truth.images))
