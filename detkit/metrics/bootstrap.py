"""Error bars for average precision: the bootstrap over images (Efron and Tibshirani 1993, chapters 13 and 16).

A resample draws I images with replacement. The matches within an image do not depend on the others, so nothing is
matched again: a resample is a weight for each image, how often it was drawn, and AP with weights is exactly AP of
the data set in which each image is repeated so often, the copies of a detection next to each other in the ranking
(only where one image has two detections of a class and score would a list of the copies be in another order).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.dataset import GroundTruth, Predictions
from detkit.errors import UsageError
from detkit.metrics.average_precision import (
    COCO_RECALLS,
    GUARD,
    VOC07_RECALLS,
    average_precision,
    mean_defined,
)
from detkit.metrics.coco import IOU_THRESHOLDS, Faults, forget_id_zero, match_ranking, outside_ranges
from detkit.metrics.outcomes import Outcomes, voc_outcomes
from detkit.metrics.ranking import Ranking, rank


@dataclass(frozen=True)
class Interval:
    """A figure with the percentile interval of its resamples: `low` and `high` hold the middle `level` of them.

    bias      mean of the resamples minus the value. Where classes have few boxes it is large: the copies of a box
              that was drawn twice are found together, which makes resamples easier than the data. Then the width
              of the interval says more than its place.
    samples   resamples in which the figure is defined; with none, low, high and bias are -1, -1 and 0
    """

    value: float
    low: float
    high: float
    level: float
    bias: float
    samples: int


@dataclass(frozen=True)
class Comparison:
    """A difference (second minus first) of one figure on the same resamples.

    p_value   two-sided: twice the share of resamples, with one added, whose difference has the other sign or is 0
    """

    first: float
    second: float
    difference: Interval
    p_value: float


@dataclass(frozen=True)
class Resampler:
    """AP of one set of detections under any weights of the images; made by `coco_resampler` or `voc_resampler`.

    The hits of all T thresholds and K classes are one list, threshold * K + class their class there.

    total_at, total_from      int64 (H,): the detections of a hit's class up to it are ranking[total_from:total_at]
    spared_image              int64 (S,), images of the detections that do not count, by threshold and position
    spared_at, spared_from    int64 (H,): those of a hit's class up to it are spared_image[spared_from:spared_at]
    """

    ranking: Ranking
    hit_class: NDArray[np.int64]
    hit_image: NDArray[np.int64]
    total_at: NDArray[np.int64]
    total_from: NDArray[np.int64]
    spared_image: NDArray[np.int64]
    spared_at: NDArray[np.int64]
    spared_from: NDArray[np.int64]
    truth_image: NDArray[np.int64]
    truth_class: NDArray[np.int64]
    thresholds: int
    classes: int
    images: int
    recalls: NDArray[np.float64] | None
    guard: float
    figures: dict[str, slice]

    def whole(self) -> dict[str, float]:
        """The figures of the data set as it is."""
        return self(np.ones(self.images, dtype=np.int64))

    def __call__(self, weights: NDArray[np.int64]) -> dict[str, float]:
        """The figures when image i is there `weights[i]` times; O(N) with N detections."""
        table = self.class_table(weights)
        return {name: mean_defined(table[some]) for name, some in self.figures.items()}

    def class_table(self, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """float64 (T, K): AP by threshold and class, -1 for classes without boxes."""
        drawn = np.bincount(self.truth_class, weights.take(self.truth_image), minlength=self.classes)
        positives = np.tile(drawn.astype(np.int64), self.thresholds)
        total = np.concatenate(([0], np.cumsum(weights.take(self.ranking.image))))
        seen = total.take(self.total_at) - total.take(self.total_from)
        if len(self.spared_image):
            spared = np.concatenate(([0], np.cumsum(weights.take(self.spared_image))))
            seen -= spared.take(self.spared_at) - spared.take(self.spared_from)
        values = average_precision(
            self.hit_class, seen, positives, weights.take(self.hit_image), recalls=self.recalls, guard=self.guard
        )
        return values.reshape(self.thresholds, self.classes)


def coco_resampler(
    ground_truth: GroundTruth,
    predictions: Predictions,
    *,
    max_det: int = 100,
    thresholds: NDArray[np.float64] = IOU_THRESHOLDS,
    recalls: NDArray[np.float64] | None = COCO_RECALLS,
    faults: Faults = Faults(),
) -> Resampler:
    """AP, AP50 and AP75 under COCO's protocol.

    recalls   where precision is averaged, or None for the area under the curve
    faults    of pycocotools; only that of annotation 0 is repeated here
    """
    ranking = rank(predictions, ground_truth.images.ids, len(ground_truth.categories), max_det=max_det)
    ignored = ground_truth.crowd | ground_truth.ignore
    matches = match_ranking(ground_truth, ranking, thresholds, ignored[None])
    if faults.id_zero_unmatched:
        matches = forget_id_zero(ground_truth, matches, ignored[None])
    outside = outside_ranges(ranking.areas)[0]
    events = []
    for truth in matches.truth[0]:
        matched = np.flatnonzero(truth >= 0)
        on_ignored = ignored[truth[matched]]
        spared = outside.copy()
        spared[matches.detection[matched]] = on_ignored
        events.append((matches.detection[matched[~on_ignored]], np.flatnonzero(spared)))
    figures = {"AP": slice(None)}
    for name, threshold in (("AP50", 0.5), ("AP75", 0.75)):
        for t in np.flatnonzero(thresholds == threshold):
            figures[name] = slice(int(t), int(t) + 1)
    return _resampler(ground_truth, ranking, events, ~ignored, recalls, GUARD, figures)


def voc_resampler(
    ground_truth: GroundTruth,
    predictions: Predictions,
    iou: float = 0.5,
    *,
    eleven_points: bool = False,
    max_det: int | None = None,
) -> Resampler:
    """AP under VOC's protocol."""
    outcomes: Outcomes = voc_outcomes(ground_truth, predictions, iou, max_det=max_det)
    events = [(np.flatnonzero(outcomes.hit), np.flatnonzero(~outcomes.counts))]
    recalls = VOC07_RECALLS if eleven_points else None
    figures = {"AP": slice(None)}
    return _resampler(ground_truth, outcomes.ranking, events, outcomes.positive, recalls, 0.0, figures)


