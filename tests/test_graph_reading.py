"""How a graph wants its picture and what its classes are called: from the graph, its metadata, a sidecar, options."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from detkit import Yolo
from detkit.classes import COCO_NAMES
from detkit.errors import InputError, ModelError, UsageError
from detkit.graphs.inner_scaling import inner_scaling
from detkit.graphs.preparation import PixelFormat, Preparation
from detkit.images import write_image
from detkit.runs.batch import Reading, work_all
from detkit.runs.sources import find_items

SIDE = 64
CELLS = 8 * 8 + 4 * 4 + 2 * 2
BOX = [22, 19, 42, 29]
PICTURE = np.full((SIDE, SIDE, 3), (200, 100, 50), np.uint8)
NAMED = {"names": "{0: 'car', 1: 'van', 2: 'bus'}", "task": "detect", "stride": "32"}
Maker = Callable[..., Path]


def columns(classes: int = 3) -> np.ndarray:
    output = np.random.default_rng(1).uniform(0, 0.01, (1, 4 + classes, CELLS)).astype(np.float32)
    output[0, :2], output[0, 2:4] = np.random.default_rng(2).uniform(0, SIDE, (2, CELLS)), 6
    output[0, :4, 7], output[0, 5, 7] = (32, 24, 20, 10), 0.9
    return output


@pytest.fixture
def beginning(tmp_path: Path) -> Callable[..., Path]:
    """A graph that begins with `steps` (operator, constants), and whose one score is the mean of what comes of them."""

    def make(*steps: tuple[str, Any], metadata: dict[str, str] | None = None, dtype: int = TensorProto.FLOAT,
             brightness: float = 1.0) -> Path:  # fmt: skip
        nodes, stored, last = [], [], "images"
        for number, (operator, constants) in enumerate(steps):
            names = []
            for place, value in enumerate(constants):
                names.append(f"c{number}_{place}")
                stored.append(numpy_helper.from_array(np.asarray(value), names[-1]))
            attributes = {"to": TensorProto.FLOAT} if operator == "Cast" else {}
            nodes.append(helper.make_node(operator, [last, *names], [f"x{number}"], **attributes))
            last = f"x{number}"
        base = columns()
        base[0, 5, 7] = 0
        place = np.zeros_like(base)
        place[0, 5, 7] = 1
        stored += [numpy_helper.from_array(base, "base"), numpy_helper.from_array(place, "place")]
        nodes += [
            helper.make_node("Conv", [last, "kernel"], ["plane"]),
            helper.make_node("ReduceMean", ["plane"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "place"], ["there"]),
            helper.make_node("Add", ["base", "there"], ["output0"]),
        ]
        stored.append(numpy_helper.from_array(np.full((1, 3, 1, 1), brightness / 3, np.float32), "kernel"))
        value = helper.make_tensor_value_info
        model = helper.make_model(
            helper.make_graph(nodes, "g", [value("images", dtype, [1, 3, SIDE, SIDE])],
                              [value("output0", TensorProto.FLOAT, list(base.shape))], stored),
            opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
        )  # fmt: skip
        helper.set_model_props(model, NAMED if metadata is None else metadata)
        onnx.save(model, tmp_path / "m.onnx")
        return tmp_path / "m.onnx"

    return make


def three(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 3, 1, 1)


IMAGENET = (three(123.675, 116.28, 103.53), three(58.395, 57.12, 57.375))
REVERSED = tuple(np.ascontiguousarray(part[:, ::-1]) for part in IMAGENET)
NORMAL = [np.full(3, value, np.float32) for value in (1, 0, 120, 3600)]  # scale, shift, mean, variance
SCALINGS: dict[str, tuple[list[tuple[str, Any]], tuple[float, str]]] = {
    "none": ([], (1, "rgb")),
    "over 255": ([("Div", [np.float32(255)])], (255, "rgb")),
    "times 1/255": ([("Mul", [np.float32(1 / 255)])], (255, "rgb")),
    "halves": ([("Sub", [np.float32(127.5)]), ("Div", [np.float32(127.5)])], (255, "rgb")),
    "times 2 less 1": ([("Mul", [np.float32(2)]), ("Sub", [np.float32(1)])], (1, "rgb")),
    "imagenet of pixels": ([("Sub", [IMAGENET[0]]), ("Div", [IMAGENET[1]])], (255, "rgb")),
    "imagenet of pixels, bgr": ([("Sub", [REVERSED[0]]), ("Div", [REVERSED[1]])], (255, "bgr")),
    "imagenet of shares": ([("Sub", [three(0.485, 0.456, 0.406)]), ("Div", [three(0.229, 0.224, 0.225)])], (1, "rgb")),
    "added": ([("Add", [-IMAGENET[0]])], (255, "rgb")),
    "batch normalisation": (
        [("BatchNormalization", NORMAL)],
        (255, "rgb"),
    ),
    "back to pixels": ([("Mul", [np.float32(255)])], (1, "rgb")),
}  # fmt: skip


@pytest.mark.parametrize("name", SCALINGS)
def test_pixels_scaled_inside_the_graph(beginning: Callable[..., Path], name: str) -> None:
    steps, (highest, color) = SCALINGS[name]
    path = beginning(*steps, brightness=1e-4)
    prepared = Yolo(path).preparation.tensor(PICTURE, PixelFormat(np.dtype(np.float32)))
    expected = PICTURE[0, 0, :: -1 if color == "bgr" else 1] / (255 / highest)
    np.testing.assert_allclose(prepared[:, 0, 0], expected, rtol=1e-5)
    found = inner_scaling(path, "images")
    assert (found is None) == (name == "none")


def test_a_normalisation_of_what_is_normalised_says_nothing(beginning: Callable[..., Path]) -> None:
    """A network on ImageNet's normalisation may begin with a batch normalisation of its own."""
    learned = [np.full(3, value, np.float32) for value in (1.1, 0.02, 0.05, 1.2)]
    assert inner_scaling(beginning(("BatchNormalization", learned)), "images") is None


