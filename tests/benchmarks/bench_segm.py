"""Whole processes from two files with masks to COCO's twelve figures, and the steps by themselves.

    python tests/benchmarks/bench_segm.py [--rounds 3] [--reference-python /path/to/python] [--iou-type segm|boundary]

The case has the size of COCO's val2017: the boxes of bench_eval.py, each with a polygon (crowds with uncompressed RLE),
and 30 detections an image with compressed RLE. pycocotools, faster-coco-eval and hotcoco run in turn with detkit.
`--steps` times in this process what masks cost: strings and polygons to RLE, and the IoU of pairs, beside pycocotools;
seconds are the processor's there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

from bench_eval import FASTER, HOTCOCO, PYCOCOTOOLS, Program, make_case, report

HERE = Path(__file__).resolve()


def add_masks(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """The case of bench_eval.py with masks: found.json and truth.json."""
    from detkit.shapes.masks import Masks

    rng = np.random.default_rng(seed)
    found_path, truth_path = make_case(folder, per_image=30)
    truth, found = json.loads(truth_path.read_text()), json.loads(found_path.read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    rings = blobs(rng, np.array([row["bbox"] for row in truth["annotations"]]))
    of_truth = np.array([sizes[row["image_id"]] for row in truth["annotations"]])
    masks = Masks.from_polygons([[ring] for ring in rings], of_truth)
    for number, row in enumerate(truth["annotations"]):
        row["segmentation"] = [ring_of(rings[number])]
        row["area"] = float(masks.areas[number])
        if row["iscrowd"]:
            one = masks[number]
            row["segmentation"] = {"size": one.sizes[0].tolist(), "counts": one.counts.tolist()}
    of_found = np.array([sizes[row["image_id"]] for row in found])
    rings = blobs(rng, np.array([row.pop("bbox") for row in found]))
    for row, mask in zip(found, Masks.from_polygons([[ring] for ring in rings], of_found).to_coco(), strict=True):
        row["segmentation"] = mask
    truth_path.write_text(json.dumps(truth))
    found_path.write_text(json.dumps(found))
    return found_path, truth_path


def blobs(rng: np.random.Generator, boxes: np.ndarray) -> list[np.ndarray]:
    """An outline (K, 2) in each box (x, y, width, height): an ellipse with a wavy border."""
    rings = []
    for x, y, width, height in boxes.tolist():
        count = int(rng.integers(12, 40))
        angle = np.arange(count) * (2 * np.pi / count)
        radius = 0.42 + 0.06 * np.sin(3 * angle + rng.uniform(0, 6)) + rng.normal(0, 0.01, count)
        ring = np.column_stack(
            (x + width * (0.5 + radius * np.cos(angle)), y + height * (0.5 + radius * np.sin(angle)))
        )
        rings.append(ring.round(2))
    return rings


def ring_of(points: np.ndarray) -> list[float]:
    """x1, y1, x2, y2 ... as COCO writes them."""
    return [float(value) for value in points.ravel()]


def evaluate(found_path: str, truth_path: str, kind: str) -> list[float]:
    """detkit's figures from the two files."""
    import orjson

    from detkit.dataset import Categories, GroundTruth, Images, Predictions
    from detkit.metrics.coco import IOU_THRESHOLDS, accumulate, outside_ranges
    from detkit.metrics.iou_types import OVERLAPS, Side
    from detkit.metrics.matching import match_greedily
    from detkit.metrics.ranking import rank, sorted_order
    from detkit.shapes.masks import Masks
    from detkit.shapes.shape_columns import Shapes

    truth, found = orjson.loads(Path(truth_path).read_bytes()), orjson.loads(Path(found_path).read_bytes())
    images, categories, rows = truth["images"], truth["categories"], truth["annotations"]
    place = {image["id"]: number for number, image in enumerate(images)}
    kinds = {category["id"]: number for number, category in enumerate(categories)}
    sizes = np.array([(image["height"], image["width"]) for image in images])

    def columns(rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, Masks]:
        image = np.array([place[row["image_id"]] for row in rows])
        kind = np.array([kinds[row["category_id"]] for row in rows])
        return image, kind, Masks.from_coco([row["segmentation"] for row in rows], sizes[image])

    image, kind_of, masks = columns(rows)
    nothing = np.zeros(len(rows), bool)
    table = GroundTruth(
        Images(tuple(place), ("",) * len(place), sizes[:, 1], sizes[:, 0]),
        Categories(tuple(map(str, kinds)), tuple(kinds), True),
        image, kind_of, masks.bounds.astype(float), np.array([row["area"] for row in rows]),
        np.array([row["iscrowd"] for row in rows], bool), nothing, nothing, nothing, nothing,
    )  # fmt: skip
    found_image, found_kind, found_masks = columns(found)
    overlap, shapes = OVERLAPS[kind], Shapes(masks=found_masks)
    areas = overlap.found_areas(np.zeros((0, 4)), shapes)
    boxes = np.column_stack((np.zeros((len(areas), 2)), areas, np.ones(len(areas))))  # of that area
    scores = np.array([row["score"] for row in found])
    ranking = rank(Predictions(found_image, found_kind, boxes, scores), table.images.ids, len(kinds), max_det=100)
    ignored = table.crowd | outside_ranges(table.areas)
    cells = ranking.image * len(kinds) + ranking.class_index
    pairs = overlap.pairs(
        Side(cells, ranking.rows, boxes, areas, shapes),
        Side(image * len(kinds) + kind_of, np.arange(len(rows)), table.boxes, table.areas, Shapes(masks=masks)),
        table.crowd,
        0.5,
    )
    matches = match_greedily(pairs, cells, IOU_THRESHOLDS, ignored, table.crowd)
    result = accumulate(table, ranking, matches, ignored, IOU_THRESHOLDS, (1, 10, 100))
    order = sorted_order(table.categories.ids)
    return list(overlap.summarize(result.precision[:, :, order], result.recall[:, order], IOU_THRESHOLDS).values())


