"""Numbers as people and other programs expect to find them in text files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def shortest_doubles(values: ArrayLike) -> NDArray[np.float64]:
    """`values` as float64; float32 becomes the double of its shortest decimal, so 12.3 stays 12.3."""
    array: NDArray[Any] = np.asarray(values)
    if array.dtype == np.float32:
        return array.astype(str).astype(np.float64)
    return array.astype(np.float64)


def number_text(value: float, digits: int = 12) -> str:
    """`value` with at most `digits` significant digits and none that says nothing: 12, 12.5, 0.333333333333."""
    text = f"{value:.{digits}g}"
    if "e" in text:
        text = f"{value:.{digits}f}".rstrip("0").rstrip(".") if abs(value) < 1 else repr(float(value))
    return "0" if text in ("-0", "") else text
