"""The way of a picture through R-CNN, Fast R-CNN and Faster R-CNN: regions, what is seen of them, and what is left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.boxes import decode_offsets
from detkit.detections import Detections
from detkit.detectors.base import Detector
from detkit.detectors.rcnn.fast_rcnn import FasterRcnn, FastRcnn
from detkit.detectors.rcnn.rcnn_detector import Rcnn
from detkit.detectors.rcnn.region_features import warp
from detkit.detectors.rcnn.regions import IOU
from detkit.detectors.rcnn.rpn import grid_anchors
from detkit.errors import ModelError
from detkit.images import Image
from detkit.inside.heat_pictures import coloured, grid
from detkit.inside.stages import Stage, boxed, heat_stage, suppression_stages
from detkit.proposals import Proposals
from detkit.proposals.proposal_pictures import draw_best

Floats = NDArray[np.float32]

_RCNN = "Girshick et al. 2014, section "
_FAST = "Girshick 2015, section "
_FASTER = "Ren et al. 2015, section "
_SHOWN = 50
_POOLED = 7


def region_stages(detector: Detector, image: Image) -> Iterator[Stage]:
    """The stages of `detkit rcnn`. ModelError for a graph that does all of them inside."""
    if isinstance(detector, Rcnn):
        yield from _rcnn_stages(detector, image)
    elif isinstance(detector, FastRcnn | FasterRcnn):
        yield from _roi_stages(detector, image)
    else:
        raise ModelError(f"{detector.path}: does all its steps inside its graph, so its stages cannot be shown")


def _rcnn_stages(detector: Rcnn, image: Image) -> Iterator[Stage]:
    prepared = detector.prepare(image)
    proposals = prepared.proposals
    yield _proposals(image, proposals, f"{_RCNN}2.1", "category-independent region proposals")
    (found,) = detector.detect([prepared])
    near = _nearest(proposals.boxes, found, 12)
    features = detector.features
    parts = [warp(image, proposals.boxes[k], features.size, features.context, features.picture.mean) for k in near]
    yield Stage(
        "warped", "Warped regions",
        f"Every proposal is stretched to {features.size[0]} x {features.size[1]} pixels with {features.context} pixels "
        "of what is around it; here those nearest to what was found, and the best.", f"{_RCNN}2.1, appendix A",
        grid(parts, [f"{k + 1}" for k in near], 6, 150),
    )  # fmt: skip
    yield from _scored(image, proposals.boxes, detector, found, _RCNN)


def _scored(image: Image, boxes: Floats, detector: Rcnn, found: Detections, source: str) -> Iterator[Stage]:
    every = Rcnn(detector.path, detector.selection, options=detector.options, nms="none", max_det=None)
    from detkit.detectors.rcnn.rcnn_detector import Proposed

    (before,) = every.detect([Proposed(image, Proposals(boxes, np.zeros(len(boxes), np.float32)))])
    iou = IOU if detector.selection.iou is None else detector.selection.iou
    yield from suppression_stages(image, before, iou, found, f"{source}2.2")


def _roi_stages(detector: FastRcnn | FasterRcnn, image: Image) -> Iterator[Stage]:
    prepared = detector.prepare(image)
    placement = prepared.placement
    outputs = detector.feature_map(prepared.tensor)
    features = outputs[0]
    canvas = _canvas(prepared.tensor)
    mean = np.abs(features[0]).mean(axis=0)
    yield heat_stage(
        "feature-map", "The feature map",
        f"The picture goes through the network once: {features.shape[1]} maps of {features.shape[3]} x "
        f"{features.shape[2]} cells; here the mean of their absolute values.", f"{_FAST}2", canvas, mean,
    )  # fmt: skip
    if isinstance(detector, FasterRcnn):
        yield from _rpn_stages(detector, canvas, outputs)
        _, rois = detector.propose(prepared)
        proposals = Proposals(placement.undo(rois), np.linspace(1, 0, len(rois), dtype=np.float32))
        yield _proposals(image, proposals, f"{_FASTER}3.3", "proposals of the region proposal network")
    else:
        assert prepared.proposals is not None
        rois = placement.apply(prepared.proposals)
        proposals = Proposals(prepared.proposals, np.linspace(1, 0, len(rois), dtype=np.float32))
        yield _proposals(image, proposals, f"{_FAST}2", "proposals from outside")
    (found,) = detector.detect([prepared])
    if not len(rois):
        return
    best = rois[_nearest(proposals.boxes, found, 1)[0]]
    yield Stage(
        "roi-grid", f"RoI pooling: {_POOLED} x {_POOLED} bins",
        "Each bin gives the maximum of each map over its cells. The region nearest to the best box.", f"{_FAST}2.1",
        _roi_grid(canvas, best, detector.stride), {"region": best.tolist(), "stride": detector.stride},
    )  # fmt: skip
    scores, offsets = detector.roi_head(features, rois)
    regions, classes = detector.selection.scored(scores, detector.names)
    moved = decode_offsets(rois[regions], offsets[regions, classes]) if len(regions) else rois[:0]
    before = Detections(placement.undo(moved.astype(np.float32)), scores[regions, classes], classes, detector.names)
    iou = IOU if detector.selection.iou is None else detector.selection.iou
    yield from suppression_stages(image, before, iou, found, f"{_FAST}2.4")


def _rpn_stages(detector: FasterRcnn, canvas: Image, outputs: list[NDArray[Any]]) -> Iterator[Stage]:
    _, scores, _ = outputs
    height, width = scores.shape[2:]
    anchors = grid_anchors((height, width), detector.stride, detector.anchors).reshape(height, width, -1, 4)
    objectness = anchor_objectness(scores[0])
    place = np.unravel_index(int(objectness.max(axis=0).argmax()), (height, width))
    picture = boxed(canvas, anchors[place])
    x, y = ((np.array(place[::-1]) + 0.5) * detector.stride).round().astype(int).tolist()
    cv2.circle(picture, (x, y), 4, (255, 60, 60), cv2.FILLED, cv2.LINE_AA)
    yield Stage(
        "anchors", "The anchors of a cell",
        f"{len(detector.anchors)} anchors stand on each of {width} x {height} cells, {detector.stride} pixels apart; "
        "here those of the cell that is surest of an object.", f"{_FASTER}3.1.1", picture,
        {"anchors": [list(shape) for shape in detector.anchors], "cell": [int(place[1]), int(place[0])]},
    )  # fmt: skip
    labels = [f"{wide:.0f} x {high:.0f}" for wide, high in detector.anchors]
    yield Stage(
        "objectness", "Objectness of each anchor",
        "How sure the proposal network is of an object, cell by cell, for each anchor's width and height.",
        f"{_FASTER}3.1", grid([coloured(one) for one in objectness], labels, 3, 180),
        {"highest": [float(one.max()) for one in objectness]},
    )  # fmt: skip


def anchor_objectness(scores: Floats) -> Floats:
    """Probabilities of an object (k, h, w) from the logits (2k, h, w), background and object of each anchor in turn."""
    pairs = scores.reshape(-1, 2, *scores.shape[1:]).astype(np.float64)
    return np.asarray(1 / (1 + np.exp(np.clip(pairs[:, 0] - pairs[:, 1], -80, 80))), np.float32)


def _proposals(image: Image, proposals: Proposals, source: str, what: str) -> Stage:
    count = len(proposals.boxes)
    return Stage(
        "proposals", what[0].upper() + what[1:],
        f"{count} {what}, the best {min(count, _SHOWN)} drawn, from yellow to violet.", source,
        draw_best(image, proposals, _SHOWN), {"proposals": count},
    )  # fmt: skip


def _nearest(boxes: Floats, found: Detections, count: int) -> list[int]:
    """The numbers of the regions nearest to what was found, best first, then the best regions."""
    from detkit.boxes import iou

    chosen: list[int] = []
    if len(found) and len(boxes):
        chosen = list(dict.fromkeys(iou(found.boxes, boxes.astype(found.boxes.dtype)).argmax(axis=1).tolist()))
    return list(dict.fromkeys([*chosen, *range(len(boxes))]))[:count]


def _canvas(tensor: NDArray[Any]) -> Image:
    """The picture in a tensor (3, H, W) RGB from 0 to 1."""
    return np.ascontiguousarray(np.rint(np.clip(tensor, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))


def _roi_grid(canvas: Image, box: Floats, stride: int) -> Image:
    picture = canvas.copy()
    for x in range(0, picture.shape[1], stride):
        cv2.line(picture, (x, 0), (x, picture.shape[0]), (120, 120, 120), 1)
    for y in range(0, picture.shape[0], stride):
        cv2.line(picture, (0, y), (picture.shape[1], y), (120, 120, 120), 1)
    x1, y1, x2, y2 = box.tolist()
    for k in range(_POOLED + 1):
        x, y = round(x1 + (x2 - x1) * k / _POOLED), round(y1 + (y2 - y1) * k / _POOLED)
        cv2.line(picture, (x, round(y1)), (x, round(y2)), (255, 220, 0), 1, cv2.LINE_AA)
        cv2.line(picture, (round(x1), y), (round(x2), y), (255, 220, 0), 1, cv2.LINE_AA)
    return boxed(picture, box[None])
