"""Compiled loops of `detkit.detectors.hog.hog_detector`: gradients, votes, block histograms, window scores.

All arrays are float32 and C-contiguous. The loops release the GIL, so that pyramid levels run side by side.
"""

from __future__ import annotations

import numpy as np

from detkit.compiled import compiled


@compiled
def gradients(colours, arctangent, magnitude, angle):  # type: ignore[no-untyped-def]
    """Magnitude and angle of the strongest channel, (h, w) out, of colours (3, h + 2, w + 2).

    arctangent   the coefficients of `_polar_row`; angles are in radians, 0 to 2 pi
    """
    height, width = magnitude.shape
    dx, dy = np.empty(width, np.float32), np.empty(width, np.float32)
    for y in range(height):
        _gradient_row(colours[:, y], colours[:, y + 1], colours[:, y + 2], dx, dy)
        _polar_row(dx, dy, arctangent, magnitude[y], angle[y])


@compiled
def _gradient_row(above, here, below, dx, dy):  # type: ignore[no-untyped-def]
    """Central differences of the channel with the largest magnitude; of equal ones the later channel wins.

    above, here, below (3, w + 2), with one pixel of border on either side; dx, dy (w,) out.
    """
    above_0, above_1, above_2 = above[0], above[1], above[2]
    here_0, here_1, here_2 = here[0], here[1], here[2]
    below_0, below_1, below_2 = below[0], below[1], below[2]
    for x in range(dx.shape[0]):
        best_x, best_y = here_2[x + 2] - here_2[x], below_2[x + 1] - above_2[x + 1]
        best = best_x * best_x + best_y * best_y
        next_x, next_y = here_1[x + 2] - here_1[x], below_1[x + 1] - above_1[x + 1]
        square = next_x * next_x + next_y * next_y
        best_x = next_x if square > best else best_x
        best_y = next_y if square > best else best_y
        best = square if square > best else best
        next_x, next_y = here_0[x + 2] - here_0[x], below_0[x + 1] - above_0[x + 1]
        square = next_x * next_x + next_y * next_y
        dx[x] = next_x if square > best else best_x
        dy[x] = next_y if square > best else best_y


@compiled
def _polar_row(dx, dy, arctangent, magnitude, angle):  # type: ignore[no-untyped-def]
    """Length and direction of vectors; `arctangent` holds c of c0 q + c1 q^3 + c2 q^5 + c3 q^7, for q in [0, 1]."""
    c0, c1, c2, c3 = arctangent[0], arctangent[1], arctangent[2], arctangent[3]
    quarter, half, whole = np.float32(np.pi / 2), np.float32(np.pi), np.float32(2 * np.pi)
    for x in range(dx.shape[0]):
        right, down = dx[x], dy[x]
        magnitude[x] = np.sqrt(right * right + down * down)
        across, along = abs(right), abs(down)
        larger, smaller = max(across, along), min(across, along)
        ratio = smaller / (larger + np.float32(1e-30))
        square = ratio * ratio
        turn = ratio * (c0 + square * (c1 + square * (c2 + square * c3)))
        turn = quarter - turn if along > across else turn
        turn = half - turn if right < 0 else turn
        angle[x] = whole - turn if down < 0 else turn


@compiled
def split_votes(magnitude, angle, scale, bins, lower, to_lower, to_upper):  # type: ignore[no-untyped-def]
    """Each pixel's magnitude shared by linear interpolation between the two nearest orientation bins.

    magnitude, angle (h, w), the angle in radians in [0, 2 pi]; scale: bins for one radian. Out, all (h, w): `lower`
    (int32), the bin below, whose upper neighbour is `lower + 1`, `bins` standing for bin 0; and the two shares.
    """
    for y in range(magnitude.shape[0]):
        _split_row(magnitude[y], angle[y], scale, bins, lower[y], to_lower[y], to_upper[y])


@compiled
def _split_row(magnitude, angle, scale, bins, lower, to_lower, to_upper):  # type: ignore[no-untyped-def]
    half = np.float32(bins - 0.5)  # bin centres lie at (k + 1/2) / scale; one round added keeps the cut positive
    around = np.int32(bins)
    for x in range(magnitude.shape[0]):
        position = angle[x] * scale + half
        bin_ = np.int32(position)
        upper = magnitude[x] * (position - np.float32(bin_))
        bin_ -= around if bin_ >= around else np.int32(0)
        bin_ -= around if bin_ >= around else np.int32(0)
        bin_ -= around if bin_ >= around else np.int32(0)  # rounding may end on exactly three rounds
        lower[x] = bin_
        to_upper[x] = upper
        to_lower[x] = magnitude[x] - upper


