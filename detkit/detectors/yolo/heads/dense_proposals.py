"""Proposals for one output with a column or a row for every cell of the grids: YOLO v5 to v12, YOLOX, NanoDet-Plus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from detkit.boxes import Floats
from detkit.detectors.yolo.heads.beside_classes import beside_classes, said_beside
from detkit.detectors.yolo.heads.evidence import (
    coordinates,
    finite,
    high_everywhere,
    in_shares,
    like_logits,
    one_of_them,
    ordered_corners,
    probable,
    sized,
    whole,
)
from detkit.detectors.yolo.heads.signature import Found, Match, Note, Signature
from detkit.detectors.yolo.heads.types import Layout

# Numbers of classes that everybody's networks have: COCO, VOC.
_KNOWN = (80, 20)
_BINS = 32  # of NanoDet-Plus: 4 sides of 8
# Where a cell shows nothing, YOLOX's objectness is this much smaller than its best class, which is conditional on it.
_CONDITIONAL = 100


def by_columns(
    signature: Signature, prediction: Floats, shown: str, layout: Layout, others: int = 0
) -> Iterator[Found]:
    """Heads for (4 + C, N) or its transpose, `prediction` (4 + C, N): v8 and after; corners, shares, logits.

    shown    the output in words
    layout   which output it is, and whether it is transposed
    others   rows at the end that are mask coefficients, where there is an output of prototypes
    """
    boxes, columns = prediction[:4].T, prediction[4:]
    if not (finite(prediction) and np.isfinite(boxes).all()):
        yield Note("its output holds numbers that are not finite for a test picture")
        return
    classes, problem = class_columns(columns, boxes, signature.names, others)
    beside = beside_classes(signature, columns[classes:], boxes) if classes else None
    if problem and beside is not None and sized(boxes) and probable(columns[:classes]).all():
        reason = f"{shown}: 4 + {classes} numbers a cell of the grids, and {said_beside(beside)}"
        yield Match(_generation(signature), reason, replace(beside.into(layout), classes=classes))
        return
    if problem:
        extra = len(columns) - classes
        turned = extra == 1 and not others
        layout = replace(layout, classes=classes, shares=in_shares(boxes), turned=turned)
        head = "yolov8" if extra and classes and sized(boxes) and probable(columns[:classes]).all() else ""
        yield Note(f"{shown}: {problem}", head, layout)
        return
    layout = Layout(
        layout.outputs,
        layout.transposed,
        classes=None if classes == len(columns) else classes,
        shares=in_shares(boxes),
        logits=not probable(columns[:classes]).all(),
    )
    reason = f"{shown}: 4 + {classes} numbers a cell of the grids{_said(layout)}"
    family = signature.metadata.get("model_family", "")
    if family:
        yield Match("yolov9-xyxy", f"{reason}; metadata: libreyolo's {family}", layout)
    elif ordered_corners(boxes):
        yield Match("yolov9-xyxy", f"{reason}; its boxes are corners", layout)
    elif sized(boxes):
        yield Match(_generation(signature), f"{reason}{_description(signature)}", layout)
    else:
        yield Note(f"{shown}: its first four numbers a cell are no boxes")


def class_columns(columns: Floats, boxes: Floats, names: int | None, others: int = 0) -> tuple[int, str]:
    """How many of the columns (K, N) after the box are classes, and what is wrong with that, "" where nothing is."""
    count = len(columns) - others
    if others and (names is None or names == count):
        return count, f"its last {others} columns are mask coefficients, of an instance segmentation network"
    likely = probable(columns)
    leading = int(np.argmin(likely)) if not likely.all() else len(likely)
    if names is not None and names > count:
        return count, f"{names} class names, but {count} columns after the box"
    if names is not None and names < count:
        rest = count - names
        return (
            names,
            f"{names} class names, but {count} columns after the box: {rest} more{_guess(rest, likely[names:])}",
        )
    if leading == count:
        places = coordinates(columns, boxes)
        if names is None and places.any():
            first = int(np.argmax(places))
            return first, f"{count} columns after the box, of which some follow it, as key points do"
        if one_of_them(columns[:count].T):
            return count, f"the {count} columns after the box sum to 1 in every row, so that one is the background"
        raised = high_everywhere(columns)
        if names is None and raised.any():
            first = int(np.argmax(raised))
            return first, f"{count} columns after the box, of which some are high on most cells, as no class is"
        return count, ""
    if not likely.any() and like_logits(columns):
        return count, ""
    low, high = float(columns.min()), float(columns.max())
    if names is not None or leading == 0:
        return (
            count,
            f"{count} columns after the box that are no probabilities: they reach from {low:.4g} to {high:.4g}",
        )
    rest = count - leading
    return leading, f"{leading} columns like classes, and {rest} more that are none{_guess(rest, likely[leading:])}"


def _guess(rest: int, likely: np.ndarray) -> str:
    if likely.all() and rest % 3:
        return ""
    if rest == 1:
        return ", an angle perhaps (a turned box)"
    if rest == 32:
        return ", mask coefficients perhaps"
    return ", key points perhaps" if rest % 3 == 0 or rest % 2 == 0 else ""


def by_rows(signature: Signature, rows: Floats, shown: str, layout: Layout) -> Iterator[Found]:
    """Heads for (N, K), a row a cell: YOLOX, v6, v8 with its axes swapped, DeepStream-Yolo, NanoDet-Plus."""
    columns = rows.shape[1]
    if not finite(rows):
        yield Note("its output holds numbers that are not finite for a test picture")
        return
    if columns == 6 and whole(rows[:, 5]).all() and probable(rows[:, 4:5].T).all() and ordered_corners(rows[:, :4]):
        text = f"{shown}: corners, score and a whole class number for every cell"
        yield Match("deepstream", text, Layout(layout.outputs, shares=in_shares(rows[:, :4])))
        return
    confidences = rows[:, 4:].T
    if columns > _BINS + 4 and not probable(rows[:, -_BINS:].T).any() and probable(rows[:, :-_BINS].T).all():
        if signature.names_fit(columns - _BINS):
            text = f"{shown}: a row a cell, {columns - _BINS} + {_BINS} columns"
            yield Match("nanodet-plus", text, Layout(layout.outputs))
        return
    swapped = Layout(layout.outputs, transposed=True)
    if columns < 6 or (signature.names_fit(columns - 4) and signature.names is not None):
        yield from by_columns(signature, rows.T, shown, swapped)
        return
    if not probable(confidences).all():
        yield from by_columns(signature, rows.T, shown, swapped)
        return
    if signature.names is not None and signature.names != columns - 5:
        yield Note(f"{shown}: {signature.names} class names, but {columns - 5} or {columns - 4} class columns")
        return
    objects = list(_objectness(signature, rows, shown, Layout(layout.outputs)))
    plain = list(by_columns(signature, rows.T, shown, swapped)) if sized(rows[:, :4]) else []
    plain = [found for found in plain if isinstance(found, Match)]
    if objects and plain and signature.names is None:
        conditional = _conditional(confidences)
        if columns - 5 in _KNOWN or conditional or objects[0].head == "yolov6":
            plain = []
        elif columns - 4 in _KNOWN:
            objects = []
    yield from objects if signature.names is not None else [*objects, *plain]


def by_anchors(signature: Signature, rows: Floats, shown: str, layout: Layout, others: int = 0) -> Iterator[Found]:
    """Heads for (3 N, 5 + C), or its transpose: v5 and v7 with their grid in the graph."""
    classes = rows.shape[1] - 5 - others
    if not finite(rows):
        yield Note("its output holds numbers that are not finite for a test picture")
    elif others:
        beside = beside_classes(signature, rows[:, -others:].T, rows[:, :4])
        if beside is not None and signature.names_fit(classes) and probable(rows[:, 4:-others].T).all():
            name = "yolov5" if "stride" in signature.metadata else "yolov7"
            text = f"{shown}: 3 anchors a cell, 5 + {classes} columns, and {said_beside(beside)}"
            yield Match(name, text, replace(beside.into(layout), classes=classes))
            return
        text = f"{shown}: its last {others} columns are mask coefficients, of an instance segmentation network"
        yield Note(text, "yolov5", replace(layout, classes=classes))
    elif not signature.names_fit(classes) or not probable(rows[:, 4:].T).all():
        count, problem = class_columns(rows[:, 5:].T, rows[:, :4], signature.names)
        text = problem or "its objectness is no probability"
        sound = problem and 0 < count < rows.shape[1] - 5 and probable(rows[:, 4 : 5 + count].T).all()
        yield Note(f"{shown}: {text}", "yolov5" if sound else "", replace(layout, classes=count or None))
    else:
        name = "yolov5" if "stride" in signature.metadata else "yolov7"
        text = f"{shown}: 3 anchors a cell, 5 + {classes} columns, decoded alike"
        yield Match(name, text, Layout(layout.outputs, layout.transposed, shares=in_shares(rows[:, :4])))


def _objectness(signature: Signature, rows: Floats, shown: str, layout: Layout) -> Iterator[Match]:
    columns = f"{shown}: a row a cell of the grids, 5 + {rows.shape[1] - 5} columns"
    if np.all(rows[:, 4] == 1):
        yield Match("yolov6", f"{columns}; its objectness is 1 everywhere", layout)
    elif sized(rows[:, :4]) and in_shares(rows[:, :4]) and np.all(rows[:, :4] >= 0):
        shares = Layout(layout.outputs, shares=True)
        yield Match("yolox-decoded", f"{columns}; its boxes are shares of the picture", shares)
    # Decoded centres lie all over the input; raw ones are offsets of a few cells.
    elif np.median(np.abs(rows[:, :2])) > 8 and sized(rows[:, :4]):
        yield Match("yolox-decoded", f"{columns}; its boxes are in pixels", layout)
    else:
        yield Match("yolox", f"{columns}; its boxes are not decoded", layout)


def _conditional(confidences: Floats) -> bool:
    """Whether the first of the columns (K, N) is an objectness: far smaller than the best of the others."""
    if len(confidences) < 2:
        return False
    return float(np.median(confidences[1:].max(axis=0))) > _CONDITIONAL * float(np.median(confidences[0])) + 1e-3


def _generation(signature: Signature) -> str:
    for name in ("yolov9", "yolo11", "yolo12"):
        if signature.says(name):
            return name
    return "yolov8"


def _description(signature: Signature) -> str:
    text = signature.metadata.get("description", "").strip()
    return f"; metadata: {text}" if text else ""


def _said(layout: Layout) -> str:
    parts = [", rows before columns"] if layout.transposed else []
    parts += [", boxes as shares of the picture"] if layout.shares else []
    return "".join([*parts, ", classes without a sigmoid"] if layout.logits else parts)
