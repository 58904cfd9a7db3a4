"""The overlaps of the boxes of two sets of tracks, frame by frame, as one list of pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detkit.metrics.overlaps import overlapping_pairs
from detkit.tracks import TrackTable

EPS = float(np.finfo(np.float64).eps)  # TrackEval's tolerance at every threshold

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class FramePairs:
    """Boxes of the truth (G) and of a result (R) of one video, and the P pairs of one frame that overlap.

    frames                      number F of frames that hold a box of either; frames are numbered 0 .. F - 1 here
    truth_frame, result_frame   int64 (G,), (R,), ascending
    truth_id, result_id         int64 (G,), (R,), 0 .. number of tracks - 1
    truth, result               int64 (P,), rows of the two; ordered by result row, so by frame
    iou                         float64 (P,), above 0
    """

    frames: int
    truth_frame: Ints
    truth_id: Ints
    result_frame: Ints
    result_id: Ints
    truth: Ints
    result: Ints
    iou: NDArray[np.float64]

    @property
    def truth_tracks(self) -> int:
        return int(self.truth_id.max(initial=-1)) + 1

    @property
    def result_tracks(self) -> int:
        return int(self.result_id.max(initial=-1)) + 1

    def truth_start(self) -> Ints:
        """(F + 1,), where the truth of each frame begins."""
        return np.searchsorted(self.truth_frame, np.arange(self.frames + 1))

    def result_start(self) -> Ints:
        """(F + 1,), where the result of each frame begins."""
        return np.searchsorted(self.result_frame, np.arange(self.frames + 1))

    def where(self, pairs: NDArray[np.bool_] | Ints) -> FramePairs:
        """The same boxes with some of the pairs."""
        return replace(self, truth=self.truth[pairs], result=self.result[pairs], iou=self.iou[pairs])

    def without(self, truth_kept: NDArray[np.bool_], result_kept: NDArray[np.bool_]) -> FramePairs:
        """What is left where some boxes are taken away; tracks are numbered anew."""
        pairs = truth_kept[self.truth] & result_kept[self.result]
        return replace(
            self,
            truth_frame=self.truth_frame[truth_kept],
            truth_id=_renumbered(self.truth_id[truth_kept]),
            result_frame=self.result_frame[result_kept],
            result_id=_renumbered(self.result_id[result_kept]),
            truth=(np.cumsum(truth_kept) - 1)[self.truth[pairs]],
            result=(np.cumsum(result_kept) - 1)[self.result[pairs]],
            iou=self.iou[pairs],
        )


def frame_pairs(truth: TrackTable, result: TrackTable) -> tuple[FramePairs, Ints]:
    """The pairs of `truth` and `result`, and the rows (G,) of `truth` in the order used there."""
    frame = _renumbered(np.concatenate((truth.frames, result.frames)))
    # numbers of two bytes are sorted in linear time
    key = frame.astype(np.uint16) if frame.max(initial=0) < 1 << 16 else frame
    truth_order = np.argsort(key[: len(truth)], kind="stable")
    result_order = np.argsort(key[len(truth) :], kind="stable")
    truth_frame, result_frame = frame[: len(truth)][truth_order], frame[len(truth) :][result_order]
    truth_boxes, result_boxes = truth.boxes[truth_order], result.boxes[result_order]

    found = overlapping_pairs(
        result_frame,
        _xywh(result_boxes),
        truth_frame,
        _xywh(truth_boxes),
        np.zeros(len(truth), bool),
        np.finfo(np.float64).tiny,
    )
    pairs = FramePairs(
        int(frame.max(initial=-1)) + 1,
        truth_frame,
        _renumbered(truth.ids[truth_order]),
        result_frame,
        _renumbered(result.ids[result_order]),
        found.truth,
        found.detection,
        _iou(truth_boxes[found.truth], result_boxes[found.detection]),
    )
    return pairs.where(pairs.iou > 0), truth_order


def _iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU (P,) of P pairs, in TrackEval's order of operations: a last bit decides at a threshold."""
    width = np.maximum(np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0]), 0)
    height = np.maximum(np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1]), 0)
    overlap = width * height
    area_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    union = area_a + area_b - overlap
    real = (area_a > EPS) & (area_b > EPS) & (union > EPS)
    return np.asarray(np.divide(overlap, union, out=np.zeros_like(overlap), where=real))


def _xywh(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), axis=1)


def _renumbered(ids: Ints) -> Ints:
    """Numbers from 0 as 0, 1, 2 ... in the same order, without gaps."""
    if ids.max(initial=0) < 1 << 22:  # a table of all numbers, in place of sorting
        used = np.zeros(int(ids.max(initial=0)) + 1, bool)
        used[ids] = True
        return np.asarray((np.cumsum(used) - 1)[ids])
    return np.unique(ids, return_inverse=True)[1].astype(np.int64).reshape(-1)
