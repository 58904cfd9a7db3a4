"""Semantic figures equal to hotcoco's, and what the definitions say of odd maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from detkit.errors import InputError
from detkit.metrics.semantic import SemanticResult, count_pairs, pixel_confusion

GOLDEN = Path(__file__).parent / "data/segmentation_golden.json"


def test_equals_hotcoco() -> None:
    for case in json.loads(GOLDEN.read_text())["semantic"]:
        pictures = [(np.array(truth), np.array(found)) for truth, found in case["pictures"]]
        matrix = sum(pixel_confusion(truth, found, case["classes"]) for truth, found in pictures)
        assert SemanticResult(matrix).figures == pytest.approx(case["figures"], abs=1e-15)


def test_by_hand() -> None:
    truth, found = np.array([[0, 0, 1], [1, 255, 2]]), np.array([[0, 1, 1], [9, 1, 2]])
    matrix = pixel_confusion(truth, found, 4)
    assert matrix.tolist() == [[1, 1, 0, 0, 0], [0, 1, 0, 0, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]
    result = SemanticResult(matrix)
    assert result.iou.tolist() == [1 / 2, 1 / 3, 1, -1]
    assert result.accuracy.tolist() == [1 / 2, 1 / 2, 1, -1]
    assert result.figures == pytest.approx(
        {
            "mIoU": (1 / 2 + 1 / 3 + 1) / 3,
            "pixel_accuracy": 3 / 5,
            "mean_accuracy": 2 / 3,
            "frequency_weighted_IoU": (2 * 1 / 2 + 2 * 1 / 3 + 1) / 5,
        }
    )


def test_a_class_that_is_found_and_not_there_counts_with_zero() -> None:
    result = SemanticResult(pixel_confusion(np.zeros((2, 2), int), np.array([[0, 0], [0, 1]]), 3))
    assert result.iou.tolist() == [3 / 4, 0, -1]
    assert result.figures["mIoU"] == 3 / 8
    assert result.figures["mean_accuracy"] == 3 / 4


def test_nothing_labelled_is_undefined() -> None:
    empty = np.full((2, 2), 255)
    assert set(SemanticResult(pixel_confusion(empty, empty, 3)).figures.values()) == {-1.0}


def test_pairs_are_counted_whatever_the_numbers() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(-3, 4, (20, 30)), rng.integers(10**9, 10**9 + 3, (20, 30))
    pairs, pixels = count_pairs(first, second)
    for (a, b), count in zip(pairs, pixels, strict=True):
        assert count == ((first == a) & (second == b)).sum()
    assert pixels.sum() == first.size


def test_what_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="cannot be compared"):
        pixel_confusion(np.zeros((2, 3), int), np.zeros((3, 2), int), 2)
    with pytest.raises(InputError, match="the number 7"):
        pixel_confusion(np.array([[7]]), np.array([[0]]), 2)
