"""Kinds of errors and the AP that each costs (Bolya et al., "TIDE", ECCV 2020).

The figures are those of the authors' tidecv, whose conventions differ from COCO's AP50: at most `max_det` detections
an image over all classes together, and a class that is detected but has no true boxes counts with an AP of 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.dataset import GroundTruth, Predictions
from detkit.metrics.average_precision import hits_for_recalls, interpolated_precision
from detkit.metrics.iou_types import Side, overlap_of
from detkit.metrics.matching import match_greedily
from detkit.metrics.overlaps import Pairs
from detkit.metrics.ranking import Ranking, rank

KINDS = ("class", "location", "both", "duplicate", "background", "missed")
RECALLS = np.arange(101) / 100
CLASS, LOCATION, BOTH, DUPLICATE, BACKGROUND, MISSED = range(6)


@dataclass(frozen=True)
class TideResult:
    """What TIDE finds; all AP from 0 to 1.

    ap        AP at `iou` as tidecv takes it
    cost      by kind: the AP gained if its errors alone were put right, never below 0
    counts    by kind: how many errors
    false_positives, false_negatives   AP gained by perfect precision at the same recall, and the other way round
    kinds     int64 (N,), the kind of error of each ranked detection, -1 for none;  rows int64 (N,), its prediction
    missed    bool (M,), true boxes that no detection came near enough to fix
    """

    ap: float
    cost: dict[str, float]
    counts: dict[str, int]
    false_positives: float
    false_negatives: float
    kinds: NDArray[np.int64]
    rows: NDArray[np.int64]
    missed: NDArray[np.bool_]


def tide(
    ground_truth: GroundTruth,
    predictions: Predictions,
    *,
    iou: float = 0.5,
    background: float = 0.1,
    max_det: int = 100,
) -> TideResult:
    """Sort every false positive and every miss into one of six kinds (TIDE, section 2.2) and cost each kind.

    iou          overlap at which a detection finds a box
    background   overlap below which a detection has nothing to do with a box
    max_det      best detections kept of each image, over all classes
    """
    classes = len(ground_truth.categories)
    ranking = rank(predictions, ground_truth.images.ids, classes, max_det=max_det, one_class=True)
    detected = predictions.class_index[ranking.rows]
    ignored = ground_truth.crowd | ground_truth.ignore
    truth, pairs = _match(ground_truth, ranking, detected, ignored, iou)
    spared = truth == _SPARED
    hit = truth >= 0
    used = np.zeros(len(ground_truth), dtype=bool)
    used[truth[hit]] = True

    kinds, claimed = _sort_errors(ground_truth, detected, hit, used, pairs, iou, background)
    fixable = np.isin(kinds, (CLASS, LOCATION))
    fixable[fixable] = ~used[claimed[fixable]]
    reached = np.zeros(len(ground_truth), dtype=bool)
    reached[claimed[fixable]] = True
    missed = ~ignored & ~used & ~reached
    fixes = _best_fix(claimed, fixable, len(ground_truth))

    positives = np.bincount(ground_truth.class_index[~ignored], minlength=classes)
    scores = ranking.scores
    ap = _mean_ap(scores, detected, hit, ~spared, positives)
    cost = {}
    for kind, name in enumerate(KINDS):
        of_kind = kinds == kind
        fixed = of_kind & fixes
        classes_then = detected.copy()
        if kind == CLASS:
            classes_then[fixed] = ground_truth.class_index[claimed[fixed]]
        counts = (~spared & ~of_kind) | fixed
        lost = np.bincount(ground_truth.class_index[missed], minlength=classes) if kind == MISSED else 0
        then = _mean_ap(scores, classes_then, hit | fixed, counts, positives - lost)
        cost[name] = max(then - ap, 0.0)
    perfect = _mean_ap(np.where(hit, 1.0, 0.0), detected, hit, ~spared, positives)
    found = np.bincount(detected[hit], minlength=classes)
    complete = _mean_ap(scores, detected, hit, ~spared, found)
    tally = np.bincount(kinds[kinds >= 0], minlength=len(KINDS))
    tally[MISSED] = np.count_nonzero(missed)
    counts_by_kind = {name: int(tally[kind]) for kind, name in enumerate(KINDS)}
    return TideResult(ap, cost, counts_by_kind, perfect - ap, complete - ap, kinds, ranking.rows, missed)


_SPARED = -2


def _match(
    ground_truth: GroundTruth,
    ranking: Ranking,
    detected: NDArray[np.int64],
    ignored: NDArray[np.bool_],
    iou: float,
) -> tuple[NDArray[np.int64], Pairs]:
    """The box of each detection (-1 none, _SPARED on an ignored region), and all pairs that overlap at all."""
    image = ranking.image
    pairs = overlap_of(ground_truth).pairs(
        Side.of_found(ranking.found, image, ranking.rows),
        Side.of_truth(ground_truth, ground_truth.image_index),
        ignored,
        float(np.finfo(np.float64).tiny),
    )
    same = detected[pairs.detection] == ground_truth.class_index[pairs.truth]
    near = pairs.where(same & (pairs.iou >= iou))
    classes = len(ground_truth.categories)
    matches = match_greedily(near, image * classes + detected, np.array([iou]), ignored[None], ignored)
    truth = np.full(len(detected), -1, dtype=np.int64)
    truth[matches.detection] = matches.truth[0, 0]
    on_region = (truth >= 0) & ignored[truth] if len(ignored) else np.zeros(len(truth), dtype=bool)
    truth[on_region] = _SPARED
    return truth, pairs.where(~ignored[pairs.truth])


def _sort_errors(
    ground_truth: GroundTruth,
    detected: NDArray[np.int64],
    hit: NDArray[np.bool_],
    used: NDArray[np.bool_],
    pairs: Pairs,
    iou: float,
    background: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(kinds, claimed), int64 (N,): the kind of each error, -1 for hits, and the box that it was meant for."""
    same = detected[pairs.detection] == ground_truth.class_index[pairs.truth]
    own, own_box = _highest(pairs.where(same), len(detected))
    other, other_box = _highest(pairs.where(~same), len(detected))
    taken, _ = _highest(pairs.where(same & used[pairs.truth]), len(detected))
    highest = np.maximum(own, other)

    conditions = [
        (own >= background) & (own <= iou),
        other >= iou,
        taken >= iou,
        highest <= background,
    ]
    kinds = np.select(conditions, [LOCATION, CLASS, DUPLICATE, BACKGROUND], BOTH)
    kinds[hit] = -1
    claimed = np.where(kinds == LOCATION, own_box, np.where(kinds == CLASS, other_box, 0))
    return kinds, claimed


