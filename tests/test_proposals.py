"""Selective search and its segmentation against the obvious loops, and the figures of proposals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from detkit.boxes import iou
from detkit.errors import InputError, UsageError
from detkit.images import read_image
from detkit.proposals import quality, segmentation, selective_search
from detkit.proposals.selective_search import FAST, QUALITY, Regions, Strategy


def blocks(seed, height=48, width=64, side=8):
    """A picture of flat squares with a little noise."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // side, width // side, 3))
    picture = coarse.repeat(side, axis=0).repeat(side, axis=1) + random.integers(-6, 7, (height, width, 3))
    return np.clip(picture, 0, 255).astype(np.uint8)


# --- segmentation


def slow_segmentation(smoothed, k, min_size):
    """Felzenszwalb and Huttenlocher's algorithm 1 with sets, word by word."""
    height, width = smoothed.shape[:2]
    edges = []
    for y in range(height):
        for x in range(width):
            for down, right in ((0, 1), (1, 0), (1, 1), (-1, 1)):
                if 0 <= y + down < height and x + right < width:
                    a, b = y * width + x, (y + down) * width + x + right
                    difference = smoothed[y, x] - smoothed[y + down, x + right]
                    weight = np.sqrt((difference * difference).sum(dtype=np.float32))
                    edges.append((int(weight * 64), len(edges), weight, a, b))
    edges.sort(key=lambda edge: edge[:2])
    of = {pixel: frozenset([pixel]) for pixel in range(height * width)}
    inside = {of[pixel]: 0.0 for pixel in of}

    def join(a, b, weight):
        joined = of[a] | of[b]
        inside[joined] = weight
        for pixel in joined:
            of[pixel] = joined

    for _, _, weight, a, b in edges:
        if of[a] is not of[b] and all(weight <= inside[of[p]] + k / len(of[p]) for p in (a, b)):
            join(a, b, weight)
    for *_, a, b in edges:
        if of[a] is not of[b] and min(len(of[a]), len(of[b])) < min_size:
            join(a, b, 0.0)
    numbers = {}
    labels = [numbers.setdefault(of[pixel], len(numbers)) for pixel in range(height * width)]
    return np.array(labels).reshape(height, width), len(numbers)


@pytest.mark.parametrize(("k", "min_size", "sigma"), [(0, 0, 0.8), (30, 4, 0.8), (200, 10, 0.0), (2000, 25, 1.5)])
def test_segmentation_is_that_of_the_slow_loop(k, min_size, sigma):
    image = (
        np.random.default_rng(3).integers(0, 256, (14, 19, 3)).astype(np.uint8) // 2 + blocks(3, 16, 24)[:14, :19] // 2
    )
    labels, count = segmentation.segmentation(image, k, sigma, min_size)
    expected, expected_count = slow_segmentation(segmentation.smooth(image, sigma), k, min_size)
    assert count == expected_count
    np.testing.assert_array_equal(labels, expected)


def test_segmentation_finds_flat_squares():
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:20, 10:30] = 200, 30, 30
    labels, count = segmentation.segmentation(image, k=100, sigma=0, min_size=5)
    assert count == 2
    np.testing.assert_array_equal(labels == 1, image[:, :, 0] == 200)


def test_segmentation_of_one_pixel_and_one_row():
    assert segmentation.segmentation(np.zeros((1, 1, 3), np.uint8))[1] == 1
    labels, count = segmentation.segmentation(np.array([[0, 0, 255, 255]], np.uint8), k=1, sigma=0, min_size=1)
    assert (labels.tolist(), count) == ([[0, 0, 1, 1]], 2)


def test_every_component_has_the_minimal_size():
    labels, count = segmentation.segmentation(np.random.default_rng(0).integers(0, 256, (50, 60, 3)), 10, 0.8, 30)
    assert count > 1
    assert np.bincount(labels.ravel()).min() >= 30


