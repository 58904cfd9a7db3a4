"""COCO's twelve figures (Lin et al., "Microsoft COCO", 2014; the protocol is that of pycocotools' `COCOeval`).

Every figure is the same double that pycocotools computes, with two exceptions where it has a fault. Both count
here as they should; `Faults` repeats them:

* it drops the flag `ignore` of an annotation in favour of `iscrowd` (cocoapi #466);
* it marks a detection as matched by the id of the annotation, so a match with annotation 0 is a false positive
  (cvat pull request #748).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.dataset import GroundTruth, Predictions
from detkit.metrics.average_precision import (
    COCO_RECALLS,
    hits_for_recalls,
    interpolated_precision,
)
from detkit.metrics.iou_types import OVERLAPS, Side, overlap_of
from detkit.metrics.matching import Matches, match_greedily
from detkit.metrics.ranking import Ranking, rank, sorted_order

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
MAX_DETS = (1, 10, 100)
AREA_NAMES = ("all", "small", "medium", "large")
AREA_RANGES = ((0.0, 1e5**2), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e5**2))
FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass(frozen=True)
class Faults:
    """Which faults of pycocotools to repeat, to compare with figures it has made."""

    ignore_overwritten: bool = False
    id_zero_unmatched: bool = False


AS_PYCOCOTOOLS = Faults(ignore_overwritten=True, id_zero_unmatched=True)


@dataclass(frozen=True)
class CocoResult:
    """COCO's tables: T thresholds, R = 101 recalls, K classes, A area ranges, M limits of detections per image.

    figures     the twelve, by name; -1 where nothing defines them
    precision   float64 (T, R, K, A), interpolated, at the largest limit; -1 for classes without boxes
    recall      float64 (T, K, A, M)
    thresholds  float64 (T,); max_dets (M,)
    positives   int64 (A, K), the true boxes that count
    ranking, matches   what they were made from: truth (A, T, C)
    """

    figures: dict[str, float]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    max_dets: tuple[int, ...]
    positives: NDArray[np.int64]
    ranking: Ranking
    matches: Matches
    iou_type: str = "bbox"

    def class_figures(self, class_index: int) -> dict[str, float]:
        """The figures of one class."""
        one = slice(class_index, class_index + 1)
        return OVERLAPS[self.iou_type].summarize(self.precision[:, :, one], self.recall[:, one], self.thresholds)


def evaluate_coco(
    ground_truth: GroundTruth,
    predictions: Predictions,
    *,
    max_dets: tuple[int, int, int] = MAX_DETS,
    thresholds: NDArray[np.float64] = IOU_THRESHOLDS,
    faults: Faults = Faults(),
) -> CocoResult:
    """COCO's figures for one set of detections, O(D log D) in detections and linear in images.

    max_dets    rising limits of detections per image and class; AP is taken at the last
    faults      faults of pycocotools to repeat
    """
    ranking = rank(predictions, ground_truth.images.ids, len(ground_truth.categories), max_det=max_dets[-1])
    ignored = ignored_by_area(ground_truth, faults)
    matches = match_ranking(ground_truth, ranking, thresholds, ignored)
    if faults.id_zero_unmatched:
        matches = forget_id_zero(ground_truth, matches, ignored)
    return accumulate(ground_truth, ranking, matches, ignored, thresholds, max_dets)


def ignored_by_area(ground_truth: GroundTruth, faults: Faults = Faults()) -> NDArray[np.bool_]:
    """bool (A, M): true boxes that do not count in each area range, being crowds, flagged, or outside of it."""
    flagged = ground_truth.crowd if faults.ignore_overwritten else ground_truth.crowd | ground_truth.ignore
    unlabelled = overlap_of(ground_truth).not_counted(ground_truth.shapes, len(ground_truth))
    return (flagged | unlabelled) | outside_ranges(ground_truth.areas)


def match_ranking(
    ground_truth: GroundTruth,
    ranking: Ranking,
    thresholds: NDArray[np.float64],
    ignored: NDArray[np.bool_],
    crowd: NDArray[np.bool_] | None = None,
) -> Matches:
    """Greedy matching within images and classes; `ignored` (A, M), `crowd` (M,) or that of `ground_truth`."""
    crowd = ground_truth.crowd if crowd is None else crowd
    classes = len(ground_truth.categories)
    cells = ranking.image * classes + ranking.class_index
    truth_cells = ground_truth.image_index * classes + ground_truth.class_index
    lowest = min(float(np.min(thresholds)), 1 - 1e-10)
    pairs = overlap_of(ground_truth).pairs(
        Side.of_found(ranking.found, cells, ranking.rows), Side.of_truth(ground_truth, truth_cells), crowd, lowest
    )
    return match_greedily(pairs, cells, thresholds, ignored, crowd)


def accumulate(
    ground_truth: GroundTruth,
    ranking: Ranking,
    matches: Matches,
    ignored: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
    max_dets: tuple[int, ...],
) -> CocoResult:
    """Precision and recall of every class, threshold and area range from the matches."""
    classes = len(ground_truth.categories)
    ways, count = matches.truth.shape[:2]
    class_of = ranking.class_index[matches.detection]
    class_start = np.searchsorted(class_of, class_of)
    place = ranking.place[matches.detection]
    outside = outside_ranges(ranking.areas)
    positives = np.stack([np.bincount(ground_truth.class_index[~row], minlength=classes) for row in ignored])
    precision = np.full((count, len(COCO_RECALLS), classes, ways), -1.0)
    recall = np.full((count, classes, ways, len(max_dets)), -1.0)
    for way in range(ways):
        defined = positives[way] > 0
        before = counted_before(ranking, ~outside[way], matches.detection)
        outside_here = outside[way][matches.detection]
        needed = hits_for_recalls(positives[way], COCO_RECALLS)
        for t in range(count):
            truth = matches.truth[way, t]
            hit, seen = hits_and_seen(truth, before, outside_here, ignored[way], class_start)
            curves = interpolated_precision(class_of[hit], seen[hit], needed)
            precision[t, :, defined, way] = curves[defined]
            for m, limit in enumerate(max_dets):
                found = hit if m == len(max_dets) - 1 else hit[place[hit] < limit]
                tally = np.bincount(class_of[found], minlength=classes)
                recall[t, defined, way, m] = tally[defined] / positives[way, defined]
    order = sorted_order(ground_truth.categories.ids)
    figures = overlap_of(ground_truth).summarize(precision[:, :, order], recall[:, order], thresholds)
    kind = ground_truth.iou_type
    return CocoResult(figures, precision, recall, thresholds, max_dets, positives, ranking, matches, kind)


def counted_before(ranking: Ranking, counts: NDArray[np.bool_], positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 (C,): for each of `positions`, the detections of its class up to and with it for which `counts` holds."""
    total = np.concatenate(([0], np.cumsum(counts)))
    return total.take(positions + 1) - total[ranking.starts[:-1]].take(ranking.class_index.take(positions))