def test_a_constant_less_the_picture_is_no_scaling(beginning: Callable[..., Path]) -> None:
    path = beginning(("Div", [np.float32(255)]))
    model = onnx.load(path)
    model.graph.node[0].input[:] = [model.graph.node[0].input[1], "images"]
    onnx.save(model, path)
    assert inner_scaling(path, "images") is None


def test_scores_above_1_on_a_real_picture_make_it_an_error(beginning: Callable[..., Path]) -> None:
    """The trial picture is dark: its score is below 1. A bright one gives 1.3."""
    path = beginning(("Mul", [np.float32(1.3)]))
    dark, bright = np.full((SIDE, SIDE, 3), 128, np.uint8), np.full((SIDE, SIDE, 3), 255, np.uint8)
    yolo = Yolo(path)
    assert yolo(dark).scores[0] == pytest.approx(1.3 * 128 / 255, abs=1e-4)
    with pytest.raises(InputError, match=r"not yolov8's: its scores reach 1\.(3|29999), above 1"):
        yolo(bright)


def test_one_bad_picture_of_a_batch_leaves_the_others(make_graph: Maker, tmp_path: Path) -> None:
    class Sick:
        names, batch = ("a",), 3

        def prepare(self, image: np.ndarray, name: str = "") -> int:
            return int(image[0, 0, 0])

        def detect(self, prepared: list[int]) -> list[Any]:
            if 255 in prepared:
                raise InputError("its scores reach 7, above 1")
            return [value for value in prepared]

    for name, value in (("a", 1), ("b", 255), ("c", 3)):
        write_image(tmp_path / f"{name}.png", np.full((8, 8, 3), value, np.uint8))
    items = find_items([str(tmp_path)], lambda name, why: None)
    results = list(work_all(Sick(), items, Reading(workers=1)))
    assert [result.found for result in results] == [1, None, 3]
    assert results[1].error == "its scores reach 7, above 1"


ASSUMED = {
    "nanodet": lambda: {f"{kind}{stride}": pair(kind, stride) for kind in ("cls", "dis") for stride in (8, 16, 32)},
    "rtmdet": lambda: {"dets": np.array([[[*BOX, 0.9]]], np.float32), "labels": np.array([[1]])},
}


