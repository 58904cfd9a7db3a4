"""From a network's map to the class of every pixel of the picture.

As exporters do (torchvision, transformers' `post_process_semantic_segmentation`, mmseg): the numbers of each class are
resized bilinearly, without aligning corners, to the picture, and the highest is taken there. Each resized number is a
weighted mean of a few neighbours with the same weights for all classes. So where one class is the highest in all of
these, it is the highest in the mean, and nothing need be computed; only between regions all classes are resized.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats
from detkit.errors import InputError
from detkit.graphs.enlarging import Taps, enlarging
from detkit.graphs.letterbox import Placement
from detkit.graphs.semantic_outputs import Kind
from detkit.label_maps.palettes import IGNORED

Indices = NDArray[np.int64]
# Windows between regions, and pairs of a pixel and a class, that are computed at a time: tens of MB.
_WINDOWS = 1 << 15
_PAIRS = 1 << 20
_FULL = 1 + 2e-3  # 16-bit and quantised networks pass 1 by rounding


def class_map(
    values: NDArray[Any], kind: Kind, placement: Placement, threshold: float, count: int
) -> NDArray[np.uint8]:
    """Class numbers uint8 (H, W) of the picture, 255 for pixels without a class.

    values      (C, h, w), or (h, w) of class numbers and of one channel, see `MapOutput.map_of`
    threshold   of probabilities of their own (kinds "each" and "probability")
    count       of classes

    InputError for numbers that are not finite, no probabilities where they should be, or no classes.
    """
    if kind == "ids":
        return placement.undo_map(_ids(values, count), cv2.INTER_NEAREST)
    numbers: Floats = np.asarray(values, np.float32)
    if not np.isfinite(numbers).all():
        raise InputError("the network's outputs for it are not finite numbers")
    if kind in ("each", "probability") and not (numbers.min() >= 1 - _FULL and numbers.max() <= _FULL):
        raise InputError(
            f"the network's outputs for it are no probabilities: they reach from {numbers.min():.4g} to "
            f"{numbers.max():.4g}"
        )
    if kind in ("logit", "probability"):
        return (placement.undo_map(numbers) > (0 if kind == "logit" else threshold)).astype(np.uint8)
    down, across = enlarging(placement, numbers.shape[1:], direct=True)
    if kind == "each":  # a further class, nowhere above the threshold, has 255 at the end
        floor = np.full((1, *numbers.shape[1:]), threshold, np.float32)
        classes = highest(np.concatenate((floor, numbers)), down, across)
        return (classes - np.uint8(1)).astype(np.uint8)
    return highest(numbers, down, across)


def highest(maps: Floats, down: Taps, across: Taps) -> NDArray[np.uint8]:
    """The place of the highest of maps (C, h, w) at every pixel of the resized ones, uint8 (H, W); C <= 256.

    Equal to resizing all of them and taking the argmax, but for pixels where two are equal to the last bits.
    """
    best = _argmax(maps)
    rows, columns = down.places[:, 0], across.places[:, 0]
    found = np.take(np.take(best, rows, axis=0), columns, axis=1)
    mixed = np.take(np.take(_mixed(best, down.places.shape[1], across.places.shape[1]), rows, axis=0), columns, axis=1)
    ys, xs = np.nonzero(mixed)
    if len(ys):
        found[ys, xs] = _highest_between(maps, down, across, ys, xs)
    return found


def _highest_between(maps: Floats, down: Taps, across: Taps, ys: Indices, xs: Indices) -> NDArray[np.uint8]:
    """The place of the highest of the resized maps at pixels (P,) between regions, whose neighbours (a window) differ.

    A class whose highest neighbour is below the lowest of another class's cannot be the highest there: others are left.
    """
    width, classes = maps.shape[2], len(maps)
    cells = np.ascontiguousarray(maps.reshape(classes, -1).T)  # (h w, C)
    offsets = [(i, j, i * width + j) for i in range(down.places.shape[1]) for j in range(across.places.shape[1])]
    first = down.places[ys, 0] * width + across.places[xs, 0]
    windows, which = np.unique(first, return_inverse=True)
    rivals = np.concatenate(
        [_rivals(cells, windows[k : k + _WINDOWS], offsets) for k in range(0, len(windows), _WINDOWS)]
    )
    count = rivals.sum(axis=1)
    begins, numbers = np.cumsum(count) - count, np.nonzero(rivals)[1]
    ends = np.cumsum(count[which])
    found = np.empty(len(ys), np.uint8)
    flat = cells.ravel()
    start = 0
    while start < len(ys):
        done = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, done + _PAIRS, side="right")), start + 1)
        some = slice(start, stop)
        each = count[which[some]]
        pixel = np.repeat(np.arange(stop - start), each)
        heads = np.cumsum(each) - each
        rival = numbers[begins[which[some]][pixel] + np.arange(len(pixel)) - heads[pixel]]
        place = first[some][pixel] * classes + rival
        total = np.zeros(len(pixel), np.float32)
        for i, j, offset in offsets:
            weight = down.weights[ys[some], i] * across.weights[xs[some], j]
            total += flat[place + offset * classes] * weight[pixel]
        winners = np.flatnonzero(total == np.maximum.reduceat(total, heads)[pixel])[
            ::-1
        ]  # the first of equal ones last
        found[start + pixel[winners]] = rival[winners]
        start = stop
    return found


def _rivals(cells: Floats, windows: Indices, offsets: list[tuple[int, int, int]]) -> NDArray[np.bool_]:
    """bool (W, C): the classes that may be the highest somewhere in windows (W,) of cells (h w, C)."""
    high = cells[windows]
    low = high.copy()
    for _, _, offset in offsets[1:]:
        neighbour = cells[windows + offset]
        np.maximum(high, neighbour, out=high)
        np.minimum(low, neighbour, out=low)
    return np.asarray(high >= low.max(axis=1, keepdims=True))


def _argmax(maps: Floats) -> NDArray[np.uint8]:
    """The place of the highest along the first axis, the first of equal ones: faster than numpy's along that axis."""
    best = maps[0].copy()
    places = np.zeros(best.shape, np.uint8)
    for place in range(1, len(maps)):
        higher = maps[place] > best
        np.copyto(best, maps[place], where=higher)
        places[higher] = place
    return places


def _mixed(best: NDArray[np.uint8], tall: int, wide: int) -> NDArray[np.bool_]:
    """Of each place, whether the `tall` x `wide` places from it on differ."""
    mixed = np.zeros(best.shape, bool)
    for i in range(tall):
        for j in range(wide):
            if i or j:
                height, width = best.shape[0] - i, best.shape[1] - j
                mixed[:height, :width] |= best[i:, j:] != best[:height, :width]
    return mixed


def _ids(values: NDArray[Any], count: int) -> NDArray[np.uint8]:
    """Class numbers as uint8 (h, w). InputError where they are none."""
    numbers = values.astype(np.int64) if values.dtype.kind != "f" else np.rint(values)
    known = (numbers >= 0) & (numbers < count)
    if not (known | (numbers == IGNORED)).all():
        strange = numbers[~known & (numbers != IGNORED)][0]
        raise InputError(f"the network gives class {strange:.0f} for it, and there are {count} classes")
    return np.asarray(numbers, np.uint8)
