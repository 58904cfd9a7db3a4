"""Polygons that give the same mask again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from detkit.errors import UsageError
from detkit.shapes import outlines
from detkit.shapes.masks import Masks, mask_iou
from detkit.shapes.outlines import outline, simplified


def area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


@settings(max_examples=150, deadline=None)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_the_mask_comes_back(mask: np.ndarray) -> None:
    found = outline(mask)
    parts, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    background = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    outside, _ = cv2.connectedComponents(background, connectivity=4)
    assert len(found.parts) == parts - 1
    assert len(found.holes) == outside - 2
    assert all(area(ring) > 0 for ring in found.parts)
    assert all(area(ring) < 0 for ring in found.holes)
    assert sum(map(area, (*found.parts, *found.holes))) == mask.sum()
    if mask.any():
        rings = found.rings()
        assert len(rings) == len(found.parts)
        for polygons in (rings, [found.ring()]):
            assert np.array_equal(Masks.from_polygons([polygons], [mask.shape]).decode(0), mask)


def test_pycocotools_draws_the_same_mask() -> None:
    reference = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = cv2.GaussianBlur(rng.random((80, 110)), (0, 0), 3) > 0.5
        rings = [ring.ravel().tolist() for ring in outline(mask).rings()]
        assert np.array_equal(reference.decode(reference.merge(reference.frPyObjects(rings, 80, 110))), mask)


def test_corners_only_and_clockwise() -> None:
    mask = np.zeros((5, 6), bool)
    mask[1:4, 2:5] = True
    mask[2, 3] = False
    found = outline(mask)
    assert sorted(map(tuple, found.parts[0].tolist())) == [(2, 1), (2, 4), (5, 1), (5, 4)]
    assert sorted(map(tuple, found.holes[0].tolist())) == [(3, 2), (3, 3), (4, 2), (4, 3)]
    assert found.around == (0,)
    shifted = outline(mask[1:4, 2:5], 2, 1)
    assert np.array_equal(shifted.parts[0], found.parts[0])


def test_nothing_gives_no_rings() -> None:
    found = outline(np.zeros((3, 4)))
    assert found.rings() == []
    assert found.ring().shape == (0, 2)


def test_many_holes_are_joined_near_their_height(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlines, "_ALL_DISTANCES", 10)
    mask = np.random.default_rng(1).random((60, 60)) > 0.5
    for polygons in (outline(mask).rings(), [outline(mask).ring()]):
        assert np.array_equal(Masks.from_polygons([polygons], [mask.shape]).decode(0), mask)


def test_simplified_rings_lose_little() -> None:
    mask = np.zeros((90, 120), np.uint8)
    cv2.ellipse(mask, (60, 45), (40, 25), 20, 0, 360, 1, -1)
    ring = outline(mask).parts[0]
    fewer = simplified(ring, 1.0)
    assert len(fewer) < len(ring) / 3
    overlap = mask_iou(Masks.from_polygons([[fewer]], [mask.shape]), Masks.from_dense([mask]))[0, 0]
    assert 0.95 < overlap < 1
    with pytest.raises(UsageError, match="tolerance"):
        simplified(ring, -1)
