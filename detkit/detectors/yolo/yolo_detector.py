"""`Yolo`: any exported detection network whose head detkit decodes, from YOLO v1 to the transformers."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.class_names import names_from_file, names_from_metadata
from detkit.classes import CATEGORY_IDS, COCO_NAMES, VOC_NAMES
from detkit.detections import Detections
from detkit.detectors.base import Detector
from detkit.detectors.selection import Selection
from detkit.detectors.yolo.heads import HEADS, head_named
from detkit.detectors.yolo.heads.anchored import default_anchors
from detkit.detectors.yolo.heads.recognise import Match, Signature, channels_last, image_input, is_classifier, recognise
from detkit.detectors.yolo.heads.types import Candidates, Frame, Head, Outputs
from detkit.errors import ModelError, UsageError
from detkit.graphs.letterbox import Placement
from detkit.graphs.preparation import Preparation, Size
from detkit.graphs.registry import CLASSIFIER, RUN_IN_PARTS, other_command, resolve
from detkit.graphs.runtime import Runtime
from detkit.graphs.session import Network
from detkit.graphs.sidecar import read_sidecar, sidecar_path
from detkit.graphs.stored import stored_tensors
from detkit.images import Image
from detkit.settings import settled

# What a graph that resizes by itself is shown to learn the shapes of its outputs.
_PROBE_SIDE = 320
# Names that exporters give the last layer for classes; the length of its bias is the number of classes.
_CLASSIFIERS = ("cls_score", "cls_logits", "class_embed", "score_head", "classification_head")


@dataclass(frozen=True)
class Prepared:
    """A picture on its way through the network: its tensor, and where it lies in it."""

    tensor: NDArray[Any]
    placement: Placement


@dataclass(frozen=True)
class GraphOptions:
    """How a graph is read, where it does not tell or is not to be believed.

    names     class names, a file of them, "coco" or "voc", in place of the graph's own
    head      name of the head, in place of recognising it
    size      side of the input in pixels, where the graph leaves it open
    multi_label  whether a box counts for every class above `conf`; None takes the exporter's own choice
    """

    names: Sequence[str] | str | os.PathLike[str] | None = None
    head: str | None = None
    size: int | None = None
    multi_label: bool | None = None


class Yolo(Detector):
    """A detector from an .onnx file: `Yolo("name")(image) -> Detections`.

    model     a name of the registry (`detkit models list`) or an .onnx file; None takes the bundled default
    selection, runtime, options   see `Selection`, `Runtime`, `GraphOptions`

    ModelError where the file cannot be loaded or does not tell its head; UsageError for classes it does not have and
    for numbers out of their range.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        selection: Selection = Selection(),
        runtime: Runtime = Runtime(),
        options: GraphOptions = GraphOptions(),
        **settings: Any,
    ) -> None:
        self.selection, runtime, options = settled(settings, selection, runtime, options)
        head, names, size, multi_label = options.head, options.names, options.size, options.multi_label
        self.network = Network(resolve(model, "yolo"), runtime)
        self.path = self.network.path
        metadata = self.network.metadata
        if metadata.get("head") in RUN_IN_PARTS:
            raise other_command(self.network.path, metadata["head"])
        if head is None and is_classifier(self.network.inputs, self.network.outputs, metadata):
            raise other_command(self.network.path, CLASSIFIER)
        self._sidecar = read_sidecar(self.network.path)
        self._image = image_input(self.network.inputs)
        self._channels_last = channels_last(self._image)
        self._fixed_size = _fixed_size(self._image, self._channels_last)
        self._check_inputs()
        self._probed: list[NDArray[Any]] | None = None
        self.signature = Signature(
            self.network.inputs, self.network.outputs, self.network.metadata, self._probe_size(), self._probe
        )

        self.matches = self._recognise(head)
        self.head: Head = head_named(self.matches[0].head)
        self.preparation = self._preparation(size)
        own_iou = _metadata_iou(self.network.metadata, self.head.iou)
        self.iou = own_iou if self.selection.iou is None else self.selection.iou

        count = self._class_count()
        self.names, self._labels = self._class_table(names, count)
        self._frame = self._decoding_frame(count, self.head.multi_label if multi_label is None else multi_label)
        self._wanted = self.selection.wanted(self.names)
        fixed_batch = self._image.shape[0] if len(self._image.shape) == 4 else 1
        self.batch = fixed_batch or runtime.batch or 1

    def about(self) -> list[str]:
        """The network and what runs it, and which head was recognised for which reason."""
        return [self.network.about(), *(f"head {match.head}: {match.reason}" for match in self.matches)]

    def prepare(self, image: Image, name: str = "") -> Prepared:
        """The picture as a tensor of the network's input size, and its placement in it. Safe to call from threads."""
        size = self._fixed_size or self.preparation.input_size((image.shape[1], image.shape[0]))
        canvas, placement = self.preparation.place(image, size)
        return Prepared(self.preparation.tensor(canvas, self._image.dtype, self._channels_last), placement)

    def detect(self, prepared: Sequence[Prepared]) -> list[Detections]:
        """Detections of prepared pictures, in their order; pictures of one size go through the network together."""
        found: dict[int, Detections] = {}
        for group in _of_one_shape(prepared, self.batch):
            outputs = self.run([prepared[place] for place in group])
            for index, place in enumerate(group):
                candidates = self.decode(outputs, index, prepared[place].placement.size)
                found[place] = self.suppress(candidates, prepared[place].placement)
        return [found[place] for place in range(len(prepared))]

    def run(self, prepared: Sequence[Prepared]) -> list[NDArray[Any]]:
        """The network's outputs for pictures of one input size; a fixed batch is filled up with the last of them."""
        size = prepared[0].placement.size
        if len(self._image.shape) == 3:
            return self.network.run({self._image.name: prepared[0].tensor, **self._extra(size)})
        tensors = [picture.tensor for picture in prepared]
        tensors += [tensors[-1]] * ((self._image.shape[0] or 0) - len(tensors))
        batch = np.stack(tensors) if len(tensors) > 1 else tensors[0][None]
        return self.network.run({self._image.name: batch, **self._extra(size, len(batch))})

    def decode(self, outputs: Outputs, index: int, size: Size) -> Candidates:
        """Candidates of the picture `index` of a batch, in input pixels, with class ids from 0."""
        frame = replace(self._frame, size=size)
        outputs = [output.astype(np.float32) if output.dtype == np.float16 else output for output in outputs]
        try:
            candidates = self.head.decode(outputs, index, frame)
        except (IndexError, StopIteration, TypeError, ValueError) as error:
            shapes = "; ".join(
                f"{info.name} {output.shape}" for info, output in zip(self.network.outputs, outputs, strict=True)
            )
            raise ModelError(
                f"{self.network.path}: its outputs are not those of {self.head.name}: {shapes} ({error})"
            ) from error
        class_ids = candidates.class_ids
        if self._labels is not None:
            known = (class_ids >= 0) & (class_ids < len(self._labels))
            class_ids = np.where(known, self._labels[np.where(known, class_ids, 0)], -1)
        else:
            class_ids = class_ids - self.head.first_label
        kept = class_ids >= 0
        if self._wanted is not None:
            kept &= np.isin(class_ids, self._wanted)
        kept &= np.isfinite(candidates.boxes).all(axis=1)
        if kept.all():
            return replace(candidates, class_ids=class_ids)
        return Candidates(candidates.boxes[kept], candidates.scores[kept], class_ids[kept])

    def suppress(self, candidates: Candidates, placement: Placement) -> Detections:
        """The candidates that survive suppression, best first, in pixels of the picture."""
        detections = Detections(candidates.boxes, candidates.scores, candidates.class_ids, self.names)
        kept = self.selection.suppressed(detections, self.iou, method=None if self.head.nms else "none")
        return replace(kept, boxes=placement.undo(kept.boxes, cut=self.head.cut))

    @property
    def input_size(self) -> Size | None:
        """The graph's fixed input (width, height); None where it follows the picture."""
        return self._fixed_size

    def _check_inputs(self) -> None:
        known = {name for head in HEADS.values() for name in head.extra}
        unknown = [str(value) for value in self.network.inputs if value != self._image and value.name not in known]
        if unknown:
            raise ModelError(
                f"{self.network.path}: has inputs that no head detkit knows asks for: {', '.join(unknown)}"
            )

    def _recognise(self, head: str | None) -> list[Match]:
        if head is not None:
            return [Match(head_named(head).name, "asked for by --head")]
        if self._sidecar.head is not None:
            return [Match(head_named(self._sidecar.head).name, f"named in {sidecar_path(self.network.path).name}")]
        network = self.network
        matches = recognise(self.signature)
        if len(matches) == 1:
            return matches
        if not matches:
            raise ModelError(
                f"{network.path}: its outputs fit no head: {'; '.join(str(output) for output in network.outputs)}. "
                "Name one with --head, or in a sidecar file"
            )
        candidates = "; ".join(f"{match.head} ({match.reason})" for match in matches)
        raise ModelError(
            f"{network.path}: its head is ambiguous, it may be {candidates}. Name one with --head or in a sidecar file"
        )

    def _preparation(self, size: int | None) -> Preparation:
        metadata = self.network.metadata
        preparation = self.head.preparation
        if "letterbox_pad" in metadata:  # libreyolo: "center" or "topleft"
            preparation = replace(preparation, fit="center" if metadata["letterbox_pad"] == "center" else "top-left")
        preparation = self._sidecar.applied_to(preparation)
        stride = metadata.get("stride", "")
        if stride.isdecimal() and int(stride) > 0:
            preparation = replace(preparation, stride=int(stride))
        open_size = size or (self._sidecar.size and max(self._sidecar.size)) or _metadata_side(metadata)
        if open_size and preparation.dynamic != "native":
            preparation = replace(preparation, size=open_size)
        if size and self._fixed_size and max(self._fixed_size) != size:
            raise UsageError(
                f"--size {size}: the graph's input is fixed at {self._fixed_size[0]} x {self._fixed_size[1]}"
            )
        return preparation

    def _probe_size(self) -> Size:
        if self._fixed_size:
            return self._fixed_size
        side = (self._sidecar.size and max(self._sidecar.size)) or _metadata_side(self.network.metadata)
        return (side, side) if side else (_PROBE_SIDE, _PROBE_SIDE)

    def _probe(self) -> list[NDArray[Any]]:
        """The outputs for a test picture: noise on a ramp, in the scale that most networks take."""
        if self._probed is None:
            width, height = size = self._probe_size()
            ramp = np.linspace(0, 160, width)[None, :, None] + np.random.default_rng(0).integers(0, 96, (height, 1, 3))
            preparation = self._sidecar.applied_to(Preparation())
            tensor = preparation.tensor(ramp.astype(np.uint8), self._image.dtype, self._channels_last)
            self._probed = self.run([Prepared(tensor, Placement(size, size, size))])
        return self._probed

    def _extra(self, size: Size, batch: int = 1) -> Mapping[str, NDArray[Any]]:
        """The values of the inputs beside the picture, for a picture as large as the input itself."""
        values = {}
        for info in self.network.inputs:
            if info != self._image:
                value = next(head.extra[info.name] for head in HEADS.values() if info.name in head.extra)(size)
                values[info.name] = np.repeat(value, batch, axis=0).astype(info.dtype)
        return values

    def _class_count(self) -> int | None:
        try:
            return self.head.classes(self.signature.shapes())
        except IndexError:
            shapes = "; ".join(str(output) for output in self.network.outputs)
            raise ModelError(f"{self.network.path}: its outputs are not those of {self.head.name}: {shapes}") from None

    def _class_table(
        self, given: Sequence[str] | str | os.PathLike[str] | None, count: int | None
    ) -> tuple[tuple[str, ...], NDArray[np.int64] | None]:
        """Class names, and the class id of each label of the graph (-1: none) where that is not a plain offset."""
        head = self.head
        names = _resolve_names(given) or _resolve_names(self._sidecar.names)
        names = names or names_from_metadata(self.network.metadata) or _resolve_names(head.names or None)
        width = count if count is not None else self._classifier_width()
        if head.coco_ids and (names == COCO_NAMES or (not names and width in (90, 91))):
            labels = np.full(max(CATEGORY_IDS) + 1, -1)
            labels[list(CATEGORY_IDS)] = np.arange(len(CATEGORY_IDS))
            return COCO_NAMES, labels
        if not names:
            classes = None if width is None else width - (head.first_label if count is None else 0)
            names = {len(COCO_NAMES): COCO_NAMES, len(VOC_NAMES): VOC_NAMES}.get(classes or 0, ())
        if given is not None and count is not None and len(names) != count and not head.coco_ids:
            raise UsageError(f"--names gives {len(names)} names, but {self.network.path.name} has {count} classes")
        if not names and count is not None:
            names = tuple(str(number) for number in range(count))
        return names, None

    def _classifier_width(self) -> int | None:
        """The number of classes by the bias of the last layer, background included, where exporters kept its name."""
        widths = {
            tensor.shape[0]
            for tensor in stored_tensors(self.network.path)
            if len(tensor.shape) == 1 and tensor.name.endswith("bias") and _classifies(tensor.name)
        }
        # A head with A anchors has A biases a class: of COCO's 91 labels, 9 x 91 in RetinaNet, 4 x 91 in SSD.
        if widths and all(width % 91 == 0 for width in widths):
            return 91
        return widths.pop() if len(widths) == 1 else None

    def _decoding_frame(self, count: int | None, multi_label: bool) -> Frame:
        anchors = self._sidecar.anchors or self.head.anchors
        levels = len(self.network.outputs)
        if not anchors:
            anchors = default_anchors(self.head.name, count, levels)
        if not anchors and self.head.name in ("yolov2", "yolov3-raw", "yolov5-raw", "yolov7-raw"):
            raise ModelError(
                f"{self.network.path}: {self.head.name} needs its anchors, which the graph does not hold: "
                f"give them as 'anchors' in {sidecar_path(self.network.path).name}"
            )
        return Frame((0, 0), self.selection.conf, multi_label, anchors, self._sidecar.strides)


