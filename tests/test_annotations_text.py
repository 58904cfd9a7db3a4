"""Text, numbers and files of which nothing would be left: encodings, accents, long ids, flags, lost boxes."""

from __future__ import annotations

import json
import logging
import math
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from detkit.annotations import read_ground_truth, read_predictions, recognise, write_ground_truth
from detkit.annotations.columns import flag
from detkit.classes import classes_called
from detkit.cli.evaluate import evaluate
from detkit.errors import InputError

app = typer.Typer()
app.command()(evaluate)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)))


# ------------------------------------------------------------------ 10: flags


@pytest.mark.parametrize("value", ["1", "1.0", "True", "true", " TRUE ", "yes", "2", "0.5", "Y", "t", True, 1, 1.0, 3])
def test_flags_that_are_set(value: object) -> None:
    assert flag(value)


@pytest.mark.parametrize("value", ["0", "0.0", "False", "", "no", "-1", "none", "nan", None, False, 0, -1, 0.0, [], {}])
def test_flags_that_are_not_set(value: object) -> None:
    assert not flag(value)


def voc(objects: str, declaration: str = "") -> str:
    return (
        f"{declaration}<annotation><filename>a.jpg</filename><size><width>90</width><height>80</height></size>"
        f"{objects}</annotation>"
    )


BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>31</xmax><ymax>42</ymax></bndbox>"


@pytest.mark.parametrize("value", ["1", "1.0", "True"])
def test_flags_in_files(tmp_path: Path, value: str) -> None:
    (tmp_path / "a.xml").write_text(
        voc(f"<object><name>x</name>{BOX}<difficult>{value}</difficult><truncated>0.0</truncated></object>")
    )
    (tmp_path / "a.csv").write_text(f"file,x1,y1,x2,y2,class,crowd,difficult\na.jpg,1,2,31,42,x,0.0,{value}\n")
    for path in (tmp_path / "a.xml", tmp_path / "a.csv"):
        truth = read_ground_truth(path)
        assert truth.difficult.tolist() == [True]
        assert not truth.truncated.any()
        assert not truth.crowd.any()


# ------------------------------------------------------------------ 10: encodings


@pytest.mark.parametrize(
    ("declared", "codec", "name"),
    [
        ("GBK", "gbk", "汽车"), ("gb2312", "gbk", "汽车"), ("GB18030", "gb18030", "汽车"), ("Big5", "big5", "汽車"),
        ("Shift_JIS", "shift_jis", "車"), ("EUC-KR", "euc-kr", "차"), ("utf8", "utf-8", "é車"), ("UTF8", "utf-8", "é"),
        ("utf-8", "utf-8-sig", "é"), ("UTF-16", "utf-16", "é車"), ("utf-16", "utf-16-le", "é車"),
        ("UTF-16", "utf-16-be", "é車"), ("ISO-8859-1", "latin-1", "é"), ("windows-1252", "cp1252", "é€"),
        ("windows-1251", "cp1251", "дом"), ("koi8-r", "koi8-r", "дом"), ("UTF-32", "utf-32", "é車"),
        ("us-ascii", "ascii", "e"),
    ],
)  # fmt: skip
def test_xml_in_other_encodings(tmp_path: Path, declared: str, codec: str, name: str) -> None:
    text = voc(f"<object><name>{name}</name>{BOX}</object>", f'<?xml version="1.0" encoding="{declared}"?>\n')
    (tmp_path / "a.xml").write_bytes(text.encode(codec))
    assert recognise(tmp_path) == recognise(tmp_path / "a.xml") == "voc"
    truth = read_ground_truth(tmp_path)
    assert truth.categories.names == (name,)
    assert truth.boxes.tolist() == [[1, 2, 30, 40]]


