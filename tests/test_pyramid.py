"""Pyramid levels and window positions, against length formulas and slow loops."""

from __future__ import annotations

import math
from types import GeneratorType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detkit.errors import InputError, UsageError
from detkit.pyramid import grid_size, level_size, pyramid, scales, windows

SIDES = st.integers(1, 120)


def test_number_of_levels_follows_the_formula() -> None:
    """A window fits while round(side / factor^k) >= window: 27 levels more for 480 / 128 at 1.05."""
    found = list(scales((640, 480), (64, 128), 1.05))
    assert len(found) == math.floor(math.log(480 / 127.5) / math.log(1.05)) + 1 == 28
    assert found[0] == 1.0
    assert found[-1] == pytest.approx(1.05**27)


def test_enlargement_comes_first() -> None:
    found = list(scales((40, 80), (64, 128), 1.25, enlarge=2))
    assert found == [0.5, 0.625]


def test_factor_one_is_a_single_level() -> None:
    assert list(scales((640, 480), (64, 128), 1.0)) == [1.0]


@pytest.mark.parametrize(("factor", "enlarge"), [(0.9, 1.0), (float("nan"), 1.0), (1.1, 0.0), (1.1, -2.0)])
def test_impossible_scales_are_refused(factor: float, enlarge: float) -> None:
    with pytest.raises(UsageError):
        list(scales((640, 480), (64, 128), factor, enlarge=enlarge))


def test_levels_are_yielded_one_at_a_time() -> None:
    image = np.zeros((200, 100, 3), np.uint8)
    levels = pyramid(image, (64, 128), 1.2)
    assert isinstance(levels, GeneratorType)
    first = next(levels)
    assert first.image is image
    second = next(levels)
    assert second.image.shape[:2] == level_size((100, 200), 1.2)[::-1] == (167, 83)
    assert second.number == 1


def test_levels_keep_the_mean_of_the_picture() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    for level in pyramid(image, (16, 16), 1.5, smooth=True):
        assert abs(level.image.mean() - image.mean()) < 2


def test_a_window_larger_than_the_picture_is_one_clear_error() -> None:
    with pytest.raises(InputError, match=r"window of 64 x 128 is larger than the picture of 60 x 200; enlarge it"):
        list(pyramid(np.zeros((200, 60, 3), np.uint8), (64, 128), 1.1))


@settings(deadline=None)
@given(SIDES, SIDES, st.integers(1, 60), st.integers(1, 60), st.integers(1, 20), st.integers(1, 20), st.integers(0, 30))
def test_windows_equal_the_slow_loop(
    width: int, height: int, across: int, down: int, step_x: int, step_y: int, padding: int
) -> None:
    size, window, stride = (width, height), (across, down), (step_x, step_y)
    expected = [
        (x, y)
        for y in range(-padding, height + padding - down + 1, step_y)
        for x in range(-padding, width + padding - across + 1, step_x)
    ]
    assert list(windows(size, window, stride, (padding, padding))) == expected
    columns, rows = grid_size(size, window, stride, (padding, padding))
    assert columns * rows == len(expected)


def test_an_enlargement_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(InputError, match="enlarged 200 times has more than 250 million pixels"):
        list(scales((480, 640), (64, 128), 1.05, enlarge=200))
    with pytest.raises(UsageError, match="above 0"):
        list(scales((480, 640), (64, 128), 1.05, enlarge=float("inf")))
    assert next(scales((12_000, 16_000), (64, 128), 1.05)) == 1  # as large as it comes
