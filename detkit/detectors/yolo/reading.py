"""What a graph is: its head, how it wants its picture, its class names, and on what grounds.

Read off the metadata, the sidecar file, the graph's first nodes and a trial run, in one place, before any picture. What
cannot be told is refused; what has to be assumed is said.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.class_names import metadata_has_names, names_from_file, names_from_metadata
from detkit.classes import CATEGORY_IDS, COCO_NAMES, VOC_NAMES
from detkit.detectors.yolo.feeding import Feeding, Prepared
from detkit.detectors.yolo.heads import head_named
from detkit.detectors.yolo.heads.anchored import default_anchors
from detkit.detectors.yolo.heads.dense import decode_box_score_class, decode_rows
from detkit.detectors.yolo.heads.finished import decode_tensorflow
from detkit.detectors.yolo.heads.recognise import NEED_ANCHORS, Recognition, layout_for, recognise
from detkit.detectors.yolo.heads.signature import Match, Signature
from detkit.detectors.yolo.heads.types import Frame, Head, Layout, UnsoundError
from detkit.errors import ModelError, UsageError
from detkit.graphs.classifier_input import is_embedding
from detkit.graphs.inner_scaling import InnerScaling, inner_scaling
from detkit.graphs.letterbox import Fit, Placement
from detkit.graphs.preparation import Anchors, Preparation, Size
from detkit.graphs.registry import CLASSIFIER, other_command
from detkit.graphs.session import Network
from detkit.graphs.sidecar import Sidecar, sidecar_path
from detkit.graphs.stored import stored_tensors

# Sides of the trial picture, where nothing tells one: tried in turn until the graph runs.
_PROBE_SIDES = (320, 640, 416, 512, 800)
# A small picture that is no square, (width, height).
_NO_SQUARE = (256, 192)
_COLOR_KEYS = ("color", "color_format", "color_space", "channel_order")
# Names that exporters give the last layer for classes; the length of its bias is the number of classes.
_CLASSIFIERS = ("cls_score", "cls_logits", "class_embed", "score_head", "classification_head")

# Heads that show the number of their classes neither in a shape nor in a layer, and cells enough to show it otherwise.
_UNCOUNTED = (decode_tensorflow, decode_rows, decode_box_score_class)
_MANY_CELLS = 1000

Names = Sequence[str] | str | os.PathLike[str]


@dataclass(frozen=True)
class GraphOptions:
    """How a graph is read, where it does not tell or is not to be believed.

    names        class names, a file of them, "coco" or "voc", in place of the graph's own
    head         name of the head, in place of recognising it
    size         side of the input in pixels, where the graph leaves it open
    multi_label  whether a box counts for every class above `conf`; None takes the exporter's own choice
    mean, std    for each channel, on the scale 0 to 255: input = (pixel - mean) / std
    color, fit   see `Preparation`
    """

    names: Names | None = None
    head: str | None = None
    size: int | None = None
    multi_label: bool | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    color: Literal["rgb", "bgr"] | None = None
    fit: Fit | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            if numbers is None:
                continue
            if len(numbers) not in (1, 3) or not all(np.isfinite(numbers)) or (name == "std" and min(numbers) <= 0):
                above = " above 0" if name == "std" else ""
                raise UsageError(f"{name} is one number{above} or three, for pixels from 0 to 255, not {list(numbers)}")
            object.__setattr__(self, name, tuple(map(float, numbers)) * (3 // len(numbers)))
        if (self.std and max(self.std) < 1) or (self.mean and 0 < max(self.mean) < 1):
            raise UsageError("mean and std are for pixels from 0 to 255: times 255, where yours are for 0 to 1")

    def applied_to(self, preparation: Preparation) -> Preparation:
        """`preparation` with what is given here."""
        given = {key: getattr(self, key) for key in ("mean", "std", "color", "fit")}
        return replace(preparation, **{key: value for key, value in given.items() if value is not None})


@dataclass(frozen=True)
class Reading:
    """How a network is used.

    head, layout    what decodes its outputs, and how the graph writes them
    reason          why this head
    preparation     of its pictures
    assumptions     what was assumed, and how to change it, a line each
    names, labels   class names, and the class id of each label of the graph (-1: none) where that is no plain offset
    anchors         of heads that have them
    """

    head: Head
    layout: Layout
    reason: str
    preparation: Preparation
    assumptions: tuple[str, ...]
    names: tuple[str, ...]
    labels: NDArray[np.int64] | None
    anchors: Anchors


def read_graph(feeding: Feeding, sidecar: Sidecar, options: GraphOptions) -> Reading:
    """How the network of `feeding` is used. ModelError, in one line, where that cannot be told."""
    network = feeding.network
    scaling = None
    if np.issubdtype(feeding.pixels.dtype, np.floating):
        scaling = inner_scaling(network.path, feeding.image.name)
    given, own = _resolved(options.names), _resolved(sidecar.names) or names_from_metadata(network.metadata)
    pictures = options.applied_to(sidecar.applied_to(_scaled(Preparation(), scaling)))
    trials = _Trials(feeding, sidecar, options, pictures, len(own) or _metadata_count(network.metadata))
    match, signature = _match(trials, sidecar, options, given)
    head = head_named(match.head)
    preparation, assumptions = _preparation(head, feeding, sidecar, options, scaling)
    if feeding.size is None and preparation.dynamic == "aspect" and not trials.any_size():
        preparation = replace(preparation, dynamic="square", size=max(signature.size))
    count = _class_count(head, match.layout, signature, network)
    names, labels = _class_table(head, network, own, given, count)
    if not names:
        names, labels, line = _assumed_names(head, match.layout, signature)
        assumptions += [line] if line else []
    return Reading(
        head, match.layout, match.reason, preparation, tuple(assumptions), names, labels,
        _anchors(head, network, sidecar, count),
    )  # fmt: skip


def no_detector(feeding: Feeding) -> ModelError:
    """The error for a graph that gives one row of numbers for a picture: a classifier goes to `slide`."""
    path = feeding.network.path
    trials = _Trials(feeding, Sidecar(), GraphOptions(), Preparation(), None)
    values = next((signature.values[0] for signature in trials.signatures()), None)
    if values is not None and is_embedding(values.reshape(len(values), -1)):
        length = values.size // len(values)
        return ModelError(f"{path}: gives an embedding, a row of {length} numbers of length 1: it finds no boxes")
    return other_command(path, CLASSIFIER)


class _Trials:
    """Trial runs of a graph: with noise on a ramp, at its own size or at those that may be it."""

    def __init__(
        self, feeding: Feeding, sidecar: Sidecar, options: GraphOptions, preparation: Preparation, names: int | None
    ) -> None:
        self.feeding, self.network, self.preparation = feeding, feeding.network, preparation
        self.names = names or None
        given = options.size or (sidecar.size and max(sidecar.size))
        likely = _metadata_side(self.network.metadata)
        sides = (given,) if given else dict.fromkeys((_PROBE_SIDES[0], *([likely] if likely else []), *_PROBE_SIDES))
        self.sizes: list[Size] = [feeding.size] if feeding.size else [(side, side) for side in sides]

    def signatures(self) -> Iterator[Signature]:
        """The graph with its outputs at each size that it runs at. ModelError where it runs at none."""
        problem, ran = None, False
        for size in self.sizes:
            try:
                values = self._run(size)
            except ModelError as error:
                problem = problem or error
                continue
            ran = True
            network = self.network
            yield Signature(network.inputs, network.outputs, network.metadata, size, self.names, _as_floats(values))
        if not ran:
            tried = ", ".join(f"{width} x {height}" for width, height in self.sizes)
            hint = "" if self.feeding.size else f"; tried at {tried}: name the size of its input with --size"
            raise ModelError(f"{problem}{hint}") from problem

    def any_size(self) -> bool:
        """Whether a graph with an open size runs at one that is no square, too."""
        try:
            self._run(_NO_SQUARE)
        except ModelError:
            return False
        return True

    def _run(self, size: Size) -> list[NDArray[Any]]:
        width, height = size
        ramp = np.linspace(0, 160, width)[None, :, None] + np.random.default_rng(0).integers(0, 96, (height, 1, 3))
        tensor = self.preparation.tensor(ramp.astype(np.uint8), self.feeding.pixels)
        return self.feeding.run([Prepared(tensor, Placement(size, size, size))])


def _as_floats(values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """The outputs with 16-bit and 64-bit numbers as 32-bit ones."""
    return [value.astype(np.float32, copy=False) if value.dtype.kind == "f" else value for value in values]


def _match(trials: _Trials, sidecar: Sidecar, options: GraphOptions, given: tuple[str, ...]) -> tuple[Match, Signature]:
    """The head that was asked for, or that alone stands at the first size where one does; and the trial run."""
    network = trials.network
    asked = options.head or sidecar.head
    first: Recognition | None = None
    for signature in trials.signatures():
        if asked is not None:
            head = head_named(asked)
            why = "asked for by --head" if options.head else f"named in {sidecar_path(network.path).name}"
            return Match(head.name, why, layout_for(head, signature)), signature
        try:
            found = recognise(signature)
            if len(found.matches) != 1 and given and signature.names is None:
                signature = replace(signature, names=len(given))
                found = recognise(signature)
        except ModelError as error:
            raise ModelError(f"{network.path}: {error}; --head NAME reads its boxes all the same") from error
        if len(found.matches) == 1:
            return found.matches[0], signature
        first = first or found
    assert first is not None
    size = "" if len(trials.sizes) == 1 else "; its input size is open, and --size N may settle it"
    raise ModelError(f"{network.path}: {_refusal(first, network)}{size}")


def _refusal(found: Recognition, network: Network) -> str:
    """Why no head was taken, and how to settle it."""
    settle = "Name one with --head, or in a sidecar file"
    if found.matches:
        candidates = "; ".join(f"{match.head} ({match.reason})" for match in found.matches)
        names = "" if names_from_metadata(network.metadata) else ", or give its class names with --names"
        return f"its head is ambiguous, it may be {candidates}. {settle}{names}"
    outputs = "; ".join(str(output) for output in network.outputs)
    why = "; ".join([*(note.text for note in found.notes), *found.fallen])
    boxes = next((note.head for note in found.notes if note.head), "")
    if boxes:
        return f"{why}. --head {boxes} gives its boxes alone"
    if found.notes:
        return f"its outputs fit no head: {outputs}: {why}"
    return f"its outputs fit no head: {outputs}{f': {why}' if why else ''}. {settle}"


def _preparation(
    head: Head, feeding: Feeding, sidecar: Sidecar, options: GraphOptions, scaling: InnerScaling | None
) -> tuple[Preparation, list[str]]:
    """How the graph wants its picture, and what of that is assumed."""
    metadata = feeding.network.metadata
    preparation, assumptions = head.preparation, []
    if "letterbox_pad" in metadata:  # libreyolo: "center" or "topleft"
        preparation = replace(preparation, fit="center" if metadata["letterbox_pad"] == "center" else "top-left")
    preparation = _scaled(preparation, scaling)
    mean, std = (_metadata_numbers(metadata, key) for key in ("mean", "std"))
    if mean and std:
        preparation = replace(preparation, mean=mean, std=std)
    color = next((metadata[key].strip().lower() for key in _COLOR_KEYS if key in metadata), "")
    if color in ("rgb", "bgr"):
        preparation = replace(preparation, color="bgr" if color == "bgr" else "rgb")
    plain = preparation
    preparation = options.applied_to(sidecar.applied_to(preparation))
    told = preparation != plain or scaling is not None or (mean and std) or "letterbox_pad" in metadata
    asked = options.head is not None or sidecar.head is not None
    integer = np.issubdtype(feeding.pixels.dtype, np.integer)
    if head.assumes and not told and not asked and not integer:
        assumptions.append(
            f"its pictures are prepared {head.assumes}: --mean, --std, --color, --fit or a sidecar file change it"
        )
    if feeding.pixels.dtype == np.int8:
        if feeding.pixels.quantised is None:
            assumptions.append("its input of 8-bit integers is given pixels less 128, as most quantisers write it")
        else:
            scale, zero = feeding.pixels.quantised
            if (127 - zero) * scale > 4 * 255 / max(preparation.std):  # it wants pixels and not shares
                preparation = preparation.for_pixels_to(255)
    stride = metadata.get("stride", "")
    if stride.isdecimal() and int(stride) > 0:
        preparation = replace(preparation, stride=int(stride))
    open_size = options.size or (sidecar.size and max(sidecar.size)) or _metadata_side(metadata)
    if open_size and preparation.dynamic != "native":
        preparation = replace(preparation, size=open_size)
    if options.size and feeding.size and max(feeding.size) != options.size:
        width, height = feeding.size
        raise UsageError(f"--size {options.size}: the graph's input is fixed at {width} x {height}")
    return preparation, assumptions


def _scaled(preparation: Preparation, scaling: InnerScaling | None) -> Preparation:
    """`preparation` where the graph scales its pixels itself."""
    if scaling is None:
        return preparation
    color = scaling.color or preparation.color
    return replace(preparation, color=color).for_pixels_to(scaling.highest)


def _class_count(head: Head, layout: Layout, signature: Signature, network: Network) -> int | None:
    try:
        return head.class_count(signature.shapes(), layout)
    except IndexError:
        shapes = "; ".join(str(output) for output in network.outputs)
        raise ModelError(f"{network.path}: its outputs are not those of {head.name}: {shapes}") from None


def _class_table(
    head: Head, network: Network, own: tuple[str, ...], given: tuple[str, ...], count: int | None
) -> tuple[tuple[str, ...], NDArray[np.int64] | None]:
    """Class names, and the class id of each label of the graph where that is not a plain offset.

    COCO's and VOC's names, which are known by their number, are never put on a network that has names of its own.
    """
    names = given or own or _resolved(head.names or None)
    width = count if count is not None else _classifier_width(network)
    unnamed = not names and not metadata_has_names(network.metadata)
    if head.coco_ids and (names == COCO_NAMES or (unnamed and width in (90, 91))):
        return COCO_NAMES, _coco_labels()
    if unnamed:
        classes = None if width is None else width - (head.first_label if count is None else 0)
        names = {len(COCO_NAMES): COCO_NAMES, len(VOC_NAMES): VOC_NAMES}.get(classes or 0, ())
    if given and count is not None and len(names) != count and not head.coco_ids:
        raise UsageError(f"--names gives {len(names)} names, but {network.path.name} has {count} classes")
    if not names and count is not None:
        names = tuple(str(number) for number in range(count))
    return names, None


def _assumed_names(
    head: Head, layout: Layout, signature: Signature
) -> tuple[tuple[str, ...], NDArray[np.int64] | None, str]:
    """COCO's names, and that they are assumed, where a graph shows neither names nor their number but much like COCO.

    TensorFlow's detectors are published for COCO's labels from 1 to 90; rows of every cell that show 80 classes, too.
    """
    if metadata_has_names(signature.metadata) or head.decode not in _UNCOUNTED:
        return (), None, ""
    try:
        labels = head.decoded(signature.values, 0, Frame(signature.size, -1.0, layout=layout)).class_ids
    except (UnsoundError, IndexError, ValueError):
        return (), None, ""  # a head that was asked for and does not fit, which the first picture says
    if head.coco_ids and labels.max(initial=0) <= max(CATEGORY_IDS):
        first = head.first_label if layout.first_label is None else layout.first_label
        line = f"it carries no class names: its labels are read as COCO's, from {first} on; --names changes that"
        return COCO_NAMES, _coco_labels(), line
    if not head.coco_ids and labels.max(initial=0) == len(COCO_NAMES) - 1 and len(labels) > _MANY_CELLS:
        return COCO_NAMES, None, "it carries no class names: its 80 classes are read as COCO's; --names changes that"
    return (), None, ""


def _coco_labels() -> NDArray[np.int64]:
    """The class id of each of COCO's category ids, -1 for those without a class."""
    labels = np.full(max(CATEGORY_IDS) + 1, -1)
    labels[list(CATEGORY_IDS)] = np.arange(len(CATEGORY_IDS))
    return labels


