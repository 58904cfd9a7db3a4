"""Every head: a graph built here with known numbers, through the real session, against the formula written out again.

The expected boxes are computed by plain loops over cells from the paper or the exporter's description, not with the
functions under test. The picture is as large as the input, so input pixels are its pixels; IoU 1 suppresses nothing.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from detkit import Yolo
from detkit.classes import COCO_NAMES, chosen_classes
from detkit.detectors.yolo.heads import HEADS
from detkit.errors import InputError, ModelError, UsageError
from detkit.graphs.preparation import PixelFormat, Preparation

W, H = 128, 96
PICTURE = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
STRIDES = (8, 16, 32)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def corners(cx, cy, w, h):
    return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]


def check(detections, expected, size=(W, H), names=None):
    """`expected`: (box, score, class id) in any order; boxes are cut at the picture's borders."""
    assert len(detections) == len(expected), (len(detections), len(expected))
    expected = sorted(expected, key=lambda row: -row[1])
    for box, score, class_id, (want_box, want_score, want_class) in zip(
        detections.boxes, detections.scores, detections.class_ids, expected, strict=True
    ):
        limits = np.array([size[0], size[1]] * 2)
        np.testing.assert_allclose(box, np.clip(want_box, 0, limits), rtol=1e-4, atol=2e-3)
        assert score == pytest.approx(want_score, rel=1e-4)
        assert class_id == want_class


def cells(strides=STRIDES, size=(W, H)):
    """(column, row, stride) of every cell, level by level, row by row."""
    return [
        (x, y, stride)
        for stride in strides
        for y in range(math.ceil(size[1] / stride))
        for x in range(math.ceil(size[0] / stride))
    ]


def noise(shape, seed=0, low=0.0, high=0.2):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def yolo(path, **options):
    options = {"conf": 0.25, "iou": 1.0, "max_det": 1000} | options
    return Yolo(path, **options)


ULTRALYTICS = {"task": "detect", "stride": "32", "names": "{0: 'ape', 1: 'bee', 2: 'cat'}", "imgsz": "[96, 128]"}


@pytest.mark.parametrize(
    ("metadata", "head"),
    [
        (ULTRALYTICS, "yolov8"),
        ({}, "yolov8"),
        (ULTRALYTICS | {"description": "Ultralytics YOLOv9t model"}, "yolov9"),
        (ULTRALYTICS | {"description": "Ultralytics YOLO11n model"}, "yolo11"),
        (ULTRALYTICS | {"description": "Ultralytics YOLO12n model"}, "yolo12"),
        (ULTRALYTICS | {"description": "Ultralytics YOLOv10n model", "end2end": "False"}, "yolov8"),
    ],
)
def test_yolov8_and_its_kin(make_graph, metadata, head):
    count = len(cells())
    output = noise((1, 4 + 3, count))
    output[0, :4] = noise((4, count), 1, 5, 60)
    output[0, 5, 7], output[0, 4, 20], output[0, 6, count - 1] = 0.9, 0.6, 0.4
    model = yolo(make_graph({"output0": output}, metadata=metadata))
    assert model.head.name == head
    expected = [(corners(*output[0, :4, k]), output[0, 4 + c, k], c) for k, c in ((7, 1), (20, 0), (count - 1, 2))]
    check(model(PICTURE), expected)
    assert model(PICTURE).names == (("ape", "bee", "cat") if metadata else ("0", "1", "2"))


def test_yolov8_counts_every_class_where_asked_to(make_graph):
    output = noise((1, 7, len(cells())))
    output[0, :4, 3] = 40, 40, 20, 10
    output[0, 4:, 3] = 0.5, 0.7, 0.3
    path = make_graph({"output0": output}, metadata=ULTRALYTICS)
    assert yolo(path)(PICTURE).class_ids.tolist() == [1]
    assert yolo(path, multi_label=True)(PICTURE).class_ids.tolist() == [1, 0, 2]


def test_libreyolo_v9_gives_corners_and_pads_at_the_end(make_graph):
    output = noise((1, 7, len(cells())))
    output[0, :4, 5], output[0, 6, 5] = (10, 20, 50, 60), 0.8
    path = make_graph({"output": output}, metadata={"model_family": "yolov9", "names": '["a", "b", "c"]'})
    model = yolo(path)
    assert model.head.name == "yolov9-xyxy"
    assert model.preparation.fit == "top-left"
    check(model(PICTURE), [((10, 20, 50, 60), 0.8, 2)])


def end_to_end_rows():
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = 10, 20, 50, 60, 0.9, 2
    rows[0, 1] = 30, 30, 90, 90, 0.5, 0
    rows[0, 2] = 30, 30, 90, 90, 0.2, 0
    return rows


