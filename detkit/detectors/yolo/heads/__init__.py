"""The heads that detkit decodes, by the name that `--head` takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from detkit.detectors.yolo.heads import anchored, dense, finished
from detkit.detectors.yolo.heads.types import (
    CountClasses,
    Head,
    Shape,
)
from detkit.detectors.yolo.heads.yolact import decode_yolact
from detkit.errors import ModelError
from detkit.graphs.preparation import IMAGENET, IMAGENET_BGR, RAW_BGR, RGB, Preparation, Size

_ULTRALYTICS = replace(RGB, dynamic="aspect")
_STRETCHED = replace(RGB, fit="stretch")
_PAD_128 = replace(RGB, pad=128, size=416)
_TRANSFORMER = replace(IMAGENET, dynamic="shortest", size=800, stride=1)
_ULTRALYTICS_IOU = 0.7
_YOLACT = replace(IMAGENET, mean=(123.68, 116.78, 103.94), std=(58.4, 57.12, 57.38), size=550)
_PADDLE = "as PP-YOLOE+'s; that of classic PP-YOLOE is --mean 123.675,116.28,103.53 --std 58.395,57.12,57.375"


def _height_width(size: Size) -> np.ndarray:
    return np.array([size[::-1]], np.float32)


def _width_height(size: Size) -> np.ndarray:
    return np.array([size], np.int64)


def _ones(size: Size) -> np.ndarray:
    return np.ones((1, 2), np.float32)


def _no_mask(size: Size) -> np.ndarray:
    return np.ones((1, size[1], size[0]), np.int64)


def _axis(output: int, axis: int, others: int = 0) -> CountClasses:
    """Classes are the length of an axis of an output, less `others`."""
    return lambda shapes: shapes[output][axis] - others


def _columns(output: int, others: int = 0) -> CountClasses:
    return _axis(output, -1, others)


def _anchored_by(anchors: int) -> CountClasses:
    return lambda shapes: shapes[0][1] // anchors - 5


def _logits(none: int) -> CountClasses:
    """Classes of a detection transformer, less `none` for no object: the output beside the boxes' four columns."""
    return lambda shapes: next((shape[-1] for shape in shapes if shape[-1] != 4), 4) - none


def _separate_classes(shapes: Sequence[Shape]) -> int:
    """Scores (B, N, C) or (B, C, N) beside boxes (B, N, 4)."""
    boxes, scores = shapes[0], shapes[1]
    return scores[2] if scores[1] == boxes[1] else scores[1]


def _v1_classes(shapes: Sequence[Shape]) -> int:
    return anchored.v1_layout(shapes[0][1:])[1]


def _v8(name: str, about: str) -> Head:
    return Head(name, about, dense.decode_yolov8, _ULTRALYTICS, iou=_ULTRALYTICS_IOU, classes=_axis(0, 1, 4))


