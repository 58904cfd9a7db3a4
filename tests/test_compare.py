"""`detkit compare`: detectors side by side, with times, proposals and heat maps, and AP where there are annotations."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.cli import app
from detkit.images import write_image
from detkit.report.thumbnails import side_for

Run = Callable[..., tuple[int, str, str]]
TRUE_BOXES = ((10, 20, 50, 60, 2), (30, 30, 90, 90, 0))


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
def graphs(make_graph: Any) -> tuple[Path, Path]:
    """A network that finds both objects, and one of other classes that finds the first one and something else."""
    made = []
    for name, names, boxes in (
        ("good", ("ape", "bee", "cat"), [(10, 20, 50, 60, 0.9, 2), (30, 30, 90, 90, 0.5, 0), (0, 0, 9, 9, 0.1, 0)]),
        ("other", ("cat", "dog"), [(12, 20, 50, 60, 0.8, 0), (70, 5, 120, 30, 0.6, 0), (5, 60, 30, 90, 0.7, 1)]),
    ):
        rows = np.zeros((1, 300, 6), np.float32)
        rows[0, : len(boxes)] = boxes
        metadata = {"task": "detect", "stride": "32", "names": str(dict(enumerate(names))), "end2end": "True"}
        made.append(make_graph({"output0": rows}, metadata=metadata, file=f"{name}.onnx"))
    return made[0], made[1]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three pictures: both objects in the first, the second one in the second, none in the third."""
    images, annotations = [], []
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (96, 128, 3), dtype=np.uint8)
        write_image(tmp_path / "in" / f"{number}.png", pixels)
        images.append({"id": number, "file_name": f"{number}.png", "width": 128, "height": 96})
        for x1, y1, x2, y2, k in TRUE_BOXES[number:]:
            box = {"id": len(annotations) + 1, "image_id": number, "category_id": k + 1, "iscrowd": 0}
            annotations.append(box | {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)})
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(("ape", "bee", "cat"))]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    return tmp_path


def parts(page: Path) -> tuple[Any, list[Any]]:
    html = page.read_text()
    meta = re.search(r'<script type="application/json" id="meta">(.*?)</script>', html, re.DOTALL)
    assert meta is not None
    found = re.findall(r'<script type="application/json" class="part">(.*?)</script>', html, re.DOTALL)
    return json.loads(meta[1]), [json.loads(part) for part in found]


def test_detectors_beside_the_truth(run: Run, graphs: tuple[Path, Path], data: Path) -> None:
    page = data / "out" / "page.html"
    status, out, err = run(
        "compare", data / "in", "-m", graphs[0], "-m", graphs[1], "--gt", data / "truth.json", "-o", page
    )
    assert status == 0, err
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]
    meta, (part,) = parts(page)
    assert [panel["name"] for panel in meta["panels"]] == ["truth", "good", "other"]
    assert [panel["n"] for panel in part["p"]] == [[2, 1, 0], [2, 2, 2], [3, 3, 3]]  # not what is below --conf
    # Only cats are known to both: good has one right in the first picture, other one right and one wrong ...
    marks = [list(panel["m"].values()) for panel in part["p"]]
    assert marks[1] == ["1 found, 0 false, 0 missed", "0 found, 1 false, 0 missed", "0 found, 1 false, 0 missed"]
    assert marks[2] == ["1 found, 1 false, 0 missed", "0 found, 2 false, 0 missed", "0 found, 2 false, 0 missed"]
    assert part["k"] == [1.0, 1.0, 1.0]
    assert all(len(panel["sec"]) == 3 for panel in part["p"][1:])
    # AP is that of eval, over the classes that are known
    for row, graph, classes in zip(meta["table"][1:], graphs, (("ape", "cat"), ("cat",)), strict=True):
        assert run("yolo", data / "in", "-m", graph, "--conf", 0.01, "-o", data / "f.jsonl")[0] == 0
        chosen = [word for name in classes for word in ("--class", name)]
        figures = json.loads(run("eval", data / "f.jsonl", data / "truth.json", *chosen, "--json", "-")[1])["figures"]
        assert row[7:9] == [f"{figures['AP']:.4f}", f"{figures['AP50']:.4f}"]
        assert row[0] in out
    assert [row[6] for row in meta["table"][1:]] == ["3", "1"]


def test_times_proposals_and_heat(run: Run, tmp_path: Path, graphs: tuple[Path, Path]) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        coarse = rng.integers(0, 256, (24, 16, 3), dtype=np.uint8)
        write_image(tmp_path / "in" / f"{name}.png", coarse.repeat(8, axis=0).repeat(8, axis=1))
    page = tmp_path / "page.html"
    status, out, err = run("compare", tmp_path / "in", "-m", "hog", "-m", "faster", "-m", graphs[0], "-o", page, "-q")
    assert (status, err) == (0, "")
    meta, (part,) = parts(page)
    assert [panel["name"] for panel in meta["panels"]] == ["HOG", "Faster R-CNN", "good"]
    assert meta["heats"] == [0]
    assert len(meta["scale"]) == 24
    proposed = part["p"][1]["np"]
    assert set(proposed) == {"0", "1"}
    assert all(len(part["p"][1]["p"][key]) == 4 * min(count, 60) for key, count in proposed.items())
    assert part["p"][0]["p"] == part["p"][2]["p"] == {}
    assert re.search(r'id="h0-0">[A-Za-z0-9+/=]+,[A-Za-z0-9+/=]+</script>', page.read_text())
    assert meta["side"] == side_for(2)
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["HOG", "Faster", "good"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("page")) == ["page.html"]


def test_the_page_in_a_browser(run: Run, graphs: tuple[Path, Path], data: Path, browser: Any) -> None:
    page = data / "page.html"
    assert (
        run("compare", data / "in", "-m", graphs[0], "-m", graphs[1], "--gt", data / "truth.json", "-o", page)[0] == 0
    )
    browser.get_log("browser")
    browser.get(page.as_uri())
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert browser.find_element("id", "counted").text == "3 pictures"
    heads = browser.execute_script("return [...document.querySelectorAll('#item-0 .model')].map(e => e.textContent)")
    assert heads == ["truth", "good", "other"]
    lines = "[...document.querySelectorAll('#item-0 .row')].map(r => r.querySelectorAll('.line').length)"
    boxes = browser.execute_script(f"return {lines}")
    assert boxes == [2, 2, 2]  # a path a class
    assert [row.text.split()[0] for row in browser.find_elements("css selector", "#models tbody tr")] == [
        "good",
        "other",
    ]
    browser.execute_script("document.getElementById('layer-boxes').click()")
    assert browser.execute_script("return document.querySelectorAll('#item-0 .line').length") == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-m", "yolo"), "nothing to compare"),
        (("-m", "yolo", "-m", "nothing-like-it"), "nothing-like-it"),
        (("-o", "page.png"), "should end in .html"),
        (("-m", "yolo", "-m", "hog", "--class", "zebra"), "HOG has none of the classes zebra"),
    ],
)
def test_wrong_use(run: Run, data: Path, monkeypatch: Any, options: tuple[str, ...], said: str) -> None:
    monkeypatch.chdir(data)
    status, out, err = run("compare", "in", *options)
    assert status in (2, 3)
    assert out == ""
    assert said in err
    assert sorted(path.name for path in data.iterdir()) == ["graph.onnx", "in", "truth.json"] or not list(
        data.glob("*.html")
    )
    assert not list(data.glob("*.partial"))
