"""Anchors that suit a data set: k-means over widths and heights, with 1 - IoU as the distance.

J. Redmon, A. Farhadi, "YOLO9000: Better, Faster, Stronger", 2017, section 2, "Dimension Clusters":
d(box, centroid) = 1 - IoU(box, centroid), where both lie on one point. The paper does not say what a new centroid is:
here it is the mean width and height of its boxes. That does not lower the distance in every step, so the best
centroids that were met are the result.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

_STARTS = 10  # random beginnings, of which the best goes on
_MOST_TO_START = 10_000  # boxes that choose among them
_STEPS = 100
_BLOCK = 100_000  # boxes whose overlaps are in memory together


class Anchors(NamedTuple):
    """`sizes` (k, 2), widths and heights from the smallest area on; the mean over the boxes of their best IoU."""

    sizes: Doubles
    mean_iou: float


def size_iou(boxes: Doubles, anchors: Doubles) -> Doubles:
    """IoU (N, k) of widths and heights (N, 2) with those of anchors (k, 2), all of them centred on one point."""
    overlap = np.minimum(boxes[:, None, 0], anchors[:, 0]) * np.minimum(boxes[:, None, 1], anchors[:, 1])
    return np.asarray(overlap / (boxes.prod(axis=1)[:, None] + anchors.prod(axis=1) - overlap))


def anchor_clusters(boxes: Doubles, k: int, seed: int = 0) -> Anchors:
    """The k anchors of widths and heights `boxes` (N, 2), all above 0, N at least 1.

    Where boxes have fewer than k different sizes, those are the anchors.
    """
    kinds, counts = np.unique(boxes, axis=0, return_counts=True)
    if len(kinds) <= k:
        return Anchors(kinds[np.argsort(kinds.prod(axis=1), kind="stable")], 1.0)
    rng = np.random.default_rng((seed, k))
    sample = boxes
    if len(boxes) > _MOST_TO_START:
        sample = boxes[rng.choice(len(boxes), _MOST_TO_START, replace=False)]
    some, often = np.unique(sample, axis=0, return_counts=True)
    tries = [improved(some, often, _spread(some, often, k, rng)) for _ in range(_STARTS)]
    best = max(tries, key=lambda one: one.mean_iou)
    if sample is not boxes:
        best = improved(kinds, counts, best.sizes)
    return Anchors(best.sizes[np.argsort(best.sizes.prod(axis=1), kind="stable")], best.mean_iou)


def _spread(kinds: Doubles, counts: NDArray[np.int64], k: int, rng: np.random.Generator) -> Doubles:
    """k boxes to begin with: each drawn by its distance to those before (Arthur and Vassilvitskii 2007, k-means++)."""
    chosen = [int(rng.choice(len(kinds), p=counts / counts.sum()))]
    nearest = 1 - size_iou(kinds, kinds[chosen])[:, 0]
    while len(chosen) < min(k, len(kinds)):
        weights = counts * np.maximum(nearest, 0)
        weights[chosen] = 0
        total = weights.sum()
        chosen.append(int(rng.choice(len(kinds), p=weights / total)))
        nearest = np.minimum(nearest, 1 - size_iou(kinds, kinds[chosen[-1:]])[:, 0])
    return kinds[chosen]


def _nearest(kinds: Doubles, anchors: Doubles) -> tuple[NDArray[np.int64], Doubles]:
    """Of each box the anchor with the highest IoU, the first of equals, and that IoU."""
    owner, best = np.empty(len(kinds), np.int64), np.empty(len(kinds))
    for start in range(0, len(kinds), _BLOCK):
        part = slice(start, start + _BLOCK)
        overlaps = size_iou(kinds[part], anchors)
        owner[part] = overlaps.argmax(axis=1)
        best[part] = overlaps.max(axis=1)
    return owner, best


def improved(kinds: Doubles, counts: NDArray[np.int64], anchors: Doubles) -> Anchors:
    """The best centroids that k-means meets from `anchors` on, over sizes (U, 2) that occur `counts` times."""
    before: NDArray[np.int64] | None = None
    best = Anchors(anchors, -1.0)
    for _ in range(_STEPS):
        owner, overlaps = _nearest(kinds, anchors)
        mean = float((overlaps * counts).sum() / counts.sum())
        if mean > best.mean_iou:
            best = Anchors(anchors, mean)
        if before is not None and np.array_equal(owner, before):
            break
        before = owner
        members = np.bincount(owner, counts, len(anchors))
        sums = [np.bincount(owner, counts * kinds[:, axis], len(anchors)) for axis in (0, 1)]
        moved = np.stack(sums, axis=1) / np.maximum(members, 1)[:, None]
        anchors = np.where(members[:, None] > 0, moved, anchors)
    return best
