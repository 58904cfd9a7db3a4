"""`Yolo`: any exported detection network whose head detkit decodes, from YOLO v1 to the transformers."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.detections import Detections
from detkit.detectors.base import Detector
from detkit.detectors.selection import Selection
from detkit.detectors.yolo.beside_boxes import fast_survivors, in_picture, turned_survivors, with_rest
from detkit.detectors.yolo.feeding import Feeding, Prepared, of_one_shape
from detkit.detectors.yolo.graph_options import GraphOptions
from detkit.detectors.yolo.graph_reading import metadata_iou, no_detector, read_graph
from detkit.detectors.yolo.heads.evidence import check_boxes
from detkit.detectors.yolo.heads.signature import Match, is_classifier
from detkit.detectors.yolo.heads.types import Candidates, Frame, Outputs, UnsoundError
from detkit.errors import InputError, ModelError, UsageError
from detkit.graphs.letterbox import Placement
from detkit.graphs.preparation import Size
from detkit.graphs.registry import RUN_IN_PARTS, SEMANTIC, SEMANTIC_TASKS, other_command, resolve
from detkit.graphs.runtime import Runtime
from detkit.graphs.session import Network
from detkit.graphs.sidecar import read_sidecar
from detkit.images import Image
from detkit.settings import settled

logger = logging.getLogger("detkit")


class Yolo(Detector):
    """A detector from an .onnx file: `Yolo("name")(image) -> Detections`.

    model     a name of the registry (`detkit models list`) or an .onnx file; None takes the bundled default
    selection, runtime, options   see `Selection`, `Runtime`, `GraphOptions`

    ModelError where the file cannot be loaded or does not tell its head; UsageError for classes it does not have and
    for numbers out of their range. A picture for which the network's outputs cannot be right is an InputError.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        selection: Selection = Selection(),
        runtime: Runtime = Runtime(),
        options: GraphOptions = GraphOptions(),
        **settings: Any,
    ) -> None:
        self.selection, runtime, self.options = settled(settings, selection, runtime, options)
        self.network = Network(resolve(model, "yolo"), runtime)
        self.path = self.network.path
        metadata = self.network.metadata
        if metadata.get("head") in RUN_IN_PARTS:
            raise other_command(self.network.path, metadata["head"])
        if self.options.head is None and metadata.get("task", "").lower() in SEMANTIC_TASKS:
            raise other_command(self.network.path, SEMANTIC)
        self.feeding = Feeding(self.network)
        if self.options.head is None and is_classifier(self.network.inputs, self.network.outputs, metadata):
            raise no_detector(self.feeding)
        sidecar = read_sidecar(self.network.path)
        self.reading = reading = read_graph(self.feeding, sidecar, self.options)
        for line in reading.assumptions:
            logger.warning("%s: %s", self.network.path, line)
        self.head, self.preparation, self.names = reading.head, reading.preparation, reading.names
        if reading.layout.turned and self.head.nms and self.selection.nms not in ("greedy", "none"):
            raise UsageError(
                f"turned boxes are suppressed as their exporter does, or not at all: no nms {self.selection.nms}"
            )
        own_iou = metadata_iou(metadata, self.head.iou)
        self.iou = own_iou if self.selection.iou is None else self.selection.iou
        multi_label = self.options.multi_label
        counts_all = self.head.multi_label if multi_label is None else multi_label
        conf = self.selection.lowest_conf
        self._frame = Frame((0, 0), conf, counts_all, reading.anchors, sidecar.strides, reading.layout)
        self._wanted = self.selection.wanted(self.names)
        self.batch = self.feeding.fixed_batch or runtime.batch or 1

    def about(self) -> list[str]:
        """The network and what runs it, and which head was recognised for which reason."""
        return [self.network.about(), *(f"head {match.head}: {match.reason}" for match in self.matches)]

    def prepare(self, image: Image, name: str = "") -> Prepared:
        """The picture as a tensor of the network's input size, and its placement in it. Safe to call from threads."""
        return self.feeding.prepare(image, self.preparation)

    def detect(self, prepared: Sequence[Prepared]) -> list[Detections]:
        """Detections of prepared pictures, in their order; pictures of one size go through the network together."""
        found: dict[int, Detections] = {}
        for group in of_one_shape(prepared, self.batch):
            outputs = self.run([prepared[place] for place in group])
            for index, place in enumerate(group):
                candidates = self.decode(outputs, index, prepared[place].placement.size)
                found[place] = self.suppress(candidates, prepared[place].placement)
        return [found[place] for place in range(len(prepared))]

    def run(self, prepared: Sequence[Prepared]) -> list[NDArray[Any]]:
        """The network's outputs for pictures of one input size; a fixed batch is filled up with the last of them."""
        return self.feeding.run(prepared)

    def decode(self, outputs: Outputs, index: int, size: Size) -> Candidates:
        """Candidates of the picture `index` of a batch, in input pixels, with class ids from 0."""
        candidates = self._decoded(outputs, index, replace(self._frame, size=size))
        return candidates if self._wanted is None else candidates[np.isin(candidates.class_ids, self._wanted)]

    def decode_all(self, outputs: Outputs, index: int, size: Size, conf: float) -> Candidates:
        """The same whatever the selection is: of every class above `conf`, those of one row one after the other."""
        return self._decoded(outputs, index, replace(self._frame, size=size, conf=conf, multi_label=True))

    def _decoded(self, outputs: Outputs, index: int, frame: Frame) -> Candidates:
        outputs = [output.astype(np.float32) if output.dtype == np.float16 else output for output in outputs]
        try:
            candidates = self.head.decoded(outputs, index, frame)
            class_ids = self._class_ids(candidates.class_ids)
            check_boxes(candidates.boxes, frame.size)
        except UnsoundError as error:
            raise InputError(f"the network's outputs for it are not {self.head.name}'s: {error}") from error
        except (IndexError, StopIteration, TypeError, ValueError) as error:
            shapes = "; ".join(
                f"{info.name} {output.shape}" for info, output in zip(self.network.outputs, outputs, strict=True)
            )
            raise ModelError(
                f"{self.network.path}: its outputs are not those of {self.head.name}: {shapes} ({error})"
            ) from error
        candidates, known = replace(candidates, class_ids=class_ids), class_ids >= 0
        return candidates if known.all() else candidates[known]

    def _class_ids(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Class ids from 0 of the graph's labels, -1 for labels that stand for none. UnsoundError beyond the names."""
        table, given = self.reading.labels, self.reading.layout.first_label
        first = self.head.first_label if given is None else given
        if len(labels) and labels.min() < first and self.head.first_label:
            raise UnsoundError(f"class number {int(labels.min())}, where they begin at {first}")
        labels = labels + (self.head.first_label - first)
        if table is not None:
            known = (labels >= 0) & (labels < len(table))
            return np.where(known, table[np.where(known, labels, 0)], -1)
        class_ids = labels - self.head.first_label
        if self.names and len(class_ids) and class_ids.max() >= len(self.names):
            raise UnsoundError(f"class {int(class_ids.max())} of {len(self.names)} class names")
        return class_ids

    def suppress(self, candidates: Candidates, placement: Placement) -> Detections:
        """The candidates that survive suppression, best first, in pixels of the picture."""
        layout = self.reading.layout
        found = with_rest(candidates, self.names)
        if layout.turned and self.head.nms and self.selection.nms == "greedy":
            kept = turned_survivors(found, self.iou, self.selection)
        elif self.head.fast and self.selection.nms == "greedy":
            kept = fast_survivors(found, self.iou, self.selection)
        else:
            kept = self.selection.suppressed(found, self.iou, method=None if self.head.nms else "none")
        return in_picture(kept, layout, placement, candidates.prototypes, cut=self.head.cut)

    @property
    def matches(self) -> list[Match]:
        """The head, and why it was taken."""
        return [Match(self.head.name, self.reading.reason, self.reading.layout)]

    @property
    def input_size(self) -> Size | None:
        """The graph's fixed input (width, height); None where it follows the picture."""
        return self.feeding.size
