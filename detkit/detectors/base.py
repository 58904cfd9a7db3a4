"""Detectors: callables `image -> Detections`, where an image is uint8 (H, W, 3) RGB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from detkit.detections import Detections
from detkit.images import Image


class Detector(Protocol):
    """What the batch runner and the commands need of a detector.

    `prepare` may run in several threads at once, away from the pictures' order; `detect` runs in one thread, on the
    prepared pictures of one batch.
    """

    names: tuple[str, ...]
    batch: int

    def prepare(self, image: Image) -> Any: ...

    def detect(self, prepared: Sequence[Any]) -> list[Detections]: ...

    def __call__(self, image: Image) -> Detections: ...


@runtime_checkable
class NamedDetector(Protocol):
    """A detector that looks something up for a picture by the name it has in every output."""

    def prepare_named(self, image: Image, name: str) -> Any: ...
