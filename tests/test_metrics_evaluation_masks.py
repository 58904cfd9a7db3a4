"""`Evaluation` of masks: pycocotools' figures, and for rectangles everything that boxes give."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.dataset import Categories, GroundTruth, Images, Predictions
from detkit.errors import InputError, UsageError
from detkit.metrics.bootstrap import bootstrap
from detkit.metrics.evaluation import Evaluation, Settings
from detkit.metrics.explain import explain
from detkit.shapes.masks import Masks
from detkit.shapes.shape_columns import Shapes


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sets = _module(Path(__file__).parent / "shape_sets.py")


def tables(truth: dict[str, Any], found: list[dict[str, Any]]) -> tuple[GroundTruth, Predictions]:
    place = {image["id"]: row for row, image in enumerate(truth["images"])}
    kinds = {category["id"]: row for row, category in enumerate(truth["categories"])}
    sizes = np.array([(image["height"], image["width"]) for image in truth["images"]])
    columns = []
    for rows in (truth["annotations"], found):
        image = np.array([place[row["image_id"]] for row in rows])
        masks = Masks.from_coco([row["segmentation"] for row in rows], sizes[image])
        columns.append(
            (image, np.array([kinds[row["category_id"]] for row in rows]), masks.bounds.astype(float), masks)
        )
    (image, kind, boxes, masks), (found_image, found_kind, found_boxes, found_masks) = columns
    nothing = np.zeros(len(image), bool)
    areas, crowd = (np.array([row[name] for row in truth["annotations"]]) for name in ("area", "iscrowd"))
    images = Images(tuple(place), ("",) * len(place), sizes[:, 1], sizes[:, 0])
    categories = Categories(tuple(map(str, kinds)), tuple(kinds), True)
    return (
        GroundTruth(
            images, categories, image, kind, boxes, areas.astype(float), crowd.astype(bool), *(nothing,) * 4,
            ids=tuple(range(1, len(image) + 1)), shapes=Shapes(masks=masks),
        ),
        Predictions(
            found_image, found_kind, found_boxes, np.array([row["score"] for row in found]), Shapes(masks=found_masks)
        ),
    )  # fmt: skip


def filled(table: Any) -> Any:
    """The table with each mask replaced by all of its bounds."""
    masks = table.shapes.masks
    parts = [
        Masks.from_windows([(np.ones((h, w)), x, y)], *size)
        for (x, y, w, h), size in zip(masks.bounds.tolist(), masks.sizes.tolist(), strict=True)
    ]
    return replace(table, shapes=Shapes(masks=Masks.concatenate(parts)))


@pytest.mark.parametrize("seed", range(15))
def test_figures_are_pycocotools(seed: int) -> None:
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    truth, found = sets.mask_set(seed)
    with contextlib.redirect_stdout(io.StringIO()):
        data = coco.COCO()
        data.dataset = copy.deepcopy(truth)
        data.createIndex()
        reference = cocoeval.COCOeval(data, data.loadRes(copy.deepcopy(found)), "segm")
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    figures = Evaluation(*tables(truth, found), Settings(iou_type="segm")).figures
    assert list(figures.values()) == [float(value) for value in reference.stats]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("protocol", ["coco", "voc", "voc07"])
def test_rectangles_give_all_that_boxes_give(seed: int, protocol: str) -> None:
    truth, found = map(filled, tables(*sets.mask_set(seed)))
    boxes, masks = (Evaluation(truth, found, Settings(protocol, iou_type=kind)) for kind in ("bbox", "segm"))
    assert {**boxes.to_json(), "iou_type": "segm"} == masks.to_json()
    assert bootstrap(boxes.resampler, samples=10) == bootstrap(masks.resampler, samples=10)
    if protocol == "coco":
        one, other = (explain(e.ground_truth, e.predictions, score=0.3).rows for e in (boxes, masks))
        assert [row for row in one if "inclusive" not in row.what] == [
            row for row in other if "inclusive" not in row.what
        ]


def test_what_is_missing_is_named() -> None:
    truth, found = tables(*sets.mask_set(0))
    with pytest.raises(InputError, match="the annotations hold no key points"):
        Evaluation(truth, found, Settings(iou_type="keypoints"))
    with pytest.raises(InputError, match="the detections hold no masks"):
        Evaluation(truth, replace(found, shapes=Shapes()), Settings(iou_type="segm"))
    with pytest.raises(UsageError, match="bbox, segm, boundary, keypoints, obb"):
        Evaluation(truth, found, Settings(iou_type="mask"))
