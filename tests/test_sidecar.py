import pytest

from detkit import Yolo
from detkit.annotations.class_names import names_from_file, names_from_metadata, names_from_text
from detkit.errors import InputError, ModelError
from detkit.graphs.preparation import Preparation
from detkit.graphs.sidecar import read_sidecar


def write(tmp_path, text):
    (tmp_path / "m.detkit.json").write_text(text)
    return tmp_path / "m.onnx"


def test_everything_it_can_say(tmp_path):
    model = write(
        tmp_path,
        '{"head": "yolox", "names": ["a"], "size": 320, "fit": "stretch", "pad": 0, "color": "bgr", "mean": [1, 2, 3],'
        ' "std": [4, 5, 6], "anchors": [[[1, 2], [3, 4]]], "strides": [8, 16]}',
    )
    sidecar = read_sidecar(model)
    assert (sidecar.head, sidecar.names, sidecar.size, sidecar.strides) == ("yolox", ("a",), (320, 320), (8, 16))
    assert sidecar.anchors == (((1, 2), (3, 4)),)
    applied = sidecar.applied_to(Preparation())
    assert (applied.fit, applied.pad, applied.color) == ("stretch", 0, "bgr")
    assert (applied.mean, applied.std) == ((1, 2, 3), (4, 5, 6))


def test_no_file_changes_nothing(tmp_path):
    assert read_sidecar(tmp_path / "m.onnx").applied_to(Preparation()) == Preparation()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "must hold one object"),
        ('{"heads": "x"}', "unknown key 'heads'; there are head, names"),
        ('{"fit": "left"}', "'fit' must be one of center, top-left, stretch, got 'left'"),
        ('{"pad": 300}', "'pad' must be a whole number from 0 to 255"),
        ('{"mean": [1, 2]}', "'mean' must be three numbers"),
        ('{"std": [1, 0, 1]}', "'std' must be three numbers above 0"),
        ('{"size": [0, 5]}', "'size' must be a side"),
        ('{"anchors": [[1, 2]]}', "'anchors' must be a list of levels"),
        ('{"names": "imagenet"}', "'names' must be a list of strings"),
        ('{"head": 8}', "'head' must be a string"),
        ('{"strides": []}', "'strides' must be a list"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    with pytest.raises(ModelError) as raised:
        read_sidecar(write(tmp_path, text))
    assert message in str(raised.value)
    assert "m.detkit.json" in str(raised.value)


def test_names_as_exporters_write_them_ultralytics_17637():
    assert names_from_metadata({"names": "{0: 'a', 1: \"b's\"}"}) == ("a", "b's")
    assert names_from_metadata({"names": '["a", "b"]'}) == ("a", "b")
    assert names_from_metadata({"names": '{"0": "a", "2": "c"}'}) == ("a", "1", "c")
    assert names_from_metadata({"names": "['a', 'b']"}) == ("a", "b")
    assert names_from_metadata({}) == ()


@pytest.mark.parametrize(
    "text", ["nonsense", "{1: 'a', 'x': 'b'}", "42", "{-1: 'a'}", "{999999999: 'a'}", "__import__('os')"]
)
def test_names_that_are_none(text):
    assert names_from_text(text) == ()


def test_names_from_files(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeffone\n two \n", encoding="utf-8")
    (tmp_path / "a.json").write_text('["x", "y"]')
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert names_from_file(tmp_path / "a.txt") == ("one", "two")
    assert names_from_file(tmp_path / "a.json") == ("x", "y")
    assert len(names_from_file("voc")) == 20
    for name in ("empty", "binary", "missing"):
        with pytest.raises(InputError, match=name):
            names_from_file(tmp_path / name)


def test_a_graph_with_unknown_inputs_is_refused(make_graph):
    import numpy as np

    path = make_graph({"a": np.zeros((1, 300, 6), np.float32)}, extra={"magic": (np.float32, (1, 2))})
    with pytest.raises(ModelError, match=r"no head detkit knows asks for: magic float32 \(1 x 2\)"):
        Yolo(path)
