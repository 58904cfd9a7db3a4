"""Heads whose graph ends with its own suppression, or needs none: rows of finished boxes.

Every function decodes one picture of a batch: outputs, index, frame -> Candidates in input pixels. Graphs that take
the size of the picture as a further input are given the size of their own input (see `Head.extra`), so that their
boxes, too, come in input pixels and are brought back to the picture in one place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats, cxcywh_to_xyxy
from detkit.detectors.yolo.heads.dense import by_class, enclosing, kept_rows, sigmoid, softmax
from detkit.detectors.yolo.heads.types import Candidates, Frame, Outputs


def decode_end_to_end(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """(B, n, 6 + K): x1, y1, x2, y2, score, class, and what lies beside; rows of zeros are padding.

    Ultralytics v10, 26, and nms=True.
    """
    rows = outputs[0][index]
    if frame.layout.turned:
        turned = rows[:, [0, 1, 2, 3, 6]]
        boxes = cxcywh_to_xyxy(enclosing(rows[:, :4], rows[:, 6]))
        return kept_rows(boxes, rows[:, 4], rows[:, 5], frame.conf, turned)
    return kept_rows(rows[:, :4], rows[:, 4], rows[:, 5], frame.conf, rows[:, 6:])


def decode_batch_class_score(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """(n, 7): batch, x1, y1, x2, y2, class, score. v6 and v7 exported with onnxruntime's NMS."""
    rows = outputs[0][outputs[0][:, 0] == index]
    return kept_rows(rows[:, 1:5], rows[:, 6], rows[:, 5], frame.conf)


