"""Readings of results that look right and are not: ids against names, numberings of classes, layouts of boxes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.annotations import read_ground_truth, read_predictions, write_ground_truth
from detkit.classes import CATEGORY_IDS, COCO_NAMES
from detkit.dataset import GroundTruth
from detkit.errors import InputError
from detkit.metrics.evaluation import evaluate

Json = dict[str, Any]


def truth_of(files: list[str], ids: list[Any], categories: dict[int, str], per_image: int = 4, seed: int = 0) -> Json:
    """A COCO object with boxes that lie apart."""
    rng = np.random.default_rng(seed)
    numbers = list(categories)
    annotations = []
    for place, image_id in enumerate(ids):
        for k in range(per_image):
            x, y = 20 + 150 * (k % 4) + int(rng.integers(0, 20)), 30 + 11 * place % 200
            w, h = (int(side) for side in rng.integers(40, 100, 2))
            annotations.append({
                "id": len(annotations) + 1, "image_id": image_id, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0,
                "category_id": numbers[(place * per_image + k) % len(numbers)],
            })  # fmt: skip
    return {
        "images": [
            {"id": id, "file_name": file, "width": 640, "height": 480} for id, file in zip(ids, files, strict=True)
        ],
        "annotations": annotations,
        "categories": [{"id": id, "name": name} for id, name in categories.items()],
    }


def found_of(
    truth: Json, image_id: Callable[[Any], Any] = lambda id: id, category: Callable[[int], int] = lambda id: id,
    box: Callable[[list[float]], list[float]] = list, **more: Any,
) -> list[Json]:  # fmt: skip
    """Perfect detections in another writing."""
    return [
        {"image_id": image_id(one["image_id"]), "category_id": category(one["category_id"]), "bbox": box(one["bbox"]),
         "score": 0.9 - 0.001 * n, **more}
        for n, one in enumerate(truth["annotations"])
    ]  # fmt: skip


@pytest.fixture
def ap(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[..., tuple[float, str]]:
    """AP and what was said."""

    def run(truth: Json, found: Any, match: str = "auto", form: str = "coco") -> tuple[float, str]:
        (tmp_path / "g.json").write_text(json.dumps(truth))
        (tmp_path / "d.json").write_text(found if isinstance(found, str) else json.dumps(found))
        caplog.clear()
        ground_truth = read_ground_truth(tmp_path / "g.json")
        if form != "coco":
            write_ground_truth(ground_truth, tmp_path / form, form)
            ground_truth = read_ground_truth(tmp_path / form)
        with caplog.at_level(logging.WARNING, "detkit"):
            predictions = read_predictions(tmp_path / "d.json", ground_truth, match=match)
        return evaluate(predictions, ground_truth).figures["AP"], caplog.text

    return run


CATS = {1: "cat", 2: "dog"}
FILES = [f"{n}.jpg" for n in range(1, 7)]


# ------------------------------------------------------------------ 6: ids against names


@pytest.mark.parametrize(
    ("files", "ids"),
    [
        (FILES, [4, 5, 6, 1, 2, 3]),  # detkit's own `yolo -o f.json` on 1.jpg ... 6.jpg
        (FILES, [101, 102, 103, 104, 105, 106]),
        (FILES, [0, 1, 2, 3, 4, 5]),
        ([f"{n:012d}.jpg" for n in (9, 25, 30, 34, 36, 42)], [1, 2, 3, 4, 5, 6]),
        ([f"val/{n:06d}.png" for n in (1, 2, 3, 40, 50, 60)], [60, 50, 40, 3, 2, 1]),
        ([f"{n}.jpeg" for n in range(6)], [5, 4, 3, 2, 1, 0]),
        (FILES, ["a", "b", "c", "d", "e", "f"]),
    ],
)
def test_detections_by_numeric_stem_find_their_pictures(ap: Any, files: list[str], ids: list[Any]) -> None:
    truth = truth_of(files, ids, CATS)
    stem = {id: int(Path(file).stem) for id, file in zip(ids, files, strict=True)}
    value, said = ap(truth, found_of(truth, stem.__getitem__))
    assert value == pytest.approx(1)
    if all(isinstance(id, int) for id in ids) and set(stem.values()) & set(ids):
        assert "numbers in the file names" in said
    # The ids themselves stay what they are.
    value, said = ap(truth, found_of(truth))
    assert value == pytest.approx(1)
    # And entries that name their file need no reading.
    name = dict(zip(ids, files, strict=True))
    named = [{**one, "file_name": name[id["image_id"]]} for one, id in zip(found_of(truth, stem.__getitem__),
                                                                       truth["annotations"], strict=True)]  # fmt: skip
    assert ap(truth, named)[0] == pytest.approx(1)


def test_the_reading_can_be_chosen(ap: Any) -> None:
    truth = truth_of(FILES, [4, 5, 6, 1, 2, 3], CATS)
    stem = dict(zip([4, 5, 6, 1, 2, 3], range(1, 7), strict=True))
    by_stem = found_of(truth, stem.__getitem__)
    assert ap(truth, by_stem, "name")[0] == pytest.approx(1)
    assert ap(truth, by_stem, "id")[0] < 0.2
    assert ap(truth, found_of(truth), "id")[0] == pytest.approx(1)


def test_a_reading_that_cannot_be_told_is_said(ap: Any) -> None:
    truth = truth_of(FILES, [4, 5, 6, 1, 2, 3], CATS)
    nowhere = found_of(truth, box=lambda _: [600, 440, 9, 9])
    _, said = ap(truth, nowhere)
    assert "may be ids of the ground truth or numbers in its file names" in said
    assert "--match name" in said
    assert "none of which lies on an object" in said


def test_file_name_and_image_id_that_disagree(ap: Any) -> None:
    truth = truth_of(FILES, [4, 5, 6, 1, 2, 3], CATS)
    file = dict(zip([4, 5, 6, 1, 2, 3], FILES, strict=True))
    wrong_ids = [{**one, "image_id": one["image_id"] % 6 + 1, "file_name": file[one["image_id"]]}
                 for one in found_of(truth)]  # fmt: skip
    value, said = ap(truth, wrong_ids)
    assert value == pytest.approx(1)
    assert "of different pictures of the ground truth; the file names are taken (--match id" in said
    other_names = [{**one, "file_name": f"frame_{one['image_id']}.png"} for one in found_of(truth)]
    value, said = ap(truth, other_names)
    assert value == pytest.approx(1)
    assert "file names that are not in the ground truth, so the image ids are taken" in said
    without_ids = [{key: value for key, value in one.items() if key != "image_id"} | {"file_name": file[n["image_id"]]}
                   for one, n in zip(found_of(truth), truth["annotations"], strict=True)]  # fmt: skip
    assert ap(truth, without_ids)[0] == pytest.approx(1)


def test_equal_base_names_take_the_right_folder_or_refuse(ap: Any) -> None:
    files = ["a/1.jpg", "b/1.jpg", "a/2.jpg", "b/2.jpg"]
    truth = truth_of(files, [1, 2, 3, 4], CATS)
    name = dict(zip([1, 2, 3, 4], files, strict=True))

    def named(call: Callable[[str], str]) -> list[Json]:
        return [{**one, "file_name": call(name[one["image_id"]])} for one in found_of(truth)]

    assert ap(truth, named(lambda file: f"/data/x/{file}"))[0] == pytest.approx(1)
    with pytest.raises(InputError, match=r"could be any of 'a/1\.jpg', 'b/1\.jpg'"):
        ap(truth, [{**one, "image_id": 77} for one in named(lambda file: file.split("/")[1])])


def test_large_results_with_names_go_through_the_array_parser(ap: Any) -> None:
    from detkit.annotations.formats import coco_json

    truth = truth_of([f'd {n} é".jpg' for n in range(300)], list(range(300)), CATS)
    name = {image["id"]: image["file_name"] for image in truth["images"]}
    general = found_of(truth)
    for order in (("image_id", "category_id", "bbox", "score", "file_name"),
                  ("file_name", "image_id", "category_id", "bbox", "score"),
                  ("image_id", "file_name", "category_name", "bbox", "score", "category_id")):  # fmt: skip
        entries = [{**one, "file_name": name[one["image_id"]], "category_name": CATS[one["category_id"]]}
                   for one in general]  # fmt: skip
        text = json.dumps([{key: one[key] for key in order} for one in entries])
        assert len(text) > coco_json.FAST_FROM_BYTES
        fast = coco_json._fast_results(text.encode())
        assert fast is not None
        assert fast.files is not None
        assert fast.files.names == tuple(name.values())
        assert ap(truth, text)[0] == pytest.approx(1)


# ------------------------------------------------------------------ 7: category ids

SOME = ("person", "dog", "stop sign", "zebra", "tv", "toothbrush", "cat", "bench", "clock", "hair drier")
SOME_IDS = {CATEGORY_IDS[COCO_NAMES.index(name)]: name for name in SOME}
PLACE = {id: COCO_NAMES.index(name) for id, name in SOME_IDS.items()}
IN_ORDER = {id: number for number, id in enumerate(sorted(SOME_IDS))}


@pytest.mark.parametrize(
    ("number", "said_to_be"),
    [
        (lambda id: id, ""),
        (lambda id: PLACE[id] + 1, "places in COCO's list of 80 names, counted from 1"),  # ultralytics
        (lambda id: PLACE[id], "places in COCO's list of 80 names, counted from 0"),
        (lambda id: IN_ORDER[id] + 1, "counted from 1"),
        (lambda id: IN_ORDER[id], "counted from 0"),
    ],
)
@pytest.mark.parametrize("form", ["coco", "voc", "yolo"])
def test_numberings_of_a_subset_of_coco(ap: Any, number: Any, said_to_be: str, form: str) -> None:
    truth = truth_of([f"{n}.jpg" for n in range(1, 9)], list(range(1, 9)), SOME_IDS)
    value, said = ap(truth, found_of(truth, category=number), form=form)
    assert value == pytest.approx(1)
    assert said_to_be in said
    assert bool(said_to_be) == ("category ids that are" in said)


@pytest.mark.parametrize(
    ("categories", "number"),
    [
        ({5: "a", 9: "b", 12: "c"}, lambda id: {5: 0, 9: 1, 12: 2}[id]),
        ({5: "a", 9: "b", 12: "c"}, lambda id: {5: 1, 9: 2, 12: 3}[id]),
        ({0: "a", 1: "b", 2: "c"}, lambda id: id + 1),
        ({1: "a", 2: "b", 3: "c"}, lambda id: id - 1),
        ({n: name for n, name in enumerate(COCO_NAMES)}, lambda id: CATEGORY_IDS[id]),
        ({n + 1: name for n, name in enumerate(COCO_NAMES)}, lambda id: CATEGORY_IDS[id - 1]),
        (dict(zip(CATEGORY_IDS, COCO_NAMES, strict=True)), lambda id: CATEGORY_IDS.index(id) + 1),
        (dict(zip(CATEGORY_IDS, COCO_NAMES, strict=True)), CATEGORY_IDS.index),
    ],
)
def test_other_numberings(ap: Any, categories: dict[int, str], number: Any) -> None:
    truth = truth_of([f"{n}.jpg" for n in range(1, 31)], list(range(1, 31)), categories)
    value, said = ap(truth, found_of(truth, category=number))
    assert value == pytest.approx(1)
    assert "category ids that are" in said


def test_class_names_in_the_entries_need_no_numbers(ap: Any) -> None:
    truth = truth_of(FILES, list(range(1, 7)), SOME_IDS)
    named = [{**one, "category_name": SOME_IDS[one["category_id"]], "category_id": 99} for one in found_of(truth)]
    assert ap(truth, named)[0] == pytest.approx(1)
    without = [{k: v for k, v in one.items() if k not in ("category_id", "category_name")}
               | {"category": one["category_name"]} for one in named]  # fmt: skip
    assert ap(truth, without)[0] == pytest.approx(1)
    as_ids = [{**one, "category_id": SOME_IDS[one["category_id"]]} for one in found_of(truth)]
    assert ap(truth, as_ids)[0] == pytest.approx(1)


def test_a_detector_that_errs_is_not_read_otherwise(ap: Any) -> None:
    """Boxes of wrong classes here and there are the detector's fault, not another numbering."""
    truth = truth_of([f"{n}.jpg" for n in range(1, 40)], list(range(1, 40)), SOME_IDS)
    rng = np.random.default_rng(1)
    ids = list(SOME_IDS)
    found = [{**one, "category_id": one["category_id"] if rng.random() < 0.4 else int(rng.choice(ids))}
             for one in found_of(truth)]  # fmt: skip
    assert ap(truth, found)[1] == ""


