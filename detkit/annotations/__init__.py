"""Annotations and detections of whole data sets: read, recognised by content, aligned and written.

    ground_truth = read_ground_truth("instances.json")
    predictions = read_predictions("detections.json", ground_truth)

The readers log what is odd as warnings on the logger `detkit`, one line a kind, and raise InputError, one line, where
a file cannot be used. What each format's odd input becomes is in the docstring of its module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detkit.annotations.formats import FORMATS
    from detkit.annotations.reading import read_draft, read_ground_truth, read_predictions
    from detkit.annotations.recognition import recognise
    from detkit.annotations.writing import write_ground_truth

# Loaded when first used: detectors need the class names beside these, and must not pay for every format.
_HOMES = {
    "FORMATS": "formats",
    "read_draft": "reading",
    "read_ground_truth": "reading",
    "read_predictions": "reading",
    "recognise": "recognition",
    "write_ground_truth": "writing",
}

__all__ = [
    "FORMATS",
    "read_draft",
    "read_ground_truth",
    "read_predictions",
    "recognise",
    "write_ground_truth",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"detkit.annotations.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