def test_segmentation_names_what_it_cannot_use():
    with pytest.raises(InputError, match="shape"):
        segmentation.segmentation(np.zeros((0, 3, 3)))
    with pytest.raises(UsageError, match="sigma"):
        segmentation.segmentation(np.zeros((3, 3)), sigma=-1)
    with pytest.raises(UsageError, match="k, the scale"):
        segmentation.segmentation(np.zeros((3, 3)), k=-1)


# --- features of regions


@pytest.fixture(scope="module")
def start():
    """A picture in Lab, its texture bins, its labels and its regions."""
    image = selective_search.colour_space(blocks(5), "Lab")
    bins = selective_search.texture_bins(image)
    labels, count = segmentation.segmentation(image, 50, 0.8, 20)
    assert 10 < count < 90
    return image, bins, labels, selective_search.initial_regions(image, bins, labels, count)


def test_sizes_boxes_and_neighbours_of_regions(start):
    _, _, labels, regions = start
    count = len(regions.sizes)
    pairs = set()
    for y, x in np.ndindex(labels.shape):
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            if y + down < labels.shape[0] and 0 <= x + right < labels.shape[1]:
                a, b = sorted((int(labels[y, x]), int(labels[y + down, x + right])))
                if a != b:
                    pairs.add(a * count + b)
    assert regions.pairs.tolist() == sorted(pairs)
    for region in range(count):
        ys, xs = np.nonzero(labels == region)
        assert regions.sizes[region] == len(ys)
        assert regions.boxes[region].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def test_colour_histograms(start):
    image, _, labels, regions = start
    for region in range(len(regions.sizes)):
        inside = image[labels == region]
        counts = [np.bincount(inside[:, channel].astype(int) * 25 // 256, minlength=25) for channel in range(3)]
        np.testing.assert_allclose(regions.colour[region], np.concatenate(counts) / inside.size, rtol=1e-6)


def test_texture_histograms(start):
    image, _, labels, regions = start
    padded = np.pad(image.astype(np.float64), ((3, 3), (3, 3), (0, 0)), mode="edge")
    at = np.arange(-3, 4)
    bell = np.exp(-(at**2) / 2) / np.exp(-(at**2) / 2).sum()
    slope = at * bell / (at**2 * bell).sum()
    height, width = labels.shape
    dx, dy = np.zeros(image.shape), np.zeros(image.shape)
    for i in range(7):
        for j in range(7):
            window = padded[i : i + height, j : j + width]
            dx += bell[i] * slope[j] * window
            dy += slope[i] * bell[j] * window
    for channel in range(3):
        for orientation in range(8):
            angle = orientation * np.pi / 4
            response = dx[:, :, channel] * np.cos(angle) + dy[:, :, channel] * np.sin(angle)
            level = np.clip(response / np.abs(response).max() * 10, 0, 9.999)
            near_border = np.abs(level - np.round(level)) < 1e-4  # rounding may put these either way
            place = channel * 80 + orientation * 10
            for region in range(len(regions.sizes)):
                inside = labels == region
                expected = np.bincount(level[inside].astype(int), minlength=10) / inside.sum() / 24
                slack = (near_border & inside & (level > 0.5)).sum() / inside.sum() / 24 + 1e-6
                assert np.abs(regions.texture[region, place : place + 10] - expected).max() <= slack
    np.testing.assert_allclose(regions.texture.sum(axis=1), 1, rtol=1e-5)


# --- grouping


def slow_group(regions: Regions, letters, size):
    """Algorithm 1 of the paper with a plain list of similarities, searched each time."""
    histograms = regions.colour.astype(float), regions.texture.astype(float)
    alive = {
        region: (*(histogram[region] for histogram in histograms), int(size), box.tolist())
        for region, (size, box) in enumerate(zip(regions.sizes, regions.boxes, strict=True))
    }
    count = len(alive)

    def similarity(a, b):
        (ca, ta, na, ba), (cb, tb, nb, bb) = alive[a], alive[b]
        around = (max(ba[2], bb[2]) - min(ba[0], bb[0])) * (max(ba[3], bb[3]) - min(ba[1], bb[1]))
        terms = {
            "C": np.minimum(ca, cb).sum(),
            "T": np.minimum(ta, tb).sum(),
            "S": np.float32(1) - np.float32(na + nb) / np.float32(size),  # whole numbers tie: round as the kernel does
            "F": np.float32(1) - np.float32(around - na - nb) / np.float32(size),
        }
        return sum(terms[letter] for letter in letters)

    pairs = {(int(code) // count, int(code) % count) for code in regions.pairs}
    pairs = {pair: similarity(*pair) for pair in pairs}
    boxes = [alive[region][3] for region in range(count)]
    while pairs:
        a, b = min(pairs, key=lambda pair: (-pairs[pair], pair))  # of equal ones, the first regions
        (ca, ta, na, ba), (cb, tb, nb, bb) = alive[a], alive[b]
        box = [min(ba[0], bb[0]), min(ba[1], bb[1]), max(ba[2], bb[2]), max(ba[3], bb[3])]
        new = len(boxes)
        alive[new] = (na * ca + nb * cb) / (na + nb), (na * ta + nb * tb) / (na + nb), na + nb, box
        boxes.append(box)
        others = {other for pair in pairs if a in pair or b in pair for other in pair} - {a, b}
        pairs = {pair: value for pair, value in pairs.items() if a not in pair and b not in pair}
        pairs |= {(other, new): similarity(other, new) for other in others}
        del alive[a], alive[b]
    return np.array(boxes[::-1])


@pytest.mark.parametrize("letters", ["CTSF", "TSF", "F", "S", "C", "T"])
def test_grouping_is_that_of_the_slow_loop(start, letters):
    _, _, labels, regions = start
    boxes = selective_search.group(regions, letters)
    assert len(boxes) == 2 * len(regions.sizes) - 1
    assert boxes[0].tolist() == [0, 0, labels.shape[1], labels.shape[0]]
    np.testing.assert_array_equal(boxes, slow_group(regions, letters, labels.size))


# --- ranking


def test_ranking_by_chance_is_the_papers():
    hierarchies = [np.array([[0, 0, 9, 9], [0, 0, 4, 9], [4, 0, 9, 9]]), np.array([[0, 0, 9, 9], [1, 1, 3, 3]])]
    boxes, values = selective_search.rank_by_chance(hierarchies, seed=7)
    draws = np.random.default_rng(7).random(5) * [1, 2, 3, 1, 2]
    expected = {
        (0, 0, 9, 9): min(draws[0], draws[3]),
        (0, 0, 4, 9): draws[1],
        (4, 0, 9, 9): draws[2],
        (1, 1, 3, 3): draws[4],
    }
    assert dict(zip(map(tuple, boxes.tolist()), values.tolist(), strict=True)) == expected
    assert (np.diff(values) >= 0).all()


def test_ranking_by_agreement_is_that_of_all_pairs():
    random = np.random.default_rng(11)
    base = random.integers(0, 300, (60, 2))
    hierarchies = []
    for _ in range(5):
        corner = base + random.integers(-4, 5, base.shape)
        side = np.concatenate((random.integers(1, 12, (30, 2)), random.integers(20, 200, (30, 2))))
        hierarchies.append(np.concatenate((corner, corner + side), axis=1).astype(np.int32))
    hierarchies[1][:20] = hierarchies[0][:20]
    boxes, values = selective_search.rank_by_agreement(hierarchies)
    assert len(np.unique(boxes, axis=0)) == len(boxes) == len(np.unique(np.concatenate(hierarchies), axis=0))
    for box, value in zip(boxes, values, strict=True):
        best = [iou(box[None].astype(float), one.astype(float)).max() for one in hierarchies]
        level = min(int(place) + 1 for one in hierarchies for place in np.flatnonzero((one == box).all(axis=1)))
        assert value == pytest.approx(level / np.maximum(0, 2 * np.array(best) - 1).sum() ** 2, rel=1e-12)
    assert (np.diff(values) >= 0).all()


# --- the whole


def test_modes_are_those_of_table_5():
    assert (len(FAST), len(QUALITY)) == (8, 80)
    assert set(FAST) < set(QUALITY)


def test_whole_search_on_squares():
    image = blocks(1, 96, 128, 32)
    found = selective_search.selective_search(image, sigma=0.5)
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert found.boxes[0].tolist() == [0, 0, 128, 96]
    assert (np.diff(found.scores) <= 0).all()
    squares = np.array([[x, y, x + 32, y + 32] for y in range(0, 96, 32) for x in range(0, 128, 32)], np.float32)
    assert (iou(squares, found.boxes).max(axis=1) > 0.8).mean() > 0.8
    overlaps = iou(found.boxes, found.boxes)
    np.fill_diagonal(overlaps, 0)
    assert overlaps.max() <= selective_search.NEAR_DUPLICATE


def test_threads_and_repetition_change_nothing():
    image = blocks(2, 96, 128)
    for ranking in selective_search.RANKINGS:
        one, two = (selective_search.selective_search(image, ranking=ranking, threads=threads) for threads in (1, 3))
        np.testing.assert_array_equal(one.boxes, two.boxes)
        np.testing.assert_array_equal(one.scores, two.scores)


def test_seed_overlap_sides_and_number():
    image = blocks(2, 96, 128)
    paper = selective_search.selective_search(image, ranking="paper")
    other = selective_search.selective_search(image, ranking="paper", seed=1)
    assert len(np.unique(paper.boxes, axis=0)) == len(paper.boxes) == len(other.boxes)
    assert (paper.boxes != other.boxes).any()
    fewer = selective_search.selective_search(image, ranking="paper", overlap=0.5)
    assert len(fewer.boxes) < len(paper.boxes)
    wide = selective_search.selective_search(image, ranking="paper", min_side=20)
    np.testing.assert_array_equal(wide.boxes, paper.boxes[(paper.boxes[:, 2:] - paper.boxes[:, :2] >= 20).all(axis=1)])
    best = selective_search.selective_search(image, ranking="paper", max_proposals=7)
    np.testing.assert_array_equal(best.boxes, paper.boxes[:7])


def test_large_pictures_are_reduced_and_boxes_come_back():
    image = blocks(4, 90, 120, 30)
    large = image.repeat(4, axis=0).repeat(4, axis=1)
    found = selective_search.selective_search(large, max_side=120)
    small = selective_search.selective_search(image, max_side=None)
    np.testing.assert_allclose(found.boxes, small.boxes * 4)


@pytest.mark.parametrize("space", selective_search.COLOUR_SPACES)
def test_every_colour_space_finds_a_square(space):
    image = np.full((60, 80, 3), (40, 90, 160), np.uint8)
    image[20:40, 30:60] = 230, 120, 20
    converted = selective_search.colour_space(image, space)
    assert converted.dtype == np.uint8
    assert converted.shape == (60, 80, 1 if space in "IH" else 3)
    found = selective_search.selective_search(image, mode=[Strategy(space, 50, "CTSF")])
    assert iou(np.array([[30, 20, 60, 40]], np.float32), found.boxes).max() > 0.7


def test_shares_of_intensity_do_not_see_the_light():
    dark = np.full((2, 2, 3), (60, 40, 20), np.uint8)
    for space in ("rgb", "rgI", "C", "H"):
        one, two = selective_search.colour_space(dark, space), selective_search.colour_space(dark * 2, space)
        np.testing.assert_array_equal(one[:, :, :2], two[:, :, :2])


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 40, 3), (7, 2, 3), (30, 40)])
def test_tiny_and_flat_pictures(shape):
    found = selective_search.selective_search(np.full(shape, 128, np.uint8))
    assert found.boxes.tolist() == [[0, 0, shape[1], shape[0]]]


def test_wrong_use_is_named():
    image = blocks(1)
    with pytest.raises(UsageError, match="modes fast, quality"):
        selective_search.selective_search(image, mode="best")
    with pytest.raises(UsageError, match="ranking"):
        selective_search.selective_search(image, ranking="luck")
    with pytest.raises(UsageError, match="letters out of CTSF"):
        selective_search.selective_search(image, mode=[Strategy("RGB", 50, "X")])
    with pytest.raises(UsageError, match="colour space"):
        selective_search.selective_search(image, mode=[Strategy("CMYK", 50, "C")])


def test_quality_mode_finds_more_than_fast(coco128):
    image = read_image(coco128 / "images" / "000000000025.jpg")[::2, ::2]
    fast, more = (selective_search.selective_search(image, mode=mode, threads=2).boxes for mode in ("fast", "quality"))
    assert len(more) > 2 * len(fast)


def test_cover_of_real_objects(coco128):
    """Recall at 0.5 and ABO of 1,000 proposals on eight pictures, a little below what was measured."""
    annotations = json.loads((coco128 / "instances.json").read_text())
    by_image = {}
    for one in annotations["annotations"]:
        x, y, width, height = one["bbox"]
        by_image.setdefault(one["image_id"], []).append([x, y, x + width, y + height])
    best = []
    for entry in sorted(annotations["images"], key=lambda entry: entry["file_name"])[:8]:
        image = read_image(coco128 / "images" / entry["file_name"].rpartition("/")[2])
        found = selective_search.selective_search(image, threads=2)
        best.append(quality.best_overlaps(found.boxes, np.array(by_image[entry["id"]]), [1000]))
    best = np.concatenate(best)
    assert quality.recall(best, 0.5)[0] > 0.6
    assert quality.average_best_overlap(best)[0] > 0.55


# --- figures


def test_best_overlaps_and_figures_are_those_of_loops():
    random = np.random.default_rng(0)
    corners = random.uniform(0, 80, (50, 2))
    proposed = np.concatenate((corners, corners + random.uniform(5, 60, (50, 2))), axis=1)
    objects, classes = proposed[::6] + random.uniform(-9, 9, (9, 4)), np.array([0, 0, 1, 2, 2, 2, 1, 0, 5])
    counts = (0, 1, 7, 50, 200)
    best = quality.best_overlaps(proposed, objects, counts)
    for row, real in enumerate(objects):
        for column, count in enumerate(counts):
            highest = 0.0
            for x1, y1, x2, y2 in proposed[:count]:
                wide = max(0.0, min(x2, real[2]) - max(x1, real[0]))
                high = max(0.0, min(y2, real[3]) - max(y1, real[1]))
                union = (x2 - x1) * (y2 - y1) + (real[2] - real[0]) * (real[3] - real[1]) - wide * high
                highest = max(highest, wide * high / union)
            assert best[row, column] == pytest.approx(highest)
    for column in range(len(counts)):
        values = best[:, column].tolist()
        assert quality.recall(best, 0.5)[column] == sum(value >= 0.5 for value in values) / 9
        assert quality.average_best_overlap(best)[column] == pytest.approx(sum(values) / 9)
        over = [sum(value >= overlap for value in values) / 9 for overlap in quality.OVERLAPS]
        assert quality.recall_over_overlap(best)[:, column].tolist() == over
        finer = [sum(value >= 0.5 + (step + 0.5) / 20000 for value in values) / 9 for step in range(10000)]
        assert quality.average_recall(best)[column] == pytest.approx(sum(finer) / 10000, abs=1e-4)
        of_classes = [[value for value, own in zip(values, classes, strict=True) if own == one] for one in (0, 1, 2, 5)]
        expected = sum(sum(one) / len(one) for one in of_classes) / 4
        assert quality.mean_average_best_overlap(best, classes)[column] == pytest.approx(expected)


def test_figures_without_objects_or_proposals():
    none = quality.best_overlaps(np.zeros((0, 4)), np.array([[0, 0, 5, 5.0]]), [1, 10])
    assert none.tolist() == [[0, 0]]
    empty = quality.best_overlaps(np.array([[0, 0, 5, 5.0]]), np.zeros((0, 4)), [1, 10])
    assert empty.shape == (0, 2)
    assert np.isnan(quality.recall(empty, 0.5)).all()
    assert np.isnan(quality.mean_average_best_overlap(empty, np.zeros(0, int))).all()
