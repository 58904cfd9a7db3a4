"""Who found what: detections matched to true boxes, greedily by score, for all images and classes at once.

A loop over detections would need a compiler to be quick; importing one (0.4 s) takes longer than the whole
matching. But nearly every true box at a given overlap is wanted by detections that want no other: there the best
one takes it, which is one array operation for all of them. Only the detections in a real contest (two true boxes
within reach) are gone through in turn, all images and thresholds in step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.metrics.overlaps import Pairs


@dataclass(frozen=True)
class Matches:
    """For A ways of ignoring and T thresholds, the true box of each of the C detections that overlap any.

    detection   int64 (C,), positions, rising; all others are unmatched
    truth       int32 (A, T, C), the row of the true box, or -1
    """

    detection: NDArray[np.int64]
    truth: NDArray[np.int32]


def match_greedily(
    pairs: Pairs,
    cells: NDArray[np.int64],
    thresholds: NDArray[np.float64],
    ignored: NDArray[np.bool_],
    crowd: NDArray[np.bool_],
) -> Matches:
    """COCO's matching (pycocotools `evaluateImg`), for all images, classes, area ranges and thresholds.

    pairs       pairs of at least the lowest threshold, detections by position (see `Ranking`)
    cells       int64 (N,), image and class of each position as one number
    thresholds  float64 (T,), overlaps at which a pair counts
    ignored     bool (A, M), true boxes that count neither for nor against, per area range
    crowd       bool (M,), true boxes that any number of detections may share

    Best score first, each detection takes, of the true boxes still free (a crowd always is) with at least the
    threshold, the one of the highest overlap among those not ignored, else among the ignored; of equal overlaps
    the later true box.

    Time O(P T log P) for P pairs, in about as many steps as the largest contest within one image has detections.
    """
    detection, local = np.unique(pairs.detection, return_inverse=True)
    ways, truths = ignored.shape
    truth = np.full((ways, len(thresholds), len(detection)), -1, dtype=np.int32)
    contests = []
    for t, threshold in enumerate(thresholds):
        at = np.flatnonzero(pairs.iou >= min(threshold, 1 - 1e-10))
        wants, wanted = local[at], pairs.truth[at]
        contested = np.bincount(wants, minlength=len(detection))[wants] > 1
        fought_over = np.zeros(truths, dtype=bool)
        fought_over[wanted[contested]] = True
        contested = fought_over[wanted]
        contests.append((np.full(np.count_nonzero(contested), t), at[contested]))

        wants, wanted = wants[~contested], wanted[~contested]
        first = np.full(truths, -1)
        first[wanted[::-1]] = wants[::-1]  # the last to be written is the best detection
        wins = (first[wanted] == wants) | crowd[wanted]
        truth[:, t, wants[wins]] = wanted[wins]

    t_of, pair = (np.concatenate(parts) for parts in zip(*contests, strict=True))
    if len(pair):
        _settle(truth, t_of, local[pair], pairs.truth[pair], pairs.iou[pair], cells[detection], ignored, crowd)
    return Matches(detection, truth)


def _settle(
    truth: NDArray[np.int32],
    t_of: NDArray[np.int64],
    wants: NDArray[np.int64],
    wanted: NDArray[np.int64],
    iou: NDArray[np.float64],
    cells: NDArray[np.int64],
    ignored: NDArray[np.bool_],
    crowd: NDArray[np.bool_],
) -> None:
    """Write into `truth` (A, T, C) the matches of the contested pairs (threshold, detection, true box), in turns.

    Turn n is the n-th contested detection of every image, class and threshold: no two of them want the same box.
    """
    ways, truths = ignored.shape
    taken = np.zeros((ways, truth.shape[1] * truths), dtype=bool)

    # pairs of one detection together, least wanted first: the last one that is free is taken
    order = np.lexsort((wanted, iou, wants, t_of))
    t_of, wants, wanted = t_of[order], wants[order], wanted[order]
    begins = np.flatnonzero(np.append(True, (wants[1:] != wants[:-1]) | (t_of[1:] != t_of[:-1])))
    counts = np.diff(np.append(begins, len(wants)))
    turn = _turns(t_of[begins], cells[wants[begins]])

    # by turn: the pairs of a turn become one slice
    by_turn = np.argsort(turn, kind="stable")
    counts = counts[by_turn]
    offsets = np.concatenate(([0], np.cumsum(counts)))
    index = np.repeat(begins[by_turn] - offsets[:-1], counts) + np.arange(len(wants))
    t_of, wants, wanted = t_of[index], wants[index], wanted[index]
    slot = t_of * truths + wanted
    counted = ~ignored[:, wanted]
    shared = crowd[wanted]
    turns = np.concatenate(([0], np.cumsum(np.bincount(turn))))

    for low, high in zip(turns[:-1].tolist(), turns[1:].tolist(), strict=True):
        begin, end = offsets[low], offsets[high]
        some = slice(begin, end)
        size = end - begin
        free = ~taken[:, slot[some]] | shared[some]
        # (A, pairs): pairs that count lie above all ignored ones; -1 cannot be had
        worth = np.where(free, np.arange(size) + size * counted[:, some], -1)
        best = np.maximum.reduceat(worth, offsets[low:high] - begin, axis=1)
        way, won = np.nonzero(best >= 0)
        pair = best[way, won] % size + begin
        taken[way, slot[pair]] = True
        truth[way, t_of[pair], wants[pair]] = wanted[pair]


def _turns(t_of: NDArray[np.int64], cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """For detections ordered by threshold, then by position: how many of the same threshold and cell precede."""
    order = np.lexsort((cells, t_of))  # stable: by position within
    first = np.append(True, (np.diff(cells[order]) != 0) | (np.diff(t_of[order]) != 0))
    index = np.arange(len(order))
    turn = np.empty(len(order), dtype=np.int64)
    turn[order] = index - np.maximum.accumulate(np.where(first, index, 0))
    return turn
