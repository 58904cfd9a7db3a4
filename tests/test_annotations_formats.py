"""Every format there and back, against independent readers, and with odd input."""

from __future__ import annotations

import csv
import json
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detkit.annotations import FORMATS, read_ground_truth, read_predictions, recognise, write_ground_truth
from detkit.annotations.alignment import without_ending
from detkit.annotations.building import FLAGS
from detkit.annotations.formats.csv_table import CSV_HEADER
from detkit.annotations.formats.voc_xml import voc_xml
from detkit.annotations.formats.yolo_txt import yolo_lines
from detkit.annotations.name_files import read_labels, read_names, yaml_names
from detkit.annotations.number_text import number_text, shortest_doubles
from detkit.annotations.sizes import image_size, size_table
from detkit.annotations.writing import losses
from detkit.dataset import Categories, GroundTruth, Images
from detkit.errors import InputError, OutputError, UsageError

SHARED = Path(__file__).parents[2] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} with its data sets is not here")

NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=12).map(
    lambda name: " ".join(name.split())
)


@st.composite
def ground_truths(draw: st.DrawFn, name: st.SearchStrategy[str] = NAMES.filter(bool)) -> GroundTruth:
    """A data set as COCO would give it: boxes of at least a pixel inside of the images, all flags, own areas."""
    count = draw(st.integers(1, 4))
    widths = np.array(draw(st.lists(st.integers(20, 4000), min_size=count, max_size=count)))
    heights = np.array(draw(st.lists(st.integers(20, 4000), min_size=count, max_size=count)))
    folders = draw(st.lists(st.sampled_from(["", "x/", "x/y.z/"]), min_size=count, max_size=count))
    endings = draw(st.lists(st.sampled_from([".jpg", ".PNG", ".tiff"]), min_size=count, max_size=count))
    files = tuple(
        f"{folder}{k:03d} é&<{ending}" for k, (folder, ending) in enumerate(zip(folders, endings, strict=True))
    )
    names = tuple(draw(st.lists(name, min_size=1, max_size=4, unique_by=str.casefold)))
    rows = draw(st.integers(0, 6))
    image_index = np.array(draw(st.lists(st.integers(0, count - 1), min_size=rows, max_size=rows)), np.int64)
    fraction = st.integers(0, 448).map(lambda number: number / 512)
    parts = np.array(draw(st.lists(st.tuples(*[fraction] * 4), min_size=rows, max_size=rows))).reshape(rows, 4)
    limits = np.stack((widths, heights), axis=1)[image_index].reshape(rows, 2)
    corner = parts[:, :2] * (limits - 1)
    boxes = np.concatenate((corner, 1 + parts[:, 2:] * (limits - 1 - corner)), axis=1)
    flags = {key: np.array(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), bool) for key in FLAGS}
    return GroundTruth(
        images=Images(tuple(range(10, 10 + count)), files, widths, heights),
        categories=Categories(names, tuple(range(3, 3 + 2 * len(names), 2))),
        image_index=image_index,
        class_index=np.array(draw(st.lists(st.integers(0, len(names) - 1), min_size=rows, max_size=rows)), np.int64),
        boxes=boxes,
        areas=np.where(flags["crowd"], 0.5, 1.0) * boxes[:, 2] * boxes[:, 3],
        **flags,
        ids=tuple(range(100, 100 + rows)),
        source="coco",
    )


def described(ground_truth: GroundTruth, *columns: str) -> list[tuple[Any, ...]]:
    """The boxes as sorted tuples of file, class and chosen columns, whatever the order of the tables."""
    rows = []
    for row in range(len(ground_truth)):
        image = ground_truth.image_index[row]
        file = without_ending(ground_truth.images.files[image])
        name = ground_truth.categories.names[ground_truth.class_index[row]]
        box = tuple(round(value, 4) + 0.0 for value in ground_truth.boxes[row].tolist())
        rows.append((file, name, *box, *(bool(getattr(ground_truth, key)[row]) for key in columns)))
    return sorted(rows)


def there_and_back(ground_truth: GroundTruth, folder: Path, format: str) -> GroundTruth:
    """Written and read again, recognised by content; relative formats get the sizes they do not hold."""
    path = folder / "annotations"
    write_ground_truth(ground_truth, path, format)
    images = None
    if "sizes" not in FORMATS[format].holds:
        images = folder / "the sizes"
        table = ground_truth.images
        images.write_bytes(size_table(zip(table.files, table.widths.tolist(), table.heights.tolist(), strict=True)))
    if not (format == "openimages" and not len(ground_truth)):
        recognised = recognise(path)
        assert recognised == format or (format == "kitti" and not len(ground_truth)) or not FORMATS[format].signs.tells
    return read_ground_truth(path, format=format, images=images)


# Formats of boxes; those of shapes alone have tests of their own.
BOX_FORMATS = [name for name, form in FORMATS.items() if not form.of_shapes]


@pytest.mark.parametrize("format", [name for name in BOX_FORMATS if name not in ("kitti", "dota")])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ground_truth=ground_truths())
def test_round_trip(format: str, ground_truth: GroundTruth, tmp_path_factory: pytest.TempPathFactory) -> None:
    back = there_and_back(ground_truth, tmp_path_factory.mktemp("out"), format)
    held = [key for key in FLAGS if key in FORMATS[format].holds]
    expected = described(ground_truth, *held)
    assert [row[:2] + row[6:] for row in described(back, *held)] == [row[:2] + row[6:] for row in expected]
    ours = np.array([row[2:6] for row in described(back)]).reshape(-1, 4)
    np.testing.assert_allclose(ours, np.array([row[2:6] for row in expected]).reshape(-1, 4), atol=2e-4)
    if "images without boxes" in FORMATS[format].holds or format == "openimages":
        assert sorted(back.images.files) == sorted(ground_truth.images.files)
    order = np.argsort(np.array(back.images.files, object))
    own = [ground_truth.images.files.index(back.images.files[k]) for k in order]
    assert back.images.widths[order].tolist() == ground_truth.images.widths[own].tolist()
    assert back.images.heights[order].tolist() == ground_truth.images.heights[own].tolist()
    if "classes without boxes" in FORMATS[format].holds:
        assert set(back.categories.names) == set(ground_truth.categories.names)
    if "category ids" in FORMATS[format].holds and format != "coco":
        ids = dict(zip(ground_truth.categories.names, ground_truth.categories.ids, strict=True))
        assert all(ids[name] == id for name, id in zip(back.categories.names, back.categories.ids, strict=True))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ground_truth=ground_truths(st.from_regex(r"[a-zA-Z_]{2,9}", fullmatch=True)))
