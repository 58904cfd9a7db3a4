"""Heat maps: one scale for all pictures, and a bar that says which."""

from __future__ import annotations

import numpy as np
import pytest

from detkit.detectors.windows.grouping import ScoreLevel, ScoreMap
from detkit.detectors.windows.window_pictures import heat_colours, heatmaps, strongest


def score_map(highest: float) -> ScoreMap:
    fine, coarse = np.zeros((10, 13), np.float32), np.zeros((4, 6), np.float32)
    fine[2:5, 3:6], coarse[2:4, 4:6] = highest, highest / 2  # flat tops, as centres lie between pixels
    return ScoreMap((ScoreLevel(fine, 1.0, (0, 0), (8, 8)), ScoreLevel(coarse, 2.0, (0, 0), (8, 8))), (32, 24))


def test_a_score_has_one_colour_whatever_else_is_in_the_picture() -> None:
    image = np.full((96, 128, 3), 60, np.uint8)
    pictures = {highest: dict(heatmaps(score_map(highest), image))["max"] for highest in (0.25, 1.0)}
    low, high = pictures.values()
    place = (22 + 3 * 8 + 12, 4 * 8 + 16)  # below the caption: the centre of the window in row 3, column 4
    assert low[place].sum() < high[place].sum()
    share = 0.5
    ground = 60 * 0.55
    assert low[place] == pytest.approx(ground * (1 - share) + heat_colours(np.float32([0.25]))[0] * share, abs=3)
    assert (low[-36:] == high[-36:]).all()  # the bar of both


def test_the_bar_shows_the_colours_of_all_scores() -> None:
    image = np.zeros((96, 300, 3), np.uint8)
    picture = dict(heatmaps(score_map(0.5), image))["max"]
    assert picture.shape == (96 + 22 + 36, 300, 3)
    row = picture[22 + 96 + 8, 12:288].astype(int)
    expected = heat_colours(np.linspace(0, 1, 276, dtype=np.float32) ** 2).astype(int)
    assert np.abs(row - expected).max() <= 2
    assert picture[-14:].max() == 255  # numbers


def test_the_strongest_scale_counts() -> None:
    heat = strongest(score_map(0.8), (128, 96))
    assert heat.shape == (96, 128)
    assert heat.max() == pytest.approx(0.8, abs=1e-3)
    assert heat[3 * 8 + 12, 4 * 8 + 16] == pytest.approx(0.8, abs=0.05)
    assert heat[(2 * 8 + 15) * 2, (4 * 8 + 19) * 2] == pytest.approx(0.4, abs=0.05)


def test_narrow_pictures_have_a_bar_too() -> None:
    for width in (40, 79, 81):
        name, picture = list(heatmaps(score_map(0.5), np.zeros((96, width, 3), np.uint8)))[-1]
        assert (name, picture.shape[1]) == ("max", width)
