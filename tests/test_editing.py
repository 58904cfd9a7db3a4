"""Graphs made from graphs, each run against the one it was made from."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from detkit.errors import ModelError
from detkit.graphs.editing import load, parsed, part_of, with_input_size, with_metadata, with_open_size, with_outputs
from detkit.graphs.session import Network
from detkit.graphs.stored import metadata_of


@pytest.fixture
def two_parts(tmp_path: Path) -> Path:
    """x (1, 1, 4, 4) -> double -> sum; y (2,) -> tripled. Two parts that share nothing."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["double"]),
        helper.make_node("ReduceSum", ["double"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["y", "three"], ["tripled"]),
    ]
    stored = [numpy_helper.from_array(np.float32(2), "two"), numpy_helper.from_array(np.float32(3), "three")]
    inputs = [value("x", TensorProto.FLOAT, [1, 1, 4, 4]), value("y", TensorProto.FLOAT, [2])]
    outputs = [value("sum", TensorProto.FLOAT, []), value("tripled", TensorProto.FLOAT, [2])]
    model = helper.make_model(
        helper.make_graph(nodes, "parts", inputs, outputs, stored), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    helper.set_model_props(model, {"key": "value"})
    onnx.save(model, tmp_path / "two.onnx")
    return tmp_path / "two.onnx"


def run(path: Path, model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    onnx.checker.check_model(model)
    return Network(path, content=model.SerializeToString()).run(feeds)


def test_a_part_has_only_what_it_needs(two_parts: Path) -> None:
    part = part_of(load(two_parts), ["tripled"])
    assert [node.op_type for node in part.graph.node] == ["Mul"]
    assert [value.name for value in part.graph.input] == ["y"]
    assert [tensor.name for tensor in part.graph.initializer] == ["three"]
    assert [(entry.key, entry.value) for entry in part.metadata_props] == [("key", "value")]
    assert run(two_parts, part, {"y": np.array([1, 2], np.float32)})[0].tolist() == [3, 6]
    with pytest.raises(ModelError, match="no output 'other'"):
        part_of(load(two_parts), ["other"])


def test_an_inner_tensor_becomes_an_output_once_and_the_graph_given_stays(two_parts: Path) -> None:
    model = load(two_parts)
    before = model.SerializeToString()
    made = with_outputs(model, ["double", "sum", "double"])
    assert [value.name for value in made.graph.output] == ["sum", "tripled", "double"]
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    _, _, double = Network(two_parts, content=made.SerializeToString()).run({"x": x, "y": np.zeros(2, np.float32)})
    assert (double == 2 * x).all()
    assert model.SerializeToString() == before
    with pytest.raises(ModelError, match="no tensor 'nothing'"):
        with_outputs(model, ["nothing"])


def test_an_open_size_takes_any_picture(two_parts: Path) -> None:
    made = with_open_size(load(two_parts), "x", 2)
    feeds = {"x": np.ones((1, 1, 7, 3), np.float32), "y": np.zeros(2, np.float32)}
    assert run(two_parts, made, feeds)[0] == 42


def test_metadata_are_written_and_read_without_onnx(two_parts: Path) -> None:
    assert metadata_of(two_parts) == {"key": "value"}
    two_parts.write_bytes(with_metadata(two_parts.read_bytes(), {"names": "['é']", "head": "x"}))
    assert metadata_of(two_parts) == {"names": "['é']", "head": "x"} == Network(two_parts).metadata


@pytest.mark.parametrize("content", [b"", b"not a graph" * 9, b"\x3a\xff\xff\xff\x7f"])
def test_what_is_no_graph_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"m.onnx: the file is damaged") as raised:
        load(tmp_path / "m.onnx")
    assert "\n" not in str(raised.value)
    with pytest.raises(ModelError, match=r"missing.onnx: cannot be read"):
        load(tmp_path / "missing.onnx")
    with pytest.raises(ModelError):
        parsed(content)


def test_an_input_size_can_be_changed(two_parts: Path) -> None:
    model = load(two_parts)
    before = model.SerializeToString()
    made = with_input_size(model, 2, 3)
    network = Network(two_parts, content=made.SerializeToString())
    assert network.inputs[0].shape == (1, 1, 2, 3)
    assert network.run({"x": np.ones((1, 1, 2, 3), np.float32), "y": np.zeros(2, np.float32)})[0] == 12
    assert model.SerializeToString() == before
    with pytest.raises(ModelError, match="not a batch of pictures"):
        with_input_size(part_of(model, ["tripled"]), 2, 3)
