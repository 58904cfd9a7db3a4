"""`detkit quantize`: convolutions become integers, the last of each branch does not, and what is lost is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from detkit.cli import app
from detkit.detectors.yolo.yolo_detector import Yolo
from detkit.errors import ModelError
from detkit.files import sha256
from detkit.graphs.quantization import Quantizer
from detkit.graphs.registry import resolve
from detkit.graphs.runtime import Runtime
from detkit.graphs.session import Network


@pytest.fixture
def three_convolutions(tmp_path: Path) -> Path:
    """A stem, and two convolutions after it that are the last of their branches."""
    rng = np.random.default_rng(5)
    shapes = {"stem": (8, 3, 3, 3), "left": (4, 8, 1, 1), "right": (2, 8, 1, 1)}
    weights = [numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), f"{name}_w")
               for name, shape in shapes.items()]  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["images", "stem_w"], ["s"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["s"], ["r"]),
        helper.make_node("Conv", ["r", "left_w"], ["a"]),
        helper.make_node("Conv", ["r", "right_w"], ["b"]),
    ]
    ends = [helper.make_tensor_value_info(name, 1, [1, width, 16, 16]) for name, width in (("a", 4), ("b", 2))]
    picture = helper.make_tensor_value_info("images", 1, [1, 3, 16, 16])
    model = helper.make_model(helper.make_graph(nodes, "g", [picture], ends, weights),
                              opset_imports=[helper.make_opsetid("", 17)], ir_version=8)  # fmt: skip
    path = tmp_path / "float.onnx"
    onnx.save(model, str(path))
    return path


def pictures(count: int = 4) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{"images": rng.random((1, 3, 16, 16), np.float32)} for _ in range(count)]


@pytest.mark.parametrize("reduce_range", [False, True])
def test_the_last_of_each_branch_stays_float(three_convolutions, tmp_path, reduce_range):
    quantizer = Quantizer(three_convolutions, pictures())
    assert quantizer.convolutions == 3
    assert [len(group) for group in quantizer.groups] == [1]
    content = quantizer.quantised([0], {"names": "cat"}, reduce_range=reduce_range)
    target = tmp_path / "q.onnx"
    target.write_bytes(content)
    made = onnx.load(str(target))
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    weights = [array for array in stored.values() if array.dtype == np.int8 and array.ndim == 4]
    assert [array.shape for array in weights] == [(8, 3, 3, 3)]
    # each output channel uses the whole of its own range
    highest = np.abs(weights[0].astype(int)).reshape(8, -1).max(1)
    assert (highest <= (64 if reduce_range else 127)).all()
    assert (highest >= (63 if reduce_range else 126)).all()
    whole, network = Network(three_convolutions, Runtime("cpu")), Network(target, Runtime("cpu"))
    assert network.metadata == {"names": "cat"}
    for expected, found in zip(whole.run(pictures(1)[0]), network.run(pictures(1)[0]), strict=True):
        error = np.abs(expected - found).max()
        assert 0 < error < 0.05 * np.ptp(expected)


def test_what_is_quantised_already_is_refused(three_convolutions, tmp_path):
    target = tmp_path / "q.onnx"
    target.write_bytes(Quantizer(three_convolutions, pictures()).quantised([0], {}))
    with pytest.raises(ModelError, match="quantised already"):
        Quantizer(target, pictures())


def test_a_network_without_inner_convolutions_is_refused(make_graph):
    path = make_graph({"out": np.zeros((1, 4), np.float32)})
    with pytest.raises(ModelError, match="no convolutions"):
        Quantizer(path, [])


def test_the_command_says_what_eight_bits_cost_and_where_they_are_from(coco128, tmp_path, capfd):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for path in sorted((coco128 / "images").glob("*.jpg"))[:3]:
        shutil.copy(path, folder)
    out = tmp_path / "small.onnx"
    arguments = ["quantize", "yolo-lite0", "--images", str(folder), "--calibrate", "2", "--loss", "0.5", "-o", str(out)]
    with pytest.raises(SystemExit) as stop:
        app(arguments)
    shown, _ = capfd.readouterr()
    assert not stop.value.code
    assert "agreement with the float network" in shown
    assert "8 bits" in shown
    network = Network(out)
    assert network.metadata["quantised_from_sha256"] == sha256(resolve("yolo-lite0"))
    assert network.metadata["names"] == Network(resolve("yolo-lite0")).metadata["names"]
    assert out.stat().st_size < 0.9 * resolve("yolo-lite0").stat().st_size
    assert len(Yolo(out)(sorted(folder.glob("*.jpg"))[1])) >= 1

    with pytest.raises(SystemExit) as stop:
        app([*arguments[:-1], str(folder / "no.jpg")])
    assert stop.value.code == 2
    assert "written as .onnx" in capfd.readouterr().err