def test_round_trip_of_kitti(ground_truth: GroundTruth, tmp_path_factory: pytest.TempPathFactory) -> None:
    back = there_and_back(ground_truth, tmp_path_factory.mktemp("out"), "kitti")
    named = [
        (row[0], "DontCare", *row[2:6], False, False, True) if row[-1] else row
        for row in described(ground_truth, "truncated", "occluded", "ignore")
    ]
    assert described(back, "truncated", "occluded", "ignore") == sorted(named)
    assert len(back.images) == len(ground_truth.images)


@settings(max_examples=25, deadline=None)
@given(ground_truth=ground_truths())
def test_coco_keeps_everything_to_the_last_bit(
    ground_truth: GroundTruth, tmp_path_factory: pytest.TempPathFactory
) -> None:
    back = there_and_back(ground_truth, tmp_path_factory.mktemp("out"), "coco")
    assert (back.images.ids, back.images.files) == (ground_truth.images.ids, ground_truth.images.files)
    assert (back.categories, back.ids) == (ground_truth.categories, ground_truth.ids)
    for column in ("image_index", "class_index", "boxes", "areas", *FLAGS):
        assert np.array_equal(getattr(back, column), getattr(ground_truth, column)), column
    assert losses(ground_truth, "coco") == []


@pytest.mark.parametrize("format", ["jsonl", "csv"])
@settings(max_examples=25, deadline=None)
@given(ground_truth=ground_truths())
def test_our_formats_keep_areas_and_ids(
    format: str, ground_truth: GroundTruth, tmp_path_factory: pytest.TempPathFactory
) -> None:
    back = there_and_back(ground_truth, tmp_path_factory.mktemp("out"), format)
    areas = dict(zip(ground_truth.ids, ground_truth.areas.tolist(), strict=True))
    assert set(back.ids) == set(ground_truth.ids)
    for id, area in zip(back.ids, back.areas.tolist(), strict=True):
        assert area == pytest.approx(areas[id], rel=1e-9)


# ------------------------------------------------------------------ what is lost is said


def small(**changes: Any) -> GroundTruth:
    columns: dict[str, Any] = {key: np.zeros(2, bool) for key in FLAGS}
    columns |= {
        "images": Images((1, 2), ("a.jpg", "b.jpg"), np.array([100, 100]), np.array([80, 80])),
        "categories": Categories(("cat", "big dog"), (1, 2)),
        "image_index": np.array([0, 0]),
        "class_index": np.array([0, 0]),
        "boxes": np.array([[1, 2, 30, 40], [5, 5, 10, 10.5]]),
        "areas": np.array([1200, 105.0]),
        "source": "coco",
    }
    return GroundTruth(**{**columns, **changes})


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("format", BOX_FORMATS)
def test_a_flag_survives_or_its_loss_is_said(format: str, flag: str, tmp_path: Path) -> None:
    ground_truth = small(**{flag: np.array([True, False])})
    sentences = [sentence for sentence in losses(ground_truth, format) if "flag: 1 box loses" in sentence]
    back = there_and_back(ground_truth, tmp_path, format)
    assert getattr(back, flag).sum() == (0 if sentences else 1)


def test_losses_in_words() -> None:
    assert losses(small(), "voc") == [
        "VOC XML has no table of classes: 1 of 2 have no box and are lost.",
        "VOC XML names classes without COCO's ids: the category ids are lost.",
        "VOC XML names images by their files: the image ids are lost.",
    ]
    masks = losses(small(areas=np.array([700, 105.0])), "yolo")
    assert any(sentence.startswith("YOLO txt has no area: 1 box loses one") for sentence in masks)
    out = losses(small(boxes=np.array([[-5.0, 0, 30, 40], [5, 5, 10, 10.5]])), "yolo")
    assert "YOLO txt goes from 0 to 1: 1 box reaching out of the image cut at its border." in out
    turned = losses(small(boxes=np.array([[50.0, 50, -10, 5], [5, 5, 10, 10.5]])), "voc")
    assert "VOC XML stores corners: 1 box with a negative width or height turned over." in turned
    assert "Open Images CSV lists boxes only: 1 of 2 images have none and are lost." in losses(small(), "openimages")
    both = np.array([0, 1])
    spaces = "KITTI separates columns by spaces: spaces in class names become '_'."
    assert spaces in losses(small(class_index=both), "kitti")
    merged = small(class_index=both, categories=Categories(("A a", "A_a"), (1, 2)))
    assert "KITTI tells classes apart by their names: 2 classes become 1 ('A_a')." in losses(merged, "kitti")
    assert not any("apart" in sentence for sentence in losses(merged, "voc"))
    twins = small(class_index=both, categories=Categories(("x", "x"), (1, 2)))
    for format in BOX_FORMATS:
        said = any(sentence.endswith("2 classes become 1 ('x').") for sentence in losses(twins, format))
        assert said == ("equal class names" not in FORMATS[format].holds)
    outer = small(class_index=both, categories=Categories((" a", "b\1\n"), (1, 2)))
    assert (
        "VOC XML does not keep control characters and outer blanks of names: 2 classes changed (' a' is 'a')."
    ) in losses(outer, "voc")
    assert ("Open Images CSV does not keep blanks around class names: 2 classes changed (' a' is 'a').") in losses(
        outer, "openimages"
    )


ODD_NAMES = (
    "a\rb",
    "c\nd",
    "e\r\nf",
    "g\u2028h",
    "i\x0bj",
    "k\x0cl",
    "m\x85n",
    "\u2029",
    " o ",
    'p,"q"',
    "r: #s",
    "\x7f",
)


@pytest.mark.parametrize("format", BOX_FORMATS)
def test_odd_class_names_come_back_or_their_change_is_said(format: str, tmp_path: Path) -> None:
    count = len(ODD_NAMES)
    ground_truth = replace(
        small(**{flag: np.zeros(count, bool) for flag in FLAGS}),
        categories=Categories(ODD_NAMES, tuple(range(count))),
        image_index=np.zeros(count, np.int64),
        class_index=np.arange(count),
        boxes=np.array([[1.0, 2, 3 + k, 4] for k in range(count)]),
        areas=np.arange(4.0 * 3, 4 * (3 + count), 4),
    )
    if format in ("voc", "voc-seg", "openimages", "kitti", "dota"):
        with pytest.raises(OutputError, match=r"boxes of class 7, as its name '\\u2029' is empty; give it one"):
            write_ground_truth(ground_truth, tmp_path / "new", format)
        assert not (tmp_path / "new").exists()
        ground_truth = replace(
            ground_truth, categories=Categories((*ODD_NAMES[:7], "x", *ODD_NAMES[8:]), tuple(range(count)))
        )
    back = there_and_back(ground_truth, tmp_path, format)
    names = [back.categories.names[back.class_index[row]] for row in np.argsort(back.boxes[:, 2])]
    said = any("class names" in sentence or "of names" in sentence for sentence in losses(ground_truth, format))
    assert said == (names != list(ground_truth.categories.names))
    assert said == (format in ("voc", "voc-seg", "openimages", "kitti", "dota", "cvat"))


