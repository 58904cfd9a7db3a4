"""Proposals for graphs with several outputs: boxes and scores apart, transformers, TensorFlow, one output a level."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats
from detkit.detectors.yolo.heads.evidence import (
    SLACK,
    finite,
    in_shares,
    like_logits,
    one_of_them,
    ordered_corners,
    probable,
    sized,
    whole,
)
from detkit.detectors.yolo.heads.signature import Found, Match, Note, Signature, channels_last
from detkit.detectors.yolo.heads.types import Layout, Shape

_TENSORFLOW = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")
_FARTHEST_SHARE = 4
_NOT_FINITE = Note("its outputs hold numbers that are not finite for a test picture")


def two_outputs(signature: Signature) -> Iterator[Found]:
    first, second = signature.shapes()
    if (signature.paddle and len(first) == 2) or (len(first) == 2 and first[1] == 6 and _integer(signature, 1)):
        yield Match("ppyoloe", f"outputs {first}, {second}: rows of class, score, box, and their count")
    elif len(first) == 3 and first[2] == 5 and _integer(signature, 1):
        yield Match("rtmdet", f"outputs {first}, {second}: rows of box and score, and labels")
    elif len(second) == 3 and second[2] == 5 and _integer(signature, 0):
        yield Match("rtmdet", f"outputs {first}, {second}: labels, and rows of box and score", Layout((1, 0)))
    elif len(first) == 4 and first[2:] == (1, 4) and len(second) == 3:
        yield Match("yolov4-flat", f"outputs {first}, {second}: boxes as shares, and class scores")
    elif len(first) == len(second) == 3:
        yield from _boxes_and_classes(signature)


def _boxes_and_classes(signature: Signature) -> Iterator[Found]:
    """(B, N, 4) and (B, N, C) or (B, C, N), in any order."""
    shapes = signature.shapes()
    order = next((o for o in ((0, 1), (1, 0)) if shapes[o[0]][2] == 4 and shapes[o[0]][1] in shapes[o[1]][1:]), None)
    if order is None:
        return
    boxes, scores = (signature.values[place][0] for place in order)
    shown = f"outputs {shapes[0]}, {shapes[1]}"
    if not (np.isfinite(boxes).all() and finite(scores)):
        yield _NOT_FINITE
    elif _of_cells(signature, boxes):
        yield from _cells(signature, boxes, scores if len(scores) == len(boxes) else scores.T, shown, order)
    else:
        yield from _queries(signature, boxes, scores, shown, order)


def _of_cells(signature: Signature, boxes: Floats) -> bool:
    """Whether boxes (N, 4) are those of the cells of grids, not of a transformer's queries.

    100 queries are as many as the cells of 32 pixels in 320 x 320; their boxes are centres and sizes, as shares.
    """
    strides = signature.cells(len(boxes))
    named = any("logits" in name or "pred_boxes" in name for name in signature.output_names)
    queries = in_shares(boxes) and (named or not ordered_corners(boxes))
    return strides is not None and not (len(strides) == 1 and queries)


def _cells(signature: Signature, boxes: Floats, scores: Floats, shown: str, order: tuple[int, int]) -> Iterator[Found]:
    """Boxes (N, 4) and scores (N, C) of the cells of the grids."""
    classes = scores.shape[1]
    likely = bool(scores.min() >= -SLACK and scores.max() <= 1 + SLACK)
    reason = f"{shown}: boxes and {classes} class scores for every cell of the grids"
    if not signature.names_fit(classes):
        yield Note(f"{shown}: {signature.names} class names, but {classes} columns of scores")
    elif one_of_them(scores):
        yield Note(f"{shown}: its class scores sum to 1 in every row, so that one of them is the background")
    elif not likely and not like_logits(scores.T):
        low, high = float(scores.min()), float(scores.max())
        yield Note(f"{shown}: its class scores are no probabilities: they reach from {low:.4g} to {high:.4g}")
    elif not ordered_corners(boxes) and not sized(boxes):
        yield Note(f"{shown}: its boxes are neither corners nor centres with sizes")
    else:
        corners = ordered_corners(boxes)
        layout = Layout(order, centres=not corners, shares=in_shares(boxes), logits=not likely)
        turned = signature.shapes()[order[1]][1] != len(boxes)
        head = "ppyoloe-raw" if turned or signature.paddle else "yolo-nas-raw" if order == (0, 1) else "boxes-scores"
        yield Match(head if corners else "boxes-scores", f"{reason}{'' if corners else ', boxes as centres'}", layout)


def _queries(
    signature: Signature, boxes: Floats, scores: Floats, shown: str, order: tuple[int, int]
) -> Iterator[Found]:
    """Heads of detection transformers: logits (N, C) of N queries, and boxes (N, 4) as shares."""
    names, reason = signature.output_names, f"{shown}: boxes and class scores"
    queries, classes = scores.shape
    logits = any("logits" in name for name in names)
    if not in_shares(boxes):
        yield Note(f"{reason}, whose boxes are neither shares nor those of any grids' cells")
    elif scores.min() >= -SLACK and scores.max() <= 1 + SLACK:
        if one_of_them(scores):
            yield Note(f"{shown}: its class scores sum to 1 in every row, so that one of them is the background")
        elif signature.names_fit(classes):
            layout = Layout(order, centres=not ordered_corners(boxes), shares=True)
            yield Match("boxes-scores", f"{reason}, which have their sigmoid", layout)
        else:
            yield Note(f"{shown}: {signature.names} class names, but {classes} columns of scores")
    elif "dets" in names or "pred_boxes_sigmoid" in names:
        yield Match("rfdetr", f"{reason}; outputs named {', '.join(names)}")
    elif signature.names == classes - 1 or (logits and (queries == 100 or classes == 92)):
        yield Match("detr", f"{reason}; {queries} queries, outputs named {', '.join(names)}")
    elif classes == 92:
        yield Match("detr", f"{reason}: COCO's 91 and none")
    elif classes == 91:
        yield Match("rfdetr", f"{reason}: COCO's 91 without a class for none")
    elif classes == 80:
        yield Match("rtdetr-logits", f"{reason}: COCO's 80 without a class for none")
    elif signature.names is not None and signature.names != classes:
        yield Note(f"{shown}: {signature.names} class names, but {classes} columns of scores")
    else:
        if signature.names is None:
            yield Match("detr", f"{reason}; a last class for none?")
        yield Match("rfdetr", f"{reason}; a sigmoid for each class?")
        yield Match("rtdetr-logits", f"{reason}; a sigmoid for each class, and pixels without ImageNet's mean?")


def three_outputs(signature: Signature) -> Iterator[Found]:
    shapes = signature.shapes()
    ranks = [len(shape) for shape in shapes]
    width, height = signature.size
    if ranks == [3, 2, 4] and shapes[0][2] == 5 and shapes[2][2:] == (height, width) and _integer(signature, 1):
        text = f"outputs {shapes}: rows of box and score, labels, and a mask each"
        yield Match("rtmdet", text, Layout((0, 1, 2), maps=True))
    elif ranks == [3, 3, 4] and shapes[0][1] == shapes[1][1] == shapes[2][1] and 4 in (shapes[0][2], shapes[1][2]):
        for found in _boxes_and_classes(signature):  # RF-DETR: a map a query
            if isinstance(found, Match) and found.head == "rfdetr":
                yield Match("rfdetr", f"{found.reason}; masks {shapes[2]}", Layout((0, 1, 2), maps=True))
    elif "orig_target_sizes" in signature.input_names:
        family = "dfine" if signature.says("dfine") else "rtdetr"
        yield Match(family, f"an input orig_target_sizes and outputs {', '.join(signature.output_names)}")
    elif "image_shape" in signature.input_names or (ranks == [3, 3, 2] and shapes[2][1] == 3):
        yield Match("yolov3", f"outputs {shapes}: boxes, scores, indices of the kept")
    elif sorted(ranks) == [1, 1, 2]:
        reason = f"outputs {', '.join(str(output) for output in signature.outputs)} of one picture"
        if signature.image.name == "image" and all(name.isdecimal() for name in signature.output_names):
            yield Match("faster-rcnn-zoo", f"{reason}; input 'image' and numbered outputs, as in the ONNX zoo")
        else:
            yield Match("torchvision", reason)
    else:
        yield from _box_score_class(signature)


def _box_score_class(signature: Signature) -> Iterator[Found]:
    """Boxes (B, N, 4), scores and class numbers (B, N) or (B, N, 1), in any order."""
    shapes = signature.shapes()
    place = next((k for k, shape in enumerate(shapes) if len(shape) == 3 and shape[2] == 4), None)
    if place is None:
        return
    rows = shapes[place][1]
    flat = [k for k, shape in enumerate(shapes) if k != place and int(np.prod(shape[1:])) == rows]
    if len(flat) != 2:
        return
    values = [signature.values[k][0].reshape(-1) for k in flat]
    order = scores_and_classes(signature, flat, values)
    if isinstance(order, Note):
        yield order
        return
    boxes = signature.values[place][0]
    live = boxes[np.any(boxes != 0, axis=1)]
    if not np.isfinite(boxes).all():
        yield _NOT_FINITE
        return
    corners = ordered_corners(live) or not len(live)
    if not corners and not sized(live):
        yield Note(f"outputs {shapes}: its boxes are neither corners nor centres with sizes")
        return
    layout = Layout((place, *order), centres=not corners, shares=in_shares(live))
    scores = signature.values[order[0]][0].reshape(-1)
    raw = bool(signature.cells(rows)) and not np.all(np.diff(scores) <= 0)
    text = f"outputs {shapes}: boxes, scores and class numbers{' of every cell of the grids' if raw else ''}"
    if channels_last(signature.image) and layout.shares:
        yield Note(f"{text}; their corners may be y, x as TensorFlow's are, or x, y")
        return
    yield Match("box-score-class" if raw else "box-score-class-nms", text, layout)


def scores_and_classes(
    signature: Signature, places: Sequence[int], values: Sequence[NDArray[Any]]
) -> tuple[int, int] | Note:
    """Which of two outputs holds the scores and which the class numbers: by type, by values, by name."""
    for k in (0, 1):
        if np.issubdtype(values[k].dtype, np.integer) and not np.issubdtype(values[1 - k].dtype, np.integer):
            return places[1 - k], places[k]
    if not all(np.isfinite(value).all() for value in values):
        return _NOT_FINITE
    numbers = [bool(whole(value).all()) for value in values]
    likely = [bool(np.all((value >= -1) & (value <= 1 + SLACK))) for value in values]
    fits = [k for k in (0, 1) if likely[k] and numbers[1 - k] and np.any(values[k] > 0) and not numbers[k]]
    if len(fits) == 1:
        return places[fits[0]], places[1 - fits[0]]
    names = [signature.output_names[place] for place in places]
    scores = [any(word in name for word in ("score", "conf", "prob")) for name in names]
    classes = [any(word in name for word in ("class", "label", "cls")) for name in names]
    fits = [k for k in (0, 1) if scores[k] and classes[1 - k] and not classes[k]]
    if len(fits) == 1:
        return places[fits[0]], places[1 - fits[0]]
    return Note(f"outputs {', '.join(names)}: neither type, values nor names tell scores from class numbers")


def four_outputs(signature: Signature) -> Iterator[Found]:
    """A count, boxes, scores and classes, in any order: TensorFlow's, by name among others, and YOLO-NAS's."""
    beside = _rcnn_beside(signature)
    if beside is not None:
        yield beside
        return
    places = {name: k for k, full in enumerate(signature.output_names) if (name := full.split(":")[0]) in _TENSORFLOW}
    shapes = signature.shapes()
    if len(places) == 4:
        order = tuple(places[name] for name in _TENSORFLOW)
        yield _tensorflow(signature, order, f"outputs named {', '.join(_TENSORFLOW)}")
        return
    if len(shapes) != 4:
        return
    boxes = [k for k, shape in enumerate(shapes) if len(shape) == 3 and shape[-1] == 4]
    if len(boxes) != 1:
        return
    rows = shapes[boxes[0]][1]
    counts = [k for k, shape in enumerate(shapes) if k != boxes[0] and int(np.prod(shape[1:])) == 1]
    flat = [k for k, shape in enumerate(shapes) if k != boxes[0] and k not in counts and shape[1:] == (rows,)]
    if len(counts) != 1 or len(flat) != 2:
        return
    found = scores_and_classes(signature, flat, [signature.values[k][0] for k in flat])
    if isinstance(found, Note):
        if flat != sorted(flat) or boxes[0] != 1 or counts[0] != 0:
            yield found
            return
        found = (flat[0], flat[1])  # nothing was found in the test picture: the order of both exporters
    order = (counts[0], boxes[0], *found)
    if channels_last(signature.image):
        yield _tensorflow(signature, order, f"{signature.image.dtype} input with channels last, outputs {shapes}")
    else:
        live = signature.values[boxes[0]][0]
        live = live[np.all(live >= 0, axis=1) & np.any(live > 0, axis=1)]
        yield Match(
            "yolo-nas", f"outputs {shapes}: count, boxes, scores, classes", Layout(order, shares=in_shares(live))
        )


def _rcnn_beside(signature: Signature) -> Match | None:
    """torchvision's Mask R-CNN (n, 1, H, W) and Keypoint R-CNN (n, P, 3) with (n, P), beside boxes, labels, scores."""
    shapes = signature.shapes()
    one = [k for k, shape in enumerate(shapes) if len(shape) == 1]
    boxes = [k for k, shape in enumerate(shapes) if len(shape) == 2 and shape[1] == 4]
    rest = [k for k in range(len(shapes)) if k not in (*one, *boxes)]
    if len(one) != 2 or len(boxes) != 1:
        return None
    main = tuple(sorted((*one, *boxes)))
    text = f"outputs {shapes} of one picture"
    if len(rest) == 1 and shapes[rest[0]][1:] == (1, *signature.size[::-1]):
        return Match("torchvision", f"{text}: boxes with masks", Layout((*main, rest[0]), maps=True))
    rest.sort(key=lambda k: -len(shapes[k]))
    if len(rest) == 2 and shapes[rest[0]][2:] == (3,) and shapes[rest[1]] == shapes[rest[0]][:2]:
        count = shapes[rest[0]][1]
        layout = Layout((*main, *rest), points=(count, 3))
        return Match("torchvision", f"{text}: boxes with {count} key points", layout)
    return None


