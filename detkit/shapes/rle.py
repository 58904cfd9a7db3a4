"""Run-length encoding of masks as COCO defines it: pure functions over the runs of many masks at once.

A mask of `height` x `width` is read column by column. Its counts are the lengths of its runs in that order, background
first (0 where the first pixel belongs to the mask). The counts of N masks are one uint32 array (C,), with `starts`
int64 (N + 1,): mask i has `counts[starts[i]:starts[i + 1]]`. This is the format of pycocotools' maskApi, and each
function gives what its counterpart there gives, bit for bit, for counts without empty runs inside (`without_empty_runs`
makes them so).

A *toggle* is a position at which a mask changes between background and foreground.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError

Counts = NDArray[np.uint32]
Integers = NDArray[np.int64]

# Runs, or characters of strings, from which compiled loops are worth loading.
MANY = 1 << 17
_LONGEST = 7  # characters of 5 bits that a count of 32 bits and its sign need


def encode(mask: NDArray[Any]) -> Counts:
    """The counts of one mask (height, width); every value but 0 belongs to it."""
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    if not len(flat):
        return np.zeros(0, np.uint32)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate(([0, 0] if flat[0] else [0], changes, [len(flat)]))
    return np.diff(edges).astype(np.uint32)


def decode(counts: Counts, height: int, width: int) -> NDArray[np.bool_]:
    """The mask (height, width) of its counts."""
    values = np.zeros(len(counts), bool)
    values[1::2] = True
    return np.repeat(values, counts).reshape(width, height).T


def window_toggles(mask: NDArray[Any], left: int, top: int, height: int) -> Integers:
    """The toggles of a mask that is zero outside of a window, in a picture `height` pixels high.

    mask   (h, w), the window's pixels, the first of which is the picture's pixel (`left`, `top`)
    """
    columns = np.zeros((mask.shape[1], mask.shape[0] + 2), bool)
    columns[:, 1:-1] = np.asarray(mask, dtype=bool).T
    column, row = np.nonzero(columns[:, 1:] != columns[:, :-1])
    return (column + left) * height + row + top


def label_toggles(labels: NDArray[Any]) -> tuple[NDArray[Any], Integers, Integers]:
    """Every value of a label map (height, width) as a mask: (values (N,) rising, owners (T,), toggles (T,))."""
    flat = np.asarray(labels).ravel(order="F")
    begins = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))[: len(flat)]
    values, owner = np.unique(flat[begins], return_inverse=True)
    ends = np.append(begins[1:], len(flat))[: len(begins)]
    return values, np.concatenate((owner, owner)), np.concatenate((begins, ends))


def from_toggles(owner: Integers, toggle: Integers, pixels: Integers) -> tuple[Counts, Integers]:
    """Counts and starts of N masks from their toggles in any order; two at one position cancel each other.

    owner, toggle   int64 (T,), the mask of each and its position, 0 to pixels[owner]
    pixels          int64 (N,), height * width of each mask
    """
    base = int(pixels.max(initial=0)) + 1
    keys = owner * base + toggle
    if (keys[1:] < keys[:-1]).any():  # those of windows come in order
        keys.sort()
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
    odd = np.diff(np.append(first, len(keys))) % 2 == 1
    owner, toggle = np.divmod(keys[first[odd]], base)
    inside = toggle < pixels[owner]
    owner, toggle = owner[inside], toggle[inside]
    number = np.bincount(owner, minlength=len(pixels)) + (pixels > 0)
    starts = np.concatenate(([0], np.cumsum(number)))
    edges = np.empty(starts[-1], np.int64)
    edges[np.arange(len(toggle)) + owner] = toggle
    edges[starts[1:][pixels > 0] - 1] = pixels[pixels > 0]
    return edges_to_counts(edges, starts), starts


def edges_to_counts(edges: Integers, starts: Integers) -> Counts:
    """Counts from the ends of runs (C,) within each mask; the inverse of `run_ends`."""
    counts = np.diff(edges, prepend=0)
    first = starts[:-1][starts[1:] > starts[:-1]]
    counts[first] = edges[first]
    return counts.astype(np.uint32)


def run_ends(counts: Counts, starts: Integers) -> Integers:
    """int64 (C,): where each run ends, counted from the first pixel of its own mask."""
    total = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
    return np.asarray(total[1:] - np.repeat(total[starts[:-1]], np.diff(starts)))


def is_foreground(starts: Integers) -> NDArray[np.bool_]:
    """bool (C,): the runs that belong to the masks, every second one."""
    return np.asarray((np.arange(starts[-1]) - np.repeat(starts[:-1], np.diff(starts))) % 2 == 1)


def areas(counts: Counts, starts: Integers) -> Integers:
    """int64 (N,): pixels of each mask (maskApi's rleArea)."""
    inside = np.where(is_foreground(starts), counts, 0)
    total = np.concatenate(([0], np.cumsum(inside, dtype=np.int64)))
    return total[starts[1:]] - total[starts[:-1]]


def bounds(counts: Counts, starts: Integers, heights: Integers) -> Integers:
    """int64 (N, 4): x, y, width and height of the pixels of each mask, zeros where there are none (rleToBbox)."""
    result = np.zeros((len(heights), 4), np.int64)
    foreground = is_foreground(starts) & (counts > 0)
    if not foreground.any():
        return result
    end = run_ends(counts, starts)[foreground]
    begin = end - counts[foreground]
    owner = np.repeat(np.arange(len(heights)), np.diff(starts))[foreground]
    height = heights[owner]
    left, top = np.divmod(begin, height)
    right, bottom = np.divmod(end - 1, height)
    spans = right > left  # over the border of two columns: from the top to the bottom
    top[spans] = 0
    bottom = np.where(spans, height - 1, bottom)
    first = np.flatnonzero(np.append(True, owner[1:] != owner[:-1]))
    last = np.append(first[1:], len(owner)) - 1
    which = owner[first]
    top_most, lowest = np.minimum.reduceat(top, first), np.maximum.reduceat(bottom, first)
    result[which, 0], result[which, 1] = left[first], top_most
    result[which, 2], result[which, 3] = right[last] - left[first] + 1, lowest - top_most + 1
    return result


def without_empty_runs(counts: Counts, starts: Integers) -> tuple[Counts, Integers]:
    """The same masks with neighbouring runs joined where the run between them is empty, and none empty at the end."""
    empty = counts == 0
    empty[starts[:-1][starts[:-1] < starts[1:]]] = False  # the first run may be empty
    if not empty.any():
        return counts, starts
    ends = run_ends(counts, starts)
    number = np.diff(starts)
    owner = np.repeat(np.arange(len(number)), number)
    pixels = np.where(number > 0, ends[np.maximum(starts[1:] - 1, 0)], 0) if len(ends) else np.zeros_like(number)
    return from_toggles(owner, ends, pixels)


def union(counts: Counts, starts: Integers, owner: Integers, pixels: Integers) -> tuple[Counts, Integers]:
    """Masks joined: the N given ones belong to `owner` (N,), the result has one for each of `pixels` (M,)."""
    ends = run_ends(counts, starts)
    which = np.repeat(owner, np.diff(starts))
    step = np.where(is_foreground(starts), -1, 1)  # a run of background ends where one of the mask begins
    last = starts[1:][starts[1:] > starts[:-1]] - 1
    step[last[step[last] == 1]] = 0  # ... but for the last one of all
    base = int(pixels.max(initial=0)) + 1
    keys = which * base + ends
    order = np.argsort(keys, kind="stable")
    keys, step = keys[order], step[order]
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
    if not len(first):
        return from_toggles(which, ends, pixels)
    covered = np.cumsum(np.add.reduceat(step, first)) > 0  # every mask ends at 0, so one sum serves all
    changed = covered != np.append(False, covered[:-1])
    which, toggle = np.divmod(keys[first[changed]], base)
    return from_toggles(which, toggle, pixels)


def to_strings(counts: Counts, starts: Integers) -> list[str]:
    """COCO's compressed strings (rleToString): differences to the count before last, 5 bits a character."""
    value = counts.astype(np.int64)
    place = np.arange(len(value)) - np.repeat(starts[:-1], np.diff(starts))
    later = np.flatnonzero(place > 2)
    value[later] -= counts[later - 2].astype(np.int64)
    digits = np.zeros((len(value), _LONGEST), np.uint8)
    length = np.zeros(len(value), np.int64)
    going = np.arange(len(value))
    rest = value
    for place_of_digit in range(_LONGEST):
        digit = rest & 31
        rest = rest >> 5
        more = np.where(digit & 16, rest != -1, rest != 0)
        digits[going, place_of_digit] = digit + 48 + 32 * more
        length[going] += 1
        going, rest = going[more], rest[more]
        if not len(going):
            break
    text = digits[np.arange(_LONGEST) < length[:, None]].tobytes().decode("ascii")
    ends = np.concatenate(([0], np.cumsum(length)))[starts].tolist()
    return [text[begin:end] for begin, end in pairwise(ends)]


def from_strings(texts: Sequence[str | bytes]) -> tuple[Counts, Integers]:
    """Counts and starts from COCO's compressed strings (rleFrString). InputError for what is none."""
    parts = [text.encode("utf-8", "replace") if isinstance(text, str) else bytes(text) for text in texts]
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    ends = np.cumsum(lengths)
    characters = np.frombuffer(b"".join(parts), np.uint8)
    if len(characters) < MANY:
        return _parsed(characters, lengths, ends)
    from detkit.shapes.mask_kernels import string_kernel

    counts, starts, broken = string_kernel(characters, ends)
    if broken >= 0:  # the same again, for its words
        some = slice(int(ends[broken] - lengths[broken]), int(ends[broken]))
        return _parsed(characters[some], lengths[broken : broken + 1], lengths[broken : broken + 1], broken)
    return counts, starts


def _parsed(
    characters: NDArray[np.uint8], lengths: Integers, ends: Integers, before: int = 0
) -> tuple[Counts, Integers]:
    """`from_strings` of strings in a row; `before` is the number of the first."""
    digit = characters.astype(np.int64) - 48
    last = (digit & 32) == 0
    wrong = (digit < 0) | (digit > 63)
    wrong[ends[lengths > 0] - 1] |= ~last[ends[lengths > 0] - 1]
    if wrong.any():
        mask = before + int(np.searchsorted(ends, np.flatnonzero(wrong)[0], side="right"))
        raise InputError(f"the RLE string of mask {mask} is broken; COCO's compressed counts are expected")
    if not len(digit):
        return np.zeros(0, np.uint32), np.zeros(len(lengths) + 1, np.int64)
    stop = np.flatnonzero(last)
    begin = np.concatenate(([0], stop[:-1] + 1))
    size = stop - begin + 1
    if size.max() > _LONGEST:
        mask = before + int(np.searchsorted(ends, begin[size.argmax()], side="right"))
        raise InputError(f"the RLE string of mask {mask} is broken: it holds a number of more than 32 bits")
    value = digit[begin] & 31
    for place in range(1, int(size.max())):
        some = np.flatnonzero(size > place)
        value[some] |= (digit[begin[some] + place] & 31) << (5 * place)
    value -= np.where(digit[stop] & 16, np.int64(1) << (5 * size), 0)
    starts = np.concatenate(([0], np.searchsorted(stop, ends - 1, side="right")))
    return _summed(value, starts, before), starts


def _summed(value: Integers, starts: Integers, before: int) -> Counts:
    """Counts from differences: from the fourth of a mask on, each is the difference to the one before last."""
    place = np.arange(len(value)) - np.repeat(starts[:-1], np.diff(starts))
    counts = value.copy()
    for parity in (0, 1):
        chain = np.flatnonzero((place % 2 == parity) & (place > 0))
        total = np.cumsum(value[chain])
        head = place[chain] <= 2
        earlier = total[head] - value[chain[head]]
        counts[chain] = total - earlier[np.cumsum(head) - 1]
    if len(counts) and (counts.min() < 0 or counts.max() > 0xFFFFFFFF):
        row = int(np.flatnonzero((counts < 0) | (counts > 0xFFFFFFFF))[0])
        mask = before + int(np.searchsorted(starts, row, side="right")) - 1
        raise InputError(f"the RLE string of mask {mask} is broken: a run has the length {counts[row]}")
    return counts.astype(np.uint32)