@pytest.mark.parametrize("format", BOX_FORMATS)
def test_a_class_without_a_name_is_refused_or_comes_back(format: str, tmp_path: Path) -> None:
    ground_truth = small(categories=Categories(("", "dog"), (4, 5)))
    if "empty class names" in FORMATS[format].holds:
        back = there_and_back(ground_truth, tmp_path, format)
        assert [back.categories.names[k] for k in back.class_index] == ["", ""]
    else:
        with pytest.raises(OutputError, match="cannot hold the boxes of class 4, as its name '' is empty"):
            write_ground_truth(ground_truth, tmp_path / "new", format)
    write_ground_truth(replace(ground_truth, class_index=np.array([1, 1])), tmp_path / "unused", format)


def test_kitti_takes_numbers_for_types_and_leaves_polygons_to_yolo(tmp_path: Path) -> None:
    ground_truth = small(categories=Categories(("0", "1"), (0, 1)), class_index=np.array([0, 1]))
    back = there_and_back(ground_truth, tmp_path, "kitti")
    assert described(back) == described(ground_truth)
    with pytest.raises(InputError, match="is one KITTI file; name the folder"):
        read_ground_truth(tmp_path / "annotations" / "a.txt")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 " + "0.1 0.2 " * 7 + "\n")
    assert recognise(tmp_path / "labels") == "yolo"


def test_writing_stays_in_its_folder(tmp_path: Path) -> None:
    images = Images((1, 2), ("../../evil.jpg", "/etc/b.jpg"), np.array([9, 9]), np.array([9, 9]))
    write_ground_truth(small(images=images), tmp_path / "deep" / "out", "yolo")
    written = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.txt")}
    assert written == {"deep/out/evil.txt", "deep/out/etc/b.txt"}


def test_writing_refuses_what_would_mix_or_overwrite(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a.txt").write_text("")
    with pytest.raises(OutputError, match="old: is not empty"):
        write_ground_truth(small(), tmp_path / "old", "yolo")
    with pytest.raises(OutputError, match="is a folder; COCO JSON is one file"):
        write_ground_truth(small(), tmp_path / "old", "coco")
    twins = Images((1, 2), ("a.jpg", "A.png"), np.array([9, 9]), np.array([9, 9]))
    with pytest.raises(OutputError, match=r"'a\.jpg' and 'A\.png' would be written to the same file"):
        write_ground_truth(small(images=twins), tmp_path / "new", "voc")
    unsized = Images((1, 2), ("a.jpg", "b.png"), np.array([0, 0]), np.array([0, 0]))
    for format in ("yolo", "openimages"):
        with pytest.raises(OutputError, match=r"size of 'a\.jpg' is not known; name the folder .*--images"):
            write_ground_truth(small(images=unsized), tmp_path / "new", format)
    assert not (tmp_path / "new").exists()
    with pytest.raises(UsageError, match="no annotation format 'pdf'"):
        write_ground_truth(small(), tmp_path / "new", "pdf")


@pytest.mark.parametrize("format", ["voc", "yolo", "labelme", "kitti"])
def test_images_that_no_reader_would_find_are_refused(format: str, tmp_path: Path) -> None:
    inner = {"voc": "Annotations/a.jpg", "yolo": "labels/a.jpg", "kitti": "label_2/x/a.jpg"}.get(format)
    for file, said in ((".hid.jpg", "hidden file"), ("x/.y/a.jpg", "hidden file"), (inner, "give the folder another")):
        if file:
            images = Images((1, 2), (file, "b.jpg"), np.array([100, 100]), np.array([80, 80]))
            with pytest.raises(OutputError, match=f"image '{file}' would .*{said}"):
                write_ground_truth(small(images=images), tmp_path / "new", format)
            assert not (tmp_path / "new").exists()


def test_folders_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing" / "here")
    for path in (
        tmp_path / "file" / "out",
        tmp_path / "dangling",
        tmp_path / ("n" * 300),
        tmp_path / ("n" * 300) / "x",
    ):
        with pytest.raises(OutputError, match=f"^cannot write {path}: "):
            write_ground_truth(small(), path, "yolo")


# ------------------------------------------------------------------ VOC


def test_voc_xml_read_by_another_reader() -> None:
    boxes = np.array([[1.5, 2, 30.25, 40.1], [0, 0, 9, 9]], np.float32)
    data = voc_xml("x/a & b.jpg", 640, 480, ["<cat>", "dog"], boxes, scores=[0.9, 0.25], flags={"difficult": [0, 1]})
    root = ElementTree.fromstring(data)
    assert root.findtext("filename") == "a & b.jpg"
    assert root.findtext("folder") == "x"
    assert [root.findtext(f"size/{side}") for side in ("width", "height", "depth")] == ["640", "480", "3"]
    first, second = root.findall("object")
    assert (first.findtext("name"), first.findtext("score"), first.findtext("difficult")) == ("<cat>", "0.9", "0")
    assert [side.text for side in first.find("bndbox") or ()] == ["1.5", "2", "30.25", "40.1"]
    assert (second.findtext("difficult"), second.findtext("truncated")) == ("1", "0")
    assert len(ElementTree.fromstring(voc_xml("a.jpg", 1, 1, [], [])).findall("object")) == 0
    assert "�" in voc_xml("a\0.jpg", 1, 1, [], []).decode()


def voc(*objects: str, filename: str = "a.jpg", size: str = "<width>50</width><height>40</height>") -> str:
    return f"<annotation><filename>{filename}</filename><size>{size}</size>{''.join(objects)}</annotation>"


def voc_object(*sides: object, name: str = "cat", more: str = "") -> str:
    tags = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True))
    return f"<object><name>{name}</name>{more}<bndbox>{tags}</bndbox></object>"


