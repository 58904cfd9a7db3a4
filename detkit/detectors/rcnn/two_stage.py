"""R-CNN, Fast R-CNN or Faster R-CNN by the kind of their file, with the options of all three."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, get_args

from detkit.detectors.base import Detector
from detkit.detectors.rcnn.regions import RegionOptions
from detkit.detectors.selection import Selection
from detkit.errors import ModelError, UsageError
from detkit.graphs.registry import RUN_IN_PARTS, default_model, resolve
from detkit.graphs.runtime import Runtime
from detkit.graphs.stored import metadata_of
from detkit.settings import settled

Variant = Literal["rcnn", "fast", "faster"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
_TWO_STAGE_HEADS = ("torchvision", "faster-rcnn-zoo")
_COMMANDS = {"rcnn": "rcnn", "fast": "fast-rcnn", "faster": "faster-rcnn"}


def two_stage(
    model: str | os.PathLike[str] | None = None,
    variant: str | None = None,
    selection: Selection = Selection(),
    runtime: Runtime = Runtime(),
    options: RegionOptions = RegionOptions(),
    **settings: Any,
) -> Detector:
    """The detector of a model, see `Rcnn`, `FastRcnn`, `FasterRcnn`; other graphs are read as `Yolo` reads them.

    variant   one of VARIANTS; None takes what the model is, or "faster" without a model

    UsageError where an option does not go with the variant, ModelError where the model does not.
    """
    selection, runtime, options = settled(settings, selection, runtime, options)
    chosen, path = _chosen(model, variant)
    options.without_idle(chosen)
    if chosen == "rcnn":
        from detkit.detectors.rcnn.rcnn_detector import Rcnn

        return Rcnn(path, selection, runtime, options)
    from detkit.detectors.rcnn.fast_rcnn import FasterRcnn, FastRcnn

    if chosen == "fast":
        return FastRcnn(path, selection, runtime, options)
    if _has_parts(path):
        return FasterRcnn(path, selection, runtime, options)
    if options != RegionOptions():
        raise UsageError(f"{path}: does all its steps inside its graph: nothing can be taken out of it or set in it")
    from detkit.detectors.yolo.yolo_detector import Yolo

    found = Yolo(path, selection, runtime)
    if found.head.name not in _TWO_STAGE_HEADS:
        raise UsageError(f"{path}: is no Faster R-CNN, but {found.head.name}: detkit yolo runs it")
    return found


def _chosen(model: str | os.PathLike[str] | None, variant: str | None) -> tuple[str, Path]:
    """The variant and the file."""
    if model is None:
        chosen = variant or "faster"
        command = _COMMANDS[chosen]
        if default_model(command) is None:
            raise ModelError(f"detkit rcnn has no bundled network for --variant {chosen}: name one with --model")
        return chosen, resolve(None, command)
    path = resolve(model, "rcnn")
    if path.suffix.lower() == ".npz":
        if variant not in (None, "rcnn"):
            raise UsageError(f"{path}: holds no network, as --variant {variant} needs one, but SVMs")
        return "rcnn", path
    if variant == "rcnn":
        raise UsageError(f"{path}: an R-CNN is an .npz file of detkit train rcnn")
    if variant == "fast" and not _has_parts(path):
        raise UsageError(f"{path}: takes no regions from outside: it is no Fast R-CNN of detkit train rcnn")
    return variant or ("fast" if _metadata(path).get("head") == "fast-rcnn" else "faster"), path


def _has_parts(path: Path) -> bool:
    """Whether the graph is one of detkit's own, whose parts can be run by themselves."""
    return _metadata(path).get("head") in RUN_IN_PARTS


def _metadata(path: Path) -> dict[str, str]:
    """The custom metadata of an .onnx file; none where it cannot be read, which loading it then says."""
    try:
        return metadata_of(path)
    except ModelError:
        return {}
