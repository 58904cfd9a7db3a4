"""`Polygons`: the rings of many objects as they are stored, drawn as masks when asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detkit.errors import InputError

Ring = NDArray[np.float64]


@dataclass(frozen=True)
class Polygons:
    """The rings of N objects, of which one may have none; what any ring covers belongs to the object.

    points   float64 (P, 2), x and y in pixels
    rings    int64 (R + 1,), ring r is points[rings[r]:rings[r + 1]], closed by itself
    objects  int64 (N + 1,), object n has the rings objects[n] to objects[n + 1]
    """

    points: NDArray[np.float64]
    rings: NDArray[np.int64]
    objects: NDArray[np.int64]

    @classmethod
    def from_rings(cls, objects: Sequence[Sequence[ArrayLike]]) -> Polygons:
        """From the rings of each object, x1, y1, x2, y2 ... or (K, 2) each. InputError where they are no numbers."""
        rings = [ring for own in objects for ring in own]
        try:
            flat = _flattened(rings)
        except (TypeError, ValueError, OverflowError, LookupError) as error:
            raise InputError("a polygon must be lists of numbers, x1, y1, x2, y2 ...") from error
        points, lengths = flat
        if (lengths % 2).any():
            odd = lengths[np.flatnonzero(lengths % 2)[0]]
            raise InputError(f"a ring has {odd} numbers; at least 3 points, x and y of each, are needed")
        counts = np.fromiter(map(len, objects), np.int64, len(objects))
        return cls(points.reshape(-1, 2), _starts(lengths // 2), _starts(counts))

    def __len__(self) -> int:
        return len(self.objects) - 1

    def __getitem__(self, index: Any) -> Polygons:
        """The objects that a boolean array, an index array or a slice selects; an integer selects one."""
        rows = np.atleast_1d(np.arange(len(self))[index])
        ring_rows, objects = _taken(self.objects, rows)
        point_rows, rings = _taken(self.rings, ring_rows)
        return Polygons(self.points[point_rows], rings, objects)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Polygons):
            return NotImplemented
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in ("points", "rings", "objects"))

    @property
    def counts(self) -> NDArray[np.int64]:
        """int64 (N,): the rings of each object."""
        return np.diff(self.objects)

    def of(self, row: int) -> list[Ring]:
        """The rings of one object, (K, 2) each."""
        return [
            self.points[self.rings[ring] : self.rings[ring + 1]]
            for ring in range(int(self.objects[row]), int(self.objects[row + 1]))
        ]

    def lists(self) -> list[list[list[float]]]:
        """For each object its rings, x1, y1, x2, y2 ... each: COCO's `segmentation`."""
        flat = self.points.ravel().tolist()
        ends = (2 * self.rings).tolist()
        rings = [flat[begin:end] for begin, end in pairwise(ends)]
        places = self.objects.tolist()
        return [rings[begin:end] for begin, end in pairwise(places)]

    @property
    def bounds(self) -> NDArray[np.float64]:
        """float64 (N, 4): x, y, width and height around the points of each object, zeros where it has none."""
        result = np.zeros((len(self), 4))
        first, last = self.rings[self.objects[:-1]], self.rings[self.objects[1:]]
        some = np.flatnonzero(last > first)
        if len(some):
            low = np.minimum.reduceat(self.points, first[some], axis=0)
            high = np.maximum.reduceat(self.points, first[some], axis=0)
            result[some] = np.concatenate((low, high - low), axis=1)
        return result

    @classmethod
    def concatenate(cls, parts: Iterable[Polygons]) -> Polygons:
        """All objects of `parts` in their order."""
        kept = [part for part in parts if len(part)]
        if not kept:
            return cls.from_rings([])
        lengths, counts = (
            np.concatenate([np.diff(getattr(part, name)) for part in kept]) for name in ("rings", "objects")
        )
        return cls(np.concatenate([part.points for part in kept]), _starts(lengths), _starts(counts))


def _flattened(rings: Sequence[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All numbers of rings in a row, and how many each has."""
    if any(isinstance(ring, np.ndarray) or (len(ring) and np.ndim(ring[0])) for ring in rings):
        arrays = [np.asarray(ring, np.float64).ravel() for ring in rings]
        lengths = np.array([len(array) for array in arrays], np.int64)
        return np.concatenate(arrays) if arrays else np.zeros(0), lengths
    lengths = np.fromiter(map(len, rings), np.int64, len(rings))
    return np.fromiter(chain.from_iterable(rings), np.float64, int(lengths.sum())), lengths


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)))


def _taken(starts: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The members of the groups `rows`, and where each of these groups begins among them."""
    lengths = np.diff(starts)[rows]
    new = _starts(lengths)
    return np.repeat(starts[rows] - new[:-1], lengths) + np.arange(new[-1]), new
