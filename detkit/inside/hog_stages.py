"""The way of a picture through HOG and an SVM (Dalal and Triggs, CVPR 2005), and what its best window rests on."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.detections import Detections
from detkit.detectors.hog.glyphs import glyphs, stars
from detkit.detectors.hog.hog_detector import (
    HogDetector,
    block_step,
    collect_windows,
    compute_gradients,
    describe,
    normalize_gamma_and_colour,
)
from detkit.detectors.hog.hog_model import HogModel
from detkit.detectors.windows.grouping import IOU
from detkit.images import Image
from detkit.inside.stages import Stage, suppression_stages
from detkit.pyramid import level

Floats = NDArray[np.float32]

_PAPER = "Dalal and Triggs 2005, section "
_MOST_LEVELS = 6


def hog_stages(detector: HogDetector, image: Image) -> Iterator[Stage]:
    """The stages of `detkit hog-detect`."""
    model = detector.model
    parameters = model.parameters
    levels = detector.score_map(image).levels
    sizes = [level(image, part.scale_xy[0]).image.shape[1::-1] for part in levels]
    yield Stage(
        "pyramid", "The image pyramid",
        f"{len(levels)} levels, each smaller by {detector.options.factor:g}: a window of {parameters.window[0]} x "
        f"{parameters.window[1]} pixels slides over each.", _PAPER + "3",
        _pyramid(image, [part.scale_xy[0] for part in levels]), {"levels": [list(size) for size in sizes]},
    )  # fmt: skip
    colours = normalize_gamma_and_colour(
        np.asarray(cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REFLECT_101), np.uint8), parameters
    )
    magnitude, angle = compute_gradients(colours)
    yield Stage(
        "gradients", "Gradients", "By the mask [-1, 0, 1]; the colour is the angle, the brightness the magnitude.",
        _PAPER + "6.2", _gradients(magnitude, angle),
    )  # fmt: skip
    yield Stage(
        "cells", "Cells: histograms of oriented gradients",
        f"Each cell of {parameters.cell[0]} x {parameters.cell[1]} pixels votes for {parameters.orientations} "
        "orientations; a stroke runs along the edge.", _PAPER + "6.3", glyphs(image, parameters),
    )  # fmt: skip
    number = int(np.argmax([part.scores.max(initial=-1) for part in levels]))
    part, scale = levels[number], levels[number].scale_xy[0]
    row, column = np.unravel_index(int(part.scores.argmax()), part.scores.shape)
    step = block_step(parameters, detector.options.stride)
    padding = -part.origin[0], -part.origin[1]
    smaller = level(image, scale).image
    blocks = describe(smaller, parameters, step, padding)
    descriptor = collect_windows(blocks, parameters, step, detector.options.stride)[row, column]
    window = _window(smaller, parameters.window, (int(row), int(column)), detector.options.stride, padding)
    yield Stage(
        "blocks", "Blocks of the best window",
        f"{parameters.blocks[0]} x {parameters.blocks[1]} blocks of {parameters.block[0]} x {parameters.block[1]} "
        f"pixels overlap; each is normalised by {parameters.norm}. {parameters.descriptor_length:,} numbers describe "
        "the window; a cell shows the mean of its blocks.",
        _PAPER + "6.4", _beside(window, weight_glyphs(descriptor, model)),
    )  # fmt: skip
    weights, offset = linear_part(model, descriptor)
    parts = contributions(weights, descriptor, parameters.blocks)
    margin = float(parts.sum() + offset)
    positive, negative = (weight_glyphs(sign * weights, model) for sign in (1, -1))
    yield Stage(
        "weights", "The SVM's weights",
        "Left orientations that speak for the class, right those that speak against it."
        + (" Of a hidden layer, those of the units that the best window switches on." if model.output.size else ""),
        _PAPER + "6.5, figure 6",
        np.hstack((positive, negative)),
    )  # fmt: skip
    yield Stage(
        "part-in-score", "What the best window's score is made of",
        f"Each block's weights times its numbers: red for, blue against. They sum to {parts.sum():+.2f}; with the "
        f"offset {offset:+.2f} the margin is {margin:+.2f}.", _PAPER + "6.5, figure 6",
        _beside(window, _signed(parts)),
        {"margin": margin, "offset": offset, "blocks": parts.tolist(), "scale": float(scale)},
    )  # fmt: skip
    boxes, scores = detector.score_map(image).maxima(detector.selection.lowest_conf)
    before = Detections(
        model.object_boxes(boxes.astype(np.float32)), scores, np.zeros(len(boxes), np.int64), detector.names
    )
    iou = IOU if detector.selection.iou is None else detector.selection.iou
    yield from suppression_stages(image, before, iou, detector(image), _PAPER + "3")


def linear_part(model: HogModel, descriptor: Floats) -> tuple[Floats, float]:
    """Weights and offset of the linear function that the classifier is around a descriptor (D,).

    A linear SVM is itself everywhere; with a hidden layer those of its units count that the descriptor switches on.
    """
    if not model.output.size:
        return model.weights[0], float(model.offsets[0])
    on = (model.weights @ descriptor + model.offsets > 0) * model.output[:-1]
    return np.asarray(on @ model.weights, np.float32), float(on @ model.offsets + model.output[-1])


def contributions(weights: Floats, descriptor: Floats, blocks: tuple[int, int]) -> Floats:
    """What each block (down, across) of a window adds to its margin; a window's numbers run over block columns."""
    return np.asarray((weights * descriptor).reshape(*blocks, -1).sum(axis=-1).T, np.float32)


