"""Fast R-CNN (Girshick, 2015) and Faster R-CNN (Ren, He, Girshick and Sun, 2015).

    image -> feature map, once (Fast, section 2) -> regions of interest: proposals from outside (Fast), or from the
    region proposal network on the same map (Faster, section 3) -> RoI max pooling 7 x 7 (Fast, 2.1)
        -> softmax over the classes and box offsets for each class (2.1) -> suppression for each class (2.4)

The file is one ONNX graph of separable parts, as `detkit.training.rcnn` exports it:

    images (1, 3, H, W) RGB 0..1  ->  feature_map (1, C, h, w); with a proposal network rpn_scores (1, 2k, h, w) and
                                      rpn_offsets (1, 4k, h, w)
    features (1, C, h, w), rois (R, 5)  ->  class_scores (R, classes + 1), background first, and
                                            box_offsets (R, classes, 4)

RoI pooling is the operator MaxRoiPool, which onnxruntime computes as the paper describes it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.annotations.class_names import names_from_metadata
from detkit.boxes import decode_offsets
from detkit.detections import Detections
from detkit.detectors.base import Detector
from detkit.detectors.rcnn.region_proposals import REGIONS, from_file, proposal_source
from detkit.detectors.rcnn.regions import RegionOptions, suppressed
from detkit.detectors.rcnn.rpn import PROPOSAL_IOU, grid_anchors, propose
from detkit.detectors.selection import Selection
from detkit.errors import ModelError
from detkit.graphs.editing import load, part_of
from detkit.graphs.letterbox import Placement, letterbox
from detkit.graphs.preparation import PixelFormat, Preparation
from detkit.graphs.registry import RUN_IN_PARTS, resolve
from detkit.graphs.runtime import Runtime
from detkit.graphs.session import Network
from detkit.graphs.stored import metadata_of
from detkit.images import Image
from detkit.proposals import Proposals
from detkit.settings import settled

if TYPE_CHECKING:
    from onnx import ModelProto

Floats = NDArray[np.float32]

_RPN_PROPOSALS = 300  # a picture (Ren et al. 2015, section 3.3)


@dataclass(frozen=True)
class Prepared:
    """A picture on its way: its tensor (3, H, W), where it lies in it, and its proposals in its own pixels, if any."""

    tensor: NDArray[Any]
    placement: Placement
    proposals: Floats | None = None


class _RoiDetector(Detector):
    """What both detectors share: the feature map, the RoI head, and what becomes of its outputs."""

    def __init__(
        self,
        model: str | os.PathLike[str] | None,
        selection: Selection,
        runtime: Runtime,
        options: RegionOptions,
        variant: str,
    ) -> None:
        extra = ("rpn_scores", "rpn_offsets") if variant == "faster" else ()
        self.selection, self.options = selection, options.without_idle(variant)
        self.path = path = resolve(model, f"{variant}-rcnn")
        metadata = metadata_of(path)
        if metadata.get("head") not in RUN_IN_PARTS:
            raise ModelError(f"{path}: is no Fast or Faster R-CNN of detkit (see detkit train rcnn)")
        if metadata["head"] == "fast-rcnn" and extra:
            raise ModelError(f"{path}: has no region proposal network: it is a Fast R-CNN, --variant fast")
        self.metadata = metadata
        graph = load(path)
        self.network = self._part(graph, ("feature_map", *extra), runtime)
        self._head = self._part(graph, ("class_scores", "box_offsets"), runtime)
        self.names = names_from_metadata(metadata)
        try:
            self.stride = int(metadata["stride"])
            self.preparation = Preparation(fit="top-left", dynamic="aspect", size=int(metadata["size"]))
        except (KeyError, ValueError) as error:
            raise ModelError(f"{path}: its metadata lack a size or a stride") from error
        selection.wanted(self.names)  # says now what it would say at the first picture

    def _part(self, graph: ModelProto, outputs: Sequence[str], runtime: Runtime) -> Network:
        """A session of the part of the graph that makes `outputs`; the other parts are not run with it."""
        try:
            content = part_of(graph, outputs).SerializeToString()
        except ModelError as error:
            raise ModelError(f"{self.path}: {error}") from error
        return Network(str(self.path), runtime, content=bytes(content))

    def about(self) -> list[str]:
        """The network, and what runs it."""
        return [self.network.about()]

    def feature_map(self, tensor: NDArray[Any]) -> list[NDArray[Any]]:
        """The feature map (1, C, h, w) of a picture's tensor (3, H, W), and what the proposal network says of it."""
        return self.network.run({"images": tensor[None]})

    def roi_head(self, features: NDArray[Any], rois: Floats) -> tuple[Floats, Floats]:
        """Class probabilities (R, classes) without background's, and offsets (R, classes, 4), of rois (R, 4) xyxy."""
        count = len(self.names)
        if not len(rois):
            return np.zeros((0, count), np.float32), np.zeros((0, count, 4), np.float32)
        numbered = np.concatenate((np.zeros((len(rois), 1), np.float32), rois.astype(np.float32)), axis=1)
        feeds = {"features": features, "rois": numbered}
        scores, offsets = self._head.run(feeds)
        if scores.shape != (len(rois), count + 1) or offsets.shape != (len(rois), count, 4):
            raise ModelError(
                f"{self.path}: {count} classes do not go with scores {scores.shape} and offsets {offsets.shape}"
            )
        return scores[:, 1:], offsets

    def _place(self, image: Image) -> tuple[NDArray[Any], Placement]:
        size = self.preparation.input_size((image.shape[1], image.shape[0]))
        # Averaging, as its training pictures were reduced: boxes fit better than with every second pixel left out.
        shrinks = max(size) < max(image.shape[:2])
        canvas, placement = letterbox(
            image,
            size,
            self.preparation.fit,
            self.preparation.pad,
            cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
        )
        return self.preparation.tensor(canvas, PixelFormat(np.dtype(np.float32))), placement

    def _detections(self, features: NDArray[Any], rois: Floats, placement: Placement) -> Detections:
        scores, offsets = self.roi_head(features, rois)
        regions, classes = self.selection.scored(scores, self.names)
        boxes = rois[regions]
        if self.options.bbox_regression:
            boxes = decode_offsets(boxes, offsets[regions, classes])
        boxes = placement.undo(boxes.astype(np.float32))
        return suppressed(boxes, scores[regions, classes], classes, self.names, self.selection)


