"""Damaged annotations and detections, in every format of `annotations.formats`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
from mutations import damage_tree, damaged, damaged_json, damaged_text

from detkit.annotations.format import FLAGS
from detkit.annotations.formats import FORMATS
from detkit.annotations.reading import read_draft, read_ground_truth, read_predictions
from detkit.annotations.sizes import Sizes
from detkit.annotations.writing import write_ground_truth
from detkit.dataset import Categories, GroundTruth, Images
from detkit.errors import DetkitError
from detkit.metrics.evaluation import evaluate

COCO = b"""{"images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 80},
 {"id": 2, "file_name": "b.png", "width": 100, "height": 80}],
"categories": [{"id": 1, "name": "person", "keypoints": ["nose", "hip"], "skeleton": [[1, 2]]},
 {"id": 2, "name": "dog"}],
"annotations": [
 {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0,
  "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]], "keypoints": [12, 12, 2, 20.5, 25, 1], "num_keypoints": 2},
 {"id": 2, "image_id": 1, "category_id": 2, "bbox": [40.5, 5.25, 29.5, 27.75], "area": 300, "iscrowd": 0,
  "segmentation": [[40.5, 5.25, 70, 5.25, 70, 33]]},
 {"id": 3, "image_id": 2, "category_id": 1, "bbox": [0, 0, 4, 4], "area": 5, "iscrowd": 1,
  "segmentation": {"size": [80, 100], "counts": [0, 4, 76, 1, 7919]}}]}"""
RESULTS = b"""[{"image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20], "score": 0.9},
 {"image_id": 1, "category_id": 2, "bbox": [40, 5, 29, 27], "score": 0.5, "segmentation": {"size": [80, 100],
  "counts": "d3"}}, {"image_id": 2, "category_id": 1, "bbox": [0, 0, 4, 4], "score": 0.25,
  "keypoints": [1, 1, 1, 2, 2, 1]}]"""
LINES = b"""\
{"file": "a.png", "width": 100, "height": 80, "detections": [{"box": [1, 2, 30, 40], "class": "c", "score": 0.5}]}
{"file": "b.png", "error": "b.png: is damaged"}
{"file": "v.mp4", "frame": 3, "time": 0.1, "detections": []}
"""
YAML = b"path: .\ntrain: images/train\nval: [images/val, a.txt]\nnames:\n  0: cat\n  1: big dog\nnc: 2\n"
DAMAGE = {".json": damaged_json, ".jsonl": damaged_json, ".manifest": damaged_json, ".png": damaged}


def small() -> GroundTruth:
    """Two images and three boxes, which every format can hold."""
    columns: dict[str, Any] = {key: np.zeros(3, bool) for key in FLAGS}
    return GroundTruth(
        images=Images((1, 2), ("a.png", "b.png"), np.array([100, 100]), np.array([80, 80])),
        categories=Categories(("person", "dog"), (1, 2)),
        image_index=np.array([0, 0, 1]),
        class_index=np.array([0, 1, 0]),
        boxes=np.array([[1, 2, 30, 40], [5, 5, 10, 10.5], [3, 3, 50, 60.0]]),
        areas=np.array([1200, 105.0, 3000]),
        source="coco",
        **columns,
    )


def bases(folder: Path) -> dict[str, Path]:
    """A folder for each format, with its file or files inside; some hold what beside boxes there may be."""
    truth = folder / "truth.json"
    truth.write_bytes(COCO)
    shaped = read_ground_truth(truth, shapes="all")
    made = {}
    for name in FORMATS:
        for what, table in (("boxes", small()), ("shapes", shaped)):
            home = folder / f"{name} {what}"
            home.mkdir()
            target = home / ("labels" if FORMATS[name].folder else f"a{FORMATS[name].ending}")
            try:
                write_ground_truth(table, target, name)
            except DetkitError:
                shutil.rmtree(home)
                continue
            made[f"{name} {what}"] = home
    for name, content in (("coco.json", COCO), ("results.json", RESULTS), ("found.jsonl", LINES), ("data.yaml", YAML)):
        home = folder / f"as {name}"
        home.mkdir()
        (home / name).write_bytes(content)
        made[f"as {name}"] = home
    home = made["as data.yaml"]
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (home / kind / split).mkdir(parents=True)
        cv2.imwrite(str(home / "images" / split / "a.png"), np.zeros((8, 10, 3), np.uint8))
        (home / "labels" / split / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.1 0.1\n")
    (home / "a.txt").write_text("images/val/a.png\n")
    return made


def fuzzer(folder: Path) -> Any:
    (folder / "formats").mkdir()
    made = bases(folder / "formats")
    missing = FORMATS.keys() - {name.split()[0] for name in made}
    assert not missing, missing
    pictures = folder / "pictures"
    pictures.mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(pictures / name), np.zeros((80, 100, 3), np.uint8))
    target = small()

    def damage(random: Random, content: bytes, others: Any) -> bytes:
        kind = damaged if content[:4] == b"\x89PNG" else damaged_json if content[:1] in b"[{" else damaged_text
        return kind(random, content, others)

    def case(random: Random, work: Path) -> Any:
        name = random.choice(list(made))
        home = work / "data"
        shutil.copytree(made[name], home)
        damage_tree(random, home, damage)
        inside = sorted(home.iterdir())
        path = next((path for path in inside if path.suffix == ".yaml"), inside[0] if inside else home)
        form = name.split()[0] if name.split()[0] in FORMATS and random.random() < 0.4 else None
        shapes = random.choice(("", "", "all", "masks", "keypoints", "corners"))
        images = pictures if random.random() < 0.5 else None

        def converted() -> None:
            table = read_draft(path, format=form, images=images, shapes="all")
            to = random.choice(list(FORMATS))
            out = work / "out"
            write_ground_truth(table, out if FORMATS[to].folder else out.with_suffix(FORMATS[to].ending), to)

        def measured() -> None:
            evaluate(read_predictions(path, target, format=form, images=images), target).to_json()

        yield f"read_ground_truth {name}", lambda: read_ground_truth(path, form, images=images, shapes=shapes)
        yield f"read_predictions {name}", lambda: read_predictions(path, target, form, images=images, shapes=shapes)
        if random.random() < 0.4:
            yield f"convert {name}", converted
        if random.random() < 0.2:
            yield f"eval {name}", measured
        if random.random() < 0.1:
            yield f"Sizes {name}", lambda: [Sizes.read(path)(file) for file in ("a.png", "x")]
        for place in (home, *home.rglob("*")):
            if place.is_dir() and not place.is_symlink():
                os.chmod(place, 0o755)

    return case
