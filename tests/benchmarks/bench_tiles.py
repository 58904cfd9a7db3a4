"""Tiles against the whole picture and against sahi, with the same network: AP by size, and seconds.

python tests/benchmarks/bench_tiles.py [--model FILE] [--tile 320] [--conf 0.05] [--pictures 128] [--mosaic]

On coco128 of ../shared, and with --mosaic on one picture of 6,400 x 3,840 pixels made of its first eighty. sahi runs
where it is installed (PyPI: sahi, MIT).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from detkit import Tiled, Yolo, read_image  # noqa: E402
from detkit.detections import Detections  # noqa: E402

COCO128 = ROOT.parent / "shared/data/coco128"


def mosaic(truth: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Eighty pictures in ten columns of 640 x 480 pixels, with their boxes."""
    canvas = np.full((8 * 480, 10 * 640, 3), 114, np.uint8)
    entries = sorted(truth["images"], key=lambda entry: entry["file_name"])[:80]
    boxes = []
    for number, entry in enumerate(entries):
        image = read_image(COCO128 / "images" / entry["file_name"])
        scale = min(640 / image.shape[1], 480 / image.shape[0], 1)
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        left, top = number % 10 * 640, number // 10 * 480
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
        for box in truth["annotations"]:
            if box["image_id"] == entry["id"]:
                x, y, width, height = (value * scale for value in box["bbox"])
                boxes.append({**box, "image_id": 1, "bbox": [x + left, y + top, width, height], "area": width * height})
    for number, box in enumerate(boxes):
        box["id"] = number + 1
    image = {"id": 1, "file_name": "mosaic", "width": 6400, "height": 3840}
    return {**truth, "images": [image], "annotations": boxes}, {"mosaic": canvas}


def sahi_of(yolo: Yolo, tile: int, overlap: float, **how: Any) -> Callable[[np.ndarray], Detections]:
    """sahi around the same network."""
    from sahi.models.base import DetectionModel
    from sahi.predict import get_sliced_prediction
    from sahi.prediction import ObjectPrediction
    from sahi.utils.compatibility import fix_full_shape_list, fix_shift_amount_list

    class Wrapped(DetectionModel):
        def load_model(self) -> None:
            self.model = yolo

        def set_model(self, model: Any, **_: Any) -> None:
            self.model = model

        def check_dependencies(self, *_: Any) -> None:
            pass

        def perform_inference(self, image: np.ndarray) -> None:
            self._original_predictions = yolo(image)

        def _create_object_prediction_list_from_original_predictions(
            self, shift_amount_list: Any = None, full_shape_list: Any = None
        ) -> None:
            found = self._original_predictions
            full = (fix_full_shape_list(full_shape_list) or [None])[0]
            shift = (fix_shift_amount_list(shift_amount_list) or [[0, 0]])[0]
            self._object_prediction_list_per_image = [
                [
                    ObjectPrediction(
                        bbox=box, category_id=int(number), score=float(score), category_name=str(number),
                        shift_amount=shift, full_shape=full,
                    )
                    for box, score, number in zip(
                        found.boxes.tolist(), found.scores, found.class_ids, strict=True
                    )
                ]
            ]  # fmt: skip

    model = Wrapped(model_path="", confidence_threshold=0.0, device="cpu")

    def detect(image: np.ndarray) -> Detections:
        result = get_sliced_prediction(image, model, tile, tile, overlap, overlap, verbose=0, **how)
        found = result.object_prediction_list
        return Detections(
            np.array([one.bbox.to_xyxy() for one in found], np.float32).reshape(-1, 4),
            np.array([one.score.value for one in found], np.float32),
            np.array([one.category.id for one in found], np.int64),
            yolo.names,
        )

    return detect


def figures(truth: dict[str, Any], found: dict[str, Detections], names: tuple[str, ...]) -> str:
    """AP, and AP of small, medium and large objects; all detections count."""
    from detkit import evaluate, read_detections, read_ground_truth
    from detkit.metrics.evaluation import Settings

    numbers = {category["name"]: category["id"] for category in truth["categories"]}
    images = {entry["file_name"]: entry["id"] for entry in truth["images"]}
    rows = [
        {"image_id": images[name], "category_id": numbers[label], "score": float(score),
         "bbox": [float(v) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])]}
        for name, own in found.items()
        for box, score, label in zip(own.boxes, own.scores, own.class_names, strict=True)
        if label in numbers
    ]  # fmt: skip
    folder = Path("/tmp/bench_tiles")
    folder.mkdir(exist_ok=True)
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "found.json").write_text(json.dumps(rows))
    ground = read_ground_truth(folder / "truth.json")
    result = evaluate(read_detections(folder / "found.json", ground), ground, Settings(max_det=100_000)).figures
    return "  ".join(f"{key} {result[key]:.4f}" for key in ("AP", "AP50", "APs", "APm", "APl")) + f"  {len(rows)} boxes"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--tile", type=int, default=320)
    parser.add_argument("--overlap", type=float, default=0.2)
    parser.add_argument("--conf", type=float, default=0.05)
    parser.add_argument("--pictures", type=int, default=128)
    parser.add_argument("--mosaic", action="store_true")
    parser.add_argument("--without-sahi", action="store_true")
    args = parser.parse_args()
    truth = json.loads((COCO128 / "instances.json").read_text())
    if args.mosaic:
        truth, pictures = mosaic(truth)
    else:
        entries = sorted(truth["images"], key=lambda entry: entry["file_name"])[: args.pictures]
        kept = {entry["id"] for entry in entries}
        boxes = [box for box in truth["annotations"] if box["image_id"] in kept]
        truth = {**truth, "images": entries, "annotations": boxes}
        pictures = {entry["file_name"]: read_image(COCO128 / "images" / entry["file_name"]) for entry in entries}
    yolo = Yolo(args.model, conf=args.conf)
    ways: dict[str, Callable[[np.ndarray], Detections]] = {
        "whole": yolo,
        "tiles": Tiled(yolo, tile=args.tile, overlap=args.overlap),
    }
    if not args.without_sahi:
        ways["sahi, as it comes"] = sahi_of(yolo, args.tile, args.overlap, force_postprocess_type=True)
        ways["sahi, NMS by IoU"] = sahi_of(
            yolo, args.tile, args.overlap, postprocess_type="NMS", postprocess_match_metric="IOU"
        )
    for name, detect in ways.items():
        detect(next(iter(pictures.values()))[:480, :640])  # whatever is loaded once
        start = time.process_time(), time.monotonic()
        found = {key: detect(image) for key, image in pictures.items()}
        spent = time.process_time() - start[0], time.monotonic() - start[1]
        print(f"{name:20} {figures(truth, found, yolo.names)}  CPU {spent[0]:.1f} s, {spent[1]:.1f} s", flush=True)


if __name__ == "__main__":
    main()