def steps(found_path: Path, truth_path: Path) -> None:
    """What masks cost, step by step."""
    import pycocotools.mask as reference

    from detkit.shapes.masks import Masks, boundaries, pair_iou

    truth, found = json.loads(truth_path.read_text()), json.loads(found_path.read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    polygons = [row for row in truth["annotations"] if not row["iscrowd"]]
    strings = [row["segmentation"] for row in found]
    shape = np.array([sizes[row["image_id"]] for row in polygons])
    Masks.from_polygons([polygons[0]["segmentation"]], shape[:1])  # compiled before it is timed

    def timed(what: str, ours: Any, theirs: Any) -> Any:
        start = time.process_time()  # of the processor, whatever else the machine does
        result = ours()
        middle = time.process_time()
        other = theirs() if theirs else None
        end = time.process_time()
        print(f"{what:44}{middle - start:8.3f}s" + (f"{end - middle:12.3f}s" if theirs else ""))
        return result, other

    print(f"{'':44}{'detkit':>9}{'pycocotools':>13}")
    true, theirs = timed(
        f"{len(polygons)} polygons to RLE",
        lambda: Masks.from_polygons([row["segmentation"] for row in polygons], shape),
        lambda: [
            reference.merge(reference.frPyObjects(row["segmentation"], *size))
            for row, size in zip(polygons, shape.tolist(), strict=True)
        ],
    )
    assert true.strings() == [mask["counts"].decode() for mask in theirs]
    of_found = np.array([mask["size"] for mask in strings])
    masks, _ = timed(f"{len(strings)} strings to RLE", lambda: Masks.from_coco(strings, of_found), None)
    timed(
        "areas and bounds",
        lambda: (masks.areas, masks.bounds),
        lambda: [(reference.area([mask]), reference.toBbox([mask])) for mask in strings],
    )
    images = [row["image_id"] for row in polygons]
    by_image: dict[int, list[int]] = {}
    for number, image in enumerate(images):
        by_image.setdefault(image, []).append(number)
    pairs = [(d, g) for d, row in enumerate(found) for g in by_image.get(row["image_id"], ())]
    rows, columns = np.array(pairs).T
    of_image: dict[int, list[int]] = {}
    for number, row in enumerate(found):
        of_image.setdefault(row["image_id"], []).append(number)
    pair_iou(masks[:1], masks[:1], np.zeros(1, np.int64), np.zeros(1, np.int64))
    masks.run_ends, true.run_ends, true.areas, true.bounds  # noqa: B018
    ours, others = timed(
        f"IoU of {len(rows)} pairs",
        lambda: pair_iou(masks, true, rows, columns),
        lambda: {
            image: reference.iou([strings[d] for d in of_image[image]], [theirs[g] for g in own], [0] * len(own))
            for image, own in by_image.items()
            if image in of_image
        },
    )
    place = {image: {d: k for k, d in enumerate(own)} for image, own in of_image.items()}
    spot = {image: {g: k for k, g in enumerate(own)} for image, own in by_image.items()}
    for pair in range(0, len(rows), 97):
        image = images[columns[pair]]
        assert others[image][place[image][rows[pair]], spot[image][columns[pair]]] == ours[pair]
    timed("the same, at least 0.5 only", lambda: pair_iou(masks, true, rows, columns, None, 0.5), None)
    boundaries(masks[:1])
    timed(f"boundaries of {len(masks)} masks", lambda: boundaries(masks), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reference-python", default=sys.executable)
    parser.add_argument("--iou-type", choices=("segm", "boundary"), default="segm")
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--folder", type=Path, default=None, help="where the case is kept, or is already")
    parser.add_argument("--evaluate", nargs=2, metavar=("FOUND", "TRUTH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    kind = arguments.iou_type
    if arguments.evaluate:
        print(json.dumps(evaluate(*arguments.evaluate, kind)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found, truth = folder / "found.json", folder / "truth.json"
        if not found.exists():
            found, truth = add_masks(folder)
        if arguments.steps:
            steps(found, truth)
            return
        python = arguments.reference_python
        programs = [Program("detkit", [sys.executable, str(HERE), "--iou-type", kind, "--evaluate"])]
        programs.append(Program("faster-coco-eval", [python, "-c", FASTER.replace('"bbox"', f'"{kind}"')]))
        if kind == "segm":
            programs.append(Program("hotcoco", [python, "-c", HOTCOCO.replace('"bbox"', f'"{kind}"')]))
            programs.append(Program("pycocotools", [python, "-c", PYCOCOTOOLS.replace('"bbox"', f'"{kind}"')]))
        for _ in range(arguments.rounds):
            for program in programs:
                program.run(found, truth)
        report(programs, f"{kind}, {found.stat().st_size >> 20} MB of detections")


if __name__ == "__main__":
    main()
