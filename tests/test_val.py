"""`detkit val`: one command gives what a detection command and `detkit eval` give, to the last digit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.cli import app
from detkit.detectors.by_command import command_of
from detkit.images import write_image

METADATA = {"task": "detect", "stride": "32", "names": "{0: 'ape', 1: 'bee', 2: 'cat'}", "end2end": "True"}
NAMES = ("ape", "bee", "cat")
BOXES = ((10, 20, 50, 60, 0.9, 2), (30, 30, 90, 90, 0.5, 0), (60, 10, 100, 50, 0.2, 1), (5, 5, 30, 40, 0.03, 0))

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsysbinary: Any) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        status = 0
        try:
            app([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = int(stop.code or 0)
        out, err = capsysbinary.readouterr()
        return status, out.decode(), err.decode()

    return call


@pytest.fixture
def graph(make_graph: Any) -> Path:
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, : len(BOXES)] = BOXES
    path: Path = make_graph({"output0": rows}, metadata=METADATA)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set whose boxes lie near what the network says, more or less."""
    rng = np.random.default_rng(5)
    folder = tmp_path / "data"
    images, annotations = [], []
    for number in range(6):
        name = f"{'deep/' if number % 2 else ''}{number}.png"
        write_image(folder / "images" / name, rng.integers(0, 256, (96, 128, 3), dtype=np.uint8))
        images.append({"id": number + 10, "file_name": name, "width": 128, "height": 96})
        for x1, y1, x2, y2, _, k in BOXES[: 2 + number % 3]:
            x, y, w, h = (np.array([x1, y1, x2 - x1, y2 - y1]) + rng.normal(0, number, 4)).round(1).tolist()
            box = {"id": len(annotations) + 1, "image_id": number + 10, "category_id": 3 - k, "iscrowd": 0}
            annotations.append(box | {"bbox": [x, y, w, h], "area": w * h})
    categories = [{"id": 3 - k, "name": name} for k, name in enumerate(NAMES)]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(truth))
    return folder


def figures(run: Run, *arguments: object) -> Any:
    status, out, err = run(*arguments, "--json", "-")
    assert status == 0, err
    return json.loads(out)


def test_val_equals_the_two_commands(run: Run, graph: Path, data: Path, tmp_path: Path) -> None:
    found, truth = tmp_path / "found.jsonl", data / "truth.json"
    assert run("yolo", data / "images", "-m", graph, "--conf", 0.01, "-o", found)[0] == 0
    for options in ((), ("--protocol", "voc", "--iou", 0.6), ("--class", "ape", "--class", "cat"), ("--bootstrap", 5)):
        own = figures(run, "val", graph, truth, *options)
        assert own == figures(run, "eval", found, truth, *options)
        assert 0 < own["figures"]["AP"] < 1
    for out in (tmp_path / "kept.jsonl", tmp_path / "kept.json"):
        status, printed, err = run("val", graph, truth, "-o", out, "--per-class", "--at", 0.3)
        assert status == 0, err
        assert printed == run("eval", out, truth, "--per-class", "--conf", 0.3)[1]
    kept = (tmp_path / "kept.jsonl").read_bytes().splitlines()
    assert sorted(kept) == sorted(found.read_bytes().splitlines())


@pytest.mark.parametrize("form", ["voc", "yolo", "data.yaml"])
def test_other_data_sets(run: Run, graph: Path, data: Path, tmp_path: Path, form: str) -> None:
    found, other = tmp_path / "found.jsonl", tmp_path / "other"
    assert run("yolo", data / "images", "-m", graph, "--conf", 0.01, "-o", found)[0] == 0
    assert run("convert", data / "truth.json", other, "--to", "voc" if form == "voc" else "yolo")[0] == 0
    os.rename(data / "images", other / ("JPEGImages" if form == "voc" else "images"))
    target: object = other
    if form == "data.yaml":
        os.makedirs(other / "labels", exist_ok=True)
        for path in [*other.glob("*.txt"), *other.glob("deep/*.txt")]:
            os.renames(path, other / "labels" / path.relative_to(other))
        table = tmp_path / "data.yaml"
        table.write_text(f"path: {other}\nval: images\nnames: {list(NAMES)}\n")
        target = f"{table}#val"
    own = figures(run, "val", graph, target)
    assert own == figures(run, "eval", found, target)
    assert own["images"] == 6
    assert own["figures"]["AP"] > 0


