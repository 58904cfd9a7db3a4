"""Kinds of errors against tidecv, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detkit.dataset import Categories, GroundTruth, Images, Predictions
from detkit.metrics.tide import BACKGROUND, BOTH, CLASS, DUPLICATE, LOCATION, tide

SHORT = {
    "class": "Cls",
    "location": "Loc",
    "both": "Both",
    "duplicate": "Dupe",
    "background": "Bkg",
    "missed": "Miss",
}


def tables(
    images: int,
    classes: int,
    truth: list[tuple[int, int, list[float], bool]],
    found: list[tuple[int, int, list[float], float]],
) -> tuple[GroundTruth, Predictions]:
    """(image, class, box, crowd) and (image, class, box, score) as tables."""
    no, zeros = np.zeros(len(truth), dtype=bool), np.zeros(images, dtype=np.int64)
    boxes = np.array([row[2] for row in truth], dtype=float).reshape(-1, 4)

    def column(rows: list[Any], place: int, dtype: Any) -> Any:
        return np.array([row[place] for row in rows], dtype=dtype)

    ground_truth = GroundTruth(
        Images(tuple(range(images)), ("",) * images, zeros, zeros),
        Categories(tuple(f"c{k}" for k in range(classes)), tuple(range(classes))),
        column(truth, 0, np.int64),
        column(truth, 1, np.int64),
        boxes,
        boxes[:, 2] * boxes[:, 3],
        column(truth, 3, bool),
        no,
        no,
        no,
        no,
        tuple(range(1, len(truth) + 1)),
    )
    return ground_truth, Predictions(
        column(found, 0, np.int64),
        column(found, 1, np.int64),
        np.array([row[2] for row in found], dtype=float).reshape(-1, 4),
        column(found, 3, float),
    )


def theirs(truth: list[Any], found: list[Any], images: int) -> tuple[float, Any, Any, Any]:
    """AP, cost of each kind, counts, and the two special errors as tidecv has them."""
    tidecv = pytest.importorskip("tidecv", reason="tidecv, the reference, is not installed")
    from tidecv.data import Data

    boxes, detections = Data("boxes"), Data("detections")
    for image in range(images):
        boxes.add_image(image, str(image))
    for image, k, box, crowd in truth:
        (boxes.add_ignore_region if crowd else boxes.add_ground_truth)(image, k, box)
    for image, k, box, score in found:
        detections.add_detection(image, k, score, box)
    run = tidecv.TIDE().evaluate(boxes, detections, mode=tidecv.TIDE.BOX)
    costs = {kind.short_name: value for kind, value in run.fix_main_errors().items()}
    counts = {kind.short_name: value for kind, value in run.count_errors().items()}
    special = {kind.short_name: value for kind, value in run.fix_special_errors().items()}
    return run.ap, costs, counts, special


@pytest.mark.parametrize("seed", range(60))
def test_equals_tidecv(seed: int) -> None:
    """Crowds, images without boxes, classes without boxes or without detections, more than 100 an image."""
    rng = np.random.default_rng(seed)
    images, classes = int(rng.integers(1, 6)), int(rng.integers(1, 5))
    truth, found = [], []
    for _ in range(int(rng.integers(1, 25))):
        box = np.append(rng.random(2) * 100, rng.random(2) * 50 + 5).tolist()
        image, k = int(rng.integers(0, images)), int(rng.integers(0, classes))
        # the first is no crowd: tidecv divides by zero where mending leaves nothing
        truth.append((image, k, box, bool(truth) and bool(rng.random() < 0.1)))
        for _ in range(int(rng.integers(0, 5))):
            spread = rng.choice([0.03, 0.2, 0.5])
            moved = np.array(box) + rng.normal(0, spread, 4) * np.array(box[2:] * 2)
            moved[2:] = np.maximum(moved[2:], 1)
            detected = k if rng.random() < 0.7 else int(rng.integers(0, classes))
            found.append((image, detected, moved.tolist(), float(rng.random())))
    for _ in range(150 if seed % 10 == 0 else 5):
        box = np.append(rng.random(2) * 100, rng.random(2) * 50 + 5).tolist()
        found.append((int(rng.integers(0, images)), int(rng.integers(0, classes)), box, float(rng.random())))

    ap, costs, counts, special = theirs(truth, found, images)
    ours = tide(*tables(images, classes, truth, found))
    assert ours.ap * 100 == pytest.approx(ap, abs=1e-9)
    for name, short in SHORT.items():
        assert ours.counts[name] == counts[short], name
        assert ours.cost[name] * 100 == pytest.approx(costs[short], abs=1e-9), name
    assert ours.false_positives * 100 == pytest.approx(special["FalsePos"], abs=1e-9)
    assert ours.false_negatives * 100 == pytest.approx(special["FalseNeg"], abs=1e-9)


def test_one_error_of_each_kind() -> None:
    box, far = [0.0, 0.0, 10.0, 10.0], [80.0, 80.0, 10.0, 10.0]
    truth = [(0, 0, box, False), (0, 0, far, False)]
    found = [
        (0, 0, box, 0.9),
        (0, 0, [0.0, 0.0, 10.0, 9.0], 0.8),
        (0, 0, [0.0, 0.0, 10.0, 3.0], 0.7),
        (0, 1, [0.0, 0.0, 9.0, 10.0], 0.6),
        (0, 1, [0.0, 0.0, 10.0, 3.0], 0.5),
        (0, 0, [40.0, 40.0, 10.0, 10.0], 0.4),
    ]
    result = tide(*tables(1, 2, truth, found))
    assert result.kinds.tolist() == [-1, DUPLICATE, LOCATION, CLASS, BOTH, BACKGROUND]
    assert result.missed.tolist() == [False, True]
    assert result.counts == {"class": 1, "location": 1, "both": 1, "duplicate": 1, "background": 1, "missed": 1}


def test_mending_the_only_error_makes_it_perfect() -> None:
    truth = [(0, 0, [0.0, 0.0, 10.0, 10.0], False)]
    result = tide(*tables(1, 1, truth, [(0, 0, [0.0, 0.0, 10.0, 4.0], 0.5)]))
    assert result.ap == 0.0
    assert result.cost["location"] == 1.0
    assert result.counts["missed"] == 0


def test_no_detections_and_no_boxes() -> None:
    truth = [(0, 0, [0.0, 0.0, 10.0, 10.0], False)]
    missed = tide(*tables(1, 1, truth, []))
    assert (missed.ap, missed.counts["missed"]) == (0.0, 1)
    false = tide(*tables(1, 1, [], [(0, 0, [0.0, 0.0, 10.0, 10.0], 0.5)]))
    assert (false.ap, false.counts["background"]) == (0.0, 1)
    assert tide(*tables(1, 1, [], [])).ap == -1.0
