"""Connected regions of a label map as objects, each with a class and a mask; and the share that a class covers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.label_maps.palettes import IGNORED
from detkit.shapes.masks import Masks


@dataclass(frozen=True)
class Regions:
    """Connected regions, N of them, by class and within a class from the top left; class_ids int64 (N,)."""

    class_ids: NDArray[np.int64]
    masks: Masks

    def __len__(self) -> int:
        return len(self.class_ids)


def connected_regions(classes: NDArray[Any], left_out: Sequence[int] = (0, IGNORED), *, min_pixels: int = 1) -> Regions:
    """The regions of equal class numbers (H, W) whose pixels touch, also at corners; those of `left_out` are not taken.

    Regions of fewer than `min_pixels` are left out.
    """
    numbered = np.zeros(classes.shape, np.int32)
    owner: list[int] = []
    whole, values = Masks.from_labels(classes, background=left_out)
    for value, (x, y, width, height) in zip(values.tolist(), whole.bounds.tolist(), strict=True):
        window = (slice(y, y + height), slice(x, x + width))
        inside = (classes[window] == value).astype(np.uint8)
        found, parts = cv2.connectedComponents(inside, connectivity=8, ltype=cv2.CV_32S)
        numbered[window] += np.where(parts > 0, parts + len(owner), 0)
        owner += [value] * (found - 1)
    masks, _ = Masks.from_labels(numbered)
    class_ids = np.array(owner, np.int64)
    kept = masks.areas >= min_pixels
    return Regions(class_ids[kept], masks[kept])


def class_shares(classes: NDArray[Any], count: int) -> NDArray[np.float64]:
    """float64 (count,): the share of a picture's pixels (H, W) that each class covers."""
    pixels = np.bincount(classes.ravel(), minlength=count)[:count]
    return np.asarray(pixels / max(classes.size, 1))
