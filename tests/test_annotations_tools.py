"""Formats of annotation tools, as the tools write them."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest

from detkit.annotations import read_ground_truth, read_predictions, recognise, write_ground_truth
from detkit.errors import InputError

BOX = [10.0, 20.0, 30.0, 40.0]  # x, y, width, height of a cat in a.jpg, 200 x 100
SIZES = "file,width,height\na.jpg,200,100\nb.jpg,200,100\n"

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><size>2</size><labels><label><name>cat</name></label></labels></task></meta>
<image id="0" name="a.jpg" width="200" height="100">
  {shape}
</image><image id="1" name="b.jpg" width="200" height="100"></image></annotations>"""
CVAT_TRACK = """<?xml version="1.0"?><annotations><version>1.1</version><meta><task><size>3</size>
<original_size><width>200</width><height>100</height></original_size></task></meta>
<track id="0" label="cat"><box frame="1" outside="0" occluded="1" keyframe="1" xtl="10" ytl="20" xbr="40" ybr="60"/>
<box frame="2" outside="1" occluded="0" keyframe="1" xtl="10" ytl="20" xbr="40" ybr="60"/></track></annotations>"""


def via_regions(shape: dict[str, Any], attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"shape_attributes": shape, "region_attributes": attributes}]


RECT = {"name": "rect", "x": 10, "y": 20, "width": 30, "height": 40}
TRIANGLE = {"name": "polygon", "all_points_x": [10, 40, 20], "all_points_y": [20, 20, 60]}


def via(regions: Any) -> dict[str, Any]:
    return {"a.jpg123": {"filename": "a.jpg", "size": 123, "regions": regions, "file_attributes": {}},
            "b.jpg9": {"filename": "b.jpg", "size": 9, "regions": [], "file_attributes": {}}}  # fmt: skip


def via_csv() -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("filename", "file_size", "file_attributes", "region_count", "region_id",
                     "region_shape_attributes", "region_attributes"))  # fmt: skip
    writer.writerow(("a.jpg", 123, "{}", 1, 0, json.dumps(RECT), json.dumps({"label": "cat"})))
    writer.writerow(("b.jpg", 9, "{}", 0, 0, "{}", "{}"))
    return text.getvalue()


def result(value: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "x1", "type": "rectanglelabels", "from_name": "label", "to_name": "image", "original_width": 200,
            "original_height": 100, "image_rotation": 0, "value": value, **more}  # fmt: skip


PERCENT = {"x": 5.0, "y": 20.0, "width": 15.0, "height": 40.0, "rotation": 0, "rectanglelabels": ["cat"]}


def tasks(results: list[Any], image: str = "/data/upload/3/1a2b3c4d-a.jpg", **more: Any) -> list[Any]:
    return [
        {"id": 1, "annotations": [{"id": 7, "completed_by": 1, "result": results, "was_cancelled": False}],
         "predictions": [], "data": {"image": image}, "meta": {}, **more},
        {"id": 2, "annotations": [{"id": 8, "result": []}], "data": {"image": "/data/upload/3/ffffffff-b.jpg"}},
    ]  # fmt: skip


