"""How many classes a graph has, what they are called, and which of its labels stands for which."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.class_names import metadata_has_names
from detkit.classes import CATEGORY_IDS, COCO_NAMES, VOC_NAMES
from detkit.detectors.yolo.graph_options import resolved_names
from detkit.detectors.yolo.heads.dense import decode_box_score_class, decode_rows
from detkit.detectors.yolo.heads.finished import decode_tensorflow
from detkit.detectors.yolo.heads.signature import Signature
from detkit.detectors.yolo.heads.types import Frame, Head, Layout, UnsoundError
from detkit.errors import ModelError, UsageError
from detkit.graphs.session import Network
from detkit.graphs.stored import stored_tensors

# Names that exporters give the last layer for classes; the length of its bias is the number of classes.
_CLASSIFIERS = ("cls_score", "cls_logits", "class_embed", "score_head", "classification_head")
# Heads that show the number of their classes neither in a shape nor in a layer, and cells enough to show it otherwise.
_UNCOUNTED = (decode_tensorflow, decode_rows, decode_box_score_class)
_MANY_CELLS = 1000


def class_count(head: Head, layout: Layout, signature: Signature, network: Network) -> int | None:
    """The number of classes that the outputs show, None where they show none. ModelError for other shapes."""
    try:
        return head.class_count(signature.shapes(), layout)
    except IndexError:
        shapes = "; ".join(str(output) for output in network.outputs)
        raise ModelError(f"{network.path}: its outputs are not those of {head.name}: {shapes}") from None


def class_table(
    head: Head, network: Network, own: tuple[str, ...], given: tuple[str, ...], count: int | None
) -> tuple[tuple[str, ...], NDArray[np.int64] | None]:
    """Class names, and the class id of each label of the graph where that is not a plain offset.

    COCO's and VOC's names, which are known by their number, are never put on a network that has names of its own.
    """
    names = given or own or resolved_names(head.names or None)
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


def assumed_names(
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
