"""Which of several readings of a file the boxes themselves speak for.

Ids, category numbers and box layouts can often be read in two ways, and the wrong one gives figures near 0 without
an error. Detections lie on the objects of their picture, and mostly have the objects' classes: of a few thousand of
the detections it is counted how many do under each reading. A reading that is not the usual one is taken only where
it explains far more than the usual one does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.dataset import GroundTruth

SAMPLE = 4000
# A reading is believed where at least so many, and this share, of the sampled detections fit it.
FEWEST = 4
SHARE = 0.3
# And where it explains so many times what the usual reading does.
TIMES = 3.0
OVERLAP = 0.5
_MOST_PAIRS = 2_000_000


@dataclass(frozen=True)
class Fit:
    """How many of `count` detections fit a reading."""

    hits: int
    count: int

    @property
    def share(self) -> float:
        """Of the detections, 0 where there are none."""
        return self.hits / self.count if self.count else 0.0

    def beats(self, usual: Fit) -> bool:
        """Whether this reading is to be believed against the usual one."""
        return (
            self.hits >= FEWEST and self.share >= SHARE and self.hits >= TIMES * usual.hits and self.hits > usual.hits
        )


def sample(count: int, scores: NDArray[np.float64] | None = None) -> NDArray[np.int64]:
    """Rows of at most `SAMPLE` of the detections, spread over all of them; the better ones where scores are given."""
    rows = np.arange(count)
    if scores is not None and count > SAMPLE:
        some = scores[:: count // SAMPLE]  # enough to know the middle
        rows = np.flatnonzero(scores >= np.median(some))
    return rows if len(rows) <= SAMPLE else rows[np.linspace(0, len(rows) - 1, SAMPLE).astype(np.int64)]


def partners(target: GroundTruth, image_index: NDArray[np.int64], boxes: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each detection the row of the true box of its picture that it overlaps most, -1 below `OVERLAP`.

    image_index  int64 (D,), -1 for pictures that are not known; boxes float64 (D, 4), x, y, width, height
    """
    found = np.full(len(boxes), -1, np.int64)
    order = np.argsort(target.image_index, kind="stable")
    ends = np.cumsum(np.bincount(target.image_index, minlength=len(target.images)))
    starts = np.concatenate(([0], ends[:-1]))
    known = np.flatnonzero((image_index >= 0) & np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1))
    counts = (ends - starts)[image_index[known]]
    fitting = np.cumsum(counts) <= _MOST_PAIRS
    known, counts = known[fitting], counts[fitting]
    total = int(counts.sum())
    if not total:
        return found
    pair = np.repeat(known, counts)
    offset = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    truth = order[np.repeat(starts[image_index[known]], counts) + offset]
    own, other = boxes[pair], target.boxes[truth]
    low = np.maximum(own[:, :2], other[:, :2])
    high = np.minimum(own[:, :2] + own[:, 2:], other[:, :2] + other[:, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=1)
    union = np.prod(own[:, 2:], axis=1) + np.prod(other[:, 2:], axis=1) - both
    overlap = np.divide(both, union, out=np.zeros(total), where=union > 0)
    best = np.lexsort((truth, -overlap, pair))  # the best of each detection first
    first = np.concatenate(([True], pair[best][1:] != pair[best][:-1]))
    rows = best[first]
    good = overlap[rows] >= OVERLAP
    found[pair[rows[good]]] = truth[rows[good]]
    return found


def located(target: GroundTruth, image_index: NDArray[np.int64], boxes: NDArray[np.float64]) -> Fit:
    """How many detections lie on an object of their picture."""
    return Fit(int((partners(target, image_index, boxes) >= 0).sum()), len(boxes))
