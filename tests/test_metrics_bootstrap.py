"""The bootstrap: weights against data sets in which the images really are repeated; intervals and p-values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from detkit.dataset import Categories, GroundTruth, Images, Predictions
from detkit.errors import UsageError
from detkit.metrics.bootstrap import bootstrap, coco_resampler, compare, voc_resampler
from detkit.metrics.coco import evaluate_coco
from detkit.metrics.voc import evaluate_voc


def made(seed: int, images: int = 20, classes: int = 3, blur: float = 4.0) -> tuple[GroundTruth, Predictions]:
    """Boxes and detections near them, with crowds and ignored boxes."""
    rng = np.random.default_rng(seed)
    m = images * 5
    boxes = np.concatenate((rng.random((m, 2)) * 100, rng.random((m, 2)) * 40 + 8), axis=1)
    image, k = rng.integers(0, images, m), rng.integers(0, classes, m)
    source = rng.integers(0, m, 3 * m)
    rng = np.random.default_rng((seed, int(blur * 100)))
    moved = boxes[source] + rng.normal(0, blur, (3 * m, 4))
    moved[:, 2:] = np.maximum(moved[:, 2:], 1)
    no, zeros = np.zeros(m, dtype=bool), np.zeros(images, dtype=np.int64)
    truth = GroundTruth(
        Images(tuple(range(images)), ("",) * images, zeros, zeros),
        Categories(tuple(f"c{n}" for n in range(classes)), tuple(range(classes))),
        image, k, boxes, boxes[:, 2] * boxes[:, 3],
        np.arange(m) % 13 == 0, np.arange(m) % 11 == 0, np.arange(m) % 17 == 0, no, no, tuple(range(1, m + 1)),
    )  # fmt: skip
    # ties between images, but none within an image
    scores = rng.random(3 * m).round(1) + np.arange(3 * m) // images * 1e-6
    return truth, Predictions(image[source], k[source], moved, _untied(image[source], scores))


def _untied(image: Any, scores: Any) -> Any:
    for i in np.unique(image):
        scores[image == i] += np.arange(np.count_nonzero(image == i)) * 1e-9
    return scores


def repeated(truth: GroundTruth, found: Predictions, weights: Any) -> tuple[GroundTruth, Predictions]:
    """The data set in which image i is there weights[i] times, the copies next to each other."""
    copies = np.repeat(np.arange(len(weights)), weights)

    def rows(image_index: Any) -> tuple[Any, Any]:
        pairs = [(row, copy) for copy, image in enumerate(copies) for row in np.flatnonzero(image_index == image)]
        taken = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        return taken[:, 0], taken[:, 1]

    zeros = np.zeros(len(copies), dtype=np.int64)
    kept, image_index = rows(truth.image_index)
    names = ("class_index", "boxes", "areas", "crowd", "difficult", "ignore", "truncated", "occluded")
    columns = {name: getattr(truth, name)[kept] for name in names}
    images = Images(tuple(range(len(copies))), ("",) * len(copies), zeros, zeros)
    again = replace(truth, images=images, image_index=image_index, ids=tuple(range(1, len(kept) + 1)), **columns)
    kept, image_index = rows(found.image_index)
    return again, Predictions(image_index, found.class_index[kept], found.boxes[kept], found.scores[kept])


@pytest.mark.parametrize("seed", range(12))
def test_weights_are_repeated_images(seed: int) -> None:
    truth, found = made(seed)
    rng = np.random.default_rng(seed)
    images = len(truth.images)
    weights = np.bincount(rng.integers(0, images, images), minlength=images)
    again = repeated(truth, found, weights)

    figures = evaluate_coco(*again).figures
    ours = coco_resampler(truth, found)(weights)
    assert ours == pytest.approx({name: figures[name] for name in ours}, abs=1e-12)
    for eleven in (False, True):
        expected = evaluate_voc(*again, eleven_points=eleven).figures
        assert voc_resampler(truth, found, eleven_points=eleven)(weights) == pytest.approx(expected, abs=1e-12)


def test_whole_data_is_the_protocols_figure() -> None:
    truth, found = made(1)
    figures = evaluate_coco(truth, found).figures
    whole = coco_resampler(truth, found).whole()
    assert whole == pytest.approx({name: figures[name] for name in whole}, abs=1e-12)


def test_interval_holds_the_middle_of_the_resamples() -> None:
    truth, found = made(2)
    resampler = coco_resampler(truth, found)
    result = bootstrap(resampler, samples=300, level=0.9, seed=5)["AP"]
    rng = np.random.default_rng(5)
    values = [resampler(np.bincount(rng.integers(0, 20, 20), minlength=20))["AP"] for _ in range(300)]
    assert (result.low, result.high) == pytest.approx(np.quantile(values, [0.05, 0.95]))
    assert result.bias == pytest.approx(np.mean(values) - result.value)
    assert result.samples == 300
    assert result == bootstrap(resampler, samples=300, level=0.9, seed=5)["AP"]


def test_interval_of_a_mean_is_the_textbooks() -> None:
    """One box an image, found or not, all with one score: AP is no mean, but recall at full precision nearly is.

    With hits alone, AP is the share of recalls reached, so its interval is that of a binomial share.
    """
    images = 400
    found_in = np.random.default_rng(0).random(images) < 0.6
    box = np.tile([0.0, 0.0, 10.0, 10.0], (images, 1))
    no, zeros = np.zeros(images, dtype=bool), np.zeros(images, dtype=np.int64)
    truth = GroundTruth(
        Images(tuple(range(images)), ("",) * images, zeros, zeros), Categories(("a",), (1,)), np.arange(images), zeros,
        box, box[:, 2] * 10, no, no, no, no, no,
    )  # fmt: skip
    rows = np.flatnonzero(found_in)
    found = Predictions(rows, np.zeros(len(rows), np.int64), box[rows], np.ones(len(rows)))
    result = bootstrap(voc_resampler(truth, found), samples=2000)["AP"]
    share = found_in.mean()
    assert result.value == pytest.approx(share)
    spread = stats.binom(images, share)
    assert result.low == pytest.approx(spread.ppf(0.025) / images, abs=0.006)
    assert result.high == pytest.approx(spread.ppf(0.975) / images, abs=0.006)


def test_comparison() -> None:
    truth, good = made(3, blur=1.0)
    _, bad = made(3, blur=8.0)
    first, second = coco_resampler(truth, bad), coco_resampler(truth, good)
    better = compare(first, second, samples=200)["AP"]
    assert better.difference.value == pytest.approx(better.second - better.first)
    assert better.difference.low > 0
    assert better.p_value == pytest.approx(2 / 201)
    worse = compare(second, first, samples=200)["AP"]
    assert (worse.difference.low, worse.difference.high) == pytest.approx(
        (-better.difference.high, -better.difference.low)
    )
    same = compare(first, first, samples=50)["AP"]
    assert (same.difference.value, same.p_value) == (0.0, 1.0)


def test_pairs_are_tighter_than_two_separate_intervals() -> None:
    truth, one = made(4, blur=3.0)
    _, other = made(4, blur=3.01)
    first, second = coco_resampler(truth, one), coco_resampler(truth, other)
    paired = compare(first, second, samples=200)["AP"].difference
    alone = bootstrap(first, samples=200)["AP"]
    assert paired.high - paired.low < alone.high - alone.low


def test_other_images_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="20 and 19 images"):
        compare(coco_resampler(*made(0)), coco_resampler(*made(0, images=19)))


def test_nothing_to_resample() -> None:
    truth, found = made(0)
    names = ("image_index", "class_index", "boxes", "areas", "crowd", "difficult", "ignore", "truncated", "occluded")
    no_boxes = replace(truth, **{name: getattr(truth, name)[:0] for name in names})
    result = bootstrap(coco_resampler(no_boxes, found), samples=10)["AP"]
    assert (result.value, result.low, result.high, result.samples) == (-1.0, -1.0, -1.0, 0)
    no_images = replace(no_boxes, images=Images((), (), truth.images.widths[:0], truth.images.heights[:0]))
    nothing = Predictions(found.image_index[:0], found.class_index[:0], found.boxes[:0], found.scores[:0])
    assert bootstrap(coco_resampler(no_images, nothing), samples=10)["AP"].samples == 0
