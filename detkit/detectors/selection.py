"""`Selection`: which scored boxes become detections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats
from detkit.classes import Choice, chosen_classes
from detkit.detections import Detections
from detkit.errors import UsageError
from detkit.nms import METHODS, Method, suppress


@dataclass(frozen=True)
class Selection:
    """Which scored boxes become detections; every detector takes one.

    conf      boxes with a higher score are kept
    iou       overlap above which the lower-scored of two boxes is suppressed; None takes the detector's own
    max_det   boxes kept per picture; None keeps all
    nms       "greedy", "soft", "diou", "wbf" or "none"; graphs that suppress by themselves are left alone
    agnostic  whether boxes of different classes suppress each other
    classes   keep only these, by name or number; see `classes.chosen_classes`

    UsageError where a number is out of its range or there is no such method.
    """

    conf: float = 0.25
    iou: float | None = None
    max_det: int | None = 300
    nms: Method = "greedy"
    agnostic: bool = False
    classes: Choice = ()

    def __post_init__(self) -> None:
        for name in ("conf", "iou"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise UsageError(f"{name} lies from 0 to 1, not at {share}")
        if self.max_det is not None and self.max_det < 1:
            raise UsageError(f"max_det is at least 1, not {self.max_det}")
        if self.nms not in METHODS:
            raise UsageError(f"there is no nms {self.nms!r}; there are {', '.join(METHODS)}")

    def wanted(self, names: tuple[str, ...], whose: str = "the network") -> NDArray[np.int64] | None:
        """The class ids to keep, None for all. UsageError for a class that is not among the `names` of `whose`."""
        return chosen_classes(self.classes, names, whose)

    def scored(self, scores: Floats, names: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and classes of the scores (N, C) that count: two arrays (K,)."""
        rows, classes = np.nonzero(scores > self.conf)
        wanted = self.wanted(names)
        if wanted is not None:
            kept = np.isin(classes, wanted)
            rows, classes = rows[kept], classes[kept]
        return rows, classes

    def suppressed(self, found: Detections, iou: float, method: Method | None = None) -> Detections:
        """The boxes that survive, best first; `iou` is the detector's own overlap, `method` stands in for `nms`."""
        return suppress(
            found,
            method or self.nms,
            iou if self.iou is None else self.iou,
            agnostic=self.agnostic,
            max_detections=self.max_det,
            min_score=self.conf,
        )
