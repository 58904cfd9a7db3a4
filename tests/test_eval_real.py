"""Real boxes and real detections: coco128 with yolox_nano, BCCD from its XML; references run beside ours."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.annotations import read_ground_truth, read_predictions
from detkit.metrics.coco import evaluate_coco
from detkit.metrics.evaluation import Evaluation
from detkit.metrics.explain import explain
from detkit.metrics.tide import tide
from detkit.metrics.voc import evaluate_voc

SHARED = Path(__file__).parents[2] / "shared"
COCO128 = SHARED / "data/coco128"
BCCD = SHARED / "data/bccd/BCCD"
pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="../shared with the data is not here")


def sibling(name: str) -> Any:
    """Another test module, for the plain implementation in it."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pycocotools_figures(truth: Path, found: Path) -> list[float]:
    reference = pytest.importorskip("pycocotools.cocoeval", reason="pycocotools, the reference, is not installed")
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        boxes = COCO(str(truth))
        result = reference.COCOeval(boxes, boxes.loadRes(str(found)), "bbox")
        result.evaluate()
        result.accumulate()
        result.summarize()
    return result.stats.tolist()


@pytest.fixture(scope="module")
def yolox_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What yolox_nano finds in coco128, decoded here (YOLOX, section 2.1), as a results list with all its digits."""
    cv2 = pytest.importorskip("cv2")
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(SHARED / "models/yolox_nano.onnx"), providers=["CPUExecutionProvider"])
    name, size = session.get_inputs()[0].name, 416
    grids = [(np.mgrid[: size // s, : size // s].reshape(2, -1)[::-1].T, s) for s in (8, 16, 32)]
    points = np.concatenate([grid for grid, _ in grids])
    strides = np.concatenate([np.full(len(grid), stride) for grid, stride in grids])[:, None]
    truth = json.loads((COCO128 / "instances.json").read_text())
    category_ids = [category["id"] for category in truth["categories"]]
    results = []
    for entry in truth["images"]:
        image = cv2.imread(str(COCO128 / "images" / entry["file_name"]))
        scale = min(size / image.shape[0], size / image.shape[1])
        small = cv2.resize(image, (int(image.shape[1] * scale), int(image.shape[0] * scale)))
        canvas = np.full((size, size, 3), 114, np.uint8)
        canvas[: small.shape[0], : small.shape[1]] = small
        out = session.run(None, {name: canvas.transpose(2, 0, 1)[None].astype(np.float32)})[0][0].astype(np.float64)
        centres, sides = (out[:, :2] + points) * strides / scale, np.exp(out[:, 2:4]) * strides / scale
        boxes = np.concatenate((centres - sides / 2, sides), axis=1)
        scores = out[:, 4:5] * out[:, 5:]
        for k in np.flatnonzero((scores > 0.01).any(axis=0)):
            rows = np.flatnonzero(scores[:, k] > 0.01)
            kept = cv2.dnn.NMSBoxes(boxes[rows].tolist(), scores[rows, k].tolist(), 0.01, 0.65)
            for row in rows[np.ravel(kept).astype(int)]:
                results.append(
                    {
                        "image_id": entry["id"],
                        "category_id": category_ids[k],
                        "bbox": boxes[row].tolist(),
                        "score": float(scores[row, k]),
                    }
                )
    path = tmp_path_factory.mktemp("yolox") / "found.json"
    path.write_text(json.dumps(results))
    return path


def test_coco128_figures_equal_pycocotools(yolox_results: Path) -> None:
    truth = read_ground_truth(COCO128 / "instances.json")
    figures = evaluate_coco(truth, read_predictions(yolox_results, truth)).figures
    assert list(figures.values()) == pycocotools_figures(COCO128 / "instances.json", yolox_results)
    assert 0.3 < figures["AP"] < 0.4  # these are real detections


def test_coco128_voc_equals_the_plain_loop(yolox_results: Path) -> None:
    plain_ap = sibling("test_metrics_voc").plain_ap
    truth = read_ground_truth(COCO128 / "instances.json")
    found = read_predictions(yolox_results, truth)
    for eleven in (False, True):
        result = evaluate_voc(truth, found, eleven_points=eleven)
        expected = [plain_ap(truth, found, k, 0.5, eleven) for k in range(80)]
        assert result.average_precision == pytest.approx(expected, abs=1e-12)


def test_coco128_errors_equal_tidecv(yolox_results: Path) -> None:
    reference = sibling("test_metrics_tide")
    truth = read_ground_truth(COCO128 / "instances.json")
    found = read_predictions(yolox_results, truth)
    boxes = list(zip(truth.image_index.tolist(), truth.class_index.tolist(), truth.boxes.tolist(),
                     truth.crowd.tolist(), strict=True))  # fmt: skip
    detections = list(zip(found.image_index.tolist(), found.class_index.tolist(), found.boxes.tolist(),
                          found.scores.tolist(), strict=True))  # fmt: skip
    ap, costs, counts, special = reference.theirs(boxes, detections, len(truth.images))
    ours = tide(truth, found)
    assert ours.ap * 100 == pytest.approx(ap, abs=1e-9)
    for name, short in reference.SHORT.items():
        assert ours.counts[name] == counts[short], name
        assert ours.cost[name] * 100 == pytest.approx(costs[short], abs=1e-9), name
    assert ours.false_positives * 100 == pytest.approx(special["FalsePos"], abs=1e-9)
    assert ours.false_negatives * 100 == pytest.approx(special["FalseNeg"], abs=1e-9)


def test_coco128_explained(yolox_results: Path) -> None:
    """The chain from COCO's AP to VOC's is made of measured steps that add up, and the rows are the protocols'."""
    truth = read_ground_truth(COCO128 / "instances.json")
    found = read_predictions(yolox_results, truth)
    explained = explain(truth, found, score=0.3)
    by_name = {row.what: row for row in explained.rows}
    figures = Evaluation(truth, found).figures
    assert by_name["COCO's rule"].ten == pytest.approx(figures["AP"], abs=1e-12)
    assert by_name["COCO's rule"].one == pytest.approx(figures["AP50"], abs=1e-12)
    for what, eleven in (("VOC's rule, area under the curve", False), ("VOC's rule, 11 points", True)):
        voc = evaluate_voc(truth, found, eleven_points=eleven).figures["AP"]
        assert by_name[what].one == pytest.approx(voc, abs=1e-12)
    assert by_name["only scores of 0.3 or more"].ten < by_name["only scores of 0.25 or more"].ten < figures["AP"]
    chain = explained.sentences[0]
    steps = [
        float(word) for word in chain.split(":", 1)[1].replace(",", " ").split() if word[0] in "+-" and len(word) == 7
    ]
    total = by_name["VOC's rule, area under the curve"].one - figures["AP"]
    assert sum(steps) == pytest.approx(total, abs=3e-4)
    assert f"{total:+.4f}" in chain