@compiled
def describe_by_tiles(image, gamma, arctangent, scale, bins, weight_x, weight_y, cells, roles, blocks):  # type: ignore[no-untyped-def]
    """From pixels to unnormalised block histograms in one pass, where blocks overlap by whole tiles.

    A tile is what all blocks cut alike; by default it has the size of a cell. The spatial weight of a pixel in a
    block (nearness to the cell times Gaussian) is a product of a weight of its column and one of its row. So every
    pixel is binned once for all blocks: first its votes are summed down the tile's columns, weighted for
    each role (place of the tile in a block) and cell of the vertical axis, then the columns are summed for those of
    the horizontal axis. All that is kept between rows fits into the cache of a core.

    image      uint8 (h + 2, w + 2, 3) with one pixel of border
    weight_x, weight_y   (tile side, roles * cells, filled up with zeros to a multiple of 4)
    cells, roles         (across, down) of a block
    blocks     (down, across, cells * bins) out, in the order of `hog.compute`
    """
    roles_x, roles_y = roles
    tile_w, columns_x = weight_x.shape
    tile_h, columns_y = weight_y.shape
    down, across, _ = blocks.shape
    tiles_across, tiles_down = across + roles_x - 1, down + roles_y - 1
    width = tiles_across * tile_w
    slot = (bins + 1) * columns_y  # of one pixel column: bins, and the one that is bin 0 again
    plane = tiles_across * slot
    columns = np.empty((tile_w, plane), np.float32)
    every_column = columns.reshape(-1)
    sums = np.empty((columns_x, plane), np.float32)
    first = np.empty(width, np.int32)
    for x in range(width):
        first[x] = x % tile_w * plane + x // tile_w * slot
    ring = np.empty((3, 3, width + 2), np.float32)
    dx, dy = np.empty(width, np.float32), np.empty(width, np.float32)
    magnitude, angle = np.empty(width, np.float32), np.empty(width, np.float32)
    lower = np.empty(width, np.int32)
    to_lower, to_upper = np.empty(width, np.float32), np.empty(width, np.float32)
    _colour_row(image[0], gamma, ring[0])
    _colour_row(image[1], gamma, ring[1])
    blocks[:] = 0
    for tile_y in range(tiles_down):
        every_column[:] = 0
        for row in range(tile_h):
            y = tile_y * tile_h + row
            _colour_row(image[y + 2], gamma, ring[(y + 2) % 3])
            _gradient_row(ring[y % 3], ring[(y + 1) % 3], ring[(y + 2) % 3], dx, dy)
            _polar_row(dx, dy, arctangent, magnitude, angle)
            _split_row(magnitude, angle, scale, bins, lower, to_lower, to_upper)
            for part in range(0, columns_y, 4):
                _scatter(every_column, first, part, columns_y, lower, to_lower, to_upper, weight_y[row])
        for k in range(columns_x):
            _sum_columns(columns, weight_x[:, k], sums[k])
        _add_to_blocks(sums, slot, bins, columns_y, cells, roles, tile_y, blocks)


@compiled
def _colour_row(pixels, gamma, row):  # type: ignore[no-untyped-def]
    """RGB samples (w + 2, 3) as three rows of float32, their square roots with `gamma`."""
    for channel in range(3):
        samples = row[channel]
        for x in range(samples.shape[0]):
            samples[x] = pixels[x, channel]
        if gamma:
            for x in range(samples.shape[0]):
                samples[x] = np.sqrt(samples[x])


@compiled
def _scatter(columns, first, part, columns_y, lower, to_lower, to_upper, weights):  # type: ignore[no-untyped-def]
    """Add the votes of one row to the sums of its pixel columns, for four roles and cells at a time."""
    w0, w1, w2, w3 = weights[part], weights[part + 1], weights[part + 2], weights[part + 3]
    for x in range(lower.shape[0]):
        low, high = to_lower[x], to_upper[x]
        i = np.uint64(first[x] + lower[x] * columns_y + part)  # unsigned: no test for counting from the end
        j = i + np.uint64(columns_y)
        i1, i2, i3 = i + np.uint64(1), i + np.uint64(2), i + np.uint64(3)
        j1, j2, j3 = j + np.uint64(1), j + np.uint64(2), j + np.uint64(3)
        a0, a1 = columns[i] + low * w0, columns[i1] + low * w1
        a2, a3 = columns[i2] + low * w2, columns[i3] + low * w3
        b0, b1 = columns[j] + high * w0, columns[j1] + high * w1
        b2, b3 = columns[j2] + high * w2, columns[j3] + high * w3
        columns[i], columns[i1], columns[i2], columns[i3] = a0, a1, a2, a3
        columns[j], columns[j1], columns[j2], columns[j3] = b0, b1, b2, b3


