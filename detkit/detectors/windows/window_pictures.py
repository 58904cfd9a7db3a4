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
_BAND = 22  # height of the caption, pixels


def heatmaps(score_map: ScoreMap, image: Image) -> Iterator[tuple[str, Image]]:
    """(name, picture) of every level, and last of the maximum over scales ("max"), each laid on the picture.

    A score is shown at the centre of its window. Colours run from none at 0 to bright yellow at the highest score of
    all levels; the caption says the scale, the size of the window in the picture and the highest score of the level.
    """
    size = (image.shape[1], image.shape[0])
    brightest = max((float(level.scores.max(initial=0)) for level in score_map.levels), default=0.0)
    largest = np.zeros(image.shape[:2], np.float32)
    for number, level in enumerate(score_map.levels):
        if level.scores.size == 0:
            continue
        scale = level.scale_xy
        heat = _spread(score_map, number, size)
        np.maximum(largest, heat, out=largest)
        shown = (level_size(size, scale[0])[0], level_size(size, scale[1])[1])
        small: Any = cv2.resize(image, shown, interpolation=cv2.INTER_AREA)
        shrunk: Any = cv2.resize(heat, shown, interpolation=cv2.INTER_AREA)
        window = f"{score_map.window[0] * scale[0]:.0f}x{score_map.window[1] * scale[1]:.0f}"
        caption = f"1/{scale[0]:.2f}  window {window}  max {level.scores.max():.2f}"
        yield f"level-{number:02d}", _captioned(_laid_on(small, shrunk, brightest), caption)
    levels = len(score_map.levels)
    yield "max", _captioned(_laid_on(image, largest, brightest), f"maximum over {levels} scales: {largest.max():.2f}")


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


def _laid_on(image: Image, heat: Floats, brightest: float) -> Image:
    """`heat` (H, W), from 0 to `brightest`, as colour that hides the darkened gray picture."""
    heat = np.clip(heat / max(brightest, 1e-6), 0, 1)
    colours = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    dimmed = np.repeat(gray[:, :, None], 3, axis=2).astype(np.float32) * 0.55
    share = np.clip(np.sqrt(heat), 0, 0.9)[:, :, None]
    return np.asarray(dimmed * (1 - share) + colours[:, :, ::-1] * share, np.uint8)


def _captioned(picture: Image, text: str) -> Image:
    band = np.zeros((_BAND, picture.shape[1], 3), np.uint8)
    scale = 0.5
    while scale > 0.25 and cv2.getTextSize(text, _FONT, scale, 1)[0][0] > picture.shape[1] - 8:
        scale -= 0.05
    cv2.putText(band, text, (4, _BAND - 7), _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack((band, picture))
