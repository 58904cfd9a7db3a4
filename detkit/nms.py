"""Non-maximum suppression: of boxes that show the same object, keep the best.

The functions take boxes (N, 4) xyxy, scores (N,) and, for suppression within a class only, class_ids (N,); without
class_ids all boxes compete ("class-agnostic"). They return indices into the input, best score first; equal scores
keep the order of the input. `suppress` applies one of them to `Detections`.

Few boxes are handled by numpy. From about five hundred of one class on, `nms_kernels` (numba) looks only at the
kept boxes nearby, so the cost grows with the number of boxes and not with its square.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats, diou, iou
from detkit.detections import Detections
from detkit.errors import UsageError
from detkit.ordering import ClassIds, Indices, best_first

Method = Literal["greedy", "soft", "diou", "wbf", "none"]
METHODS: tuple[Method, ...] = get_args(Method)


# Pairs within classes up to which full IoU matrices are quicker than loading the compiled loops.
_PAIRS_FOR_NUMPY = 250_000


def suppress(
    detections: Detections,
    method: Method = "greedy",
    iou_threshold: float = 0.5,
    *,
    agnostic: bool = False,
    max_detections: int | None = None,
    min_score: float = 0.001,
) -> Detections:
    """The detections that survive, best first. With `agnostic`, boxes of different classes compete as well.

    "soft" lowers scores, drops those that fall below `min_score` and has no use for the threshold; "wbf" moves boxes
    and averages scores; the other methods only drop rows. "none" sorts and cuts to `max_detections`, for networks that
    suppress by themselves.
    """
    boxes, scores = detections.boxes, detections.scores
    class_ids = None if agnostic else detections.class_ids
    if method == "greedy":
        kept = detections[greedy_nms(boxes, scores, iou_threshold, class_ids)]
    elif method == "diou":
        kept = detections[diou_nms(boxes, scores, iou_threshold, class_ids)]
    elif method == "soft":
        indices, lowered = soft_nms(boxes, scores, class_ids=class_ids, score_threshold=max(min_score, 0.001))
        kept = replace(detections[indices], scores=lowered)
    elif method == "wbf":
        indices, fused, averaged = weighted_box_fusion(boxes, scores, iou_threshold, class_ids)
        kept = replace(detections[indices], boxes=fused, scores=averaged)
    else:
        kept = detections[best_first(scores)]
    return kept if max_detections is None else kept[:max_detections]


def greedy_nms(boxes: Floats, scores: Floats, iou_threshold: float, class_ids: ClassIds = None) -> Indices:
    """Keep the best box, drop those whose IoU with it is above the threshold, go on with the rest.

    >>> boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [30, 30, 40, 40]], np.float32)
    >>> greedy_nms(boxes, np.array([0.8, 0.9, 0.7], np.float32), 0.5).tolist()
    [1, 2]
    """
    return _greedy(boxes, scores, iou_threshold, class_ids, distance=False)


def diou_nms(boxes: Floats, scores: Floats, threshold: float, class_ids: ClassIds = None) -> Indices:
    """Greedy suppression by Distance IoU (Zheng et al. 2020, eq. 12): near centres count as more overlap."""
    return _greedy(boxes, scores, threshold, class_ids, distance=True)


def soft_nms(
    boxes: Floats,
    scores: Floats,
    *,
    class_ids: ClassIds = None,
    sigma: float = 0.5,
    score_threshold: float = 0.001,
) -> tuple[Indices, Floats]:
    """Gaussian Soft-NMS (Bodla et al. 2017, eq. 3): overlapping boxes are not dropped, their score decays.

    Each time a box is taken, the scores of the others are multiplied by exp(-IoU^2 / sigma). Boxes that fall below
    `score_threshold` are left out. Returns indices and the lowered scores, best first.
    """
    from detkit.nms_kernels import soft_kernel

    order, starts = _by_class(scores, class_ids)
    lowered = soft_kernel(_contiguous(boxes, order), scores[order].astype(np.float64), starts, sigma, score_threshold)
    kept = np.flatnonzero(lowered >= score_threshold)
    indices = order[kept]
    lowered = lowered[kept].astype(np.float32)
    best = np.lexsort((indices, -lowered))
    return indices[best], lowered[best]


def weighted_box_fusion(
    boxes: Floats, scores: Floats, iou_threshold: float, class_ids: ClassIds = None
) -> tuple[Indices, Floats, Floats]:
    """Weighted boxes fusion (Solovyev et al. 2021, eqs. 1 to 3) of the boxes of one network.

    Best scores first, a box joins the cluster whose fused box it overlaps most, if by more than the threshold. A fused
    box is the mean of its members weighted by score; its score is the mean of theirs (the paper's rescaling by the
    number of models is 1 for one model). Returns the index of each cluster's best member, the fused boxes and their
    scores, best first.
    """
    from detkit.nms_kernels import fusion_kernel

    _check_threshold(iou_threshold)
    order, starts = _by_class(scores, class_ids)
    first, fused, averaged = fusion_kernel(
        _contiguous(boxes, order).astype(np.float64), scores[order].astype(np.float64), starts, iou_threshold
    )
    averaged = averaged.astype(np.float32)
    indices = order[first]
    best = np.lexsort((indices, -averaged))
    return indices[best], fused[best].astype(np.float32), averaged[best]


def _greedy(boxes: Floats, scores: Floats, threshold: float, class_ids: ClassIds, distance: bool) -> Indices:
    _check_threshold(threshold)
    order, starts = _by_class(scores, class_ids)
    arranged = _contiguous(boxes, order)
    counts = np.diff(starts)
    if int((counts**2).sum()) <= _PAIRS_FOR_NUMPY:
        kept = np.zeros(len(order), bool)
        for start, count in zip(starts.tolist(), counts.tolist(), strict=False):
            block = slice(start, start + count)
            kept[block] = _greedy_by_matrix(arranged[block], threshold, distance)
    else:
        from detkit.nms_kernels import greedy_kernel

        kept = greedy_kernel(arranged, starts, float(threshold), distance)
    indices = order[kept]
    if class_ids is None:
        return indices
    indices.sort()  # so that equal scores of different classes keep the order of the input
    return indices[best_first(scores[indices])]


def _greedy_by_matrix(boxes: Floats, threshold: float, distance: bool) -> NDArray[np.bool_]:
    """Which of the boxes of one class, best first, are kept."""
    kept = np.ones(len(boxes), bool)
    if len(boxes) < 2:
        return kept
    overlap = diou(boxes, boxes) if distance else iou(boxes, boxes)
    above = overlap > np.float64(threshold)  # compared in double precision, as torchvision does
    np.fill_diagonal(above, False)
    for row in np.flatnonzero(above.any(axis=1)):
        if kept[row]:
            kept[row + 1 :] &= ~above[row, row + 1 :]
    return kept


def _by_class(scores: Floats, class_ids: ClassIds) -> tuple[Indices, Indices]:
    """Order by class, then best score first, and the position where each class starts, with the end appended."""
    order = best_first(scores)
    if class_ids is None or len(order) == 0:
        return order, np.array([0, len(order)])
    classes = np.asarray(class_ids)[order]
    by_class = np.argsort(classes, kind="stable")
    changes = np.flatnonzero(np.diff(classes[by_class])) + 1
    return order[by_class], np.concatenate(([0], changes, [len(order)]))


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold <= 1:
        raise UsageError(f"an overlap threshold lies between 0 and 1, got {threshold:g}")


def _contiguous(boxes: Floats, order: Indices) -> Floats:
    return np.ascontiguousarray(boxes[order], dtype=np.float32)
