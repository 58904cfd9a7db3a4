"""Compiled loops of `selective_search`: histograms of regions, their neighbours, and the hierarchical grouping."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.compiled import compiled

COLOUR_BINS = 25
TEXTURE_BINS = 10
ORIENTATIONS = 8


@compiled
def texture_kernel(dx: NDArray[Any], dy: NDArray[Any]) -> NDArray[np.int8]:
    """Signed bins (4, H, W, C) of the derivatives along 0, 45, 90 and 135 degrees.

    dx, dy  float32 (H, W, C); the largest response of a channel ends its last bin

    A bin b > 0 is bin b of that direction and bin 0 of the opposite one, b < 0 the other way round: the halves of a
    derivative in four directions are the derivatives in eight.
    """
    height, width, channels = dx.shape
    row = width * channels
    across, along = dx.reshape(height, row), dy.reshape(height, row)
    bins = np.empty((4, height, row), np.int8)
    diagonal = np.float32(np.sqrt(0.5))
    # The largest response at each place of a row, of all rows: the processor takes a row in wide steps.
    largest = np.zeros((4, row), np.float32)
    for y in range(height):
        for x in range(row):
            right, down = across[y, x], along[y, x]
            largest[0, x] = max(largest[0, x], abs(right))
            largest[1, x] = max(largest[1, x], abs(right + down) * diagonal)
            largest[2, x] = max(largest[2, x], abs(down))
            largest[3, x] = max(largest[3, x], abs(down - right) * diagonal)
    factors = np.zeros((4, row), np.float32)
    for direction in range(4):
        for channel in range(channels):
            top = largest[direction, channel::channels].max()
            if top > 0:
                factors[direction, channel::channels] = np.float32(TEXTURE_BINS) / top
    last = np.float32(TEXTURE_BINS - 1)
    for y in range(height):
        for x in range(row):
            right, down = across[y, x], along[y, x]
            fall, rise = (right + down) * diagonal, (down - right) * diagonal
            bins[0, y, x] = np.int8(min(max(right * factors[0, x], -last), last))
            bins[1, y, x] = np.int8(min(max(fall * factors[1, x], -last), last))
            bins[2, y, x] = np.int8(min(max(down * factors[2, x], -last), last))
            bins[3, y, x] = np.int8(min(max(rise * factors[3, x], -last), last))
    return bins.reshape(4, height, width, channels)


@compiled
def regions_kernel(labels: NDArray[Any], count: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Sizes (R,) in pixels, boxes (R, 4) xyxy, and codes a * R + b, a < b, of neighbours; pairs may be repeated."""
    height, width = labels.shape
    sizes = np.zeros(count, np.int32)
    boxes = np.empty((count, 4), np.int32)
    boxes[:, :2] = max(height, width)
    boxes[:, 2:] = 0
    pairs = np.empty(1024, np.int64)
    used = 0
    last = np.int64(-1)
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            sizes[label] += 1
            boxes[label, 0] = min(boxes[label, 0], x)
            boxes[label, 1] = min(boxes[label, 1], y)
            boxes[label, 2] = max(boxes[label, 2], x + 1)
            boxes[label, 3] = max(boxes[label, 3], y + 1)
            for step in range(4):
                down, right = (0, 1, 1, 1)[step], (1, 0, 1, -1)[step]
                if y + down >= height or x + right >= width or x + right < 0:
                    continue
                other = labels[y + down, x + right]
                if other == label:
                    continue
                code = np.int64(min(label, other)) * count + max(label, other)
                if code == last:
                    continue
                if used == len(pairs):
                    longer = np.empty(2 * used, np.int64)
                    longer[:used] = pairs
                    pairs = longer
                pairs[used] = code
                used += 1
                last = code
    return sizes, boxes, pairs[:used]