def test_voc_odd_objects(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    part = "<part><name>head</name><bndbox><xmin>0</xmin></bndbox></part>"
    (tmp_path / "a.xml").write_text(
        voc(
            voc_object(1.5, 2, 11.5, 22, more=f"{part}<difficult>1</difficult><occluded>1</occluded>"),
            voc_object(30, 20, 10, 10),
            voc_object(1, 2, "x", 4),
            voc_object(1, 2, "nan", 4),
            voc_object(1, 2, 3, 4, name=" "),
            "<object/>",
        )
    )
    ground_truth = read_ground_truth(tmp_path)
    assert ground_truth.boxes.tolist() == [[1.5, 2, 10, 20], [10, 10, 20, 10]]
    assert (ground_truth.difficult.tolist(), ground_truth.occluded.tolist()) == ([True, False], [True, False])
    assert "reversed boxes, corners put in order: 1 (first: a.xml, object 2)" in caplog.text
    assert "bndbox is not four finite numbers, left out: 2 (first: a.xml, object 3)" in caplog.text
    assert "objects without a name, left out: 2" in caplog.text


def test_voc_file_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.xml").write_text(voc(filename="a.png"))
    (tmp_path / "sub" / "a.xml").write_text(voc(filename="/home/me/a.jpg"))
    (tmp_path / "c.v2.xml").write_text(voc(filename="c.v2.jpeg", size=""))
    (tmp_path / "d.xml").write_text(voc(filename="other.jpg"))
    (tmp_path / "e.xml").write_text("<note/>")
    images = read_ground_truth(tmp_path).images
    assert images.files == ("a.png", "c.v2.jpeg", "d.jpg", "sub/a.jpg")
    assert images.ids == ("a", "c.v2", "d", "sub/a")
    assert images.widths.tolist() == [50, 0, 50, 50]
    assert "`filename` inside says another name: 1 (first: d.xml says 'other.jpg')" in caplog.text
    assert "not VOC annotations, passed over: 1 (first: e.xml (<note>))" in caplog.text


def test_voc_classes_are_in_vocs_order_or_the_alphabets(tmp_path: Path) -> None:
    for names, expected in ((("person", "cat"), ("cat", "person")), (("b", "a", "cat"), ("a", "b", "cat"))):
        (tmp_path / "a.xml").write_text(voc(*(voc_object(0, 0, k + 1, 9, name=n) for k, n in enumerate(names))))
        ground_truth = read_ground_truth(tmp_path / "a.xml")
        assert ground_truth.categories.names == expected
        assert [expected[k] for k in ground_truth.class_index] == list(names)


BOMB = '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;">]>'
FILE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"{BOMB}<annotation>&y;</annotation>", "document type"),
        (f"{FILE}<annotation><filename>&x;</filename></annotation>", "document type"),
        ('<!DOCTYPE annotation SYSTEM "http://example.com/x.dtd"><annotation/>', "document type"),
        ("<annotation>\n<object></annotation>", "not valid XML at line 2"),
        ("<annotation><object>", "not valid XML at line 1"),
        ("<annotation>&undefined;</annotation>", "undefined entity"),
        ('<?xml version="1.0" encoding="nonsense"?><annotation/>', "a.xml"),
    ],
)
def test_voc_that_is_broken_or_not_safe(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(InputError) as error:
        read_ground_truth(tmp_path, format="voc")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_voc_in_another_encoding(tmp_path: Path) -> None:
    text = voc(voc_object(0, 0, 5, 5, name="Kätzchen"))
    (tmp_path / "a.xml").write_bytes(b'<?xml version="1.0" encoding="iso-8859-1"?>' + text.encode("latin-1"))
    assert read_ground_truth(tmp_path).categories.names == ("Kätzchen",)


@needs_shared
def test_bccd() -> None:
    root = SHARED / "data" / "bccd" / "BCCD"
    ground_truth = read_ground_truth(root)
    objects = [
        [ElementTree.parse(file).getroot().findall("object")] for file in sorted((root / "Annotations").glob("*.xml"))
    ]
    flat = [entry for (entries,) in objects for entry in entries]
    assert len(ground_truth) == len(flat)
    assert len(ground_truth.images) == len(objects) == 364
    assert ground_truth.categories.names == ("Platelets", "RBC", "WBC")
    for row in range(0, len(flat), 97):
        x1, y1, x2, y2 = (float(flat[row].findtext(f"bndbox/{k}") or "") for k in ("xmin", "ymin", "xmax", "ymax"))
        assert ground_truth.boxes[row].tolist() == [x1, y1, x2 - x1, y2 - y1]
        assert ground_truth.categories.names[ground_truth.class_index[row]] == flat[row].findtext("name")


# ------------------------------------------------------------------ YOLO


def test_yolo_lines_read_by_another_reader() -> None:
    boxes = np.array([[10, 20, 110, 60], [0, 0, 640, 480]], np.float32)
    lines = [line.split() for line in yolo_lines(boxes, [3, 0], 640, 480, [0.5, 1]).splitlines()]
    assert [int(line[0]) for line in lines] == [3, 0]
    cx, cy, w, h = (float(value) for value in lines[0][1:5])
    assert [(cx - w / 2) * 640, (cy - h / 2) * 480, w * 640, h * 480] == pytest.approx([10, 20, 100, 40], abs=1e-6)
    assert lines[1] == ["0", "0.5", "0.5", "1", "1", "1"]
    assert yolo_lines([], [], 640, 480) == ""
    with pytest.raises(InputError, match=r"not known \(0 x 480\)"):
        yolo_lines(boxes, [0, 0], 0, 480)


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (width + 1) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_yolo_data_set_of_ultralytics(tmp_path: Path) -> None:
    for part in ("images/train", "labels/train"):
        (tmp_path / part).mkdir(parents=True)
    for name in ("a", "b", "background"):
        (tmp_path / "images" / "train" / f"{name}.png").write_bytes(png(200, 100))
    (tmp_path / "labels" / "train" / "a.txt").write_text("1 0.5 0.5 0.25 0.5\n\n0 0.1 0.1 0.1 0.1 \r\n")
    (tmp_path / "labels" / "train" / "b.txt").write_text("")
    (tmp_path / "data.yaml").write_text("path: .\ntrain: images/train\nnames:\n  0: cat # small\n  1: 'big dog'\n")
    for path in (tmp_path, tmp_path / "labels", tmp_path / "labels" / "train"):
        ground_truth = read_ground_truth(path)
        assert ground_truth.source == "yolo"
        assert ground_truth.categories == Categories(("cat", "big dog"), (0, 1))
        assert ground_truth.class_index.tolist() == [1, 0]
        np.testing.assert_allclose(ground_truth.boxes, [[75, 25, 50, 50], [10, 5, 20, 10]])
        assert [file.rpartition("/")[2] for file in ground_truth.images.files] == ["a.png", "b.png", "background.png"]


def test_yolo_data_set_of_roboflow(tmp_path: Path) -> None:
    for split, name, size in (("train", "a", 100), ("train", "b", 20), ("valid", "a", 200), ("valid", "c", 40)):
        for folder in ("images", "labels"):
            (tmp_path / split / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / split / "images" / f"{name}.png").write_bytes(png(size, size))
        (tmp_path / split / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text("train: ../train/images\nnames: ['cell']\n")
    ground_truth = read_ground_truth(tmp_path)
    files = [f"{name}.png" for name in ("train/images/a", "train/images/b", "valid/images/a", "valid/images/c")]
    assert list(ground_truth.images.files) == files
    assert ground_truth.image_index.tolist() == [0, 1, 2, 3]
    assert ground_truth.boxes[:, 2].tolist() == [50, 10, 100, 20]
    for split in (tmp_path / "train", tmp_path / "train" / "labels"):
        assert read_ground_truth(split).categories.names == ("cell",)
    renamed = Images((1, 2, 3), ("train/a.png", "valid/a.png", "b.png"), np.full(3, 10), np.full(3, 10))
    for label in tmp_path.rglob("*.txt"):
        label.write_text("0 0.5 0.5 0.5 0.5 0.9\n")
    predictions = read_predictions(tmp_path, small(images=renamed, categories=Categories(("cell",), (1,))))
    assert predictions.image_index.tolist() == [0, 2, 1]


def test_background_pictures_that_differ_in_their_ending_only(tmp_path: Path) -> None:
    (tmp_path / "sizes.csv").write_text("file,width,height\na.jpg,9,8\na.png,7,6\nb.jpg,5,5\n")
    (tmp_path / "b.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    images = read_ground_truth(tmp_path).images
    assert images.files == ("b.jpg", "a.jpg", "a.png")
    assert images.widths.tolist() == [5, 9, 7]
    assert len(set(images.ids)) == 3


def test_yolo_odd_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "sizes.csv").write_text("file,width,height\na.jpg,100,100\n")
    lines = ["0 0.5 0.5 0.2 0.2", "cat 0.5 0.5 0.2 0.2", "0 0.5 0.5 0.2", "0.5 0.5 0.5 0.2 0.2", "-1 0.5 0.5 0.2 0.2",
             "0 nan 0.5 0.2 0.2", "2 0.1 0.1 0.3 0.1 0.3 0.2", "0 0.5 0.5 -0.2 0.2", "0 0.5 0.5 0 0.2"]  # fmt: skip
    (tmp_path / "a.txt").write_text("\n".join(lines))
    (tmp_path / "z.txt").write_text("0 0.5 0.5 0.2 0.2")
    ground_truth = read_ground_truth(tmp_path)
    np.testing.assert_allclose(
        ground_truth.boxes, [[40, 40, 20, 20], [10, 10, 20, 10], [60, 40, -20, 20], [50, 40, 0, 20]]
    )
    assert ground_truth.categories == Categories(("0", "2"), (0, 2))
    assert "lines that are not `class cx cy w h`, left out: 5 (first: a.txt, line 2" in caplog.text
    assert "boxes of images whose size is not known, left out: 1 (first: z.txt, line 1)" in caplog.text
    assert "negative width or height" in caplog.text
    assert "width or height 0" in caplog.text


def test_yolo_classes_are_those_with_boxes_or_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "sizes.csv").write_text("file,width,height\na.jpg,100,100\n")
    (tmp_path / "a.txt").write_text("".join(f"{k} 0.5 0.5 0.2 0.2\n" for k in (9999, 0, 12345678, 1)))
    unnamed = read_ground_truth(tmp_path)
    assert unnamed.categories == Categories(("0", "1", "9999", "12345678"), (0, 1, 9999, 12345678))
    assert unnamed.class_index.tolist() == [2, 0, 3, 1]
    assert not caplog.messages
    named = read_ground_truth(tmp_path, names=["cat", "dog", "cat"])
    assert named.categories == Categories(("cat", "dog", "cat", "9999", "12345678"), (0, 1, 2, 9999, 12345678))
    assert named.class_index.tolist() == [3, 0, 4, 1]
    assert "beyond the list of names, called by their number: 2 (first: 9999)" in caplog.text
    (tmp_path / "a.txt").write_text("".join(f"{k} 0.5 0.5 0.2 0.2 0.{k + 1}\n" for k in (2, 0, 9999)))
    predictions = read_predictions(tmp_path, unnamed)
    assert predictions.class_index.tolist() == [0, 2]
    assert "2" not in unnamed.categories.names


def test_yolo_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0 50 50 20 20\n")
    with pytest.raises(InputError, match="relative to the image; name the folder"):
        read_ground_truth(tmp_path)
    (tmp_path / "sizes.csv").write_text("file,width,height\na.jpg,100,100\n")
    with pytest.raises(InputError, match="1 of 1 boxes are not relative to the image"):
        read_ground_truth(tmp_path)
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.2 0.2 0.9\n")
    with pytest.raises(InputError, match=r"all of its 1 boxes have scores.*swapped"):
        read_ground_truth(tmp_path)
    (tmp_path / "a.txt").write_text("hello\n")
    with pytest.raises(InputError, match="none of its 1 lines is"):
        read_ground_truth(tmp_path, format="yolo")
    (tmp_path / "sizes.csv").write_text("file,width,height\na.jpg,100,-1\n")
    with pytest.raises(InputError, match=r"sizes\.csv: line 2 is not a file name with a width and a height"):
        read_ground_truth(tmp_path, format="yolo")


def test_yolo_predictions_take_sizes_and_names_from_the_ground_truth(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """rf-detr #961: class 0 is the first class, whatever its id."""
    (tmp_path / "a.txt").write_text("1 0.5 0.5 0.2 0.25 0.75\n")
    ground_truth = small(categories=Categories(("cat", "dog"), (9, 4)))
    predictions = read_predictions(tmp_path, ground_truth)
    assert predictions.class_index.tolist() == [0]
    np.testing.assert_allclose(predictions.boxes, [[40, 30, 20, 20]])
    assert predictions.scores.tolist() == [0.75]
    assert "in the order of their ids: 1 (first: 0 is 'dog')" in caplog.text
    (tmp_path / "classes.txt").write_text("mouse\ncat\n")
    assert read_predictions(tmp_path, ground_truth).class_index.tolist() == [0]


def test_a_folder_of_images_adds_to_the_sizes_that_are_known(tmp_path: Path) -> None:
    for folder in ("gt", "dt", "pictures"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png(7, 7))
    (tmp_path / "pictures" / "b.png").write_bytes(png(50, 40))
    (tmp_path / "dt" / "sizes.csv").write_text("file,width,height\nc.jpg,20,10\n")
    for name in "abc":
        (tmp_path / "dt" / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.25 0.75\n")
    images = Images((1, 2, 3), ("a.jpg", "b.jpg", "c.jpg"), np.array([100, 0, 0]), np.array([80, 0, 0]))
    predictions = read_predictions(tmp_path / "dt", small(images=images), images=tmp_path / "pictures")
    assert predictions.image_index.tolist() == [0, 1, 2]
    np.testing.assert_allclose(predictions.boxes[:, 2:], [[20, 20], [10, 10], [4, 2.5]])
    (tmp_path / "gt" / "sizes.csv").write_text("file,width,height\na.jpg,100,80\nempty.jpg,9,9\n")
    (tmp_path / "gt" / "a.txt").write_text("0 0.5 0.5 0.2 0.25\n")
    (tmp_path / "pictures" / "a.png").unlink()
    ground_truth = read_ground_truth(tmp_path / "gt", images=tmp_path / "pictures")
    assert ground_truth.images.files == ("a.jpg", "b.png", "empty.jpg")
    assert ground_truth.boxes[:, 2:].tolist() == [[20, 20]]


def test_boxes_without_any_size_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "sizes.csv").write_text("file,width,height\nb.jpg,10,10\n")
    (tmp_path / "a" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    said = r"none of its 1 boxes can be used: the size of their image is not known \(first: .*\(--images\)"
    with pytest.raises(InputError, match=said):
        read_ground_truth(tmp_path / "a")
    (tmp_path / "g.csv").write_text("ImageID,LabelName,XMin,XMax,YMin,YMax\na,cat,0,1,0,1\n")
    with pytest.raises(InputError, match=said):
        read_ground_truth(tmp_path / "g.csv", images=tmp_path / "a" / "sizes.csv")
    (tmp_path / "a" / "a.txt").write_text("0 0.5 0.5 0.2 0.2 0.9\n")
    none = np.zeros(2, np.int64)
    with pytest.raises(InputError, match=said):
        read_predictions(tmp_path / "a", small(images=Images((1, 2), ("a.jpg", "b.jpg"), none, none)))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [a, 'b, c', \"d\\u00e9\", e f]  # x", ["a", "b, c", "dé", "e f"]),
        ("nc: 2\nnames: [a,\n  # comment\n  b,\n]\n", ["a", "b"]),
        ("names:\n- a\n- b c\nnc: 2", ["a", "b c"]),
        ("names:\n  - 'it''s'\n  - a#b # c\n", ["it's", "a#b"]),
        (
            'names:\n  0: person\n  1: "a: b"\n\n  # x\n  2: c\ndownload: |\n  0: no\n',
            {"0": "person", "1": "a: b", "2": "c"},
        ),
        ("names: {0: a, '1': \"b: c\"}", {"0": "a", "1": "b: c"}),
    ],
)
def test_names_in_yaml(text: str, names: Any) -> None:
    assert yaml_names("data.yaml", text) == names


@pytest.mark.parametrize(
    "text",
    ["names:", "names: [a, b", "names: {a}", "names: {0: a", "names: *x", "names:\n  0: [a]", "names:\n  0: 'a",
     "names:\n  - a\n  1: b", "names: [\"\\x\"]", "names: [a, , b]", "nc: 3", "names: ./names.txt"],
)  # fmt: skip
def test_names_in_yaml_that_is_not_read(text: str) -> None:
    with pytest.raises(InputError, match=r"^data\.yaml: "):
        yaml_names("data.yaml", text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [no, yes, 1, null, ~, 1.50, 010]", ["no", "yes", "1", "null", "~", "1.50", "010"]),
        ("path: ../d\ntrain: images\nnames: &n\n  0: a\nother: *n\n", {"0": "a"}),
        ("names:\n  0: >-\n    long\n    name\n  1: !!str b\n", {"0": "long name", "1": "b"}),
        ("---\nnames: [a]\n...\n", ["a"]),
        ("names: ['', a]", ["", "a"]),
        ("names:\n    - a\n    - b: c\n".replace("b: c", "'b: c'"), ["a", "b: c"]),
    ],
)
def test_names_in_yaml_are_text(text: str, names: Any) -> None:
    assert yaml_names("data.yaml", text) == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nc: 2\nnames: [a,\n  b\nval: x", "line 4"),
        ("names:\n  0: a\n  0: b\n", "line 3 gives the key '0' a second time"),
        ("names:\n  0: 'a\n  1: b\n", "line"),
        ("names:\n\t- a", "line 2"),
        ("- a\n- b\n", "is not a map"),
        ("names: *x", "line 1: found undefined alias"),
        ("names: " + "[" * 3000 + "]" * 3000, "line 1"),
        ("\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
                   + [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 9)]), "values"),
    ],
)  # fmt: skip
def test_yaml_that_cannot_be_read_is_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        yaml_names("data.yaml", text)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_yaml_is_imported_when_it_is_read() -> None:
    code = "import sys, detkit.annotations.reading, detkit.annotations.writing; print('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_names_in_other_files(tmp_path: Path) -> None:
    path = tmp_path / "names"
    for content in ("cat\nbig dog\n", '["cat", "big dog"]', '{"1": "big dog", "0": "cat"}', "names: [cat, big dog]"):
        path.write_text(content)
        assert read_names(path) == ("cat", "big dog")
    for content in ("cat\n\ndog\n", "[]", '{"1": "cat"}', '{"names": 3}', "names:\n  1: cat\n"):
        path.write_text(content)
        with pytest.raises(InputError, match="names: "):
            read_names(path)
    path.write_text("/m/1,Cat\n/m/2,Dog (big)\n")
    assert read_labels(path) == {"/m/1": "Cat", "/m/2": "Dog (big)"}


