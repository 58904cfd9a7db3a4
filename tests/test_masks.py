"""Masks as COCO's RLE: equal to pycocotools to the bit, and errors that say what is wrong."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from detkit.errors import InputError
from detkit.shapes import rle
from detkit.shapes.masks import Masks, boundaries, mask_iou, pair_iou

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))


def pictures(seed: int, count: int, height: int = 30, width: int = 25) -> np.ndarray:
    """Random masks, some empty, some full, some smooth."""
    rng = np.random.default_rng(seed)
    masks = rng.random((count, height, width)) < rng.choice([0, 0.05, 0.5, 0.95, 1], (count, 1, 1))
    for row in range(0, count, 3):
        masks[row] = cv2.GaussianBlur(rng.random((height, width)), (0, 0), 2) > 0.5
    return masks


def reference_rles(masks: np.ndarray) -> list[dict]:
    mask = pytest.importorskip("pycocotools.mask")
    return [mask.encode(np.asfortranarray(one.astype(np.uint8))) for one in masks]


def test_equals_pycocotools() -> None:
    reference = pytest.importorskip("pycocotools.mask")
    dense = pictures(0, 60)
    masks, rles = Masks.from_dense(dense), reference_rles(dense)
    assert masks.strings() == [one["counts"].decode() for one in rles]
    assert np.array_equal(masks.areas, reference.area(rles))
    assert np.array_equal(masks.bounds, reference.toBbox(rles))
    assert Masks.from_coco(rles, masks.sizes) == masks
    assert masks.union(np.zeros(60, np.int64), 1).strings()[0] == reference.merge(rles)["counts"].decode()


def test_iou_equals_pycocotools_with_crowds() -> None:
    reference = pytest.importorskip("pycocotools.mask")
    one, other = pictures(1, 40), pictures(2, 30)
    crowd = np.random.default_rng(3).random(30) < 0.3
    expected = reference.iou(reference_rles(one), reference_rles(other), crowd.astype(np.uint8))
    a, b = Masks.from_dense(one), Masks.from_dense(other)
    assert np.array_equal(mask_iou(a, b, crowd), expected)
    rows, columns = np.divmod(np.arange(1200), 30)
    for least in (0.1, 0.5, 0.9):
        values = pair_iou(a, b, rows, columns, crowd, least)
        assert np.array_equal(values, np.where(expected.ravel() >= least, expected.ravel(), -1))


def test_polygons_equal_pycocotools() -> None:
    reference = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(4)
    objects, sizes = [], []
    for number in range(1500):
        height, width = rng.integers(1, 150, 2).tolist()
        points = rng.uniform(-20, 170, (int(rng.integers(3, 10)), 2)).round(int(rng.integers(0, 3)))
        if number % 7 == 0:
            points[1] = points[0]
        rings = [points.ravel().tolist()]
        if number % 5 == 0:
            rings.append(rng.uniform(0, 100, 8).tolist())
        objects.append(rings)
        sizes.append((height, width))
    expected = [
        reference.merge(reference.frPyObjects(rings, *size)) for rings, size in zip(objects, sizes, strict=True)
    ]
    masks = Masks.from_polygons(objects, sizes)
    assert masks.strings() == [one["counts"].decode() for one in expected]
    as_arrays = Masks.from_polygons([[np.reshape(ring, (-1, 2)) for ring in rings] for rings in objects], sizes)
    assert as_arrays == masks


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(bool, shapes))
def test_round_trips(dense: np.ndarray) -> None:
    masks = Masks.from_dense([dense, ~dense])
    assert np.array_equal(masks.decode(0), dense)
    assert np.array_equal(masks.decode(-1), ~dense)
    assert Masks.from_coco(masks.to_coco(), masks.sizes) == masks
    uncompressed = [{"size": list(dense.shape), "counts": one.counts.tolist()} for one in masks]
    assert Masks.from_coco(uncompressed, masks.sizes) == masks
    window, left, top = masks.window(0)
    assert Masks.from_windows([(window, left, top)], *dense.shape) == masks[0]
    assert masks.areas.tolist() == [dense.sum(), (~dense).sum()]


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.uint8, shapes, elements=st.integers(0, 3)))
def test_from_labels(labels: np.ndarray) -> None:
    masks, values = Masks.from_labels(labels)
    assert values.tolist() == sorted(set(labels.ravel().tolist()) - {0})
    for row, value in enumerate(values):
        assert np.array_equal(masks.decode(row), labels == value)


def test_rows_are_selected() -> None:
    dense = pictures(5, 8)
    masks = Masks.from_dense(dense)
    for index in (np.array([3, 1, 1]), slice(2, 6), dense.any(axis=(1, 2)), 4, []):
        chosen = masks[index]
        assert chosen == Masks.from_dense(dense[index if not isinstance(index, int) else [index]][: len(chosen)])
    assert Masks.concatenate(masks) == masks
    assert len(Masks.empty()) == 0
    assert mask_iou(masks, Masks.empty()).shape == (8, 0)


def test_crop_paste_and_resize() -> None:
    dense = pictures(6, 5, 20, 30)
    masks = Masks.from_dense(dense)
    assert masks.crop(4, 3, 19, 17) == Masks.from_dense(dense[:, 3:17, 4:19])
    larger = np.zeros((5, 40, 50), bool)
    larger[:, 7:27, 11:41] = dense
    assert masks.paste(11, 7, 40, 50) == Masks.from_dense(larger)
    assert masks.paste(-4, -3, 14, 15) == masks.crop(4, 3, 19, 17)
    doubled = masks.resize(40, 60)
    assert doubled == Masks.from_dense(dense.repeat(2, axis=1).repeat(2, axis=2))
    assert doubled.resize(20, 30) == masks


def test_boxes_enclose_the_pixels() -> None:
    mask = np.zeros((6, 9), bool)
    mask[2:4, 3:8] = True
    masks = Masks.from_dense([mask, np.zeros_like(mask)])
    assert masks.boxes.tolist() == [[3, 2, 8, 4], [0, 0, 0, 0]]
    assert masks.boxes.dtype == np.float32


def test_compiled_and_plain_parsing_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = pictures(7, 60)
    plain = Masks.from_dense(dense)
    texts, areas, bounds, ends = plain.strings(), plain.areas, plain.bounds, plain.run_ends
    monkeypatch.setattr(rle, "MANY", 1)
    compiled = Masks.from_coco(plain.to_coco(), plain.sizes)
    assert compiled == plain
    assert compiled.strings() == texts
    assert np.array_equal(compiled.areas, areas)
    assert np.array_equal(compiled.bounds, bounds)
    assert np.array_equal(compiled.run_ends, ends)
    with pytest.raises(InputError, match="mask 1 "):
        rle.from_strings([texts[0], "`", texts[1]])


def test_empty_runs_are_taken_out() -> None:
    messy = Masks.from_coco([{"size": [2, 3], "counts": [1, 0, 1, 2, 0, 1, 1, 0]}], [(2, 3)])
    assert messy.counts.tolist() == [2, 3, 1]
    assert messy.decode(0).ravel(order="F").tolist() == [False, False, True, True, True, False]


def test_boundaries_are_what_erosion_takes_away() -> None:
    for seed, (height, width) in enumerate([(30, 25), (120, 90), (1, 40), (80, 200)]):
        dense = pictures(10 + seed, 12, height, width)
        for ratio in (0.02, 0.06):
            thin = boundaries(Masks.from_dense(dense), ratio)
            distance = max(1, round(ratio * float(np.hypot(height, width))))
            for row, mask in enumerate(dense):
                padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
                core = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
                assert np.array_equal(thin.decode(row), mask & (core == 0))


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ({"size": [2, 3], "counts": [1, 2]}, "cover 3 pixels"),
        ({"size": [2, 3], "counts": [1, -2, 7]}, "whole numbers"),
        ({"size": [2, 3], "counts": [1.5, 4.5]}, "whole numbers"),
        ({"size": [2, 3], "counts": None}, "string, or a list"),
        ({"size": [2, 3], "counts": "a b"}, "broken"),
        ({"size": [2, 3], "counts": "6Y"}, "broken"),
        ({"size": [2, 3], "counts": "\x7f"}, "broken"),
        ({"size": [3, 2], "counts": "6"}, "its picture"),
        ([[0, 0, 1, 1]], "3 points"),
        ([[0, 0, 1, 1, 2]], "3 points"),
        ([[0, 0, 1, 1, float("nan"), 2]], "no place"),
        ([["a", 0, 1, 1, 2, 2]], "numbers"),
        (7, "neither"),
    ],
)
def test_bad_masks_are_refused(segmentation: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Masks.from_coco([segmentation], [(2, 3)])


def test_different_sizes_are_not_compared() -> None:
    one, other = Masks.from_dense([np.ones((2, 3))]), Masks.from_dense([np.ones((3, 2))])
    with pytest.raises(InputError, match="cannot be compared"):
        mask_iou(one, other)
    with pytest.raises(InputError, match="joined"):
        Masks.concatenate((one, other)).union(np.zeros(2, np.int64), 1)


def test_real_masks(shared) -> None:
    rows = [line.split() for line in (shared / "data/tracks/MOTS20-05/gt/gt.txt").read_text().splitlines()]
    sizes = [(int(row[3]), int(row[4])) for row in rows]
    masks = Masks.from_coco(
        [{"size": list(size), "counts": row[5]} for row, size in zip(rows, sizes, strict=True)], sizes
    )
    assert masks.strings() == [row[5] for row in rows]
    some = masks[::50]
    assert Masks.from_dense([some.decode(row) for row in range(len(some))]) == some
