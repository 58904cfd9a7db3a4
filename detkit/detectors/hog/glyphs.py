"""Pictures of a HOG descriptor: the histogram of each cell as a star of strokes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.detectors.hog.hog_detector import HogParameters, describe
from detkit.errors import InputError
from detkit.images import Image

Floats = NDArray[np.float32]

_GLYPH = 24  # side of a cell's glyph, pixels
_MOST_CELLS = 250  # along a side of a picture of glyphs


def glyphs(image: Image, parameters: HogParameters) -> Image:
    """The picture beside its HOG: in every cell a stroke for each orientation, brighter where more gradients lie.

    A stroke runs along the edge, that is across the gradient. A cell's histogram is its mean over the blocks that
    hold it; strokes are as bright as their share of the strongest in the picture, by the square root. Of a picture
    with more than _MOST_CELLS cells along a side, a smaller copy is shown. InputError for one smaller than a cell.
    """
    too_large = max(image.shape[1] / parameters.cell[0], image.shape[0] / parameters.cell[1]) / _MOST_CELLS
    if too_large > 1:
        size = (int(image.shape[1] / too_large), int(image.shape[0] / too_large))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    if image.shape[0] < parameters.cell[1] or image.shape[1] < parameters.cell[0]:
        raise InputError(f"is smaller than one cell of {parameters.cell[0]} x {parameters.cell[1]} pixels")
    histograms = cell_histograms(image, parameters)
    picture = stars(histograms, parameters)
    height = image.shape[0] // parameters.cell[1] * parameters.cell[1]
    width = image.shape[1] // parameters.cell[0] * parameters.cell[0]
    beside = cv2.resize(image[:height, :width], picture.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.hstack((beside, np.repeat(picture[:, :, None], 3, axis=2)))


def stars(histograms: Floats, parameters: HogParameters) -> NDArray[np.uint8]:
    """Histograms (rows, columns, orientations) of cells as strokes, uint8 gray (H, W); see `glyphs`."""
    rows, columns, bins = histograms.shape
    turn = 2 * np.pi if parameters.signed else np.pi
    # One mask a bin: a soft line through the middle of the cell.
    wide, high = (max(8, round(_GLYPH * side / max(parameters.cell))) for side in parameters.cell)
    strokes = np.zeros((bins, high, wide), np.float32)
    for bin_ in range(bins):
        along = (bin_ + 0.5) * turn / bins + np.pi / 2
        reach = np.array((np.cos(along), np.sin(along))) * (min(wide, high) / 2 - 1.5)
        centre = np.array(((wide - 1) / 2, (high - 1) / 2))
        first, last = (np.round((centre + sign * reach) * 16).astype(int) for sign in (-1, 1))
        mask = np.zeros((high, wide), np.uint8)
        cv2.line(mask, tuple(map(int, first)), tuple(map(int, last)), 255, 1, cv2.LINE_AA, 4)
        strokes[bin_] = mask / np.float32(255)
    # Only what stands out of a cell's own mean is drawn: a flat histogram shows no star.
    drawn = np.maximum(histograms - histograms.mean(axis=2, keepdims=True) * 0.7, 0)
    brightest = max(float(np.percentile(drawn, 99.5)), 1e-6)
    bright = np.sqrt(np.clip(drawn / brightest, 0, 1))
    order = np.argsort(bright, axis=2)
    canvas = np.zeros((rows, columns, high, wide), np.float32)
    for place in range(bins):  # weak strokes first, so that strong ones lie on top
        chosen = order[:, :, place]
        weight = np.take_along_axis(bright, chosen[:, :, None], axis=2)[:, :, 0]
        np.maximum(canvas, strokes[chosen] * weight[:, :, None, None], out=canvas)
    return np.asarray((canvas.transpose(0, 2, 1, 3).reshape(rows * high, columns * wide) * 255).astype(np.uint8))


def cell_histograms(image: Image, parameters: HogParameters) -> Floats:
    """Histograms (rows, columns, orientations) of the cells of a picture, means over the blocks that hold each."""
    blocks = describe(image, parameters, parameters.cell, parameters.block)
    rows, columns = image.shape[0] // parameters.cell[1], image.shape[1] // parameters.cell[0]
    across, down = parameters.cells
    by_cell = blocks.reshape(*blocks.shape[:2], across, down, parameters.orientations)
    found: NDArray[Any] = np.zeros((rows, columns, parameters.orientations), np.float32)
    for i in range(across):
        for j in range(down):  # the block grid starts one whole block before the picture
            y, x = down - j, across - i
            found += by_cell[y : y + rows, x : x + columns, i, j]
    return np.asarray(found / (across * down), np.float32)