def _classifies(name: str) -> bool:
    """Whether a layer tells classes; that of a region proposal network tells objects from background only."""
    return any(part in name for part in _CLASSIFIERS) and not name.startswith("rpn.")


def _fixed_size(image: Any, last: bool) -> Size | None:
    height, width = image.shape[-3:-1] if last else image.shape[-2:]
    return (width, height) if width and height else None


def _metadata_side(metadata: Mapping[str, str]) -> int | None:
    """The long side of ultralytics' "imgsz" in pixels: "[320, 320]", or "640"."""
    try:
        value = ast.literal_eval(metadata.get("imgsz", ""))
    except (ValueError, SyntaxError):
        return None
    sides = value if isinstance(value, list | tuple) else [value]
    return max(sides) if sides and all(isinstance(side, int) and side > 0 for side in sides) else None


def _metadata_iou(metadata: Mapping[str, str], default: float) -> float:
    """The overlap for suppression that a network of `detkit train yolo` was measured best with, else the default."""
    try:
        value = json.loads(metadata.get("detkit", "")).get("iou", default)
    except (ValueError, AttributeError):
        return default
    return float(value) if isinstance(value, int | float) and 0 < value <= 1 else default


def _resolve_names(given: Sequence[str] | str | os.PathLike[str] | None) -> tuple[str, ...]:
    if given is None:
        return ()
    return names_from_file(given) if isinstance(given, str | os.PathLike) else tuple(given)


def _of_one_shape(prepared: Sequence[Prepared], most: int) -> list[list[int]]:
    """Places of the pictures, grouped by the shape of their tensors, at most `most` a group."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for place, picture in enumerate(prepared):
        by_shape.setdefault(picture.tensor.shape, []).append(place)
    return [places[start : start + most] for places in by_shape.values() for start in range(0, len(places), most)]