def bootstrap(resampler: Resampler, *, samples: int = 1000, level: float = 0.95, seed: int = 0) -> dict[str, Interval]:
    """An `Interval` for each figure of `resampler` from `samples` resamples of its images."""
    values = _resample((resampler,), samples, seed)[0]
    whole = resampler.whole()
    return {name: _interval(whole[name], values[name][values[name] > -1], level) for name in whole}


def compare(
    first: Resampler, second: Resampler, *, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Comparison]:
    """How much better `second` is than `first` on the same images, resampled together.

    Both must come from the same ground truth. UsageError where they do not have the same images.
    """
    if first.images != second.images:
        raise UsageError(f"detections of {first.images} and {second.images} images cannot be compared in pairs")
    a, b = _resample((first, second), samples, seed)
    whole_a, whole_b = first.whole(), second.whole()
    result = {}
    for name in whole_a:
        defined = (a[name] > -1) & (b[name] > -1)
        difference = b[name][defined] - a[name][defined]
        below, above = np.count_nonzero(difference <= 0), np.count_nonzero(difference >= 0)
        p_value = min(1.0, 2 * (min(below, above) + 1) / (len(difference) + 1))
        interval = _interval(whole_b[name] - whole_a[name], difference, level)
        result[name] = Comparison(whole_a[name], whole_b[name], interval, p_value)
    return result


def _resample(resamplers: tuple[Resampler, ...], samples: int, seed: int) -> list[dict[str, NDArray[np.float64]]]:
    rng = np.random.default_rng(seed)
    images = resamplers[0].images
    values: list[dict[str, list[float]]] = [{name: [] for name in one.figures} for one in resamplers]
    for _ in range(samples):
        weights = np.bincount(rng.integers(0, max(images, 1), images), minlength=images)
        for one, kept in zip(resamplers, values, strict=True):
            for name, value in one(weights).items():
                kept[name].append(value)
    return [{name: np.array(column) for name, column in kept.items()} for kept in values]


def _interval(value: float, samples: NDArray[np.float64], level: float) -> Interval:
    if not len(samples):
        return Interval(value, -1.0, -1.0, level, 0.0, 0)
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level, float(samples.mean()) - value, len(samples))


def _resampler(
    ground_truth: GroundTruth,
    ranking: Ranking,
    events: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    positive: NDArray[np.bool_],
    recalls: NDArray[np.float64] | None,
    guard: float,
    figures: dict[str, slice],
) -> Resampler:
    """`events` holds, for each threshold, the rising positions of hits and of detections that do not count."""
    classes = len(ground_truth.categories)
    starts = ranking.starts[:-1]
    columns = []
    passed = 0
    for t, (position, spared) in enumerate(events):
        class_of = ranking.class_index[position]
        spared_at = passed + np.searchsorted(spared, position)
        spared_from = passed + np.searchsorted(spared, starts)[class_of]
        columns.append(
            (t * classes + class_of, ranking.image[position], position + 1, starts[class_of], spared_at, spared_from)
        )
        passed += len(spared)
    hit_class, hit_image, total_at, total_from, spared_at, spared_from = (
        np.concatenate(parts) for parts in zip(*columns, strict=True)
    )
    return Resampler(
        ranking,
        hit_class,
        hit_image,
        total_at,
        total_from,
        ranking.image[np.concatenate([spared for _, spared in events])],
        spared_at,
        spared_from,
        ground_truth.image_index[positive],
        ground_truth.class_index[positive],
        len(events),
        classes,
        len(ground_truth.images),
        recalls,
        guard,
        figures,
    )
