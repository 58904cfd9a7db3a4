"""What R-CNN, Fast R-CNN and Faster R-CNN do alike with scored regions: a box for each class, and suppression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats
from detkit.detections import Detections
from detkit.detectors.selection import Selection
from detkit.errors import UsageError

IOU = 0.3  # of the suppression in all three papers


@dataclass(frozen=True)
class RegionOptions:
    """Where the regions come from, and which parts of the method are left out.

    proposals      "selective-search", "edge-boxes", "grid", or a file of `detkit proposals`; for Faster R-CNN, which
                   makes its own, None; None elsewhere takes selective search
    max_proposals  regions a picture; None takes 1,000, for Faster R-CNN 300
    bbox_regression   False leaves the boxes where the proposals are
    context        False shows R-CNN's network nothing around a region
    proposal_iou   overlap above which the lower-scored of two of Faster R-CNN's proposals is suppressed; None takes 0.7

    UsageError where a number is out of its range.
    """

    proposals: str | None = None
    max_proposals: int | None = None
    bbox_regression: bool = True
    context: bool = True
    proposal_iou: float | None = None

    def __post_init__(self) -> None:
        if self.max_proposals is not None and self.max_proposals < 1:
            raise UsageError(f"at least 1 region of a picture is looked at, not {self.max_proposals}")
        if self.proposal_iou is not None and not 0 < self.proposal_iou <= 1:
            raise UsageError(f"the overlap among proposals lies between 0 and 1, not {self.proposal_iou:g}")

    def without_idle(self, variant: str) -> RegionOptions:
        """The same; UsageError where an option does nothing for a `variant`, "rcnn", "fast" or "faster"."""
        if variant == "faster" and self.proposals is not None:
            raise UsageError("--proposals: Faster R-CNN makes its own; --variant fast takes them from outside")
        if variant != "faster" and self.proposal_iou is not None:
            raise UsageError("--proposal-iou is for --variant faster")
        if variant != "rcnn" and not self.context:
            raise UsageError("--no-context is for --variant rcnn: the others see the whole picture")
        return self


def suppressed(
    boxes: Floats, scores: Floats, classes: NDArray[np.int64], names: tuple[str, ...], selection: Selection
) -> Detections:
    """The boxes (K, 4) that survive suppression; those without area, as regression can leave them, do not."""
    whole = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return selection.suppressed(Detections(boxes[whole], scores[whole], classes[whole], names), IOU)
