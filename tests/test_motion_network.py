"""A network in the Kalman filter's place."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from detkit.cli import app
from detkit.errors import ModelError
from detkit.runs.motion_network import MotionNetwork
from detkit.tracking.motchallenge import read_tracks

LENGTH = 3


def last_velocity(path, boxes=("T", LENGTH, 4), name="boxes"):
    """A graph: the last box, moved on by the velocity of the last two."""
    nodes = []
    for out, at in (("last", 2), ("before", 1)):
        nodes.append(helper.make_node("Gather", [name, f"at{at}"], [out], axis=1))
        nodes.append(helper.make_node("Gather", ["ago", f"column{at}"], [f"{out}_ago"], axis=1))
    nodes += [
        helper.make_node("Sub", ["last", "before"], ["way"]),
        helper.make_node("Sub", ["before_ago", "last_ago"], ["gap"]),
        helper.make_node("Max", ["gap", "least"], ["span"]),
        helper.make_node("Div", ["way", "span"], ["velocity"]),
        helper.make_node("Mul", ["velocity", "last_ago"], ["step"]),
        helper.make_node("Add", ["last", "step"], ["expected"]),
    ]
    constants = [numpy_helper.from_array(np.array(at, np.int64), f"at{at}") for at in (1, 2)]
    constants += [numpy_helper.from_array(np.array([at], np.int64), f"column{at}") for at in (1, 2)]
    constants += [numpy_helper.from_array(np.array([[1e-3]], np.float32), "least")]
    graph = helper.make_graph(
        nodes,
        "motion",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, boxes),
            helper.make_tensor_value_info("ago", TensorProto.FLOAT, boxes[:2]),
        ],
        [helper.make_tensor_value_info("expected", TensorProto.FLOAT, ("T", 4))],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_it_is_asked_with_times_in_seconds(tmp_path):
    model = MotionNetwork(last_velocity(tmp_path / "m.onnx"))
    assert model.length == LENGTH
    motion = model.motion()
    motion.add(np.array([[0.0, 0, 10, 20], [50.0, 0, 60, 20]]), 0.0)
    motion.update(np.array([0, 1]), np.array([[4.0, 0, 14, 20], [50.0, 2, 60, 22]]), 0.5)
    assert motion.predict(1.5) == pytest.approx(np.array([[12.0, 0, 22, 20], [50, 6, 60, 26]]), abs=1e-4)


@pytest.mark.parametrize(
    ("shape", "name"), [(("T", "K", 4), "boxes"), ((1, LENGTH, 4), "boxes"), (("T", LENGTH, 4), "x")]
)
def test_other_graphs_are_refused(tmp_path, shape, name):
    with pytest.raises(ModelError, match="is no motion model"):
        MotionNetwork(last_velocity(tmp_path / "m.onnx", shape, name))


def test_on_the_command_line(tmp_path):
    """Something fast that only its velocity keeps together; a last box in place of a prediction loses it."""
    detections = tmp_path / "det.txt"
    detections.write_text(
        "".join(f"{frame},-1,{10 * frame + frame * frame},20,40,80,50,-1,-1,-1\n" for frame in range(1, 15))
    )
    graph, out = last_velocity(tmp_path / "m.onnx"), tmp_path / "t.txt"
    arguments = ["track", str(detections), "-o", str(out), "--fps", "10", "--motion"]
    assert CliRunner().invoke(app, [*arguments, str(graph)]).exit_code == 0
    assert read_tracks(out).ids.tolist() == [1] * 14
    refused = CliRunner().invoke(app, [*arguments, str(detections)])
    assert refused.exit_code == 3
    assert len(refused.stderr.splitlines()) == 1
