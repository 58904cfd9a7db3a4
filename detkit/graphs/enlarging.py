"""Bilinear resizing of a network's maps as weighted sums of a few neighbours, so that any part can be made alone.

A map goes from its own size to the input's, and the part with the picture in it to the picture's: two resizings in one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats
from detkit.graphs.letterbox import Placement


@dataclass(frozen=True)
class Taps:
    """How rows of an enlarged picture are made: row i is the sum over t of weights[i, t] times row places[i, t].

    first, last   the rows of the small picture that are used, last excluded; `places` count from `first`
    """

    places: NDArray[np.int64]
    weights: Floats
    first: int
    last: int

    def cut(self, begin: int, end: int) -> Taps:
        """Rows `begin` to `end` alone."""
        places = self.places[begin:end] + self.first
        first, last = int(places.min()), int(places.max()) + 1
        return Taps(places - first, self.weights[begin:end], first, last)

    def of(self, picture: Floats) -> Floats:
        """The rows, of a picture whose first row is `first`."""
        picture = np.ascontiguousarray(picture)
        total = picture[self.places[:, 0]]
        total *= self.weights[:, :1]
        for tap in range(1, self.places.shape[1]):
            total += picture[self.places[:, tap]] * self.weights[:, tap : tap + 1]
        return total


@lru_cache(maxsize=8)
def enlarging(placement: Placement, shape: tuple[int, int], *, direct: bool = False) -> tuple[Taps, Taps]:
    """How rows, and columns, of maps of `shape` (h, w) of the whole input make those of the picture.

    direct   of an input without padding, bring the maps to the picture's size at once and not to the input's first

    Resizing is linear, so the resized unit matrix holds the weights.
    """
    sides = zip(shape, placement.size[::-1], (placement.top, placement.left), placement.resized[::-1],
                placement.source_size[::-1], strict=True)  # fmt: skip
    taps = []
    for own, whole, before, inside, target in sides:
        content: Floats = np.eye(own, dtype=np.float32)
        if not direct or placement.resized != placement.size:
            in_input = cv2.resize(content, (own, whole), interpolation=cv2.INTER_LINEAR)
            content = np.ascontiguousarray(in_input[before : before + inside])
        matrix = np.asarray(cv2.resize(content, (own, target), interpolation=cv2.INTER_LINEAR), np.float32)
        # At most four neighbours have a weight: begin with the first and take as many as any row needs.
        used = matrix != 0
        begins = used.argmax(axis=1)
        most = int((own - used[:, ::-1].argmax(axis=1) - begins).max())
        places = np.minimum(begins, own - most)[:, None] + np.arange(most)
        taps.append(Taps(places, np.take_along_axis(matrix, places, axis=1), 0, own))
    return taps[0], taps[1]