def _highest(pairs: Pairs, count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The highest overlap (N,) of each detection, 0 without any, and its box, of equals the first."""
    order = np.lexsort((-pairs.truth, pairs.iou, pairs.detection))
    highest, box = np.zeros(count), np.zeros(count, dtype=np.int64)
    detection = pairs.detection[order]
    last = np.append(detection[1:] != detection[:-1], True)[: len(detection)]
    highest[detection[last]] = pairs.iou[order][last]
    box[detection[last]] = pairs.truth[order][last]
    return highest, box


def _best_fix(claimed: NDArray[np.int64], fixable: NDArray[np.bool_], truths: int) -> NDArray[np.bool_]:
    """bool (N,): of the errors that claim a box, the one of the highest score; only that one can be put right."""
    errors = np.flatnonzero(fixable)
    first = np.full(truths, -1)
    first[claimed[errors[::-1]]] = errors[::-1]
    fixes = np.zeros(len(fixable), dtype=bool)
    fixes[first[first >= 0]] = True
    return fixes


def _mean_ap(
    scores: NDArray[np.float64],
    class_of: NDArray[np.int64],
    hit: NDArray[np.bool_],
    counts: NDArray[np.bool_],
    positives: NDArray[np.int64],
) -> float:
    """101-point AP, averaged over all classes with a detection or a box; 0 for one without boxes; -1 for none."""
    rows = np.flatnonzero(counts)
    rows = rows[np.lexsort((-scores[rows], class_of[rows]))]
    classes = class_of[rows]
    detections = np.bincount(classes, minlength=len(positives))
    seen = np.arange(1, len(rows) + 1) - (np.cumsum(detections) - detections)[classes]
    hits = hit[rows]
    needed = hits_for_recalls(positives, RECALLS)
    curves = interpolated_precision(classes[hits], seen[hits], needed, guard=0.0)
    values = np.where(positives > 0, curves.mean(axis=1), 0.0)
    known = detections + positives > 0
    return float(values[known].mean()) if known.any() else -1.0