def manifest(**about: Any) -> str:
    job = {"image_size": [{"width": 200, "height": 100, "depth": 3}],
           "annotations": [{"class_id": 0, "top": 20, "left": 10, "width": 30, "height": 40}]}  # fmt: skip
    meta = {"objects": [{"confidence": 0.9}], "class-map": {"0": "cat"}, "type": "groundtruth/object-detection",
            "human-annotated": "yes", "creation-date": "2026-01-01", "job-name": "x", **about}  # fmt: skip
    lines = [
        {"source-ref": "s3://bucket/a.jpg", "my-job": job, "my-job-metadata": meta},
        {"source-ref": "s3://bucket/b.jpg", "my-job": {**job, "annotations": []}, "my-job-metadata": meta},
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


def createml(**changes: Any) -> list[Any]:
    box = {"label": "cat", "coordinates": {"x": 25, "y": 40, "width": 30, "height": 40}}
    return [{"image": "b.jpg", "annotations": []}, {"image": "a.jpg", "annotations": [{**box, **changes}]}]


SAMPLES: dict[str, tuple[str, Any, str]] = {
    "cvat, box": ("cvat", CVAT.format(shape='<box label="cat" source="manual" occluded="0" xtl="10.00" ytl="20.00" '
                  'xbr="40.00" ybr="60.00" z_order="0"><attribute name="x">1</attribute></box>'), ""),
    "cvat, polygon": ("cvat", CVAT.format(shape='<polygon label="cat" points="10,20;40.0,20;20,60" z_order="0"/>'),
                      "no upright boxes"),
    "cvat, ellipse": ("cvat", CVAT.format(shape='<ellipse label="cat" cx="25" cy="40" rx="15" ry="20"/>'), "upright"),
    "cvat, mask": ("cvat", CVAT.format(shape='<mask label="cat" rle="3" left="10" top="20" width="30" height="40"/>'),
                   "upright"),
    "cvat, turned": ("cvat", CVAT.format(shape='<box label="cat" xtl="5" ytl="25" xbr="45" ybr="55" rotation="90"/>'),
                     "upright"),
    "createml": ("createml", createml(), ""),
    "createml, older": ("createml", [{"imagefilename": one["image"], "annotation": one["annotations"]}
                                     for one in createml()], ""),
    "via, project": ("via", {"_via_settings": {"ui": {}}, "_via_img_metadata": via(via_regions(RECT, {"label": "cat"})),
                             "_via_attributes": {}}, ""),
    "via, annotations": ("via", via(via_regions(RECT, {"type": "cat", "quality": "good"})), ""),
    "via, version 1": ("via", via({"0": via_regions(RECT, {"animal": "cat"})[0]}), ""),
    "via, checkbox": ("via", via(via_regions(RECT, {"kind": {"cat": True, "dog": False}})), ""),
    "via, polygon": ("via", via(via_regions(TRIANGLE, {"name": "cat"})), "upright"),
    "via, circle": ("via", via(via_regions({"name": "ellipse", "cx": 25, "cy": 40, "rx": 15, "ry": 20, "theta": 0},
                                           {"class": "cat"})), "upright"),
    "via, csv": ("via", via_csv(), ""),
    "labelstudio": ("labelstudio", tasks([result(PERCENT)]), ""),
    "labelstudio, local": ("labelstudio", tasks([result(PERCENT)], "/data/local-files/?d=x/a.jpg"), ""),
    "labelstudio, with a choice": ("labelstudio", tasks([result({"choices": ["good"]}), result(PERCENT)]), ""),
    "labelstudio, polygon": ("labelstudio", tasks([result({"points": [[5, 20], [20, 20], [10, 60]],
                                                           "polygonlabels": ["cat"]})]), "upright"),
    "labelstudio, ellipse": ("labelstudio", tasks([result({"x": 12.5, "y": 40, "radiusX": 7.5, "radiusY": 20,
                                                           "ellipselabels": ["cat"]})]), "upright"),
    "labelstudio, turned": ("labelstudio", tasks([result({"x": 20.0, "y": 20.0, "width": 20.0, "height": 30.0,
                                                          "rotation": 90, "rectanglelabels": ["cat"]})]), "upright"),
    "labelstudio, min": ("labelstudio", [
        {"image": "/data/upload/1/12345678-a.jpg", "id": 1, "label": [{**PERCENT, "original_width": 200,
                                                                      "original_height": 100}]},
        {"image": "/data/upload/1/12345678-b.jpg", "id": 2}], ""),
    "sagemaker": ("sagemaker", manifest(), ""),
    "sagemaker, by a machine": ("sagemaker", manifest(**{"human-annotated": "yes", "objects": []}), ""),
}  # fmt: skip


def written(folder: Path, content: Any) -> Path:
    path = folder / "annotations"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    (folder / "sizes.csv").write_text(SIZES)
    return path


@pytest.mark.parametrize("sample", SAMPLES)
def test_what_the_tools_write(tmp_path: Path, caplog: pytest.LogCaptureFixture, sample: str) -> None:
    form, content, said = SAMPLES[sample]
    path = written(tmp_path, content)
    assert recognise(path) == form
    with caplog.at_level(logging.WARNING, "detkit"):
        truth = read_ground_truth(path, images=tmp_path / "sizes.csv")
    assert sorted(Path(file).name for file in truth.images.files) == ["a.jpg", "b.jpg"]
    assert truth.categories.names == ("cat",)
    assert truth.boxes[0] == pytest.approx(BOX)
    assert Path(truth.images.files[truth.image_index[0]]).name == "a.jpg"
    assert truth.images.widths.tolist() == [200, 200] or form in ("createml", "via", "labelstudio")
    assert (said in caplog.text) if said else caplog.text == ""
    # And on into another format, and back.
    write_ground_truth(truth, tmp_path / "coco.json", "coco")
    write_ground_truth(read_ground_truth(tmp_path / "coco.json"), tmp_path / "again", form)
    again = read_ground_truth(tmp_path / "again", images=tmp_path / "sizes.csv")
    assert again.boxes[0] == pytest.approx(BOX)


def test_tracks_of_cvat(tmp_path: Path) -> None:
    truth = read_ground_truth(written(tmp_path, CVAT_TRACK))
    assert truth.images.files == ("frame_000000.png", "frame_000001.png", "frame_000002.png")
    assert truth.boxes.tolist() == [BOX]
    assert truth.image_index.tolist() == [1]
    assert truth.occluded.tolist() == [True]


def megadetector(boxes: Any, **more: Any) -> dict[str, Any]:
    return {"images": [{"file": "x/a.jpg", "detections": boxes, **more}, {"file": "x/b.jpg", "detections": []}],
            "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
            "info": {"format_version": "1.4"}}  # fmt: skip


RELATIVE = [0.05, 0.2, 0.15, 0.4]
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 200, "height": 100},
               {"id": 2, "file_name": "b.jpg", "width": 200, "height": 100}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": BOX, "area": 1200, "iscrowd": 0}],
    "categories": [{"id": 1, "name": "animal"}, {"id": 2, "name": "person"}],
}  # fmt: skip


