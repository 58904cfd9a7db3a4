"""Damaged networks: bytes of tiny graphs, fields of their protocol buffers, metadata, sidecars, graphs in graphs."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
from mutations import NUMBERS, VALUES, damaged, damaged_json
from onnx import TensorProto, helper, numpy_helper

from detkit.detectors.semantic.segmenter import Segmenter
from detkit.detectors.windows.slide_detector import SlideDetector
from detkit.detectors.yolo.yolo_detector import Yolo
from detkit.graphs.editing import load_whole
from detkit.graphs.other_files import what_it_is
from detkit.graphs.runtime import Runtime
from detkit.graphs.stored import first_nodes, last_node, metadata_of, refuse_data_outside, stored_tensors
from detkit.inside.subjects import open_subject

IMAGE = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
KEYS = (
    "names", "task", "head", "stride", "imgsz", "mean", "std", "color", "batch", "end2end", "kpt_shape", "args", "iou",
    "layout", "anchors", "background", "input", "palette", "args", "dynamic", "\0",
)  # fmt: skip


def _graph(output: np.ndarray, name: str, metadata: dict[str, str], shape: tuple[Any, ...] = (1, 3, 64, 64)) -> Any:
    """A graph that answers a picture with an array, after a convolution of the picture with weight 0."""
    node = helper.make_node
    nodes = [
        node("Conv", ["images", "w"], ["c"], "stem", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("ReduceMean", ["c"], ["m"], keepdims=0),
        node("Mul", ["m", "zero"], ["z"]),
        node("Add", ["value", "z"], [name]),
    ]
    stored = {"w": np.ones((2, 3, 3, 3), np.float32), "zero": np.float32(0), "value": output.astype(np.float32)}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, output.shape)],
        [numpy_helper.from_array(array, key) for key, array in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    return model


def _chosen(model: Any) -> Any:
    """The same with its last node in the branches of an If, as exporters nest graphs."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    last = changed.graph.node.pop()
    branches = []
    for branch in ("then", "else"):
        inner = onnx.NodeProto()
        inner.CopyFrom(last)
        inner.output[0] = branch
        value = helper.make_tensor_value_info(branch, TensorProto.FLOAT, None)
        branches.append(helper.make_graph([inner], branch, [], [value]))
    changed.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    changed.graph.node.append(
        helper.make_node("If", ["yes"], list(last.output), then_branch=branches[0], else_branch=branches[1])
    )
    return changed


def bases() -> dict[str, Any]:
    names = str({0: "cat", 1: "dog"})
    boxes = np.zeros((1, 6, 84), np.float32)
    boxes[0, :4] = 20
    boxes[0, 4:, :3] = 0.9
    settled = np.array([[[4, 4, 30, 30, 0.9, 1], [1, 2, 30, 40, 0.5, 0]]], np.float32)
    yolo = _graph(boxes, "output0", {"names": names, "task": "detect", "stride": "32", "imgsz": "[64, 64]"})
    end2end = _graph(settled, "output0", {"names": names, "task": "detect", "end2end": "True"})
    pose = _graph(
        np.full((1, 5 + 51, 84), 0.7), "output0", {"task": "pose", "kpt_shape": "[17, 3]", "names": "{0: 'p'}"}
    )
    classes = _graph(np.array([[0.2, 0.7]]), "scores", {"task": "classify", "names": names})
    maps = _graph(np.random.default_rng(2).random((1, 2, 64, 64)), "map", {"task": "semantic", "names": names})
    return {"yolo": yolo, "end2end": end2end, "pose": pose, "classes": classes, "map": maps, "if": _chosen(yolo)}


def _messages(message: Any, found: list[Any]) -> list[Any]:
    found.append(message)
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in value if field.is_repeated else (value,):
                _messages(inner, found)
    return found


def _edit(random: Random, model: Any) -> None:
    """Change one field of a message: another number or name, left out, twice."""
    message = random.choice(_messages(model, []))
    field = random.choice(message.DESCRIPTOR.fields)
    if random.random() < 0.8 and message.ListFields():
        field = random.choice(message.ListFields())[0]
    numbers = (0, 1, -1, 2, 3, 7, 64, 2**31 - 1, -(2**31))
    if field.type == field.TYPE_MESSAGE:
        if field.is_repeated and len(getattr(message, field.name)):
            values = getattr(message, field.name)
            at = random.randrange(len(values))
            if random.random() < 0.5:
                values.append(values[at])
            else:
                del values[at]
        else:
            message.ClearField(field.name)
        return
    if field.cpp_type == field.CPPTYPE_STRING:
        value: Any = random.choice(
            ("", "x", "images", "output0", "w", "c", "Loop", "Reshape", "Relu", "\x1b[2J", "é" * 90)
        )
        value = value.encode() if field.type == field.TYPE_BYTES else value
    elif field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        value = random.choice((0.0, -1.0, float("nan"), float("inf"), 1e30))
    elif field.cpp_type == field.CPPTYPE_ENUM:
        value = random.choice([value.number for value in field.enum_type.values])
    else:
        if field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64):
            numbers = tuple(map(abs, numbers[:-1]))
        value = random.choice(
            (*numbers, 2**62) if field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64) else numbers
        )
    if field.is_repeated:
        values = getattr(message, field.name)
        if len(values) and random.random() < 0.7:
            values[random.randrange(len(values))] = value
        else:
            values.extend([value] * random.choice((1, 3, 1000)))
    else:
        setattr(message, field.name, value)


