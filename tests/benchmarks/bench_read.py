"""How long it takes to read a COCO-sized ground truth and its detections, against other ways to do it.

    python tests/benchmarks/bench_read.py [--runs 5] [--scale 1.0]

Writes files of COCO val2017's size (4,952 images, 36,781 boxes, 70 detections an image) from a seed into a temporary
folder: once with decimals as COCO's own files have them, once with the digits of float32 as Python's json writes them.
The ways take turns, so that a noisy machine is noisy for all; the table has the least time of each, in seconds of the
processor, and its ratio to ours.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from detkit.annotations import read_ground_truth, read_predictions
from detkit.annotations.formats import coco_json as coco

IMAGES, BOXES, PER_IMAGE = 4952, 36781, 70


def write_files(folder: Path, scale: float, short: bool) -> tuple[Path, Path]:
    """A ground truth and a results list; `short` numbers have 2 (boxes) and 5 (scores) decimals."""
    rng = np.random.default_rng(7)
    images, boxes = int(IMAGES * scale), int(BOXES * scale)
    ids = np.sort(rng.choice(600_000, images, replace=False)).tolist()

    def random_boxes(count: int) -> np.ndarray:
        corner, size = rng.uniform(0, 400, (count, 2)), rng.uniform(4, 200, (count, 2))
        return np.concatenate((corner, size), axis=1)

    annotations = [
        {"id": k + 1, "image_id": ids[image], "category_id": coco.CATEGORY_IDS[category], "bbox": box,
         "area": round(box[2] * box[3], 4), "iscrowd": int(crowd)}
        for k, (image, category, box, crowd) in enumerate(zip(
            rng.integers(images, size=boxes).tolist(), rng.integers(80, size=boxes).tolist(),
            random_boxes(boxes).round(2).tolist(), (rng.random(boxes) < 0.01).tolist(), strict=True))
    ]  # fmt: skip
    document = {
        "images": [{"id": id, "file_name": f"{id:012d}.jpg", "width": 640, "height": 640} for id in ids],
        "annotations": annotations,
        "categories": [{"id": id, "name": str(id)} for id in coco.CATEGORY_IDS],
    }
    count = images * PER_IMAGE
    found, scores = random_boxes(count), rng.random(count) ** 3
    found = found.round(2) if short else found.astype(np.float32).astype(np.float64)
    scores = scores.round(5) if short else scores.astype(np.float32).astype(np.float64)
    results = [
        {"image_id": image, "category_id": coco.CATEGORY_IDS[category], "bbox": box, "score": score}
        for image, category, box, score in zip(
            np.repeat(ids, PER_IMAGE).tolist(), rng.integers(80, size=count).tolist(), found.tolist(),
            scores.tolist(), strict=True)
    ]  # fmt: skip
    paths = folder / f"truth-{short}.json", folder / f"found-{short}.json"
    paths[0].write_text(json.dumps(document))
    paths[1].write_text(json.dumps(results))
    return paths


def ours(truth: Path, found: Path) -> int:
    return len(read_predictions(found, read_ground_truth(truth)))


def ours_by_orjson(truth: Path, found: Path) -> int:
    """Ours without the array parser: orjson, then columns from dictionaries."""
    before, coco.FAST_FROM_BYTES = coco.FAST_FROM_BYTES, 1 << 60
    try:
        return ours(truth, found)
    finally:
        coco.FAST_FROM_BYTES = before


def json_and_dictionaries(truth: Path, found: Path) -> int:
    """The standard library's parser and a loop over dictionaries."""
    document, results = json.loads(truth.read_text()), json.loads(found.read_text())
    images = {entry["id"]: row for row, entry in enumerate(document["images"])}
    classes = {entry["id"]: row for row, entry in enumerate(document["categories"])}
    for rows in (document["annotations"], results):
        columns = [(images[r["image_id"]], classes[r["category_id"]], *r["bbox"], r.get("score", 0)) for r in rows]
        table = np.array(columns)
    return len(table)


def pycocotools(truth: Path, found: Path) -> int:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        return len(COCO(str(truth)).loadRes(str(found)).anns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    ways: list[Callable[[Path, Path], int]] = [ours, ours_by_orjson, json_and_dictionaries, pycocotools]
    with tempfile.TemporaryDirectory() as folder:
        for short in (True, False):
            truth, found = write_files(Path(folder), options.scale, short)
            least = dict.fromkeys(ways, float("inf"))
            counts = set()
            for _ in range(options.runs):
                for way in ways:
                    began = time.process_time()
                    counts.add(way(truth, found))
                    least[way] = min(least[way], time.process_time() - began)
            assert len(counts) == 1, counts
            print(f"{'short' if short else 'long'} numbers: {found.stat().st_size / 1e6:.0f} MB, {counts.pop()} boxes")
            for way, seconds in least.items():
                print(f"  {way.__name__:24}{seconds:8.3f} s{seconds / least[ours]:8.1f}")


if __name__ == "__main__":
    main()