_ALL = (
    Head(
        "yolov1",
        "darknet's YOLO v1, 448 px",
        anchored.decode_yolov1,
        replace(_STRETCHED, size=448),
        multi_label=True,
        classes=_v1_classes,
    ),
    Head(
        "yolov2",
        "darknet's YOLO v2; anchors of COCO or VOC by the number of classes",
        anchored.decode_yolov2,
        replace(_STRETCHED, size=416),
        multi_label=True,
        classes=_anchored_by(5),
    ),
    Head(
        "tiny-yolov2",
        "tiny YOLO v2 on VOC as in the ONNX zoo, pixels 0 to 255",
        anchored.decode_yolov2,
        replace(_STRETCHED, size=416, std=(1.0, 1.0, 1.0)),
        anchors=anchored.V2_TINY_VOC,
        multi_label=True,
        classes=_anchored_by(5),
    ),
    Head(
        "yolov3",
        "YOLO v3 of the ONNX zoo, suppressed in the graph",
        finished.decode_yolov3_nms,
        _PAD_128,
        nms=False,
        extra={"image_shape": _height_width},
        classes=_axis(1, 1),
    ),
    Head(
        "yolov3-raw",
        "darknet's YOLO v3, one raw output a level",
        anchored.decode_yolov3,
        _PAD_128,
        multi_label=True,
        classes=_anchored_by(3),
    ),
    Head(
        "yolov4",
        "YOLO v4 of the ONNX zoo",
        anchored.decode_yolov4,
        _PAD_128,
        anchors=anchored.V4,
        iou=0.213,
        multi_label=True,
        classes=_columns(0, 5),
    ),
    Head(
        "yolov4-flat",
        "YOLO v4 of Tianxiaomo",
        anchored.decode_yolov4_flat,
        replace(_STRETCHED, size=416),
        iou=0.6,
        classes=_columns(1),
    ),
    Head("yolov5", "YOLO v5 with its grid in the graph", dense.decode_objectness, _ULTRALYTICS, classes=_columns(0, 5)),
    Head(
        "yolov5-raw",
        "YOLO v5 without its grid, one output a level",
        anchored.decode_yolov5_raw,
        _ULTRALYTICS,
        classes=_columns(0, 5),
    ),
    Head("yolov6", "YOLO v6, objectness 1", dense.decode_objectness, RGB, classes=_columns(0, 5)),
    Head("yolov7", "YOLO v7 with its grid in the graph", dense.decode_objectness, RGB, classes=_columns(0, 5)),
    Head(
        "yolov7-raw",
        "YOLO v7 without its grid, one output a level",
        anchored.decode_yolov5_raw,
        RGB,
        classes=_columns(0, 5),
    ),
    Head(
        "yolov7-nms",
        "YOLO v6 and v7 with onnxruntime's NMS: rows batch, box, class, score",
        finished.decode_batch_class_score,
        RGB,
        nms=False,
    ),
    _v8("yolov8", "ultralytics v3u, v5u, v8, and v10 or 26 with end2end off"),
    _v8("yolov9", "ultralytics' or WongKinYiu's YOLO v9"),
    _v8("yolo11", "ultralytics' YOLO 11"),
    _v8("yolo12", "ultralytics' YOLO 12"),
    Head(
        "yolov9-xyxy",
        "libreyolo's YOLO v9: corners, padded at the right and the bottom",
        dense.decode_yolov9_xyxy,
        replace(RGB, fit="top-left"),
        multi_label=True,
        classes=_axis(0, 1, 4),
        assumes="as libreyolo's YOLO v9; others write corners, too, and most pad on all sides, --fit center",
    ),
    Head(
        "yolov10",
        "end to end: ultralytics' YOLO v10, 26, and any with nms=True",
        finished.decode_end_to_end,
        _ULTRALYTICS,
        nms=False,
    ),
    Head(
        "yolox",
        "YOLOX, not decoded in the graph (the default of its exporter)",
        dense.decode_yolox,
        RAW_BGR,
        multi_label=True,
        classes=_columns(0, 5),
    ),
    Head(
        "yolox-decoded",
        "YOLOX exported with its boxes decoded",
        dense.decode_objectness,
        RAW_BGR,
        multi_label=True,
        classes=_columns(0, 5),
    ),
    Head(
        "yolox-legacy",
        "YOLOX of 2021's first release: RGB, ImageNet's mean and deviation",
        dense.decode_yolox,
        replace(IMAGENET, fit="top-left"),
        multi_label=True,
        classes=_columns(0, 5),
    ),
    Head("yolo-nas", "YOLO-NAS, batch format: count, boxes, scores, classes", finished.decode_counted, RGB, nms=False),
    Head(
        "yolo-nas-flat",
        "YOLO-NAS, flat format: rows batch, box, score, class",
        finished.decode_batch_score_class,
        RGB,
        nms=False,
    ),
    Head(
        "yolo-nas-raw",
        "YOLO-NAS without its NMS: boxes and scores",
        dense.decode_separate,
        RGB,
        iou=0.7,
        multi_label=True,
        classes=_columns(1),
        assumes="as YOLO-NAS's; DAMO-YOLO's has the same outputs and is --std 1,1,1",
    ),
    Head(
        "boxes-scores",
        "boxes and class scores as two outputs, not suppressed: DAMO-YOLO, YOLO-World",
        dense.decode_separate,
        RGB,
        iou=0.7,
        multi_label=True,
        classes=_separate_classes,
        assumes="as YOLO-World's; DAMO-YOLO's has the same outputs and is --std 1,1,1",
    ),
    Head(
        "deepstream",
        "rows of corners, score and class of every cell, not suppressed: DeepStream-Yolo",
        dense.decode_rows,
        RGB,
    ),
    Head(
        "box-score-class",
        "boxes, scores and class numbers as three outputs, not suppressed: older DeepStream-Yolo",
        dense.decode_box_score_class,
        RGB,
    ),
    Head(
        "box-score-class-nms",
        "boxes, scores and class numbers as three outputs, suppressed in the graph",
        dense.decode_box_score_class,
        RGB,
        nms=False,
    ),
    Head(
        "ppyoloe",
        "PaddleDetection with its NMS: PP-YOLOE and others",
        finished.decode_class_score_box,
        _STRETCHED,
        nms=False,
        extra={"scale_factor": _ones, "im_shape": _height_width},
        assumes=_PADDLE,
    ),
    Head(
        "ppyoloe-raw",
        "PP-YOLOE without its NMS: boxes and class scores",
        dense.decode_separate,
        _STRETCHED,
        iou=0.7,
        multi_label=True,
        extra={"scale_factor": _ones, "im_shape": _height_width},
        classes=_separate_classes,
        assumes=_PADDLE,
    ),
    Head(
        "nanodet",
        "NanoDet: classes and box distributions a level",
        dense.decode_nanodet,
        replace(IMAGENET_BGR, fit="center", pad=0, size=320),
        iou=0.6,
        multi_label=True,
        classes=_columns(0),
        assumes="as NanoDet's; PicoDet's has the same outputs and is --head picodet",
    ),
    Head(
        "picodet",
        "PicoDet without its NMS: classes and box distributions a level",
        dense.decode_nanodet,
        replace(IMAGENET, size=416),
        iou=0.6,
        multi_label=True,
        classes=_columns(0),
        assumes="as PicoDet's; NanoDet's has the same outputs and is --head nanodet",
    ),
    Head(
        "nanodet-plus",
        "NanoDet-Plus: one output of all levels",
        dense.decode_nanodet_plus,
        replace(IMAGENET_BGR, fit="center", pad=0, size=416),
        iou=0.6,
        multi_label=True,
        classes=_columns(0, 32),
    ),
    Head(
        "rtmdet",
        "RTMDet by mmdeploy, suppressed in the graph",
        finished.decode_dets_labels,
        replace(IMAGENET_BGR, fit="top-left"),
        nms=False,
        assumes="as RTMDet's; mmdeploy writes others, Faster R-CNN and YOLOX among them, with the same outputs",
    ),
    Head(
        "detr",
        "DETR: logits with a last class for none, boxes as shares",
        finished.decode_detr,
        _TRANSFORMER,
        nms=False,
        coco_ids=True,
        extra={"pixel_mask": _no_mask},
        classes=_logits(1),
    ),
    Head(
        "rtdetr",
        "RT-DETR and D-FINE with their sizes input",
        finished.decode_rtdetr,
        _STRETCHED,
        nms=False,
        extra={"orig_target_sizes": _width_height},
    ),
    Head(
        "dfine",
        "D-FINE with its sizes input",
        finished.decode_rtdetr,
        _STRETCHED,
        nms=False,
        extra={"orig_target_sizes": _width_height},
    ),
    Head(
        "rtdetr-ultralytics",
        "ultralytics' RT-DETR: boxes as shares and class probabilities",
        finished.decode_rtdetr_ultralytics,
        _STRETCHED,
        nms=False,
        cut=False,
        classes=_columns(0, 4),
    ),
    Head(
        "rtdetr-ultralytics-topk",
        "ultralytics' RT-DETR since 8.4: boxes as shares, score, class",
        finished.decode_rtdetr_topk,
        _STRETCHED,
        nms=False,
        cut=False,
    ),
    Head(
        "rtdetr-logits",
        "RT-DETR and D-FINE as transformers exports them: class logits and boxes as shares",
        finished.decode_rfdetr,
        _STRETCHED,
        nms=False,
        classes=_logits(0),
    ),
    Head(
        "rfdetr",
        "RF-DETR: boxes as shares and class logits",
        finished.decode_rfdetr,
        replace(IMAGENET, size=560),
        nms=False,
        coco_ids=True,
        classes=_logits(0),
    ),
    Head(
        "yolact",
        "YOLACT: masks from prototypes; boxes finished, or offsets to priors",
        decode_yolact,
        _YOLACT,
        fast=True,
        iou=0.5,
        multi_label=True,
        classes=_columns(2, 1),
    ),
    Head(
        "torchvision",
        "torchvision's Faster R-CNN, RetinaNet, SSD and FCOS",
        finished.decode_torchvision,
        replace(RGB, fit="top-left", dynamic="native"),
        nms=False,
        first_label=1,
        coco_ids=True,
    ),
    Head(
        "faster-rcnn-zoo",
        "Faster R-CNN of the ONNX zoo: BGR minus its mean",
        finished.decode_torchvision,
        Preparation(
            fit="top-left",
            pad=0,
            color="bgr",
            mean=(102.9801, 115.9465, 122.7717),
            std=(1.0, 1.0, 1.0),
            size=800,
            dynamic="shortest",
        ),
        nms=False,
        first_label=1,
        names="coco",
    ),
    Head(
        "tensorflow",
        "TensorFlow's SSD and EfficientDet: count, boxes, scores, classes",
        finished.decode_tensorflow,
        replace(_STRETCHED, dynamic="native"),
        nms=False,
        first_label=1,
        coco_ids=True,
    ),
)

HEADS: dict[str, Head] = {head.name: head for head in _ALL}


def head_named(name: str) -> Head:
    """The head of a name. ModelError lists the names where there is none."""
    try:
        return HEADS[name]
    except KeyError:
        raise ModelError(f"no head {name!r}; there are {', '.join(HEADS)}") from None
