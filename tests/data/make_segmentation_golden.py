"""Make segmentation_golden.json: figures that other programs give, for tests that do not need them installed.

    python tests/data/make_segmentation_golden.py     (with faster-coco-eval 1.8 and hotcoco 1.3)

boundary   generated sets (tests/shape_sets.py) and faster-coco-eval's twelve figures of iouType "boundary"
semantic   label maps and hotcoco.semantic's figures;  panoptic   segments and hotcoco.panoptic's
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

from shape_sets import mask_set  # noqa: E402

from detkit.label_maps.png import panoptic_picture  # noqa: E402


def boundary() -> list[dict[str, Any]]:
    from faster_coco_eval import COCO, COCOeval_faster

    cases = []
    for seed in range(12):
        truth, found = mask_set(seed, crowds=seed % 2 == 1)
        with contextlib.redirect_stdout(io.StringIO()):
            reference = COCO(copy.deepcopy(truth))
            evaluation = COCOeval_faster(reference, reference.loadRes(copy.deepcopy(found)), "boundary")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        cases.append({"truth": truth, "found": found, "figures": [float(value) for value in evaluation.stats[:12]]})
    return cases


def label_map(rng: np.random.Generator, height: int, width: int, count: int) -> np.ndarray:
    """Numbers below `count` in patches."""
    patches = rng.integers(0, count, (3, 4)).astype(np.uint8)
    return cv2.resize(patches, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.int64)


def semantic() -> list[dict[str, Any]]:
    from hotcoco.semantic import SemanticEval

    cases = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        classes = int(rng.integers(2, 8))
        reference, pictures = SemanticEval(classes), []
        for _ in range(3):
            truth = label_map(rng, 11, 17, classes)
            found = np.where(rng.random(truth.shape) < 0.3, rng.integers(0, max(classes - 1, 1), truth.shape), truth)
            truth[rng.random(truth.shape) < 0.1] = 255
            reference.update(truth, found)
            pictures.append([truth.tolist(), found.tolist()])
        names = {"mIoU": "mIoU", "pixel_accuracy": "aAcc", "mean_accuracy": "mAcc", "frequency_weighted_IoU": "fwIoU"}
        metrics = reference.report()["metrics"]
        figures = {ours: metrics[theirs] for ours, theirs in names.items()}
        cases.append({"classes": classes, "pictures": pictures, "figures": figures})
    return cases


def panoptic() -> list[dict[str, Any]]:
    from hotcoco.panoptic import pq_compute

    cases = []
    for seed in range(8):
        rng = np.random.default_rng(100 + seed)
        classes = int(rng.integers(1, 6))
        thing = rng.random(classes) < 0.5
        categories = [{"id": 3 * k + 1, "name": str(k), "isthing": int(thing[k])} for k in range(classes)]
        files: dict[str, dict[str, Any]] = {
            side: {"images": [], "annotations": [], "categories": categories} for side in ("truth", "found")
        }
        pictures = []
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for image in range(3):
                base = label_map(rng, 13, 19, 7)
                picture = {}
                for side, content in files.items():
                    (folder / side).mkdir(exist_ok=True)
                    places = base.copy()
                    if side == "found":
                        places = np.roll(places, rng.integers(-2, 3, 2).tolist(), (0, 1))
                        places[rng.random(places.shape) < 0.1] = rng.integers(0, 7)
                    ids = np.concatenate(([0], rng.choice(70000, 6, replace=False) + 1))
                    kinds = np.arange(7) * 5 % classes if side == "truth" else rng.permutation(7) % classes
                    kinds = np.arange(7) * 5 % classes if rng.random() < 0.8 else kinds
                    rows = [row for row in range(1, 7) if (places == row).any()]
                    crowd = [int(side == "truth" and rng.random() < 0.2) for _ in rows]
                    cv2.imwrite(str(folder / side / f"{image}.png"), panoptic_picture(ids[places])[..., ::-1])
                    content["images"].append({"id": image, "height": 13, "width": 19, "file_name": f"{image}.jpg"})
                    segments = [
                        {
                            "id": int(ids[row]),
                            "category_id": int(kinds[row]) * 3 + 1,
                            "iscrowd": flag,
                            "area": int((places == row).sum()),
                        }
                        for row, flag in zip(rows, crowd, strict=True)
                    ]
                    content["annotations"].append(
                        {"image_id": image, "file_name": f"{image}.png", "segments_info": segments}
                    )
                    picture[side] = {
                        "labels": ids[places].tolist(),
                        "ids": ids[rows].tolist(),
                        "class_index": kinds[rows].tolist(),
                        "crowd": crowd,
                    }
                pictures.append(picture)
            for side, content in files.items():
                (folder / f"{side}.json").write_text(json.dumps(content))
            with contextlib.redirect_stdout(io.StringIO()):
                result = pq_compute(*(str(folder / name) for name in ("truth.json", "found.json", "truth", "found")))
        figures = {
            name.upper() + part: result[group][name] if result[group]["n"] else -1.0
            for group, part in (("All", ""), ("Things", "_things"), ("Stuff", "_stuff"))
            for name in ("pq", "sq", "rq")
        }
        cases.append({"thing": thing.tolist(), "pictures": pictures, "figures": figures})
    return cases


if __name__ == "__main__":
    golden = {"boundary": boundary(), "semantic": semantic(), "panoptic": panoptic()}
    (HERE / "segmentation_golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