@pytest.mark.parametrize(
    "metadata",
    [ULTRALYTICS | {"end2end": "True"}, ULTRALYTICS | {"args": "{'nms': True}"}, {}],
    ids=["end2end", "nms", "none"],
)
def test_end_to_end_rows(make_graph, metadata):
    model = yolo(make_graph({"output0": end_to_end_rows()}, metadata=metadata), conf=0.3)
    assert model.head.name == "yolov10"
    check(model(PICTURE), [((10, 20, 50, 60), 0.9, 2), ((30, 30, 90, 90), 0.5, 0)])


def test_end_to_end_padding_is_no_box_at_any_threshold(make_graph):
    model = yolo(make_graph({"output0": end_to_end_rows()}, metadata=ULTRALYTICS | {"end2end": "True"}), conf=0)
    assert len(model(PICTURE)) == 3


def test_300_rows_of_6_may_be_a_two_class_rtdetr(make_graph):
    rows = noise((1, 300, 6), 3, 0.01, 0.2)
    rows[0, 4] = 0.5, 0.5, 0.25, 0.5, 0.1, 0.8
    model = yolo(make_graph({"output0": rows}))
    assert model.head.name == "rtdetr-ultralytics"
    check(model(PICTURE), [(corners(0.5 * W, 0.5 * H, 0.25 * W, 0.5 * H), 0.8, 1)])


RTDETR = {"task": "detect", "stride": "32", "head": "RTDETRDecoder", "names": "{0: 'a', 1: 'b', 2: 'c'}"}


@pytest.mark.parametrize("metadata", [RTDETR, RTDETR | {"names": "{0: 'a', 1: 'b'}"}, {}])
def test_ultralytics_rtdetr_gives_the_best_queries_with_score_and_class(make_graph, metadata):
    """The layout of ultralytics 8.4.190: six columns whatever the number of classes."""
    rows = noise((1, 300, 6), 3, 0.01, 0.2)
    rows[0, :, 5] = np.arange(300) % 2
    rows[0, 4] = 0.5, 0.5, 0.25, 0.5, 0.8, 1
    model = yolo(make_graph({"output0": rows}, metadata=metadata))
    assert model.head.name == "rtdetr-ultralytics-topk"
    check(model(PICTURE), [(corners(0.5 * W, 0.5 * H, 0.25 * W, 0.5 * H), 0.8, 1)])


@pytest.mark.parametrize("metadata", [ULTRALYTICS | {"end2end": "True"}, ULTRALYTICS | {"args": "{'nms': True}"}, {}])
def test_300_end_to_end_rows_are_no_grid_even_at_640_x_480(make_graph, metadata):
    """20 x 15 cells of 32 pixels are 300, too."""
    model = yolo(make_graph({"output0": end_to_end_rows()}, (1, 3, 480, 640), metadata=metadata), conf=0.3)
    assert model.head.name == "yolov10"
    found = model(np.zeros((480, 640, 3), np.uint8))
    check(found, [((10, 20, 50, 60), 0.9, 2), ((30, 30, 90, 90), 0.5, 0)], size=(640, 480))


def test_80_classes_at_64_pixels_are_84_rows_and_84_columns(make_graph):
    output = noise((1, 84, 84))
    output[0, :4, 5], output[0, 4 + 16, 5] = (30, 30, 20, 10), 0.9
    names = str(dict(enumerate(COCO_NAMES)))
    model = yolo(make_graph({"output0": output}, (1, 3, 64, 64), metadata=ULTRALYTICS | {"names": names}))
    assert model(np.zeros((64, 64, 3), np.uint8)).class_names == ["dog"]


def test_another_family_in_a_known_shape_is_refused(make_graph):
    """libreyolo's RTMDet has the shape of YOLOX, and would be decoded into nonsense."""
    path = make_graph({"output": yolox_output()}, metadata={"model_family": "rtmdet"})
    with pytest.raises(ModelError, match="model_family 'rtmdet'"):
        yolo(path)


def test_libreyolo_says_where_it_pads(make_graph):
    output = noise((1, 7, len(cells())))
    metadata = {"model_family": "yolo9", "letterbox_pad": "center"}
    assert yolo(make_graph({"output": output}, metadata=metadata)).preparation.fit == "center"


def objectness_rows(rows, classes, seed=4):
    output = noise((1, rows, 5 + classes), seed)
    output[0, :, :2] = noise((rows, 2), seed + 1, 10, 90)
    output[0, :, 2:4] = noise((rows, 2), seed + 2, 5, 40)
    output[0, 11, 4:7] = 0.9, 0.1, 0.8
    output[0, 30, 4:7] = 0.5, 0.7, 0.1
    return output


