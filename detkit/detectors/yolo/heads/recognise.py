"""Which head a graph has: shapes and metadata propose, a trial run and the number of names decide.

The proposals, in the three modules beside this one, name every head that fits the shapes, each with its reason; what
none of them explains is noted. A proposal stands when the trial run agrees with it: scores from 0 to 1, as many classes
as names, whole class numbers, boxes about the picture. One head that stands is an answer; more than one means that the
graph does not tell, and the caller refuses it with all of them named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from detkit.detectors.yolo.heads import HEADS, level_grids
from detkit.detectors.yolo.heads.anchored import default_anchors
from detkit.detectors.yolo.heads.beside_classes import TASKS
from detkit.detectors.yolo.heads.dense import decode_yolov8, decode_yolov9_xyxy
from detkit.detectors.yolo.heads.dense_proposals import by_anchors, by_columns, by_rows
from detkit.detectors.yolo.heads.evidence import within_reach
from detkit.detectors.yolo.heads.finished_proposals import finished_rows, is_finished, table
from detkit.detectors.yolo.heads.several_proposals import four_outputs, levels, three_outputs, two_outputs
from detkit.detectors.yolo.heads.signature import Found, Match, Note, Signature, flat_v1, whole_picture
from detkit.detectors.yolo.heads.types import PLAIN, Frame, Head, Layout, Shape, UnsoundError
from detkit.detectors.yolo.heads.yolact import yolact
from detkit.errors import ModelError

# libreyolo's families, as its metadata calls them, whose graphs are read.
_FAMILIES = ("yolov9", "yolo9", "yolox")
_DETECTION = ("detect", "detection", "object-detection", "object detection")


@dataclass(frozen=True)
class Recognition:
    """The heads that stand, the proposals that fell, as "head: reason", and what the graph seems to be instead."""

    matches: list[Match]
    fallen: list[str]
    notes: list[Note]


def recognise(signature: Signature) -> Recognition:
    """What a graph's head may be. ModelError where its metadata say that it is no detector, or another family."""
    task = signature.metadata.get("task", "detect")
    if task.lower() not in (*_DETECTION, *TASKS):
        raise ModelError(f"the graph's metadata says task {task!r}; detkit reads detection networks")
    family = signature.metadata.get("model_family", "")
    if family and len(signature.outputs) < 3 and not any(known in family for known in _FAMILIES):
        # libreyolo writes many families into the same shapes, each decoded in its own way.
        raise ModelError(f"the graph's metadata says model_family {family!r}, which no head of detkit's decodes")
    matches: list[Match] = []
    fallen: list[str] = []
    notes: list[Note] = []
    for found in _proposed(signature):
        if isinstance(found, Note):
            notes.append(found)
        elif problem := disagreement(HEADS[found.head], found.layout, signature):
            fallen.append(f"{found.head}: {problem}")
        else:
            matches.append(found)
    if task.lower() in TASKS and matches and not any(match.layout.task == task.lower() for match in matches):
        raise ModelError(f"the graph's metadata says task {task!r}, and its outputs show only boxes")
    return Recognition(matches, fallen, notes)


def layout_for(head: Head, signature: Signature) -> Layout:
    """How the graph writes the outputs of a head that was asked for by name: as a proposal says, else plainly."""
    found = _proposed(signature)
    fitting = [match for match in found if isinstance(match, Match) and HEADS[match.head].decode is head.decode]
    if fitting:
        return next((match.layout for match in fitting if match.head == head.name), fitting[0].layout)
    for note in found:
        if isinstance(note, Note) and note.head and HEADS[note.head].decode is head.decode:
            return note.layout
    shape = signature.shapes()[0]
    dense = head.decode in (decode_yolov8, decode_yolov9_xyxy) and len(shape) == 3
    return Layout(transposed=True) if dense and signature.cells(shape[1]) and not signature.cells(shape[2]) else PLAIN


def _proposed(signature: Signature) -> list[Found]:
    """The proposals; a note where shapes that no exporter writes, empty ones for example, break their rules."""
    try:
        return list(proposals(signature))
    except (IndexError, ValueError):
        return [Note(f"its outputs have shapes that no head's have: {signature.shapes()}")]


def proposals(signature: Signature) -> Iterator[Found]:
    """Every head that the shapes and the values of the outputs allow, and notes on what they do not."""
    shapes = signature.shapes()
    for head in HEADS.values():
        reason = head.fits(shapes)
        if reason:
            yield Match(head.name, reason)
    if whole_picture(signature.inputs, signature.outputs) and not _is_flat_v1(signature, shapes):
        yield Note("it gives one row of numbers for a picture: an embedding or a classifier, which finds no boxes")
        return
    count = len(shapes)
    if count == 1:
        yield from _one_output(signature, 0)
        return
    found: list[Found] = []
    main = _decoded_beside(shapes)
    if main is not None:
        place, others = main
        found = list(_one_output(signature, place, others))
    if not found and count == 2:
        found = list(two_outputs(signature))
    if not found and count == 3:
        found = list(three_outputs(signature))
    if not found and count in (4, 5):
        found = list(yolact(signature))
    if not found and count >= 4:
        found = list(four_outputs(signature))
    yield from found or levels(signature)


