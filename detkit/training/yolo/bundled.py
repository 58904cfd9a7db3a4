"""How the bundled network was trained: COCO's and VOC's pictures of ../shared, their annotations, a teacher's labels.

python -m detkit.training.yolo.bundled OUT --from slim.onnx --shared ../shared --store DIR --minutes 95
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import clip, xywh_to_xyxy
from detkit.classes import COCO_NAMES, VOC_NAMES
from detkit.training.torch.train_settings import Length
from detkit.training.torch.training_set import TrainingSet
from detkit.training.yolo.taught import merged, read_taught
from detkit.training.yolo.yolo_recipe import Recipe
from detkit.training.yolo.yolo_training import Progress, YoloStart, YoloWork, train_yolo

HELD_OUT = {"coco-subset": 150, "coco-extra": 200}  # pictures that only measure, of COCO's
FILES = {"coco-subset": ("train.json", "train"), "coco-extra": ("extra.json", "images")}
VOC_TO_COCO = {
    "motorbike": "motorcycle", "aeroplane": "airplane", "sofa": "couch", "pottedplant": "potted plant",
    "diningtable": "dining table", "tvmonitor": "tv",
}  # fmt: skip


def held_out(folder: Path, name: str) -> set[int]:
    """Ids of the pictures of a set that are kept from training; always the same."""
    images = json.loads((folder / name / FILES[name][0]).read_text())["images"]
    ids = [image["id"] for image in images if image.get("labels", "coco80") == "coco80"]
    return {ids[i] for i in np.random.default_rng(0).permutation(len(ids))[: HELD_OUT[name]].tolist()}


def training_set(folder: Path, subset_weight: float = 1.0) -> TrainingSet:
    """All pictures of both sets that are not held out, with the annotations' objects and those that only the teacher
    sees. Those of coco-subset, which are larger and hold more people, are seen `subset_weight` times as often.
    """
    of_voc = np.isin(COCO_NAMES, [VOC_TO_COCO.get(name, name) for name in VOC_NAMES])
    objects: dict[tuple[str, int], tuple[NDArray[np.float32], NDArray[np.int64]]] = {}
    annotated, paths = {}, []
    for name, (file, images) in FILES.items():
        data = json.loads((folder / name / file).read_text())
        number = {entry["id"]: COCO_NAMES.index(entry["name"]) for entry in data["categories"]}
        boxes: dict[int, list[tuple[list[float], int]]] = {}
        for entry in data["annotations"]:
            boxes.setdefault(entry["image_id"], []).append((entry["bbox"], number[entry["category_id"]]))
        kept_out = held_out(folder, name)
        for image in data["images"]:
            if image["id"] in kept_out:
                continue
            own = boxes.get(image["id"], [])
            corners = xywh_to_xyxy(np.array([box for box, _ in own], np.float64).reshape(-1, 4))
            corners = clip(corners, image["width"], image["height"]).astype(np.float32)
            classes = np.array([c for _, c in own], np.int64)
            whole = (corners[:, 2:] > corners[:, :2]).all(axis=1)
            key = name, image["id"]
            objects[key] = corners[whole], classes[whole]
            annotated[key] = of_voc if image.get("labels") == "voc20" else np.ones(len(COCO_NAMES), bool)
            paths.append(folder / name / images / image["file_name"])
    labels = merged(objects, read_taught(folder / "teacher.jsonl"), annotated)
    return TrainingSet(
        paths,
        [labels[key].boxes for key in objects],
        [labels[key].classes for key in objects],
        list(COCO_NAMES),
        [labels[key].scores for key in objects],
        [subset_weight if name == "coco-subset" else 1.0 for name, _ in objects],
    )


def commit() -> str:
    """Of the code that trains, `+` where the working tree differs from it."""
    here = Path(__file__).parents[1]  # what trainings share lies beside this package

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the bundled YOLO network; goes on from what is in OUT.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--from", dest="detector", type=Path, required=True, help="a detector trained before")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--store", type=Path, required=True, help="folder for decoded pictures, 4 GB")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--backbone-rate", type=float, default=2e-4)
    parser.add_argument("--subset-weight", type=float, default=1.0, help="how often to see coco-subset's pictures")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--float32", action="store_true", help="do not compute in bfloat16")
    options = parser.parse_args(arguments)
    recipe = Recipe(
        image_size=options.size,
        batch=options.batch,
        rate=options.rate,
        backbone_rate=options.backbone_rate,
        sizes=((0.0, 0.8), (0.8, 1.0)),
        final_share=0.75,
        mosaic_share=0.3,
        scales=(0.6, 1.3),
        mosaic_scales=(0.4, 1.0),
        repeat_threshold=0.02,
        mixed_precision=not options.float32,
        seed=options.seed,
    )

    def report(step: Progress) -> None:
        if step.step % 50 == 0:
            print(f"{step.step} {step.share:.4f} {step.seconds:.0f} s loss {step.loss:.4f}", flush=True)

    command = shlex.join(["python", "-m", "detkit.training.yolo.bundled", *(arguments or sys.argv[1:])])
    train_yolo(
        training_set(options.shared / "data", options.subset_weight),
        options.out,
        Length(minutes=options.minutes),
        recipe,
        start=YoloStart(
            options.detector,
            resume=True,
            origin={"command": command, "seed": options.seed, "commit": commit()},
        ),
        work=YoloWork(options.processes, store=options.store),
        progress=report,
    )


if __name__ == "__main__":
    main()
