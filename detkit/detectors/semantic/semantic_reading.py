"""What a semantic network is: which output holds its map and how, its classes, and how it wants its picture.

Read off the metadata, the sidecar file, the graph and trial runs, before any picture. What cannot be told is refused,
or sent to the command that runs it; what has to be assumed is said.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from detkit.annotations.class_names import metadata_has_names, names_from_metadata
from detkit.annotations.palette_files import palette_from
from detkit.detectors.semantic.class_palette import Known, class_palette
from detkit.detectors.yolo.feeding import Feeding
from detkit.detectors.yolo.graph_options import PictureOptions, resolved_names
from detkit.detectors.yolo.heads.recognise import recognise
from detkit.detectors.yolo.heads.signature import Signature, is_classifier
from detkit.detectors.yolo.told_preparation import Usual, scaled, told_preparation
from detkit.detectors.yolo.trials import Trials
from detkit.errors import ModelError, UsageError
from detkit.graphs.inner_scaling import inner_scaling
from detkit.graphs.preparation import IMAGENET, RGB, Preparation
from detkit.graphs.registry import CLASSIFIER, SEMANTIC_TASKS, other_command
from detkit.graphs.semantic_outputs import MapOutput, Undecided, map_outputs
from detkit.graphs.sidecar import Sidecar
from detkit.label_maps.palettes import Palette

_DETECTION_TASKS = ("detect", "segment", "pose", "obb")
# Short side of torchvision's pictures (its segmentation presets), for graphs that leave their size open.
_SHORTEST = 520
_ULTRALYTICS = Usual(replace(RGB, dynamic="aspect"))
_IMAGENET = Usual(
    replace(IMAGENET, dynamic="shortest", size=_SHORTEST),
    "as for networks that begin with ImageNet's weights, and stretched to the input",
)
_ODD = (163, 131)
THRESHOLD = 0.5


@dataclass(frozen=True)
class SegmentOptions(PictureOptions):
    """How a semantic network is read.

    palette   names and colours: "voc", "cityscapes", "ade20k", or a file (`palette_files`)
    output    name of the output with the map, where there are several
    conf      of networks with a probability of its own for each class: a class counts above it; None: 0.5 of a single
              one, and for several it has to be given
    """

    palette: Palette | str | os.PathLike[str] | None = None
    output: str | None = None
    conf: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.conf is not None and not 0 <= self.conf <= 1:
            raise UsageError(f"conf is a number from 0 to 1, not {self.conf:g}")


@dataclass(frozen=True)
class MapReading:
    """How a semantic network is used.

    output       the output with the map, and how it is written
    palette      names and colours of the classes
    preparation  of its pictures
    threshold    of probabilities
    assumptions  what was assumed, and how to change it, a line each
    """

    output: MapOutput
    palette: Palette
    preparation: Preparation
    threshold: float
    assumptions: tuple[str, ...]

    @property
    def reason(self) -> str:
        """In words, what the output holds."""
        one = self.output
        what = {
            "ids": "class numbers",
            "choice": f"a number for each of {one.classes} classes, of which the highest counts",
            "each": f"a probability for each of {one.classes} classes; the highest counts, above {self.threshold:g}",
            "logit": "one channel, foreground above 0",
            "probability": f"one channel, foreground above {self.threshold:g}",
        }[one.kind]
        return f"output {one.name}: {what}, at stride {one.stride}{', channels last' if one.channels_last else ''}"


def read_semantic(feeding: Feeding, sidecar: Sidecar, options: SegmentOptions) -> MapReading:
    """How the network of `feeding` is used. ModelError, in one line, where that cannot be told."""
    network = feeding.network
    _refuse_other_tasks(feeding)
    scaling = None
    if np.issubdtype(feeding.pixels.dtype, np.floating):
        scaling = inner_scaling(network.path, feeding.image.name)
    author = network.metadata.get("author", "") + network.metadata.get("description", "")
    usual = _ULTRALYTICS if "ultralytics" in author.lower() else _IMAGENET
    pictures = options.applied_to(sidecar.applied_to(scaled(usual.preparation, scaling)))
    trials = Trials(feeding, sidecar, options, pictures, None)
    output, signature = _map_output(trials, options)
    preparation, assumptions = told_preparation(usual, feeding, sidecar, options, scaling)
    if feeding.size is None:
        preparation = _any_size(preparation, trials, signature)
    threshold, lines = _threshold(network.path, output, options)
    own = resolved_names(sidecar.names) or names_from_metadata(network.metadata)
    known = Known(output.classes, own, metadata_has_names(network.metadata), resolved_names(options.names))
    wanted = options.palette
    try:
        palette, line = class_palette(
            known, wanted if isinstance(wanted, Palette) or wanted is None else palette_from(wanted)
        )
    except ModelError as error:
        raise ModelError(f"{network.path}: {error}") from error
    assumptions += [*lines, *([line] if line else [])]
    return MapReading(output, palette, preparation, threshold, tuple(assumptions))


def _refuse_other_tasks(feeding: Feeding) -> None:
    network = feeding.network
    task = network.metadata.get("task", "").lower()
    if task in _DETECTION_TASKS:
        raise ModelError(
            f"{network.path}: is a detector (its task is {task!r}); use detkit yolo --model {network.path}"
        )
    if task not in SEMANTIC_TASKS and is_classifier(network.inputs, network.outputs, network.metadata):
        raise other_command(network.path, CLASSIFIER)


def _map_output(trials: Trials, options: SegmentOptions) -> tuple[MapOutput, Signature]:
    """The output with the map, and the trial run that shows it. ModelError where there is none, or several."""
    network = trials.network
    seen: Signature | None = None
    for signature in trials.signatures():
        seen = seen or signature
        width, height = signature.size
        flat = [np.full((height, width, 3), shade, np.uint8) for shade in (0, 255)]
        values = [signature.values, *(trials.of(canvas) for canvas in flat)]
        found = map_outputs(network.path, network.outputs, values, signature.size)
        if not found:
            continue
        chosen = _chosen(network.path, found, options.output, signature)
        if isinstance(chosen, MapOutput):
            return chosen, signature
        raise ModelError(f"{network.path}: {chosen}")
    assert seen is not None
    raise ModelError(f"{network.path}: {_no_map(network.path, seen, options.output)}")


def _chosen(
    path: object, found: Sequence[MapOutput | Undecided], asked: str | None, signature: Signature
) -> MapOutput | str:
    """The one map among several, or why there is none."""
    if asked is not None:
        found = [one for one in found if one.name == asked]
        if not found:
            return _no_map(path, signature, asked)
    else:
        if detector := _detector(signature):
            return f"{detector} --model {path}"
        main = [one for one in found if "aux" not in one.name.lower()]  # torchvision's second classifier, of training
        found = main or found
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        return f"several of its outputs may be the map of classes: {names}; name one with --output"
    one = found[0]
    return one if isinstance(one, MapOutput) else f"output {one.name}: {one.why}"


def _detector(signature: Signature) -> str:
    """Where to take a graph that is a detector; "" where it is none.

    Maps of more than half of the input a side are no detector's outputs, but where rows of boxes are beside them.
    """
    if signature.metadata.get("task", "").lower() in SEMANTIC_TASKS:
        return ""
    width = signature.size[0]
    fine = all(len(value.shape) in (3, 4) and max(value.shape[-2:]) * 2 > width for value in signature.values)
    boxes = any(
        value.ndim == 3 and value.dtype.kind == "f" and min(value.shape[1:]) < 512 for value in signature.values
    )
    if fine and not (boxes and len(signature.values) > 1):
        return ""
    try:
        found = recognise(signature).matches
    except ModelError:
        return ""
    if not found:
        return ""
    return f"is a detector, {found[0].head} ({found[0].reason}); use detkit yolo"


def _no_map(path: object, signature: Signature, asked: str | None) -> str:
    outputs = "; ".join(f"{info.name} {list(value.shape)}" for info, value in
                        zip(signature.outputs, signature.values, strict=True))  # fmt: skip
    if asked is not None:
        return f"has no output {asked!r} that is a map of classes; there are {outputs}"
    if detector := _detector(signature):
        return f"{detector} --model {path}"
    width, height = signature.size
    return (
        f"none of its outputs is a map of classes of its {width} x {height} input or of a 2nd to 32nd of its sides: "
        f"{outputs}"
    )


def _any_size(preparation: Preparation, trials: Trials, signature: Signature) -> Preparation:
    """Of a graph with an open size: the multiples its sides have to be, and whether it takes other than squares."""
    if "stride" not in trials.network.metadata and trials.any_size(_ODD):
        return replace(preparation, stride=1)
    if trials.any_size():
        return preparation
    return replace(preparation, dynamic="square", size=max(signature.size))


def _threshold(path: object, output: MapOutput, options: SegmentOptions) -> tuple[float, list[str]]:
    """What a probability has to be above, and what of it is assumed."""
    if output.kind not in ("each", "probability") and options.conf is not None:
        raise UsageError("--conf is for networks with a probability of its own for each class; this one has a choice")
    if output.kind == "each" and options.conf is None:
        raise ModelError(
            f"{path}: its {output.classes} channels are probabilities of their own, which do not sum to 1: what a "
            "pixel is where none is high, the graph does not tell. --conf 0.5 takes the highest above 0.5, or no class"
        )
    return THRESHOLD if options.conf is None else options.conf, []