@pytest.mark.parametrize(
    ("declared", "content", "said"),
    [
        ("klingon", b"x", "encoding that is not known, 'klingon'"),
        ("utf-8", b"\xc4\xe3", "line 1 is not utf-8 text"),
        ("ascii", b"\xc4\xe3", "line 1 is not ascii text"),
        (None, b"\xc4\xe3", "line 1 is not utf-8 text"),
    ],
)
def test_xml_that_is_not_what_it_says(tmp_path: Path, declared: str | None, content: bytes, said: str) -> None:
    head = b"" if declared is None else f'<?xml version="1.0" encoding="{declared}"?>'.encode()
    (tmp_path / "a.xml").write_bytes(head + voc(f"<object><name>NAME</name>{BOX}</object>").encode().replace(
        b"NAME", content))  # fmt: skip
    with pytest.raises(InputError) as error:
        read_ground_truth(tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_json_and_csv_in_wide_characters(tmp_path: Path, codec: str) -> None:
    contents = {
        "a.json": json.dumps(coco("a.jpg", "é車"), ensure_ascii=False),
        "a.jsonl": json.dumps({"file": "a.jpg", "annotations": [{"box": [1, 2, 31, 42], "class": "é車"}]},
                              ensure_ascii=False),
        "a.csv": "file,x1,y1,x2,y2,class\na.jpg,1,2,31,42,é車\n",
    }  # fmt: skip
    for name, text in contents.items():
        (tmp_path / name).write_bytes(text.encode(codec))
        assert read_ground_truth(tmp_path / name).categories.names == ("é車",)


# ------------------------------------------------------------------ 10: composed and decomposed


def coco(file: str, name: str, image_id: Any = 1, category_id: Any = 1, id: Any = 1) -> dict[str, Any]:
    return {
        "images": [{"id": image_id, "file_name": file, "width": 90, "height": 80}],
        "annotations": [{"id": id, "image_id": image_id, "category_id": category_id, "bbox": [1, 2, 30, 40],
                         "area": 1200, "iscrowd": 0}],
        "categories": [{"id": category_id, "name": name}],
    }  # fmt: skip


@pytest.mark.parametrize("word", ["café", "Ängström", "が", "한국", "naïve façade", "ệ"])
@pytest.mark.parametrize(("here", "there"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_accents_in_names(tmp_path: Path, word: str, here: Any, there: Any) -> None:
    own, other = unicodedata.normalize(here, word), unicodedata.normalize(there, word)
    (tmp_path / "g.json").write_text(json.dumps(coco(f"x/{own}.jpg", own)))
    truth = read_ground_truth(tmp_path / "g.json")
    line = {"file": f"{other}.png", "detections": [{"box": [1, 2, 31, 42], "score": 0.5, "class": other}]}
    (tmp_path / "d.jsonl").write_text(json.dumps(line))
    assert len(read_predictions(tmp_path / "d.jsonl", truth)) == 1
    assert classes_called(other, truth.categories.names) == [0]
    # One class in two spellings is one class.
    both = [{"box": [1, 2, 31, 42], "class": own}, {"box": [3, 2, 31, 42], "class": other}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"file": "a.jpg", "annotations": both}))
    assert len(read_ground_truth(tmp_path / "a.jsonl").categories) == 1
    (tmp_path / "a.xml").write_text(voc("".join(f"<object><name>{name}</name>{BOX}</object>" for name in (own, other))))
    assert len(read_ground_truth(tmp_path / "a.xml").categories) == 1


# ------------------------------------------------------------------ 10: long ids

LONG = [2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**127 + 1, 10**38 + 7, -(2**63), -(2**70), 2**53 + 1]


@pytest.mark.parametrize("id", LONG)
def test_ids_of_any_length(tmp_path: Path, id: int) -> None:
    document = coco("a.jpg", "cat", id, id, id)
    near = coco("b.jpg", "dog", id + 1, id + 1, id + 1)
    for key in document:
        document[key] += near[key]
    (tmp_path / "g.json").write_text(json.dumps(document))
    truth = read_ground_truth(tmp_path / "g.json")
    assert truth.images.ids == truth.categories.ids == truth.ids == (id, id + 1)
    found = [{"image_id": k, "category_id": k, "bbox": [1, 2, 30, 40], "score": 0.5} for k in (id, id + 1)]
    (tmp_path / "d.json").write_text(json.dumps(found))
    assert read_predictions(tmp_path / "d.json", truth).image_index.tolist() == [0, 1]
    assert read_predictions(tmp_path / "d.json", truth).class_index.tolist() == [0, 1]
    done = run(tmp_path / "d.json", tmp_path / "g.json", "--json", "-")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["figures"]["AP"] == pytest.approx(1)
    for form in ("coco", "jsonl", "csv", "voc"):
        write_ground_truth(truth, tmp_path / f"out.{form}", form)
        back = read_ground_truth(tmp_path / f"out.{form}")
        assert len(back) == 2
        if form != "voc":
            assert sorted(back.categories.ids) == [id, id + 1]  # type: ignore[type-var]
        if form in ("coco", "jsonl"):
            assert back.images.ids == (id, id + 1)


# ------------------------------------------------------------------ 10: CSV of other tools


@pytest.mark.parametrize(
    "text",
    [
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,90,80,cat,1,2,31,42\n",
        "filename,xmin,ymin,xmax,ymax,class\nx/a.jpg,1,2,31,42,cat\n",
        "filename;xmin;ymin;xmax;ymax;label\na.jpg;1;2;31;42;cat\n",
        "image\txmin\tymin\txmax\tymax\tlabel\na.jpg\t1\t2\t31\t42\tcat\n",
        "image_path,x_min,y_min,x_max,y_max,class_name\n/data/a.jpg,1,2,31,42,cat\n",
        "xmin,xmax,ymin,ymax,label,filename\n1,31,2,42,cat,a.jpg\n",
        '"Filename","XMin","YMin","XMax","YMax","Label"\n"a.jpg","1","2","31","42","cat"\n',
        "img,left,top,right,bottom,category\na.jpg,1.0,2.0,31.0,42.0,cat\n",
        "file_name,x1,y1,x2,y2,name\r\na.jpg,1,2,31,42,cat\r\n",
        "path,xmin,ymin,xmax,ymax,label_id,label\na.jpg,1,2,31,42,3,cat\n",
    ],
)
def test_csv_with_other_names_of_columns(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert recognise(tmp_path / "a.csv") == "csv"
    truth = read_ground_truth(tmp_path / "a.csv")
    assert truth.boxes.tolist() == [[1, 2, 30, 40]]
    assert truth.categories.names == ("cat",)
    assert Path(truth.images.files[0]).name == "a.jpg"


# ------------------------------------------------------------------ 9: lost without a word

NAME = "<name>ship</name>"
TURNED = "<robndbox><cx>40</cx><cy>30</cy><w>20</w><h>10</h><angle>1.5707963267948966</angle></robndbox>"
POINTS = "<polygon><pt><x>1</x><y>2</y></pt><pt><x>31</x><y>2</y></pt><pt><x>20</x><y>42</y></pt></polygon>"


@pytest.mark.parametrize(
    ("objects", "box", "said"),
    [
        (f"<object>{NAME}{TURNED}</object>", [35, 20, 10, 20], "turned boxes"),
        (f"<object><type>robndbox</type>{NAME}{TURNED}</object>", [35, 20, 10, 20], "turned boxes"),
        (f"<object>{NAME}{POINTS}</object>", [1, 2, 30, 40], "polygons"),  # MIT's LabelMe
        (f"<objects><object>{NAME}{BOX}</object></objects>", [1, 2, 30, 40], ""),
        (f"<objects><object><possibleresult>{NAME}</possibleresult><points><point>1.0,2.0</point><point>31,42</point>"
         "<point>1,42</point></points></object></objects>", [1, 2, 30, 40], "polygons"),  # FAIR1M
        (f"<object>{NAME}<bndbox><x0>1</x0><y0>2</y0><x1>31</x1><y1>2</y1><x2>31</x2><y2>42</y2><x3>1</x3><y3>42</y3>"
         "</bndbox></object>", [1, 2, 30, 40], "turned"),
        (f"<object>{NAME}<polygon><x1>1</x1><y1>2</y1><x2>31</x2><y2>2</y2><x3>9</x3><y3>42</y3></polygon>{BOX}</object>",
         [1, 2, 30, 40], ""),
        (f"<object>{NAME}{BOX}<part><name>head</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>6</xmax><ymax>6</ymax>"
         "</bndbox></part></object>", [1, 2, 30, 40], ""),
    ],
)  # fmt: skip
def test_shapes_in_voc_become_boxes_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, objects: str, box: list[float], said: str
) -> None:
    (tmp_path / "a.xml").write_text(voc(objects))
    with caplog.at_level(logging.WARNING, "detkit"):
        truth = read_ground_truth(tmp_path)
    assert truth.boxes[0] == pytest.approx(box)
    assert truth.categories.names == ("ship",)
    assert said in caplog.text
    assert bool(said) == bool(caplog.text)


def test_a_turned_box_of_any_angle(tmp_path: Path) -> None:
    for angle in (0, 0.3, 1.2, 2.5, -0.7, math.pi):
        text = TURNED.replace("1.5707963267948966", repr(angle))
        (tmp_path / "a.xml").write_text(voc(f"<object>{NAME}{text}</object>"))
        c, s = math.cos(angle), math.sin(angle)
        corners = np.array([[x * c - y * s + 40, x * s + y * c + 30] for x in (-10, 10) for y in (-5, 5)])
        low, high = corners.min(axis=0), corners.max(axis=0)
        assert read_ground_truth(tmp_path).boxes[0] == pytest.approx([*low, *(high - low)])


LABELME = {"imagePath": "a.jpg", "imageWidth": 90, "imageHeight": 80}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.xml", voc(f"<object>{NAME}<bndbox><xmin>a</xmin></bndbox></object>")),
        ("a.xml", voc(f"<object>{NAME}</object>")),
        ("a.xml", voc(f"<object>{BOX}</object>")),
        ("a.xml", voc(f"<boundingboxes><box>{NAME}{BOX}</box></boundingboxes>")),
        ("a.xml", voc(f"<Object>{NAME}{BOX}</Object>")),
        ("a.json", json.dumps({**LABELME, "shapes": [{"label": "x", "shape_type": "point", "points": [[1, 2]]}]})),
        ("a.json", json.dumps({**LABELME, "shapes": [{"label": "x", "shape_type": "line", "points": [[1, 2], [3]]}]})),
        ("a.json", json.dumps({**LABELME, "shapes": [{"shape_type": "rectangle", "points": [[1, 2], [3, 4]]}]})),
        ("g.jsonl", '{"file": "a.jpg", "annotations": [{"box": [1, 2], "class": "x"}]}\n'),
        ("g.jsonl", '{"file": "a.jpg", "annotations": [{"segmentation": [[1, 2, 3, 4]], "class": "x"}]}\n'),
        ("g.csv", "file,x1,y1,x2,y2,class\na.jpg,1,2,x,4,cat\n"),
        ("g.json", json.dumps({**coco("a.jpg", "x"), "annotations": [{"image_id": 1, "category_id": 1}]})),
        ("g.json", json.dumps({**coco("a.jpg", "x"), "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": [40, 30, 20, 10, 0.5]}]})),
    ],
)  # fmt: skip
def test_an_input_of_which_nothing_can_be_read_is_an_error(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    for path in [tmp_path / name, *([tmp_path] if name.startswith("a") else [])]:
        with pytest.raises(InputError, match="none of its") as error:
            read_ground_truth(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.xml", voc("")),
        ("a.xml", voc("<source><database>x</database></source><owner><name>y</name></owner>")),
        ("a.json", json.dumps({**LABELME, "shapes": []})),
        ("g.jsonl", '{"file": "a.jpg", "annotations": []}\n'),
        ("g.csv", "file,x1,y1,x2,y2,class\na.jpg,,,,,\n"),
        ("g.json", json.dumps({**coco("a.jpg", "x"), "annotations": []})),
    ],
)
def test_pictures_without_objects_are_no_error(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    truth = read_ground_truth(tmp_path / name)
    assert (len(truth), len(truth.images)) == (0, 1)


# ------------------------------------------------------------------ 9: rules that are not followed, and --list


def test_rules_that_are_not_followed_are_said(tmp_path: Path) -> None:
    found = {"file": "a.jpg", "detections": [{"box": [1, 2, 31, 42], "score": 0.5, "class": "x", "class_id": 0}]}
    (tmp_path / "d.jsonl").write_text(json.dumps(found))
    lvis = coco("a.jpg", "x")
    lvis["images"][0] |= {"neg_category_ids": [3], "not_exhaustive_category_ids": [1]}
    (tmp_path / "lvis.json").write_text(json.dumps(lvis))
    assert "LVIS's neg_category_ids and not_exhaustive" in run(tmp_path / "d.jsonl", tmp_path / "lvis.json").stderr
    (tmp_path / "oi.csv").write_text("ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\na,x,0,0.5,0,0.5,1\n")
    (tmp_path / "sizes.csv").write_text("file,width,height\na.jpg,90,80\n")
    said = run(tmp_path / "d.jsonl", tmp_path / "oi.csv", "--images", tmp_path / "sizes.csv").stderr
    assert "Open Images' own rule is not followed" in said
    assert "the 1 IsGroupOf boxes" in said
    (tmp_path / "kitti").mkdir()
    (tmp_path / "kitti" / "a.txt").write_text("x 0 0 -10 1 2 31 42 -1 -1 -1 -1000 -1000 -1000 -10\n")
    assert "KITTI's levels" in run(tmp_path / "d.jsonl", tmp_path / "kitti").stderr
    sets = tmp_path / "VOC" / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    (tmp_path / "VOC" / "Annotations").mkdir()
    for name in ("a", "b"):
        (tmp_path / "VOC" / "Annotations" / f"{name}.xml").write_text(voc(f"<object><name>x</name>{BOX}</object>"))
    (sets / "val.txt").write_text("a\n")
    said = run(tmp_path / "d.jsonl", tmp_path / "VOC").stderr
    assert f"all 2 pictures count; --list {sets / 'val.txt'}" in said
    listed = run(tmp_path / "d.jsonl", tmp_path / "VOC", "--list", sets / "val.txt", "--json", "-")
    assert listed.stderr == ""
    shown = json.loads(listed.stdout)
    assert (shown["images"], shown["boxes"], shown["figures"]["AP"]) == (1, 1, pytest.approx(1))