def test_classes_in_another_order_are_questioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth = truth_of([f"{n}.jpg" for n in range(1, 20)], list(range(1, 20)), {1: "a", 2: "b", 3: "c"})
    (tmp_path / "g.json").write_text(json.dumps(truth))
    ground_truth = read_ground_truth(tmp_path / "g.json")
    write_ground_truth(ground_truth, tmp_path / "labels", "yolo")
    for file in (tmp_path / "labels").glob("*.txt"):
        file.write_text("".join(f"{line} 0.9\n" for line in file.read_text().splitlines()))
    with caplog.at_level(logging.WARNING, "detkit"):
        read_predictions(tmp_path / "labels", ground_truth, names=["b", "c", "a"])
    assert "lie on objects, but on those of other classes" in caplog.text


# ------------------------------------------------------------------ 11: layouts


def _relative(layout: Callable[[list[float]], list[float]]) -> Callable[[list[float]], list[float]]:
    return lambda box: [value / (640, 480)[k % 2] for k, value in enumerate(layout(box))]


LAYOUTS: dict[str, Callable[[list[float]], list[float]]] = {
    "corners x1, y1, x2, y2": lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]],
    "centre x, centre y, width, height": lambda b: [b[0] + b[2] / 2, b[1] + b[3] / 2, b[2], b[3]],
    "x, y, width, height": list,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("relative", [False, True])