@pytest.mark.parametrize(
    ("kind", "model"), [("segm", "yolov8-seg"), ("keypoints", "yolo26-pose"), ("obb", "yolo26-obb")]
)
def test_masks_points_and_turned_boxes(run: Run, shared: Path, tmp_path: Path, kind: str, model: str) -> None:
    graph = shared / "heads" / f"{model}.onnx"
    picture = shared / "data" / "coco128" / "images" / "000000000025.jpg"
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(picture.read_bytes())
    found = tmp_path / "found.jsonl"
    assert run("yolo", tmp_path / "images", "-m", graph, "--conf", 0.01, "-o", found)[0] == 0
    # what the network finds, moved, is the truth
    boxes = json.loads(found.read_text())["detections"][:5]
    annotations: list[dict[str, Any]] = []
    for number, one in enumerate(boxes, start=1):
        x1, y1, x2, y2 = one["box"]
        own = {"id": number, "image_id": 1, "category_id": one["class_id"] + 1, "iscrowd": 0}
        own |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
        if kind == "segm":
            own["segmentation"] = one["mask"]
        elif kind == "keypoints":
            own |= {"keypoints": [v for x, y, _ in one["keypoints"] for v in (x + 2, y, 2)], "num_keypoints": 17}
        else:
            own["segmentation"] = [[v + 1 for corner in one["corners"] for v in corner]]
        annotations.append(own)
    names = sorted({(one["class_id"] + 1, one["class"]) for one in boxes})
    truth = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 640, "height": 426}],
        "annotations": annotations,
        "categories": [{"id": k, "name": name, "keypoints": ["p"] * 17} for k, name in names],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    own = figures(run, "val", graph, tmp_path / "truth.json", "--iou-type", kind)
    assert own == figures(run, "eval", found, tmp_path / "truth.json", "--iou-type", kind)
    assert own["iou_type"] == kind
    assert own["figures"]["AP"] > 0


def test_outputs_and_bars(run: Run, graph: Path, data: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    status, out, err = run(
        "val", graph, data / "truth.json", "--report", page, "--best-conf", tmp_path / "best.json",
        "--fail-under", "AP50=0.99",
    )  # fmt: skip
    assert status == 1
    assert "below the 0.99 asked for" in err
    assert "AP50" in out
    assert f"{graph} (detkit yolo), scores above 0.01" in page.read_text()
    assert page.read_text().count("data:image/") > 0  # its pictures are found
    assert set(json.loads((tmp_path / "best.json").read_text())) <= set(NAMES)


def test_pictures_that_are_not_there_or_broken(run: Run, graph: Path, data: Path) -> None:
    (data / "images" / "0.png").unlink()
    status, out, err = run("val", graph, data / "truth.json", "--json", "-")
    assert status == 0
    assert "1 picture not there, whose objects count as missed" in err
    assert json.loads(out)["images"] == 6
    (data / "images" / "2.png").write_bytes(b"no picture")
    status, out, err = run("val", graph, data / "truth.json", "--json", "-")
    assert status == 1
    assert "2.png" in err
    assert json.loads(out)["images"] == 6
    os.rename(data / "images", data / "elsewhere")
    for path in (data / "elsewhere").rglob("*.png"):
        path.rename(path.with_suffix(".bin"))
    status, out, err = run("val", graph, data / "truth.json")
    assert (status, out) == (1, "")
    assert "none of its 6 pictures" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--report", "page.txt"), "should end in .html"),
        (("-o", "-"), "name a file"),
        (("-o", "found.txt"), "cannot be measured"),
        (("--fail-under", "2"), "from 0 to 1"),
        (("--protocol", "mot"), "mot"),
        (("-o", "DATA"), "overwrite the input"),
        (("--class", "dgo"), "dgo"),
    ],
)
def test_wrong_use_is_said_before_anything_runs(
    run: Run, graph: Path, data: Path, monkeypatch: Any, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [data / "truth.json" if option == "DATA" else option for option in options]
    before = (data / "truth.json").read_bytes()
    status, out, err = run("val", graph, data / "truth.json", *given)
    assert (status, out) == (2, "")
    assert said in err
    assert "pictures," not in err
    assert (data / "truth.json").read_bytes() == before


def test_the_command_of_a_model(graph: Path) -> None:
    assert command_of(graph) == "yolo"
    names = {
        "yolo-lite0": "yolo", "faster-rcnn-lite0": "rcnn", "rcnn-lite0": "rcnn", "person-hog": "hog-detect",
        "efficientnet-lite0": "slide",
    }  # fmt: skip
    from detkit.graphs.registry import registry

    known = {entry.path.stem: name for name, entry in registry().items()}
    for stem, command in names.items():
        assert command_of(known[stem]) == command
