"""COCO JSON: its traps one by one, odd input, and pycocotools as the independent reader."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.annotations import read_ground_truth, read_predictions, write_ground_truth
from detkit.annotations.building import Builder, in_class_order
from detkit.annotations.problems import Problems
from detkit.classes import CATEGORY_IDS, COCO_NAMES
from detkit.errors import InputError

Json = dict[str, Any]


def document(*annotations: Json, **changes: Any) -> Json:
    """A COCO object with two images and two classes around `annotations`."""
    return {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 100, "height": 80},
            {"id": 2, "file_name": "b.jpg", "width": 60, "height": 50},
        ],
        "annotations": list(annotations),
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
        **changes,
    }


def annotation(**changes: Any) -> Json:
    whole = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 30, 40], "area": 1200, "iscrowd": 0, **changes}
    return {key: value for key, value in whole.items() if value is not ...}


def detection(**changes: Any) -> Json:
    whole = {"image_id": 1, "category_id": 3, "bbox": [1, 2, 30, 40], "score": 0.5, **changes}
    return {key: value for key, value in whole.items() if value is not ...}


@pytest.fixture
def save(tmp_path: Path) -> Any:
    def _save(content: Any, name: str = "file.json") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return path

    return _save


# ------------------------------------------------------------------ the traps of users.md


def test_cocoapi_374_no_iscrowd(save: Any) -> None:
    ground_truth = read_ground_truth(save(document(annotation(iscrowd=...), annotation(id=2, iscrowd=1))))
    assert ground_truth.crowd.tolist() == [False, True]


def test_cocoapi_466_ignore_is_kept_beside_iscrowd(save: Any) -> None:
    rows = [annotation(ignore=1), annotation(id=2, ignore=1, iscrowd=1), annotation(id=3, ignore=0), annotation(id=4)]
    ground_truth = read_ground_truth(save(document(*rows)))
    assert ground_truth.ignore.tolist() == [True, True, False, False]
    assert ground_truth.crowd.tolist() == [False, True, False, False]


def test_cvat_748_annotation_id_0(save: Any) -> None:
    ground_truth = read_ground_truth(save(document(annotation(id=0), annotation(id=1, image_id=2))))
    assert ground_truth.ids == (0, 1)
    assert ground_truth.image_index.tolist() == [0, 1]


def test_datumaro_156_category_0(save: Any) -> None:
    table = [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    path = save(document(annotation(category_id=0), categories=table))
    ground_truth = read_ground_truth(path)
    assert ground_truth.categories.ids == (0, 1)
    assert ground_truth.class_index.tolist() == [0]
    predictions = read_predictions(save([detection(category_id=0)], "d.json"), ground_truth)
    assert predictions.class_index.tolist() == [0]


def test_mmpose_2248_area_0_and_no_area(save: Any, caplog: pytest.LogCaptureFixture) -> None:
    rows = [annotation(area=0), annotation(id=2, area=...), annotation(id=3, area="x"), annotation(id=4, area=7.5)]
    ground_truth = read_ground_truth(save(document(*rows)))
    assert ground_truth.areas.tolist() == [0, 1200, 1200, 7.5]
    assert "without an area, taken as width * height: 2 (first: annotation 2)" in caplog.text


# ------------------------------------------------------------------ odd entries


@pytest.mark.parametrize("bbox", [None, [], [1, 2, 3], [1, 2, 3, 4, 5], "1234", [1, 2, "x", 4], [1, None, 3, 4], {}])
def test_annotations_without_a_readable_box_are_left_out(
    save: Any, caplog: pytest.LogCaptureFixture, bbox: Any
) -> None:
    ground_truth = read_ground_truth(save(document(annotation(), annotation(id=2, bbox=bbox))))
    assert len(ground_truth) == 1
    assert "bbox is not four finite numbers, left out: 1 (first: annotation 2" in caplog.text
    assert len(caplog.records) == 1


def test_nan_of_pythons_json_is_read_and_left_out(save: Any, caplog: pytest.LogCaptureFixture) -> None:
    path = save(document(annotation(), annotation(id=2, bbox=[1, 2, float("nan"), 4])))
    assert "NaN" in path.read_text()
    assert len(read_ground_truth(path)) == 1
    assert "left out: 1" in caplog.text


def test_a_hundred_thousand_classes(save: Any, tmp_path: Path) -> None:
    """Nothing is looked up in a list of classes: 100,000 of them in seconds, not hours."""
    count = 100_000
    start = time.process_time()
    categories = [{"id": k, "name": f"class {k:06}"} for k in reversed(range(count))]
    ground_truth = read_ground_truth(save(document(categories=categories)))
    assert len(ground_truth.categories) == count
    builder = Builder(Problems(tmp_path))
    for category in categories:
        builder.category(str(category["name"]))
    assert in_class_order(builder.finish()).ground_truth.categories.names == ground_truth.categories.names[::-1]
    assert time.process_time() - start < 30


def test_references_to_nothing_are_left_out_and_counted(save: Any, caplog: pytest.LogCaptureFixture) -> None:
    rows = [annotation(), annotation(id=2, image_id=9), annotation(id=3, image_id=10), annotation(id=4, category_id=1)]
    rows += [annotation(id=5, image_id=[1]), annotation(id=6, category_id=...)]
    ground_truth = read_ground_truth(save(document(*rows)))
    assert ground_truth.ids == (1,)
    assert "of images that are not in the file, left out: 3 (first: annotation 2, image_id 9)" in caplog.text
    assert "of categories that are not in the file, left out: 2 (first: annotation 4, category_id 1)" in caplog.text


def test_ids_missing_and_twice(save: Any, caplog: pytest.LogCaptureFixture) -> None:
    rows = [annotation(id=5), annotation(id=5), annotation(id=...), annotation(id="x")]
    ground_truth = read_ground_truth(save(document(*rows)))
    assert ground_truth.ids == (5, 5, 6, "x")
    assert "annotations without an id, numbered: 1 (first: number 6)" in caplog.text
    caplog.clear()
    assert len(read_ground_truth(save(document(annotation(), annotation())))) == 2
    assert "annotation ids given twice, all kept: 1 (first: id 1)" in caplog.text


def test_all_ids_missing_are_numbered_in_silence(save: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert read_ground_truth(save(document(annotation(id=...), annotation(id=...)))).ids == (1, 2)
    assert not caplog.records


def test_image_and_category_ids_twice(save: Any, caplog: pytest.LogCaptureFixture) -> None:
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}, {"file_name": "c.jpg"}]
    table = [{"id": 3, "name": "cat"}, {"id": 3, "name": "dog"}, {"id": 4, "name": "cat"}]
    ground_truth = read_ground_truth(save(document(annotation(), images=images, categories=table)))
    assert ground_truth.images.files == ("a.jpg",)
    assert ground_truth.images.widths.tolist() == [0]
    assert ground_truth.categories.names == ("cat", "cat")
    for said in ("image ids given twice", "images without an id", "category ids given twice", "category names given"):
        assert said in caplog.text


@pytest.mark.parametrize("ids", [(0, 1), (5, 900000), ("a", "b"), (-3, 2**40), ("7", 8)])
def test_category_and_image_ids_of_every_kind(save: Any, ids: tuple[Any, Any]) -> None:
    images = [{"id": id, "file_name": f"{k}.jpg"} for k, id in enumerate(ids)]
    table = [{"id": id, "name": f"c{k}"} for k, id in enumerate(ids)]
    rows = [annotation(image_id=ids[1], category_id=ids[0])]
    ground_truth = read_ground_truth(save(document(*rows, images=images, categories=table)))
    assert (ground_truth.image_index.tolist(), ground_truth.class_index.tolist()) == ([1], [0])
    found = [detection(image_id=ids[0], category_id=ids[1]), detection(image_id=ids[1], category_id=ids[0])]
    predictions = read_predictions(save(found, "d.json"), ground_truth)
    assert (predictions.image_index.tolist(), predictions.class_index.tolist()) == ([0, 1], [1, 0])


def test_ids_as_text_here_and_numbers_there(save: Any, caplog: pytest.LogCaptureFixture) -> None:
    ground_truth = read_ground_truth(save(document(annotation(image_id="1", category_id="3"))))
    assert len(ground_truth) == 1
    predictions = read_predictions(save([detection(image_id="2", category_id=3.0)], "d.json"), ground_truth)
    assert predictions.image_index.tolist() == [1]
    texts = [{"id": "1", "file_name": "a.jpg"}, {"id": "2", "file_name": "b.jpg"}]
    ground_truth = read_ground_truth(save(document(annotation(image_id="1"), images=texts)))
    assert read_predictions(save([detection(image_id=2)], "d.json"), ground_truth).image_index.tolist() == [1]
    assert "image ids are numbers here and text in the ground truth" in caplog.text


def test_no_category_table(save: Any, caplog: pytest.LogCaptureFixture) -> None:
    ground_truth = read_ground_truth(save(document(annotation(), annotation(id=2, category_id=1), categories=[])))
    assert ground_truth.categories.names == ("1", "3")
    assert ground_truth.class_index.tolist() == [1, 0]
    assert "no category table" in caplog.text


def test_empty_reversed_and_outside_boxes_are_kept_and_said(save: Any, caplog: pytest.LogCaptureFixture) -> None:
    boxes = [[1, 1, 0, 5], [50, 50, -10, 5], [200, 10, 5, 5], [-9, 0, 5, 5], [-2, -2, 500, 500]]
    rows = [annotation(id=k, bbox=box) for k, box in enumerate(boxes, 1)]
    ground_truth = read_ground_truth(save(document(*rows)))
    assert ground_truth.boxes.tolist() == boxes
    assert "width or height 0, kept as they stand: 1" in caplog.text
    assert "negative width or height, kept as they stand (they overlap nothing): 1" in caplog.text
    assert "wholly outside of their image, kept as they stand: 2 (first: x 200, y 10" in caplog.text


def test_entries_that_are_no_objects(save: Any, caplog: pytest.LogCaptureFixture) -> None:
    ground_truth = read_ground_truth(save(document(annotation(), annotations=[annotation(), 3, None])))
    assert len(ground_truth) == 1
    assert "annotations that are not JSON objects, left out: 2 (first: entry 1: 3)" in caplog.text


def test_an_empty_data_set_is_one(save: Any) -> None:
    ground_truth = read_ground_truth(save(document()))
    assert (len(ground_truth), len(ground_truth.images), ground_truth.boxes.shape) == (0, 2, (0, 4))
    assert len(read_predictions(save([], "d.json"), ground_truth)) == 0


# ------------------------------------------------------------------ results


def test_results_are_in_the_order_of_the_file(save: Any) -> None:
    ground_truth = read_ground_truth(save(document(annotation())))
    found = [detection(image_id=2, score=0.1), detection(category_id=7, score=1), detection(score=-3)]
    predictions = read_predictions(save(found, "d.json"), ground_truth)
    assert predictions.image_index.tolist() == [1, 0, 0]
    assert predictions.class_index.tolist() == [0, 1, 0]
    assert predictions.scores.tolist() == [0.1, 1, -3]


def test_results_of_other_images_and_classes_are_left_out(save: Any, caplog: pytest.LogCaptureFixture) -> None:
    ground_truth = read_ground_truth(save(document(annotation())))
    found = [detection(), detection(image_id=9), detection(category_id=9), detection(score=...), detection(bbox=[1])]
    predictions = read_predictions(save(found, "d.json"), ground_truth)
    assert len(predictions) == 1
    for said in ("image_id 9", "category_id 9", "without a score that is a finite number", "not four finite numbers"):
        assert said in caplog.text
    assert len(caplog.records) == 4


def test_results_whose_ids_are_neither_numbers_nor_text(save: Any, caplog: pytest.LogCaptureFixture) -> None:
    ground_truth = read_ground_truth(save(document(annotation())))
    found = [detection(), detection(image_id=[1]), detection(category_id=...)]
    assert len(read_predictions(save(found, "d.json"), ground_truth)) == 1
    assert "neither a number nor text, left out: 2 (first: entry 1: {'image_id': [1], " in caplog.text
    assert len(caplog.records) == 1


def test_results_as_an_object_with_scores(save: Any) -> None:
    ground_truth = read_ground_truth(save(document(annotation())))
    whole = document(annotation(score=0.25, category_id=7))
    assert read_predictions(save(whole, "d.json"), ground_truth).scores.tolist() == [0.25]


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([detection(image_id=77)], "no image in common with the ground truth: here '77', there '1', '2'"),
        ([detection(category_id=1)], "no class in common with the ground truth: here 'category_id 1'"),
        ([detection(score=...)], "have no scores; are these annotations, and the arguments swapped?"),
        ([detection(bbox=..., segmentation={})], "have no 'bbox'"),
        ([detection(bbox=None)], "none of its 1 detections can be used"),
        ([1, 2], "is a JSON list, but none of COCO JSON"),
        ([[detection()]], "is a JSON list, but none of COCO JSON"),
    ],
)
def test_results_that_cannot_be_used(save: Any, results: Any, said: str) -> None:
    ground_truth = read_ground_truth(save(document(annotation())))
    with pytest.raises(InputError) as error:
        read_predictions(save(results, "d.json"), ground_truth)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert "d.json" in str(error.value)


def test_swapped_arguments(save: Any) -> None:
    annotations, results = save(document(annotation())), save([detection()], "d.json")
    with pytest.raises(InputError, match=r"d\.json: is a COCO results list .*swapped"):
        read_ground_truth(results)
    with pytest.raises(InputError, match=r"file\.json: its 1 boxes have no scores.*swapped"):
        read_predictions(annotations, read_ground_truth(annotations))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"images": [', "not valid JSON at line 1"),
        ('{"images": [{"id": 1}],\n "annotations": [}', "not valid JSON at line 2, column 18"),
        ('{"images": {}}', "'images' must be a list, got an object"),
        ('{"images": []}', "holds no images"),
        ('{"images": [{"id": 1}]}', "has no 'annotations'"),
        ('{"images": [{"id": null}], "annotations": []}', "none of its images has an id"),
        ('{"annotations": [], "categories": []}', "holds no images"),
    ],
)
def test_annotations_that_cannot_be_used(save: Any, content: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        read_ground_truth(save(content))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_category_table_of_another_data_set(save: Any) -> None:
    table = [{"id": 1, "name": "red cell"}, {"id": 2, "name": "white cell"}]
    ground_truth = read_ground_truth(save(document(annotation(category_id=1), categories=table)))
    with pytest.raises(InputError, match=r"no class in common .* here 'category_id 18', there '1 red cell'"):
        read_predictions(save([detection(category_id=18)], "d.json"), ground_truth)


def test_gzip_and_byte_order_marks(save: Any, tmp_path: Path) -> None:
    text = json.dumps(document(annotation()))
    for name, content in (
        ("gz", gzip.compress(text.encode())),
        ("utf8", b"\xef\xbb\xbf" + text.encode()),
        ("utf16", text.encode("utf-16")),
    ):
        (tmp_path / name).write_bytes(content)
        assert len(read_ground_truth(tmp_path / name)) == 1


# ------------------------------------------------------------------ tables beside results, other ground truths


def test_a_table_of_images_beside_the_results(save: Any) -> None:
    ground_truth = read_ground_truth(save(document(annotation())))
    table = {
        "images": [{"id": 1, "file_name": "x/b.jpg"}, {"id": 2, "file_name": "x/a.jpg"}],
        "categories": [{"id": 1, "name": "Dog"}, {"id": 2, "name": "cat"}],
    }
    found = save([detection(category_id=1), detection(image_id=2, category_id=2)], "d.json")
    save(table, "d.json.images.json")
    predictions = read_predictions(found, ground_truth)
    assert predictions.image_index.tolist() == [1, 0]
    assert predictions.class_index.tolist() == [1, 0]


def test_a_table_of_images_that_is_something_else(save: Any) -> None:
    ground_truth = read_ground_truth(save(document(annotation())))
    found = save([detection()], "d.json")
    for content in ([1], {"images": [{"id": 1}]}, {"x": "y"}):
        save(content, "d.json.images.json")
        with pytest.raises(InputError, match="is not a table of images"):
            read_predictions(found, ground_truth)


def test_results_against_annotations_without_ids(save: Any, caplog: pytest.LogCaptureFixture) -> None:
    lines = [
        {"file": "000012.jpg", "width": 9, "height": 9, "annotations": [{"box": [0, 0, 5, 5], "class": "rbc"}]},
        {"file": "000013.jpg", "width": 9, "height": 9, "annotations": [{"box": [0, 0, 5, 5], "class": "wbc"}]},
    ]
    ground_truth = read_ground_truth(save("\n".join(map(json.dumps, lines)), "g.jsonl"))
    found = [detection(image_id=13, category_id=2), detection(image_id=12, category_id=1)]
    predictions = read_predictions(save(found, "d.json"), ground_truth)
    assert predictions.image_index.tolist() == [1, 0]
    assert predictions.class_index.tolist() == [1, 0]
    assert "1 is 'rbc', 2 is 'wbc'" in caplog.text


def test_results_with_coco_ids_against_coco_names_without_ids(save: Any) -> None:
    """rf-detr #961: ids 1 to 90 are not rows 0 to 79, nor 1 to 80."""
    rows = [{"box": [0, 0, 5, 5], "class": name} for name in ("person", "toothbrush", "stop sign")]
    ground_truth = read_ground_truth(save(json.dumps({"file": "1.jpg", "annotations": rows}), "g.jsonl"))
    predictions = read_predictions(save([detection(category_id=90), detection(category_id=13)], "d.json"), ground_truth)
    assert [ground_truth.categories.names[k] for k in predictions.class_index] == ["toothbrush", "stop sign"]