# ------------------------------------------------------------------ image sizes


@needs_shared
def test_image_sizes_are_those_of_the_decoded_pictures() -> None:
    folder = SHARED / "data" / "coco128"
    sizes = {
        e["file_name"]: (e["width"], e["height"]) for e in json.loads((folder / "instances.json").read_text())["images"]
    }
    for file, size in sizes.items():
        assert image_size(folder / "images" / file) == size


@pytest.mark.parametrize(("orientation", "size"), [(1, (40, 20)), (3, (40, 20)), (6, (20, 40)), (8, (20, 40))])
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_rotation_swaps_the_sides(tmp_path: Path, orientation: int, size: tuple[int, int], order: str) -> None:
    """supervision PR #2577, yolov5 #405."""
    import cv2

    jpeg = cv2.imencode(".jpg", np.zeros((20, 40, 3), np.uint8))[1].tobytes()
    mark = b"II" if order == "<" else b"MM"
    tiff = mark + struct.pack(f"{order}HIHHHIHH", 42, 8, 1, 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0" + tiff + b"\0" * 4
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    assert image_size(path) == size
    assert cv2.imread(str(path)).shape[1::-1] == size


def test_other_pictures_and_what_is_none(tmp_path: Path) -> None:
    import cv2

    for ending in (".png", ".bmp", ".webp"):
        path = tmp_path / f"a{ending}"
        path.write_bytes(cv2.imencode(ending, np.zeros((5, 9, 3), np.uint8))[1].tobytes())
        assert image_size(path) == (9, 5)
    for content in (b"", b"\xff\xd8", b"\xff\xd8\xff\xe1\x00", b"\x89PNG\r\n\x1a\n", b"hello"):
        (tmp_path / "b.jpg").write_bytes(content)
        with pytest.raises(InputError, match=r"b\.jpg: "):
            image_size(tmp_path / "b.jpg")


# ------------------------------------------------------------------ JSON Lines and CSV


def test_jsonl_as_the_command_line_documents_it(tmp_path: Path) -> None:
    line = {"file": "a/b.jpg", "width": 640, "height": 480, "detections": [
        {"box": [1, 2, 3, 5], "score": 0.9, "class": "person", "class_id": 0}]}  # fmt: skip
    (tmp_path / "d").write_text(json.dumps(line) + "\n" + json.dumps({"file": "c.jpg", "error": "cannot be read"}))
    images = Images((1, 2), ("b.jpg", "c.jpg"), np.array([640, 1]), np.array([480, 1]))
    predictions = read_predictions(tmp_path / "d", small(images=images, categories=Categories(("x", "person"), (0, 1))))
    assert (predictions.image_index.tolist(), predictions.class_index.tolist()) == ([0], [1])
    assert predictions.boxes.tolist() == [[1, 2, 2, 3]]


def test_jsonl_odd_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    boxes = [{"box": [9, 9, 1, 2], "class": "cat"}, {"box": [1, 2, 3], "class": "cat"}, {"class": "cat"},
             {"box": [0, 0, 1, 1], "class_id": 1}, {"box": [0, 0, 1, 1], "class": 5, "crowd": True}]  # fmt: skip
    lines = [{"file": "a.jpg", "annotations": boxes}, {"annotations": []}, {"file": "b.jpg", "error": "no"},
             {"file": "./a.jpg", "annotations": []}, {"file": "v.mp4", "time": 0.5, "annotations": []},
             {"file": "v.mp4", "frame": 3, "time": 0.5, "annotations": []}]  # fmt: skip
    (tmp_path / "g").write_text("\n\n".join(map(json.dumps, lines)))
    ground_truth = read_ground_truth(tmp_path / "g")
    assert ground_truth.images.files == ("a.jpg", "b.jpg", "v.mp4#0.5s", "v.mp4#3")
    assert ground_truth.boxes.tolist() == [[1, 2, 8, 7], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert [ground_truth.categories.names[k] for k in ground_truth.class_index] == ["cat", "1", "5"]
    assert ground_truth.crowd.tolist() == [False, False, True]
    for said in ("reversed boxes, corners put in order: 1", "not four finite numbers, left out: 2",
                 "lines without a 'file', left out: 1 (first: line 3)", "could not be read when the file was made",
                 "more than one line, joined: 1"):  # fmt: skip
        assert said in caplog.text


def test_jsonl_files_with_one_image_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [{"file": "a.jpg", "image_id": 7}, {"file": "b.jpg", "image_id": 7}, {"file": "c.jpg", "image_id": "d"},
             {"file": "d.jpg"}, {"file": "e.jpg", "image_id": 7}]  # fmt: skip
    (tmp_path / "g").write_text("\n".join(json.dumps({**line, "annotations": []}) for line in lines))
    ground_truth = read_ground_truth(tmp_path / "g")
    assert ground_truth.images.ids == (7, "b", "d", "d.jpg", "e")
    assert "the later ones are called by their names: 2 (first: 7, 'b.jpg')" in caplog.text
    write_ground_truth(ground_truth, tmp_path / "g.json", "coco")
    assert len({image["id"] for image in json.loads((tmp_path / "g.json").read_text())["images"]}) == 5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"file": "a.jpg", "detections": []}\n{"file": "b.jpg", "det', "line 2: is not valid JSON at column 23: "),
        ('{"file": "a.jpg"}', "line 1 has no list of objects 'detections' or 'annotations'; here are 'file'"),
        ('{"file": "a.jpg", "annotations": [3]}', "line 1 has no list of objects"),
        ('{"file": "a.jpg", "annotations": []}\n[1]', "line 2 is not a JSON object: [1]"),
        ('{"file": "a.jpg", "annotations": [{"box": [0, 0, 1, 1]}]}', "neither 'class' nor a 'class_id'"),
        ('{"file": "a.jpg", "annotations": [{"box": [0, 0, 1, 1], "class": "a", "score": 0.5}]}', "swapped"),
        ('{"file": 3, "annotations": []}', "holds no images"),
    ],
)
def test_jsonl_that_cannot_be_used(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "g").write_text(content)
    with pytest.raises(InputError) as error:
        read_ground_truth(tmp_path / "g")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_csv_read_by_another_reader(tmp_path: Path) -> None:
    write_ground_truth(small(), tmp_path / "g.csv", "csv")
    with open(tmp_path / "g.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[: len(CSV_HEADER)] == list(CSV_HEADER)
    assert [rows[0][key] for key in CSV_HEADER] == ["a.jpg", "100", "80", "1", "2", "31", "42", "", "cat", "1"]
    assert rows[2]["file"] == "b.jpg"
    assert rows[2]["x1"] == ""


def test_csv_odd_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = 'Class,x1,y1,x2,y2,score,FILE,class_id\n"a, b",1,2,3,4,0.5,x/a.jpg,0\ncat,9,9,1,1,0.25,a.jpg\n'
    text += "cat,1,2,x,4,0.5,a.jpg\ncat,1,2,3,4,0.5,\n,1,2,3,4,0.75,b.jpg,0\ncat,1,2,3,4,,b.jpg,7\n"
    (tmp_path / "d").write_text(text)
    predictions = read_predictions(tmp_path / "d", small(categories=Categories(("Cat", "a, b"), (5, 4))))
    assert predictions.scores.tolist() == [0.5, 0.25, 0.75]
    assert predictions.image_index.tolist() == [0, 0, 1]
    assert predictions.class_index.tolist() == [1, 0, 1]
    assert predictions.boxes[1].tolist() == [1, 1, 8, 8]
    for said in ("reversed boxes", "left out: 1 (first: line 4", "lines without a file", "without a score, left out: 1",
                 "taken as classes counted from 0: 1 (first: 0 is 'a, b')", "'cat' and 'Cat'"):  # fmt: skip
        assert said in caplog.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("file,x1,y1,x2,y2\na,1,2,3,4\n", "the header lacks 'class'"),
        ("file,x1,y1,x2,class\na,1,2,3,4\n", "the header lacks 'y2'"),
        ('file,x1,y1,x2,y2,class\na,1,2,3,4,"cat\n', "is not CSV at line"),
        ("file,x1,y1,x2,y2,class\na,1,2,3,4,\n", "line 2 has neither a class nor a class_id"),
        ("file,x1,y1,x2,y2,class\n", "holds no images"),
    ],
)
def test_csv_that_cannot_be_used(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "g").write_text(content)
    with pytest.raises(InputError) as error:
        read_ground_truth(tmp_path / "g", format="csv")
    assert said in str(error.value)


