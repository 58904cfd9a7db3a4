"""Compiled loops over run-length encoded masks: overlaps of pairs, polygons, and boundaries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.compiled import compiled

# Polygons are drawn on a grid this many times as fine as the picture; a column's border is crossed in its middle.
_SCALE = 5
_MIDDLE = 2
# Columns on end are counted up to here; boundaries are narrower.
_LONGEST_STREAK = 32000


@compiled
def string_kernel(
    characters: NDArray[np.uint8], ends: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.int64], int]:
    """`rle.from_strings` of many strings: counts (C,), starts (N + 1,), and the first broken string or -1.

    characters   uint8 (L,), all strings in a row;  ends   int64 (N,), where each ends
    """
    counts = np.empty(len(characters), np.uint32)
    starts = np.zeros(len(ends) + 1, np.int64)
    used, place = 0, 0
    for mask in range(len(ends)):
        first = used
        while place < ends[mask]:
            value, shift, more = np.int64(0), np.int64(0), True
            while more:
                if place == ends[mask] or shift > 30:
                    return counts[:0], starts, mask
                digit = np.int64(characters[place]) - 48
                if digit < 0 or digit > 63:
                    return counts[:0], starts, mask
                value |= (digit & 31) << shift
                shift += 5
                place += 1
                more = digit & 32 != 0
                if not more and digit & 16:
                    value -= np.int64(1) << shift
            if used - first > 2:
                value += counts[used - 2]
            if value < 0 or value > 0xFFFFFFFF:
                return counts[:0], starts, mask
            counts[used] = value
            used += 1
        starts[mask + 1] = used
    return counts[:used].copy(), starts, -1


@compiled
def geometry_kernel(
    counts: NDArray[np.uint32], starts: NDArray[np.int64], heights: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], bool]:
    """`rle.run_ends`, `areas` and `bounds` of masks, and whether any run but a first one is empty."""
    ends = np.empty(len(counts), np.int32)
    areas = np.zeros(len(heights), np.int64)
    bounds = np.zeros((len(heights), 4), np.int64)
    any_empty = False
    for mask in range(len(heights)):
        height = heights[mask]
        end = np.int64(0)
        left, top, right, bottom = np.int64(-1), height, np.int64(0), np.int64(0)
        low = np.int64(0)  # where the column of the run before begins
        for run in range(starts[mask], starts[mask + 1]):
            begin = end
            end += counts[run]
            ends[run] = end
            inside = (run - starts[mask]) % 2 == 1
            if counts[run] == 0:
                any_empty = any_empty or run > starts[mask]
                continue
            if not inside:
                continue
            areas[mask] += counts[run]
            if begin >= low + height:
                low += height if begin < low + 2 * height else (begin - low) // height * height
            if left < 0:
                left = low // height
            if end > low + height:  # over the border of two columns
                top, bottom = 0, height - 1
                low = (end - 1) // height * height
            else:
                top, bottom = min(top, begin - low), max(bottom, end - 1 - low)
            right = low
        if left >= 0:
            bounds[mask, 0], bounds[mask, 1] = left, top
            bounds[mask, 2], bounds[mask, 3] = right // height - left + 1, bottom - top + 1
    return ends, areas, bounds, any_empty


@compiled
def overlap_kernel(
    first: Any, second: Any, rows: NDArray[Any], columns: NDArray[Any], crowd: NDArray[np.bool_], min_iou: float
) -> NDArray[np.float64]:
    """IoU (P,) of pairs of masks; -1 where it is below `min_iou`.

    first, second   (ends int32 (C,), starts int64 (N + 1,), areas int64 (N,), bounds int64 (N, 4)) of two sets
    rows, columns   int64 (P,), the pair's mask of each set
    crowd           bool (M,), masks of the second set by which the area of the first is divided
    """
    ends_a, starts_a, areas_a, bounds_a = first
    ends_b, starts_b, areas_b, bounds_b = second
    result = np.full(len(rows), -1.0)
    for pair in range(len(rows)):
        a, b = rows[pair], columns[pair]
        ax, ay, aw, ah = bounds_a[a]
        bx, by, bw, bh = bounds_b[b]
        width = min(ax + aw, bx + bw) - max(ax, bx)
        height = min(ay + ah, by + bh) - max(ay, by)
        overlap = 0
        if width > 0 and height > 0:
            area_a, area_b = areas_a[a], areas_b[b]
            # What the boxes and areas allow: below `min_iou`, the runs need not be looked at.
            most = min(min(area_a, area_b), width * height)
            most_union = area_a if crowd[b] else area_a + area_b - most
            if most < min_iou * most_union:
                continue
            overlap = _common(ends_a, starts_a[a], starts_a[a + 1], ends_b, starts_b[b], starts_b[b + 1])
        value = 0.0
        if overlap > 0:
            union = areas_a[a] if crowd[b] else areas_a[a] + areas_b[b] - overlap
            value = overlap / union
        if value >= min_iou:
            result[pair] = value
    return result


@compiled
def _common(a: NDArray[np.int32], i: int, last_a: int, b: NDArray[np.int32], j: int, last_b: int) -> int:
    """Pixels that two masks share, from the ends of their runs a[i:last_a] and b[j:last_b]."""
    last_a -= (last_a - i) % 2  # a last run of background covers nothing
    last_b -= (last_b - j) % 2
    total = 0
    if i >= last_a or j >= last_b:
        return total
    if a[i + 1] <= b[j]:
        i = _first_beyond(a, i, last_a, b[j])
    elif b[j + 1] <= a[i]:
        j = _first_beyond(b, j, last_b, a[i])
    while i < last_a and j < last_b:
        end_a, end_b = a[i + 1], b[j + 1]
        total += max(min(end_a, end_b) - max(a[i], b[j]), 0)
        step = end_a < end_b
        i += 2 * step
        j += 2 * (not step)
    return total


@compiled
def _first_beyond(ends: NDArray[np.int32], low: int, high: int, position: int) -> int:
    """The first run of foreground in ends[low:high] (an even number of them) that ends beyond `position`."""
    begin, below, above = low, 0, (high - low) // 2
    while below < above:
        middle = (below + above) // 2
        if ends[begin + 2 * middle + 1] <= position:
            below = middle + 1
        else:
            above = middle
    return begin + 2 * below


@compiled
def polygon_kernel(
    points: NDArray[np.float64], starts: NDArray[np.int64], heights: NDArray[np.int64], widths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the outlines of polygons cross columns: (rings int64 (T,), toggles int64 (T,)), maskApi's rleFrPoly.

    points   float64 (P, 2), x and y; ring r is points[starts[r]:starts[r + 1]], closed by itself
    """
    grid = np.empty((len(points), 2), np.int64)
    for point in range(len(points)):
        for axis in range(2):
            grid[point, axis] = int(_SCALE * points[point, axis] + 0.5)
    most = 0
    for ring in range(len(starts) - 1):
        for point in range(starts[ring], starts[ring + 1]):
            following = point + 1 if point + 1 < starts[ring + 1] else starts[ring]
            most += abs(grid[following, 0] - grid[point, 0]) // _SCALE + 3
    rings, toggles = np.empty(most, np.int64), np.empty(most, np.int64)
    used = 0
    for ring in range(len(starts) - 1):
        height, width = heights[ring], widths[ring]
        for point in range(starts[ring], starts[ring + 1]):
            following = point + 1 if point + 1 < starts[ring + 1] else starts[ring]
            x1, y1 = grid[point]
            x2, y2 = grid[following]
            across, down = abs(x2 - x1), abs(y2 - y1)
            if (across >= down and x1 > x2) or (across < down and y1 > y2):
                x1, y1, x2, y2 = x2, y2, x1, y1
            if across >= down:
                if across == 0:
                    continue
                slope = (y2 - y1) / across
                begin = max(x1, 0)
                begin += (_MIDDLE - begin) % _SCALE
                for x in range(begin, min(x2, _SCALE * width), _SCALE):
                    t = x - x1
                    y = min(int(y1 + slope * t + 0.5), int(y1 + slope * (t + 1) + 0.5))
                    rings[used], toggles[used] = ring, x // _SCALE * height + _row(y, height)
                    used += 1
            else:
                slope = (x2 - x1) / down
                before = int(x1 + 0.5)
                for t in range(1, down + 1):
                    here = int(x1 + slope * t + 0.5)
                    if here != before:
                        x = min(here, before)
                        if x >= 0 and x % _SCALE == _MIDDLE and x < _SCALE * width:
                            rings[used] = ring
                            toggles[used] = x // _SCALE * height + _row(y1 + t - 1, height)
                            used += 1
                    before = here
    return rings[:used], toggles[:used]