def weight_glyphs(weights: Floats, model: HogModel) -> Image:
    """The positive ones of a window's weights as strokes in its cells, means over the blocks that hold each."""
    parameters = model.parameters
    across, down = parameters.cells
    by_cell = np.maximum(weights, 0).reshape(*parameters.blocks, across, down, parameters.orientations)
    columns, rows = (w // c for w, c in zip(parameters.window, parameters.cell, strict=True))
    total: Floats = np.zeros((rows, columns, parameters.orientations), np.float32)
    count = np.zeros((rows, columns, 1), np.float32)
    for (x, y, i, j), _ in np.ndenumerate(by_cell[..., 0]):
        column = x * parameters.block_stride[0] // parameters.cell[0] + i
        row = y * parameters.block_stride[1] // parameters.cell[1] + j
        total[row, column] += by_cell[x, y, i, j]
        count[row, column] += 1
    return np.repeat(stars(np.asarray(total / np.maximum(count, 1), np.float32), parameters)[:, :, None], 3, axis=2)


def _pyramid(image: Image, scales: list[float]) -> Image:
    """Some levels side by side."""
    chosen = [scales[k] for k in sorted({round(k) for k in np.linspace(0, len(scales) - 1, _MOST_LEVELS)})]
    factor = min(1.0, 320 / image.shape[0]) * min(chosen)
    parts = []
    for scale in chosen:
        size = (max(1, round(image.shape[1] / scale * factor)), max(1, round(image.shape[0] / scale * factor)))
        parts.append(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8))
    height = max(part.shape[0] for part in parts)
    canvas = np.full((height, sum(part.shape[1] + 4 for part in parts), 3), 255, np.uint8)
    x = 0
    for part in parts:
        canvas[height - part.shape[0] :, x : x + part.shape[1]] = part
        x += part.shape[1] + 4
    return canvas


def _gradients(magnitude: Floats, angle: Floats) -> Image:
    hue = (np.mod(angle, np.pi) / np.pi * 179).astype(np.uint8)
    value = np.clip(magnitude / max(float(np.percentile(magnitude, 99)), 1e-6) * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(np.dstack((hue, np.full_like(hue, 200), value)), cv2.COLOR_HSV2RGB), np.uint8)


def _window(
    picture: Image, size: tuple[int, int], place: tuple[int, int], stride: tuple[int, int], padding: tuple[float, float]
) -> Image:
    """The window of a level at a place (row, column) of its grid."""
    left, top = (round(pad) for pad in padding)
    padded = np.asarray(cv2.copyMakeBorder(picture, top, top, left, left, cv2.BORDER_REFLECT_101), np.uint8)
    y, x = place[0] * stride[1], place[1] * stride[0]
    return padded[y : y + size[1], x : x + size[0]]


def _beside(window: Image, blocks: Image) -> Image:
    """A window and a picture of its blocks, at one height."""
    height = max(384, window.shape[0])
    width = round(window.shape[1] * height / window.shape[0])
    left = cv2.resize(window, (width, height), interpolation=cv2.INTER_CUBIC)
    right = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.hstack((np.asarray(left, np.uint8), np.asarray(right, np.uint8)))


def _signed(values: Floats) -> Image:
    """Numbers (h, w) as colours: red above nought, blue below, white at it."""
    share = values / max(float(np.abs(values).max()), 1e-9)
    weak = np.rint(255 * (1 - np.abs(share))).astype(np.uint8)
    full = np.full_like(weak, 255)
    return np.dstack((np.where(share >= 0, full, weak), weak, np.where(share >= 0, weak, full)))
