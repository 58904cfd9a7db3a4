"""Proposals for one output with a row for every finished box, or for every query of a transformer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from detkit.boxes import Floats
from detkit.detectors.yolo.heads.beside_classes import beside_classes, said_beside
from detkit.detectors.yolo.heads.evidence import finite, in_shares, ordered_corners, probable, sized, whole
from detkit.detectors.yolo.heads.signature import Found, Match, Note, Signature, flat_v1
from detkit.detectors.yolo.heads.types import Layout

_QUERIES = 300  # of RT-DETR


def is_finished(signature: Signature, rows: Floats) -> bool:
    """Whether rows (N, 6 or more) are finished boxes, even where a grid happens to have as many cells.

    20 x 15 cells of 32 pixels are 300, as RT-DETR's queries are, whose boxes are shares. The metadata tells, or whole
    class numbers with scores that fall from row to row, where a row a cell would have them in the order of the cells.
    """
    if signature.finished or signature.says("rtdetr"):
        return True
    if len(rows) == _QUERIES and in_shares(rows[:, :4]) and probable(rows[:, 4:].T).all():
        return True
    scores, classes = rows[:, 4], rows[:, 5]
    return bool(whole(classes).all() and np.all(np.diff(scores) <= 0))


def finished_rows(signature: Signature, rows: Floats, shown: str, layout: Layout) -> Iterator[Found]:
    """Heads for (N, 6 or more): box, score and class; or box and class probabilities."""
    columns = rows.shape[1]
    live = rows[np.any(rows != 0, axis=1)]
    if not finite(rows):
        yield Note("its output holds numbers that are not finite for a test picture")
    elif columns == 6:
        yield from _six(signature, live, shown, layout)
    elif len(live) and in_shares(live[:, :4]) and probable(live[:, 4:].T).all() and not whole(live[:, 5]).all():
        if not signature.names_fit(columns - 4):
            yield Note(f"{shown}: {signature.names} class names, but {columns - 4} columns after the box")
        elif len(rows) == _QUERIES or signature.names is not None or signature.says("rtdetr"):
            yield Match("rtdetr-ultralytics", f"{shown}: queries with 4 + {columns - 4} columns", layout)
    else:
        if columns == 7 and len(live) and not live[:, 0].any() and whole(live[:, 6]).all():
            yield Note(f"{shown}: rows of picture, box, score and class, as EfficientDet's are, which no head reads")
            return
        rest = columns - 6
        what = "an angle" if rest == 1 else "mask coefficients" if rest == 32 else "key points" if rest % 3 == 0 else ""
        text = f"{shown}: rows of box, score, class and {rest} more{f', {what} perhaps' if what else ''}"
        sound = len(live) and whole(live[:, 5]).all() and probable(live[:, 4:5].T).all()
        turned = rest == 1 and (not len(live) or not ordered_corners(live[:, :4]))
        beside = beside_classes(
            signature, rows[:, 6:].T if not len(live) else live[:, 6:].T, live[:, :4], finished=True
        )
        if beside is not None and (sound or (not len(live) and signature.finished)) and turned == beside.turned:
            reason = f"{shown}: rows of box, score, class, and {said_beside(beside)}"
            yield Match("yolov10", reason, beside.into(layout))
            return
        yield Note(text, "yolov10" if sound else "", replace(layout, shares=in_shares(live[:, :4]), turned=turned))


def _six(signature: Signature, live: Floats, shown: str, layout: Layout) -> Iterator[Found]:
    """Six columns; `live` are the rows that are not all noughts."""
    finished = Match("yolov10", f"{shown}: rows of box, score, class, fewer than the grids have cells", layout)
    transformer = Match("rtdetr-ultralytics", f"{shown}: queries with 4 + 2 columns", layout)
    sorted_queries = Match("rtdetr-ultralytics-topk", f"{shown}: the best queries with score and class", layout)
    if not len(live):
        yield sorted_queries if signature.says("rtdetr") else finished
        return
    boxes, scores, classes = live[:, :4], live[:, 4:5].T, live[:, 5]
    shares = in_shares(boxes)
    if whole(classes).all() and probable(scores).all():
        if shares and (signature.says("rtdetr") or not ordered_corners(boxes)):
            yield sorted_queries
        elif ordered_corners(boxes):
            yield Match(finished.head, finished.reason, Layout(layout.outputs, shares=shares))
        elif sized(boxes):
            text = f"{finished.reason}; its boxes are centres and sizes"
            yield Match(finished.head, text, Layout(layout.outputs, centres=True))
        else:
            yield Note(f"{shown}: its first four columns are no boxes")
    elif whole(live[:, 4]).all() and probable(live[:, 5:].T).all() and ordered_corners(boxes):
        yield Note(f"{shown}: rows of box, class and score, in this order")
    elif shares and probable(live[:, 4:].T).all():
        if signature.names_fit(2):
            yield transformer
        else:
            yield Note(f"{shown}: {signature.names} class names, but 2 columns after the box")
    elif probable(live[:, 4:].T).all():
        yield Note(f"{shown}: rows of box and two probabilities, whose number is that of no grids")
    else:
        yield Note(f"{shown}: the last two of its six columns are no score and class")


def table(signature: Signature, rows: Floats, shown: str) -> Iterator[Found]:
    """Heads for (n, 7) and (n, 6), rows of all pictures of the batch; and YOLO v1's flat output."""
    columns = rows.shape[1]
    classes = flat_v1(signature.image, rows.shape)
    if classes is not None and signature.names_fit(classes):
        yield Match("yolov1", f"{shown}, flat: 7 x 7 cells of 2 boxes and {classes} classes")
    elif columns == 7:
        yield from _seven(signature, rows, shown)
    elif columns == 6:
        yield from _six_of_all(signature, rows, shown)
    elif len(rows) == 1:
        yield Note(f"{shown}: one row of numbers for a picture, a classifier's perhaps, which detkit slide runs")


