"""COCO's figures against pycocotools, which runs beside ours."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detkit.dataset import Categories, GroundTruth, Images, Predictions
from detkit.metrics import coco, overlaps
from detkit.metrics.matching import match_greedily
from detkit.metrics.overlaps import overlapping_pairs
from detkit.metrics.ranking import falling_order, sorted_order

pycocotools = pytest.importorskip("pycocotools", reason="pycocotools, the reference, is not installed")
from pycocotools.coco import COCO  # noqa: E402
from pycocotools.cocoeval import COCOeval  # noqa: E402

SHARED = Path(__file__).parents[2] / "shared"
Json = dict[str, Any]


class HonestEval(COCOeval):
    """pycocotools with `ignore` honoured, the one line of it that cocoapi #466 is about."""

    def _prepare(self) -> None:
        flags = {id(ann): ann.get("ignore", 0) for ann in self.cocoGt.anns.values()}
        super()._prepare()
        for anns in self._gts.values():
            for ann in anns:
                ann["ignore"] = int(bool(flags[id(ann)] or ann.get("iscrowd", 0)))


def reference(
    truth: Json, found: list[Json], evaluator: type = COCOeval, max_dets: tuple[int, ...] = (1, 10, 100)
) -> COCOeval:
    """pycocotools' result for a COCO file and a results list, both as Python objects."""
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO()
        ground_truth.dataset = copy.deepcopy(truth)
        ground_truth.createIndex()
        # loadRes cannot read an empty list: an empty data set is what it would make of it
        if found:
            detections = ground_truth.loadRes(copy.deepcopy(found))
        else:
            detections = COCO()
            detections.dataset = {**copy.deepcopy(truth), "annotations": []}
            detections.createIndex()
        result = evaluator(ground_truth, detections, "bbox")
        result.params.maxDets = list(max_dets)
        result.evaluate()
        result.accumulate()
        if max_dets == (1, 10, 100):
            result.summarize()
    return result


def tables(truth: Json, found: list[Json]) -> tuple[GroundTruth, Predictions]:
    """The same, as the readers would give it."""
    images = {image["id"]: row for row, image in enumerate(truth["images"])}
    classes = {category["id"]: row for row, category in enumerate(truth["categories"])}
    anns = truth["annotations"]

    def flags(key: str) -> Any:
        return np.array([bool(ann.get(key, 0)) for ann in anns], dtype=bool)

    def column(rows: list[Json], key: str, table: dict[Any, int]) -> Any:
        return np.array([table[row[key]] for row in rows], dtype=np.int64)

    def boxes(rows: list[Json]) -> Any:
        return np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4)

    nothing = np.zeros(len(anns), dtype=bool)
    zeros = np.zeros(len(images), dtype=np.int64)
    ground_truth = GroundTruth(
        Images(tuple(images), ("",) * len(images), zeros, zeros),
        Categories(tuple(category["name"] for category in truth["categories"]), tuple(classes)),
        column(anns, "image_id", images),
        column(anns, "category_id", classes),
        boxes(anns),
        np.array([ann["area"] for ann in anns], dtype=np.float64),
        flags("iscrowd"),
        nothing,
        flags("ignore"),
        nothing,
        nothing,
        tuple(ann["id"] for ann in anns),
    )
    scores = np.array([row["score"] for row in found], dtype=np.float64)
    return ground_truth, Predictions(
        column(found, "image_id", images), column(found, "category_id", classes), boxes(found), scores
    )