def test_other_layouts_of_boxes(ap: Any, layout: str, relative: bool) -> None:
    truth = truth_of(FILES, list(range(1, 7)), CATS)
    box = _relative(LAYOUTS[layout]) if relative else LAYOUTS[layout]
    value, said = ap(truth, found_of(truth, box=box))
    assert value == pytest.approx(1)
    usual = layout == "x, y, width, height" and not relative
    assert (said == "") == usual
    if not usual:
        assert f"boxes that are {layout}{' as shares of the picture' if relative else ''}, and not" in said


def test_relative_boxes_by_stem_in_another_numbering(ap: Any) -> None:
    """Three readings at once."""
    truth = truth_of([f"{n}.jpg" for n in range(1, 10)], [9, 8, 7, 6, 5, 4, 3, 2, 1], {3: "a", 9: "b"})
    box = _relative(LAYOUTS["centre x, centre y, width, height"])
    found = found_of(truth, category=lambda id: {3: 1, 9: 2}[id], box=box)
    assert ap(truth, found)[0] == pytest.approx(1)


@pytest.mark.parametrize("box", [[0.2, 0.3, 0.1, 0.1], [0.5, 0.5, 0.01, 0.02]])
def test_shares_that_fit_nothing_are_refused(ap: Any, box: list[float]) -> None:
    truth = truth_of(FILES, list(range(1, 7)), CATS)
    with pytest.raises(InputError, match="lie between 0 and 1"):
        ap(truth, found_of(truth, box=lambda _: box))