def pair(kind: str, stride: int) -> np.ndarray:
    cells = (SIDE // stride) ** 2
    random = np.random.default_rng(stride)
    if kind == "cls":
        return random.uniform(0, 0.01, (1, cells, 3)).astype(np.float32)
    return random.normal(0, 1, (1, cells, 32)).astype(np.float32)


@pytest.mark.parametrize("head", ASSUMED)
def test_what_families_of_one_shape_do_not_share_is_said(
    make_graph: Maker, caplog: pytest.LogCaptureFixture, head: str, cli: Any
) -> None:
    path = make_graph(ASSUMED[head](), (1, 3, SIDE, SIDE))
    yolo = Yolo(path)
    assert yolo.head.name == head
    assert len(yolo.reading.assumptions) == 1
    assert "--mean, --std, --color, --fit or a sidecar file" in caplog.text
    shown = json.loads(cli("models", "info", path, "--json").stdout)
    assert shown["assumed"] == list(yolo.reading.assumptions)
    caplog.clear()
    given = Yolo(path, mean=[0], std=[255], color="rgb")
    assert given.preparation.tensor(PICTURE, PixelFormat(np.dtype(np.float32)))[0, 0, 0] == pytest.approx(200 / 255)
    assert Yolo(path, head=head).preparation == yolo.preparation
    path.with_name("graph.detkit.json").write_text('{"std": [1, 1, 1]}')
    assert Yolo(path).preparation.std == (1, 1, 1)
    assert caplog.text == ""


def test_metadata_settle_the_preparation(make_graph: Maker, caplog: pytest.LogCaptureFixture) -> None:
    metadata = {"mean": "[0.5, 0.25, 0.5]", "std": "[0.5, 0.5, 0.5]", "color_format": "BGR"}
    yolo = Yolo(make_graph(ASSUMED["rtmdet"](), (1, 3, SIDE, SIDE), metadata=metadata))
    assert (yolo.preparation.mean, yolo.preparation.std) == ((127.5, 63.75, 127.5), (127.5,) * 3)
    assert yolo.preparation.color == "bgr"
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": [0.485, 0.456, 0.406]}, "times 255"),
        ({"std": [0.229, 0.224, 0.225]}, "times 255"),
        ({"std": [0]}, "above 0"),
        ({"mean": [1, 2]}, "one number or three"),
        ({"mean": [float("nan")]}, "one number or three"),
    ],
)
def test_options_that_cannot_be(make_graph: Maker, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Yolo(make_graph({"o": columns()}, (1, 3, SIDE, SIDE)), **options)


def test_gray_is_that_of_opencv(make_graph: Maker) -> None:
    for shape in ((1, 1, SIDE, SIDE), (1, SIDE, SIDE, 1)):
        yolo = Yolo(make_graph({"o": columns()}, shape, metadata=NAMED))
        tensor = yolo.prepare(PICTURE).tensor
        assert tensor.shape == shape[1:]
        assert np.unique(tensor).tolist() == pytest.approx([124 / 255])  # 0.299 R + 0.587 G + 0.114 B


@pytest.mark.parametrize(
    ("quantised", "preparation", "expected"),
    [
        (None, Preparation(), [72, -28, -78]),
        ((1 / 255, -128), Preparation(), [72, -28, -78]),
        ((2 / 255, -1), Preparation(mean=(127.5,) * 3, std=(127.5,) * 3), [72, -28, -78]),
        ((1 / 255, 0), Preparation(), [127, 100, 50]),  # what does not fit is cut and does not wrap
    ],
)
def test_signed_integers_do_not_wrap(quantised: Any, preparation: Preparation, expected: list[int]) -> None:
    tensor = preparation.tensor(PICTURE, PixelFormat(np.dtype(np.int8), quantised=quantised))
    assert tensor.dtype == np.int8
    assert np.abs(tensor[:, 0, 0].astype(int) - expected).max() <= 1


def test_a_quantised_input_is_read_off_the_graph(beginning: Callable[..., Path]) -> None:
    """scale 1 and zero point -128: the network sees pixels from 0 to 255."""
    path = beginning(("DequantizeLinear", [np.float32(1 / 255), np.int8(-128)]), dtype=TensorProto.INT8)
    yolo = Yolo(path)
    assert yolo.reading.assumptions == ()
    assert yolo(PICTURE).scores[0] == pytest.approx(350 / 3 / 255, abs=2e-3)


@pytest.fixture
def one_size(tmp_path: Path) -> Path:
    """A graph with open axes that runs at 64 x 64 only."""
    value = helper.make_tensor_value_info
    base = columns()
    nodes = [
        helper.make_node("Add", ["images", "field"], ["sum"]),
        helper.make_node("ReduceMean", ["sum"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Reshape", ["sum", "shape"], ["fixed"]),
        helper.make_node("ReduceMean", ["fixed"], ["other"], keepdims=0),
        helper.make_node("Mul", ["other", "zero"], ["none"]),
        helper.make_node("Add", ["nothing", "none"], ["both"]),
        helper.make_node("Add", ["base", "both"], ["output0"]),
    ]
    stored = [
        numpy_helper.from_array(np.zeros((1, 3, SIDE, SIDE), np.float32), "field"),
        numpy_helper.from_array(np.float32(0), "zero"), numpy_helper.from_array(base, "base"),
        numpy_helper.from_array(np.array([3 * SIDE * SIDE]), "shape"),
    ]  # fmt: skip
    graph = helper.make_graph(nodes, "g", [value("images", TensorProto.FLOAT, [1, 3, "h", "w"])],
                              [value("output0", TensorProto.FLOAT, [1, 7, "n"])], stored)  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, NAMED)
    onnx.save(model, tmp_path / "open.onnx")
    return tmp_path / "open.onnx"


def test_an_open_graph_that_runs_at_one_size_is_tried_with_it(one_size: Path) -> None:
    with pytest.raises(ModelError, match="name the size of its input with --size") as raised:
        Yolo(one_size)
    assert "\n" not in str(raised.value)
    yolo = Yolo(one_size, size=SIDE)
    wide = np.zeros((SIDE // 2, SIDE, 3), np.uint8)  # its letterbox would be 64 x 32 where the graph took any
    assert yolo.prepare(wide).placement.size == (SIDE, SIDE)
    found = yolo(PICTURE)
    assert found.class_names == ["van"]
    np.testing.assert_allclose(found.boxes[0], BOX, atol=0.01)
    one_size.with_name("open.detkit.json").write_text(f'{{"size": {SIDE}}}')
    assert Yolo(one_size)(PICTURE) == found


def test_an_open_graph_that_runs_at_any_size_keeps_the_pictures_shape(tmp_path: Path) -> None:
    """One level of stride 8, whose cells all give one box and a low score."""
    value = helper.make_tensor_value_info
    bias = np.array([30, 30, 20, 20, -5, -6, -7], np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "kernel", "bias"], ["map"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Reshape", ["map", "shape"], ["cells"]),
        helper.make_node("Split", ["cells", "parts"], ["boxes", "logits"], axis=1),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["output0"], axis=1),
    ]
    stored = [
        numpy_helper.from_array(np.zeros((7, 3, 8, 8), np.float32), "kernel"),
        numpy_helper.from_array(bias, "bias"),
        numpy_helper.from_array(np.array([1, 7, -1]), "shape"),
        numpy_helper.from_array(np.array([4, 3]), "parts"),
    ]
    graph = helper.make_graph(nodes, "g", [value("images", TensorProto.FLOAT, [1, 3, "h", "w"])],
                              [value("output0", TensorProto.FLOAT, [1, 7, "n"])], stored)  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, NAMED | {"imgsz": "[640, 640]"})
    onnx.save(model, tmp_path / "any.onnx")
    yolo = Yolo(tmp_path / "any.onnx")
    assert yolo.prepare(np.zeros((300, 600, 3), np.uint8)).placement.size == (640, 320)
    assert len(yolo(PICTURE)) == 0
    assert Yolo(tmp_path / "any.onnx", size=320).prepare(np.zeros((300, 600, 3), np.uint8)).placement.size == (320, 160)


WRITINGS = {
    "a literal": "{0: 'car', 1: 'van', 2: 'bus'}",
    "JSON": '{"0": "car", "1": "van", "2": "bus"}',
    "a JSON list": '["car", "van", "bus"]',
    "YAML": "0: car\n1: van\n2: bus",
    "a YAML list": "- car\n- van\n- bus",
    "YAML with its key": "names:\n  0: car\n  1: van\n  2: bus",
    "flow": "[car, van, bus]",
    "a flow map": "{0: car, 1: van, 2: bus}",
    "commas": "car, van, bus",
    "commas without spaces": "car,van,bus",
    "semicolons": "car;van;bus",
    "lines": "car\nvan\nbus\n",
    "lines with returns": "car\r\nvan\r\nbus",
    "numbered lines": "0 car\n1 van\n2 bus",
    "items": "[{'id': 0, 'name': 'car'}, {'id': 1, 'name': 'van'}, {'id': 2, 'name': 'bus'}]",
    "items of COCO": '[{"id": 1, "name": "car"}, {"id": 2, "name": "van"}, {"id": 3, "name": "bus"}]',
    "items without ids": '[{"label": "car"}, {"label": "van"}, {"label": "bus"}]',
    "names to ids": "{'car': 0, 'van': 1, 'bus': 2}",
    "pairs": '[[0, "car"], [1, "van"], [2, "bus"]]',
    "nested": '{"names": ["car", "van", "bus"]}',
    "a tuple": "('car', 'van', 'bus')",
}


@pytest.mark.parametrize("writing", WRITINGS)
def test_names_in_any_writing(make_graph: Maker, writing: str) -> None:
    yolo = Yolo(make_graph({"o": columns()}, (1, 3, SIDE, SIDE), metadata={"names": WRITINGS[writing]}))
    assert yolo.names == ("car", "van", "bus")


@pytest.mark.parametrize("key", ["classes", "class_names", "labels", "id2label", "CLASSES", "model.names"])
def test_names_under_another_key(make_graph: Maker, key: str) -> None:
    yolo = Yolo(make_graph({"o": columns()}, (1, 3, SIDE, SIDE), metadata={key: WRITINGS["JSON"]}))
    assert yolo.names == ("car", "van", "bus")


def test_names_of_its_own_are_never_cocos(make_graph: Maker) -> None:
    unreadable = {"names": "see the file beside it"}
    yolo = Yolo(make_graph({"o": columns(80)}, (1, 3, SIDE, SIDE), metadata=unreadable))
    assert yolo.names[:3] == ("0", "1", "2")
    assert Yolo(make_graph({"o": columns(80)}, (1, 3, SIDE, SIDE))).names == COCO_NAMES


def test_an_embedding_is_neither_a_classifier_nor_a_detector(make_graph: Maker, cli: Any, tmp_path: Path) -> None:
    row = np.random.default_rng(0).normal(0, 1, (1, 128)).astype(np.float32)
    path = make_graph({"o": row / np.linalg.norm(row)}, (1, 3, SIDE, SIDE))
    with pytest.raises(ModelError, match="an embedding, a row of 128 numbers"):
        Yolo(path)
    write_image(tmp_path / "a.png", PICTURE)
    done = cli("slide", tmp_path / "a.png", "-m", path)
    assert done.returncode == 3
    assert "is no classifier: it gives an embedding" in done.stderr


def zipped(path: Path, *names: str) -> None:
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")


FILES: dict[str, tuple[Any, str]] = {
    "checkpoint": (lambda path: zipped(path, "best/data.pkl", "best/version"), r"PyTorch checkpoint.*yolo export"),
    "torchscript": (lambda path: zipped(path, "m/data.pkl", "m/code/x.py", "m/constants.pkl"), "TorchScript"),
    "archive": (lambda path: zipped(path, "folder/model.onnx"), "zip archive.*folder/model.onnx"),
    "keras": (lambda path: zipped(path, "config.json", "model.weights.h5"), "Keras"),
    "pickle": (lambda path: path.write_bytes(b"\x80\x02ctorch._utils\n_rebuild\nq\x00."), "PyTorch checkpoint"),
    "pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"),
        "Git LFS pointer.*git lfs pull",
    ),
    "page": (lambda path: path.write_text("\n<!DOCTYPE html><html><body>Not found</body></html>"), "web page"),
    "tflite": (lambda path: path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(60)), "TensorFlow Lite"),
    "openvino": (lambda path: path.write_text('<?xml version="1.0"?>\n<net name="x" version="11"></net>'), "OpenVINO"),
    "json": (lambda path: path.write_text('{"message": "rate limit"}'), "JSON text"),
    "gzip": (lambda path: path.write_bytes(b"\x1f\x8b\x08" + bytes(30)), "gzip"),
    "hdf5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(30)), "Keras"),
    "safetensors": (lambda path: path.write_bytes(b"\x20\0\0\0\0\0\0\0" + b'{"w":{"dtype":"F32"}}'), "safetensors"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_no_graphs_are_called_what_they_are(tmp_path: Path, kind: str) -> None:
    write, message = FILES[kind]
    path = tmp_path / "model.pt"
    write(path)
    with pytest.raises(ModelError, match=message) as raised:
        Yolo(path)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(str(path))