def decode_batch_score_class(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """(n, 7): batch, x1, y1, x2, y2, score, class. YOLO-NAS, "flat" predictions."""
    rows = outputs[0][outputs[0][:, 0] == index]
    return kept_rows(rows[:, 1:5], rows[:, 5], rows[:, 6], frame.conf)


def decode_counted(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """Count (B, 1), boxes (B, n, 4) xyxy, scores (B, n), classes (B, n), padded with -1. YOLO-NAS, "batch"."""
    count = int(np.asarray(outputs[0][index]).ravel()[0])
    boxes, scores, class_ids = (np.asarray(output[index])[:count] for output in outputs[1:4])
    return kept_rows(boxes, scores, class_ids, frame.conf)


def decode_class_score_box(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """(n, 6): class, score, x1, y1, x2, y2 of all pictures, and the count of each (B,). PaddleDetection."""
    rows = outputs[0]
    if len(outputs) > 1:
        # the count of each picture's rows, in one list of all pictures
        ends = np.cumsum(np.asarray(outputs[1]).ravel())
        rows = rows[int(ends[index - 1]) if index else 0 : int(ends[index])]
    valid = rows[rows[:, 0] >= 0]  # a single row of -1 stands for no boxes
    return kept_rows(valid[:, 2:6], valid[:, 1], valid[:, 0], frame.conf)


def decode_dets_labels(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """dets (B, n, 5): x1, y1, x2, y2, score; labels (B, n). RTMDet, RTMDet-Ins and others by mmdeploy."""
    rows = outputs[0][index]
    return kept_rows(rows[:, :4], rows[:, 4], outputs[1][index], frame.conf, _numbers(len(rows)))


def decode_yolov3_nms(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """Boxes (B, n, 4) y1, x1, y2, x2; scores (B, C, n); kept (k, 3): batch, class, box. v3 of the ONNX zoo."""
    chosen = outputs[2].reshape(-1, 3)
    chosen = chosen[chosen[:, 0] == index]
    boxes = outputs[0][index][chosen[:, 2]][:, [1, 0, 3, 2]]
    return kept_rows(boxes, outputs[1][index][chosen[:, 1], chosen[:, 2]], chosen[:, 1], frame.conf)


def decode_torchvision(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """Boxes (n, 4) xyxy, scores (n,), labels (n,) of one picture, the last two in any order; labels are integers."""
    boxes, labels, scores = _by_kind(outputs[:3])
    rest = _numbers(len(scores))
    if frame.layout.points[0]:  # Keypoint R-CNN: places, and their scores as logits
        points = outputs[3].copy()
        points[..., 2] = sigmoid(outputs[4])
        rest = points.reshape(len(points), -1)
    return kept_rows(boxes, scores, labels, frame.conf, rest)


def decode_rtdetr(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """Boxes (B, n, 4) xyxy, scores (B, n), labels (B, n) in any order: RT-DETR and D-FINE with their sizes input."""
    boxes, labels, scores = _by_kind([output[index] for output in outputs])
    return kept_rows(boxes, scores, labels, frame.conf)


def decode_tensorflow(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """Count (B,), boxes (B, n, 4) y1, x1, y2, x2 as shares of the input, scores (B, n), classes (B, n) from 1."""
    count = int(np.asarray(outputs[0][index]).ravel()[0])
    boxes, scores, class_ids = (np.asarray(output[index])[:count] for output in outputs[1:4])
    corners = boxes[:, [1, 0, 3, 2]] * np.array(frame.size * 2, np.float32)
    return kept_rows(corners, scores, class_ids, frame.conf)


def decode_rtdetr_ultralytics(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """(B, n, 4 + C): cx, cy, w, h as shares of the input, class probabilities."""
    rows = outputs[0][index]
    return by_class(_shares_to_pixels(rows[:, :4], frame), rows[:, 4:], frame)


def decode_rtdetr_topk(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """(B, n, 6): cx, cy, w, h as shares of the input, score, class."""
    rows = outputs[0][index]
    return kept_rows(_shares_to_pixels(rows[:, :4], frame), rows[:, 4], rows[:, 5], frame.conf)


def decode_detr(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """Class logits (B, n, C + 1), the last for "none", and boxes cx, cy, w, h as shares (Carion et al. 2020, 3.2)."""
    logits, boxes = _logits_and_boxes(outputs, index)
    return by_class(_shares_to_pixels(boxes, frame), softmax(logits)[:, :-1], frame)


def decode_rfdetr(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """dets (B, n, 4): cx, cy, w, h as shares; labels (B, n, C): logits, one sigmoid a class.

    As many boxes as there are queries are kept, the best of all queries x classes: a query may give several.
    """
    logits, boxes = _logits_and_boxes(outputs, index)
    scores = sigmoid(logits)
    best = np.argsort(-scores, axis=None, kind="stable")[: len(boxes)]
    queries, class_ids = np.unravel_index(best, scores.shape)
    return kept_rows(
        _shares_to_pixels(boxes, frame)[queries],
        scores.ravel()[best],
        class_ids,
        frame.conf,
        queries[:, None].astype(np.float32),
    )


def _numbers(count: int) -> Floats:
    """0, 1, 2 ... as a column (N, 1): the places of rows, which maps of masks are found by."""
    return np.arange(count, dtype=np.float32)[:, None]


def _shares_to_pixels(boxes: Floats, frame: Frame) -> Floats:
    return cxcywh_to_xyxy(boxes) * np.array(frame.size * 2, boxes.dtype)


def _logits_and_boxes(outputs: Outputs, index: int) -> tuple[Floats, Floats]:
    """The two outputs of a detection transformer; the boxes have four columns. Two rows of four: names decide."""
    first, second = outputs[0][index], outputs[1][index]
    return (second, first) if first.shape[-1] == 4 else (first, second)


def _by_kind(outputs: Outputs) -> tuple[Floats, NDArray[Any], Floats]:
    """Boxes, labels and scores from three outputs in any order: four columns, integers, the rest."""
    boxes = next(output for output in outputs if output.ndim == 2 and output.shape[-1] == 4)
    flat = [output for output in outputs if output is not boxes]
    labels = next((output for output in flat if np.issubdtype(output.dtype, np.integer)), flat[0])
    scores = next(output for output in flat if output is not labels)
    return boxes, labels, scores
