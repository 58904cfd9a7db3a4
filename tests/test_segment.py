"""`detkit segment`, `Segmenter`: which output is a map, what its numbers are, and how they come back to the picture."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detkit import Segmenter, Yolo
from detkit.annotations.palette_files import palette_from
from detkit.detectors.semantic.class_maps import class_map, highest
from detkit.detectors.semantic.class_palette import Known, class_palette
from detkit.errors import InputError, ModelError, UsageError
from detkit.graphs.enlarging import enlarging
from detkit.graphs.letterbox import place
from detkit.graphs.registry import resolve
from detkit.images import read_image
from detkit.label_maps.overlay import overlay
from detkit.label_maps.palettes import PALETTES, palette_named, voc_colours
from detkit.label_maps.png import read_label_png
from detkit.label_maps.segmented_picture import Segmentation
from detkit.shapes.masks import Masks

SHADES = ("background", "red", "green", "blue")
W, H = 128, 96


@pytest.fixture
def here(capfd: Any) -> Any:
    """Run `detkit` in this process: exit status, stdout and stderr."""
    from detkit.cli import app

    def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
        with pytest.raises(SystemExit) as ended:
            app([str(argument) for argument in arguments])
        said = capfd.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    yield run
    cv2.setNumThreads(-1)


def painter(folder: Path, *, stride: int = 1, size: tuple[Any, Any] = ("h", "w"), **metadata: str) -> Path:
    """A network that tells gray, red, green and blue apart: logits (1, 4, h, w) at a stride, pixels from 0 to 1."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((4, 3, 1, 1), np.float32)
    for channel in range(3):
        weights[channel + 1, :, 0, 0] = -2
        weights[channel + 1, channel, 0, 0] = 4
    bias = np.array([1.0, 0, 0, 0], np.float32)
    nodes = [helper.make_node("Conv", ["images", "weights", "bias"], ["fine"])]
    if stride > 1:
        nodes.append(helper.make_node("AveragePool", ["fine"], ["logits"], kernel_shape=[stride] * 2,
                                      strides=[stride] * 2))  # fmt: skip
    height, width = size
    whole = isinstance(height, int)
    out = [height // stride, width // stride] if whole else ["oh", "ow"]
    graph = helper.make_graph(
        nodes, "painter",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, height, width])],
        [helper.make_tensor_value_info("logits" if stride > 1 else "fine", TensorProto.FLOAT, ["n", 4, *out])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    path = folder / f"painter{stride}.onnx"
    onnx.save(model, path)
    return path


TOLD = {"task": "semantic", "names": json.dumps(SHADES), "mean": "[0, 0, 0]", "std": "[255, 255, 255]"}


def pictured(width: int = 160, height: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """A picture of gray with a red and a blue rectangle, and its classes."""
    classes = np.zeros((height, width), np.uint8)
    classes[10:60, 20:70] = 1
    classes[70:110, 90:150] = 3
    return np.array([(90, 90, 90), (250, 20, 20), (20, 250, 20), (20, 20, 250)], np.uint8)[classes], classes


def smooth(rng: np.random.Generator, channels: int, height: int, width: int, grain: int) -> np.ndarray:
    coarse = rng.normal(size=(channels, -(-height // grain), -(-width // grain))).astype(np.float32)
    return np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC) for one in coarse])


@pytest.mark.parametrize(
    ("channels", "shape", "size", "picture", "fit", "grain"),
    [
        (4, (24, 32), (128, 96), (301, 200), "stretch", 1),
        (21, (40, 40), (160, 160), (333, 200), "center", 4),
        (21, (40, 40), (160, 160), (90, 300), "top-left", 3),
        (150, (16, 16), (64, 64), (100, 75), "stretch", 2),
        (3, (60, 80), (80, 60), (33, 47), "stretch", 6),
        (6, (2, 2), (8, 8), (5, 9), "stretch", 1),
    ],
)
def test_the_highest_is_that_of_all_resized_maps(channels, shape, size, picture, fit, grain):
    """The slow loop: every class resized as exporters do, then the argmax."""
    maps = smooth(np.random.default_rng(channels), channels, *shape, grain)
    placement = place(picture, size, fit)
    resized = np.stack([placement.undo_map(one) for one in maps])
    found = class_map(maps, "choice", placement, 0.5, channels)
    differ = found != resized.argmax(axis=0)
    ordered = np.sort(resized, axis=0)
    assert (ordered[-1] - ordered[-2])[differ].max(initial=0) < 1e-4
    assert differ.mean() < 1e-3
    assert len(np.unique(found)) > 1


def test_a_map_of_the_picture_s_size_is_its_argmax():
    maps = np.random.default_rng(0).normal(size=(5, 30, 40)).astype(np.float32)
    down, across = enlarging(place((40, 30), (40, 30), "stretch"), (30, 40), direct=True)
    assert (highest(maps, down, across) == maps.argmax(axis=0)).all()


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("size", [("h", "w"), (96, 128)], ids=["open", "fixed"])
def test_a_network_at_any_stride_gives_the_picture_s_classes(tmp_path, stride, size):
    image, classes = pictured()
    found = Segmenter(painter(tmp_path, stride=stride, size=size, **TOLD))(image)
    assert found.names == SHADES
    assert found.classes.shape == classes.shape
    assert (found.classes == classes).mean() > (0.94 if stride > 1 else 0.985)
    assert found.shares[2] == 0
    assert abs(found.shares[1] - 2500 / 19200) < 0.03
    assert [one["class"] for one in found.to_dicts()] == ["background", "red", "blue"] or found.present[0] == 0


def test_odd_sizes_and_a_list_of_pictures(tmp_path):
    segmenter = Segmenter(painter(tmp_path, **TOLD), batch=2)
    pictures = [pictured(161, 121)[0], pictured(155, 117)[0], pictured(161, 121)[0]]
    assert [one.classes.shape for one in segmenter(pictures)] == [(121, 161), (117, 155), (121, 161)]


def _outputs(kind: str, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
    ids = rng.integers(0, 3, (1, H, W))
    logits = rng.normal(size=(1, 3, H, W)).astype(np.float32)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    one = rng.normal(size=(1, 1, H, W)).astype(np.float32)
    return {
        "uint8": {"y": ids.astype(np.uint8)},
        "int64": {"y": ids[:, None]},
        "int32 of a plane": {"y": ids[0].astype(np.int32)},
        "floats that are ids": {"y": ids[:, None].astype(np.float32)},
        "logits": {"y": logits},
        "softmax": {"y": softmax.astype(np.float32)},
        "last": {"y": np.ascontiguousarray(logits.transpose(0, 2, 3, 1))},
        "half": {"y": logits.astype(np.float16)},
        "stride 4": {"y": np.ascontiguousarray(logits[:, :, : H // 4, : W // 4])},
        "aux": {"out": logits, "aux": rng.normal(size=(1, 3, H, W)).astype(np.float32)},
        "one logit": {"y": one},
        "one logit last": {"y": np.ascontiguousarray(one.transpose(0, 2, 3, 1))},
    }[kind]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("uint8", "ids"), ("int64", "ids"), ("int32 of a plane", "ids"), ("floats that are ids", "ids"),
        ("logits", "choice"), ("softmax", "choice"), ("last", "choice"), ("half", "choice"), ("stride 4", "choice"),
        ("aux", "choice"), ("one logit", "logit"), ("one logit last", "logit"),
    ],
)  # fmt: skip
def test_every_way_of_writing_a_map_is_read(make_graph, kind, expected):
    outputs = _outputs(kind, np.random.default_rng(1))
    segmenter = Segmenter(make_graph(outputs, (1, 3, H, W)))
    assert segmenter.reading.output.kind == expected
    values = np.asarray(next(iter(outputs.values())), np.float32)
    found = segmenter(np.zeros((H, W, 3), np.uint8)).classes
    if expected == "ids":
        wanted = values.reshape(H, W)
    elif expected == "logit":
        wanted = values.reshape(H, W) > 0
    else:
        values = values[0].transpose(2, 0, 1) if kind == "last" else values[0]
        wanted = np.stack([cv2.resize(one, (W, H)) for one in values]).argmax(axis=0)
    assert (found == wanted).mean() > 0.9999


def test_one_channel_of_probabilities_by_the_sigmoid_that_it_ends_in(tmp_path):
    """Between 0 and 1 may be either: the graph's last operator decides, and without one nothing does."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    def made(last: str) -> Path:
        weights = numpy_helper.from_array(np.full((1, 3, 1, 1), 0.2, np.float32), "weights")
        nodes = [helper.make_node("Conv", ["x", "weights"], ["a"]), helper.make_node(last, ["a"], ["b"]),
                 helper.make_node("Identity", ["b"], ["y"])]  # fmt: skip
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, H, W])
                for name, channels in (("x", 3), ("y", 1))]  # fmt: skip
        graph = helper.make_graph(nodes, "one", ends[:1], ends[1:], [weights])
        path = tmp_path / f"{last}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    segmenter = Segmenter(made("Sigmoid"), mean=[127.5], std=[127.5])
    assert (segmenter.reading.output.kind, segmenter.names) == ("probability", ("background", "foreground"))
    assert segmenter(np.full((H, W, 3), 255, np.uint8)).shares.tolist() == [0, 1]
    assert segmenter(np.zeros((H, W, 3), np.uint8)).shares.tolist() == [1, 0]
    assert Segmenter(made("Sigmoid"), mean=[127.5], std=[127.5], conf=0.7)(
        np.full((H, W, 3), 255, np.uint8)
    ).shares.tolist() == [1, 0]
    with pytest.raises(ModelError, match="may be probabilities or logits"):
        Segmenter(made("Abs"), mean=[0], std=[255])


def test_one_channel_that_is_a_measure_is_no_foreground(make_graph):
    depth = np.random.default_rng(4).uniform(2, 9, (1, 1, H, W)).astype(np.float32)
    with pytest.raises(ModelError, match="looks like a measure"):
        Segmenter(make_graph({"depth": depth}, (1, 3, H, W)))


def test_a_sigmoid_for_each_class_is_a_question(make_graph):
    values = np.random.default_rng(2).random((1, 3, H, W)).astype(np.float32)
    graph = make_graph({"y": values}, (1, 3, H, W))
    with pytest.raises(ModelError, match="--conf 0.5"):
        Segmenter(graph)
    found = Segmenter(graph, conf=0.5)(np.zeros((H, W, 3), np.uint8)).classes
    wanted = np.where(values[0].max(axis=0) > 0.5, values[0].argmax(axis=0), 255)
    assert (found == wanted).all()
    assert (found == 255).any()
    logits = make_graph({"y": values * 9}, (1, 3, H, W))
    with pytest.raises(UsageError, match="--conf is for networks"):
        Segmenter(logits, conf=0.5)


def test_of_several_maps_one_has_to_be_named(make_graph):
    rng = np.random.default_rng(3)
    outputs = {name: rng.normal(size=(1, 3, H, W)).astype(np.float32) for name in ("one", "two")}
    graph = make_graph(outputs, (1, 3, H, W))
    with pytest.raises(ModelError, match="one, two; name one with --output"):
        Segmenter(graph)
    found = Segmenter(graph, output="two")(np.zeros((H, W, 3), np.uint8)).classes
    assert (found == outputs["two"][0].argmax(axis=0)).all()
    with pytest.raises(ModelError, match="no output 'three'"):
        Segmenter(graph, output="three")


def test_what_is_no_semantic_network_is_sent_where_it_runs(make_graph):
    boxes = np.full((1, 6, 252), 0.1, np.float32)
    for outputs, metadata, match in (
        ({"y": boxes}, {"task": "detect", "names": "['a', 'b']"}, "use detkit yolo"),
        ({"y": np.zeros((1, 1000), np.float32)}, {}, "use detkit slide"),
        ({"y": np.zeros((1, 8, 40, 50), np.float32)}, {}, "none of its outputs is a map"),
    ):
        with pytest.raises(ModelError, match=match):
            Segmenter(make_graph(outputs, (1, 3, H, W), metadata=metadata))
    maps = np.random.default_rng(0).normal(size=(1, 21, H, W)).astype(np.float32) - 3
    for outputs in ({"y": maps}, {"out": maps, "aux": maps - 1}, {"y": maps.argmax(axis=1).astype(np.uint8)}):
        with pytest.raises(ModelError, match="detkit segment"):
            Yolo(make_graph(outputs, (1, 3, H, W)))
    with pytest.raises(ModelError, match="use detkit segment"):
        Yolo(make_graph({"y": maps}, (1, 3, H, W), metadata={"task": "semantic"}))


def test_numbers_that_cannot_be_classes_make_a_picture_an_error(make_graph):
    for value, match in ((np.nan, "not finite"), (7.0, "class 7")):
        maps = np.zeros((3, 8, 8), np.float32) if value != value else np.zeros((8, 8), np.float32)
        maps[..., 2, 2] = value
        with pytest.raises(InputError, match=match):
            class_map(maps, "choice" if maps.ndim == 3 else "ids", place((8, 8), (8, 8), "stretch"), 0.5, 3)
    with pytest.raises(InputError, match="no probabilities"):
        class_map(np.full((4, 4), 1.5), "probability", place((4, 4), (4, 4), "stretch"), 0.5, 2)


def test_names_and_colours():
    voc, city = palette_named("voc"), palette_named("cityscapes")
    assumed, line = class_palette(Known(21), None)
    assert assumed.names == voc.names
    assert "read as those of voc" in line
    own = ("__background__", *(name.upper() for name in voc.names[1:]))
    named, line = class_palette(Known(21, own, True), None)
    assert (named.names, named.name, line) == (own, "voc", "")
    assert class_palette(Known(19), None)[0].name == "cityscapes"
    assert class_palette(Known(19, tuple("abcdefghijklmnopqrs"), True), None)[0].colours[1].tolist() == [128, 0, 0]
    assert class_palette(Known(3), None)[0].names == ("0", "1", "2")
    assert "classes are numbers" in class_palette(Known(3), None)[1]
    assert class_palette(Known(21, carries=True), None)[0].names[1] == "1"  # never VOC's on a graph with its own
    assert class_palette(Known(1, ("cat",), True), None)[0].names == ("background", "cat")
    two = class_palette(Known(2, ("car", "sky"), True), city)[0]
    assert two.colours.tolist() == [[0, 0, 142], [70, 130, 180]]
    assert (class_palette(Known(30), voc)[0].colours == voc_colours(30)).all()
    ade = palette_named("ade20k")
    other = class_palette(Known(151), ade)[0]
    assert (other.names[:2], other.file_ids[:2], other.colours[1].tolist()) == (("other", "wall"), (0, 1), [120] * 3)
    assert class_palette(Known(151, ("background", *ade.names), True), None)[0].name == "ade20k"
    with pytest.raises(UsageError, match="has 19 classes, and the network 21"):
        class_palette(Known(21), city)
    with pytest.raises(ModelError, match="carries 20 class names and has 21"):
        class_palette(Known(21, voc.names[1:], True), None)
    with pytest.raises(UsageError, match="gives 2 names"):
        class_palette(Known(3, given=("a", "b")), None)
    with pytest.raises(UsageError, match="'cat', which has no colour"):
        class_palette(Known(2, ("car", "cat"), True), city)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("a.txt", "128 0 0 road\n0 64 0\tgrass land\n"),
        ("b.txt", "road: #800000\n# a comment\ngrass land: #004000\n"),
        ("c.txt", "road:128,0,0::\ngrass land:0,64,0::\n"),
        ("d.csv", "0,road,128,0,0\n1,grass land,0,64,0\n"),
        ("e.json", '{"road": [128, 0, 0], "grass land": "#004000"}'),
        ("f.json", '[{"id": 1, "name": "road", "color": [128, 0, 0]}, {"name": "grass land", "color": [0, 64, 0]}]'),
    ],
)
def test_palettes_of_other_tools_are_read(tmp_path, file, content):
    (tmp_path / file).write_text(content)
    palette = palette_from(tmp_path / file)
    assert palette.names == ("road", "grass land")
    assert palette.colours.tolist() == [[128, 0, 0], [0, 64, 0]]


def test_what_is_no_palette_is_said(tmp_path):
    for name, content, match in (("a.txt", "road\n", "line 1 has no colour"), ("b.json", '{"a": [1, 2]}', "no colour"),
                                 ("c.json", "[]", "0 classes"), ("d.txt", "300 0 0 a\n", "no colour")):  # fmt: skip
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=match):
            palette_from(tmp_path / name)
    with pytest.raises(InputError, match="neither a palette's file nor one of"):
        palette_from(tmp_path / "none.txt")


def test_a_segmentation_tells_itself():
    classes = np.zeros((6, 8), np.uint8)
    classes[1:3, 1:4], classes[4:6, 5:8], classes[0, 7] = 15, 15, 255
    found = Segmentation(classes, palette_named("voc"))
    assert found.present == [0, 15]
    assert found.shares.sum() == pytest.approx(47 / 48)
    assert found.to_dicts()[1] == {"class": "person", "class_id": 15, "pixels": 12, "share": 0.25}
    regions = found.regions()
    assert regions.class_names == ["person", "person"]
    assert regions.boxes.tolist() == [[1, 1, 4, 3], [5, 4, 8, 6]]
    assert regions.masks is not None
    assert regions.masks.areas.tolist() == [6, 6]
    assert len(found.regions(min_pixels=7)) == 0
    assert found.only([15]).present == [15]
    assert (found.only([15]).classes == 255).sum() == 36
    with pytest.raises(InputError, match="uint8"):
        Segmentation(classes.astype(np.int64), palette_named("voc"))


def test_an_overlay_leaves_the_background_and_names_the_classes():
    classes = np.zeros((200, 300), np.uint8)
    classes[50:100, 60:200] = 15
    image = np.full((200, 300, 3), 100, np.uint8)
    found = Segmentation(classes, palette_named("voc"))
    drawn = overlay(image, found)
    assert drawn.shape[1] == 300
    assert drawn.shape[0] > 200
    assert (drawn[10:40, 10:50] == 100).all()
    middle = drawn[75, 120].astype(int) - 100
    assert middle[0] > 20
    assert (image == 100).all()
    assert overlay(image, found, legend=False).shape == image.shape
    many = Segmentation(np.arange(200 * 60, dtype=np.uint32).reshape(200, 60).astype(np.uint8) % 150,
                        PALETTES["ade20k"])  # fmt: skip
    assert overlay(np.zeros((200, 60, 3), np.uint8), many).shape[0] <= 200 * 1.5


def test_without_a_bundled_network_it_asks_for_one(monkeypatch):
    import detkit.graphs.registry as registry

    monkeypatch.setattr(registry, "default_model", lambda command: None)
    with pytest.raises(ModelError, match=r"detkit segment has no bundled network: name one with --model"):
        resolve(None, "segment")
    with pytest.raises(ModelError, match="use detkit yolo"):
        resolve("yolo-lite0", "segment")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = tmp_path / "pictures"
    (pictures / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.jpg", "sub/a.png")):
        image, _ = pictured(160 + number, 120)
        cv2.imwrite(str(pictures / name), image[..., ::-1])
    (pictures / "broken.jpg").write_bytes(b"no picture")
    return pictures


def test_the_command_writes_maps_drawings_shares_and_regions(here, folder, tmp_path):
    model = painter(tmp_path, **TOLD)
    ran = here("segment", folder, "-m", model, "-o", tmp_path / "maps", "--draw", tmp_path / "drawn",
               "--boxes", tmp_path / "boxes.jsonl", "--min-pixels", 50)  # fmt: skip
    assert ran.returncode == 1
    assert "broken.jpg" in ran.stderr
    records = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [record["file"] for record in records] == ["a.png", "b.jpg", "broken.jpg", "sub/a.png"]
    assert "error" in records[2]
    written = sorted(path.relative_to(tmp_path / "maps").as_posix() for path in (tmp_path / "maps").rglob("*.*"))
    assert written == ["a.png", "b.png", "classes.txt", "sub/a.png"]
    stored = read_label_png(tmp_path / "maps" / "a.png")
    assert (stored.values == pictured(160, 120)[1]).mean() > 0.98
    assert stored.colours is not None
    assert (stored.colours[:4] == voc_colours(4)).all()
    assert records[0]["classes"][0]["pixels"] == int((stored.values == 0).sum())
    assert sum(one["pixels"] for one in records[0]["classes"]) == 160 * 120
    assert len(list((tmp_path / "drawn").rglob("*.*"))) == 3
    boxes = [json.loads(line) for line in (tmp_path / "boxes.jsonl").read_text().splitlines()]
    assert [one["class"] for one in boxes[0]["detections"]] == ["red", "blue"]
    assert "classes" not in boxes[0]
    mask = Masks.from_coco([boxes[0]["detections"][0]["mask"]], [[120, 160]])
    assert (mask.decode(0) == (stored.values == 1)).all()
    ran = here("segment", folder / "a.png", "-m", model, "-f", "csv", "--class", "blue")
    assert ran.stdout.splitlines()[0] == "file,width,height,class,class_id,pixels,share"
    assert [line.split(",")[3] for line in ran.stdout.splitlines()[1:]] == ["blue"]
    assert here("segment", folder / "a.png", "-m", model, "--class", "bleu").returncode == 2


def test_the_written_folder_is_measured(here, folder, tmp_path):
    (tmp_path / "true").mkdir()
    cv2.imwrite(str(tmp_path / "true" / "a.png"), pictured(160, 120)[1])
    cv2.imwrite(str(tmp_path / "true" / "b.png"), pictured(161, 120)[1])
    here("segment", folder / "a.png", folder / "b.jpg", "-m", painter(tmp_path, **TOLD), "-o", tmp_path / "maps")
    ran = here("eval", tmp_path / "maps", tmp_path / "true", "--protocol", "semantic", "--json", "-")
    figures = json.loads(ran.stdout)["figures"]
    assert ran.returncode == 0
    assert figures["mIoU"] > 0.9


def test_an_interrupted_run_goes_on(here, folder, tmp_path, monkeypatch):
    model = painter(tmp_path, **TOLD)
    (folder / "broken.jpg").unlink()
    outputs = ("-o", tmp_path / "maps", "--boxes", tmp_path / "b.json")
    command = ("segment", folder, "-m", model, *outputs, "--mean", "0,0,0")
    import detkit.detectors.semantic.segmenter as module

    seen: list[int] = []
    decode = module.Segmenter.decode

    def counted(self, *given):
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return decode(self, *given)

    monkeypatch.setattr(module.Segmenter, "decode", counted)
    ran = here(*command)
    assert ran.returncode == 130
    assert "--resume" in ran.stderr
    assert not (tmp_path / "b.json").exists()
    assert here(*command, "--resume", "--class", "red").returncode == 2
    ran = here(*command, "--resume")
    assert ran.returncode == 0
    assert len(seen) <= 5  # of three pictures one at least was done
    assert len(ran.stdout.splitlines()) == 3
    assert {entry["file_name"] for entry in json.loads((tmp_path / "b.json").read_text())} == {
        "a.png", "b.jpg", "sub/a.png"
    }  # fmt: skip
    assert not list(tmp_path.rglob("*.partial.jsonl"))


def test_frames_of_a_video_are_maps_in_its_folder(here, tmp_path):
    video = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 5, (160, 120))
    for _ in range(3):
        writer.write(pictured()[0][..., ::-1])
    writer.release()
    ran = here("segment", video, "-m", painter(tmp_path, **TOLD), "-o", tmp_path / "maps")
    assert ran.returncode == 0
    assert [json.loads(line)["frame"] for line in ran.stdout.splitlines()] == [0, 1, 2]
    assert sorted(path.name for path in (tmp_path / "maps" / "v.avi").iterdir()) == [
        "000000.png", "000001.png", "000002.png"
    ]  # fmt: skip


def test_inputs_are_spared_and_options_that_do_nothing_refused(here, folder, tmp_path):
    model = painter(tmp_path, **TOLD)
    before = (folder / "a.png").read_bytes()
    for arguments, match in (
        (("-o", folder), "--out would overwrite"),
        (("-o", tmp_path / "x", "--draw", tmp_path / "x"), "one folder"),
        (("--min-pixels", 5), "--boxes FILE"),
        (("--ids",), "--out DIR"),
        (("--ids", "-o", tmp_path / "x"), "their own numbers"),
        (("--resume",), "--resume needs"),
        (("--boxes", tmp_path / "x.xml"), "names no format"),
        (("-o", folder / "a.png"), "is no folder"),
        (("--palette", "nowhere"), "neither a palette's file"),
    ):
        ran = here("segment", folder / "a.png", "-m", model, *arguments)
        assert match in ran.stderr, (arguments, ran.stderr)
        assert ran.returncode in (1, 2)
    assert (folder / "a.png").read_bytes() == before


def test_the_ids_of_a_data_set_are_written_where_asked_for(here, tmp_path):
    names = json.dumps(["road", "wall", "sky", "car"])
    model = painter(tmp_path, **(TOLD | {"names": names}))
    cv2.imwrite(str(tmp_path / "p.png"), pictured()[0][..., ::-1])
    ran = here("segment", tmp_path / "p.png", "-m", model, "-o", tmp_path / "m", "--palette", "cityscapes", "--ids")
    assert ran.returncode == 0, ran.stderr
    assert set(np.unique(read_label_png(tmp_path / "m" / "p.png").values)) == {7, 12, 26}


def test_ultralytics_semantic_network_equals_its_framework(shared: Path) -> None:
    graph = shared / "heads" / "yolo26-sem.onnx"
    if not graph.is_file():
        pytest.skip("needs ../shared")
    wanted = read_label_png(shared / "heads" / "yolo26-sem.png").values
    image = read_image(shared / "data" / "coco128" / "images" / "000000000025.jpg")
    assert (Segmenter(graph)(image).classes == wanted).all()


def test_a_graph_that_unpools_runs_at_any_size_of_picture(shared: Path) -> None:
    graph = shared / "heads" / "deconvnet-unpool.onnx"
    if not graph.is_file():
        pytest.skip("needs ../shared")
    segmenter = Segmenter(graph, size=64)
    assert segmenter.names == palette_named("voc").names
    for width, height in ((64, 64), (131, 97), (33, 200)):
        image = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
        assert segmenter(image).classes.shape == (height, width)
