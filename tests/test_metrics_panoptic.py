"""Panoptic quality equal to hotcoco's (panopticapi's), and its rules one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.errors import InputError
from detkit.metrics.panoptic import PanopticCounts, PanopticResult, Segments, panoptic_counts

GOLDEN = Path(__file__).parent / "data/segmentation_golden.json"


def segments(labels: Any, classes: dict[int, int], crowd: tuple[int, ...] = ()) -> Segments:
    ids = np.array(list(classes), np.int64)
    return Segments(np.array(labels), ids, np.array(list(classes.values()), np.int64), np.isin(ids, crowd))


def test_equals_hotcoco() -> None:
    for case in json.loads(GOLDEN.read_text())["panoptic"]:
        thing = np.array(case["thing"])
        counts = PanopticCounts.zero(len(thing))
        for picture in case["pictures"]:
            sides = [
                Segments(*(np.array(picture[side][name]) for name in ("labels", "ids", "class_index")),
                         np.array(picture[side]["crowd"], bool))
                for side in ("truth", "found")
            ]  # fmt: skip
            counts += panoptic_counts(*sides, len(thing))
        assert PanopticResult(counts, thing).figures == pytest.approx(case["figures"], abs=1e-15)


def test_by_hand() -> None:
    truth = segments([[1, 1, 1, 2, 2, 0]], {1: 0, 2: 1})
    found = segments([[5, 5, 6, 6, 6, 5]], {5: 0, 6: 1})
    counts = panoptic_counts(truth, found, 2)
    # segment 5 has 2 of 3 pixels, and its pixel on nothing counts for no union; 6 has 2 of 3
    assert counts.iou.tolist() == [2 / 3, 2 / 3]
    assert counts.hits.tolist() == [1, 1]
    result = PanopticResult(counts, np.array([True, False]))
    assert result.figures["PQ"] == result.figures["SQ"] == pytest.approx(2 / 3)
    assert result.figures["RQ"] == result.figures["RQ_things"] == result.figures["RQ_stuff"] == 1


def test_half_is_no_match() -> None:
    truth, found = segments([[1, 1, 1, 0]], {1: 0}), segments([[7, 7, 0, 0]], {7: 1})
    counts = panoptic_counts(truth, found, 2)  # another class
    assert (counts.missed.tolist(), counts.false.tolist()) == ([1, 0], [0, 1])
    half = panoptic_counts(segments([[1, 1]], {1: 0}), segments([[7, 0]], {7: 0}), 1)
    assert (half.hits.tolist(), half.missed.tolist(), half.false.tolist()) == ([0], [1], [1])


def test_what_lies_on_nothing_or_on_a_crowd_is_not_false() -> None:
    labels = [[1, 1, 1, 1, 0, 0, 0, 0]]
    found = segments([[5, 5, 5, 0, 6, 6, 6, 0]], {5: 0, 6: 1})
    counts = panoptic_counts(segments(labels, {1: 0}, (1,)), found, 2)
    assert counts.false.tolist() == [0, 0]
    assert counts.missed.tolist() == [0, 0]
    other = panoptic_counts(segments(labels, {1: 1}, (1,)), found, 2)  # a crowd of another class
    assert other.false.tolist() == [1, 0]


def test_maps_and_lists_must_agree() -> None:
    right = segments([[1, 2]], {1: 0, 2: 0})
    for wrong, words in (
        (segments([[1, 3]], {1: 0}), "id 3 of the map"),
        (segments([[1, 1]], {1: 0, 2: 0}), "segment 2 has no pixel"),
        (segments([[1], [1]], {1: 0}), "cannot be compared"),
    ):
        with pytest.raises(InputError, match=words):
            panoptic_counts(right, wrong, 1)


def test_no_segments_are_undefined() -> None:
    figures = PanopticResult(PanopticCounts.zero(2), np.array([True, False])).figures
    assert set(figures.values()) == {-1.0}