@compiled
def colour_kernel(labels: NDArray[Any], sizes: NDArray[Any], image: NDArray[Any]) -> NDArray[np.float32]:
    """Colour histograms (R, C * 25), each with sum 1, of labels int32 (H, W) in an image uint8 (H, W, C)."""
    height, width, channels = image.shape
    counts = np.zeros((len(sizes), channels * COLOUR_BINS), np.int32)
    for y in range(height):
        for x in range(width):
            for channel in range(channels):
                level = np.int64(image[y, x, channel]) * COLOUR_BINS // 256
                counts[labels[y, x], channel * COLOUR_BINS + level] += 1
    return _shares(counts, sizes, channels)


@compiled
def texture_histograms_kernel(labels: NDArray[Any], sizes: NDArray[Any], bins: NDArray[Any]) -> NDArray[np.float32]:
    """Texture histograms (R, C * 8 * 10), each with sum 1, of labels int32 (H, W) and `texture_kernel`'s bins."""
    _, height, width, channels = bins.shape
    length = ORIENTATIONS * TEXTURE_BINS
    counts = np.zeros((len(sizes), channels * length), np.int32)
    for y in range(height):
        for direction in range(4):
            ahead, back = direction * TEXTURE_BINS, (direction + 4) * TEXTURE_BINS
            for x in range(width):
                for channel in range(channels):
                    vote = np.int64(bins[direction, y, x, channel])
                    if vote != 0:
                        place = ahead + vote if vote > 0 else back - vote
                        counts[labels[y, x], channel * length + place] += 1
    for region in range(len(sizes)):  # what is in no other bin of an orientation is in bin 0
        for start in range(0, channels * length, TEXTURE_BINS):
            others = 0
            for level in range(1, TEXTURE_BINS):
                others += counts[region, start + level]
            counts[region, start] = sizes[region] - others
    return _shares(counts, sizes, channels * ORIENTATIONS)


@compiled
def _shares(counts: NDArray[Any], sizes: NDArray[Any], votes: int) -> NDArray[np.float32]:
    """Counts divided by their sum: every pixel of a region has `votes`."""
    shares = np.empty(counts.shape, np.float32)
    for region in range(len(sizes)):
        total = np.float32(sizes[region]) * np.float32(votes)
        for place in range(counts.shape[1]):
            shares[region, place] = counts[region, place] / total
    return shares


@compiled
def group_kernel(
    colour: NDArray[Any],
    texture: NDArray[Any],
    first_sizes: NDArray[Any],
    first_boxes: NDArray[Any],
    pairs: NDArray[Any],
    use: tuple[bool, bool, bool, bool],
    picture_size: int,
) -> NDArray[np.int32]:
    """Boxes (2 R - 1, 4) of all regions of a hierarchy: the R first ones, then each merged one as it comes about.

    colour, texture  float32 (R, B) histograms with sum 1
    pairs            int64 (P,), a * R + b of neighbours, each once
    use              whether colour, texture, size, fill count

    Every region has a chain of its neighbours, alive or not: `heads[region]` is the newest link, `links[link]` the
    next older one. A similarity stays in the queue when one of its regions is gone and is dropped when it comes up.
    """
    count = len(first_sizes)
    most = 2 * count - 1
    histograms = np.empty((most, colour.shape[1]), np.float32)
    histograms[:count] = colour
    textures = np.empty((most, texture.shape[1]), np.float32)
    textures[:count] = texture
    sizes = np.empty(most, np.int32)
    sizes[:count] = first_sizes
    boxes = np.empty((most, 4), np.int32)
    boxes[:count] = first_boxes
    alive = np.zeros(most, np.bool_)
    alive[:count] = True
    seen = np.full(most, -1, np.int64)
    heads = np.full(most, -1, np.int64)
    links, members = np.empty(4 * len(pairs) + 64, np.int64), np.empty(4 * len(pairs) + 64, np.int64)
    used = 0
    queue: list[Any] = [(np.float32(0), np.int64(0), np.int64(0)) for _ in range(0)]
    for pair in pairs:
        a, b = pair // count, pair % count
        links, members, used = _linked(heads, links, members, used, a, b)
        links, members, used = _linked(heads, links, members, used, b, a)
        queue.append((-_similarity(histograms, textures, sizes, boxes, a, b, use, picture_size), a, b))
    heapq.heapify(queue)
    region = count
    while len(queue) > 0:
        _, a, b = heapq.heappop(queue)
        if not (alive[a] and alive[b]):
            continue
        alive[a] = alive[b] = False
        alive[region] = True
        _merge(histograms, sizes, a, b, region)
        _merge(textures, sizes, a, b, region)
        sizes[region] = sizes[a] + sizes[b]
        for side in range(2):
            boxes[region, side] = min(boxes[a, side], boxes[b, side])
            boxes[region, side + 2] = max(boxes[a, side + 2], boxes[b, side + 2])
        for part in (a, b):
            link = heads[part]
            while link >= 0:
                other = members[link]
                link = links[link]
                if not alive[other] or seen[other] == region:
                    continue
                seen[other] = region
                links, members, used = _linked(heads, links, members, used, region, other)
                links, members, used = _linked(heads, links, members, used, other, region)
                similarity = _similarity(histograms, textures, sizes, boxes, other, region, use, picture_size)
                heapq.heappush(queue, (-similarity, other, region))
        region += 1
    return boxes[:region]


