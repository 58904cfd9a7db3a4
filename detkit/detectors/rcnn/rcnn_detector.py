"""R-CNN (Girshick, Donahue, Darrell and Malik, "Rich feature hierarchies for accurate object detection", 2014).

region proposals (2.1) -> warp with context (appendix A) -> features of a network (2.2)
    -> a linear SVM for each class (2.3) -> box regression (appendix C) -> suppression for each class (2.2)
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit import nms as suppression
from detkit.boxes import clip, decode_offsets
from detkit.classes import chosen_classes
from detkit.detections import Detections
from detkit.detectors.rcnn.rcnn_model import FeatureSettings, RcnnModel, read_rcnn_model
from detkit.detectors.rcnn.region_features import RegionFeatures
from detkit.detectors.rcnn.region_proposals import proposal_source
from detkit.detectors.rcnn.regions import IOU, ByProposals, Selection
from detkit.errors import ModelError
from detkit.graphs.registry import resolve
from detkit.images import Image
from detkit.proposals import Proposals

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Proposed:
    """A picture uint8 (H, W, 3) RGB with its proposals."""

    image: Image
    proposals: Proposals


class Rcnn(ByProposals):
    """R-CNN from a file of `detkit train rcnn`: `Rcnn("name")(image) -> Detections`.

    model          a name of the registry or an .npz file; None takes the bundled default
    proposals      "selective-search", "edge-boxes", "grid", or a file of `detkit proposals`
    max_proposals  regions a picture
    conf, iou, max_det, nms, agnostic, classes   see `Selection`; scores are calibrated probabilities
    bbox_regression   False leaves the boxes where the proposals are
    context        False shows the network nothing around a region
    device, threads   see `Network`

    ModelError where the model or its feature network cannot be loaded.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        proposals: str = "selective-search",
        max_proposals: int = 1000,
        conf: float = 0.25,
        iou: float = IOU,
        max_det: int = 300,
        nms: suppression.Method = "greedy",
        agnostic: bool = False,
        classes: Sequence[str | int] = (),
        bbox_regression: bool = True,
        context: bool = True,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        self.path = resolve(model, "rcnn")
        self.model: RcnnModel = read_rcnn_model(self.path)
        self.names = self.model.names
        self.features = feature_network(self.model.features, self.path.parent, context, device, threads)
        self.network = self.features.network
        self.bbox_regression = bbox_regression
        self.selection = Selection(conf, iou, max_det, nms, agnostic, classes)
        chosen_classes(classes, self.names)  # says now what it would say at the first picture
        self._propose = proposal_source(proposals, max_proposals, self.network.threads)

    def prepare_named(self, image: Image, name: str) -> Proposed:
        """The picture with its proposals, which a file may hold under its name."""
        return Proposed(image, self._propose(image, name))

    def detect_one(self, prepared: Proposed) -> Detections:
        """Detections of a picture with its proposals."""
        image, boxes = prepared.image, prepared.proposals.boxes
        rows, grids = self.features(image, boxes)
        size = (image.shape[1], image.shape[0])
        return classify_regions(self.model, self.selection, size, boxes, rows, grids, self.bbox_regression)


def classify_regions(
    model: RcnnModel,
    selection: Selection,
    size: tuple[int, int],
    boxes: Floats,
    rows: Floats,
    grids: Floats,
    bbox_regression: bool = True,
) -> Detections:
    """Detections in a picture of `size` (width, height) from its regions (N, 4) xyxy and their features."""
    row, grid = rows.shape[1], grids.shape[1]
    if model.weights.shape[1] != row + grid or model.regressors.shape[2] not in (0, grid):
        raise ModelError(
            f"the R-CNN's SVMs want {model.weights.shape[1]} and its regressors {model.regressors.shape[2]} features, "
            f"but its network gives a row of {row} and a grid of {grid}"
        )
    scores = model.probabilities(model.margins(np.concatenate((rows, grids), axis=1)))
    regions, classes = selection.scored(scores, model.names)
    found = boxes[regions]
    if bbox_regression and model.regressors.shape[2]:
        found = decode_offsets(found, model.box_offsets(grids[regions], classes))
    return selection.detections(clip(found, *size), scores[regions, classes], classes, model.names)


def feature_network(
    settings: FeatureSettings, folder: Path, context: bool, device: str, threads: int | None
) -> RegionFeatures:
    """The network that a model was trained with: a name, or a path from the model's folder. ModelError for another."""
    relative = folder / settings.model
    model: str | Path = relative if relative.is_file() else settings.model
    path = resolve(model, "slide")
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: the network that makes the features cannot be read: {error.strerror}") from error
    if found != settings.sha256:
        raise ModelError(f"{path}: is not the network that the R-CNN was trained with: its SHA-256 is {found}")
    return RegionFeatures(
        path,
        row=settings.row,
        grid=settings.grid,
        size=settings.size,
        context=settings.context if context else 0,
        device=device,
        threads=threads,
    )