# ------------------------------------------------------------------ LabelMe, Open Images, KITTI


def test_labelme_shapes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def shape(kind: Any, *points: Any, label: Any = "cat", **more: Any) -> dict[str, Any]:
        return {"label": label, "points": list(points), "shape_type": kind, "flags": {}, **more}

    shapes = [
        shape("rectangle", [30, 40], [10, 5], flags={"difficult": True, "blurred": True}),
        shape("polygon", [1, 1], [5, 2], [3, 9]),
        shape("circle", [20, 20], [23, 24]),
        shape("polygon", [0, 0], [1, 0], [1, 1], group_id=4, label="dog"),
        shape("polygon", [8, 8], [9, 8], [9, 9], group_id=4, label="dog"),
        shape("rectangle", [0, 0], [1, 1], group_id=4, label="dog"),
        shape(None, [0, 0], [2, 0], [2, 2], difficult=True),
        shape("point", [1, 1]),
        shape("polygon", [1, "x"], [5, 2], [3, 9]),
        shape("rectangle", [1, 1]),
        shape("rectangle", [1, 1], [2, 2], label=""),
    ]
    document = {"version": "5.0", "shapes": shapes, "imagePath": "..\\img\\a.png", "imageHeight": 50, "imageWidth": 60}
    (tmp_path / "a.json").write_text(json.dumps(document))
    (tmp_path / "other.json").write_text("{}")
    for path in (tmp_path, tmp_path / "a.json"):
        ground_truth = read_ground_truth(path)
        assert ground_truth.images.files == ("a.png",)
        assert ground_truth.boxes.tolist() == [
            [10, 5, 20, 35], [1, 1, 4, 8], [15, 15, 10, 10], [0, 0, 9, 9], [0, 0, 1, 1], [0, 0, 2, 2],
        ]  # fmt: skip
        assert ground_truth.difficult.tolist() == [True, False, False, False, False, True]
    for said in ("points, lines), left out: 1 (first: a.json, shape 8: point)", "not finite numbers, left out: 2",
                 "shapes without a label", "not LabelMe's, passed over: 1 (first: other.json)"):  # fmt: skip
        assert said in caplog.text