def _nested(random: Random, model: Any) -> bytes:
    """A graph in a graph in a graph, as deep as protocol buffers are written by hand."""
    content = b""
    for _ in range(random.choice((40, 90, 101, 1000, 5000))):
        graph = b"\x0a" + _varint(len(content)) + content  # node of a graph
        attribute = b"\x32" + _varint(len(graph)) + graph  # g of an attribute
        content = b"\x2a" + _varint(len(attribute)) + attribute  # attribute of a node
    graph = b"\x0a" + _varint(len(content)) + content
    return bytes(model.SerializeToString()) + b"\x3a" + _varint(len(graph)) + graph


def _varint(number: int) -> bytes:
    content = bytearray()
    while number > 127:
        content.append(number & 127 | 128)
        number >>= 7
    return bytes((*content, number))


def _outside(random: Random, model: Any, work: Path) -> None:
    """Move a tensor's data into a file beside the graph, or where none should be read."""
    tensor = random.choice(model.graph.initializer)
    (work / "data.bin").write_bytes(tensor.raw_data[: random.choice((0, 4, 10**6))])
    tensor.data_location = TensorProto.EXTERNAL
    location = random.choice(("data.bin", "a\0b", "../x", "/etc/passwd", "", "data.bin/x", "x" * 5000, "..", ".",
                              "/dev/zero", "nowhere"))  # fmt: skip
    for key, value in (("location", location), ("offset", random.choice(NUMBERS)), ("length", random.choice(NUMBERS))):
        if key == "location" or random.random() < 0.4:
            tensor.external_data.add(key=key, value=value)
    if random.random() < 0.7:
        tensor.ClearField("raw_data")


def fuzzer(folder: Path) -> Any:
    made = bases()
    contents = [model.SerializeToString() for model in made.values()]
    sidecar = {
        "names": ["cat", "dog"], "size": [64, 64], "mean": [0, 0, 0], "std": [1, 1, 1], "color": "rgb", "head": "yolo",
        "anchors": [[[1, 2], [3, 4]]], "strides": [8], "pad": 114, "scale": 1, "fit": "letterbox",
    }  # fmt: skip

    def case(random: Random, work: Path) -> Any:
        name = random.choice(list(made))
        model = type(made[name])()
        model.CopyFrom(made[name])
        path = work / f"{name}.onnx"
        kind = random.randrange(7)
        if kind == 0:
            content = damaged(random, model.SerializeToString(), contents)
        elif kind == 1:
            content = _nested(random, model)
        elif kind == 2:
            for _ in range(random.choice((1, 2))):
                value = random.choice(
                    (*VALUES, *NUMBERS, "{0: 'a'", "{0: 'a', 5: 'b'}", "[" * 300, "{0:" * 3000, "9" * 5000)
                )
                text = value if isinstance(value, str) else json.dumps(value)
                model.metadata_props.add(key=random.choice(KEYS), value=text)
            content = model.SerializeToString()
            if random.random() < 0.3:
                content = content.replace(b"names", b"n\xffmes").replace(b"cat", b"c\xff\xfe")
        elif kind == 3:
            _outside(random, model, work)
            content = model.SerializeToString()
        elif kind == 4:
            content = model.SerializeToString()
            beside = damaged_json(random, json.dumps(dict(random.sample(list(sidecar.items()), 3))).encode())
            path.with_suffix(".detkit.json").write_bytes(beside)
        else:
            for _ in range(random.choice((1, 1, 2, 5))):
                _edit(random, model)
            content = model.SerializeToString()
        path.write_bytes(content)
        one = Runtime(threads=1)
        yield "other_files", lambda: what_it_is(path)
        yield "stored_tensors", lambda: stored_tensors(path)
        yield "refuse_data_outside", lambda: refuse_data_outside(path)
        yield "metadata_of", lambda: metadata_of(path)
        yield "first_nodes", lambda: first_nodes(path, "images", frozenset(("Conv", "Sub", "Div")))
        yield "last_node", lambda: last_node(path, "output0", frozenset(("Add", "Mul")))
        yield "load_whole", lambda: load_whole(path)
        makers = {"yolo": Yolo, "slide": SlideDetector, "segment": Segmenter}
        own = {"classes": "slide", "map": "segment"}.get(name, "yolo")
        for command in {own, random.choice(list(makers))}:
            yield command, lambda command=command: makers[command](path, runtime=one)(IMAGE)
        if random.random() < 0.3:
            yield "open_subject", lambda: open_subject(path, one)

    return case
