"""Pictures of what a sliding-window detector sees: score maps as colour on the picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.detectors.windows.grouping import ScoreMap
from detkit.images import Image
from detkit.pyramid import level_size

Floats = NDArray[np.float32]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BAND = 22  # height of the caption and of the scale, pixels
_TICKS = (0.0, 0.05, 0.25, 0.5, 1.0)  # scores that the scale names, where there is room


def heatmaps(score_map: ScoreMap, image: Image) -> Iterator[tuple[str, Image]]:
    """(name, picture) of every level, and last of the maximum over scales ("max"), each laid on the picture.

    A score is shown at the centre of its window. Its colour is the same in every picture, so that pictures of a set can
    be compared: the bar below says which (see `heat_colours`). The caption says the scale, the size of the window in
    the picture and the highest score of the level.
    """
    size = (image.shape[1], image.shape[0])
    for number, level in enumerate(score_map.levels):
        if level.scores.size == 0:
            continue
        scale = level.scale_xy
        heat = _spread(score_map, number, size)
        shown = (level_size(size, scale[0])[0], level_size(size, scale[1])[1])
        small: Any = cv2.resize(image, shown, interpolation=cv2.INTER_AREA)
        shrunk: Any = cv2.resize(heat, shown, interpolation=cv2.INTER_AREA)
        window = f"{score_map.window[0] * scale[0]:.0f}x{score_map.window[1] * scale[1]:.0f}"
        caption = f"1/{scale[0]:.2f}  window {window}  max {level.scores.max():.2f}"
        yield f"level-{number:02d}", _captioned(laid_on(small, shrunk), caption)
    largest = strongest(score_map, size)
    caption = f"maximum over {len(score_map.levels)} scales: {largest.max():.2f}"
    yield "max", _captioned(laid_on(image, largest), caption)


def strongest(score_map: ScoreMap, size: tuple[int, int]) -> Floats:
    """The maximum over scales, float32 (H, W) for a picture of `size` (width, height): scores at window centres."""
    largest = np.zeros((size[1], size[0]), np.float32)
    for number, level in enumerate(score_map.levels):
        if level.scores.size:
            np.maximum(largest, _spread(score_map, number, size), out=largest)
    return largest


def heat_colours(heat: Floats) -> NDArray[np.uint8]:
    """Scores from 0 to 1, of any shape (...), as colours (..., 3) RGB: inferno over their square roots.

    The roots spread the low scores, which most of a picture has: 0.25 is in the middle of the scale.
    """
    steps = np.rint(np.sqrt(np.clip(heat, 0, 1)) * 255).astype(np.uint8)
    colours: Any = cv2.applyColorMap(steps.reshape(-1, 1), cv2.COLORMAP_INFERNO)
    return np.asarray(colours[:, 0, ::-1].reshape(*heat.shape, 3), np.uint8)


def _spread(score_map: ScoreMap, number: int, size: tuple[int, int]) -> Floats:
    """The scores of a level over the whole picture (H, W): each fills the stride around its window's centre."""
    level = score_map.levels[number]
    scale, window = level.scale_xy, score_map.window
    # Column c of the grid has its centre at ((c * stride + origin) + window / 2) * scale, and is one stride wide.
    step = (level.stride[0] * scale[0], level.stride[1] * scale[1])
    start = (
        (level.origin[0] + window[0] / 2) * scale[0] - step[0] / 2,
        (level.origin[1] + window[1] / 2) * scale[1] - step[1] / 2,
    )
    matrix = np.array([[1 / step[0], 0, -start[0] / step[0] - 0.5], [0, 1 / step[1], -start[1] / step[1] - 0.5]])
    matrix[:, 2] += [0.5 / step[0], 0.5 / step[1]]  # pixel centres
    return np.asarray(
        cv2.warpAffine(
            level.scores,
            matrix,
            size,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
        ),
        np.float32,
    )


def laid_on(image: Image, heat: Floats) -> Image:
    """Scores (H, W) as colour that hides the darkened gray picture, the more the higher they are."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    dimmed = np.repeat(gray[:, :, None], 3, axis=2).astype(np.float32) * 0.55
    share = np.clip(np.sqrt(np.clip(heat, 0, 1)), 0, 0.9)[:, :, None]
    return np.asarray(dimmed * (1 - share) + heat_colours(heat) * share, np.uint8)


def _captioned(picture: Image, text: str) -> Image:
    width = picture.shape[1]
    band = np.zeros((_BAND, width, 3), np.uint8)
    _written(band, text, 4, width - 8, _BAND - 7)
    return np.vstack((band, picture, _scale_bar(width)))


def _scale_bar(width: int) -> Image:
    """The colours of all scores, `width` wide, with as many of the scores as there is room for."""
    bar = np.zeros((2 * _BAND - 8, width, 3), np.uint8)
    margin = min(12, width // 8)
    length = max(width - 2 * margin, 1)
    shares = np.linspace(0, 1, length)
    bar[5 : _BAND - 7, margin : margin + length] = heat_colours((shares**2).astype(np.float32))[None]
    for tick in sorted(_TICKS, key=lambda score: (score not in (0.0, 1.0), -score)) if width >= 80 else ():
        label = f"{tick:g}"
        wide = cv2.getTextSize(label, _FONT, 0.4, 1)[0][0]
        middle = margin + round(np.sqrt(tick) * (length - 1))
        left = min(max(middle - wide // 2, 1), width - wide - 1)
        if (bar[_BAND - 5 :, max(left - 6, 0) : left + wide + 6] > 0).any():
            continue  # another label is there
        bar[_BAND - 8 : _BAND - 5, middle] = 255
        cv2.putText(bar, label, (left, 2 * _BAND - 12), _FONT, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return bar


def _written(band: Image, text: str, left: int, room: int, baseline: int) -> None:
    scale = 0.5
    while scale > 0.25 and cv2.getTextSize(text, _FONT, scale, 1)[0][0] > room:
        scale -= 0.05
    cv2.putText(band, text, (left, baseline), _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
