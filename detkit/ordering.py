"""The order of scored boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
ClassIds = NDArray[np.integer[Any]] | None


def best_first(scores: NDArray[np.floating[Any]]) -> Indices:
    """Indices that sort `scores` from high to low; equal scores keep their order, and NaN comes last."""
    # One unsigned key a row, unique by its index, sorts several times faster than a stable sort of floats does.
    bits = (np.nan_to_num(scores.astype(np.float32), nan=-np.inf) + 0.0).view(np.uint32)  # + 0.0: -0.0 is 0.0
    descending = np.where(bits >> 31, bits, ~bits & 0x7FFFFFFF).astype(np.uint64)
    keys = (descending << np.uint64(32)) | np.arange(len(bits), dtype=np.uint64)
    keys.sort()
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