def test_open_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside",
        "000a,xclick,/m/1,1,0.1,0.5,0.25,0.75,1,0,1,0,0",
        "000a,xclick,/m/2,1,0.5,0.1,0,1,-1,-1,-1,-1,-1",
        "000b,xclick,/m/2,1,0,1,0,1,0,0,0,0,0",
        "000a,xclick,/m/2,1,,1,0,1,0,0,0,0,0",
    ]
    (tmp_path / "g.csv").write_text("\n".join(rows))
    (tmp_path / "labels.csv").write_text("LabelName,DisplayName\n/m/1,Cat\n/m/2,Dog\n")
    with pytest.raises(InputError, match="name the folder of its images"):
        read_ground_truth(tmp_path / "g.csv")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "000a.png").write_bytes(png(100, 40))
    (tmp_path / "images" / "empty.png").write_bytes(png(10, 10))
    ground_truth = read_ground_truth(tmp_path / "g.csv", images=tmp_path / "images", names=tmp_path / "labels.csv")
    np.testing.assert_allclose(ground_truth.boxes, [[10, 10, 40, 20], [10, 0, 40, 40]])
    assert ground_truth.categories == Categories(("Cat", "Dog"), ("/m/1", "/m/2"))
    assert (ground_truth.crowd.tolist(), ground_truth.occluded.tolist()) == ([True, False], [True, False])
    assert ground_truth.images.files == ("000a.png", "empty.png")
    for said in ("reversed boxes", "size is not known, left out: 1 (first: line 4", "left out: 1 (first: line 5"):
        assert said in caplog.text
    (tmp_path / "d.csv").write_text("ImageID,LabelName,Score,XMin,XMax,YMin,YMax\n000a,/m/2,0.5,0,1,0,0.5\n")
    predictions = read_predictions(tmp_path / "d.csv", ground_truth)
    assert predictions.boxes.tolist() == [[0, 0, 100, 20]]
    assert (predictions.class_index.tolist(), predictions.scores.tolist()) == ([1], [0.5])
    with pytest.raises(InputError, match="swapped"):
        read_ground_truth(tmp_path / "d.csv", images=tmp_path / "images")


