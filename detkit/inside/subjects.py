"""What is looked into: a detector, a classifier, or a graph of which nothing else is known than its picture."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats
from detkit.detections import Detections
from detkit.detectors.base import Detector
from detkit.detectors.selection import Selection
from detkit.errors import ModelError, UsageError
from detkit.files import is_file
from detkit.graphs.classifier_input import PictureInput
from detkit.graphs.editing import load_whole, part_of
from detkit.graphs.letterbox import Placement
from detkit.graphs.registry import RUN_IN_PARTS, resolve
from detkit.graphs.runtime import Runtime
from detkit.graphs.session import Network
from detkit.graphs.sidecar import read_sidecar
from detkit.graphs.stored import metadata_of
from detkit.images import Image
from detkit.inside.likeness import Rows, Target, vectors_of

if TYPE_CHECKING:
    from onnx import ModelProto

    from detkit.detectors.windows.slide_detector import Classifier
    from detkit.detectors.yolo.yolo_detector import Yolo

logger = logging.getLogger("detkit")

# Scores of hidden pictures count from here on; lower ones could not tell a box from none.
LEAST_SCORE = 0.01
_PAD = 114
_PICTURES_AT_ONCE = 4


@dataclass(frozen=True)
class View:
    """A picture at the size at which a network sees it, without what is padded around it.

    image      uint8 (h, w, 3) RGB
    placement  where it lies in the network's input, and of which picture it is
    fill       the colour that hides: the pad's, or what the network takes for nothing
    """

    image: Image
    placement: Placement
    fill: tuple[int, int, int] = (_PAD, _PAD, _PAD)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.image.shape[1], self.image.shape[0]

    @property
    def scale(self) -> NDArray[np.float32]:
        """Pixels of the view for one of the picture: x, y, x, y."""
        return np.array(self.placement.scale * 2, np.float32)

    def of_picture(self, boxes: Floats) -> Floats:
        """Boxes of the picture as boxes of the view."""
        return np.asarray(boxes, np.float32) * self.scale

    def to_picture(self, heat: NDArray[Any]) -> NDArray[np.float32]:
        """A map (h, w) of the view, or a coarser one of it, as a map of the picture, bilinear."""
        return np.asarray(cv2.resize(heat.astype(np.float32), self.placement.source_size), np.float32)

    def in_input(self, content: Image) -> Image:
        """A content of the view's size where the view lies in the network's input."""
        width, height = self.placement.size
        if content.shape[:2] == (height, width):
            return content
        canvas = np.full((height, width, 3), self.fill, np.uint8)
        left, top = self.placement.left, self.placement.top
        canvas[top : top + content.shape[0], left : left + content.shape[1]] = content
        return canvas


class Subject(ABC):
    """A network or detector as the methods of this room ask it.

    path      its file
    kind      "detector", "classifier" or "graph"
    runtime   where it runs
    why_no_graph   why its inner tensors cannot be had, "" where they can
    """

    path: Path
    kind: str = "graph"
    runtime: Runtime
    names: tuple[str, ...] = ()
    why_no_graph: str = ""

    def about(self) -> list[str]:
        """What it is, a line each."""
        return [f"{self.path}: a {self.kind}"]

    @abstractmethod
    def view(self, image: Image) -> View:
        """The picture as the network sees it."""

    def rows(self, contents: Sequence[Image], view: View) -> list[Rows]:
        """What it says of pictures of the view's size. ModelError where it says nothing that is understood."""
        raise ModelError(
            f"{self.path}: gives neither boxes nor classes that detkit reads, so nothing can be asked of it"
        )

    def targets(self, image: Image, view: View, conf: float, most: int) -> list[Target]:
        """What it finds in the picture, best first, at most so many."""
        return []

    def found(self, image: Image, conf: float) -> Detections:
        """Its detections; none for what is no detector."""
        return Detections.empty(self.names)

    def graph(self) -> ModelProto:
        """The graph that sees the picture, weights with it. ModelError where there is none."""
        if self.why_no_graph:
            raise ModelError(f"{self.path}: {self.why_no_graph}")
        return load_whole(self.path)

    def input_placement(self, view: View) -> Placement:
        """Where the picture lies in the input of `graph`."""
        return view.placement

    def feeds(self, view: View) -> dict[str, NDArray[Any]]:
        """The inputs of `graph` for a view."""
        raise ModelError(f"{self.path}: {self.why_no_graph}")