def made(seed: int, grid: int, crowded: float, flagged: float, spare: int, first_id: int) -> tuple[Json, list[Json]]:
    """A small data set: boxes on a coarse grid, so that scores, overlaps and areas tie; gaps in the ids."""
    rng = np.random.default_rng(seed)
    images, classes = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    image_ids = rng.permutation(50)[:images].tolist()
    class_ids = rng.permutation(10)[:classes].tolist()
    unit = float(rng.choice([1.0, 7.0, 20.0, 33.3]))

    def boxes(count: int) -> Any:
        corners = rng.integers(0, grid, (count, 2))
        sizes = rng.integers(1, grid + 1, (count, 2))
        jitter = rng.normal(0, 0.05, (count, 4)) * (rng.random() < 0.5)
        return (np.concatenate((corners, sizes), axis=1) + np.abs(jitter)) * unit

    def pick(ids: list[int], count: int, used: int) -> Any:
        return rng.choice(ids[:used], count)

    annotations = []
    count = int(rng.integers(0, 12))
    true_boxes = boxes(count)
    for row in range(count):
        box = true_boxes[row].tolist()
        annotations.append(
            {
                "id": row * 2 + first_id,
                "image_id": int(pick(image_ids, 1, max(1, images - 1))[0]),
                "category_id": int(rng.choice(class_ids)),
                "bbox": box,
                "area": box[2] * box[3] * float(rng.choice([0.0, 0.6, 1.0])),
                "iscrowd": int(rng.random() < crowded),
                "ignore": int(rng.random() < flagged),
            }
        )
    count = int(rng.integers(0, 15)) + spare
    found_boxes = boxes(count)
    if len(true_boxes):  # half of them near a true box
        near = rng.random(count) < 0.5
        found_boxes[near] = true_boxes[rng.integers(0, len(true_boxes), np.count_nonzero(near))]
    scores = rng.integers(0, 6, count) / 5 if rng.random() < 0.5 else rng.random(count)
    found = [
        {"image_id": int(image), "category_id": int(rng.choice(class_ids)), "bbox": box, "score": float(score)}
        for image, box, score in zip(pick(image_ids, count, images), found_boxes.tolist(), scores, strict=True)
    ]
    truth = {
        "images": [{"id": image_id} for image_id in image_ids],
        "annotations": annotations,
        "categories": [{"id": class_id, "name": str(class_id)} for class_id in class_ids],
    }
    return truth, found


def assert_equal(ours: coco.CocoResult, theirs: COCOeval, order: Any) -> None:
    """Every cell of both tables, bit for bit."""
    assert np.array_equal(ours.precision[:, :, order], theirs.eval["precision"][..., -1])
    assert np.array_equal(ours.recall[:, order], theirs.eval["recall"])
    if len(theirs.stats):
        assert list(ours.figures.values()) == theirs.stats.tolist()


@settings(max_examples=2000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**32 - 1),
    grid=st.integers(2, 9),
    crowded=st.sampled_from([0.0, 0.3]),
    flagged=st.sampled_from([0.0, 0.3]),
    first_id=st.sampled_from([0, 1]),
    faulty=st.booleans(),
)
def test_all_tables_equal_pycocotools(
    seed: int, grid: int, crowded: float, flagged: float, first_id: int, faulty: bool
) -> None:
    truth, found = made(seed, grid, crowded, flagged, 0, first_id if faulty else 1)
    ground_truth, predictions = tables(truth, found)
    limits = (1, 3, 5) if seed % 2 else (1, 10, 100)
    theirs = reference(truth, found, COCOeval if faulty else HonestEval, limits)
    faults = coco.AS_PYCOCOTOOLS if faulty else coco.Faults()
    ours = coco.evaluate_coco(ground_truth, predictions, max_dets=limits, faults=faults)
    assert_equal(ours, theirs, np.argsort(ground_truth.categories.ids))


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1))
def test_more_detections_than_max_dets(seed: int) -> None:
    truth, found = made(seed, 4, 0.1, 0.1, 400, 1)
    truth["images"], kept = truth["images"][:1], truth["images"][0]["id"]
    truth["annotations"] = [{**ann, "image_id": kept} for ann in truth["annotations"]]
    found = [{**row, "image_id": kept} for row in found]
    ground_truth, predictions = tables(truth, found)
    assert np.bincount(predictions.class_index).max() > 100
    theirs = reference(truth, found, HonestEval)
    assert_equal(coco.evaluate_coco(ground_truth, predictions), theirs, np.argsort(ground_truth.categories.ids))


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1), crowded=st.sampled_from([0.0, 0.4]), flagged=st.sampled_from([0.0, 0.4]))
def test_matching_is_the_obvious_loop(seed: int, crowded: float, flagged: float) -> None:
    """Dense contests at low thresholds, where nearly every box is within reach of several."""
    rng = np.random.default_rng(seed)
    cells, truth_cells = np.sort(rng.integers(0, 2, 25)), rng.integers(0, 2, 10)
    boxes, truth_boxes = rng.integers(1, 5, (25, 4)) * 1.0, rng.integers(1, 5, (10, 4)) * 1.0
    crowd = rng.random(10) < crowded
    ignored = rng.random((3, 10)) < flagged
    thresholds = np.array([0.1, 0.3, 0.5, 0.9])
    pairs = overlapping_pairs(cells, boxes, truth_cells, truth_boxes, crowd, 0.1)
    result = match_greedily(pairs, cells, thresholds, ignored, crowd)

    iou = np.zeros((25, 10))
    iou[pairs.detection, pairs.truth] = pairs.iou
    dense = np.full((3, 4, 25), -1)
    dense[:, :, result.detection] = result.truth
    for way, flags in enumerate(ignored):
        for t, threshold in enumerate(thresholds):
            free = np.ones(10, dtype=bool)
            for d in range(25):
                best, best_key = -1, (False, 0.0, -1)
                for g in range(10):
                    key = (not flags[g], iou[d, g], g)
                    if (free[g] or crowd[g]) and iou[d, g] >= threshold and key > best_key:
                        best, best_key = g, key
                assert dense[way, t, d] == best
                if best >= 0:
                    free[best] = False