def _classifier_width(network: Network) -> int | None:
    """The number of classes by the bias of the last layer, background included, where exporters kept its name."""
    widths = {
        tensor.shape[0]
        for tensor in stored_tensors(network.path)
        if len(tensor.shape) == 1 and tensor.name.endswith("bias") and _classifies(tensor.name)
    }
    # A head with A anchors has A biases a class: of COCO's 91 labels, 9 x 91 in RetinaNet, 4 x 91 in SSD.
    if widths and all(width % 91 == 0 for width in widths):
        return 91
    return widths.pop() if len(widths) == 1 else None


def _classifies(name: str) -> bool:
    """Whether a layer tells classes; that of a region proposal network tells objects from background only."""
    return any(part in name for part in _CLASSIFIERS) and not name.startswith("rpn.")


def _anchors(head: Head, network: Network, sidecar: Sidecar, count: int | None) -> Anchors:
    anchors = sidecar.anchors or head.anchors or default_anchors(head.name, count, len(network.outputs))
    if not anchors and head.name in NEED_ANCHORS:
        raise ModelError(
            f"{network.path}: {head.name} needs its anchors, which the graph does not hold: "
            f"give them as 'anchors' in {sidecar_path(network.path).name}"
        )
    return anchors


def _metadata_side(metadata: Mapping[str, str]) -> int | None:
    """The long side of ultralytics' "imgsz" in pixels: "[320, 320]", or "640"."""
    value = _literal(metadata.get("imgsz", ""))
    sides = value if isinstance(value, list | tuple) else [value]
    return max(sides) if sides and all(isinstance(side, int) and side > 0 for side in sides) else None