@pytest.mark.parametrize("order", [1, -1])
def test_megadetector(tmp_path: Path, order: int, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "g.json").write_text(json.dumps(COCO))
    truth = read_ground_truth(tmp_path / "g.json")
    document = megadetector([{"category": "1", "conf": 0.8, "bbox": RELATIVE}])
    document["images"].append({"file": "x/c.jpg", "failure": "Failure image access", "detections": None})
    path = written(tmp_path, dict(list(document.items())[::order]))
    assert recognise(path) == "megadetector"
    with caplog.at_level(logging.WARNING, "detkit"):
        found = read_predictions(path, truth)
    assert found.boxes[0] == pytest.approx(BOX)
    assert found.scores.tolist() == [0.8]
    assert "images that could not be read when the file was made" in caplog.text
    with pytest.raises(InputError, match="these are detections, not annotations"):
        read_ground_truth(path, images=tmp_path / "sizes.csv")
    # Without sizes nothing can be read, which is no data set without animals.
    with pytest.raises(InputError, match="the size of their image is not known"):
        read_ground_truth(path)
    with pytest.raises(InputError, match="none of its boxes can be read"):
        read_predictions(written(tmp_path, megadetector([{"category": "1", "conf": 0.8}])), truth)


def test_detections_in_formats_of_tools(tmp_path: Path) -> None:
    (tmp_path / "g.json").write_text(json.dumps({**COCO, "categories": [{"id": 1, "name": "cat"}]}))
    truth = read_ground_truth(tmp_path / "g.json")
    predicted = tasks([], predictions=[{"model_version": "1", "score": 0.7, "result": [result(PERCENT)]}])
    contents: list[Any] = [
        createml(confidence=0.7),
        predicted,
        tasks([], predictions=[{"result": [result(PERCENT, score=0.7)]}]),
        manifest(**{"human-annotated": "no", "objects": [{"confidence": 0.7}]}),
        CVAT.format(shape='<box label="cat" score="0.7" xtl="10" ytl="20" xbr="40" ybr="60"/>'),
    ]
    for content in contents:
        found = read_predictions(written(tmp_path, content), truth)
        assert found.boxes[0] == pytest.approx(BOX)
        assert found.scores.tolist() == [0.7]


@pytest.mark.parametrize(
    "content",
    [
        CVAT.format(shape='<points label="cat" points="1,2;3,4"/>'),
        CVAT.format(shape='<box xtl="1" ytl="2" xbr="3" ybr="4"/>'),
        CVAT.format(shape='<box label="cat" xtl="a" ytl="2" xbr="3" ybr="4"/>'),
        createml(coordinates={"x": 1, "y": 2}),
        createml(label=None),
        via(via_regions(RECT, {})),
        via(via_regions({"name": "point", "cx": 1, "cy": 2}, {"label": "cat"})),
        via(via_regions(RECT, {"colour": "red", "size": "large"})),
        tasks([result({"x": 5, "y": 20, "width": 0.5, "keypointlabels": ["cat"]})]),
        tasks([result({k: v for k, v in PERCENT.items() if k != "rectanglelabels"})]),
        manifest().replace('"left": 10, ', ""),
    ],
)
def test_what_cannot_be_read_is_an_error(tmp_path: Path, content: Any) -> None:
    with pytest.raises(InputError, match="none of its boxes can be read") as error:
        read_ground_truth(written(tmp_path, content), images=tmp_path / "sizes.csv")
    assert "\n" not in str(error.value)


def test_a_turn_of_label_studio_is_about_the_first_corner(tmp_path: Path) -> None:
    angle = math.radians(30)
    value = {"x": 20.0, "y": 20.0, "width": 10.0, "height": 40.0, "rotation": 30, "rectanglelabels": ["cat"]}
    w, h = 20, 40
    corners = [(40 + x * math.cos(angle) - y * math.sin(angle), 20 + x * math.sin(angle) + y * math.cos(angle))
               for x in (0, w) for y in (0, h)]  # fmt: skip
    xs, ys = zip(*corners, strict=True)
    truth = read_ground_truth(written(tmp_path, tasks([result(value)])))
    assert truth.boxes[0] == pytest.approx([min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)])
