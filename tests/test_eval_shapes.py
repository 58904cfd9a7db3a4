"""`detkit eval --iou-type`: masks and key points from files, beside pycocotools."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from detkit.annotations import read_ground_truth, read_predictions
from detkit.cli import app
from detkit.metrics.evaluation import Evaluation, Settings
from detkit.metrics.iou_types import OVERLAPS
from detkit.shapes.masks import Masks
from detkit.shapes.turned_boxes import to_corners


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HERE = Path(__file__).parent
sets = _module(HERE / "shape_sets.py")
MOTS = HERE.parents[1] / "shared/data/tracks/MOTS20-05/gt/gt.txt"


def written(folder: Path, truth: dict[str, Any], found: list[dict[str, Any]]) -> tuple[Path, Path]:
    paths = folder / "truth.json", folder / "found.json"
    for path, content in zip(paths, (truth, found), strict=True):
        path.write_text(json.dumps(content))
    return paths


def reference(truth: Path, found: Path, kind: str) -> list[float]:
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):
        data = coco.COCO(str(truth))
        run = cocoeval.COCOeval(data, data.loadRes(str(found)), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [float(value) for value in run.stats]


def figures(truth: Path, found: Path, kind: str) -> list[float]:
    needs = OVERLAPS[kind].needs
    table = read_ground_truth(truth, shapes=needs)
    predictions = read_predictions(found, table, shapes=needs)
    return list(Evaluation(table, predictions, Settings(iou_type=kind)).figures.values())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("boxed", [False, True])
def test_masks_from_files(tmp_path: Path, seed: int, boxed: bool) -> None:
    truth, found = sets.mask_set(seed)
    if boxed:
        for row in found:
            bounds = Masks.from_coco([row["segmentation"]], [row["segmentation"]["size"]]).bounds[0]
            row["bbox"] = (bounds + np.array([0, 0, 30, 10])).tolist()
    paths = written(tmp_path, truth, found)
    assert figures(*paths, "segm") == reference(*paths, "segm")
    if boxed:
        assert figures(*paths, "bbox") == reference(*paths, "bbox")


def test_results_of_masks_alone_have_boxes(tmp_path: Path) -> None:
    paths = written(tmp_path, *sets.mask_set(3))
    assert figures(*paths, "bbox") == reference(*paths, "bbox")


@pytest.mark.parametrize("seed", range(6))
def test_key_points_from_files(tmp_path: Path, seed: int) -> None:
    paths = written(tmp_path, *sets.keypoint_set(seed))
    assert figures(*paths, "keypoints") == reference(*paths, "keypoints")


def test_real_masks_with_crowds(tmp_path: Path) -> None:
    if not MOTS.is_file():
        pytest.skip("needs ../shared")
    rng = np.random.default_rng(0)
    truth: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 2, "name": "person"}]}
    found: list[dict[str, Any]] = []
    for line in MOTS.read_text().splitlines():
        frame, track, _, height, width, counts = line.split(" ")
        if int(frame) % 15:
            continue
        if not truth["images"] or truth["images"][-1]["id"] != int(frame):
            truth["images"].append({"id": int(frame), "height": int(height), "width": int(width)})
        rle = {"size": [int(height), int(width)], "counts": counts}
        mask = Masks.from_coco([rle], [rle["size"]])
        truth["annotations"].append(
            {
                "id": len(truth["annotations"]) + 1, "image_id": int(frame), "category_id": 2, "segmentation": rle,
                "area": int(mask.areas[0]), "bbox": mask.bounds[0].tolist(), "iscrowd": int(int(track) >= 10000),
            }
        )  # fmt: skip
        moved = np.roll(mask.decode(0), rng.integers(-6, 7, 2), (0, 1))
        if rng.random() < 0.9:
            found.append(
                {
                    "image_id": int(frame), "category_id": 2, "score": float(rng.random()),
                    "segmentation": Masks.from_dense([moved]).to_coco()[0],
                }
            )  # fmt: skip
    paths = written(tmp_path, truth, found)
    assert len(found) > 400
    assert figures(*paths, "segm") == reference(*paths, "segm")


def test_the_command_and_our_own_lines(tmp_path: Path) -> None:
    truth, found = sets.mask_set(1)
    paths = written(tmp_path, truth, found)
    lines = []
    for image in truth["images"]:
        image["file_name"] = f"{image['id']}.png"
        rows = []
        for row in found:
            if row["image_id"] == image["id"]:
                name = str(row["category_id"])
                rows.append({"box": [0, 0, 9, 9], "class": name, "score": row["score"], "mask": row["segmentation"]})
        lines.append(json.dumps({"file": image["file_name"], "detections": rows}))
    paths[0].write_text(json.dumps(truth))
    ours = tmp_path / "found.jsonl"
    ours.write_text("\n".join(lines))
    for path in (paths[1], ours):
        result = CliRunner().invoke(
            app, ["eval", str(path), str(paths[0]), "--iou-type", "segm", "--explain", "--json", "-"]
        )
        assert result.exit_code == 0, result.output
        content = json.loads(result.stdout)
        assert content["iou_type"] == "segm"
        assert content["figures"]["AP"] == figures(*paths, "segm")[0]
    result = CliRunner().invoke(app, ["eval", str(paths[1]), str(paths[0]), "--iou-type", "keypoints"])
    assert result.exit_code == 1
    assert "hold no key points" in result.stderr
    shown = CliRunner().invoke(app, ["eval", str(paths[1]), str(paths[0]), "--iou-type", "segm"])
    assert shown.stdout.startswith("COCO of masks: ")


def test_turned_boxes_from_lines(tmp_path: Path) -> None:
    boxes = np.array([[40, 40, 30, 10, 0.5], [70, 60, 20, 14, -1.0]])
    rows = [
        {"box": [0, 0, 9, 9], "class": "ship", "corners": corners} for corners in to_corners(boxes).round(3).tolist()
    ]
    truth, found = tmp_path / "truth.jsonl", tmp_path / "found.jsonl"
    picture = {"file": "a.png", "width": 99, "height": 99}
    truth.write_text(json.dumps({**picture, "annotations": rows}))
    found.write_text(json.dumps({**picture, "detections": [{**rows[0], "score": 0.9}]}))
    assert figures(truth, found, "obb")[:2] == pytest.approx([51 / 101, 51 / 101])


@pytest.mark.parametrize(
    ("kind", "shape"), [("segm", "path"), ("boundary", "path"), ("keypoints", "circle"), ("obb", "polygon")]
)
def test_everything_works_for_every_kind(tmp_path: Path, kind: str, shape: str) -> None:
    """Figures, errors, curves, conventions, resampling, and the page, which shows what is compared."""
    if kind == "obb":
        rng = np.random.default_rng(0)
        boxes = np.column_stack((rng.uniform(60, 200, (8, 2)), rng.uniform(20, 60, (8, 2)), rng.uniform(-3, 3, 8)))
        for name, moved in (("truth", 0.0), ("found", 4.0)):
            corners = to_corners(boxes + np.outer(np.arange(8), [moved, 0, 0, 0, 0]))
            rows = [
                {"box": [*one.min(0).tolist(), *one.max(0).tolist()], "corners": one.tolist(), "class": "ship",
                 **({"score": k / 10} if moved else {})}
                for k, one in enumerate(corners)
            ]  # fmt: skip
            key = "detections" if moved else "annotations"
            (tmp_path / f"{name}.jsonl").write_text(json.dumps({"file": "a", "width": 300, "height": 300, key: rows}))
        paths = tmp_path / "truth.jsonl", tmp_path / "found.jsonl"
    else:
        sets_of = sets.keypoint_set if kind == "keypoints" else sets.mask_set
        paths = written(tmp_path, *sets_of(2))
    arguments = ["--explain", "--per-class", "--bootstrap", "5", "--compare", str(paths[1])]
    arguments += ["--report", str(tmp_path / "page.html"), "--json", str(tmp_path / "all.json"), "--iou-type", kind]
    result = CliRunner().invoke(app, ["eval", str(paths[1]), str(paths[0]), *arguments])
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "all.json").read_text())
    base = content["explain"]["rows"][0]
    assert base["ten"] == pytest.approx(content["figures"]["AP"], abs=1e-12)
    assert base["who"] == {"boundary": "faster-coco-eval", "obb": ""}.get(kind, "pycocotools")
    assert {"intervals", "comparison"} <= content.keys()
    page = (tmp_path / "page.html").read_text()
    assert f"<{shape} " in page.partition("Worst images")[2]


def test_objects_without_key_points_are_not_called_flagged(tmp_path: Path) -> None:
    truth, found = sets.keypoint_set(2)
    paths = written(tmp_path, truth, found)
    result = CliRunner().invoke(
        app, ["eval", str(paths[1]), str(paths[0]), "--iou-type", "keypoints", "--explain", "--json", "-"]
    )
    told = " ".join(json.loads(result.stdout)["explain"]["sentences"])
    assert "no labelled key point" in told
    assert "flagged `ignore`" not in told