@compiled
def _linked(
    heads: NDArray[Any], links: NDArray[Any], members: NDArray[Any], used: int, region: int, other: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """`other` put into the chain of `region`; the arrays of links grow as needed."""
    if used == len(links):
        longer = np.empty(2 * used, np.int64)
        longer[:used] = links
        links = longer
        longer = np.empty(2 * used, np.int64)
        longer[:used] = members
        members = longer
    members[used] = other
    links[used] = heads[region]
    heads[region] = used
    return links, members, used + 1


@compiled
def _merge(histograms: NDArray[Any], sizes: NDArray[Any], a: Any, b: Any, region: int) -> None:
    """The histogram of two regions together (eq. 3): the mean of theirs, weighted by size."""
    share = np.float32(sizes[a]) / np.float32(sizes[a] + sizes[b])
    rest = np.float32(1) - share
    for place in range(histograms.shape[1]):
        histograms[region, place] = share * histograms[a, place] + rest * histograms[b, place]


@compiled
def _similarity(
    histograms: NDArray[Any],
    textures: NDArray[Any],
    sizes: NDArray[Any],
    boxes: NDArray[Any],
    a: int,
    b: int,
    use: tuple[bool, bool, bool, bool],
    picture_size: int,
) -> np.float32:
    """s(a, b) (eq. 6): the sum of the similarities that are used."""
    total = np.float32(0)
    if use[0]:
        total += _intersection(histograms[a], histograms[b])  # s_colour, eq. 2
    if use[1]:
        total += _intersection(textures[a], textures[b])  # s_texture, eq. 4
    if use[2]:  # s_size, eq. 5: small regions merge early
        total += np.float32(1) - np.float32(sizes[a] + sizes[b]) / np.float32(picture_size)
    if use[3]:  # s_fill, eq. 6: of the box around both, what neither fills
        width = max(boxes[a, 2], boxes[b, 2]) - min(boxes[a, 0], boxes[b, 0])
        height = max(boxes[a, 3], boxes[b, 3]) - min(boxes[a, 1], boxes[b, 1])
        empty = width * height - sizes[a] - sizes[b]
        total += np.float32(1) - np.float32(empty) / np.float32(picture_size)
    return total


@compiled
def _intersection(a: NDArray[Any], b: NDArray[Any]) -> np.float32:
    """The sum of the smaller of each two entries, in five interleaved sums that the processor adds side by side."""
    s0 = s1 = s2 = s3 = s4 = np.float32(0)
    for place in range(0, len(a), 5):
        s0 += min(a[place], b[place])
        s1 += min(a[place + 1], b[place + 1])
        s2 += min(a[place + 2], b[place + 2])
        s3 += min(a[place + 3], b[place + 3])
        s4 += min(a[place + 4], b[place + 4])
    return (s0 + s1) + (s2 + s3) + s4


@compiled
def agreement_kernel(
    boxes: NDArray[Any], starts: NDArray[Any], owners: NDArray[Any], hierarchies: int
) -> NDArray[np.float64]:
    """How far the hierarchies agree on each box (N,): the sum over all of max(0, 2 * best IoU - 1).

    boxes   int64 (N, 4) xyxy, none empty, no two the same
    owners  int64 (M,), the hierarchies of box b are owners[starts[b]:starts[b + 1]]

    Boxes with IoU > 1/2 differ by less than a factor 2 in width and in height, and their centres by less than a
    sixth of the sum of their sides. So boxes are kept in cells by the powers of two of their sides and, in units of
    these, by their centres, and only cells within reach are read.
    """
    count = len(boxes)
    slots = 1
    while slots < 2 * count:
        slots *= 2
    heads = np.full(slots, -1, np.int64)
    links = np.empty(count, np.int64)
    keys = np.empty(count, np.int64)
    for box in range(count):
        x1, y1, x2, y2 = boxes[box]
        wide, high = _power(x2 - x1), _power(y2 - y1)
        keys[box] = _key(wide, high, (x1 + x2) >> (wide + 1), (y1 + y2) >> (high + 1))
        slot = _slot(keys[box], slots)
        links[box] = heads[slot]
        heads[slot] = box
    best = np.zeros(hierarchies, np.float64)
    agreement = np.empty(count, np.float64)
    for box in range(count):
        x1, y1, x2, y2 = boxes[box]
        width, height = x2 - x1, y2 - y1
        area = width * height
        wide, high = _power(width), _power(height)
        best[:] = 0.5
        for other_wide in range(max(wide - 1, 0), wide + 2):
            reach_x = (width + min(2 << other_wide, 2 * width)) // 3 + 1  # in half pixels, as x1 + x2 is
            first_column, last_column = (x1 + x2 - reach_x) >> (other_wide + 1), (x1 + x2 + reach_x) >> (other_wide + 1)
            for other_high in range(max(high - 1, 0), high + 2):
                reach_y = (height + min(2 << other_high, 2 * height)) // 3 + 1
                first_row, last_row = (y1 + y2 - reach_y) >> (other_high + 1), (y1 + y2 + reach_y) >> (other_high + 1)
                for row in range(first_row, last_row + 1):
                    for column in range(first_column, last_column + 1):
                        key = _key(other_wide, other_high, column, row)
                        other = heads[_slot(key, slots)]
                        while other >= 0:
                            if keys[other] == key:
                                u1, v1, u2, v2 = boxes[other]
                                common = (min(x2, u2) - max(x1, u1)) * max(min(y2, v2) - max(y1, v1), 0)
                                areas = area + (u2 - u1) * (v2 - v1)
                                if 3 * common > areas:
                                    overlap = common / (areas - common)
                                    for place in range(starts[other], starts[other + 1]):
                                        best[owners[place]] = max(best[owners[place]], overlap)
                            other = links[other]
        total = 0.0
        for hierarchy in range(hierarchies):
            total += 2.0 * best[hierarchy] - 1.0
        agreement[box] = total
    return agreement


@compiled
def _power(side: int) -> int:
    """The largest p with 2^p <= side."""
    power = 0
    while side > 1:
        side >>= 1
        power += 1
    return power


@compiled
def _key(wide: int, high: int, column: int, row: int) -> int:
    """A number for a cell; a column or row of -1, just outside the picture, gets one of its own."""
    return ((column + 1) << 37) | ((row + 1) << 10) | (wide << 5) | high


@compiled
def _slot(key: int, slots: int) -> int:
    return ((key * 0x9E3779B97F4A7C1) >> 20) & (slots - 1)
