"""Detection that is watched: how long each picture takes, what regions are looked at, and where scores are high.

For the page of `detkit compare`. Preparing and detecting take turns here, so that a time is that of one picture alone;
decoding the next one still goes on beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.detections import Detections
from detkit.detectors.base import Detector
from detkit.detectors.windows.window_pictures import laid_on
from detkit.images import Image
from detkit.runs.batch import Result
from detkit.runs.record import Record, key_of
from detkit.runs.tasks import Detection

BEST = 60  # proposals of a picture that are kept to be drawn
# Takes the heat map of a picture by its key, as a picture.
KeepHeat = Callable[[str, Image], None]


@dataclass(frozen=True)
class _Prepared:
    prepared: Any
    seconds: float


@dataclass(frozen=True)
class _Seen:
    found: Detections
    seconds: float
    regions: NDArray[np.float32] | None
    heat: NDArray[np.float32] | None


class Watched(Detection):
    """A detector whose records also have `seconds`, and where it looks at regions `proposals`, the best of them as
    boxes (N, 4) xyxy, and `proposed`, how many there were.

    side       pixels of the longer side of heat maps
    keep_heat  gets them, from a detector that has such
    """

    def __init__(self, detector: Detector, side: int, keep_heat: KeepHeat) -> None:
        super().__init__(detector)
        self.batch = 1
        self._side, self._keep_heat = side, keep_heat
        self._alone = Lock()

    def prepare(self, image: Image, name: str = "") -> _Prepared:
        """The prepared picture, and how long that took."""
        with self._alone:
            started = time.perf_counter()
            prepared = self.detector.prepare(image, name)
            return _Prepared(prepared, time.perf_counter() - started)

    def detect(self, prepared: Sequence[_Prepared]) -> list[Any]:
        """What is found in each, and what there is to see of it."""
        return [self._detect_one(one) for one in prepared]

    def _detect_one(self, one: _Prepared) -> _Seen:
        with self._alone:
            started = time.perf_counter()
            (found,) = self.detector.detect([one.prepared])
            seconds = one.seconds + time.perf_counter() - started
            return _Seen(found, seconds, self.detector.regions(one.prepared), self.detector.heat(one.prepared))

    def record(self, result: Result) -> Record:
        """See the class."""
        seen: _Seen = result.found
        record: Record = {"width": result.width, "height": result.height, "detections": seen.found.to_dicts()}
        record["seconds"] = seen.seconds
        if seen.regions is not None:
            record |= {"proposals": seen.regions[:BEST].tolist(), "proposed": len(seen.regions)}
        if seen.heat is not None and result.image is not None:
            self._keep_heat(key_of(result.item.name, result.frame), _small_heat(result.image, seen.heat, self._side))
        return record


def _small_heat(image: Image, heat: NDArray[np.float32], side: int) -> Image:
    """The heat map laid on its picture, both made smaller first."""
    height, width = image.shape[:2]
    scale = min(side / max(width, height), 1.0)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    small: Any = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    shrunk: Any = cv2.resize(heat, size, interpolation=cv2.INTER_AREA)
    return laid_on(small, shrunk)