def expected_objectness(output):
    return [
        (corners(*output[0, 11, :4]), 0.9 * 0.8, 1),
        (corners(*output[0, 30, :4]), 0.5 * 0.7, 0),
    ]


@pytest.mark.parametrize(
    ("metadata", "head"), [({"stride": "32", "names": "['a', 'b', 'c']"}, "yolov5"), ({}, "yolov7")]
)
def test_v5_and_v7_with_their_grid(make_graph, metadata, head):
    output = objectness_rows(3 * len(cells()), 3)
    model = yolo(make_graph({"output": output}, metadata=metadata))
    assert model.head.name == head
    check(model(PICTURE), expected_objectness(output))


@pytest.mark.parametrize(("metadata", "head"), [({"stride": "32"}, "yolov5-raw"), ({}, None)])
def test_v5_and_v7_raw_are_told_apart_by_metadata_only(make_graph, metadata, head):
    outputs, expected = raw_levels([((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)),
                                    ((116, 90), (156, 198), (373, 326))])  # fmt: skip
    path = make_graph(outputs, metadata=metadata)
    if head is None:
        with pytest.raises(ModelError, match=r"ambiguous.*yolov5-raw.*yolov7-raw"):
            yolo(path)
        assert yolo(path, head="yolov7-raw").head.name == "yolov7-raw"
        return
    model = yolo(path)
    assert model.head.name == head
    check(model(PICTURE), expected)


def raw_levels(anchors):
    """Outputs (1, 3, rows, columns, 5 + 2) of all levels with a box in each, and what they say."""
    outputs, expected = {}, []
    for level, stride in enumerate(STRIDES):
        rows, columns = math.ceil(H / stride), math.ceil(W / stride)
        output = noise((1, 3, rows, columns, 7), level, -6, -4)
        anchor, y, x = level % 3, rows - 1, 1
        values = np.array([0.3, -0.2, 0.1, -0.4, 1.0 + level, 2.0, -3.0], np.float32)
        output[0, anchor, y, x] = values
        t = [sigmoid(value) for value in values]
        width, height = anchors[level][anchor]
        box = corners(
            (2 * t[0] - 0.5 + x) * stride, (2 * t[1] - 0.5 + y) * stride,
            (2 * t[2]) ** 2 * width, (2 * t[3]) ** 2 * height,
        )  # fmt: skip
        expected.append((box, t[4] * t[5], 0))
        outputs[f"level{stride}"] = output
    return outputs, expected


def test_raw_v7_has_its_own_anchors(make_graph):
    outputs, expected = raw_levels([((12, 16), (19, 36), (40, 28)), ((36, 75), (76, 55), (72, 146)),
                                    ((142, 110), (192, 243), (459, 401))])  # fmt: skip
    check(yolo(make_graph(outputs), head="yolov7-raw")(PICTURE), expected)


def test_raw_levels_take_anchors_from_the_sidecar(make_graph):
    own = [((5, 6), (7, 8), (9, 10)), ((11, 12), (13, 14), (15, 16)), ((20, 30), (40, 50), (60, 70))]
    outputs, expected = raw_levels(own)
    path = make_graph(outputs)
    sidecar = '{"head": "yolov5-raw", "names": ["ant", "bat"], "anchors": %s}' % [list(map(list, a)) for a in own]
    path.with_name("graph.detkit.json").write_text(sidecar)
    model = yolo(path)
    check(model(PICTURE), expected)
    assert model.names == ("ant", "bat")


def test_v6_has_objectness_one(make_graph):
    output = objectness_rows(len(cells()), 3)
    output[0, :, 4] = 1
    model = yolo(make_graph({"outputs": output}))
    assert model.head.name == "yolov6"
    check(model(PICTURE), [(corners(*output[0, 11, :4]), 0.8, 1), (corners(*output[0, 30, :4]), 0.7, 0)])


@pytest.mark.parametrize(("columns", "head"), [((5, 6), "yolov7-nms"), ((6, 5), "yolo-nas-flat")])
def test_seven_columns_are_class_score_or_score_class(make_graph, columns, head):
    rows = np.zeros((3, 7), np.float32)
    rows[:, 1:5] = [[10, 10, 50, 50], [20, 20, 90, 60], [1, 1, 2, 2]]
    rows[:, columns[0]] = 3, 0, 1
    rows[:, columns[1]] = 0.75, 0.5, 0.25
    model = yolo(make_graph({"output": rows}, open_rows=["output"]))
    assert model.head.name == head
    check(model(PICTURE), [((10, 10, 50, 50), 0.75, 3), ((20, 20, 90, 60), 0.5, 0)])


