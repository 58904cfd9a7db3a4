"""detkit: object detection, from the sliding window to the transformers.

    from detkit import Yolo
    detections = Yolo("model.onnx")("picture.jpg")

The public names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from detkit.detections import Detections
    from detkit.detectors.rcnn.fast_rcnn import FasterRcnn, FastRcnn
    from detkit.detectors.rcnn.rcnn_detector import Rcnn
    from detkit.detectors.yolo.yolo_detector import Yolo
    from detkit.drawing import draw
    from detkit.errors import DetkitError
    from detkit.images import read_image, write_image
    from detkit.nms import suppress

_HOMES = {
    "Detections": "detkit.detections",
    "DetkitError": "detkit.errors",
    "FastRcnn": "detkit.detectors.rcnn.fast_rcnn",
    "FasterRcnn": "detkit.detectors.rcnn.fast_rcnn",
    "Rcnn": "detkit.detectors.rcnn.rcnn_detector",
    "Yolo": "detkit.detectors.yolo.yolo_detector",
    "draw": "detkit.drawing",
    "read_image": "detkit.images",
    "suppress": "detkit.nms",
    "write_image": "detkit.images",
}

__all__ = [
    "Detections",
    "DetkitError",
    "FastRcnn",
    "FasterRcnn",
    "Rcnn",
    "Yolo",
    "__version__",
    "draw",
    "read_image",
    "suppress",
    "write_image",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'detkit' has no attribute {name!r}")
