"""The JSON schemas hold for what commands really write, and for nothing that they would not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detkit.cli import app
from detkit.cli.schema import schema_file
from detkit.images import encode_image, write_image
from detkit.label_maps.palettes import palette_named

VOC = palette_named("voc")
jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
Run = Callable[..., str]


@pytest.fixture
def run(capsysbinary: Any) -> Run:
    def call(*arguments: object, status: int = 0) -> str:
        code = 0
        try:
            app([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsysbinary.readouterr()
        assert code == status, err.decode()
        return str(out.decode())

    return call


def validator(name: str) -> Any:
    schema = json.loads(schema_file(name).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture
def graph(make_graph: Any) -> Path:
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, :3] = (10, 20, 50, 60, 0.9, 2), (30, 30, 90, 90, 0.5, 0), (0, 0, 20, 20, 0.3, 1)
    metadata = {"task": "detect", "stride": "32", "names": "{0: 'ape', 1: 'bee', 2: 'cat'}", "end2end": "True"}
    path: Path = make_graph({"output0": rows}, metadata=metadata)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two pictures, a broken one, and a video."""
    folder = tmp_path / "in"
    for name in ("a", "b"):
        write_image(folder / f"{name}.png", np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8))
    (folder / "broken.png").write_bytes(b"no picture")
    writer = cv2.VideoWriter(str(folder / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (128, 96))
    for _ in range(3):
        writer.write(np.zeros((96, 128, 3), np.uint8))
    writer.release()
    return folder


def test_results_of_boxes_videos_errors_and_tracks(run: Run, graph: Path, pictures: Path) -> None:
    check = validator("results")
    lines = [json.loads(line) for line in run("yolo", pictures, "-m", graph, status=1).splitlines()]
    assert len(lines) == 6
    assert sum("error" in line for line in lines) == 1
    tracks = [json.loads(line) for line in run("track", pictures / "film.avi", "-m", graph, "-q").splitlines()]
    assert any(one["detections"] for one in tracks)
    for line in [*lines, *tracks]:
        check.validate(line)
    good = lines[0]
    for wrong in (
        {**good, "error": "both"},
        {key: value for key, value in good.items() if key != "detections"},
        {**good, "detections": [{"box": [1, 2, 3], "score": 0.5, "class": "a", "class_id": 0}]},
        {**good, "detections": [{"box": [1, 2, 3, 4], "score": 1.5, "class": "a", "class_id": 0}]},
        {**good, "width": 0},
    ):
        assert not check.is_valid(wrong), wrong


@pytest.mark.parametrize("model", ["yolov8-seg", "yolo26-pose", "yolo26-obb"])
def test_results_of_shapes(run: Run, shared: Path, model: str) -> None:
    picture = shared / "data" / "coco128" / "images" / "000000000025.jpg"
    record = json.loads(run("yolo", picture, "-m", shared / "heads" / f"{model}.onnx", "--conf", 0.01))
    assert {"mask", "keypoints", "corners"} & record["detections"][0].keys()
    validator("results").validate(record)


def test_figures_of_boxes(run: Run, graph: Path, pictures: Path, tmp_path: Path) -> None:
    check = validator("eval")
    images = [{"id": k, "file_name": f"{name}.png", "width": 128, "height": 96} for k, name in enumerate("ab")]
    box = {"id": 1, "image_id": 0, "category_id": 3, "bbox": [10, 20, 40, 41], "area": 1640, "iscrowd": 0}
    names = [{"id": k + 1, "name": name} for k, name in enumerate(("ape", "bee", "cat", "<dog>"))]
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({"images": images, "annotations": [box], "categories": names}))
    run("yolo", pictures / "a.png", pictures / "b.png", "-m", graph, "-o", tmp_path / "f.jsonl")
    files = (tmp_path / "f.jsonl", truth, "--json", "-")
    for options in (
        (), ("--protocol", "voc"), ("--protocol", "voc07", "--inclusive"), ("--explain",),
        ("--bootstrap", 3, "--compare", tmp_path / "f.jsonl"), ("--class", "bee"),
    ):  # fmt: skip
        content = json.loads(run("eval", *files, *options))
        check.validate(content)
    content = json.loads(run("eval", *files))
    for key in ("figures", "working_point", "confusion", "protocol"):
        assert not check.is_valid({name: value for name, value in content.items() if name != key}), key
    del content["figures"]["APs"]
    assert not check.is_valid(content)


def test_figures_of_label_maps(run: Run, tmp_path: Path) -> None:
    for folder in ("t", "f"):
        maps = np.random.default_rng(len(folder)).integers(0, 3, (8, 9)).astype(np.uint8)
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(encode_image(VOC.colour(maps), ".png"))
    options = ("--protocol", "semantic", "--gt-format", "voc", "--json", "-")
    validator("eval").validate(json.loads(run("eval", tmp_path / "f", tmp_path / "t", *options)))


def test_figures_of_tracks(run: Run, shared: Path) -> None:
    folder = sorted((shared / "data" / "tracks").rglob("gt.txt"))[0]
    content = json.loads(run("eval", folder, folder, "--protocol", "mot", "--json", "-"))
    validator("eval").validate(content)
    content["figures"]["HOTA"] = 47.9
    assert not validator("eval").is_valid(content)


@pytest.mark.parametrize("name", ["results", "eval"])
def test_the_command_prints_them(run: Run, name: str) -> None:
    assert json.loads(run("schema", name)) == json.loads(schema_file(name).read_text())