def test_kitti(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    space = "1.4 1.5 3.3 -2.7 1.7 3.7 -1.6"
    lines = [
        f"Car 0.00 0 -1.59 586.42 199.76 662.87 266.02 {space}",
        f"Pedestrian 0.30 2 0.21 50 20 10 10 {space}",
        f"Van 0.00 3 0.21 0 0 10 10 {space}",
        "DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10",
        "Car 0.00 0 -1.59 586.42",
    ]
    (tmp_path / "label_2").mkdir()
    (tmp_path / "label_2" / "000000.txt").write_text("\n".join(lines))
    (tmp_path / "label_2" / "000001.txt").write_text("")
    ground_truth = read_ground_truth(tmp_path / "label_2")
    np.testing.assert_allclose(ground_truth.boxes[:2], [[586.42, 199.76, 76.45, 66.26], [10, 10, 40, 10]])
    assert ground_truth.truncated.tolist() == [False, True, False, False]
    assert ground_truth.occluded.tolist() == [False, True, False, False]
    assert ground_truth.ignore.tolist() == [False, False, False, True]
    assert ground_truth.images.ids == ("000000", "000001")
    assert "15 or 16 columns), left out: 1 (first: 000000.txt, line 5" in caplog.text
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "000000.txt").write_text(lines[0] + " 0.75\n")
    predictions = read_predictions(tmp_path / "results", ground_truth)
    assert predictions.scores.tolist() == [0.75]
    assert predictions.class_index.tolist() == [ground_truth.categories.names.index("Car")]


# ------------------------------------------------------------------ numbers as text


@given(st.floats(-1e7, 1e7))
def test_number_text_keeps_twelve_digits(value: float) -> None:
    assert float(number_text(value)) == pytest.approx(value, rel=1e-11, abs=1e-11)
    assert "e" not in number_text(value)


def test_number_text_is_short() -> None:
    assert [number_text(value) for value in (12.0, 12.5, 0.1 + 0.2, -0.0, 1e-20, 1 / 3)] == [
        "12", "12.5", "0.3", "0", "0", "0.333333333333",
    ]  # fmt: skip
    assert shortest_doubles(np.array([12.3], np.float32)).tolist() == [12.3]


def test_csv_keeps_the_spaces_of_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "file,width,height, x1 ,y1,x2,y2,score,class,class_id\n a .jpg,9, 9,1, 2,3,4, ,big  cat , 7\n"
    )
    truth = read_ground_truth(tmp_path / "a.csv")
    assert truth.images.files == (" a .jpg",)
    assert truth.categories.names == ("big  cat ",)
    assert truth.categories.ids == (7,)


def test_train_txt_may_be_labels(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "val.txt").write_text("images/a.jpg\n")
    (tmp_path / "classes.txt").write_text("cat\n")
    (tmp_path / "sizes.csv").write_text("file,width,height\ntrain.jpg,100,100\n")
    truth = read_ground_truth(tmp_path, "yolo")
    assert truth.images.files == ("train.jpg",)
    assert truth.categories.names == ("cat",)
    assert len(truth) == 1
