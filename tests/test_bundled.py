"""The networks that come with detkit: sizes, checksums, and every command with its default, offline."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import detkit
from detkit.detectors.semantic.segmenter import Segmenter
from detkit.detectors.yolo.yolo_detector import Yolo
from detkit.graphs.registry import default_model, registry
from detkit.graphs.runtime import Runtime
from detkit.graphs.session import Network

MODELS = Path(__file__).parent.parent / "models"
BUNDLED = [entry for entry in registry().values() if not entry.url]


def test_they_are_small() -> None:
    sizes = [path.stat().st_size for path in MODELS.iterdir() if path.suffix in (".onnx", ".npz")]
    assert max(sizes) <= 12e6
    assert sum(sizes) <= 60e6


@pytest.mark.parametrize("entry", BUNDLED, ids=lambda entry: entry.name)
def test_the_registry_and_the_card_have_their_checksums(entry: Any) -> None:
    content = (MODELS / entry.file).read_bytes()
    assert len(content) == entry.size
    assert hashlib.sha256(content).hexdigest() == entry.sha256
    assert f"{entry.sha256}  {entry.file}" in (MODELS / "README.md").read_text()


def test_the_card_has_the_checksum_of_every_file() -> None:
    card = (MODELS / "README.md").read_text()
    stated = dict(re.findall(r"^    ([0-9a-f]{64})  (\S+)$", card, re.MULTILINE))
    found = {hashlib.sha256(path.read_bytes()).hexdigest(): path.name for path in MODELS.glob("*.[on][np][nz]*")}
    assert stated == found


@pytest.mark.parametrize("command", ["yolo", "slide", "rcnn", "fast-rcnn", "faster-rcnn"])
def test_every_command_has_a_default(command: str) -> None:
    entry = default_model(command)
    assert entry is not None
    assert entry.present


OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "DETKIT_HOME": "/nonexistent"}


@pytest.mark.parametrize(
    ("command", "picture", "wanted"),
    [
        (("yolo",), "000000000036.jpg", "person"),
        (("rcnn",), "000000000036.jpg", "person"),
        (("rcnn", "--variant", "fast"), "000000000036.jpg", "person"),
        (("rcnn", "--variant", "rcnn", "--max-proposals", "200"), "000000000034.jpg", "zebra"),
        (("hog-detect", "--conf", "0.05"), "000000000036.jpg", "person"),
        (("slide", "--conf", "0.5"), "000000000034.jpg", "zebra"),
    ],
)
def test_it_works_in_an_empty_folder_without_a_network(
    coco128: Path, tmp_path: Path, cli: Any, command: tuple[str, ...], picture: str, wanted: str
) -> None:
    done = cli(*command, coco128 / "images" / picture, "-f", "jsonl", cwd=tmp_path, env=OFFLINE)
    assert done.returncode == 0, done.stderr
    assert wanted in {one["class"] for one in json.loads(done.stdout)["detections"]}
    assert not list(tmp_path.iterdir())


def test_the_default_yolo_finds_people_and_dogs(coco128: Path) -> None:
    truth = json.loads((coco128 / "instances.json").read_bytes())
    names = {row["id"]: row["name"] for row in truth["categories"]}
    files = {row["id"]: row["file_name"] for row in truth["images"]}
    large: dict[str, set[str]] = {}
    for row in truth["annotations"]:
        if row["bbox"][2] * row["bbox"][3] > 150**2 and names[row["category_id"]] in ("person", "dog", "bus", "zebra"):
            large.setdefault(files[row["image_id"]], set()).add(names[row["category_id"]])
    yolo = Yolo()
    found = [
        name in {yolo.names[number] for number in np.unique(yolo(coco128 / "images" / file).class_ids)}
        for file, classes in sorted(large.items())[:30]
        for name in classes
    ]
    assert len(found) >= 20
    assert np.mean(found) > 0.7


def test_a_file_may_say_its_own_overlap_for_suppression(make_graph: Any) -> None:
    output = np.zeros((1, 6, 252), np.float32)
    for metadata, iou in [({}, 0.7), ({"detkit": '{"iou": 0.4}'}, 0.4), ({"detkit": "[1]"}, 0.7)]:
        graph = make_graph({"output0": output}, metadata={"task": "detect", **metadata})
        assert Yolo(graph, head="yolov8").iou == iou
    assert Yolo(graph, head="yolov8", iou=0.2).iou == 0.2
    assert Yolo().iou == 0.5


def test_the_default_segmenter_finds_the_cat_and_the_person() -> None:
    segmenter = Segmenter()
    assert len(segmenter.names) == 21
    for picture, name in (("cat.jpg", "cat"), ("astronaut.jpg", "person")):
        found = segmenter(Path(detkit.__file__).parent / "demo" / picture)
        assert (found.classes == segmenter.names.index(name)).mean() > 0.3
        assert found.classes.max() < 21


def test_the_default_segmenter_takes_any_size_and_any_number() -> None:
    network = Network(registry()["deconv-lite0"].path, Runtime("cpu", threads=1))
    pictures = np.random.default_rng(0).random((2, 3, 97, 64), np.float32)
    (both,) = network.run({"images": pictures})
    assert both.shape == (2, 21, 97, 64)
    (second,) = network.run({"images": pictures[1:]})
    np.testing.assert_allclose(second[0], both[1], atol=1e-3)