def _tensorflow(signature: Signature, order: tuple[int, ...], reason: str) -> Found:
    boxes = signature.values[order[1]][0]
    if np.any(np.abs(boxes) > _FARTHEST_SHARE):
        return Note(f"{reason}: its boxes are not shares of the picture, as TensorFlow's are")
    labels = signature.values[order[3]][signature.values[order[2]] > 0]
    if np.any(labels == 0) or any("tflite" in name for name in signature.output_names):
        return Match("tensorflow", f"{reason}; class numbers from 0", Layout(order, first_label=0))
    return Match("tensorflow", reason, Layout(order))


def levels(signature: Signature) -> Iterator[Found]:
    """Heads with an output, or a pair of outputs, a level."""
    shapes = signature.shapes()
    ranks = {len(shape) for shape in shapes}
    if ranks == {5}:
        yield from _raw_levels(signature, shapes)
    elif ranks == {4} and len({shape[2:] for shape in shapes}) < len(shapes):
        yield Note(f"outputs {shapes}: maps of one size: semantic segmentation, which detkit segment reads")
    elif ranks == {4} and len(shapes) in (2, 3) and all(shape[1] % 3 == 0 and shape[1] >= 18 for shape in shapes):
        yield from _anchored_maps(signature, shapes)
    elif ranks == {3} and len(shapes) % 2 == 0:
        yield from _distributions(signature, shapes)


