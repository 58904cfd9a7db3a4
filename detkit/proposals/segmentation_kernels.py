"""Compiled loops of `segmentation`: edges sorted by counting, and a forest of disjoint sets over pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.compiled import compiled

# Directions of the edges of a pixel as (rows down, columns right).
STEPS = ((0, 1), (1, 0), (1, 1), (-1, 1))
# Edges are sorted by whole multiples of this part of a grey level.
STEPS_PER_LEVEL = 64
_BLOCK = 256  # edges that are looked up together
_PAIRS = 4096  # pairs of components that are remembered, a power of two


@compiled
def sorted_edges_kernel(smoothed: NDArray[Any]) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Codes (M,) and weights (M,) of all edges, by weight in steps, then by code. `smoothed` is float32 (H, W, C)."""
    height, width, channels = smoothed.shape
    weights = np.full(4 * height * width, np.float32(-1), np.float32)
    heaviest = np.float32(0)
    for y in range(height):
        for x in range(width):
            for direction in range(4):
                down, right = STEPS[direction]
                if y + down < 0 or y + down >= height or x + right >= width:
                    continue
                total = np.float32(0)
                for channel in range(channels):
                    difference = smoothed[y, x, channel] - smoothed[y + down, x + right, channel]
                    total += difference * difference
                weight = np.sqrt(total)
                weights[4 * (y * width + x) + direction] = weight
                heaviest = max(heaviest, weight)
    steps = np.float32(STEPS_PER_LEVEL)
    starts = np.zeros(int(heaviest * steps) + 2, np.int64)
    for code in range(len(weights)):
        if weights[code] >= 0:
            starts[int(weights[code] * steps) + 1] += 1
    for step in range(1, len(starts)):
        starts[step] += starts[step - 1]
    codes = np.empty(starts[-1], np.uint32)
    in_order = np.empty(starts[-1], np.float32)
    for code in range(len(weights)):
        if weights[code] >= 0:
            step = int(weights[code] * steps)
            place = starts[step]
            codes[place] = code
            in_order[place] = weights[code]
            starts[step] = place + 1
    return codes, in_order


@compiled
def segment_kernel(
    codes: NDArray[Any], weights: NDArray[Any], height: int, width: int, k: float, min_size: int
) -> NDArray[np.int32]:
    """The forest (H * W,) of the segmentation: `parents[pixel]` leads to the root of the pixel's component."""
    pixels = height * width
    parents = np.arange(pixels).astype(np.int32)
    sizes = np.ones(pixels, np.int32)
    # Int(C) + tau(C) of each root (eq. 4): the heaviest edge inside, which is the last one added, plus k / |C|.
    bounds = np.full(pixels, np.float32(k), np.float32)
    offsets = np.empty(4, np.int64)
    for direction in range(4):
        offsets[direction] = STEPS[direction][0] * width + STEPS[direction][1]
    # Roots on either side of the edges that can join small components afterwards: of a pair the first edge decides, as
    # it joins them or both are large for good. `met` has the last pairs, so that most repetitions are left out.
    left_over = np.empty((len(codes), 2), np.int32)
    left = 0
    met = np.full(_PAIRS, -1, np.int64)
    places, near, far = np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.int32), np.empty(_BLOCK, np.int32)
    for start in range(0, len(codes), _BLOCK):
        # Which edges of a block may lead to another component: no branches, so that memory is read ahead.
        open_edges = 0
        for place in range(start, min(start + _BLOCK, len(codes))):
            code = codes[place]
            pixel = np.int64(code >> 2)
            other = pixel + offsets[code & 3]
            a, b = parents[parents[pixel]], parents[parents[other]]
            parents[pixel], parents[other] = a, b
            places[open_edges], near[open_edges], far[open_edges] = place, a, b
            open_edges += a != b
        for edge in range(open_edges):
            a, b = _root(parents, near[edge]), _root(parents, far[edge])
            if a == b:
                continue
            weight = weights[places[edge]]
            if weight <= min(bounds[a], bounds[b]):
                root = _joined(parents, sizes, a, b)
                bounds[root] = weight + np.float32(k) / np.float32(sizes[root])
            elif min(sizes[a], sizes[b]) < min_size:
                pair = min(a, b) * pixels + max(a, b)
                slot = (pair * 0x9E3779B97F4A7C1 >> 20) & (_PAIRS - 1)
                if met[slot] != pair:
                    met[slot] = pair
                    left_over[left, 0], left_over[left, 1] = a, b
                    left += 1
    for place in range(left):
        a, b = _root(parents, left_over[place, 0]), _root(parents, left_over[place, 1])
        if a != b and min(sizes[a], sizes[b]) < min_size:
            _joined(parents, sizes, a, b)
    return parents


@compiled
def label_kernel(parents: NDArray[Any]) -> tuple[NDArray[np.int32], int]:
    """Labels (H * W,) from 0 in the order of their first pixels, and how many."""
    labels = np.empty(len(parents), np.int32)
    of_root = np.full(len(parents), -1, np.int32)
    count = 0
    for pixel in range(len(parents)):
        root = _root(parents, pixel)
        if of_root[root] < 0:
            of_root[root] = count
            count += 1
        labels[pixel] = of_root[root]
    return labels, count


@compiled
def _root(parents: NDArray[Any], pixel: Any) -> Any:
    parent = parents[pixel]
    while parent != pixel:
        above = parents[parent]
        parents[pixel] = above  # halves the path for the next one
        pixel = parent
        parent = above
    return np.int64(pixel)


@compiled
def _joined(parents: NDArray[Any], sizes: NDArray[Any], a: int, b: int) -> int:
    """The root of two joined components: that of the larger."""
    if sizes[a] < sizes[b]:
        a, b = b, a
    parents[b] = a
    sizes[a] += sizes[b]
    return a