def hits_and_seen(
    truth: NDArray[np.int32],
    before: NDArray[np.int64],
    outside: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
    class_start: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """True positives, and how many detections count up to each.

    truth       int (C,), matched true boxes or -1
    class_start int64 (C,), the first index that is of the same class
    before      int64 (C,), what `counted_before` gives for the detections inside the area range
    outside     bool (C,);  ignored bool (M,)

    A match with an ignored box does not count; a match with any other counts even from outside the area range.
    Returns (indices of hits, seen (C,)): at hit h, precision is hits so far / seen[h].
    """
    matched = np.flatnonzero(truth >= 0)
    is_ignored = ignored.take(truth.take(matched))
    hit = matched[~is_ignored]
    change = np.zeros(len(truth), dtype=np.int64)
    lost = matched[is_ignored]
    lost = lost[~outside[lost]]
    gained = hit[outside[hit]]
    if not len(lost) and not len(gained):
        return hit, before
    change[lost] = -1
    change[gained] = 1
    total = np.cumsum(change)
    return hit, before + total - (total - change).take(class_start)


def outside_ranges(areas: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool (A, N): areas outside each of COCO's ranges, whose ends belong to both neighbours."""
    return np.stack([(areas < low) | (areas > high) for low, high in AREA_RANGES])


def forget_id_zero(ground_truth: GroundTruth, matches: Matches, ignored: NDArray[np.bool_]) -> Matches:
    """Matches as pycocotools takes them: a hit on annotation 0 uses the box up, but is a false positive."""
    zero = np.array([annotation_id == 0 for annotation_id in ground_truth.ids], dtype=bool)
    forgotten = zero & ~ignored
    if not forgotten.any():
        return matches
    way = np.arange(len(ignored))[:, None, None]
    return Matches(
        matches.detection,
        np.where((matches.truth >= 0) & forgotten[way, matches.truth], np.int32(-1), matches.truth),
    )