def _anchored_maps(signature: Signature, shapes: Sequence[Shape]) -> Iterator[Found]:
    """YOLO v3's raw maps (B, 3 * (5 + C), S, S); others give as many channels, v8's 64 + C among them."""
    classes = shapes[0][1] // 3 - 5
    shown = f"outputs {shapes}: 3 anchors of 5 + {classes} channels a level"
    objectness = [value[0].reshape(3, 5 + classes, -1)[:, 4] for value in signature.values]
    if not all(finite(value[0]) for value in signature.values):
        yield _NOT_FINITE
    elif not like_logits(np.concatenate(objectness, axis=1)):
        yield Note(f"{shown}, whose fifth is no objectness: on most cells it is not low")
    elif signature.names_fit(classes):
        yield Match("yolov3-raw", shown)
    else:
        yield Note(f"{shown}, but {signature.names} class names")


def _raw_levels(signature: Signature, shapes: Sequence[Shape]) -> Iterator[Found]:
    if not all(shape[1] == 3 for shape in shapes):
        yield Match("yolov4", f"outputs {shapes}: grids with the anchors last")
        return
    if not signature.names_fit(shapes[0][4] - 5):
        yield Note(f"outputs {shapes}: {signature.names} class names, but {shapes[0][4] - 5} columns for them")
        return
    reason = f"outputs {shapes}: grids with the anchors first, raw"
    objectness = [value[0][..., 4].reshape(3, -1) for value in signature.values]
    if not all(finite(value) for value in objectness):
        yield _NOT_FINITE
        return
    if not like_logits(np.concatenate(objectness, axis=1)):
        yield Note(f"{reason}: its fifth column is no objectness: on most cells it is not low")
        return
    if "stride" in signature.metadata:
        yield Match("yolov5-raw", f"{reason}; metadata with stride, as yolov5 writes it")
        return
    yield Match("yolov5-raw", f"{reason}; anchors of v5 and v7-tiny?")
    yield Match("yolov7-raw", f"{reason}; anchors of v7?")