def test_seven_columns_without_rows_are_ambiguous(make_graph):
    path = make_graph({"output": np.zeros((0, 7), np.float32)}, open_rows=["output"])
    with pytest.raises(ModelError, match=r"yolov7-nms.*yolo-nas-flat"):
        yolo(path)
    assert len(yolo(path, head="yolov7-nms")(PICTURE)) == 0


def yolox_output(classes=4):
    output = noise((1, len(cells()), 5 + classes), 7)
    output[0, :, :4] = noise((len(cells()), 4), 8, -1, 1)
    output[0, 40, 4:8] = 0.9, 0.2, 0.1, 0.8
    output[0, 230, 4:8] = 0.8, 0.6, 0.5, 0.1
    return output


def expected_yolox(output):
    found = []
    for row, (x, y, stride) in enumerate(cells()):
        p = output[0, row]
        box = corners((p[0] + x) * stride, (p[1] + y) * stride, math.exp(p[2]) * stride, math.exp(p[3]) * stride)
        found += [(box, p[4] * p[5 + c], c) for c in range(len(p) - 5) if p[4] * p[5 + c] > 0.25]
    return found


def test_yolox_is_not_decoded_yolox_1062(make_graph):
    output = yolox_output()
    model = yolo(make_graph({"output": output}))
    assert model.head.name == "yolox"
    assert (model.preparation.color, model.preparation.fit) == ("bgr", "top-left")
    expected = expected_yolox(output)
    assert len(expected) == 3  # one box counts for two classes
    check(model(PICTURE), expected)


def test_yolox_exported_decoded(make_graph):
    """Its classes are conditional on an object, so they are large where the objectness is nought."""
    output = objectness_rows(len(cells()), 3)
    output[0, :, 4] *= output[0, :, 4] > 0.25
    model = yolo(make_graph({"output": output}))
    assert model.head.name == "yolox-decoded"
    check(model(PICTURE), expected_objectness(output))


def test_objectness_and_three_classes_or_four_classes(make_graph):
    """Eight columns whose values do not tell: refused, and settled by names or by --head."""
    output = objectness_rows(len(cells()), 3)
    path = make_graph({"output": output})
    with pytest.raises(ModelError, match=r"ambiguous.*yolox-decoded.*yolov8.*--names"):
        yolo(path)
    check(yolo(path, names=["a", "b", "c"])(PICTURE), expected_objectness(output))
    check(yolo(path, head="yolox-decoded")(PICTURE), expected_objectness(output))
    four = [(corners(*output[0, 11, :4]), 0.9, 0), (corners(*output[0, 30, :4]), 0.7, 1)]
    check(yolo(path, names=["a", "b", "c", "d"])(PICTURE), four)
    check(yolo(path, head="yolov8")(PICTURE), four)


def test_one_class_yolox_is_not_end_to_end(make_graph):
    """(1, 756, 6) at 192 px: 756 is the sum of the grids."""
    output = noise((1, 756, 6), 2)
    output[0, :, :4] = noise((756, 4), 3, -1, 1)
    output[0, 5, 4:] = 0.9, 0.9
    model = yolo(make_graph({"output": output}, (1, 3, 192, 192)))
    assert model.head.name == "yolox"
    assert len(model(PICTURE)) == 1


def distribution(distances, bins=8):
    """Logits whose softmax has its mean at the given whole distances."""
    logits = np.full((4, bins), -20.0, np.float32)
    for side, distance in enumerate(distances):
        logits[side, distance] = 20
    return logits.ravel()