class DetectionNetwork(Subject):
    """A network of boxes, as `detkit yolo` runs it; its rows are those before suppression, of every class."""

    kind = "detector"

    def __init__(self, yolo: Yolo, runtime: Runtime) -> None:
        self.yolo, self.runtime = yolo, runtime
        self.path, self.names = yolo.network.path, yolo.names

    def about(self) -> list[str]:
        return self.yolo.about()

    def view(self, image: Image) -> View:
        prepare = self.yolo.preparation
        size = self.yolo.feeding.size or prepare.input_size((image.shape[1], image.shape[0]))
        canvas, placement = prepare.place(image, size)
        (width, height), left, top = placement.resized, placement.left, placement.top
        return View(canvas[top : top + height, left : left + width], placement, (prepare.pad,) * 3)

    def rows(self, contents: Sequence[Image], view: View) -> list[Rows]:
        step = self.yolo.feeding.fixed_batch or self.runtime.batch or _PICTURES_AT_ONCE
        return [rows for k in range(0, len(contents), step) for rows in self._batch(contents[k : k + step], view)]

    def _batch(self, contents: Sequence[Image], view: View) -> list[Rows]:
        outputs = self.yolo.run([self._prepared(content, view) for content in contents])
        return [self._decoded(outputs, index, view) for index in range(len(contents))]

    def _decoded(self, outputs: Sequence[NDArray[Any]], index: int, view: View) -> Rows:
        found = self.yolo.decode_all(outputs, index, view.placement.size, LEAST_SCORE)
        # The classes of one row come one after the other, with the same box.
        new = np.ones(len(found.boxes), bool)
        new[1:] = (found.boxes[1:] != found.boxes[:-1]).any(axis=1)
        count = max(len(self.names), int(found.class_ids.max(initial=-1)) + 1)
        vectors = vectors_of(found.scores, found.class_ids, np.cumsum(new) - 1, count)
        corner = np.array((view.placement.left, view.placement.top) * 2, np.float32)
        return Rows(found.boxes[new].astype(np.float32) - corner, vectors)

    def _prepared(self, content: Image, view: View) -> Any:
        from detkit.detectors.yolo.feeding import Prepared

        canvas = view.in_input(content)
        return Prepared(self.yolo.preparation.tensor(canvas, self.yolo.feeding.pixels), view.placement)

    def found(self, image: Image, conf: float) -> Detections:
        found = self.yolo(image)
        return found[found.scores > conf]

    def targets(self, image: Image, view: View, conf: float, most: int) -> list[Target]:
        (rows,) = self.rows([view.image], view)
        return _targets(self.found(image, conf)[:most], view, rows)

    def feeds(self, view: View) -> dict[str, NDArray[Any]]:
        return self.yolo.feeding.feeds([self._prepared(view.image, view)])


class ClassifierNetwork(Subject):
    """A classifier, which is shown the whole picture, stretched to its input."""

    kind = "classifier"

    def __init__(self, classifier: Classifier, runtime: Runtime) -> None:
        self.classifier, self.runtime = classifier, runtime
        self.path, self.names = classifier.network.path, classifier.names
        self._picture = _StretchedInput(classifier.picture)

    def view(self, image: Image) -> View:
        return self._picture.view(image)

    def rows(self, contents: Sequence[Image], view: View) -> list[Rows]:
        tensors = np.stack([self._picture.tensor(content) for content in contents])
        scores = self.classifier.classify(tensors)
        height, width = view.image.shape[:2]
        whole = np.array([[0, 0, width, height]], np.float32)
        return [Rows(whole, row[None]) for row in scores]

    def targets(self, image: Image, view: View, conf: float, most: int) -> list[Target]:
        (rows,) = self.rows([view.image], view)
        scores = rows.vectors[0]
        best = np.argsort(-scores, kind="stable")[:most]
        eye = np.eye(len(scores), dtype=np.float32)
        return [Target(_named(self.names, k, scores[k]), None, eye[k], k, float(scores[k])) for k in best.tolist()]

    def feeds(self, view: View) -> dict[str, NDArray[Any]]:
        return self._picture.feeds(view)


class OtherGraph(Subject):
    """A graph with one picture as its input, of which nothing else is understood."""

    def __init__(self, path: Path, runtime: Runtime) -> None:
        network = Network(path, runtime)
        self.path, self.runtime = path, runtime
        self._picture = _StretchedInput(PictureInput(network, read_sidecar(path)))

    def view(self, image: Image) -> View:
        return self._picture.view(image)

    def feeds(self, view: View) -> dict[str, NDArray[Any]]:
        return self._picture.feeds(view)


class WholeDetector(Subject):
    """Any other detector of the house, which is asked for its boxes, not suppressed, from the picture alone."""

    kind = "detector"

    def __init__(self, path: Path, detector: Detector, all_boxes: Detector, runtime: Runtime) -> None:
        self.detector, self.runtime, self._all = detector, runtime, all_boxes
        self.path, self.names = path, detector.names
        if self.path.suffix.lower() == ".npz":
            own = getattr(getattr(detector, "model", None), "features", None)
            what = f"; its features are those of {own.model}, which --model takes" if own is not None else ""
            self.why_no_graph = f"holds no network with layers{what}"

    def about(self) -> list[str]:
        return self.detector.about() or super().about()

    def view(self, image: Image) -> View:
        size = (image.shape[1], image.shape[0])
        return View(image, Placement(size, size, size))

    def rows(self, contents: Sequence[Image], view: View) -> list[Rows]:
        made = []
        for content in contents:
            (found,) = self._all.detect([self._all.prepare(content)])
            count = max(len(self.names), int(found.class_ids.max(initial=-1)) + 1)
            each = np.arange(len(found))
            made.append(Rows(found.boxes, vectors_of(found.scores, found.class_ids, each, count)))
        return made

    def found(self, image: Image, conf: float) -> Detections:
        found = self.detector(image)
        return found[found.scores > conf].sorted()

    def targets(self, image: Image, view: View, conf: float, most: int) -> list[Target]:
        (rows,) = self.rows([view.image], view)
        return _targets(self.found(image, conf)[:most], view, rows)

    def graph(self) -> ModelProto:
        whole = super().graph()
        present = [value.name for value in whole.graph.output]
        return part_of(whole, [name for name in ("feature_map", "rpn_scores", "rpn_offsets") if name in present])

    def feeds(self, view: View) -> dict[str, NDArray[Any]]:
        if self.why_no_graph:
            return super().feeds(view)
        return {"images": self.detector.prepare(view.image).tensor[None]}

    def input_placement(self, view: View) -> Placement:
        placement: Placement = self.detector.prepare(view.image).placement
        return placement