def disagreement(head: Head, layout: Layout, signature: Signature) -> str:
    """What the trial run, or the number of names, says against a head; "" where they agree."""
    try:
        classes = head.class_count(signature.shapes(), layout)
    except (IndexError, StopIteration, ModelError):
        return "the outputs have other shapes"
    anchors = head.anchors or default_anchors(head.name, classes, len(signature.outputs))
    if not anchors and head.name in NEED_ANCHORS:
        return ""  # the sidecar may give them
    frame = Frame(signature.size, -np.inf, anchors=anchors, layout=layout)
    try:
        with np.errstate(all="ignore"):
            found = head.decoded(signature.values, 0, frame)
    except UnsoundError as error:
        return str(error)
    except (IndexError, StopIteration, TypeError, ValueError, ModelError) as error:
        return f"the outputs cannot be decoded so ({error})"
    scored = found.scores > 0
    if not scored.any():
        return ""
    boxes, labels = found.boxes[scored], found.class_ids[scored] - head.first_label
    if not np.isfinite(boxes).mean() > 0.9:
        return "its boxes are not finite numbers"
    boxes = boxes[np.isfinite(boxes).all(axis=1)]
    if not within_reach(boxes, signature.size):
        return "its boxes lie far from the picture"
    if signature.names is not None and not head.coco_ids:
        if classes is not None and classes != signature.names:
            return f"{signature.names} class names, but {classes} classes in its outputs"
        if labels.max() >= signature.names:
            return f"class {int(labels.max())} in its outputs, but {signature.names} class names"
    return ""


NEED_ANCHORS = ("yolov2", "yolov3-raw", "yolov5-raw", "yolov7-raw")


def _is_flat_v1(signature: Signature, shapes: Sequence[Shape]) -> bool:
    return len(shapes) == 1 and flat_v1(signature.image, shapes[0]) is not None


def _decoded_beside(shapes: Sequence[Shape]) -> tuple[int, int] | None:
    """The place of the one decoded output (B, a, b) beside maps, and the channels of the prototypes among them.

    YOLO v5 and v8 have exports with their raw levels beside, which are left; a single map (B, K, h, w) holds mask
    prototypes.
    """
    flat = [place for place, shape in enumerate(shapes) if len(shape) == 3]
    maps = [shape for shape in shapes if len(shape) in (4, 5)]
    if len(flat) != 1 or len(maps) != len(shapes) - 1:
        return None
    if len(maps) == 1:
        return (flat[0], min(maps[0][1], maps[0][3])) if len(maps[0]) == 4 and maps[0][2] > 1 else None
    sides = {shape[-2] if len(shape) == 4 else shape[2] for shape in maps}
    return (flat[0], 0) if len(sides) == len(maps) else None


def _one_output(signature: Signature, place: int, others: int = 0) -> Iterator[Found]:
    """Proposals for the output at `place`, which ends with `others` mask coefficients."""
    shape = signature.shapes()[place]
    shown = f"one output {shape}" if len(signature.outputs) == 1 else f"the output {signature.outputs[place].name}"
    outputs = None if len(signature.outputs) == 1 else (place,)
    if len(shape) == 4:
        yield from _one_map(signature, shape)
    elif len(shape) == 2:
        yield from table(signature, signature.values[place], shown)
    elif len(shape) == 3 and np.issubdtype(signature.outputs[place].dtype, np.floating):
        yield from _one_matrix(signature, place, shown, Layout(outputs), others)
    elif len(shape) == 3 and shape[1:] == signature.size[::-1]:
        yield Note("it gives a class number for every pixel: semantic segmentation, which detkit segment reads")


def _one_matrix(signature: Signature, place: int, shown: str, plain: Layout, others: int) -> Iterator[Found]:
    matrix = signature.values[place][0]
    rows, columns = matrix.shape
    swapped = replace(plain, transposed=True)
    if rows == columns and signature.cells(rows):  # 80 classes at 64 x 64 pixels are 84 rows and 84 columns
        found = [*by_columns(signature, matrix, shown, plain), *by_rows(signature, matrix, shown, plain)]
        yield from [match for match in found if isinstance(match, Match)] or found
    elif rows >= 5 and signature.cells(columns) and columns > rows:
        yield from by_columns(signature, matrix, shown, plain, others)
    elif rows >= 6 and signature.cells(columns, 3) and columns > rows:
        yield from by_anchors(signature, matrix.T, shown, swapped, others)
    elif columns >= 6 and (is_finished(signature, matrix) or not (signature.cells(rows) or signature.cells(rows, 3))):
        yield from finished_rows(signature, matrix, shown, plain)
    elif columns >= 6 and signature.cells(rows, 3):
        yield from by_anchors(signature, matrix, shown, plain, others)
    elif columns >= 5 and signature.cells(rows):
        if others:
            yield from by_columns(signature, matrix.T, shown, swapped, others)
        else:
            yield from by_rows(signature, matrix, shown, plain)
    elif max(rows, columns) > 50:
        sums = f"{max(rows, columns)} are no grids' cells of a {signature.size[0]} x {signature.size[1]} input"
        yield Note(f"{shown}: {sums}, and its columns are no finished boxes")


def _one_map(signature: Signature, shape: Shape) -> Iterator[Found]:
    if shape[1] == shape[2] and shape[3] > 10 and shape[1] < 32 and shape[3] != shape[2]:
        yield Match("yolov1", f"one output {shape}: S x S x (5 * 2 + {shape[3] - 10})")
        return
    if (shape[3], shape[2]) != level_grids.cells(signature.size, 32) or shape[1] % 5 or shape[1] < 30:
        if shape[2] > 1 and shape[3] > 1:
            what = "features, or semantic segmentation, which detkit segment reads"
            yield Note(f"one output {shape}, a map of numbers: {what}")
        return
    classes = shape[1] // 5 - 5
    reason = f"one output {shape}: 5 anchors of 5 + {classes} channels at stride 32"
    if classes == 20 and signature.image.name == "image":
        yield Match("tiny-yolov2", f"{reason}; input named 'image' as in the ONNX zoo")
        return
    yield Match("yolov2", reason)
    if classes == 20:
        yield Match("tiny-yolov2", f"{reason}; the tiny network has other anchors")
