"""What a network gives beside boxes, brought into the picture: masks, key points, turned boxes.

Masks are those of YOLACT (Bolya et al. 2019): a mask is the sum of the prototypes weighted by the box's coefficients,
positive where the object is, cut by the box. As in ultralytics' code, the sum is enlarged first and cut afterwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from detkit.boxes import Floats, clip
from detkit.boxes import iou as box_iou
from detkit.detections import PER_BOX, Detections
from detkit.detectors.selection import Selection
from detkit.detectors.yolo.heads.dense import sigmoid
from detkit.detectors.yolo.heads.types import Candidates, Layout
from detkit.graphs.enlarging import enlarging
from detkit.graphs.letterbox import Placement
from detkit.shapes.masks import Masks
from detkit.shapes.turned_boxes import enclosing, fast_nms, to_corners

# Boxes of a class that fast suppression looks at.
_MOST_OF_A_CLASS = 200


@dataclass(frozen=True, repr=False)
class WithRest(Detections):
    """Detections in input pixels with the column `rest` of their `Candidates`."""

    rest: Floats | None = field(default=None, metadata=PER_BOX)


def with_rest(candidates: Candidates, names: tuple[str, ...]) -> WithRest:
    """Candidates as detections, so that suppression carries along what lies beside the boxes."""
    return WithRest(candidates.boxes, candidates.scores, candidates.class_ids, names, rest=candidates.rest)


def turned_survivors(found: WithRest, iou: float, selection: Selection) -> Detections:
    """Fast suppression of turned boxes by ProbIoU, as their exporter does; see `turned_boxes.fast_nms`."""
    assert found.rest is not None
    overlap = iou if selection.iou is None else selection.iou
    kept = fast_nms(found.rest, found.scores, overlap, None if selection.agnostic else found.class_ids)
    return found[kept if selection.max_det is None else kept[: selection.max_det]]


def fast_survivors(found: WithRest, iou: float, selection: Selection) -> Detections:
    """Fast suppression (Bolya et al. 2019, section 3.3): a box goes where any better one of its class overlaps it more
    than `iou`, even one that is itself suppressed. Of each class the best 200 are looked at, as the authors' code does.
    """
    order = np.argsort(-found.scores, kind="stable")
    classes = np.zeros_like(found.class_ids) if selection.agnostic else found.class_ids
    kept = []
    for one in np.unique(classes).tolist():
        rows = order[classes[order] == one][:_MOST_OF_A_CLASS]
        overlaps = np.triu(box_iou(found.boxes[rows], found.boxes[rows]), 1)
        kept.append(rows[overlaps.max(axis=0, initial=0) <= iou])
    survivors = found[np.sort(np.concatenate(kept))] if kept else found
    return selection.suppressed(survivors, iou, method="none")


def in_picture(
    found: Detections, layout: Layout, placement: Placement, prototypes: Floats | None, *, cut: bool
) -> Detections:
    """Detections in input pixels as such of the picture, with masks, key points or corners where the layout has them.

    cut   whether boxes are cut at the borders of the picture. Key points are moved to them; corners stay outside
    Detections whose masks hold no pixel are left out.
    """
    boxes = placement.undo(found.boxes, cut=cut)
    rest = getattr(found, "rest", None)
    masks = keypoints = corners = None
    if rest is not None and layout.turned:
        corners = placement.undo_points(to_corners(rest))
        boxes = enclosing(corners).astype(np.float32)
        boxes = clip(boxes, *placement.source_size) if cut else boxes
    elif rest is not None and layout.points[0]:
        count, numbers = layout.points
        points = rest[:, : count * numbers].reshape(-1, count, numbers)
        seen = points[..., 2:3] if numbers > 2 else np.ones_like(points[..., :1])
        keypoints = np.concatenate((placement.undo_points(points[..., :2], cut=True), seen), axis=2)
    elif rest is not None and layout.coefficients and prototypes is not None:
        decode = cropped_masks if layout.cropped else decode_masks
        masks = decode(rest[:, : layout.coefficients], prototypes, boxes, placement)
    elif rest is not None and layout.maps and prototypes is not None:
        # Logits or probabilities, as the exporter had it: only logits fall below nought.
        threshold = 0.0 if prototypes.min(initial=0) < 0 else 0.5
        masks = pasted_maps(prototypes[rest[:, 0].astype(np.int64)], placement, threshold)
    shown = Detections(boxes, found.scores, found.class_ids, found.names, masks, keypoints, corners)
    return shown if masks is None else shown[masks.areas > 0]


def pasted_maps(maps: Floats, placement: Placement, threshold: float = 0.5) -> Masks:
    """Masks (N) of the picture from maps (N, h, w) of the whole input: where they are above `threshold`.

    The part with the picture in it is resized to the picture bilinearly. Maps may be coarser than the input.
    """
    return Masks.from_dense([placement.undo_map(one) > threshold for one in maps])


def cropped_masks(coefficients: Floats, prototypes: Floats, boxes: Floats, placement: Placement) -> Masks:
    """Masks (N) of the picture as YOLACT's authors make them; arguments as of `decode_masks`.

    The sigmoid of the weighted sum, cut by the box and a prototype's pixel around it, is resized to the picture
    bilinearly; what is above 0.5 belongs to the mask.
    """
    height, width = prototypes.shape[1:]
    across, down = width / placement.size[0], height / placement.size[1]
    edges = placement.apply(boxes.astype(np.float32)) * np.array([across, down] * 2, np.float32)
    masks = []
    for weights, (x1, y1, x2, y2) in zip(coefficients, edges.tolist(), strict=True):
        left, top = max(math.ceil(min(x1, x2) - 1), 0), max(math.ceil(min(y1, y2) - 1), 0)
        right, bottom = min(math.ceil(max(x1, x2) + 1), width), min(math.ceil(max(y1, y2) + 1), height)
        shares = np.zeros((height, width), np.float32)
        if right > left and bottom > top:
            summed = np.einsum("k,kij->ij", weights, prototypes[:, top:bottom, left:right])
            shares[top:bottom, left:right] = sigmoid(summed)
        masks.append(placement.undo_map(shares) > 0.5)
    return Masks.from_dense(masks)


def decode_masks(coefficients: Floats, prototypes: Floats, boxes: Floats, placement: Placement) -> Masks:
    """Masks (N) of the picture from coefficients (N, K), prototypes (K, h, w) and boxes (N, 4) xyxy of the picture.

    The weighted sum is resized to the input and its part with the picture in it to the picture, both bilinearly; what
    is above 0 and inside of the box (x1 <= x < x2) belongs to the mask. Only the pixels of each box are computed.
    """
    width, height = placement.source_size
    down, across = enlarging(placement, prototypes.shape[1:])
    windows = []
    for weights, box in zip(coefficients, boxes, strict=True):
        x1, y1, x2, y2 = np.clip(np.ceil(box), 0, (width, height) * 2).astype(int).tolist()
        if x2 <= x1 or y2 <= y1:
            windows.append((np.zeros((0, 0), bool), 0, 0))
            continue
        rows, columns = down.cut(y1, y2), across.cut(x1, x2)
        part = prototypes[:, rows.first : rows.last, columns.first : columns.last]
        # No matrix products: the threads of their libraries get in the way of the network's and of other pictures'.
        summed = np.einsum("k,kij->ij", weights, part)
        windows.append((columns.of(rows.of(summed).T).T > 0, x1, y1))
    return Masks.from_windows(windows, height, width)
