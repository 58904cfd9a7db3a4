"""Columns of numbers from lists of JSON or text values: in bulk where all is well, value by value where not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray


def finite_numbers(values: object, count: int) -> list[float] | None:
    """`values` as `count` finite floats (text of numbers counts), or None where they are anything else."""
    if not isinstance(values, list | tuple) or len(values) != count:
        return None
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if all(-1e300 < number < 1e300 for number in numbers) else None


def box_column(values: Sequence[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(N, 4) boxes from N lists of four values, and which of them are finite numbers; the others are 0."""
    count = len(values)
    try:
        if set(map(type, values)) <= {list, tuple} and all(map((4).__eq__, map(len, values))):
            boxes = np.fromiter(chain.from_iterable(values), np.float64, 4 * count).reshape(count, 4)
            if np.isfinite(boxes).all():
                return boxes, np.ones(count, bool)
    except (TypeError, ValueError, OverflowError):
        pass
    numbers = [finite_numbers(value, 4) for value in values]
    readable = np.array([row is not None for row in numbers], bool).reshape(count)
    boxes = np.array([row or (0.0, 0.0, 0.0, 0.0) for row in numbers], np.float64).reshape(count, 4)
    return boxes, readable


def number_column(values: Sequence[Any]) -> NDArray[np.float64]:
    """float64 (N,), NaN for None and for what is not a number."""
    if values.count(None) == len(values):
        return np.full(len(values), np.nan)
    try:
        return np.fromiter(values, np.float64, len(values))
    except (TypeError, ValueError, OverflowError):
        return np.array([(finite_numbers([value], 1) or [np.nan])[0] for value in values], np.float64)


def flag(value: object) -> bool:
    """Whether a flag is set: true, a number above 0, or text of one ("1", "1.0", "True", "yes")."""
    if isinstance(value, str):
        number = finite_numbers([value], 1)
        return number[0] > 0 if number else value.strip().lower() in ("true", "yes", "t", "y", "on")
    return isinstance(value, int | float) and value > 0


def flag_column(values: Sequence[Any]) -> NDArray[np.bool_]:
    """bool (N,), False for None."""
    if values.count(None) == len(values):
        return np.zeros(len(values), bool)
    if set(map(type, values)) <= {int, bool}:
        return np.fromiter(values, np.float64, len(values)) > 0
    return np.fromiter(map(flag, values), bool, len(values))


def whole_number(value: object) -> int | None:
    """`value` as an int of 64 bits where it is one: 3, 3.0, "3" or "3.0"; else None."""
    number = whole_id(value)
    return number if number is not None and -(2**63) <= number < 2**63 else None


def whole_id(value: object) -> int | None:
    """The same with whole numbers of any length, as ids may have."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    number = finite_numbers([value], 1)
    return int(number[0]) if number and number[0].is_integer() else None