def test_order_by_score_is_numpys_stable_sort() -> None:
    """Scores of any detector: negative margins, both zeros, ties, the smallest and the largest doubles."""
    rng = np.random.default_rng(0)
    odd = [0.0, -0.0, 5e-324, -5e-324, 1.0, -1.0, 1.7e308, -1.7e308]
    scores = np.concatenate((rng.normal(0, 3, 500), rng.integers(-3, 3, 500) / 2, np.repeat(odd, 5)))
    rng.shuffle(scores)
    assert np.array_equal(falling_order(scores), np.argsort(-scores, kind="stable"))
    assert len(falling_order(scores[:0])) == 0


def test_ids_are_ordered_as_pycocotools_orders_them() -> None:
    assert sorted_order([5, 3, 10, 3]).tolist() == [1, 3, 0, 2]
    assert sorted_order(["b", "a", "10", "9"]).tolist() == np.argsort(["b", "a", "10", "9"], kind="stable").tolist()
    assert sorted_order(["a", 2, 1]).tolist() == [2, 1, 0]
    assert sorted_order([2**70, 1]).tolist() == [1, 0]


def test_overlaps_equal_pycocotools_to_the_last_bit() -> None:
    from pycocotools import mask

    rng = np.random.default_rng(5)
    boxes, truth_boxes = rng.random((300, 4)) * 50, rng.random((200, 4)) * 50
    crowd = rng.random(200) < 0.2
    theirs = np.asarray(mask.iou(boxes, truth_boxes, crowd.astype(np.uint8).tolist()))
    pairs = overlapping_pairs(
        np.zeros(300, np.int64), boxes, np.zeros(200, np.int64), truth_boxes, crowd, np.finfo(float).tiny
    )
    ours = np.zeros((300, 200))
    ours[pairs.detection, pairs.truth] = pairs.iou
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("seed", range(12))
def test_crowded_cells_give_the_same_pairs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """True boxes that are looked up by their left side, widths from thousandths to thousands, some odd."""
    rng = np.random.default_rng(seed)

    def boxes(count: int) -> np.ndarray:
        sides = rng.random((count, 4)) * 100
        sides[:, 2:] = np.exp(rng.normal(1, 2, (count, 2)))
        for column, value in ((2, 0.0), (2, -1.0), (0, np.nan), (2, 1e20)):
            sides[rng.random(count) < 0.01, column] = value
        return np.round(sides) if seed % 2 else sides

    cells, truth_cells = rng.integers(0, 3, 500), rng.integers(0, 3, 700)
    given = cells, boxes(500), truth_cells, boxes(700), rng.random(700) < 0.1, 1e-9
    every = overlapping_pairs(*given)
    monkeypatch.setattr(overlaps, "_CROWDED", 10)
    found = overlapping_pairs(*given)
    assert len(every) > 1000
    assert np.array_equal(found.detection, every.detection)
    assert np.array_equal(found.truth, every.truth)
    assert np.array_equal(found.iou, every.iou)