# ------------------------------------------------------------------ against pycocotools


def test_pycocotools_loads_what_we_write(save: Any, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools", reason="pycocotools, the reference, is not installed")
    from pycocotools.coco import COCO

    rows = [annotation(id=4, area=3.5, iscrowd=1), annotation(id=9, image_id=2, category_id=7, bbox=[0.1, 0.2, 3, 4])]
    ground_truth = read_ground_truth(save(document(*rows)))
    assert write_ground_truth(ground_truth, tmp_path / "out.json", "coco") == []
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO(str(tmp_path / "out.json"))
        results = theirs.loadRes([detection()])
    assert sorted(theirs.anns) == [4, 9]
    assert theirs.anns[4]["area"] == 3.5
    assert theirs.anns[4]["iscrowd"] == 1
    assert theirs.anns[9]["bbox"] == [0.1, 0.2, 3, 4]
    assert theirs.imgs[2]["file_name"] == "b.jpg"
    assert {c["name"]: c["id"] for c in theirs.cats.values()} == {"cat": 3, "dog": 7}
    assert len(results.anns) == 1


def test_what_pycocotools_sees_is_what_we_see(save: Any) -> None:
    pytest.importorskip("pycocotools", reason="pycocotools, the reference, is not installed")
    from pycocotools.coco import COCO

    rng = np.random.default_rng(3)
    rows = [
        annotation(id=k, image_id=int(rng.integers(1, 3)), category_id=int(rng.choice([3, 7])),
                   bbox=rng.uniform(0, 50, 4).tolist(), area=float(rng.uniform(0, 99)), iscrowd=int(rng.integers(2)))
        for k in range(1, 40)
    ]  # fmt: skip
    path = save(document(*rows))
    ground_truth = read_ground_truth(path)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO(str(path))
    for row, id in enumerate(ground_truth.ids):
        other = theirs.anns[id]
        assert ground_truth.images.ids[ground_truth.image_index[row]] == other["image_id"]
        assert ground_truth.categories.ids[ground_truth.class_index[row]] == other["category_id"]
        assert ground_truth.boxes[row].tolist() == other["bbox"]
        assert ground_truth.areas[row] == other["area"]
        assert ground_truth.crowd[row] == bool(other["iscrowd"])


def test_coco_ids_are_those_of_the_data_set() -> None:
    assert len(CATEGORY_IDS) == len(COCO_NAMES) == 80
    pairs = dict(zip(COCO_NAMES, CATEGORY_IDS, strict=True))
    assert (pairs["person"], pairs["stop sign"], pairs["backpack"], pairs["toothbrush"]) == (1, 13, 27, 90)


def test_library_code_says_nothing_below_warning(save: Any, capsys: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "detkit"):
        read_ground_truth(save(document(annotation())))
    assert capsys.readouterr() == ("", "")
    assert not caplog.records
