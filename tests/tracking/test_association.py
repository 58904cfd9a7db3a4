"""Assignment and the gate by hand, buffered boxes, and the score from which a detection is believed."""

from __future__ import annotations

import numpy as np
import pytest

from detkit.tracking.association import assign, assign_rows, buffered_iou, gate, unmatched
from detkit.tracking.scores import ScoreScale, believed_from


def pairs(matches: tuple[np.ndarray, np.ndarray]) -> list[tuple[int, int]]:
    return list(zip(matches[0].tolist(), matches[1].tolist(), strict=True))


def test_the_sum_counts_not_the_number() -> None:
    assert pairs(assign(np.array([[0.9, 0.2], [0.2, 0.0]]), 0.1)) == [(0, 0)]
    assert pairs(assign(np.array([[0.6, 0.5], [0.5, 0.0]]), 0.1)) == [(0, 1), (1, 0)]


def test_pairs_outside_the_gate_have_no_part() -> None:
    # without the gate first, 0.29 + 0.29 would win over 0.5 and then both would fall
    assert pairs(assign(np.array([[0.5, 0.29], [0.29, 0.0]]), 0.3)) == [(0, 0)]
    assert pairs(assign(np.zeros((2, 2)), 0.0)) == []
    assert pairs(assign(np.zeros((0, 3)), 0.3)) == []


def test_a_bonus_decides_and_never_opens_the_gate() -> None:
    similarity = np.array([[0.5, 0.5]])
    assert pairs(assign(similarity, 0.3, np.array([[-0.1, 0.1]]))) == [(0, 1)]
    assert pairs(assign(similarity, 0.3, np.array([[-0.9, -0.8]])))
    assert pairs(assign(similarity - 0.3, 0.3, np.array([[0.5, 0.5]]))) == []


def test_rows_of_a_part_are_those_of_the_whole() -> None:
    similarity = np.eye(4)
    assert pairs(assign_rows(similarity, np.array([1, 3]), np.array([0, 3]), 0.5)) == [(3, 3)]
    assert unmatched(np.array([1, 2, 5]), np.array([2])).tolist() == [1, 5]
    assert unmatched(np.array([1]), np.zeros(0, np.int64)).tolist() == [1]


def test_buffered_boxes_meet_before_they_touch() -> None:
    a, b = np.array([[0.0, 0, 10, 10]]), np.array([[12.0, 0, 22, 10]])
    assert buffered_iou(a, b, 0).item() == 0
    # 16 wide and high each, 4 of them shared
    assert buffered_iou(a, b, 0.3).item() == pytest.approx(4 * 16 / (2 * 256 - 64))


def test_the_gate_opens_with_the_step() -> None:
    assert gate(0.3, 0.1, np.inf) == 0.1
    assert gate(0.3, 0.1, 0.1) == pytest.approx(0.2)
    assert gate(0.3, 0.1, 1 / 30) == gate(0.3, 0.1, 0.0) == 0.3
    assert gate(0.3, 0.1, 0.1, reach=0.015) == pytest.approx(0.15)


def test_believed_from_scales_with_the_scores() -> None:
    scores = np.random.default_rng(0).uniform(0.1, 0.9, 500)
    threshold = believed_from(scores)
    assert 0.1 < threshold < 0.5
    assert believed_from(150 * scores) == pytest.approx(150 * threshold)
    assert believed_from(np.ones(10)) < 1
    assert believed_from([]) == -np.inf
    assert believed_from([-3.0, -1.0, 0.0]) == -np.inf


def test_many_low_scores_move_it_little() -> None:
    rng = np.random.default_rng(0)
    good = rng.normal(0.8, 0.08, 500)
    alone, among = believed_from(good), believed_from(np.concatenate((good, rng.uniform(0.01, 0.2, 2000))))
    assert among == pytest.approx(alone, rel=0.2)
    assert among > 0.2


def test_a_running_threshold_forgets() -> None:
    scale = ScoreScale()
    scale.add(np.full(3000, 100.0))
    assert scale.add(np.zeros(0)) == pytest.approx(60)
    assert scale.add(np.full(2000, 1.0)) == pytest.approx(0.6)