@compiled
def _row(y: int, height: int) -> int:
    """The row of pixels in which an outline at `y` of the fine grid begins."""
    return int(np.ceil(min(max((y + 0.5) / _SCALE - 0.5, 0.0), float(height))))


@compiled
def boundary_kernel(
    ends: NDArray[np.int32],
    starts: NDArray[np.int64],
    bounds: NDArray[np.int64],
    heights: NDArray[np.int64],
    distances: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Toggles of the pixels that a square of 2 d + 1 pixels around each takes out of a mask or out of the picture.

    Returns (owners (T,), toggles (T,)): those of the core, which is what erosion leaves. Together with the toggles of
    the mask itself they make its boundary.
    """
    owners, toggles = np.empty(1024, np.int64), np.empty(1024, np.int64)
    used = 0
    for mask in range(len(starts) - 1):
        left, top, width, height = bounds[mask]
        reach, tall = distances[mask], heights[mask]
        size = 2 * reach + 1
        if width < size or height < size:
            continue
        # inner: a column of the mask eroded downwards and upwards; streak: how many columns on end each row has of it
        streak = np.zeros(height, np.int16)
        inner = np.zeros(height, np.int16)
        position, last = starts[mask], starts[mask + 1]
        last -= (last - position) % 2
        for column in range(left, left + width):
            inner[:] = 0
            first_row, last_row = height, np.int64(0)
            bottom = (column + 1) * tall
            while position < last and ends[position] < bottom:
                begin, end = max(ends[position], column * tall), min(ends[position + 1], bottom)
                low = begin - column * tall - top + reach
                high = end - column * tall - top - reach
                if high > low:
                    inner[low:high] = 1
                    first_row, last_row = min(first_row, low), max(last_row, high)
                if ends[position + 1] > bottom:
                    break  # the run goes on in the next column
                position += 2
            for row in range(height):
                streak[row] = (min(streak[row], np.int16(_LONGEST_STREAK)) + np.int16(1)) * inner[row]
            if column - left + 1 < size:
                continue
            inside = False  # the pixel below the last row is never of the core, which closes it within its column
            for row in range(first_row, min(last_row + 1, height)):
                core = streak[row] >= size
                if core != inside:
                    inside = core
                    if used == len(owners):
                        owners, toggles = _grown(owners), _grown(toggles)
                    owners[used], toggles[used] = mask, (column - reach) * tall + top + row
                    used += 1
    return owners[:used], toggles[:used]


@compiled
def _grown(array: NDArray[np.int64]) -> NDArray[np.int64]:
    larger = np.empty(2 * len(array), array.dtype)
    larger[: len(array)] = array
    return larger
