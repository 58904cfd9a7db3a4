"""What a run does with each picture, and how that becomes a record and a drawing: detection, or region proposals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from detkit.boxes import Floats
from detkit.classes import class_name
from detkit.detections import Detections
from detkit.detectors.base import Detector
from detkit.drawing import crop_places, crops, draw
from detkit.images import Image
from detkit.proposals import Proposals
from detkit.proposals.methods import Propose
from detkit.proposals.proposal_pictures import draw_best, draw_cover
from detkit.runs.batch import Result
from detkit.runs.record import Record


class Task(Protocol):
    """What a run does with each picture: a `batch.Worker` whose results become records and drawings.

    names   of the classes that it tells apart, if any
    wanted  the names among them that were asked for, none where all are
    videos  why videos are none of its inputs; "" where they are
    parts   opens a file of which it may want parts only; None where it takes whole pictures
    """

    names: tuple[str, ...]
    wanted: tuple[str, ...]
    batch: int
    videos: str
    parts: Callable[[Path], Any] | None

    def prepare(self, image: Image, name: str = "") -> Any: ...

    def detect(self, prepared: Sequence[Any]) -> Sequence[Any]: ...

    def record(self, result: Result) -> Record:
        """What is found in a picture, without its name."""

    def draw(self, image: Image, found: Any, name: str) -> Image:
        """The annotated picture."""

    def crops(self, image: Image, found: Any) -> Iterator[tuple[str, Image]]:
        """Cut-outs with a name for each."""

    def crop_names(self, record: Record) -> Iterator[str]:
        """The names that `crops` gave the cut-outs of a record."""


class Detection:
    """A detector over pictures and videos."""

    videos = ""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.names, self.batch = detector.names, detector.batch
        self.parts: Callable[[Path], Any] | None = detector.read if detector.reads_parts else None
        wanted = detector.selection.wanted(detector.names)
        self.wanted = () if wanted is None else tuple(class_name(detector.names, number) for number in wanted.tolist())

    def prepare(self, image: Image, name: str = "") -> Any:
        """See `Detector.prepare`."""
        return self.detector.prepare(image, name)

    def detect(self, prepared: Sequence[Any]) -> list[Detections]:
        """See `Detector.detect`."""
        return self.detector.detect(prepared)

    def record(self, result: Result) -> Record:
        """Size of the picture, and its detections."""
        return {"width": result.width, "height": result.height, "detections": result.found.to_dicts()}

    def draw(self, image: Image, found: Detections, name: str) -> Image:
        """Boxes and labels."""
        return draw(image, found)

    def crops(self, image: Image, found: Detections) -> Iterator[tuple[str, Image]]:
        """What each box cuts out."""
        return crops(image, found)

    def crop_names(self, record: Record) -> Iterator[str]:
        """Those of `crops`."""
        found = sorted(record["detections"], key=lambda one: -one["score"])
        boxes, names = [one["box"] for one in found], [one["class"] for one in found]
        return (label for _, label, _ in crop_places(boxes, names, record["width"], record["height"]))


class Proposing:
    """A method of region proposals over pictures.

    propose  a picture -> its proposals
    best     boxes that a drawing shows
    objects  true boxes (G, 4) xyxy of a picture by name, None where none are known: those and what covers them is drawn
    fingerprint   of the network that proposes; "" where none does
    """

    names: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()
    batch = 1
    videos = "is a video; proposals are for pictures"
    parts: Callable[[Path], Any] | None = None

    def __init__(
        self,
        propose: Propose,
        best: int = 20,
        objects: Callable[[str], Floats | None] = lambda name: None,
        fingerprint: str = "",
    ) -> None:
        self._propose, self._best, self._objects, self.fingerprint = propose, best, objects, fingerprint

    def prepare(self, image: Image, name: str = "") -> Proposals:
        """All the work: proposals of several pictures are made side by side, each in a thread."""
        return self._propose(image)

    def detect(self, prepared: Sequence[Proposals]) -> Sequence[Proposals]:
        """What `prepare` made."""
        return prepared

    def record(self, result: Result) -> Record:
        """Boxes and scores, best first."""
        found: Proposals = result.found
        return found.to_dict()

    def draw(self, image: Image, found: Proposals, name: str) -> Image:
        """The best boxes, or of annotated pictures each object with the box that covers it best."""
        objects = self._objects(name)
        if objects is None:
            return draw_best(image, found, self._best)
        return draw_cover(image, found, np.asarray(objects))

    def crops(self, image: Image, found: Proposals) -> Iterator[tuple[str, Image]]:
        """None: a proposal is no object yet."""
        return iter(())

    def crop_names(self, record: Record) -> Iterator[str]:
        """None."""
        return iter(())
