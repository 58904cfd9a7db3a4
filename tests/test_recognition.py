"""Graphs as exporters write them, each with one object at a known place: the right box and class, or a refusal.

Every graph ignores its picture. A wrong box, a score above 1, or no box without an error is never right.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from detkit import Yolo
from detkit.classes import COCO_NAMES, VOC_NAMES
from detkit.detectors.yolo.heads import HEADS
from detkit.detectors.yolo.heads.recognise import layout_for, recognise
from detkit.detectors.yolo.heads.signature import Signature
from detkit.errors import ModelError
from detkit.graphs.session import TensorInfo

SIDE = 320
CELLS = 40 * 40 + 20 * 20 + 10 * 10  # strides 8, 16, 32
AT = 1200
BOX = np.array([110, 95, 210, 145], np.float32)
CENTRE = np.array([160, 120, 100, 50], np.float32)
PICTURE = np.full((SIDE, SIDE, 3), 128, np.uint8)
THREE = "{0: 'car', 1: 'van', 2: 'bus'}"
NAMED = {"names": THREE, "task": "detect", "stride": "32"}
TENSORFLOW = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")
Outputs = dict[str, np.ndarray]


def random(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def columns(classes: int, best: int, cells: int = CELLS, more: int = 0, score: float = 0.9) -> np.ndarray:
    """(1, 4 + classes + more, cells): centre, size, class scores, and noughts."""
    output = np.zeros((1, 4 + classes + more, cells), np.float32)
    output[0, :2], output[0, 2:4] = random().uniform(0, SIDE, (2, cells)), 20
    output[0, 4 : 4 + classes] = random(2).uniform(0, 0.01, (classes, cells))
    output[0, :4, AT], output[0, 4 : 4 + classes, AT] = CENTRE, 0
    output[0, 4 + best, AT] = score
    return output


def corners(cells: int = CELLS) -> np.ndarray:
    """(1, cells, 4): corners of boxes all over the picture, the known one among them."""
    boxes = np.zeros((1, cells, 4), np.float32)
    boxes[0, :, :2] = random(3).uniform(0, SIDE - 20, (cells, 2))
    boxes[0, :, 2:] = boxes[0, :, :2] + 20
    boxes[0, AT] = BOX
    return boxes


def scores(classes: int, best: int = 2, cells: int = CELLS) -> np.ndarray:
    """(1, cells, classes)"""
    values = random(4).uniform(0, 0.01, (1, cells, classes)).astype(np.float32)
    values[0, AT] = 0
    values[0, AT, best] = 0.9
    return values


def logits(probabilities: np.ndarray) -> np.ndarray:
    clipped = np.clip(probabilities, 1e-5, 1 - 1e-5)
    return np.log(clipped / (1 - clipped)).astype(np.float32)


def objects(classes: int, best: int, cells: int) -> np.ndarray:
    """(1, cells, 5 + classes): centre, size, objectness, class scores conditional on it."""
    output = np.zeros((1, cells, 5 + classes), np.float32)
    output[0, :, :2], output[0, :, 2:4] = random().uniform(0, SIDE, (cells, 2)), 20
    output[0, :, 4] = random(2).uniform(0, 1e-5, cells)
    output[0, :, 5:] = random(3).uniform(0, 0.5, (cells, classes))
    output[0, AT, :4], output[0, AT, 4:] = CENTRE, 0
    output[0, AT, 4], output[0, AT, 5 + best] = 1, 0.9
    return output


def rows(count: int, label: float = 2, columns: int = 6) -> np.ndarray:
    """(1, count, columns): finished rows of corners, score, class, with one object and padding."""
    output = np.zeros((1, count, columns), np.float32)
    output[0, 0, :6] = [*BOX, 0.9, label]
    if columns == 38:
        output[0, 0, 6:] = 1  # the coefficients of a mask
    return output


def unsuppressed(classes: int) -> np.ndarray:
    output = np.concatenate((corners(), np.zeros((1, CELLS, 2), np.float32)), axis=2)
    output[0, :, 4], output[0, :, 5] = random().uniform(0, 0.01, CELLS), random(2).integers(0, classes, CELLS)
    output[0, AT, 4:] = 0.9, classes - 1
    return output


def counted(shape: str = "corners") -> Outputs:
    """Count, boxes, scores and class numbers of 50 finished boxes, the first of them real."""
    boxes, found, labels = np.zeros((1, 50, 4), np.float32), np.zeros((1, 50), np.float32), np.zeros((1, 50))
    boxes[0, 0] = BOX if shape == "corners" else BOX[[1, 0, 3, 2]] / SIDE
    found[0, 0], labels[0, 0] = 0.9, 2
    return {"count": np.array([[1]], np.int32), "boxes": boxes, "scores": found, "labels": labels.astype(np.float32)}


def with_shares(output: np.ndarray, axis: int = 1) -> np.ndarray:
    changed = output.copy()
    part = changed[:, :4] if axis == 1 else changed[..., :4]
    part /= SIDE
    return changed


def points(count: int, scale: float = 1.0) -> np.ndarray:
    """`columns` of one class with x, y and visibility of `count` key points after it."""
    output = columns(1, 0, more=3 * count)
    for number in range(count):
        place = output[0, :2] + random(number).normal(0, 3, (2, CELLS))
        output[0, 5 + 3 * number :][:3] = np.concatenate((place, np.full((1, CELLS), 0.7)))
    output[0, :2] *= scale
    output[0, 2:4] *= scale
    output[0, 5::3] *= scale
    output[0, 6::3] *= scale
    return np.clip(output, 0, scale * SIDE).astype(np.float32)


def levels(classes: int, strides: tuple[int, ...], interleaved: bool = False) -> Outputs:
    """NanoDet's pairs: class scores and box distributions of 4 x 8 bins, one object on the second level."""
    outputs: list[tuple[str, np.ndarray]] = []
    for number, stride in enumerate(strides):
        cells = (SIDE // stride) ** 2
        classes_here = random(number).uniform(0, 0.01, (1, cells, classes)).astype(np.float32)
        bins = random(number).normal(0, 1, (1, cells, 32)).astype(np.float32)
        if stride == 16:  # centre (168, 120) with the half: 58, 25 left and up in strides of 16 are no whole numbers
            classes_here[0, 7 * 20 + 10] = 0
            classes_here[0, 7 * 20 + 10, 2] = 0.9
            distances = np.full((4, 8), -20, np.float32)
            distances[[0, 1, 2, 3], [3, 2, 3, 2]] = 20
            bins[0, 7 * 20 + 10] = distances.ravel()
        outputs += [(f"cls{stride}", classes_here), (f"dis{stride}", bins)]
    if not interleaved:
        outputs = outputs[::2] + outputs[1::2]
    return dict(outputs)


LEVEL_BOX = [(10.5 - 3) * 16, (7.5 - 2) * 16, (10.5 + 3) * 16, (7.5 + 2) * 16]


@dataclass(frozen=True)
class Case:
    """What a graph gives, the class name that is right or the words of its refusal; both, with a head asked for."""

    outputs: Outputs
    right: str
    refused: str
    box: Any
    head: str | None
    graph: dict[str, Any]
    picture: np.ndarray


def beside(output: np.ndarray, extra: int) -> Outputs:
    """An output with the raw levels (1, 3, S, S, K) or maps (1, K, S, S) beside it."""
    maps = {}
    for side in (40, 20, 10):
        shape = (1, 3, side, side, output.shape[-1]) if extra == 5 else (1, 64 + 3, side, side)
        maps[f"raw{side}"] = random(side).normal(0, 3, shape).astype(np.float32)
    return {"output": output, **maps}


def backwards(outputs: Outputs) -> Outputs:
    return dict(reversed(outputs.items()))


def case(
    outputs: Outputs, right: str = "", refused: str = "", *, box: Any = BOX, head: str | None = None,
    picture: np.ndarray = PICTURE, **graph: Any,
) -> Case:  # fmt: skip
    return Case(outputs, right, refused, box, head, {"shape": (1, 3, SIDE, SIDE)} | graph, picture)


def swapped(array: np.ndarray) -> np.ndarray:
    return array.transpose(0, 2, 1).copy()


def logit_columns(classes: int, best: int) -> np.ndarray:
    output = columns(classes, best)
    output[:, 4:] = logits(output[:, 4:])
    return output


def face() -> np.ndarray:
    """YOLO v5 face: ten numbers of five landmarks between objectness and class."""
    output = objects(1, 0, COUNT_3)
    marks = random().uniform(0, 300, (1, COUNT_3, 10)).astype(np.float32)
    return np.concatenate((output[..., :5], marks, output[..., 5:]), axis=2)


def turned() -> np.ndarray:
    output = columns(15, 3, more=1)
    output[0, 19] = random(5).uniform(-0.7, 2.3, CELLS)
    output[0, 19, AT] = 0
    return output


def masks() -> np.ndarray:
    output = columns(80, 2, more=32)
    output[0, 84:] = random(5).normal(0, 1, (32, CELLS))
    output[0, 84:, AT] = 1  # a box whose mask has no pixel is left out, as ultralytics does it
    return output


def noise(*shape: int) -> Outputs:
    return {"o": random().normal(0, 2, shape).astype(np.float32)}


def one_output(outputs: Outputs) -> np.ndarray:
    return np.concatenate((outputs["boxes"], outputs["scores"]), axis=2)


def a_hundred() -> Outputs:
    """DETR at 320 pixels, whose 100 queries are as many as the cells of 32 pixels."""
    boxes = queries(80, 2)["boxes"][:, :100]
    values = random(3).normal(0, 0.2, (1, 100, 92)).astype(np.float32)
    values[..., 91] = 6
    values[0, 7, 91], values[0, 7, 18] = 0, np.log(0.9 / 0.1 * np.exp(np.delete(values[0, 7], [18, 91])).sum() + 9)
    return {"logits": values, "pred_boxes": boxes}


def tensorflow(**names: str) -> Outputs:
    """TensorFlow's outputs in the order of `names`, which call them so."""
    return {called: counted("y")[key] for key, called in names.items()}


def with_background() -> Outputs:
    """Boxes of 1,000 anchors as shares, and two probabilities, the first of nothing: UltraFace."""
    face = random().uniform(0, 0.02, (1, 1000, 1)).astype(np.float32)
    face[0, 7] = 0.9
    boxes = corners()[:, :1000] / np.float32(SIDE)
    cells = {"scores": np.concatenate((1 - face, face), axis=2), "boxes": boxes}
    more = np.repeat(cells["scores"], 3, axis=1)[:, :CELLS]
    return {"scores": more, "boxes": np.repeat(boxes, 3, axis=1)[:, :CELLS]}


def queries(classes: int, best: int, sure: bool = False) -> Outputs:
    """300 queries of a transformer: logits or probabilities, and boxes as shares."""
    boxes = np.full((1, 300, 4), 0.1, np.float32)
    boxes[..., :2] = random().uniform(0.2, 0.8, (1, 300, 2))
    boxes[0, 7] = CENTRE / SIDE
    values = random(2).uniform(0, 0.01, (1, 300, classes)).astype(np.float32)
    values[0, 7] = 0
    values[0, 7, best] = 0.9
    return {"scores": values if sure else logits(values), "boxes": boxes}


COUNT_3 = 3 * CELLS
PROTOTYPES = np.ones((1, 32, 80, 80), np.float32)
FIFTEEN = {"names": str([f"c{k}" for k in range(15)])}
FACE = {"names": "['face']"}
NMS = NAMED | {"args": "{'nms': True}"}
LAST = {"shape": (1, SIDE, SIDE, 3), "dtype": np.uint8}
BOX_SCORE_CLASS = {"boxes": corners(), "scores": unsuppressed(3)[..., 4:5], "classes": unsuppressed(3)[..., 5:6]}
CLASS_SCORE_BOX = {"a": unsuppressed(3)[..., 5], "b": unsuppressed(3)[..., 4], "c": corners()}
CASES: dict[str, Callable[[], Case]] = {
    # Strides and orders of axes.
    "p2": lambda: case({"o": columns(3, 1, 80 * 80 + CELLS)}, "van", metadata=NAMED),
    "p6": lambda: case({"o": columns(3, 1, CELLS + 25)}, "van", metadata=NAMED),
    "two levels": lambda: case({"o": columns(3, 1, 40 * 40 + 20 * 20)}, "van", metadata=NAMED),
    "one level": lambda: case({"o": columns(3, 1, 40 * 40)}, "van", metadata=NAMED),
    "two fine levels, transposed": lambda: case({"o": swapped(columns(3, 1, 8000))}, "van", metadata=NAMED),
    "transposed 20": lambda: case({"o": swapped(columns(20, 6))}, VOC_NAMES[6]),
    "transposed of one class": lambda: case({"o": swapped(columns(1, 0))}, "0"),
    "transposed shares": lambda: case({"o": swapped(with_shares(columns(3, 1)))}, "van", metadata=NAMED),
    # Shares, logits, corners.
    "shares": lambda: case({"o": with_shares(columns(3, 2))}, "bus", metadata=NAMED),
    "shares without names": lambda: case({"o": with_shares(columns(80, 2))}, "car"),
    "logits": lambda: case({"o": logit_columns(3, 1)}, "van", metadata=NAMED),
    "logits without names": lambda: case({"o": logit_columns(80, 2)}, "car"),
    "logits, transposed": lambda: case({"o": swapped(logit_columns(3, 1))}, "van", metadata=NAMED),
    "corners in columns": lambda: case(
        {"o": swapped(np.concatenate((corners(), scores(3, 1)), 2))}, "van", metadata=NAMED
    ),
    # Objectness.
    "v5": lambda: case({"o": objects(3, 1, COUNT_3)}, "van", metadata=NAMED),
    "v5 with raw levels beside": lambda: case(beside(objects(3, 1, COUNT_3), 5), "van", metadata=NAMED),
    "v5 after its raw levels": lambda: case(backwards(beside(objects(3, 1, COUNT_3), 5)), "van", metadata=NAMED),
    "v8 with raw levels beside": lambda: case(beside(columns(3, 1), 4), "van", metadata=NAMED),
    "v5 p6": lambda: case({"o": objects(80, 2, 3 * (CELLS + 25))}, "car"),
    "v5 shares": lambda: case({"o": with_shares(objects(3, 1, COUNT_3), 2)}, "van", metadata=NAMED),
    "v5 transposed": lambda: case({"o": swapped(objects(3, 1, COUNT_3))}, "van", metadata=NAMED),
    "yolox decoded": lambda: case({"o": objects(80, 2, CELLS)}, "car"),
    "v5 face": lambda: case({"o": face()}, refused="no probabilities|none"),
    # Rows of every cell, not suppressed.
    "deepstream 80": lambda: case({"o": unsuppressed(80)}, COCO_NAMES[79]),
    "deepstream 2": lambda: case({"o": unsuppressed(2)}, "1"),
    "deepstream 1": lambda: case({"o": unsuppressed(1)}, "0"),
    "deepstream named": lambda: case({"o": unsuppressed(3)}, "bus", metadata=NAMED),
    "deepstream, fewer names": lambda: case({"o": unsuppressed(5)}, refused="class 4.*3 class names", metadata=NAMED),
    "box, score, class apart": lambda: case(BOX_SCORE_CLASS, "2"),
    "class, score, box apart": lambda: case(CLASS_SCORE_BOX, "bus", metadata=NAMED),
    # Boxes and scores apart.
    "scores, corners": lambda: case({"a": scores(80), "b": corners()}, "car"),
    "corners, scores": lambda: case({"a": corners(), "b": scores(3)}, "bus", metadata=NAMED),
    "corners, scores by class": lambda: case({"a": corners(), "b": swapped(scores(80))}, "car"),
    "scores by class, corners": lambda: case({"a": swapped(scores(80)), "b": corners()}, "car"),
    "centres, scores": lambda: case({"a": swapped(columns(3, 2)[:, :4]), "b": scores(3)}, "2"),
    "corners as shares, scores": lambda: case({"a": corners() / np.float32(SIDE), "b": scores(80)}, "car"),
    "corners, logits": lambda: case({"a": corners(), "b": logits(scores(80))}, "car"),
    "corners, more scores than names": lambda: case(
        {"a": corners(), "b": scores(5)}, refused="3 class names, but 5", metadata=NAMED
    ),
    "queries with probabilities": lambda: case(queries(80, 2, sure=True), "car"),
    "queries with logits": lambda: case(queries(80, 2), "car"),
    "queries of three": lambda: case(queries(3, 2), refused="ambiguous.*rfdetr.*rtdetr-logits", metadata=NAMED),
    "queries of four": lambda: case(queries(5, 2), refused="3 class names, but 5", metadata=NAMED),
    "100 queries": lambda: case(a_hundred(), "dog"),
    "300 queries in one output": lambda: case(
        {"o": one_output(queries(3, 2, sure=True))}, "bus", shape=(1, 3, 480, 640), metadata=NAMED,
        box=np.array([220, 142.5, 420, 217.5]), picture=np.zeros((480, 640, 3), np.uint8),
    ),
    # Finished rows.
    "2500 rows": lambda: case({"o": rows(2500)}, "bus", metadata=NMS),
    "rows of the grid's number": lambda: case({"o": rows(CELLS)}, "bus", metadata=NAMED | {"end2end": "True"}),
    "rows as shares": lambda: case({"o": with_shares(rows(300), 2)}, "bus", metadata=NAMED),
    "rows with a class beyond the names": lambda: case({"o": rows(300, 7)}, refused="class 7", metadata=NAMED),
    "rows with half a class": lambda: case({"o": rows(300, 1.5)}, refused="no score and class", metadata=NAMED),
    "rows of pose": lambda: case({"o": rows(300, 0, 57)}, "0", "key points perhaps", head="yolov10"),
    "rows of masks": lambda: case({"o": rows(300, 2, 38), "p": PROTOTYPES}, "2"),
    # Key points, angles, masks in columns.
    "key points": lambda: case({"o": points(17)}, "0"),
    "key points, transposed": lambda: case({"o": swapped(points(17))}, "0"),
    "key points, named": lambda: case({"o": points(5)}, "face", metadata=FACE),
    "key points as shares": lambda: case({"o": points(17, 1 / SIDE)}, refused="as key points do"),
    "turned": lambda: case({"o": turned()}, "c3", "angle", head="yolov8", metadata=FIFTEEN),
    "turned without names": lambda: case({"o": turned()}, "3", "15 columns like classes.*angle", head="yolov8"),
    "masks": lambda: case({"o": masks(), "p": PROTOTYPES}, "car"),
    "masks without prototypes": lambda: case({"o": masks()}, "car", "mask coefficients", head="yolov8"),
    "one name too few": lambda: case({"o": columns(4, 1)}, refused="3 class names, but 4 columns", metadata=NAMED),
    "one name too many": lambda: case({"o": columns(2, 1)}, refused="3 class names, but 2 columns", metadata=NAMED),
    # Softmax with a background, and maps that are not YOLO v3's.
    "background first": lambda: case(with_background(), refused="sum to 1.*background"),
    "background in columns": lambda: case(
        {"o": np.concatenate((columns(1, 0)[:, :4], swapped(with_background()["scores"])), 1)}, refused="sum to 1"
    ),
    "v8 raw": lambda: case({f"m{s}": noise(1, 64 + 11, s, s)["o"] for s in (40, 20, 10)}, refused="no objectness"),
    # Whole pictures.
    "classifier": lambda: case(noise(1, 1000), refused="is a classifier.*slide"),
    "classifier of seven": lambda: case(noise(1, 7), refused="is a classifier"),
    "features of a classifier": lambda: case(noise(1, 512, 1, 1), refused="is a classifier"),
    "two rows": lambda: case({**noise(1, 9), "b": np.ones((1, 4), np.float32)}, refused="one row of numbers"),
    "segmentation": lambda: case(noise(1, 21, SIDE, SIDE), refused="segmentation"),
    "class map": lambda: case({"o": np.zeros((1, SIDE, SIDE), np.int64)}, refused="segmentation"),
    # TensorFlow, and YOLO-NAS.
    "tensorflow, scores first": lambda: case(
        tensorflow(scores="detection_scores", count="num_detections", labels="detection_classes",
                   boxes="detection_boxes"), "bicycle", **LAST,
    ),
    "tensorflow with tags": lambda: case(
        tensorflow(boxes="detection_boxes:0", labels="detection_classes:0", scores="detection_scores:0",
                   count="num_detections:0"), "bicycle", **LAST,
    ),
    "tensorflow without names": lambda: case(
        tensorflow(boxes="Identity", labels="Identity_1", scores="Identity_2", count="Identity_3"), "bicycle", **LAST
    ),
    "nas by letter": lambda: case({key: counted()[key] for key in sorted(counted())}, "2"),
    # Levels.
    "nanodet": lambda: case(levels(80, (8, 16, 32)), "car", box=LEVEL_BOX),
    "nanodet interleaved": lambda: case(levels(80, (8, 16, 32), interleaved=True), "car", box=LEVEL_BOX),
    "picodet": lambda: case(levels(80, (8, 16, 32, 64)), "car", box=LEVEL_BOX),
    # Numbers that are none.
    "not a number": lambda: case({"o": np.full((1, 7, CELLS), np.nan, np.float32)}, refused="not finite"),
    "infinite": lambda: case({"o": np.full((1, 7, CELLS), np.inf, np.float32)}, refused="not finite"),
    "scores in percent": lambda: case({"o": columns(3, 1, score=90)}, refused="no probabilities", metadata=NAMED),
    # Inputs.
    "gray": lambda: case({"o": columns(3, 1)}, "van", shape=(1, 1, SIDE, SIDE), metadata=NAMED),
    "gray, channels last": lambda: case({"o": columns(3, 1)}, "van", shape=(1, SIDE, SIDE, 1), metadata=NAMED),
    "four channels": lambda: case({"o": columns(3, 1)}, refused="4 channels", shape=(1, 4, SIDE, SIDE)),
    "two channels, last": lambda: case({"o": columns(3, 1)}, refused="2 channels", shape=(1, SIDE, SIDE, 2)),
    "8-bit integers": lambda: case({"o": columns(3, 1)}, "van", dtype=np.int8, metadata=NAMED),
    "16-bit outputs": lambda: case({"o": columns(3, 1).astype(np.float16)}, "van", metadata=NAMED),
}  # fmt: skip


def check(path: Any, known: Case, head: str | None = None) -> None:
    found = Yolo(path, head=head)(known.picture)
    assert len(found) == 1
    assert np.abs(found.boxes[0] - known.box).max() < 0.5
    assert found.scores[0] == pytest.approx(0.9, abs=2e-3)
    assert found.class_names == [known.right]


@pytest.mark.parametrize("name", CASES)
def test_a_known_object(name: str, make_graph: Callable[..., Any]) -> None:
    known = CASES[name]()
    path = make_graph(known.outputs, **known.graph)
    if known.refused:
        with pytest.raises(ModelError) as raised:
            Yolo(path)
        assert "\n" not in str(raised.value)
        assert re.search(known.refused, str(raised.value)), raised.value
    if known.head or not known.refused:
        check(path, known, known.head)


def test_another_head_than_the_graphs_is_said(make_graph: Callable[..., Any]) -> None:
    path = make_graph({"o": columns(80, 2)}, (1, 3, SIDE, SIDE))
    asked = Yolo(path, head="yolov10").reading.assumptions
    assert [line for line in asked if "are those of yolov8" in line and "read as yolov10's" in line]
    assert not [line for line in Yolo(path, head="yolov8").reading.assumptions if "are those of" in line]


def any_array(random: np.random.Generator) -> np.ndarray:
    """An array of any rank, lengths and values that outputs have somewhere."""
    lengths = (0, 1, 2, 4, 5, 6, 7, 32, 57, 80, 84, 100, 300, 2100)
    shape = (1, *random.choice(lengths, random.integers(0, 4)))[: random.integers(0, 6)]
    if np.prod(shape) > 1e5:
        return any_array(random)
    values = [
        lambda: random.uniform(0, 1, shape), lambda: random.normal(0, 3, shape), lambda: random.uniform(0, 320, shape),
        lambda: np.zeros(shape), lambda: np.full(shape, np.nan), lambda: random.integers(0, 3, shape).astype(float),
    ]  # fmt: skip
    kinds = (np.float32, np.float32, np.float32, np.int64, np.uint8, bool)
    with np.errstate(invalid="ignore"):
        return np.asarray(values[random.integers(len(values))]()).astype(kinds[random.integers(len(kinds))])


@pytest.mark.parametrize("seed", range(400))
def test_outputs_of_any_kind_raise_nothing_but_model_errors(seed: int) -> None:
    chance = np.random.default_rng(seed)
    words = ("output0", "boxes", "scores", "dets", "labels", "logits", *TENSORFLOW)
    outputs = [any_array(chance) for _ in range(chance.integers(1, 7))]
    infos = [TensorInfo(str(chance.choice(words)), output.dtype, output.shape) for output in outputs]
    shape = ((1, 3, SIDE, SIDE), (1, SIDE, SIDE, 3), (3, None, None))[chance.integers(3)]
    inputs = [TensorInfo("images", np.dtype(np.float32), shape)]
    metadata = ({}, {"stride": "32"}, {"end2end": "True"})[chance.integers(3)]
    signature = Signature(inputs, infos, metadata, (SIDE, SIDE), (None, 3, 80)[chance.integers(3)], outputs)
    found = recognise(signature)
    assert all("\n" not in note.text for note in found.notes)
    layout_for(HEADS[str(chance.choice(list(HEADS)))], signature)
