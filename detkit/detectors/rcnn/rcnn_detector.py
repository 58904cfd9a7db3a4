"""R-CNN (Girshick, Donahue, Darrell and Malik, "Rich feature hierarchies for accurate object detection", 2014).

region proposals (2.1) -> warp with context (appendix A) -> features of a network (2.2)
    -> a linear SVM for each class (2.3) -> box regression (appendix C) -> suppression for each class (2.2)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import clip, decode_offsets
from detkit.detections import Detections
from detkit.detectors.base import Detector
from detkit.detectors.rcnn.rcnn_model import FeatureSettings, RcnnModel, read_rcnn_model
from detkit.detectors.rcnn.region_features import Features, RegionFeatures
from detkit.detectors.rcnn.region_proposals import REGIONS, from_file, proposal_source
from detkit.detectors.rcnn.regions import RegionOptions, suppressed
from detkit.detectors.selection import Selection
from detkit.errors import ModelError
from detkit.files import sha256
from detkit.graphs.registry import resolve
from detkit.graphs.runtime import Runtime
from detkit.images import Image
from detkit.proposals import Proposals
from detkit.settings import settled

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Proposed:
    """A picture uint8 (H, W, 3) RGB with its proposals."""

    image: Image
    proposals: Proposals


class Rcnn(Detector):
    """R-CNN from a file of `detkit train rcnn`: `Rcnn("name")(image) -> Detections`.

    model   a name of the registry or an .npz file; None takes the bundled default
    selection, runtime, options   see `Selection`, `Runtime`, `RegionOptions`; scores are calibrated probabilities

    ModelError where the model or its feature network cannot be loaded.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        selection: Selection = Selection(),
        runtime: Runtime = Runtime(),
        options: RegionOptions = RegionOptions(),
        **settings: Any,
    ) -> None:
        self.selection, runtime, options = settled(settings, selection, runtime, options)
        self.options = options.without_idle("rcnn")
        self.path = resolve(model, "rcnn")
        self.model: RcnnModel = read_rcnn_model(self.path)
        self.names = self.model.names
        self.features = feature_network(self.model.features, self.path.parent, options.context, runtime)
        self.network = self.features.network
        self.selection.wanted(self.names)  # says now what it would say at the first picture
        self.by_name = from_file(options.proposals)
        self._propose = proposal_source(options.proposals, options.max_proposals or REGIONS, self.network.threads)

    def about(self) -> list[str]:
        """The SVMs' file, and the network that makes the features."""
        return [str(self.path), self.network.about()]

    def prepare(self, image: Image, name: str = "") -> Proposed:
        """The picture with its proposals, which a file may hold under its name."""
        return Proposed(image, self._propose(image, name))

    def detect(self, prepared: Sequence[Proposed]) -> list[Detections]:
        """Detections of pictures with their proposals."""
        return [self._detect_one(one) for one in prepared]

    def regions(self, prepared: Proposed) -> Floats:
        """The proposals (N, 4)."""
        return prepared.proposals.boxes

    def _detect_one(self, prepared: Proposed) -> Detections:
        image, boxes = prepared.image, prepared.proposals.boxes
        rows, grids = self.features(image, boxes)
        regions = FeaturedRegions(boxes, rows, grids, (image.shape[1], image.shape[0]))
        return classify_regions(self.model, self.selection, regions, self.options.bbox_regression)


@dataclass(frozen=True)
class FeaturedRegions:
    """Regions (N, 4) xyxy of a picture of `size` (width, height), with their features: rows (N, D), grids (N, M)."""

    boxes: Floats
    rows: Floats
    grids: Floats
    size: tuple[int, int]


def classify_regions(
    model: RcnnModel, selection: Selection, found: FeaturedRegions, bbox_regression: bool = True
) -> Detections:
    """Detections in a picture from its regions and their features."""
    rows, grids = found.rows, found.grids
    row, grid = rows.shape[1], grids.shape[1]
    if model.weights.shape[1] != row + grid or model.regressors.shape[2] not in (0, grid):
        raise ModelError(
            f"the R-CNN's SVMs want {model.weights.shape[1]} and its regressors {model.regressors.shape[2]} features, "
            f"but its network gives a row of {row} and a grid of {grid}"
        )
    scores = model.probabilities(model.margins(np.concatenate((rows, grids), axis=1)))
    regions, classes = selection.scored(scores, model.names)
    boxes = found.boxes[regions]
    if bbox_regression and model.regressors.shape[2]:
        boxes = decode_offsets(boxes, model.box_offsets(grids[regions], classes))
    return suppressed(clip(boxes, *found.size), scores[regions, classes], classes, model.names, selection)


def feature_network(settings: FeatureSettings, folder: Path, context: bool, runtime: Runtime) -> RegionFeatures:
    """The network that a model was trained with: a name, or a path from the model's folder. ModelError for another."""
    relative = folder / settings.model
    model: str | Path = relative if relative.is_file() else settings.model
    path = resolve(model, "slide")
    found = sha256(path, ModelError)
    if found != settings.sha256:
        raise ModelError(f"{path}: is not the network that the R-CNN was trained with: its SHA-256 is {found}")
    wanted = Features(settings.row, settings.grid, settings.size, settings.context if context else 0)
    return RegionFeatures(path, wanted, runtime)
