"""Tracks of one video as a table: one row for each box of each track in each frame."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError

NO_CLASS = -1


@dataclass(frozen=True)
class TrackTable:
    """N boxes of tracks, in any order. Rows are selected by indexing: `table[mask]`.

    frames      int64 (N,), number of the frame; MOTChallenge counts from 1
    ids         int64 (N,), number of the track, at least 0
    boxes       float64 (N, 4), x1, y1, x2, y2 in pixels
    scores      float64 (N,); in a ground truth 0 marks a row that does not count
    class_ids   int64 (N,), NO_CLASS (-1) where there are no classes

    InputError where the lengths do not agree, or where a frame holds a track twice.
    """

    frames: NDArray[np.int64]
    ids: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    class_ids: NDArray[np.int64]

    def __post_init__(self) -> None:
        count = len(self.frames)
        for field in fields(self):
            shape = (count, 4) if field.name == "boxes" else (count,)
            actual = getattr(self, field.name).shape
            if actual != shape:
                raise InputError(f"tracks: {field.name} must have shape {shape}, got {actual}")
        twice = first_repeated(self.frames, self.ids)
        if twice is not None:
            row = twice[1]
            raise InputError(f"tracks: frame {self.frames[row]} holds track {self.ids[row]} twice")

    @classmethod
    def empty(cls) -> TrackTable:
        whole = np.zeros(0, np.int64)
        return cls(whole, whole, np.zeros((0, 4)), np.zeros(0), whole)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, rows: Any) -> TrackTable:
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def in_order(self) -> TrackTable:
        """Rows by frame, then by track."""
        return self[np.lexsort((self.ids, self.frames))]


def first_repeated(frames: NDArray[np.int64], ids: NDArray[np.int64]) -> tuple[int, int] | None:
    """The first row that repeats frame and id of an earlier one, as (earlier row, row); None where all differ."""
    order = np.lexsort((ids, frames))  # stable: equal pairs stay in the order of their rows
    same = (np.diff(frames[order]) == 0) & (np.diff(ids[order]) == 0)
    if not same.any():
        return None
    places = np.flatnonzero(same)
    place = places[np.argmin(order[places + 1])]
    return int(order[place]), int(order[place + 1])