class _StretchedInput:
    """A picture input that the whole picture is stretched to."""

    def __init__(self, picture: PictureInput) -> None:
        self._picture = picture
        self._size = picture.size or (224, 224)
        mean = [round(value) for value in picture.mean]
        mean = [_PAD if not 0 <= value <= 255 else value for value in mean]
        self._fill = (mean * 3)[:3] if len(mean) == 1 else mean
        if not any(self._fill):  # black is nothing to the network, and something to people
            self._fill = [_PAD] * 3

    def view(self, image: Image) -> View:
        source = (image.shape[1], image.shape[0])
        shrinks = source[0] * source[1] > self._size[0] * self._size[1]
        content = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        red, green, blue = self._fill
        return View(np.asarray(content, np.uint8), Placement(source, self._size, self._size), (red, green, blue))

    def tensor(self, content: Image) -> NDArray[Any]:
        return self._picture.tensor(content)

    def feeds(self, view: View) -> dict[str, NDArray[Any]]:
        batch = self._picture.info.shape[0] or 1
        return {self._picture.info.name: np.repeat(self.tensor(view.image)[None], batch, axis=0)}


def open_subject(model: str | os.PathLike[str] | None, runtime: Runtime = Runtime(), conf: float = 0.25) -> Subject:
    """What a model is. None takes the bundled detection network. ModelError where it cannot be loaded."""
    from detkit.detectors.yolo.heads.signature import is_classifier

    path = resolve(None, "yolo") if model is None else resolve(model)
    if path.suffix.lower() == ".npz":
        return _whole_detector(path, runtime, conf)
    if not is_file(path, ModelError):
        raise ModelError(f"{path}: no such model file")
    if metadata_of(path).get("head") in RUN_IN_PARTS:
        return _whole_detector(path, runtime, conf)
    network = Network(path, runtime)
    try:
        classifies = is_classifier(network.inputs, network.outputs, network.metadata)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    try:
        if classifies:
            from detkit.detectors.windows.slide_detector import Classifier

            return ClassifierNetwork(Classifier(path, runtime), runtime)
        from detkit.detectors.yolo.yolo_detector import Yolo

        return DetectionNetwork(Yolo(path, Selection(conf=conf), runtime), runtime)
    except (ModelError, UsageError) as error:
        try:
            other = OtherGraph(path, runtime)
        except ModelError:
            raise error from None
        logger.warning("%s; its layers are shown, and no more", error)
        return other


def _whole_detector(path: Path, runtime: Runtime, conf: float) -> Subject:
    usual, every = Selection(conf=conf), Selection(conf=LEAST_SCORE, nms="none", max_det=None)
    if path.suffix.lower() == ".npz" and _is_hog(path):
        from detkit.detectors.hog.hog_detector import HogDetector

        return WholeDetector(path, HogDetector(path, usual, runtime), HogDetector(path, every, runtime), runtime)
    from detkit.detectors.rcnn.two_stage import two_stage

    return WholeDetector(path, two_stage(path, None, usual, runtime), two_stage(path, None, every, runtime), runtime)


def _is_hog(path: Path) -> bool:
    from detkit.detectors.hog.hog_model import read_model

    try:
        read_model(path)
    except ModelError:
        return False
    return True


def _targets(found: Detections, view: View, rows: Rows) -> list[Target]:
    """Detections as targets, with the class scores of the row that each came from: the best row of its place."""
    made = []
    for row in found:
        box, class_id, score = view.of_picture(row.boxes)[0], int(row.class_ids[0]), float(row.scores[0])
        vector = np.zeros(max(rows.vectors.shape[1] if len(rows.vectors) else 0, class_id + 1), np.float32)
        vector[class_id] = score
        if len(rows.boxes):
            apart = np.abs(rows.boxes - box).max(axis=1) + 10 * np.abs(rows.vectors[:, class_id] - score)
            nearest = int(apart.argmin())
            if apart[nearest] < 3:
                vector = rows.vectors[nearest]
        made.append(Target(_named(found.names, class_id, score), box, vector, class_id, score))
    return made


def _named(names: tuple[str, ...], class_id: int, score: float) -> str:
    from detkit.classes import class_name

    return f"{class_name(names, class_id)} {score:.2f}"
