"""Every detector of the house by the name of its command, as those want it that take any."""

from __future__ import annotations

import os
from collections.abc import Callable

from detkit.detectors.base import Detector
from detkit.detectors.selection import Selection
from detkit.errors import UsageError
from detkit.graphs.runtime import Runtime

Model = str | os.PathLike[str] | None


def _yolo(model: Model, selection: Selection, runtime: Runtime) -> Detector:
    from detkit.detectors.yolo.yolo_detector import Yolo

    return Yolo(model, selection, runtime)


def _rcnn(model: Model, selection: Selection, runtime: Runtime) -> Detector:
    from detkit.detectors.rcnn.two_stage import two_stage

    return two_stage(model, None, selection, runtime)


def _hog(model: Model, selection: Selection, runtime: Runtime) -> Detector:
    from detkit.detectors.hog.hog_detector import HogDetector

    return HogDetector(model, selection, runtime)


def _slide(model: Model, selection: Selection, runtime: Runtime) -> Detector:
    from detkit.detectors.windows.slide_detector import SlideDetector

    return SlideDetector(model, selection, runtime)


DETECTORS: dict[str, Callable[[Model, Selection, Runtime], Detector]] = {
    "yolo": _yolo,
    "rcnn": _rcnn,
    "hog-detect": _hog,
    "slide": _slide,
}


def detector_of(command: str, model: Model, selection: Selection, runtime: Runtime) -> Detector:
    """The detector of a command with its usual options. UsageError where there is no such command."""
    if command not in DETECTORS:
        raise UsageError(f"there is no detector {command!r}; there are {', '.join(DETECTORS)}")
    return DETECTORS[command](model, selection, runtime)