def _metadata_count(metadata: Mapping[str, str]) -> int | None:
    """The number of classes under the key "nc", as yolov5's own scripts write it."""
    text = metadata.get("nc", "")
    return int(text) if text.isdecimal() and int(text) > 0 else None


def _metadata_numbers(metadata: Mapping[str, str], key: str) -> tuple[float, float, float] | None:
    """Three numbers for pixels from 0 to 255."""
    value = _literal(metadata.get(key, ""))
    if not isinstance(value, list | tuple) or len(value) not in (1, 3):
        return None
    if not all(isinstance(number, int | float) and np.isfinite(number) for number in value):
        return None
    if key == "std" and min(value) <= 0:
        return None
    if 0 < max(value) < 1:  # for pixels from 0 to 1
        value = [255 * number for number in value]
    first, second, third = tuple(map(float, value)) * (3 // len(value))
    return first, second, third


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def metadata_iou(metadata: Mapping[str, str], default: float) -> float:
    """The overlap for suppression that a network of `detkit train yolo` was measured best with, else the default."""
    try:
        value = json.loads(metadata.get("detkit", "")).get("iou", default)
    except (ValueError, AttributeError):
        return default
    return float(value) if isinstance(value, int | float) and 0 < value <= 1 else default


def _resolved(given: Names | None) -> tuple[str, ...]:
    if given is None:
        return ()
    return names_from_file(given) if isinstance(given, str | os.PathLike) else tuple(given)