def bccd_as_coco() -> dict[str, Any]:
    """BCCD's XML as a COCO object, read here on its own."""
    names: dict[str, int] = {}
    content: dict[str, Any] = {"images": [], "annotations": []}
    for number, path in enumerate(sorted((BCCD / "Annotations").glob("*.xml"))):
        root = ElementTree.parse(path).getroot()
        content["images"].append({"id": number, "file_name": path.stem})
        for entry in root.iter("object"):
            sides = {side: float(entry.findtext(f"bndbox/{side}", "0")) for side in ("xmin", "ymin", "xmax", "ymax")}
            width, height = sides["xmax"] - sides["xmin"], sides["ymax"] - sides["ymin"]
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": number,
                    "category_id": names.setdefault(entry.findtext("name", ""), len(names) + 1),
                    "bbox": [sides["xmin"], sides["ymin"], width, height],
                    "area": width * height,
                    "iscrowd": 0,
                }
            )
    content["categories"] = [{"id": k, "name": name} for name, k in names.items()]
    return content


@pytest.fixture(scope="module")
def bccd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """COCO truth, COCO results and JSON Lines of the same detections: the true boxes moved, lost, doubled, renamed."""
    folder = tmp_path_factory.mktemp("bccd")
    content = bccd_as_coco()
    names = {category["id"]: category["name"] for category in content["categories"]}
    rng = np.random.default_rng(11)
    results, lines = [], {image["id"]: [] for image in content["images"]}
    for ann in content["annotations"]:
        for _ in range(int(rng.integers(0, 3))):
            x, y, w, h = np.array(ann["bbox"]) + rng.normal(0, 6, 4)
            box = [float(x), float(y), float(max(w, 1)), float(max(h, 1))]
            k = ann["category_id"] if rng.random() < 0.9 else int(rng.integers(1, len(names) + 1))
            score = round(float(rng.random()), 3)
            results.append({"image_id": ann["image_id"], "category_id": k, "bbox": box, "score": score})
            corners = [box[0], box[1], box[0] + box[2], box[1] + box[3]]
            lines[ann["image_id"]].append({"box": corners, "score": score, "class": names[k], "class_id": k - 1})
    paths = folder / "truth.json", folder / "found.json", folder / "found.jsonl"
    paths[0].write_text(json.dumps(content))
    paths[1].write_text(json.dumps(results))
    rows = [{"file": f"{image['file_name']}.jpg", "detections": lines[image["id"]]} for image in content["images"]]
    paths[2].write_text("\n".join(map(json.dumps, rows)))
    return paths


def test_bccd_figures_equal_pycocotools(bccd: tuple[Path, Path, Path]) -> None:
    """COCO files: equal to the last bit. VOC XML and JSON Lines: as far as x2 - x1 is the width."""
    truth_path, found_path, lines_path = bccd
    expected = pycocotools_figures(truth_path, found_path)
    truth = read_ground_truth(truth_path)
    assert list(evaluate_coco(truth, read_predictions(found_path, truth)).figures.values()) == expected

    truth = read_ground_truth(BCCD / "Annotations")
    assert truth.source == "voc"
    figures = evaluate_coco(truth, read_predictions(lines_path, truth)).figures
    assert list(figures.values()) == pytest.approx(expected, abs=1e-9)
    assert 0 < figures["AP"] < 1


@pytest.mark.parametrize("eleven", [False, True])
def test_bccd_voc_equals_the_plain_loop(bccd: tuple[Path, Path, Path], eleven: bool) -> None:
    plain_ap = sibling("test_metrics_voc").plain_ap
    truth = read_ground_truth(BCCD / "Annotations")
    found = read_predictions(bccd[2], truth)
    result = evaluate_voc(truth, found, eleven_points=eleven)
    assert len(truth.categories) == 3
    expected = [plain_ap(truth, found, k, 0.5, eleven) for k in range(len(truth.categories))]
    assert result.average_precision == pytest.approx(expected, abs=1e-12)
