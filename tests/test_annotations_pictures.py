"""Pictures of a data set, found by their names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from detkit.annotations import read_ground_truth, read_predictions, write_ground_truth
from detkit.annotations.finding import AMBIGUOUS, UNKNOWN, Finder, PictureFolder, without_ending
from detkit.annotations.listing import listed_rows
from detkit.dataset import Images
from detkit.errors import InputError, UsageError
from detkit.images import write_image
from detkit.picture_names import PICTURES as SUFFIXES
from detkit.training.pictures import annotated_pictures

ENDINGS = (".jfif", ".jpe", ".avif", ".JFIF", ".pnm", ".dib", ".apng", ".jpg")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("form", ["yolo", "voc"])
def test_results_of_every_picture_that_is_read_find_it(tmp_path: Path, form: str, ending: str) -> None:
    """Two lists of endings had `eval` find "no image in common" in results of img_1.jfif."""
    truth = {
        "images": [{"id": 1, "file_name": f"img_1{ending}", "width": 90, "height": 60}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [9, 9, 30, 30], "area": 900, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    found = tmp_path / "found"
    found.mkdir()
    if form == "yolo":
        (found / "img_1.txt").write_text("0 0.5 0.5 0.1 0.1 0.9\n")
    else:
        (found / "img_1.xml").write_text(
            f"<annotation><filename>img_1{ending}</filename><size><width>90</width><height>60</height></size><object>"
            "<name>cat</name><score>0.9</score><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
            "</object></annotation>"
        )
    ground_truth = read_ground_truth(tmp_path / "truth.json")
    assert len(read_predictions(found, ground_truth, names=["cat"] if form == "yolo" else None)) == 1
    write_ground_truth(ground_truth, tmp_path / "out", form)
    stem = f"img_1.{'txt' if form == 'yolo' else 'xml'}"
    assert stem in [file.name for file in (tmp_path / "out").iterdir()]
    back = read_ground_truth(tmp_path / "out")
    assert back.images.files == (f"img_1{ending}",)


def test_one_list_of_endings() -> None:
    assert all(without_ending(f"a.b{suffix}") == "a.b" for suffix in SUFFIXES)
    assert without_ending("a.b") == "a.b"


def test_a_name_finds_as_much_of_a_path_as_is_needed() -> None:
    finder = Finder(("train/a.jpg", "val/a.jpg", "val/sub/b.png", "c.jpg"), (1, 2, "x/7", 42))
    assert finder.by_file("train/a.jpg") == 0
    assert finder.by_file("/data/val/a.jpg") == 1
    assert finder.by_file("./val//a") == 1
    assert finder.by_file("a.jpg") == finder.by_file("test/a.jpg") == AMBIGUOUS
    assert finder.by_file("b") == finder.by_file("sub/b.jpg") == 2
    assert finder.by_file("none.jpg") == UNKNOWN
    assert finder.by_file("000042.jpg") == 3
    assert finder.by_id(42) == finder.by_id("42") == 3
    assert finder.fitting("a.jpg") == ["train/a.jpg", "val/a.jpg"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train/a.jpg", "val/a.jpg", "val/b.jfif", "c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture = np.zeros((20, 30, 3), np.uint8)
        write_image((tmp_path / name).with_suffix(".jpg"), picture)
        (tmp_path / name).with_suffix(".jpg").rename(tmp_path / name)
    (tmp_path / "d.txt").write_text("")
    return tmp_path


def test_pictures_of_a_folder(folder: Path) -> None:
    pictures = PictureFolder(folder)
    assert pictures.find("c.png") == folder / "c.png"
    assert pictures.find("elsewhere/b.jfif") == pictures.find("b") == folder / "val" / "b.jfif"
    assert pictures.find("/home/x/train/a.jpg") == folder / "train" / "a.jpg"
    assert pictures.find("d.txt") is None
    assert pictures.find("../" + folder.name + "/c.png") == folder / "c.png"
    with pytest.raises(InputError, match=r"'a\.jpg' could be any of 'train/a\.jpg', 'val/a\.jpg'"):
        pictures.find("a.jpg")


def test_training_refuses_a_picture_that_could_be_another(folder: Path) -> None:
    def truth(name: str) -> Path:
        content = {
            "images": [{"id": 1, "file_name": name, "width": 30, "height": 20}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "area": 81}],
            "categories": [{"id": 1, "name": "cat"}],
        }
        (folder / "truth.json").write_text(json.dumps(content))
        return folder / "truth.json"

    with pytest.raises(InputError, match="could be any of"):
        annotated_pictures(read_ground_truth(truth("a.jpg")), folder)
    (picture,) = annotated_pictures(read_ground_truth(truth("val/a.jpg")), folder)
    assert picture.path == folder / "val" / "a.jpg"


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a\nc\n", [0, 2]),
        ("a  1\nb -1\nc  0\n", [0, 1, 2]),
        ("./images/val/c.jpg\n/data/val/a.jpg\n", [0, 2]),
        ("\ufeffb.jpg\r\n\r\na\r\n", [0, 1]),
        ("name with 1\n", [3]),
        ("name with 1 1\n", [3]),
        ("42\n", [2]),
        ("b\nb\nb.jpg\nnowhere\n", [1]),
        ("val/c\n", [2]),
        ("C:\\\\data\\\\val\\\\a.jpg\n", [0]),
    ],
)
def test_lists_of_pictures(tmp_path: Path, text: str, rows: list[int]) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(text.encode())
    files = ("val/a.jpg", "val/b.jpg", "val/c.jpg", "val/name with 1.jpg")
    images = Images((40, 41, 42, 43), files, *np.full((2, 4), 9))
    assert listed_rows(path, images).tolist() == rows


def test_lists_that_cannot_be_used(tmp_path: Path) -> None:
    images = Images((1, 2), ("train/a.jpg", "val/a.jpg"), *np.full((2, 2), 9))
    for text, error, said in (
        ("", InputError, "is empty"),
        (" \n", InputError, "the list is empty"),
        ("x\n", UsageError, "lists none of the annotated pictures (first: 'x')"),
        ("a\n", InputError, "'a' could be any of 'train/a.jpg', 'val/a.jpg'"),
    ):
        (tmp_path / "list.txt").write_text(text)
        with pytest.raises(error, match=re.escape(said)):
            listed_rows(tmp_path / "list.txt", images)
