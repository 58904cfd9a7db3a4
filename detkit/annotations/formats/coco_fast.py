"""COCO results from bytes to columns without a Python object a number, for the plain files that programs write.

In such a file every record has the same keys in the same order and the same white space: between the digits stand
always the same bytes. `parse_results` takes that pattern from the first record and goes through the text in blocks of
whole records with array operations: where the runs of digits begin and end; whether the bytes between them are, to the
last one, those of the pattern; and the values of the runs, eight digits a step (Lemire 2018: three multiplications
turn eight characters into a number). Records with numbers like 1e-05, and blocks that depart from the pattern in
another way, go through orjson. Where many do, or where anything is not JSON, None is returned and the general reader,
which has the error messages, takes over.

Numbers are rounded correctly, to the same doubles as Python's `float`: up to 2^53 by one exact division (Clinger
1990), up to 19 digits by a division in twice the precision (Dekker 1971) whose error bound is checked; the rest, a few
in a million, is left to `float` itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
Positions = NDArray[np.int64]

BLOCK_BYTES = 1 << 19
_PAD = 32
_MOST_DIGITS = 19
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?(?![0-9.eE+-])")
_DIGIT = re.compile(rb"[0-9-]")
_KEY = re.compile(r"[A-Za-z_]+")
_TEXT = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*')
_TENS = np.array([10**k for k in range(_MOST_DIGITS + 1)], np.uint64)
_POWERS = np.array([10.0**k for k in range(23)])  # the powers that are doubles


class _NotPlain(Exception):
    """The text departs from the pattern."""


@dataclass(frozen=True)
class _Pattern:
    """Where the digits of a record are, and what stands between them.

    gaps     the bytes before each of the R runs of digits; before the first, all since the last run of the record
             before
    between  the comma and the white space between two records
    opening  the bytes before the first run of a record, from its brace on
    closing  the bytes behind the last run, with the brace
    whole    for each number the run of its whole part
    fraction the run of its fraction, -1 where it has none
    image_id, category_id, score   the numbers of these keys
    bbox     the first of its four numbers
    """

    gaps: tuple[bytes, ...]
    between: bytes
    opening: bytes
    closing: bytes
    whole: tuple[int, ...]
    fraction: tuple[int, ...]
    image_id: int
    category_id: int
    bbox: int
    score: int


def without_texts(data: bytes, key: str) -> tuple[bytes, list[bytes] | None]:
    """`data` without the text that each record has under `key`, and the texts as they are escaped.

    The same data and None where the first record has no such text. What stands around the key is taken from the first
    record; a record that is written otherwise keeps its text, which `parse_results` then does not take.
    """
    first = re.search(rb"\{[^{}]*\}", data[:4096])
    name = rb'"' + key.encode() + rb'"\s*:\s*"'
    before = re.search(rb"\s*,\s*" + name, first.group()) if first else None
    leading = re.match(rb"(\{\s*)" + name, first.group()) if first else None
    found = before or leading
    if found is None:
        return data, None
    opening = found.group()
    kept = b"" if before else found.group(1)  # the brace stays
    texts: list[bytes] = []
    pieces = data.split(opening)
    rest = [pieces[0]]
    for piece in pieces[1:]:
        end = piece.find(b'"')
        if end > 0 and piece[end - 1] == 92:  # a quote that is escaped
            match = _TEXT.match(piece)
            end = match.end() if match else end
        texts.append(piece[:end])
        behind = piece[end + 1 :]
        rest.append(behind if before else kept + behind.lstrip().removeprefix(b",").lstrip())
    return b"".join(rest), texts


def parse_results(data: bytes) -> Columns | None:
    """image_ids, category_ids (D,), boxes (D, 4) and scores (D,) of a results list; None where it is not plain."""
    start = data.find(b"[", 0, 64) + 1
    stop = data.rfind(b"}") + 1
    if not start or data[: start - 1].strip() or not stop or data[stop:].strip() != b"]":
        return None
    pattern = _find_pattern(data, start)
    if pattern is None:
        return None
    parts: list[Columns] = []
    departed = 0
    place = start
    while place < stop:
        end = stop if stop - place <= BLOCK_BYTES else data.rfind(b"}", place, place + BLOCK_BYTES) + 1
        if not end:
            return None
        text = data[place:end] if parts else pattern.between + data[place:end].lstrip()
        place = end
        try:
            part: Columns | None = _block(text, pattern)
        except _NotPlain:
            departed += 1
            part = _by_orjson(text) if 2 * departed <= len(parts) + 4 else None
        if part is None:
            return None
        parts.append(part)
    image_ids, category_ids, boxes, scores = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return image_ids, category_ids, boxes, scores


def _block(text: bytes, pattern: _Pattern) -> Columns | None:
    """The columns of some records; those with numbers like 1e-05 go through orjson and back to their places."""
    if b"e-" not in text:
        return _plain(text, pattern)[0]
    plain: list[bytes] = []
    others: list[bytes] = []
    cuts: list[int] = []  # how much plain text stands before each of the others
    behind = length = 0
    place = text.find(b"e-")
    while place >= 0:
        start, stop = text.rfind(b"}", behind, place) + 1 or behind, text.find(b"}", place) + 1
        plain.append(text[behind:start])
        others.append(text[start:stop])
        length += start - behind
        cuts.append(length)
        behind = stop
        place = text.find(b"e-", behind)
    plain.append(text[behind:])
    odd = _by_orjson(b"".join(others))
    rest = b"".join(plain)
    if odd is None or not rest:
        return odd
    if len(odd[0]) != len(others):
        return None
    columns, starts = _plain(rest, pattern)
    rows = np.searchsorted(starts, cuts)
    image_ids, category_ids, boxes, scores = (
        np.insert(column, rows, values, axis=0) for column, values in zip(columns, odd, strict=True)
    )
    return image_ids, category_ids, boxes, scores


def _find_pattern(data: bytes, start: int) -> _Pattern | None:
    """The pattern of one of the first records that has no exponents; None where there are none of the plain kind."""
    place = start
    for _ in range(8):
        end = data.find(b"}", place, place + 2000) + 1
        following = data.find(b"{", end, end + 64)
        if not end or following < 0:
            return None
        opening = data.find(b"{", place, end)
        pattern = _pattern_of(data[opening:end], data[end:following])
        if pattern is not None:
            return pattern
        place = end
    return None


def _pattern_of(record: bytes, between: bytes) -> _Pattern | None:
    try:
        entry = orjson.loads(record)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(entry, dict) or between.strip() != b"," or not all(map(_KEY.fullmatch, entry)):
        return None
    columns: dict[str, int] = {}
    count = 0
    for key, value in entry.items():
        columns[key] = count
        count += 4 if key == "bbox" else 1
        if not (isinstance(value, list) and len(value) == 4 if key == "bbox" else type(value) in (int, float)):
            return None
    matches = list(_NUMBER.finditer(record))
    if len(matches) != count or not {"image_id", "category_id", "bbox", "score"} <= columns.keys():
        return None
    gaps: list[bytes] = []
    whole: list[int] = []
    fraction: list[int] = []
    behind = 0
    for match in matches:
        whole.append(len(gaps))
        gaps.append(record[behind : match.start()])
        fraction.append(len(gaps) if match.group(1) else -1)
        if match.group(1):
            gaps.append(b".")
        behind = match.end()
    opening, closing = gaps[0], record[behind:]
    if any(map(_DIGIT.search, (*gaps, closing))):  # of 1e-05, which _NUMBER does not take as a whole
        return None
    if fraction[columns["image_id"]] >= 0 or fraction[columns["category_id"]] >= 0:
        return None
    gaps[0] = closing + between + opening
    return _Pattern(
        tuple(gaps), between, opening, closing, tuple(whole), tuple(fraction),
        columns["image_id"], columns["category_id"], columns["bbox"], columns["score"],
    )  # fmt: skip


def _plain(data: bytes, pattern: _Pattern) -> tuple[Columns, Positions]:
    """The columns of records and where in `data` they start; _NotPlain where one departs from the pattern."""
    size = len(data)
    text = np.zeros(size + 2 * _PAD, np.uint8)
    text[_PAD : _PAD + size] = np.frombuffer(data, np.uint8)
    signs = text == 45
    starts, ends = _runs(text, signs, pattern)
    words = np.ndarray((len(text) - 7,), "<u8", text, strides=(1,))  # the eight bytes from each place on
    whole = list(pattern.whole)
    negative = signs[starts[whole]]
    if np.count_nonzero(signs) != np.count_nonzero(negative):
        raise _NotPlain
    first_digits = starts[whole] + negative
    lengths = ends[whole] - first_digits
    if (lengths < 1).any() or lengths.max() >= _MOST_DIGITS or ((text[first_digits] == 48) & (lengths > 1)).any():
        raise _NotPlain
    mantissas = _values(words, ends[whole], lengths)
    numbers = mantissas.astype(np.float64)
    wanted = (*range(pattern.bbox, pattern.bbox + 4), pattern.score)
    split = [number for number in wanted if pattern.fraction[number] >= 0]
    if split:
        fractions = [pattern.fraction[number] for number in split]
        values, unsure = _with_fraction(words, mantissas[split], lengths[split], starts[fractions], ends[fractions])
        for number, row in zip(*unsure, strict=True):
            first, last = first_digits[split[number], row], ends[fractions[number], row]
            values[number, row] = float(text[first:last].tobytes())
        numbers[split] = values
    signed = np.where(negative, -numbers, numbers)[list(wanted)].T  # (D, 5)
    ids = mantissas[[pattern.image_id, pattern.category_id]].astype(np.int64)
    ids = np.where(negative[[pattern.image_id, pattern.category_id]], -ids, ids)
    return (ids[0], ids[1], signed[:, :4], signed[:, 4]), starts[0] - _PAD


def _runs(text: NDArray[np.uint8], signs: NDArray[np.bool_], pattern: _Pattern) -> tuple[Positions, Positions]:
    """Where the runs of digits begin and end, (R, D) each; _NotPlain unless all between them is as in the pattern."""
    digits = ((text - np.uint8(48)) < 10) | signs
    edges = np.flatnonzero(digits[1:] ^ digits[:-1])
    edges += 1
    runs = len(pattern.gaps)
    if not len(edges) or len(edges) % (2 * runs):
        raise _NotPlain
    starts, ends = np.ascontiguousarray(edges.reshape(-1, runs, 2).transpose(2, 1, 0))
    lengths = np.array([[len(gap)] for gap in pattern.gaps])
    if (starts[1:] - ends[:-1] != lengths[1:]).any() or (starts[0, 1:] - ends[-1, :-1] != lengths[0]).any():
        raise _NotPlain
    record = pattern.between + pattern.opening + b"".join(pattern.gaps[1:]) + pattern.closing
    others = text[_PAD:-_PAD][~digits[_PAD:-_PAD]]
    if starts[0, 0] - _PAD != len(pattern.between + pattern.opening) or others.tobytes() != record * starts.shape[1]:
        raise _NotPlain
    return starts, ends


def _values(words: NDArray[np.uint64], ends: Positions, lengths: Positions) -> NDArray[np.uint64]:
    """The numbers below 10^19 that the digits before `ends` write; of longer ones, anything."""
    longest = int(lengths.max())
    total = _eight(words, ends - 8, 8 - lengths)
    if longest > 8:
        total += np.uint64(10**8) * _eight(words, ends - 16, 16 - lengths)
    if longest > 16:
        total += np.uint64(10**16) * _eight(words, ends - 24, 24 - lengths)
    return total


def _eight(words: NDArray[np.uint64], places: Positions, foreign: Positions) -> NDArray[np.uint64]:
    """The number that eight digits write, the first `foreign` of which (none where negative) do not belong to it."""
    shift = (np.clip(foreign, 0, 8) << 3).astype(np.uint64)
    digits = words[places]
    digits >>= shift  # numpy shifts by 64 to 0
    digits <<= shift
    digits &= np.uint64(0x0F0F0F0F0F0F0F0F)
    digits *= np.uint64(2561)  # 10 * 2^8 + 1: pairs of digits
    digits >>= np.uint64(8)
    digits &= np.uint64(0x00FF00FF00FF00FF)
    digits *= np.uint64(6553601)  # 100 * 2^16 + 1: fours
    digits >>= np.uint64(16)
    digits &= np.uint64(0x0000FFFF0000FFFF)
    digits *= np.uint64(42949672960001)  # 10000 * 2^32 + 1: all eight
    digits >>= np.uint64(32)
    return digits


def _with_fraction(
    words: NDArray[np.uint64], whole: NDArray[np.uint64], whole_digits: Positions, starts: Positions, ends: Positions
) -> tuple[NDArray[np.float64], tuple[Positions, ...]]:
    """The doubles of whole parts and the runs of digits behind the point, and the places that are not certain."""
    places = ends - starts
    longest = int(places.max())
    fits = (places + whole_digits <= _MOST_DIGITS) | ((whole == 0) & (places <= _MOST_DIGITS))
    if longest > _MOST_DIGITS:  # 0.000123...: zeros at the front count for the power, not for the mantissa
        first_of_24 = _eight(words, ends - 24, 24 - places)
        fits |= (whole == 0) & (places < len(_POWERS)) & (first_of_24 < 1000)
    mantissas = whole * _TENS[np.minimum(places, _MOST_DIGITS)] + _values(words, ends, places)
    powers = _POWERS[np.minimum(places, len(_POWERS) - 1)]
    high = mantissas.astype(np.float64)
    values = high / powers
    large = np.nonzero((mantissas > np.uint64(1 << 53)) & fits)
    if len(large[0]):
        values[large], fits[large] = _divide(mantissas[large], high[large], powers[large])
    return values, np.nonzero(~fits)


def _divide(
    mantissas: NDArray[np.uint64], high: NDArray[np.float64], powers: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """mantissa / power, and whether the result is certainly the nearest double.

    With q = fl(high / power), the remainder high - q * power is a double, which Dekker's product gives exactly. Adding
    what the mantissa has beyond `high` and dividing gives what q lacks, with a relative error far below 2^-48.
    Rounding is monotonic: where both ends of that interval round to the same double, so does the true quotient.
    """
    low = (mantissas - high.astype(np.uint64)).view(np.int64).astype(np.float64)
    quotient = high / powers
    product = quotient * powers
    quotient_high, quotient_low = _halves(quotient)
    power_high, power_low = _halves(powers)
    error = quotient_high * power_high - product
    error = error + quotient_high * power_low + quotient_low * power_high + quotient_low * power_low
    lacks = (((high - product) - error) + low) / powers
    margin = np.abs(lacks) * 2.0**-48
    below = quotient + (lacks - margin)
    return below, below == quotient + (lacks + margin)


def _halves(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two doubles of 26 bits that add up to each of `values` (Veltkamp)."""
    scaled = values * 134217729.0  # 2^27 + 1
    high = scaled - (scaled - values)
    return high, values - high


def _by_orjson(text: bytes) -> Columns | None:
    """The columns of some records, each after a comma, by way of orjson; None where they are not plain either."""
    text = text.lstrip()
    if not text.startswith(b","):
        return None
    text = text[1:]
    try:
        rows: list[Any] = orjson.loads(b"[" + text + b"]")
        boxes = [row["bbox"] for row in rows]
        scores = [row["score"] for row in rows]
        image_ids = [row["image_id"] for row in rows]
        category_ids = [row["category_id"] for row in rows]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    if not all(type(box) is list and len(box) == 4 for box in boxes):
        return None
    sides = [side for box in boxes for side in box]
    if {*map(type, image_ids), *map(type, category_ids)} - {int} or {*map(type, sides), *map(type, scores)} - {
        int,
        float,
    }:
        return None
    try:
        ids = np.array([image_ids, category_ids], np.int64)
        return ids[0], ids[1], np.array(sides, np.float64).reshape(-1, 4), np.array(scores, np.float64)
    except OverflowError:
        return None