def one_box(**fields: Any) -> tuple[Json, list[Json]]:
    box = [10.0, 10.0, 50.0, 50.0]
    ann = {"id": 1, "image_id": 7, "category_id": 3, "bbox": box, "area": 2500.0, "iscrowd": 0, **fields}
    truth = {"images": [{"id": 7}], "annotations": [ann], "categories": [{"id": 3, "name": "cat"}]}
    return truth, [{"image_id": 7, "category_id": 3, "bbox": box, "score": 0.9}]


def test_annotation_zero_counts_as_found_cvat_748() -> None:
    truth, found = one_box(id=0)
    ground_truth, predictions = tables(truth, found)
    assert coco.evaluate_coco(ground_truth, predictions).figures["AP"] == pytest.approx(1.0, abs=1e-9)
    theirs = reference(truth, found).stats[0]
    assert theirs == 0.0
    assert coco.evaluate_coco(ground_truth, predictions, faults=coco.AS_PYCOCOTOOLS).figures["AP"] == theirs


def test_ignore_is_honoured_cocoapi_466() -> None:
    truth, found = one_box(ignore=1)
    ground_truth, predictions = tables(truth, found)
    assert coco.evaluate_coco(ground_truth, predictions).figures["AP"] == -1.0
    theirs = reference(truth, found).stats[0]
    assert theirs == pytest.approx(1.0)
    assert coco.evaluate_coco(ground_truth, predictions, faults=coco.AS_PYCOCOTOOLS).figures["AP"] == theirs


def test_area_zero_is_small_mmpose_2248() -> None:
    ground_truth, predictions = tables(*one_box(area=0.0))
    figures = coco.evaluate_coco(ground_truth, predictions).figures
    assert figures["APs"] == pytest.approx(1.0)
    assert figures["APm"] == figures["APl"] == -1.0


@pytest.mark.parametrize("empty", ["annotations", "detections", "both", "images"])
def test_nothing_to_compare(empty: str) -> None:
    truth, found = one_box()
    if empty != "detections":
        truth["annotations"] = []
    if empty != "annotations":
        found = []
    if empty == "images":
        truth["images"] = truth["categories"] = []
    figures = coco.evaluate_coco(*tables(truth, found)).figures
    assert set(figures.values()) == ({-1.0} if empty != "detections" else {0.0, -1.0})
    if empty != "images":
        assert list(figures.values()) == reference(truth, found).stats.tolist()


def test_class_figures_average_to_the_whole() -> None:
    truth, found = made(3, 5, 0.0, 0.0, 30, 1)
    ground_truth, predictions = tables(truth, found)
    result = coco.evaluate_coco(ground_truth, predictions)
    aps = [result.class_figures(k)["AP"] for k in range(len(ground_truth.categories))]
    assert np.mean([ap for ap in aps if ap > -1]) == pytest.approx(result.figures["AP"], abs=1e-12)


@pytest.mark.skipif(not SHARED.exists(), reason="../shared with coco128 is not here")
def test_coco128_jittered() -> None:
    """All 80 classes and real boxes; detections of the real boxes moved, doubled, renamed, with ties."""
    truth = json.loads((SHARED / "data/coco128/instances.json").read_text())
    rng = np.random.default_rng(1)
    class_ids = [category["id"] for category in truth["categories"]]
    found = []
    for ann in truth["annotations"] * 3:
        x, y, w, h = ann["bbox"]
        dx, dy, dw, dh = rng.normal(0, rng.choice([0.02, 0.1, 0.3]), 4)
        box = [x + dx * w, y + dy * h, w * np.exp(dw), h * np.exp(dh)]
        class_id = ann["category_id"] if rng.random() < 0.9 else int(rng.choice(class_ids))
        score = round(float(rng.random()), 2)
        found.append({"image_id": ann["image_id"], "category_id": class_id, "bbox": box, "score": score})
    truth["annotations"] = [{**ann, "iscrowd": int(rng.random() < 0.05)} for ann in truth["annotations"]]
    ground_truth, predictions = tables(truth, found)
    theirs = reference(truth, found)
    assert_equal(coco.evaluate_coco(ground_truth, predictions), theirs, np.argsort(ground_truth.categories.ids))
