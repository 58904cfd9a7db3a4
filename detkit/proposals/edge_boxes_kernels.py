"""Compiled loops of `edge_boxes` and `edges`.

Maps come transposed, indexed [x, y]: pixels are taken column by column, each from top to bottom, which is the order
in which groups grow in the authors' code and in OpenCV's. A window is x, y, width, height in whole pixels, with the
pixels x to x + width and y to y + height in it, both ends included. Group ids are from 1; 0 and -1 are no group.
Sums are float32, in the order of OpenCV's, so that scores are the same.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detkit.compiled import compiled

_NONE = np.float32(1000)  # more than any difference of orientations
_FAINT = np.float32(0.05)  # affinities along a path below this are not followed
_PI = np.float32(np.pi)


class Groups(NamedTuple):
    """Edge groups, S of them with the unused number 0, and what a window's score needs of them.

    xs, ys        int32 (S,), a pixel of each: its last one
    strengths     float32 (S,), the sum m_i of its edges
    starts, neighbours, affinities   those of group s are at starts[s]:starts[s + 1]
    group_sums    float32 (W + 1, H + 1), integral image of the strengths, each at its group's place
    edge_sums     float32 (W + 1, H + 1), integral image of the edges
    row_groups, row_codes        the groups met along rows and each pixel's place among them, see `runs_kernel`
    column_groups, column_codes  the same along columns
    """

    xs: NDArray[np.int32]
    ys: NDArray[np.int32]
    strengths: NDArray[np.float32]
    starts: NDArray[np.int64]
    neighbours: NDArray[np.uint32]
    affinities: NDArray[np.float32]
    group_sums: NDArray[np.float32]
    edge_sums: NDArray[np.float32]
    row_groups: NDArray[np.uint32]
    row_codes: NDArray[np.int32]
    column_groups: NDArray[np.uint32]
    column_codes: NDArray[np.int32]


@compiled
def thin_kernel(strength: NDArray[Any], orientation: NDArray[Any], radius: int, factor: Any) -> NDArray[np.float32]:
    """Strengths (H, W) with 0 where a strength on the normal, interpolated, is larger; maps indexed [y, x]."""
    height, width = strength.shape
    thinned = strength.copy()
    right, bottom = np.float32(width - np.float32(1.001)), np.float32(height - np.float32(1.001))
    for y in range(height):
        for x in range(width):
            value = strength[y, x]
            if value == 0:
                continue
            value *= np.float32(factor)
            cosine, sine = np.cos(orientation[y, x]), np.sin(orientation[y, x])
            for step in range(-radius, radius + 1):
                if step == 0:
                    continue
                u = min(max(np.float32(x) + np.float32(step) * cosine, np.float32(0)), max(right, np.float32(0)))
                v = min(max(np.float32(y) + np.float32(step) * sine, np.float32(0)), max(bottom, np.float32(0)))
                x0, y0 = int(u), int(v)
                x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
                du, dv = u - np.float32(x0), v - np.float32(y0)
                nu, nv = np.float32(1) - du, np.float32(1) - dv
                there = (
                    strength[y0, x0] * nu * nv
                    + strength[y0, x1] * du * nv
                    + strength[y1, x0] * nu * dv
                    + strength[y1, x1] * du * dv
                )
                if value < there:
                    thinned[y, x] = 0
                    break
    return thinned


@compiled
def cluster_kernel(
    strength: NDArray[Any], orientation: NDArray[Any], min_edge: float, merge: float, min_group: float
) -> tuple[NDArray[np.int32], int]:
    """Group ids (W, H) and the highest id plus 1 (section 3.1). See `edge_boxes.edge_groups`."""
    width, height = strength.shape
    ids = np.zeros((width, height), np.int32)
    for x in range(width):
        for y in range(height):
            if x == 0 or y == 0 or x == width - 1 or y == height - 1 or strength[x, y] <= np.float32(min_edge):
                ids[x, y] = -1
    # Grow: from a free pixel on, always take the listed neighbour that turns least from its own predecessor, until
    # the turns add up.
    listed = np.zeros((width, height), np.int32)
    turns, xs, ys = np.empty(64, np.float32), np.empty(64, np.int64), np.empty(64, np.int64)
    group = 1
    for x in range(1, width - 1):
        for y in range(1, height - 1):
            if ids[x, y] != 0:
                continue
            total = np.float32(0)
            at_x, at_y, count = x, y, 0
            while total < np.float32(merge):
                ids[at_x, at_y] = group
                for u in range(at_x - 1, at_x + 2):
                    for v in range(at_y - 1, at_y + 2):
                        if ids[u, v] != 0 or listed[u, v] == group:
                            continue
                        listed[u, v] = group
                        if count == len(turns):
                            turns = np.append(turns, np.empty(count, np.float32))
                            xs, ys = np.append(xs, np.empty(count, np.int64)), np.append(ys, np.empty(count, np.int64))
                        turns[count] = _turn(orientation[at_x, at_y], orientation[u, v])
                        xs[count], ys[count] = u, v
                        count += 1
                least, best = _NONE, 0
                for place in range(count):
                    if turns[place] < least:
                        least, best = turns[place], place
                total += least
                if least < _NONE:
                    at_x, at_y = xs[best], ys[best]
                    turns[best] = _NONE
            group += 1
    # Groups that are too weak are dissolved, and their pixels join the neighbouring group of the nearest direction.
    sums = _strengths(ids, strength, group)
    for x in range(1, width - 1):
        for y in range(1, height - 1):
            if ids[x, y] > 0 and sums[ids[x, y]] <= np.float32(min_group):
                ids[x, y] = 0
    changed = True
    while changed:
        changed = False
        for x in range(1, width - 1):
            for y in range(1, height - 1):
                if ids[x, y] != 0:
                    continue
                least, best = _NONE, 0
                for u in range(x - 1, x + 2):
                    for v in range(y - 1, y + 2):
                        if ids[u, v] > 0:
                            turn = _turn(orientation[x, y], orientation[u, v])
                            if turn < least:
                                least, best = turn, ids[u, v]
                ids[x, y] = best
                changed = changed or best > 0
    sums = _strengths(ids, strength, group)
    numbers = np.zeros(group, np.int32)
    used = 1
    for old in range(group):
        if sums[old] > 0:
            numbers[old] = used
            used += 1
    for x in range(1, width - 1):
        for y in range(1, height - 1):
            if ids[x, y] > 0:
                ids[x, y] = numbers[ids[x, y]]
    return ids, used


@compiled
def _turn(a: float, b: float) -> np.float32:
    """Difference of two orientations in half turns, 0 to 1/2."""
    turn = abs(b - a) / _PI
    return np.float32(1) - turn if turn > np.float32(0.5) else turn


@compiled
def _strengths(ids: NDArray[Any], strength: NDArray[Any], count: int) -> NDArray[np.float32]:
    sums = np.zeros(count, np.float32)
    for x in range(1, ids.shape[0] - 1):
        for y in range(1, ids.shape[1] - 1):
            if ids[x, y] > 0:
                sums[ids[x, y]] += strength[x, y]
    return sums


@compiled
def affinity_kernel(
    ids: NDArray[Any], strength: NDArray[Any], orientation: NDArray[Any], count: int, gamma: float
) -> tuple[Any, Any, Any, Any, Any, Any]:
    """xs, ys, strengths, starts, neighbours and affinities of `Groups`: pairs not more than 2 pixels apart (eq. 1).

    Affinities below 0.05, which no path follows, are left out.
    """
    width, height = ids.shape
    xs, ys = np.zeros(count, np.int32), np.zeros(count, np.int32)
    sums, mean_x, mean_y = np.zeros(count, np.float32), np.zeros(count, np.float32), np.zeros(count, np.float32)
    cosines, sines, angle = np.zeros(count, np.float32), np.zeros(count, np.float32), np.zeros(count, np.float32)
    for x in range(1, width - 1):
        for y in range(1, height - 1):
            group = ids[x, y]
            if group <= 0:
                continue
            weight = strength[x, y]
            sums[group] += weight
            cosines[group] += weight * np.cos(np.float32(2) * orientation[x, y])
            sines[group] += weight * np.sin(np.float32(2) * orientation[x, y])
            mean_x[group] += weight * np.float32(x)
            mean_y[group] += weight * np.float32(y)
            xs[group], ys[group] = x, y
    for group in range(count):
        if sums[group] > 0:
            mean_x[group] /= sums[group]
            mean_y[group] /= sums[group]
            angle[group] = np.arctan2(sines[group] / sums[group], cosines[group] / sums[group]) / np.float32(2)
    # Chains of the pairs that each lower id is in, so that a pair is found again.
    heads = np.full(count, -1, np.int64)
    links, lower, higher = np.empty(256, np.int64), np.empty(256, np.int32), np.empty(256, np.int32)
    values = np.empty(256, np.float32)
    used = 0
    for x in range(2, width - 2):
        for y in range(2, height - 2):
            a = ids[x, y]
            if a <= 0:
                continue
            for u in range(x - 2, x + 3):
                for v in range(y - 2, y + 3):
                    b = ids[u, v]
                    if b <= a:
                        continue
                    link = heads[a]
                    while link >= 0 and higher[link] != b:
                        link = links[link]
                    if link >= 0:
                        continue
                    if used == len(links):
                        links = np.append(links, np.empty(used, np.int64))
                        lower = np.append(lower, np.empty(used, np.int32))
                        higher = np.append(higher, np.empty(used, np.int32))
                        values = np.append(values, np.empty(used, np.float32))
                    between = np.arctan2(mean_y[a] - mean_y[b], mean_x[a] - mean_x[b]) + _PI / np.float32(2)
                    affinity = abs(np.cos(angle[a] - between) * np.cos(angle[b] - between))
                    # A pair too faint to be followed stays in the chain, so that it is not computed again.
                    lower[used], higher[used], values[used] = a, b, affinity ** np.float32(gamma)
                    links[used] = heads[a]
                    heads[a] = used
                    used += 1
    starts = np.zeros(count + 1, np.int64)
    for pair in range(used):
        if values[pair] >= _FAINT:
            starts[lower[pair] + 1] += 1
            starts[higher[pair] + 1] += 1
    for group in range(count):
        starts[group + 1] += starts[group]
    ends = starts[:-1].copy()
    neighbours, affinities = np.empty(starts[-1], np.uint32), np.empty(starts[-1], np.float32)
    for pair in range(used):
        if values[pair] < _FAINT:
            continue
        a, b = lower[pair], higher[pair]
        neighbours[ends[a]], affinities[ends[a]] = b, values[pair]
        neighbours[ends[b]], affinities[ends[b]] = a, values[pair]
        ends[a] += 1
        ends[b] += 1
    return xs, ys, sums, starts, neighbours, affinities


@compiled
def sums_kernel(
    strength: NDArray[Any], xs: NDArray[Any], ys: NDArray[Any], strengths: NDArray[Any], min_edge: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """group_sums and edge_sums of `Groups`."""
    width, height = strength.shape
    at = np.zeros((width, height), np.float32)
    for group in range(len(strengths)):
        if strengths[group] > 0:
            at[xs[group], ys[group]] = strengths[group]
    groups, edges = np.zeros((width + 1, height + 1), np.float32), np.zeros((width + 1, height + 1), np.float32)
    for x in range(1, width):
        for y in range(1, height):
            groups[x + 1, y + 1] = at[x, y] + groups[x, y + 1] + groups[x + 1, y] - groups[x, y]
            edge = strength[x, y] if strength[x, y] > np.float32(min_edge) else np.float32(0)
            edges[x + 1, y + 1] = edge + edges[x, y + 1] + edges[x + 1, y] - edges[x, y]
    return groups, edges


@compiled
def runs_kernel(ids: NDArray[Any]) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """The groups met along each line ids[line], and for every pixel a code of its place among them.

    Half the code is the index of the group at the pixel, and the code is odd; in a gap, half the code is the index of
    the next group.
    """
    lines, length = ids.shape
    codes = np.empty((lines, length), np.int32)
    met = np.empty(lines * length, np.uint32)
    used = 0
    for line in range(lines):
        last = np.int32(0)
        for place in range(length):
            group = max(ids[line, place], np.int32(0))
            if group > 0 and group != last:
                met[used] = group
                used += 1
            codes[line, place] = 2 * used - 1 if group > 0 else 2 * used
            last = group
    return met[:used].copy(), codes


@compiled
def score_kernel(
    windows: NDArray[Any],
    xs: NDArray[Any],
    ys: NDArray[Any],
    strengths: NDArray[Any],
    starts: NDArray[Any],
    neighbours: NDArray[Any],
    affinities: NDArray[Any],
    group_sums: NDArray[Any],
    edge_sums: NDArray[Any],
    row_groups: NDArray[Any],
    row_codes: NDArray[Any],
    column_groups: NDArray[Any],
    column_codes: NDArray[Any],
    norms: NDArray[Any],
    min_score: float,
    step_ratio: float,
    refine: bool,
) -> NDArray[np.float32]:
    """Scores (N,) of windows int32 (N, 4), x, y, width, height, which are cut to the picture, and moved by `refine`.

    After `windows` come the arrays of `Groups`. The score is that of eqs. 2 to 4, 0 where it is below `min_score`.
    Refinement (section 3.4) moves the sides one by one, outwards, else inwards, while the score grows, by steps that
    halve. The loop holds the whole score, as a call for each would cost more than many a score; a window has all its
    turns one after another, as they read the same lines and sums.
    """
    count = len(windows)
    right, bottom = row_codes.shape[1] - 1, row_codes.shape[0] - 1
    low = np.float32(min_score)
    scores = np.zeros(count, np.float32)
    # Room for the groups that a window's score needs: a mark for each of them, then a list, of which `open_slots` have
    # neighbours. Numbers without sign spare a test for negative indices at every access.
    room = len(strengths) + 1
    marks, call = np.zeros(room, np.uint64), np.uint64(0)
    weights, held = np.empty(room, np.float32), np.empty(room, np.float32)
    open_slots, open_groups, places = np.empty(room, np.uint32), np.empty(room, np.uint32), np.empty(room, np.uint32)
    for window in range(count):
        x, y, width, height = windows[window]
        best_x0, best_y0 = min(max(x, 0), right), min(max(y, 0), bottom)
        best_x1, best_y1 = min(max(x + width, 0), right), min(max(y + height, 0), bottom)
        step_x = int(np.float32(best_x1 - best_x0) * np.float32(step_ratio))
        step_y = int(np.float32(best_y1 - best_y0) * np.float32(step_ratio))
        to_beat = np.float32(0)
        turn, moved = -2, False  # -1 scores the window, then come top, bottom, left and right, outwards and inwards
        while True:
            turn += 1
            if turn == 0 or turn == 8:
                turn = 0
                step_x, step_y = step_x // 2, step_y // 2
                if not (refine and to_beat > 0 and (step_x > 2 or step_y > 2)):
                    break
                step_x, step_y = max(1, step_x), max(1, step_y)
            outwards = 1 if turn % 2 == 0 else -1
            if outwards == 1:
                moved = False
            elif moved:
                continue
            x0, y0, x1, y1 = best_x0, best_y0, best_x1, best_y1
            side = turn >> 1
            if side == 0:
                y0 = min(max(y0 - outwards * step_y, 0), bottom)
            elif side == 1:
                y1 = min(max(y1 + outwards * step_y, 0), bottom)
            elif side == 2:
                x0 = min(max(x0 - outwards * step_x, 0), right)
            elif side == 3:
                x1 = min(max(x1 + outwards * step_x, 0), right)
            # An inner box of half the width and height counts for nothing (eq. 3).
            half_x, half_y = (x1 - x0) // 2, (y1 - y0) // 2
            if x1 < x0 or y1 < y0 or half_x + half_y == 0:
                continue  # nothing is left of the window, and its norm would be 1 / 0
            inside = group_sums[x0, y0] + group_sums[x1 + 1, y1 + 1] - group_sums[x1 + 1, y0] - group_sums[x0, y1 + 1]
            u0, v0 = x0 + half_x // 2, y0 + half_y // 2
            u1, v1 = u0 + half_x + 1, v0 + half_y + 1
            inside -= edge_sums[u0, v0] + edge_sums[u1, v1] - edge_sums[u1, v0] - edge_sums[u0, v1]
            norm = norms[half_x + half_y]
            if not (inside * norm >= low and inside * norm > to_beat):
                continue
            # What is left can only shrink: once it is too little, no more has to be known. The margin is for sums
            # that are taken in another order than at the end.
            least = (max(low, to_beat) - np.float32(1e-6)) / (norm * np.float32(1.001))
            left = inside
            # Groups on the border have weight 1: what belongs to them is not enclosed. The four sides are one loop,
            # and nothing in it branches, as no processor can foretell which groups are new or inside.
            call += np.uint64(1 << 32)
            used = opened = np.uint64(0)
            across, down = np.uint32(x1 - x0), np.uint32(y1 - y0)
            top, top_end = row_codes[y0, x0] >> 1, (row_codes[y0, x1] + 1) >> 1
            low_side, low_end = row_codes[y1, x0] >> 1, (row_codes[y1, x1] + 1) >> 1
            left_side, left_end = column_codes[x0, y0] >> 1, (column_codes[x0, y1] + 1) >> 1
            right_side, right_end = column_codes[x1, y0] >> 1, (column_codes[x1, y1] + 1) >> 1
            in_rows = top_end - top + low_end - low_side
            for number in range(in_rows + left_end - left_side + right_end - right_side):
                if number < in_rows:
                    place = number + (top if number < top_end - top else low_side - (top_end - top))
                    group = row_groups[place]
                else:
                    place = number - in_rows
                    place += left_side if place < left_end - left_side else right_side - (left_end - left_side)
                    group = column_groups[place]
                new = marks[group] < call
                marks[group] = call | used if new else marks[group]
                within = (np.uint32(xs[group] - x0) <= across) & (np.uint32(ys[group] - y0) <= down)
                amount = strengths[group] * np.float32(within)
                weights[used], held[used], places[used] = np.float32(1), amount, opened
                open_slots[opened], open_groups[opened] = used, group
                left -= amount * np.float32(new)
                opened += np.uint64(new & (starts[group] < starts[group + np.uint64(1)]))
                used += np.uint64(new)
            # Affinity along the best path from the border (eq. 2): weights grow until no path is better.
            at = np.uint64(0)
            while at < opened and left >= least:
                weight, group = weights[open_slots[at]], open_groups[at]
                at += np.uint64(1)
                for place in range(np.uint64(starts[group]), np.uint64(starts[group + np.uint64(1)])):
                    along = weight * affinities[place]
                    other = neighbours[place]
                    new = marks[other] < call
                    slot = used if new else marks[other] - call
                    before = np.float32(0) if new else weights[slot]
                    within = (np.uint32(xs[other] - x0) <= across) & (np.uint32(ys[other] - y0) <= down)
                    if (along >= _FAINT) & (along > before) & (within | (not new)):
                        amount = strengths[other] * np.float32(within)
                        left -= (along - before) * amount
                        weights[slot] = along
                        if new:
                            marks[other] = call | used
                            held[used], places[used] = amount, opened
                            open_slots[opened], open_groups[opened] = used, other
                            opened += np.uint64(1)
                            used += np.uint64(1)
                        else:
                            at = min(at, np.uint64(places[slot]))
            if left < least:
                continue
            for slot in range(used):
                inside -= weights[slot] * held[slot]
            score = inside * norm
            if score >= low and score > to_beat:
                to_beat = score
                best_x0, best_y0, best_x1, best_y1 = x0, y0, x1, y1
                moved = True
        scores[window] = to_beat
        windows[window, 0], windows[window, 1] = best_x0, best_y0
        windows[window, 2], windows[window, 3] = best_x1 - best_x0, best_y1 - best_y0
    return scores


@compiled
def adaptive_nms_kernel(boxes: NDArray[Any], threshold: float, eta: float, most: int) -> NDArray[np.int64]:
    """Indices of the boxes float32 (N, 4), best first, that suppression keeps; see `edge_boxes.suppress`.

    With IoU > t, sides differ by less than a factor 1 / t and centres by less than (1 - t) / (1 + t) / 2 of the sum
    of the sides. So kept boxes are in cells by the powers of two of their sides and, in units of these, by their
    centres, and only cells within reach are read.
    """
    slots = 1024
    while slots < 2 * min(most, len(boxes)):
        slots *= 2
    heads = np.full(slots, -1, np.int64)
    links, keys = np.empty(len(boxes), np.int64), np.empty(len(boxes), np.int64)
    kept = np.empty(min(most, len(boxes)), np.int64)
    used = 0
    for box in range(len(boxes)):
        if used == most:
            break
        x1, y1, x2, y2 = boxes[box]
        area = (x2 - x1) * (y2 - y1)
        wide, high = _power(x2 - x1), _power(y2 - y1)
        apart = (1.0 - threshold) / (1.0 + threshold) / 2
        powers = math.ceil(-math.log2(threshold))
        free = True
        for other_wide in range(max(wide - powers, 0), wide + powers + 1):
            reach = apart * ((x2 - x1) + min(2.0 ** (other_wide + 1), (x2 - x1) / threshold)) + 1e-3
            columns = _cell((x1 + x2) / 2 - reach, other_wide), _cell((x1 + x2) / 2 + reach, other_wide)
            for other_high in range(max(high - powers, 0), high + powers + 1):
                reach = apart * ((y2 - y1) + min(2.0 ** (other_high + 1), (y2 - y1) / threshold)) + 1e-3
                rows = _cell((y1 + y2) / 2 - reach, other_high), _cell((y1 + y2) / 2 + reach, other_high)
                for column in range(columns[0], columns[1] + 1):
                    for row in range(rows[0], rows[1] + 1):
                        key = _key(other_wide, other_high, column, row)
                        other = heads[_slot(key, slots)]
                        while other >= 0 and free:
                            if keys[other] == key:
                                u1, v1, u2, v2 = boxes[other]
                                common = max(min(x2, u2) - max(x1, u1), np.float32(0))
                                common *= max(min(y2, v2) - max(y1, v1), np.float32(0))
                                free = common <= threshold * (area + (u2 - u1) * (v2 - v1) - common)
                            other = links[other]
        if free:
            keys[box] = _key(wide, high, _cell((x1 + x2) / 2, wide), _cell((y1 + y2) / 2, high))
            slot = _slot(keys[box], slots)
            links[box] = heads[slot]
            heads[slot] = box
            kept[used] = box
            used += 1
            if threshold > 0.5:
                threshold *= eta
    return kept[:used]


@compiled
def _power(side: float) -> int:
    """The largest p >= 0 with 2^p <= side, 0 for sides below 2."""
    return max(math.floor(math.log2(max(side, 1.0))), 0)


@compiled
def _cell(at: float, power: int) -> int:
    return math.floor(at / 2.0**power)


@compiled
def _key(wide: int, high: int, column: int, row: int) -> int:
    return ((column + 4) << 37) | ((row + 4) << 10) | (wide << 5) | high


@compiled
def _slot(key: int, slots: int) -> int:
    return ((key * 0x9E3779B97F4A7C1) >> 20) & (slots - 1)
