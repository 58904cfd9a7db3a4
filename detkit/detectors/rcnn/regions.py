"""What R-CNN, Fast R-CNN and Faster R-CNN do alike with scored regions: a box for each class, and suppression."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit import nms as suppression
from detkit.boxes import Floats
from detkit.classes import chosen_classes
from detkit.detections import Detections
from detkit.images import Image, as_image, read_image

IOU = 0.3  # of the suppression in all three papers


class ByProposals(ABC):
    """What detectors share whose regions come from outside: a picture's name leads to its proposals in a file."""

    batch = 1

    def __call__(self, image: Image | str | os.PathLike[str], name: str = "") -> Detections:
        """What is in one picture, an array as `images.as_image` takes it or a file; proposals in a file need `name`."""
        if isinstance(image, str | os.PathLike):
            name = name or Path(image).name
            image = read_image(image)
        return self.detect([self.prepare_named(as_image(image), name)])[0]

    def prepare(self, image: Image) -> Any:
        """`prepare_named` for a picture without a name."""
        return self.prepare_named(image, "")

    @abstractmethod
    def prepare_named(self, image: Image, name: str) -> Any:
        """The picture with its proposals. Safe to call from threads."""

    def detect(self, prepared: Sequence[Any]) -> list[Detections]:
        """Detections of prepared pictures, in their order."""
        return [self.detect_one(one) for one in prepared]

    @abstractmethod
    def detect_one(self, prepared: Any) -> Detections:
        """Detections of a prepared picture."""


@dataclass(frozen=True)
class Selection:
    """Which scored boxes become detections.

    conf      boxes with a higher score are kept
    iou, nms, agnostic, max_det   see `nms.suppress`; per class, as in the papers, unless `agnostic`
    classes   keep only these, by name or number
    """

    conf: float = 0.25
    iou: float = IOU
    max_det: int = 300
    nms: suppression.Method = "greedy"
    agnostic: bool = False
    classes: Sequence[str | int] = ()

    def scored(self, scores: Floats, names: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Regions and classes of the scores (N, C) that count: two arrays (K,)."""
        regions, classes = np.nonzero(scores > self.conf)
        wanted = chosen_classes(self.classes, names)
        if wanted is not None:
            kept = np.isin(classes, wanted)
            regions, classes = regions[kept], classes[kept]
        return regions, classes

    def detections(
        self, boxes: Floats, scores: Floats, classes: NDArray[np.int64], names: tuple[str, ...]
    ) -> Detections:
        """The boxes (K, 4) that survive suppression; those without area, as regression can leave them, do not."""
        whole = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        found = Detections(boxes[whole], scores[whole], classes[whole], names)
        return suppression.suppress(
            found, self.nms, self.iou, agnostic=self.agnostic, max_detections=self.max_det, min_score=self.conf
        )
