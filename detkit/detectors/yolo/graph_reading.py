"""What a graph is: its head, how it wants its picture, its class names, and on what grounds.

Read off the metadata, the sidecar file, the graph's first nodes and a trial run, in one place, before any picture. What
cannot be told is refused; what has to be assumed is said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.class_names import names_from_metadata
from detkit.detectors.yolo.class_table import assumed_names, class_count, class_table
from detkit.detectors.yolo.feeding import Feeding
from detkit.detectors.yolo.graph_options import GraphOptions, resolved_names
from detkit.detectors.yolo.heads import head_named
from detkit.detectors.yolo.heads.anchored import default_anchors
from detkit.detectors.yolo.heads.recognise import NEED_ANCHORS, Recognition, layout_for, recognise
from detkit.detectors.yolo.heads.signature import Match, Signature
from detkit.detectors.yolo.heads.types import Head, Layout
from detkit.detectors.yolo.told_preparation import Usual, scaled, told_preparation
from detkit.detectors.yolo.trials import Trials
from detkit.errors import ModelError
from detkit.graphs.classifier_input import is_embedding
from detkit.graphs.inner_scaling import inner_scaling
from detkit.graphs.preparation import Anchors, Preparation
from detkit.graphs.registry import CLASSIFIER, other_command
from detkit.graphs.session import Network
from detkit.graphs.sidecar import Sidecar, sidecar_path


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
    given, own = resolved_names(options.names), resolved_names(sidecar.names) or names_from_metadata(network.metadata)
    pictures = options.applied_to(sidecar.applied_to(scaled(Preparation(), scaling)))
    trials = Trials(feeding, sidecar, options, pictures, len(own) or _metadata_count(network.metadata))
    match, signature = _match(trials, sidecar, options, given)
    head = head_named(match.head)
    asked = bool(options.head or sidecar.head)
    usual = Usual(head.preparation, "" if asked else head.assumes)
    preparation, assumptions = told_preparation(usual, feeding, sidecar, options, scaling)
    if asked:
        assumptions += _other_head(match, signature)
    if feeding.size is None and preparation.dynamic == "aspect" and not trials.any_size():
        preparation = replace(preparation, dynamic="square", size=max(signature.size))
    count = class_count(head, match.layout, signature, network)
    names, labels = class_table(head, network, own, given, count)
    if not names:
        names, labels, line = assumed_names(head, match.layout, signature)
        assumptions += [line] if line else []
    return Reading(
        head, match.layout, match.reason, preparation, tuple(assumptions), names, labels,
        _anchors(head, network, sidecar, count),
    )  # fmt: skip


def _other_head(asked: Match, signature: Signature) -> list[str]:
    """A line where the trial run is plainly that of another head than the one that was asked for."""
    try:
        found = recognise(signature).matches
    except ModelError:
        return []
    if len(found) != 1 or found[0].head == asked.head:
        return []
    return [f"its outputs are those of {found[0].head} ({found[0].reason}); they are read as {asked.head}'s, as asked"]


def no_detector(feeding: Feeding) -> ModelError:
    """The error for a graph that gives one row of numbers for a picture: a classifier goes to `slide`."""
    path = feeding.network.path
    trials = Trials(feeding, Sidecar(), GraphOptions(), Preparation(), None)
    values = next((signature.values[0] for signature in trials.signatures()), None)
    if values is not None and is_embedding(values.reshape(len(values), -1)):
        length = values.size // len(values)
        return ModelError(f"{path}: gives an embedding, a row of {length} numbers of length 1: it finds no boxes")
    return other_command(path, CLASSIFIER)


def _match(trials: Trials, sidecar: Sidecar, options: GraphOptions, given: tuple[str, ...]) -> tuple[Match, Signature]:
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


def _anchors(head: Head, network: Network, sidecar: Sidecar, count: int | None) -> Anchors:
    anchors = sidecar.anchors or head.anchors or default_anchors(head.name, count, len(network.outputs))
    if not anchors and head.name in NEED_ANCHORS:
        raise ModelError(
            f"{network.path}: {head.name} needs its anchors, which the graph does not hold: "
            f"give them as 'anchors' in {sidecar_path(network.path).name}"
        )
    return anchors


def _metadata_count(metadata: Mapping[str, str]) -> int | None:
    """The number of classes under the key "nc", as yolov5's own scripts write it."""
    text = metadata.get("nc", "")
    return int(text) if text.isdecimal() and int(text) > 0 else None


def metadata_iou(metadata: Mapping[str, str], default: float) -> float:
    """The overlap for suppression that a network of `detkit train yolo` was measured best with, else the default."""
    try:
        value = json.loads(metadata.get("detkit", "")).get("iou", default)
    except (ValueError, AttributeError):
        return default
    return float(value) if isinstance(value, int | float) and 0 < value <= 1 else default
