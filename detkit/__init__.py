"""detkit: object detection, from the sliding window to the transformers.

    from detkit import Yolo
    detections = Yolo("model.onnx")("picture.jpg")

The public names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
# What `pip install` calls it; plain `detkit` is another project there.
DISTRIBUTION = "detkit-vision"

if TYPE_CHECKING:
    from detkit.annotations.reading import read_ground_truth as read_ground_truth
    from detkit.annotations.reading import read_predictions as read_detections  # noqa: F401
    from detkit.annotations.writing import write_ground_truth as write_ground_truth
    from detkit.detections import Detections as Detections
    from detkit.detectors.base import Detector as Detector
    from detkit.detectors.hog.hog_detector import HogDetector as HogDetector
    from detkit.detectors.rcnn.fast_rcnn import FasterRcnn as FasterRcnn
    from detkit.detectors.rcnn.fast_rcnn import FastRcnn as FastRcnn
    from detkit.detectors.rcnn.rcnn_detector import Rcnn as Rcnn
    from detkit.detectors.selection import Selection as Selection
    from detkit.detectors.semantic.segmenter import Segmenter as Segmenter
    from detkit.detectors.tiled import Tiled as Tiled
    from detkit.detectors.windows.slide_detector import SlideDetector as SlideDetector
    from detkit.detectors.yolo.yolo_detector import Yolo as Yolo
    from detkit.drawing import draw as draw
    from detkit.errors import DetkitError as DetkitError
    from detkit.graphs.runtime import Runtime as Runtime
    from detkit.images import read_image as read_image
    from detkit.images import write_image as write_image
    from detkit.metrics.evaluation import Evaluation as Evaluation
    from detkit.metrics.evaluation import evaluate as evaluate
    from detkit.nms import suppress as suppress
    from detkit.proposals.methods import propose as propose
    from detkit.runs.run import Output as Output
    from detkit.runs.run import run as run

# Each public name, and the module and name behind it.
_HOMES = {
    "Detections": "detkit.detections:Detections",
    "Detector": "detkit.detectors.base:Detector",
    "DetkitError": "detkit.errors:DetkitError",
    "Evaluation": "detkit.metrics.evaluation:Evaluation",
    "FastRcnn": "detkit.detectors.rcnn.fast_rcnn:FastRcnn",
    "FasterRcnn": "detkit.detectors.rcnn.fast_rcnn:FasterRcnn",
    "HogDetector": "detkit.detectors.hog.hog_detector:HogDetector",
    "Output": "detkit.runs.run:Output",
    "Rcnn": "detkit.detectors.rcnn.rcnn_detector:Rcnn",
    "Runtime": "detkit.graphs.runtime:Runtime",
    "Segmenter": "detkit.detectors.semantic.segmenter:Segmenter",
    "Selection": "detkit.detectors.selection:Selection",
    "SlideDetector": "detkit.detectors.windows.slide_detector:SlideDetector",
    "Tiled": "detkit.detectors.tiled:Tiled",
    "Yolo": "detkit.detectors.yolo.yolo_detector:Yolo",
    "draw": "detkit.drawing:draw",
    "evaluate": "detkit.metrics.evaluation:evaluate",
    "propose": "detkit.proposals.methods:propose",
    "read_detections": "detkit.annotations.reading:read_predictions",
    "read_ground_truth": "detkit.annotations.reading:read_ground_truth",
    "read_image": "detkit.images:read_image",
    "run": "detkit.runs.run:run",
    "suppress": "detkit.nms:suppress",
    "write_ground_truth": "detkit.annotations.writing:write_ground_truth",
    "write_image": "detkit.images:write_image",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        module, _, own = _HOMES[name].partition(":")
        return getattr(import_module(module), own)
    raise AttributeError(f"module 'detkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