def _distributions(signature: Signature, shapes: Sequence[Shape]) -> Iterator[Found]:
    """NanoDet's and PicoDet's pairs: classes (B, n, C) and box distributions (B, n, 4 bins) of a level."""
    likely = [bool(probable(value[0].reshape(1, -1)).all()) for value in signature.values]

    def finest(places: Iterable[int]) -> list[int]:
        return sorted(places, key=lambda k: -shapes[k][1])

    classes = finest([k for k, sure in enumerate(likely) if sure])
    boxes = finest([k for k, sure in enumerate(likely) if not sure])
    if len(classes) != len(boxes):  # the distributions happen to be small: classes come first in both exporters
        half = len(shapes) // 2
        classes, boxes = finest(range(half)), finest(range(half, len(shapes)))
    rows = [shapes[k][1] for k in classes]
    if [shapes[k][1] for k in boxes] != rows or not signature.cells(sum(rows)):
        return
    if any(shapes[k][2] % 4 for k in boxes) or len({shapes[k][2] for k in classes}) > 1:
        return
    count = shapes[classes[0]][2]
    if not signature.names_fit(count):
        yield Note(f"outputs {shapes}: {signature.names} class names, but {count} columns for them")
        return
    layout = Layout((*classes, *boxes))
    usual = len(rows) == 4 and not signature.says(
        "nanodet"
    )  # NanoDet has three levels, where it has an output for each
    pico = signature.says("picodet") or signature.image.name == "image" or usual
    text = f"{len(rows)} levels of classes and of box distributions"
    yield Match("picodet" if pico else "nanodet", text, layout)


def _integer(signature: Signature, output: int) -> bool:
    return bool(np.issubdtype(signature.outputs[output].dtype, np.integer))
