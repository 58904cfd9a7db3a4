"""The life of tracks: tentative, confirmed, lost, removed. Times are seconds.

A track is tentative from its first detection, and confirmed from its `confirm`-th; only then it gets its number, so
numbers have no gaps. It is lost while confirmed and not seen. It is removed when a frame has come without it and its
last detection is further back than `lost` seconds, or `tentative` seconds while it is not confirmed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from detkit.tracking.motion import Rows

Ints = NDArray[np.int64]


@dataclass
class Lives:
    """The state of T tracks, in rows; arrays (T,).

    serials   from 1, of every track that ever began, confirmed or not
    ids       from 1 in the order of confirmation; 0 while tentative
    born      seconds, first detection
    seen      seconds, last detection
    hits      detections so far
    missed    whether the last frame came without the track
    votes     (T, K), detections of each class in `classes`
    """

    serials: Ints
    ids: Ints
    born: NDArray[np.float64]
    seen: NDArray[np.float64]
    hits: Ints
    missed: NDArray[np.bool_]
    latest: Ints
    votes: Ints
    classes: Ints
    begun: int = 0
    confirmed_ever: int = 0

    @classmethod
    def none(cls) -> Lives:
        whole, real = np.zeros(0, np.int64), np.zeros(0)
        return cls(whole, whole, real, real, whole, np.zeros(0, bool), whole, np.zeros((0, 0), np.int64), whole)

    def __len__(self) -> int:
        return len(self.serials)

    @property
    def confirmed(self) -> NDArray[np.bool_]:
        return self.ids > 0

    def keep(self, rows: Rows) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray) and field.name != "classes":
                setattr(self, field.name, value[rows])

    def begin(self, class_ids: Ints, time: float) -> Ints:
        """Tracks that are first seen now, with the class of their detection; their rows."""
        count, before = len(class_ids), len(self)
        zeros = np.zeros(count, np.int64)
        self.serials = np.concatenate((self.serials, self.begun + 1 + np.arange(count)))
        self.ids = np.concatenate((self.ids, zeros))
        self.born = np.concatenate((self.born, np.full(count, time)))
        self.seen = np.concatenate((self.seen, np.full(count, time)))
        self.hits = np.concatenate((self.hits, zeros))
        self.missed = np.concatenate((self.missed, np.zeros(count, bool)))
        self.latest = np.concatenate((self.latest, class_ids))
        self.votes = np.concatenate((self.votes, np.zeros((count, self.votes.shape[1]), np.int64)))
        self.begun += count
        return np.arange(before, before + count)

    def see(self, rows: Ints, class_ids: Ints, time: float, confirm: int) -> None:
        """The tracks `rows` are seen, each with a detection of a class; they are numbered in the order of `rows`."""
        self.hits[rows] += 1
        self.seen[rows] = time
        self.latest[rows] = class_ids
        columns = self._columns(class_ids)  # may widen `votes`
        self.votes[rows, columns] += 1
        new = rows[(self.hits[rows] >= confirm) & (self.ids[rows] == 0)]
        self.ids[new] = self.confirmed_ever + 1 + np.arange(len(new))
        self.confirmed_ever += len(new)

    def class_ids(self) -> Ints:
        """(T,): the class that most detections of each track have; the latest of them where several have most."""
        if not len(self):
            return np.zeros(0, np.int64)
        latest = self.classes[None, :] == self.latest[:, None]
        return np.asarray(self.classes[np.argmax(2 * self.votes + latest, axis=1)])

    def expired(self, time: float, lost: float, tentative: float) -> NDArray[np.bool_]:
        """(T,): the tracks to be removed at `time`."""
        return self.missed & (time - self.seen > np.where(self.confirmed, lost, tentative))

    def _columns(self, class_ids: Ints) -> Ints:
        """The columns of `votes` for classes; makes those that are new."""
        if len(self.classes) == 1 and (class_ids == self.classes[0]).all():
            return np.zeros(len(class_ids), np.int64)
        new = np.setdiff1d(class_ids, self.classes)
        if len(new):
            self.classes = np.concatenate((self.classes, new))
            self.votes = np.concatenate((self.votes, np.zeros((len(self), len(new)), np.int64)), axis=1)
        order = np.argsort(self.classes)
        return order[np.searchsorted(self.classes, class_ids, sorter=order)]