def _seven(signature: Signature, rows: Floats, shown: str) -> Iterator[Found]:
    reason = f"{shown}: rows of batch, box and two more"
    if signature.image.dtype == np.uint8:
        yield Match("yolo-nas-flat", f"{reason}; uint8 input: score, class")
        return
    if len(rows) and not (np.all(rows[:, 0] == 0) and ordered_corners(rows[:, 1:5])):
        yield Note(f"{shown}: its first column is no number of a picture, or the next four are no corners")
        return
    whole_columns = [bool(len(rows) and whole(rows[:, k]).all()) for k in (5, 6)]
    likely = [bool(len(rows) and probable(rows[:, k : k + 1].T).all()) for k in (5, 6)]
    if whole_columns[0] and likely[1] and not (whole_columns[1] and likely[0]):
        yield Match("yolov7-nms", f"{reason}; column 5 holds whole numbers: class, score")
    elif whole_columns[1] and likely[0] and not (whole_columns[0] and likely[1]):
        yield Match("yolo-nas-flat", f"{reason}; column 6 holds whole numbers: score, class")
    elif any("flat" in name for name in signature.output_names):
        yield Match("yolo-nas-flat", f"{reason}; output named {signature.outputs[0].name!r}")
    else:
        yield Match("yolov7-nms", reason)
        yield Match("yolo-nas-flat", reason)


def _six_of_all(signature: Signature, rows: Floats, shown: str) -> Iterator[Found]:
    paddle = Match("ppyoloe", f"{shown}: rows of class, score, box")
    if signature.paddle:
        yield Match("ppyoloe", f"{shown} and an input scale_factor")
    elif len(rows):
        first = whole(rows[:, 0]).all() and probable(rows[:, 1:2].T).all() and ordered_corners(rows[:, 2:])
        last = whole(rows[:, 5]).all() and probable(rows[:, 4:5].T).all() and ordered_corners(rows[:, :4])
        if first and not last:
            yield paddle
        elif last and not first:
            yield Note(f"{shown}: rows of box, score, class without a batch")