def test_nanodet(make_graph):
    outputs, expected = {}, []
    for stride in STRIDES:
        rows = (W // stride) * math.ceil(H / stride)
        outputs[f"cls{stride}"] = noise((1, rows, 5), stride)
    for stride in STRIDES:
        rows = outputs[f"cls{stride}"].shape[1]
        outputs[f"dis{stride}"] = noise((1, rows, 32), stride, -1, 1)
    for stride, row, score, distances in (
        (8, 20, 0.9, (1, 2, 3, 2)),
        (16, 9, 0.7, (2, 1, 2, 1)),
        (32, 3, 0.5, (1, 1, 0, 1)),
    ):
        outputs[f"cls{stride}"][0, row, 4] = score
        outputs[f"dis{stride}"][0, row] = distribution(distances)
        columns = W // stride
        x, y = (row % columns + 0.5) * stride, (row // columns + 0.5) * stride
        left, top, right, bottom = (distance * stride for distance in distances)
        expected.append(((x - left, y - top, x + right, y + bottom), score, 4))
    model = yolo(make_graph(outputs))
    assert model.head.name == "nanodet"
    check(model(PICTURE), expected)


def test_nanodet_plus(make_graph):
    strides = (8, 16, 32, 64)
    places = cells(strides)
    output = noise((1, len(places), 6 + 32), 1)
    row = 200
    output[0, row, 2], output[0, row, 6:] = 0.8, distribution((1, 2, 3, 1))
    x, y, stride = places[row]
    model = yolo(make_graph({"output": output}))
    assert model.head.name == "nanodet-plus"
    box = ((x - 1) * stride, (y - 2) * stride, (x + 3) * stride, (y + 1) * stride)
    check(model(PICTURE), [(box, 0.8, 2)])


BOXES = np.array([[[10, 10, 50, 50], [20, 20, 90, 60], [0, 0, 9, 9]]], np.float32)
SCORES = np.array([[0.9, 0.6, 0.1]], np.float32)
LABELS = np.array([[3, 0, 1]], np.int64)
EXPECTED = [((10, 10, 50, 50), 0.9, 3), ((20, 20, 90, 60), 0.6, 0)]


def test_yolo_nas_batch_format(make_graph):
    padded = np.concatenate((BOXES, np.full((1, 2, 4), -1, np.float32)), axis=1)
    outputs = {
        "num": np.array([[3]], np.int64),
        "boxes": padded,
        "scores": np.concatenate((SCORES, np.full((1, 2), -1, np.float32)), axis=1),
        "classes": np.concatenate((LABELS, np.full((1, 2), -1, np.int64)), axis=1),
    }
    model = yolo(make_graph(outputs, dtype=np.uint8))
    assert model.head.name == "yolo-nas"
    check(model(PICTURE), EXPECTED)


def test_yolo_nas_raw(make_graph):
    boxes, scores = noise((1, len(cells()), 4), 1, 5, 60), noise((1, len(cells()), 3), 2)
    boxes[..., 2:] += boxes[..., :2]
    boxes[0, 9], scores[0, 9] = (5, 6, 70, 80), (0.1, 0.8, 0.1)
    model = yolo(make_graph({"boxes": boxes, "scores": scores}))
    assert model.head.name == "yolo-nas-raw"
    check(model(PICTURE), [((5, 6, 70, 80), 0.8, 1)])


def test_ppyoloe_in_input_pixels_whatever_the_scale(make_graph):
    rows = np.array([[3, 0.9, 10, 10, 50, 50], [0, 0.6, 20, 20, 90, 60], [1, 0.1, 0, 0, 9, 9]], np.float32)
    path = make_graph(
        {"rows": rows, "count": np.array([3], np.int32)},
        name="image",
        extra={"scale_factor": (np.float32, (1, 2))},
        open_rows=["rows"],
    )
    model = yolo(path)
    assert model.head.name == "ppyoloe"
    check(model(PICTURE), EXPECTED)


def test_ppyoloe_without_boxes(make_graph):
    rows = np.array([[-1, 0, 0, 0, 0, 0]], np.float32)
    path = make_graph({"rows": rows, "count": np.array([1], np.int32)}, name="image",
                      extra={"scale_factor": (np.float32, (1, 2))}, open_rows=["rows"])  # fmt: skip
    assert len(yolo(path, conf=0)(PICTURE)) == 0


def test_rtmdet(make_graph):
    dets = np.concatenate((BOXES, SCORES[..., None]), axis=2)
    model = yolo(make_graph({"dets": dets, "labels": LABELS}, name="input"))
    assert model.head.name == "rtmdet"
    check(model(PICTURE), EXPECTED)


def shares(queries):
    boxes = noise((1, queries, 4), 5, 0.1, 0.5)
    boxes[0, 3] = 0.5, 0.25, 0.5, 0.25
    return boxes, corners(0.5 * W, 0.25 * H, 0.5 * W, 0.25 * H)


def test_rfdetr_has_91_outputs_for_80_classes_rfdetr_961(make_graph):
    boxes, box = shares(300)
    logits = noise((1, 300, 91), 6, -9, -8)
    logits[0, 3, 1], logits[0, 3, 90], logits[0, 3, 12] = 2.0, 1.0, 3.0  # person, toothbrush, and an id without class
    model = yolo(make_graph({"dets": boxes, "labels": logits}))
    assert model.head.name == "rfdetr"
    check(model(PICTURE), [(box, sigmoid(2.0), 0), (box, sigmoid(1.0), 79)])
    assert model.names == COCO_NAMES


def test_detr_leaves_none_out(make_graph):
    boxes, box = shares(100)
    logits = np.zeros((1, 100, 92), np.float32)
    logits[..., 91] = 9
    logits[0, 3] = 0
    logits[0, 3, 18] = 8  # COCO's id of dog
    model = yolo(make_graph({"pred_logits": logits, "pred_boxes": boxes}))
    assert model.head.name == "detr"
    check(model(PICTURE), [(box, math.exp(8) / (math.exp(8) + 91), 16)])


def test_boxes_and_logits_of_own_classes_are_ambiguous(make_graph):
    boxes, _ = shares(300)
    path = make_graph({"boxes": boxes, "scores": noise((1, 300, 4), 6, -9, -8)})
    with pytest.raises(ModelError, match=r"ambiguous.*detr.*rfdetr"):
        yolo(path)


def test_rtdetr_of_transformers_has_80_logits(make_graph):
    boxes, box = shares(300)
    logits = noise((1, 300, 80), 6, -9, -8)
    logits[0, 3, 16] = 2.0
    model = yolo(make_graph({"logits": logits, "pred_boxes": boxes}, name="pixel_values"))
    assert model.head.name == "rtdetr-logits"
    check(model(PICTURE), [(box, sigmoid(2.0), 16)])
    assert model(PICTURE).class_names == ["dog"]


@pytest.mark.parametrize(("file", "head"), [("model.onnx", "rtdetr")])
def test_rtdetr_takes_the_size_of_the_picture(make_graph, file, head):
    outputs = {"labels": LABELS, "boxes": BOXES, "scores": SCORES}
    path = make_graph(outputs, extra={"orig_target_sizes": (np.int64, (1, 2))}, file=file)
    model = yolo(path)
    assert model.head.name == head
    check(model(PICTURE), EXPECTED)
    check(yolo(path, head="dfine")(PICTURE), EXPECTED)


@pytest.mark.parametrize("order", [("boxes", "labels", "scores"), ("boxes", "scores", "labels")])
def test_torchvision_in_either_order(make_graph, order):
    outputs = {"boxes": BOXES[0], "labels": LABELS[0] + 1, "scores": SCORES[0]}
    path = make_graph({name: outputs[name] for name in order}, (3, None, None), open_rows=order)
    model = yolo(path)
    assert model.head.name == "torchvision"
    check(model(PICTURE), EXPECTED)


@pytest.mark.parametrize("labels", [91, 91 * 9, 5])
def test_torchvision_trained_on_coco_is_known_by_its_last_layer(make_graph, labels):
    outputs = {"boxes": BOXES[0], "labels": np.array([18, 1, 2]), "scores": SCORES[0]}
    path = make_graph(outputs, (3, None, None), open_rows=list(outputs),
                      initializers={"head.cls_logits.bias": np.zeros(labels, np.float32),
                                    "rpn.head.cls_logits.bias": np.zeros(15, np.float32)})  # fmt: skip
    found = yolo(path)(PICTURE)
    assert found.class_names == (["17", "0"] if labels == 5 else ["dog", "person"])


def test_torchvision_with_zero_detections_torchvision_2380(make_graph):
    outputs = {
        "boxes": np.zeros((0, 4), np.float32),
        "labels": np.zeros(0, np.int64),
        "scores": np.zeros(0, np.float32),
    }
    path = make_graph(outputs, (3, None, None), open_rows=list(outputs))
    assert len(yolo(path)(PICTURE)) == 0


def test_faster_rcnn_of_the_onnx_zoo(make_graph):
    outputs = {"6379": BOXES[0], "6381": LABELS[0] + 1, "6383": SCORES[0]}
    model = yolo(make_graph(outputs, (3, None, None), name="image", open_rows=list(outputs)))
    assert model.head.name == "faster-rcnn-zoo"
    prepared = model.prepare(PICTURE)
    assert prepared.tensor.shape == (3, 800, 1088)  # the short side at 800, padded to a multiple of 32
    scale = 800 / 96
    found = model(PICTURE)
    np.testing.assert_allclose(found.boxes[0], np.array([10, 10, 50, 50]) / scale, atol=0.02)
    assert found.class_names == ["truck", "person"] or found.class_names == [COCO_NAMES[3], COCO_NAMES[0]]


def test_tensorflow_ssd(make_graph):
    shares = BOXES[:, :, [1, 0, 3, 2]] / np.array([H, W, H, W], np.float32)
    count, labels = np.array([3.0], np.float32), (LABELS + 1).astype(np.float32)
    outputs = {"num": count, "boxes": shares, "scores": SCORES, "classes": labels}
    model = yolo(make_graph(outputs, (1, None, None, 3), dtype=np.uint8))
    assert model.head.name == "tensorflow"
    check(model(PICTURE), EXPECTED)


@pytest.mark.parametrize("classes", [80, 20])
def test_yolov2(make_graph, classes):
    anchors = {
        80: [(0.57273, 0.677385), (1.87446, 2.06253), (3.33843, 5.47434), (7.88282, 3.52778), (9.77052, 9.16828)],
        20: [(1.3221, 1.73145), (3.19275, 4.00944), (5.05587, 8.09892), (9.47112, 4.84053), (11.2364, 10.0071)],
    }[classes]
    columns, rows = W // 32, H // 32
    output = noise((1, 5 * (5 + classes), rows, columns), 3, -5, -4)
    anchor, y, x = 2, 1, 3
    cell = output[0].reshape(5, 5 + classes, rows, columns)[anchor, :, y, x]
    cell[:5] = 0.4, -0.3, 0.2, -0.5, 3.0
    cell[5:] = 0
    cell[5 + 7] = 6
    options = {"head": "yolov2"} if classes == 20 else {}
    path = make_graph({"output": output}, name="input.1")
    if classes == 20:
        with pytest.raises(ModelError, match=r"ambiguous.*tiny"):
            yolo(path)
    model = yolo(path, **options)
    assert model.head.name == "yolov2"
    box = corners(
        (sigmoid(0.4) + x) * 32, (sigmoid(-0.3) + y) * 32,
        anchors[anchor][0] * math.exp(0.2) * 32, anchors[anchor][1] * math.exp(-0.5) * 32,
    )  # fmt: skip
    check(model(PICTURE), [(box, sigmoid(3) * math.exp(6) / (math.exp(6) + classes - 1), 7)])


def test_tiny_yolov2_of_the_zoo_takes_pixels(make_graph):
    output = noise((1, 125, 13, 13), 3, -5, -4)
    model = yolo(make_graph({"grid": output}, (None, 3, 416, 416), name="image"))
    assert model.head.name == "tiny-yolov2"
    assert model.prepare(PICTURE).tensor.max() > 200


def test_yolov2_of_other_classes_asks_for_its_anchors(make_graph):
    path = make_graph({"output": noise((1, 5 * 8, 3, 4), 3, -5, -4)}, name="input.1")
    with pytest.raises(ModelError, match=r"anchors.*graph\.detkit\.json"):
        yolo(path)


def test_yolov3_raw(make_graph):
    anchors = [((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326))]
    outputs, expected = {}, []
    for level, stride in reversed(list(enumerate(STRIDES))):  # darknet gives the coarsest first
        rows, columns = math.ceil(H / stride), W // stride
        output = noise((1, 3 * 7, rows, columns), level, -6, -5)
        cell = output[0].reshape(3, 7, rows, columns)[level, :, 1, 2]
        cell[:] = 0.1, 0.2, -0.3, 0.4, 2.0 + level, 1.5, 1.0
        width, height = anchors[level][level]
        box = corners((sigmoid(0.1) + 2) * stride, (sigmoid(0.2) + 1) * stride,
                      width * math.exp(-0.3), height * math.exp(0.4))  # fmt: skip
        expected += [(box, sigmoid(2 + level) * sigmoid(value), c) for c, value in enumerate((1.5, 1.0))]
        outputs[f"out{stride}"] = output
    model = yolo(make_graph(outputs))
    assert model.head.name == "yolov3-raw"
    check(model(PICTURE), expected)


def test_yolov3_of_the_zoo(make_graph):
    boxes = BOXES[:, :, [1, 0, 3, 2]]
    scores = np.zeros((1, 80, 3), np.float32)
    scores[0, 3, 0], scores[0, 0, 1] = 0.9, 0.6
    kept = np.array([[0, 3, 0], [0, 0, 1]], np.int32)
    path = make_graph({"boxes": boxes, "scores": scores, "indices": kept}, (1, 3, None, None), name="input_1",
                      extra={"image_shape": (np.float32, (1, 2))}, open_rows=["boxes", "indices"])  # fmt: skip
    model = yolo(path, size=128)
    assert model.head.name == "yolov3"
    assert model.preparation.pad == 128
    found = model(np.zeros((128, 128, 3), np.uint8))
    check(found, EXPECTED, size=(128, 128))


def test_yolov4_of_the_zoo(make_graph):
    anchors = [((12, 16), (19, 36), (40, 28)), ((36, 75), (76, 55), (72, 146)), ((142, 110), (192, 243), (459, 401))]
    outputs, expected = {}, []
    for level, (stride, scale) in enumerate(zip(STRIDES, (1.2, 1.1, 1.05), strict=True)):
        rows, columns = math.ceil(H / stride), W // stride
        output = noise((1, rows, columns, 3, 9), level)
        output[0, 1, 2, level] = 0.5, -0.5, 0.2, -0.1, 0.9 - level / 10, 0.1, 0.9, 0.1, 0.1
        width, height = anchors[level][level]
        x, y = scale * sigmoid(0.5) - (scale - 1) / 2 + 2, scale * sigmoid(-0.5) - (scale - 1) / 2 + 1
        box = corners(x * stride, y * stride, width * math.exp(0.2), height * math.exp(-0.1))
        expected.append((box, (0.9 - level / 10) * 0.9, 1))
        outputs[f"grid{stride}"] = output
    model = yolo(make_graph(outputs, (1, H, W, 3)))
    assert model.head.name == "yolov4"
    check(model(PICTURE), expected)


def test_yolov4_of_tianxiaomo(make_graph):
    boxes = noise((1, 50, 1, 4), 2)
    boxes[0, 7, 0] = 0.1, 0.2, 0.5, 0.75
    confs = noise((1, 50, 80), 3)
    confs[0, 7, 16] = 0.9
    model = yolo(make_graph({"boxes": boxes, "confs": confs}))
    assert model.head.name == "yolov4-flat"
    check(model(PICTURE), [((0.1 * W, 0.2 * H, 0.5 * W, 0.75 * H), 0.9, 16)])
    assert model(PICTURE).class_names == ["dog"]


@pytest.mark.parametrize("flat", [False, True])
def test_yolov1_square_and_in_darknets_order(make_graph, flat):
    """448 px; two boxes a cell; score = Pr(class | object) * confidence; w and h are square roots."""
    classes, confidences, places = np.zeros((7, 7, 20)), np.zeros((7, 7, 2)), np.zeros((7, 7, 2, 4))
    y, x, box = 3, 5, 1
    classes[y, x, 11] = 0.8
    confidences[y, x, box] = 0.9
    places[y, x, box] = 0.25, 0.75, 0.5, 0.6
    if flat:
        output = np.concatenate((classes.ravel(), confidences.ravel(), places.ravel()))[None]
    else:
        both = np.concatenate((places, confidences[..., None]), axis=-1).reshape(7, 7, 10)
        output = np.concatenate((both, classes), axis=-1)[None]
    model = yolo(make_graph({"output": output.astype(np.float32)}, (1, 3, 448, 448)))
    assert model.head.name == "yolov1"
    expected = corners((5 + 0.25) / 7 * 448, (3 + 0.75) / 7 * 448, 0.5**2 * 448, 0.6**2 * 448)
    check(model(np.zeros((448, 448, 3), np.uint8)), [(expected, 0.72, 11)], size=(448, 448))
    assert model(np.zeros((448, 448, 3), np.uint8)).class_names == ["dog"]


def test_an_unknown_graph_is_refused_with_its_outputs(make_graph):
    with pytest.raises(ModelError, match=r"fit no head: strange float32 \(1 x 17 x 3\)"):
        yolo(make_graph({"strange": noise((1, 17, 3))}))


def test_other_tasks_are_refused(make_graph):
    path = make_graph({"output0": noise((1, 7, len(cells())))}, metadata=ULTRALYTICS | {"task": "pose"})
    with pytest.raises(ModelError, match="task 'pose'"):
        yolo(path)


def test_an_unknown_head_is_refused_with_those_there_are(make_graph):
    with pytest.raises(ModelError, match="no head 'yolov99'; there are yolov1"):
        yolo(make_graph({"output0": noise((1, 7, len(cells())))}), head="yolov99")


def test_a_head_that_does_not_fit_is_an_error_not_a_crash(make_graph):
    path = make_graph({"output0": noise((1, 7, len(cells())))})
    for name in HEADS:
        try:
            yolo(path, head=name)(PICTURE)
        except (ModelError, InputError):
            continue


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_tensors_are_the_formula(color, last, dtype):
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    tensor = Preparation(color=color, mean=mean, std=std).tensor(PICTURE, PixelFormat(np.dtype(dtype), last))
    pixels = PICTURE[:, :, ::-1] if color == "bgr" else PICTURE
    expected = pixels if dtype == np.uint8 else (pixels.astype(np.float64) - mean) / std
    expected = expected if last else expected.transpose(2, 0, 1)
    assert tensor.dtype == dtype
    np.testing.assert_allclose(tensor.astype(np.float64), expected, atol=2e-3 if dtype == np.float16 else 1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conf": 1.5}, "conf lies from 0 to 1"),
        ({"conf": float("nan")}, "conf lies from 0 to 1"),
        ({"iou": -0.1}, "iou lies from 0 to 1"),
        ({"max_det": 0}, "max_det is at least 1"),
        ({"batch": 0}, "batch is at least 1"),
        ({"threads": 0}, "threads is at least 1"),
        ({"nms": "best"}, "no nms 'best'; there are greedy"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Yolo("any.onnx", **options)


def test_one_class_may_be_given_without_a_list():
    assert chosen_classes("bee", ("ape", "bee")).tolist() == [1]
    assert chosen_classes(0, ("ape", "bee")).tolist() == [0]
