"""Every detector of the house by the name of its command, as those want it that take any."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from detkit.detectors.base import Detector
from detkit.detectors.selection import Selection
from detkit.errors import ModelError, UsageError
from detkit.graphs.registry import RUN_IN_PARTS, resolve
from detkit.graphs.runtime import Runtime
from detkit.graphs.stored import metadata_of

Model = str | os.PathLike[str] | None


def _yolo(model: Model, selection: Selection, runtime: Runtime, **own: Any) -> Detector:
    from detkit.detectors.yolo.yolo_detector import Yolo

    return Yolo(model, selection, runtime, **own)


def _rcnn(model: Model, selection: Selection, runtime: Runtime, **own: Any) -> Detector:
    from detkit.detectors.rcnn.two_stage import two_stage

    return two_stage(model, own.pop("variant", None), selection, runtime, **own)


def _hog(model: Model, selection: Selection, runtime: Runtime, **own: Any) -> Detector:
    from detkit.detectors.hog.hog_detector import HogDetector

    return HogDetector(model, selection, runtime, **own)


def _slide(model: Model, selection: Selection, runtime: Runtime, **own: Any) -> Detector:
    from detkit.detectors.windows.slide_detector import SlideDetector

    return SlideDetector(model, selection, runtime, **own)


DETECTORS: dict[str, Callable[..., Detector]] = {
    "yolo": _yolo,
    "rcnn": _rcnn,
    "hog-detect": _hog,
    "slide": _slide,
}


def detector_of(command: str, model: Model, selection: Selection, runtime: Runtime, **own: Any) -> Detector:
    """The detector of a command, with its usual options but for its `own`. UsageError where there is none."""
    if command not in DETECTORS:
        raise UsageError(f"there is no detector {command!r}; there are {', '.join(DETECTORS)}")
    return DETECTORS[command](model, selection, runtime, **own)


def command_of(model: str | os.PathLike[str]) -> str:
    """The command that runs a model, a name of the registry or a file. ModelError where it cannot be read.

    A two-stage network that does all its steps inside its graph is run by `yolo`, as any other detector is.
    """
    path = resolve(model)
    if path.suffix.lower() == ".npz":
        from detkit.detectors.rcnn.rcnn_model import read_rcnn_model

        try:
            read_rcnn_model(path)
        except ModelError:
            return "hog-detect"
        return "rcnn"
    if metadata_of(path).get("head") in RUN_IN_PARTS:
        return "rcnn"
    from detkit.detectors.yolo.heads.signature import is_classifier
    from detkit.graphs.session import Network

    network = Network(path, Runtime("cpu"))
    return "slide" if is_classifier(network.inputs, network.outputs, network.metadata) else "yolo"