@compiled
def _sum_columns(columns, weights, line):  # type: ignore[no-untyped-def]
    """line (n,) = weights (c,) times columns (c, n), two columns at a time."""
    line[:] = 0
    for column in range(0, columns.shape[0] - 1, 2):
        w0, w1 = weights[column], weights[column + 1]
        votes_0, votes_1 = columns[column], columns[column + 1]
        if w0 != 0 or w1 != 0:
            for m in range(line.shape[0]):
                line[m] += w0 * votes_0[m] + w1 * votes_1[m]
    if columns.shape[0] % 2:
        last, votes_0 = weights[-1], columns[-1]
        for m in range(line.shape[0]):
            line[m] += last * votes_0[m]


@compiled
def _add_to_blocks(sums, slot, bins, columns_y, cells, roles, tile_y, blocks):  # type: ignore[no-untyped-def]
    """Add the sums of one row of tiles to every block that a tile is part of."""
    down, across, _ = blocks.shape
    for role_y in range(roles[1]):
        block_y = tile_y - role_y
        if block_y < 0 or block_y >= down:
            continue
        for role_x in range(roles[0]):
            for block_x in range(across):
                block = blocks[block_y, block_x]
                start = (block_x + role_x) * slot
                k = 0
                for cell_x in range(cells[0]):
                    line = sums[role_x * cells[0] + cell_x]
                    for cell_y in range(cells[1]):
                        m = start + role_y * cells[1] + cell_y
                        block[k] += line[m + bins * columns_y]
                        for bin_ in range(bins):
                            block[k + bin_] += line[m + bin_ * columns_y]
                        k += bins


@compiled
def histograms_by_blocks(lower, to_lower, to_upper, weight_x, weight_y, bins, step, blocks):  # type: ignore[no-untyped-def]
    """Block histograms, block after block: works for blocks that overlap anyhow.

    weight_x (block_w, cells_x), weight_y (block_h, cells_y); step (x, y) pixels from block to block; blocks out.
    """
    block_w, cells_x = weight_x.shape
    block_h, cells_y = weight_y.shape
    down, across, _ = blocks.shape
    blocks[:] = 0
    for block_y in range(down):
        for block_x in range(across):
            block = blocks[block_y, block_x]
            for row in range(block_h):
                y = block_y * step[1] + row
                for column in range(block_w):
                    x = block_x * step[0] + column
                    low, high = to_lower[y, x], to_upper[y, x]
                    first = lower[y, x]
                    second = first + 1 if first + 1 < bins else 0
                    for cell_x in range(cells_x):
                        for cell_y in range(cells_y):
                            weight = weight_x[column, cell_x] * weight_y[row, cell_y]
                            if weight != 0:
                                k = (cell_x * cells_y + cell_y) * bins
                                block[k + first] += low * weight
                                block[k + second] += high * weight


@compiled
def clip_and_normalize(blocks, epsilon, clip, clipped_epsilon):  # type: ignore[no-untyped-def]
    """L2-Hys in place: unit length, no value above `clip`, unit length again. blocks (n, length)."""
    length = blocks.shape[1]
    squares = np.empty(8, np.float32)
    whole = length // 8 * 8
    for n in range(blocks.shape[0]):
        block = blocks[n]
        factor = np.float32(1) / (np.sqrt(_sum_of_squares(block, whole, squares)) + epsilon)
        for k in range(length):
            block[k] = min(block[k] * factor, clip)
        factor = np.float32(1) / (np.sqrt(_sum_of_squares(block, whole, squares)) + clipped_epsilon)
        for k in range(length):
            block[k] *= factor


@compiled
def _sum_of_squares(values, whole, lanes):  # type: ignore[no-untyped-def]
    """In eight partial sums, which the compiler keeps in one register."""
    lanes[:] = 0
    for k in range(0, whole, 8):
        for lane in range(8):
            lanes[lane] += values[k + lane] * values[k + lane]
    total = np.float32(0)
    for lane in range(8):
        total += lanes[lane]
    for k in range(whole, values.shape[0]):
        total += values[k] * values[k]
    return total


@compiled
def gather_responses(responses, grid, spacing, stride, scores):  # type: ignore[no-untyped-def]
    """Window scores from the product of every block with every block position of the window.

    responses (down, across, grid_y * grid_x), grid (grid_x, grid_y) blocks of a window, spacing (x, y) from one to the
    next and stride (x, y) from window to window, both in block positions; scores (rows, columns) in and out.
    """
    rows, columns = scores.shape
    for y in range(rows):
        row = scores[y]
        for j in range(grid[1]):
            line = responses[y * stride[1] + j * spacing[1]]
            for x in range(columns):
                total = row[x]
                for i in range(grid[0]):
                    total += line[x * stride[0] + i * spacing[0], j * grid[0] + i]
                row[x] = total