class FastRcnn(_RoiDetector):
    """Fast R-CNN: `FastRcnn("name")(image) -> Detections`.

    model   a name of the registry or an .onnx file of `detkit train rcnn`; None takes the bundled default. The network
            of a Faster R-CNN serves as well: its proposal network is left out
    selection, runtime, options   see `Selection`, `Runtime`, `RegionOptions`

    ModelError where the model cannot be loaded or is another one.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        selection: Selection = Selection(),
        runtime: Runtime = Runtime(),
        options: RegionOptions = RegionOptions(),
        **settings: Any,
    ) -> None:
        selection, runtime, options = settled(settings, selection, runtime, options)
        super().__init__(model, selection, runtime, options, "fast")
        self.by_name = from_file(options.proposals)
        self._propose = proposal_source(options.proposals, options.max_proposals or REGIONS, self.network.threads)

    def prepare(self, image: Image, name: str = "") -> Prepared:
        """The picture as a tensor, with its proposals, which a file may hold under its name."""
        tensor, placement = self._place(image)
        return Prepared(tensor, placement, self._propose(image, name).boxes)

    def detect(self, prepared: Sequence[Prepared]) -> list[Detections]:
        """Detections of pictures with their proposals."""
        return [self._detect_one(one) for one in prepared]

    def regions(self, prepared: Prepared) -> Floats | None:
        """The proposals (N, 4)."""
        return prepared.proposals

    def _detect_one(self, prepared: Prepared) -> Detections:
        assert prepared.proposals is not None
        (features,) = self.feature_map(prepared.tensor)
        return self._detections(features, prepared.placement.apply(prepared.proposals), prepared.placement)


class FasterRcnn(_RoiDetector):
    """Faster R-CNN: `FasterRcnn("name")(image) -> Detections`.

    model, selection, runtime, options   as for `FastRcnn`; `options.max_proposals` are those of the region proposal
            network (300), `options.proposal_iou` its suppression (0.7)

    ModelError where the model cannot be loaded, or has no region proposal network.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        selection: Selection = Selection(),
        runtime: Runtime = Runtime(),
        options: RegionOptions = RegionOptions(),
        **settings: Any,
    ) -> None:
        selection, runtime, options = settled(settings, selection, runtime, options)
        super().__init__(model, selection, runtime, options, "faster")
        self.max_proposals = options.max_proposals or _RPN_PROPOSALS
        self.proposal_iou = options.proposal_iou or PROPOSAL_IOU
        self.anchors = self._anchor_shapes()

    def prepare(self, image: Image, name: str = "") -> Prepared:
        """The picture as a tensor. Safe to call from threads."""
        return Prepared(*self._place(image))

    def propose(self, prepared: Prepared) -> tuple[NDArray[Any], Floats]:
        """The feature map (1, C, h, w) of a picture, and its proposals (N, 4) xyxy in input pixels."""
        features, found = self._proposed(prepared)
        return features, found.boxes

    def proposals(self, image: Image) -> Proposals:
        """The proposals of a picture in its own pixels, best first, with their probabilities of an object."""
        prepared = self.prepare(image)
        _, found = self._proposed(prepared)
        return Proposals(prepared.placement.undo(found.boxes), found.scores)

    def _proposed(self, prepared: Prepared) -> tuple[NDArray[Any], Proposals]:
        features, scores, offsets = self.feature_map(prepared.tensor)
        anchors = grid_anchors(scores.shape[2:], self.stride, self.anchors)
        # The padding below and to the right of the picture holds nothing.
        placement = prepared.placement
        inside = (placement.left + placement.resized[0], placement.top + placement.resized[1])
        return features, propose(scores[0], offsets[0], anchors, inside, self.max_proposals, self.proposal_iou)

    def detect(self, prepared: Sequence[Prepared]) -> list[Detections]:
        """Detections of prepared pictures, in their order."""
        return [self._detections(*self.propose(one), one.placement) for one in prepared]

    def regions(self, prepared: Prepared) -> Floats:
        """The proposals (N, 4), best first, in pixels of the picture; the network makes them once more for it."""
        return prepared.placement.undo(self.propose(prepared)[1])

    def _anchor_shapes(self) -> list[tuple[float, float]]:
        """Width and height of the anchors of a cell, from the metadata."""
        try:
            return [(float(width), float(height)) for width, height in json.loads(self.metadata["anchors"])]
        except (KeyError, ValueError, TypeError) as error:
            raise ModelError(f"{self.path}: its metadata lack the anchors") from error
