import os

import numpy as np
import pytest

from detkit import cores
from detkit.cores import available_cores
from detkit.errors import DeviceError, ModelError
from detkit.graphs import session as networks
from detkit.graphs.runtime import Runtime
from detkit.graphs.session import Network
from detkit.graphs.stored import refuse_data_outside, stored_tensors

onnx = pytest.importorskip("onnx")


def test_a_network_knows_its_inputs_outputs_and_metadata(make_graph):
    path = make_graph({"a": np.ones((2, 3), np.float32)}, (1, 3, None, 32), metadata={"key": "value"})
    network = Network(path, Runtime(threads=1))
    assert str(network.inputs[0]) == "images float32 (1 x 3 x ? x 32)"
    assert str(network.outputs[0]) == "a float32 (2 x 3)"
    assert network.metadata == {"key": "value"}
    assert network.provider == "CPUExecutionProvider"
    assert network.run({"images": np.zeros((1, 3, 8, 32), np.float32)})[0].tolist() == [[1] * 3] * 2


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_input_types(make_graph, dtype):
    network = Network(make_graph({"a": np.ones((1, 1), np.float32)}, dtype=dtype))
    assert network.inputs[0].dtype == dtype


def test_what_cannot_be_loaded(tmp_path):
    (tmp_path / "text.onnx").write_text("not a graph" * 50)
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name, message in (
        ("text", "not an ONNX file|cannot be loaded"),
        ("empty", "0 bytes"),
        ("none", "no such model"),
    ):
        with pytest.raises(ModelError, match=message) as raised:
            Network(tmp_path / f"{name}.onnx")
        assert "\n" not in str(raised.value)


def test_a_truncated_graph(make_graph):
    path = make_graph({"a": np.ones((200, 30), np.float32)})
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(ModelError, match="graph.onnx"):
        Network(path)


def test_a_wrong_input_is_one_line(make_graph):
    network = Network(make_graph({"a": np.ones((1, 1), np.float32)}))
    with pytest.raises(ModelError, match="failed to run") as raised:
        network.run({"images": np.zeros((1, 3, 5, 5), np.float32)})
    assert "\n" not in str(raised.value)


def test_a_device_that_is_not_there_is_an_error_onnxruntime_23372(make_graph):
    path = make_graph({"a": np.ones((1, 1), np.float32)})
    with pytest.raises(DeviceError, match="'cuda' is not there: this onnxruntime has cpu; install onnxruntime-gpu"):
        Network(path, Runtime("cuda"))
    for device in ("toaster", "cuda:x", "cpu:1"):
        with pytest.raises(DeviceError, match="is not known"):
            Network(path, Runtime(device))


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_device_that_does_not_start_is_an_error_too(make_graph, monkeypatch, caplog):
    """onnxruntime lists CUDA but falls back to the CPU in silence where its libraries are missing."""
    monkeypatch.setattr(networks.onnxruntime, "get_available_providers",
                        lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])  # fmt: skip
    path = make_graph({"a": np.ones((1, 1), np.float32)})
    with pytest.raises(DeviceError, match=r"could not start CUDAExecutionProvider.*--device cpu"):
        Network(path, Runtime("cuda:0"))
    with caplog.at_level("WARNING", logger="detkit"):
        assert Network(path, Runtime()).provider == "CPUExecutionProvider"
    assert "could not start CUDAExecutionProvider" in caplog.text


@pytest.mark.parametrize(
    ("device", "there", "first", "options"),
    [
        ("auto", ["CPUExecutionProvider"], "CPUExecutionProvider", {}),
        ("auto", ["TensorrtExecutionProvider", "CUDAExecutionProvider"], "CUDAExecutionProvider", {}),
        ("auto", ["DmlExecutionProvider", "CPUExecutionProvider"], "DmlExecutionProvider", {}),
        ("cpu", ["CUDAExecutionProvider", "CPUExecutionProvider"], "CPUExecutionProvider", {}),
        ("cuda:1", ["CUDAExecutionProvider", "CPUExecutionProvider"], "CUDAExecutionProvider", {"device_id": "1"}),
        ("tensorrt", ["TensorrtExecutionProvider", "CPUExecutionProvider"], "TensorrtExecutionProvider", {}),
        ("coreml", ["CoreMLExecutionProvider", "CPUExecutionProvider"], "CoreMLExecutionProvider", {}),
        ("openvino", ["OpenVINOExecutionProvider", "CPUExecutionProvider"], "OpenVINOExecutionProvider", {}),
    ],
)  # fmt: skip
def test_devices_become_providers(device, there, first, options):
    wanted = networks._wanted_providers(device, there)
    assert wanted[0] == (first, options)
    assert wanted[-1][0] == "CPUExecutionProvider"


def test_threads_are_the_cores_of_this_process_onnxruntime_3099(monkeypatch):
    assert available_cores() <= len(os.sched_getaffinity(0))
    monkeypatch.setattr(cores, "_container_quota", lambda: 0.5)
    assert available_cores() == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(cores, "_container_quota", lambda: 3.2)
    assert available_cores() == 4
    monkeypatch.setattr(cores, "_container_quota", lambda: None)
    assert available_cores() == 64


def external(path, location):
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    inner = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["w"], ["z"])], "inner", [],
                                   [onnx.helper.make_tensor_value_info("z", 1, [4])], [tensor])  # fmt: skip
    nodes = [
        onnx.helper.make_node("If", ["b"], ["y"], then_branch=inner, else_branch=inner),
    ]
    graph = onnx.helper.make_graph(nodes, "g", [onnx.helper.make_tensor_value_info("b", 9, [])],
                                   [onnx.helper.make_tensor_value_info("y", 1, [4])])  # fmt: skip
    opsets = [onnx.helper.make_opsetid("", 17)]
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "deep/../../secret.bin", "link.bin"])
def test_external_data_outside_the_folder_is_refused_even_in_a_nested_graph(tmp_path, location):
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to("../secret.bin")
    external(folder / "m.onnx", location)
    with pytest.raises(ModelError, match="refused: its weights lie outside"):
        Network(folder / "m.onnx")


def test_external_data_inside_the_folder_is_read(tmp_path):
    external(tmp_path / "m.onnx", "weights.bin")
    np.arange(4, dtype=np.float32).tofile(tmp_path / "weights.bin")
    refuse_data_outside(tmp_path / "m.onnx")
    found = Network(tmp_path / "m.onnx").run({"b": np.array(True)})
    assert found[0].tolist() == [0, 1, 2, 3]


def test_stored_tensors_are_those_onnx_finds(shared):
    for path in sorted((shared / "heads").glob("*.onnx")):
        model = onnx.load(path)
        found = {tensor.name: tensor.shape for tensor in stored_tensors(path) if tensor.name}
        assert {value.name: tuple(value.dims) for value in model.graph.initializer}.items() <= found.items()
