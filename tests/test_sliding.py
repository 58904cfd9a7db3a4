"""Score maps, their maxima, mean shift and grouping."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detkit.detectors.selection import Selection
from detkit.detectors.windows.grouping import Grouping, ScoreLevel, ScoreMap, group, mean_shift
from detkit.errors import UsageError

ALL = Selection(conf=0.5, max_det=None)


def _map(*grids: list[list[float]], factor: float = 2.0, stride: int = 4, window: tuple[int, int] = (8, 8)) -> ScoreMap:
    return ScoreMap(
        tuple(
            ScoreLevel(np.array(grid, np.float32), factor**number, (0, 0), (stride, stride))
            for number, grid in enumerate(grids)
        ),
        window,
    )


def test_windows_lie_where_stride_padding_and_scale_put_them() -> None:
    level = ScoreLevel(np.array([[0, 0.2], [0.9, 0]], np.float32), (1.5, 2.0), (-4, -2), (8, 6))
    boxes, scores = ScoreMap((level,), (16, 32)).windows_above(0.1)
    np.testing.assert_allclose(scores, [0.2, 0.9])
    np.testing.assert_allclose(boxes, [[4 * 1.5, -2 * 2, 20 * 1.5, 30 * 2], [-4 * 1.5, 4 * 2, 12 * 1.5, 36 * 2]])


def test_a_maximum_beats_its_neighbours_on_its_level() -> None:
    boxes, scores = _map([[0.5, 0.6, 0.1, 0.1, 0.7], [0.2, 0.3, 0.1, 0.1, 0.1]]).maxima(0.15)
    np.testing.assert_allclose(scores, [0.6, 0.7])
    np.testing.assert_allclose(boxes[:, 0], [4, 16])


def test_a_maximum_beats_its_neighbours_in_scale() -> None:
    fine = [[0.1] * 5, [0.1] * 5, [0.1, 0.1, 0.8, 0.1, 0.1], [0.1] * 5, [0.1] * 5]
    # Level 1: windows of 16 pixels every 8; the one at (1, 1) has its centre, 16, where level 0 has its own, 12.
    same_place = [[0.0, 0.0], [0.0, 0.9]]
    boxes, scores = _map(fine, same_place).maxima(0.5)
    np.testing.assert_allclose(scores, [0.9])
    np.testing.assert_allclose(boxes, [[8, 8, 24, 24]])
    _, scores = _map(fine, [[0.0, 0.0], [0.0, 0.7]]).maxima(0.5)
    np.testing.assert_allclose(scores, [0.8])


def test_of_equal_scores_on_two_levels_the_finer_stays() -> None:
    boxes, _ = _map([[0.6]], [[0.6]]).maxima(0.5)
    np.testing.assert_allclose(boxes, [[0, 0, 8, 8]])


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_maxima_equal_the_slow_loop(seed: int) -> None:
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 7, (3, 2))
    grids = [random.integers(0, 6, size).astype(np.float32) / 5 for size in sizes]
    levels = tuple(ScoreLevel(grid, 1.3**number, (-4, 0), (4, 4)) for number, grid in enumerate(grids))
    score_map = ScoreMap(levels, (8, 16))
    expected = []
    for number, grid in enumerate(grids):
        for row in range(grid.shape[0]):
            for column in range(grid.shape[1]):
                score = grid[row, column]
                if score < 0.4 or score < grid[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].max():
                    continue
                scale = 1.3**number
                centre = ((column * 4 - 4 + 4) * scale, (row * 4 + 8) * scale)
                beaten = False
                for other in (number - 1, number + 1):
                    if not 0 <= other < 3:
                        continue
                    near_x = int(np.rint((centre[0] / 1.3**other - 4 + 4) / 4))
                    near_y = int(np.rint((centre[1] / 1.3**other - 8) / 4))
                    for y in range(near_y - 1, near_y + 2):
                        for x in range(near_x - 1, near_x + 2):
                            if 0 <= y < grids[other].shape[0] and 0 <= x < grids[other].shape[1]:
                                rival = grids[other][y, x]
                                beaten |= bool(rival > score or (rival == score and other < number))
                if not beaten:
                    expected.append((number, row, column))
    boxes, _ = score_map.maxima(0.4)
    wanted = [score_map.boxes(number, np.array([row]), np.array([column]))[0] for number, row, column in expected]
    np.testing.assert_allclose(boxes, np.reshape(wanted, (-1, 4)))


def test_mean_shift_finds_two_objects_and_their_size() -> None:
    random = np.random.default_rng(0)
    boxes, scores = [], []
    for centre, height in (((100, 100), 128), ((300, 120), 256)):
        for _ in range(20):
            scale = height / 128 * np.exp(random.normal(0, 0.05))
            x, y = np.array(centre) + random.normal(0, 3 * scale, 2)
            boxes.append([x - 32 * scale, y - 64 * scale, x + 32 * scale, y + 64 * scale])
            scores.append(random.uniform(0.5, 1))
    found, best = mean_shift(np.array(boxes), np.array(scores, np.float32), 0.4, (64, 128))
    assert len(found) == 2
    assert best[0] == pytest.approx(max(scores))
    found = found[np.argsort(found[:, 0])]
    np.testing.assert_allclose((found[:, 0] + found[:, 2]) / 2, [100, 300], atol=4)
    np.testing.assert_allclose(found[:, 3] - found[:, 1], [128, 256], rtol=0.08)
    np.testing.assert_allclose((found[:, 2] - found[:, 0]) * 2, found[:, 3] - found[:, 1], rtol=1e-6)


def test_mean_shift_of_nothing_and_of_one_window() -> None:
    none, _ = mean_shift(np.zeros((0, 4)), np.zeros(0, np.float32), 0.5, (64, 128))
    assert none.shape == (0, 4)
    box = np.array([[10.0, 20, 74, 148]])
    found, scores = mean_shift(box, np.array([0.7], np.float32), 0.5, (64, 128))
    np.testing.assert_allclose(found, box)
    np.testing.assert_allclose(scores, [0.7], rtol=1e-6)


def test_grouping_methods_and_limits() -> None:
    random = np.random.default_rng(1)
    score_map = _map(random.random((20, 20)).tolist(), random.random((9, 9)).tolist(), factor=1.2)
    everything = group({0: score_map}, ALL, Grouping("none"))
    maxima = group({0: score_map}, replace(ALL, nms="none"))
    separate = group({0: score_map}, replace(ALL, iou=0.1))
    assert len(everything) > len(maxima) > len(separate) > 1
    assert len(group({0: score_map}, replace(ALL, max_det=3))) == 3
    assert (np.diff(everything.scores) <= 0).all()


def test_classes_keep_their_ids_and_compete_only_when_agnostic() -> None:
    maps = {4: _map([[0.9]]), 7: _map([[0.8]])}
    apart = group(maps, ALL)
    assert apart.class_ids.tolist() == [4, 7]
    assert group(maps, replace(ALL, agnostic=True)).class_ids.tolist() == [4]


def test_an_empty_map_gives_no_boxes() -> None:
    score_map = ScoreMap((ScoreLevel(np.zeros((0, 3), np.float32), 1.0, (0, 0), (8, 8)),), (8, 8))
    for method in ("maxima", "mean-shift", "none"):
        assert len(group({0: score_map}, ALL, Grouping(method))) == 0


@pytest.mark.parametrize("given", [{"method": "magic"}, {"spread": (0.1, 0.0, 0.2)}])
def test_impossible_groupings_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Grouping(**given)  # type: ignore[arg-type]
