"""Whether annotated boxes suit the window of a HOG detector, and which window would suit them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import iou_over_first
from detkit.detectors.hog.hog_model import HogParameters

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
ObjectBox = tuple[float, float, float, float]

# Other windows have about the area of the given one: a smaller one suits more boxes, and tells fewer of them apart.
_LEAST_AREA, _MOST_AREA = 0.6, 1.3
_LARGEST_SIDE = 256
_WIDER = 2.0  # an aspect that is offered where it brings so many times as many boxes
_WORTH = 1.3
_ENOUGH = 0.5  # a share of the boxes that needs no warning


@dataclass(frozen=True)
class Fit:
    """Which boxes may be used.

    aspect    how many times wider or narrower than the object box a box may be
    smallest  height of the smallest box, as a part of the object box
    covered   part of a box that another box of the class may cover
    """

    aspect: float
    smallest: float
    covered: float


def whole_boxes(boxes: Doubles, size: tuple[int, int], covered: float) -> Bools:
    """Which boxes (N, 4) of a picture of `size` (width, height) are not cut by its border, nor covered by another."""
    inside = (boxes[:, :2] > 1).all(axis=1) & (boxes[:, 2] < size[0] - 1) & (boxes[:, 3] < size[1] - 1)
    others = iou_over_first(boxes, boxes)
    np.fill_diagonal(others, 0)
    return np.asarray(inside & (others.max(axis=1, initial=0) <= covered))


def shaped(boxes: Doubles, object_box: ObjectBox, fit: Fit) -> Bools:
    """Which boxes (N, 4) are large enough and of the shape of the object in the window."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    wide, high = object_box[2] - object_box[0], object_box[3] - object_box[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        aspect = np.abs(np.log(width / height * high / wide))
    return np.asarray((height >= fit.smallest * high) & (aspect <= np.log(fit.aspect)))


def in_the_middle(window: tuple[int, int]) -> ObjectBox:
    """Where the object lies: the window less a quarter of its shorter side all round.

    Of 64 x 128, the 16 pixels that Dalal and Triggs left around a person.
    """
    margin = float(min(window) // 4)
    return margin, margin, window[0] - margin, window[1] - margin


def advice(boxes: Doubles, whole: Bools, used: int, parameters: HogParameters, fit: Fit) -> str:
    """What to say where few of the class's boxes (N, 4) are used: why, and the options that use more; "" else.

    whole  bool (N,), see `whole_boxes`
    """
    if used >= _ENOUGH * len(boxes):
        return ""
    wide, high = parameters.window
    apart = int((~whole).sum())
    cut = f" ({apart} cut off, hidden or flagged)" if apart else ""
    said = f"{used} of {len(boxes)} boxes suit a window of {wide} x {high}{cut}"
    count, window, aspect = _better(boxes[whole], parameters, fit)
    if count < _WORTH * max(used, 1):
        return f"{said}; no window of about its size suits many more"
    options = [f"--hog window={window[0]}x{window[1]}"] if window != parameters.window else []
    options += [f"--aspect {aspect:g}"] if aspect != fit.aspect else []
    return f"{said}; {' '.join(options)} would use {count}"


def _better(boxes: Doubles, parameters: HogParameters, fit: Fit) -> tuple[int, tuple[int, int], float]:
    """How many boxes the best window and aspect use, with which of the windows that blocks fill."""
    area = parameters.window[0] * parameters.window[1]
    sides = [
        range(block, _LARGEST_SIDE + 1, step)
        for block, step in zip(parameters.block, parameters.block_stride, strict=True)
    ]
    windows = [
        (width, height)
        for width in sides[0]
        for height in sides[1]
        if _LEAST_AREA * area <= width * height <= _MOST_AREA * area
    ]
    best = (0, parameters.window, fit.aspect)
    for aspect in (fit.aspect, max(_WIDER, fit.aspect)):
        own = Fit(aspect, fit.smallest, fit.covered)
        counts = [int(shaped(boxes, in_the_middle(window), own).sum()) for window in windows]
        # Of equals the window nearest in area, so that no more is changed than helps.
        most = max(
            zip(counts, windows, strict=True),
            key=lambda one: (one[0], -abs(one[1][0] * one[1][1] - area), one[1]),
            default=(0, parameters.window),
        )
        if most[0] > (_WORTH * best[0] if best[0] else 0):
            best = (most[0], most[1], aspect)
    return best
