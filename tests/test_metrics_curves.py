"""Curves, counts and the confusion matrix: against scikit-learn, against loops, and against each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from detkit.dataset import Categories, GroundTruth, Images, Predictions
from detkit.metrics.confusion import confusion_matrix
from detkit.metrics.counts import class_counts, image_counts, total_counts
from detkit.metrics.curves import FROC_FPPI, MISS_RATE_FPPI, Curve, class_curve, mean_precision_curve, pooled_curve
from detkit.metrics.evaluation import Evaluation, Settings
from detkit.metrics.outcomes import coco_outcomes, voc_outcomes


def made(seed: int, images: int = 12, classes: int = 4, boxes: int = 80, detections: int = 400) -> Any:
    """Boxes all over, half of the detections moved copies of them, scores on a coarse scale so that many tie."""
    rng = np.random.default_rng(seed)
    corner, size = rng.random((boxes, 2)) * 200, rng.random((boxes, 2)) * 60 + 5
    true_boxes = np.concatenate((corner, size), axis=1)
    truth_image, truth_class = rng.integers(0, images, boxes), rng.integers(0, classes, boxes)
    source = rng.integers(0, boxes, detections)
    near = rng.random(detections) < 0.5
    found_boxes = true_boxes[source] + rng.normal(0, 3, (detections, 4)) * np.where(near, 1, 30)[:, None]
    found_boxes[:, 2:] = np.maximum(found_boxes[:, 2:], 1)
    found_class = np.where(rng.random(detections) < 0.8, truth_class[source], rng.integers(0, classes, detections))
    scores = np.round(np.clip(rng.normal(np.where(near, 0.6, 0.35), 0.2), 0.01, 1), 2)
    no, zeros = np.zeros(boxes, dtype=bool), np.zeros(images, dtype=np.int64)
    truth = GroundTruth(
        Images(tuple(range(images)), ("",) * images, zeros, zeros),
        Categories(tuple(f"c{k}" for k in range(classes)), tuple(range(classes))),
        truth_image,
        truth_class,
        true_boxes,
        true_boxes[:, 2] * true_boxes[:, 3],
        rng.random(boxes) < 0.1,
        no,
        rng.random(boxes) < 0.05,
        no,
        no,
        tuple(range(1, boxes + 1)),
    )
    return truth, Predictions(truth_image[source], found_class, found_boxes, scores)


@pytest.mark.parametrize("seed", range(5))
def test_roc_equals_scikit_learn(seed: int) -> None:
    truth, found = made(seed)
    outcomes = coco_outcomes(truth, found)
    hit, scores = outcomes.hit[outcomes.counts], outcomes.ranking.scores[outcomes.counts]
    curve = pooled_curve(outcomes)
    assert curve.roc_auc() == pytest.approx(roc_auc_score(hit, scores), abs=1e-12)
    theirs = roc_curve(hit, scores, drop_intermediate=False)
    for ours, other in zip(curve.roc(), theirs[:2], strict=True):
        assert ours == pytest.approx(other, abs=1e-12)
    for k in range(len(truth.categories)):
        mine = outcomes.counts & (outcomes.ranking.class_index == k)
        expected = roc_auc_score(outcomes.hit[mine], outcomes.ranking.scores[mine])
        assert class_curve(outcomes, k).roc_auc() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_precision_and_recall_equal_scikit_learn(seed: int) -> None:
    """scikit-learn knows no missed boxes: with a last detection for each of them, all that is common is equal."""
    truth, found = made(seed)
    outcomes = coco_outcomes(truth, found)
    missed = int(outcomes.missed.sum())
    hit = np.append(outcomes.hit[outcomes.counts], np.ones(missed, dtype=bool))
    scores = np.append(outcomes.ranking.scores[outcomes.counts], np.full(missed, -1.0))
    precision, recall, thresholds = precision_recall_curve(hit, scores)
    known = thresholds > -1
    curve = pooled_curve(outcomes)
    assert np.array_equal(curve.scores, thresholds[known][::-1])
    assert curve.precision == pytest.approx(precision[:-1][known][::-1], abs=1e-12)
    assert curve.recall == pytest.approx(recall[:-1][known][::-1], abs=1e-12)


@pytest.mark.parametrize("rule", [coco_outcomes, voc_outcomes])
def test_counts_are_those_of_the_curve_and_of_a_fresh_matching(rule: Any) -> None:
    truth, found = made(1)
    outcomes = rule(truth, found)
    for score in (0.0, 0.33, 0.5, 0.9, 2.0):
        counts = class_counts(outcomes, score)
        total = total_counts(counts)
        assert (total.tp, total.fp) == pooled_curve(outcomes).at(score)
        assert total.tp + total.fn == outcomes.positives.sum()
        again = rule(truth, found, min_score=score)  # matched without the rest: greedy matching does not care
        assert total.tp == again.hit.sum()
        assert total.fp == (again.counts & ~again.hit).sum()
        tp, fp, fn = image_counts(outcomes, truth.image_index, score)
        assert (tp.sum(), fp.sum(), fn.sum()) == (total.tp, total.fp, total.fn)
        assert (fn >= 0).all()


def test_best_working_point_is_the_best_of_all() -> None:
    truth, found = made(2)
    outcomes = coco_outcomes(truth, found)
    for k in range(len(truth.categories)):
        score, f1 = class_curve(outcomes, k).best_f1()
        tried = {float(s): class_counts(outcomes, float(s))[k].f1 for s in np.unique(found.scores)}
        assert f1 == pytest.approx(max(tried.values()), abs=1e-12)
        assert tried[score] == pytest.approx(f1, abs=1e-12)


def curve_of(hits: list[int], positives: int, images: int) -> Curve:
    hit = np.array(hits)
    return Curve(np.linspace(1, 0.1, len(hit)), np.cumsum(hit), np.cumsum(1 - hit), positives, images)


def test_log_average_miss_rate_by_hand() -> None:
    """100 images, hits and false positives in turn: the miss rate at f false positives is that of f + 1 hits."""
    curve = curve_of([1, 0] * 120, 200, 100)
    expected = []
    for fppi in MISS_RATE_FPPI:
        falses = int(np.floor(fppi * 100 + 1e-9))
        expected.append(1 - (falses + 1) / 200)
    assert curve.miss_rates(MISS_RATE_FPPI) == pytest.approx(expected)
    assert curve.log_average_miss_rate() == pytest.approx(np.exp(np.mean(np.log(expected))))
    recalls, mean = curve.froc()
    assert recalls[:4] == pytest.approx([1 - rate for rate in curve.miss_rates(FROC_FPPI[:4])])
    assert mean == pytest.approx(recalls.mean())


def test_miss_rate_is_one_before_the_first_false_positive_allows() -> None:
    assert curve_of([0, 1], 1, 10).miss_rates(np.array([0.01, 0.1])).tolist() == [1.0, 0.0]


def test_nothing_found_and_nothing_there() -> None:
    empty = curve_of([], 5, 3)
    assert empty.roc_auc() == -1.0
    assert empty.log_average_miss_rate() == 1.0
    assert empty.froc()[1] == 0.0
    assert empty.at(0.5) == (0, 0)
    assert empty.best_f1() == (-1.0, -1.0)
    no_boxes = curve_of([0, 0], 0, 3)
    assert no_boxes.log_average_miss_rate() == -1.0
    assert no_boxes.best_f1() == (-1.0, -1.0)


def test_mean_curve_is_cocos() -> None:
    truth, found = made(3)
    evaluation = Evaluation(truth, found)
    curve = mean_precision_curve(evaluation.outcomes, np.linspace(0, 1, 101))
    assert curve.mean() == pytest.approx(evaluation.figures["AP50"], abs=1e-12)


def plain_confusion(truth: GroundTruth, outcomes: Any, score: float, iou: float) -> Any:
    """The docstring of `confusion_matrix` as loops."""
    from detkit.boxes import iou as all_ious
    from detkit.boxes import xywh_to_xyxy

    k = len(truth.categories)
    matrix = np.zeros((k + 1, k + 1), dtype=int)
    ranking = outcomes.ranking
    free = set(np.flatnonzero(outcomes.positive).tolist())
    ignored = set(np.flatnonzero(~outcomes.positive).tolist())
    rest = []
    for d in range(len(ranking)):
        if ranking.scores[d] < score or not outcomes.counts[d]:
            continue
        if outcomes.hit[d]:
            matrix[ranking.class_index[d], ranking.class_index[d]] += 1
            free.discard(int(outcomes.truth[d]))
        else:
            rest.append(d)
    ious = all_ious(xywh_to_xyxy(ranking.boxes), xywh_to_xyxy(truth.boxes))
    for d in sorted(rest, key=lambda d: (-ranking.scores[d], d)):

        def best(among: set[int], d: int = d) -> int:
            near = [g for g in among if truth.image_index[g] == ranking.image[d]
                    and truth.class_index[g] != ranking.class_index[d] and overlap_of(d, g) >= iou]  # fmt: skip
            return max(near, key=lambda g: (overlap_of(d, g), g), default=-1)

        def overlap_of(d: int, g: int) -> float:
            if not truth.crowd[g]:
                return float(ious[d, g])
            a, b = ranking.boxes[d], truth.boxes[g]
            w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
            h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
            return max(w, 0) * max(h, 0) / (a[2] * a[3])

        g = best(free)
        if g >= 0:
            matrix[truth.class_index[g], ranking.class_index[d]] += 1
            free.discard(g)
        elif (g := best(ignored)) >= 0:
            if not truth.crowd[g]:
                ignored.discard(g)
        else:
            matrix[k, ranking.class_index[d]] += 1
    for g in free:
        matrix[truth.class_index[g], k] += 1
    return matrix


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("score", "iou"), [(0.0, 0.5), (0.4, 0.5), (0.4, 0.3)])
def test_confusion_matrix_is_the_loop_and_adds_up(seed: int, score: float, iou: float) -> None:
    truth, found = made(seed)
    outcomes = coco_outcomes(truth, found, iou)
    matrix = confusion_matrix(truth, outcomes, score, iou)
    assert np.array_equal(matrix, plain_confusion(truth, outcomes, score, iou))
    counts = class_counts(outcomes, score)
    assert np.diag(matrix)[:-1].tolist() == [c.tp for c in counts]
    assert np.array_equal(matrix[:-1].sum(axis=1), outcomes.positives)
    assert (matrix.sum(axis=0)[:-1] <= [c.tp + c.fp for c in counts]).all()


@pytest.mark.parametrize("protocol", ["coco", "voc", "voc07"])
@pytest.mark.parametrize("empty", ["boxes", "detections", "both", "classes"])
def test_every_figure_of_nothing(protocol: str, empty: str) -> None:
    classes = 0 if empty == "classes" else 2
    truth, found = made(0, images=2, classes=2, boxes=4, detections=6)
    if empty != "detections":
        names = (
            "truncated",
            "occluded",
            "ignore",
            "difficult",
            "crowd",
            "areas",
            "boxes",
            "class_index",
            "image_index",
        )
        columns = {name: getattr(truth, name)[:0] for name in names}
        categories = Categories(("a", "b")[:classes], (1, 2)[:classes])
        truth = GroundTruth(truth.images, categories, **columns)
    if empty != "boxes":
        found = Predictions(
            *(column[:0] for column in (found.image_index, found.class_index, found.boxes, found.scores))
        )
    evaluation = Evaluation(truth, found, Settings(protocol=protocol))
    content = evaluation.to_json()
    assert content["figures"]["AP"] == (0.0 if empty == "detections" else -1.0)
    assert len(content["classes"]) == classes
    assert content["working_point"]["TP"] == 0
    assert evaluation.resampler.whole()["AP"] == content["figures"]["AP"]
