"""Generated COCO data sets with masks and key points, and detkit's figures of them; shared by tests and golden data."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from detkit.dataset import Categories, GroundTruth, Images, Predictions
from detkit.metrics.coco import IOU_THRESHOLDS, accumulate, outside_ranges
from detkit.metrics.iou_types import OVERLAPS, Side
from detkit.metrics.matching import match_greedily
from detkit.metrics.ranking import rank, sorted_order
from detkit.shapes.masks import Masks
from detkit.shapes.shape_columns import Shapes

Rows = list[dict[str, Any]]


def mask_set(seed: int, *, crowds: bool = True) -> tuple[dict[str, Any], Rows]:
    """Annotations (polygons, RLE as strings and lists, crowds) and detections with masks near and far from them."""
    rng = np.random.default_rng(seed)
    names = (rng.permutation(90)[: rng.integers(1, 4)] + 1).tolist()
    truth: dict[str, Any] = {"images": [], "categories": [{"id": n, "name": str(n)} for n in names], "annotations": []}
    found: Rows = []
    for image in range(int(rng.integers(2, 6))):
        height, width = rng.integers(40, 200, 2).tolist()
        image_id = image * 7 + 3
        truth["images"].append({"id": image_id, "height": height, "width": width})
        for _ in range(int(rng.integers(1, 8))):
            category = names[rng.integers(len(names))]
            crowd = crowds and rng.random() < 0.15
            mask = _blob(rng, height, width) | (_blob(rng, height, width) if crowd else 0)
            segmentation: Any = Masks.from_dense([mask]).to_coco()[0]
            if not crowd and rng.random() < 0.4:
                rings = [rng.uniform(0, min(height, width), (int(rng.integers(3, 8)), 2)).round(2)]
                rings += [rng.uniform(0, min(height, width), (4, 2)).round(2)] * int(rng.random() < 0.3)
                segmentation = [ring.ravel().tolist() for ring in rings]
                mask = Masks.from_polygons([segmentation], [(height, width)]).decode(0).astype(np.uint8)
            elif rng.random() < 0.3:
                segmentation = {"size": [height, width], "counts": Masks.from_dense([mask]).counts.tolist()}
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": category,
                    "iscrowd": int(crowd),
                    "area": float(mask.sum() * rng.uniform(0.8, 1.2)),
                    "bbox": Masks.from_dense([mask]).bounds[0].tolist(),
                    "segmentation": segmentation,
                }
            )
            for _ in range(int(rng.integers(0, 4))):
                near = _moved(rng, mask) if rng.random() < 0.8 else _blob(rng, height, width)
                found.append(
                    {
                        "image_id": image_id,
                        "category_id": category if rng.random() < 0.9 else names[rng.integers(len(names))],
                        "segmentation": Masks.from_dense([near]).to_coco()[0],
                        "score": float(np.round(rng.random(), int(rng.choice([1, 3])))),
                    }
                )
    return truth, found


def keypoint_set(seed: int) -> tuple[dict[str, Any], Rows]:
    """People with 17 key points, some unlabelled, some crowds, and detections near them."""
    rng = np.random.default_rng(seed)
    truth: dict[str, Any] = {
        "images": [],
        "categories": [{"id": 1, "name": "person", "keypoints": ["point"] * 17, "skeleton": []}],
        "annotations": [],
    }
    found: Rows = []
    for image in range(1, int(rng.integers(3, 7))):
        truth["images"].append({"id": image, "height": 480, "width": 640})
        for _ in range(int(rng.integers(1, 6))):
            (x, y), (width, height) = rng.uniform(0, 400, 2), rng.uniform(10, 200, 2)
            visible = rng.choice([0, 1, 2], 17, p=[0.3, 0.2, 0.5]) * int(rng.random() < 0.8)
            points = np.column_stack((rng.uniform(x, x + width, 17), rng.uniform(y, y + height, 17), visible)).round(2)
            points[visible == 0] = 0
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1,
                    "image_id": image,
                    "category_id": 1,
                    "iscrowd": int(rng.random() < 0.1),
                    "area": float(width * height * 0.6),
                    "bbox": [x, y, width, height],
                    "keypoints": points.ravel().tolist(),
                    "num_keypoints": int((visible > 0).sum()),
                }
            )
            for _ in range(int(rng.integers(0, 5))):
                near = points.copy()
                near[:, :2] += rng.normal(0, rng.uniform(0.1, 15), (17, 2))
                near[:, 2] = rng.random(17)
                score = float(np.round(rng.random(), 1))
                found.append({"image_id": image, "category_id": 1, "keypoints": near.ravel().tolist(), "score": score})
    return truth, found


def figures(truth: dict[str, Any], found: Rows, kind: str) -> dict[str, float]:
    """The figures of `--iou-type` kind, from the contents of COCO's two files."""
    overlap = OVERLAPS[kind]
    place = {image["id"]: row for row, image in enumerate(truth["images"])}
    kinds = {category["id"]: row for row, category in enumerate(truth["categories"])}
    sizes = np.array([(image["height"], image["width"]) for image in truth["images"]])

    def columns(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray, Shapes]:
        image = np.array([place[row["image_id"]] for row in rows], np.int64)
        if kind == "keypoints":
            shapes = Shapes(keypoints=np.array([row["keypoints"] for row in rows], float).reshape(len(rows), -1, 3))
        else:
            shapes = Shapes(masks=Masks.from_coco([row["segmentation"] for row in rows], sizes[image]))
        boxes = np.array([row.get("bbox", (0, 0, 0, 0)) for row in rows], float).reshape(-1, 4)
        return image, np.array([kinds[row["category_id"]] for row in rows], np.int64), boxes, shapes

    image, class_index, boxes, shapes = columns(truth["annotations"])
    nothing = np.zeros(len(image), bool)
    table = GroundTruth(
        Images(tuple(place), ("",) * len(place), sizes[:, 1], sizes[:, 0]),
        Categories(tuple(map(str, kinds)), tuple(kinds), True),
        image,
        class_index,
        boxes,
        np.array([row["area"] for row in truth["annotations"]], float),
        np.array([row["iscrowd"] for row in truth["annotations"]], bool),
        *(nothing,) * 4,
    )
    found_image, found_class, found_boxes, found_shapes = columns(found)
    areas = overlap.found_areas(found_boxes, found_shapes)
    # Boxes of these areas: a ranking takes them from its boxes.
    as_boxes = np.column_stack((np.zeros((len(areas), 2)), areas, np.ones(len(areas))))
    predictions = Predictions(found_image, found_class, as_boxes, np.array([row["score"] for row in found], float))
    ranking = rank(predictions, table.images.ids, len(kinds), max_det=overlap.max_dets[-1])
    ignored = (table.crowd | overlap.not_counted(shapes, len(table))) | outside_ranges(table.areas)
    cells = ranking.image * len(kinds) + ranking.class_index
    pairs = overlap.pairs(
        Side(cells, ranking.rows, found_boxes, areas, found_shapes),
        Side(image * len(kinds) + class_index, np.arange(len(table)), boxes, table.areas, shapes),
        table.crowd,
        0.5,
    )
    matches = match_greedily(pairs, cells, IOU_THRESHOLDS, ignored, table.crowd)
    result = accumulate(table, ranking, matches, ignored, IOU_THRESHOLDS, overlap.max_dets)
    order = sorted_order(table.categories.ids)
    return overlap.summarize(result.precision[:, :, order], result.recall[:, order], IOU_THRESHOLDS)


def _blob(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
    radius = rng.uniform(3, 50)
    axes = (int(radius), int(radius * rng.uniform(0.4, 1)))
    cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return mask


def _moved(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    shift = np.array([[1, 0, rng.normal(0, 2)], [0, 1, rng.normal(0, 2)]], np.float32)
    moved = cv2.warpAffine(mask, shift, mask.shape[::-1], flags=cv2.INTER_NEAREST)
    size = int(rng.integers(1, 4))
    change = cv2.erode if rng.random() < 0.5 else cv2.dilate
    return change(moved, np.ones((size, size), np.uint8))