def test_annotations_in_shares_are_refused(tmp_path: Path) -> None:
    truth = truth_of(FILES, list(range(1, 7)), CATS)
    for one in truth["annotations"]:
        one["bbox"] = _relative(list)(one["bbox"])
    (tmp_path / "g.json").write_text(json.dumps(truth))
    with pytest.raises(InputError, match="so they are shares of the picture"):
        read_ground_truth(tmp_path / "g.json")


def test_shares_in_jsonl_and_csv_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth = truth_of(FILES, list(range(1, 7)), CATS)
    (tmp_path / "g.json").write_text(json.dumps(truth))
    ground_truth = read_ground_truth(tmp_path / "g.json")
    corners = _relative(LAYOUTS["corners x1, y1, x2, y2"])
    lines = ["file,x1,y1,x2,y2,score,class"]
    lines += [f"{one['image_id']}.jpg,{','.join(map(str, corners(one['bbox'])))},0.5,{CATS[one['category_id']]}"
              for one in truth["annotations"]]  # fmt: skip
    (tmp_path / "d.csv").write_text("\n".join(lines))
    with caplog.at_level(logging.WARNING, "detkit"):
        found = read_predictions(tmp_path / "d.csv", ground_truth)
    assert evaluate(found, ground_truth).figures["AP"] == pytest.approx(1)
    assert "as shares of the picture" in caplog.text


def test_evidence_is_cheap() -> None:
    """A sample is looked at, whatever the size."""
    import time

    from detkit.annotations.image_evidence import located, sample

    rng = np.random.default_rng(0)
    boxes = rng.random((1_000_000, 4)) * 100 + 1
    index = rng.integers(0, 50_000, 1_000_000)
    flags = np.zeros(1_000_000, bool)
    from detkit.dataset import Categories, Images

    images = Images(tuple(range(50_000)), ("",) * 50_000, np.full(50_000, 200), np.full(50_000, 200))
    truth = GroundTruth(images, Categories(("a",), (1,)), index, np.zeros_like(index), boxes, boxes[:, 0],
                        flags, flags, flags, flags, flags)  # fmt: skip
    start = time.process_time()
    rows = sample(len(boxes), boxes[:, 0])
    fit = located(truth, index[rows], boxes[rows])
    assert fit.share == 1
    assert time.process_time() - start < 2
