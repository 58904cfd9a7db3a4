"""`detkit convert` as its users type it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from detkit.annotations import FORMATS, read_ground_truth, read_predictions, write_ground_truth
from detkit.cli.convert import AnnotationFormat, convert
from detkit.errors import InputError, OutputError, UsageError

app = typer.Typer()
app.command()(convert)
runner = CliRunner()

DOCUMENT = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 80}, {"id": 2, "file_name": "b.jpg"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 30, 40], "iscrowd": 1, "area": 5},
        {"id": 2, "image_id": 1, "category_id": 7, "bbox": [5, 5, 10, 10], "iscrowd": 0, "area": 100},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
}


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    path = tmp_path / "g.json"
    path.write_text(json.dumps(DOCUMENT))
    return path


def test_formats_are_those_of_the_library() -> None:
    assert [format.value for format in AnnotationFormat] == list(FORMATS)


def test_convert_says_what_is_lost(annotations: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, [str(annotations), str(tmp_path / "out"), "--to", "voc"])
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "lost: VOC XML has no crowd or group flag: 1 box loses it and counts like any other box.",
        "lost: VOC XML has no area: 1 box loses one that is not width * height (of a mask), "
        "which changes what counts as small, medium and large.",
        "lost: VOC XML names classes without COCO's ids: the category ids are lost.",
        "lost: VOC XML names images by their files: the image ids are lost.",
        f"{tmp_path / 'out'}: 2 boxes of 2 classes in 2 images, from coco to voc",
    ]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a.xml", "b.xml"]
    assert len(read_ground_truth(tmp_path / "out")) == 2


def test_what_only_coco_holds_is_counted(tmp_path: Path) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    document["annotations"][0].update(segmentation=[[1, 2, 3, 4, 5, 6]], keypoints=[1, 1, 2], iscrowd=0, area=1200)
    document["annotations"][1].update(segmentation=[[1, 2, 3, 4, 5, 6]], attributes={"colour": "red"}, keypoints=[])
    document["categories"][0]["supercategory"] = "animal"
    (tmp_path / "g.json").write_text(json.dumps(document))
    result = runner.invoke(app, [str(tmp_path / "g.json"), str(tmp_path / "h.json"), "--to", "coco"])
    assert result.stderr.splitlines()[0] == (
        "lost: what else the file holds is not read: attributes (1), supercategory (1)."
    )
    again = runner.invoke(app, [str(tmp_path / "h.json"), str(tmp_path / "i.json"), "--to", "coco"])
    assert "lost" not in again.stderr


@pytest.mark.parametrize("form", ["yolo", "kitti"])
def test_labels_of_a_picture_called_train(tmp_path: Path, form: str) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    document["images"][0]["file_name"] = "train.jpg"
    document["images"][1].update(width=10, height=10)
    (tmp_path / "g.json").write_text(json.dumps(document))
    result = runner.invoke(app, [str(tmp_path / "g.json"), str(tmp_path / "out"), "--to", form])
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "out" / "train.jpg.txt").exists()
    assert len(read_ground_truth(tmp_path / "out", form)) == 2


def test_convert_takes_format_images_and_names(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    (tmp_path / "sizes").write_text("file,width,height\na.jpg,100,80\nempty.jpg,10,10\n")
    (tmp_path / "names").write_text("cat\ndog\n")
    out = tmp_path / "out.json"
    arguments = [str(tmp_path / "labels"), str(out), "--to", "coco", "--from", "yolo"]
    arguments += ["--images", str(tmp_path / "sizes"), "--names", str(tmp_path / "names")]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    document = json.loads(out.read_text())
    assert document["annotations"][0]["bbox"] == [25, 20, 50, 40]
    assert [image["file_name"] for image in document["images"]] == ["a.jpg", "empty.jpg"]
    assert [category["name"] for category in document["categories"]] == ["cat", "dog"]


def test_errors_reach_the_one_place_that_shows_them(annotations: Path, tmp_path: Path) -> None:
    def error(*arguments: object) -> BaseException | None:
        return runner.invoke(app, [str(argument) for argument in arguments]).exception

    assert isinstance(error(annotations, annotations, "--to", "csv"), UsageError)
    assert json.loads(annotations.read_text()) == DOCUMENT
    assert isinstance(error(tmp_path / "missing", tmp_path / "x", "--to", "csv"), InputError)
    assert isinstance(error(annotations, tmp_path, "--to", "voc"), OutputError)
    assert isinstance(error(annotations, tmp_path / "out", "--to", "yolo"), OutputError)  # b.jpg has no size
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments", [[], ["a", "b"], ["a", "b", "--to", "pdf"], ["a", "b", "--to", "voc", "--from", "x"]]
)
def test_wrong_use_is_status_2(arguments: list[str]) -> None:
    assert runner.invoke(app, arguments).exit_code == 2


def test_help_names_all_formats_and_imports_nothing_heavy() -> None:
    result = runner.invoke(app, ["--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    text = re.sub(r"\x1b\[[0-9;]*m", "", result.output)
    assert all(format in text for format in FORMATS)
    code = "import sys, detkit.cli.convert; print({'numpy', 'cv2', 'numba', 'orjson'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "set()"


def test_ids_survive_the_way_through_our_own_formats(tmp_path: Path) -> None:
    """Ids that a COCO file gives: numbers with gaps, from 0, and text for images."""
    boxes = [{"id": n + 4, "image_id": image, "category_id": category, "bbox": [n, 1, 9, 9], "area": 81, "iscrowd": 0}
             for n, (image, category) in enumerate([("im-1", 7), ("im-1", 0), ("2", 3)])]  # fmt: skip
    document = {
        "images": [
            {"id": id, "file_name": f"{n}.jpg", "width": 50, "height": 40} for n, id in enumerate(("im-1", "2"))
        ],
        "annotations": boxes,
        "categories": [{"id": id, "name": name} for id, name in ((7, "zeta"), (0, "alpha"), (3, "mu"))],
    }
    source = tmp_path / "a.json"
    source.write_text(json.dumps(document))
    results = tmp_path / "results.json"
    for format, keeps_images in (("jsonl", True), ("csv", False)):
        between, back = tmp_path / f"b.{format}", tmp_path / f"{format}.json"
        write_ground_truth(read_ground_truth(source), between, format)
        write_ground_truth(read_ground_truth(between), back, "coco")
        table = json.loads(back.read_text())
        assert {entry["name"]: entry["id"] for entry in table["categories"]} == {"zeta": 7, "alpha": 0, "mu": 3}
        assert [entry["category_id"] for entry in table["annotations"]] == [7, 0, 3]
        if keeps_images:
            assert [entry["id"] for entry in table["images"]] == ["im-1", "2"]
        # Results with those category ids are of those classes.
        results.write_text(json.dumps([{"image_id": 1, "category_id": 7, "bbox": [0, 1, 9, 9], "score": 1}]))
        truth = read_ground_truth(between)
        found = read_predictions(results, truth)
        assert [truth.categories.names[k] for k in found.class_index] == ["zeta"]


def test_places_of_coco_names_become_cocos_ids(tmp_path: Path) -> None:
    source = tmp_path / "found.jsonl"
    box = {"box": [1, 2, 30, 40], "class": "stop sign", "class_id": 11}
    source.write_text(json.dumps({"file": "a.jpg", "width": 90, "height": 90, "annotations": [box]}))
    write_ground_truth(read_ground_truth(source), tmp_path / "a.json", "coco")
    assert json.loads((tmp_path / "a.json").read_text())["categories"][0]["id"] == 13


def test_coco_names_given_twice_have_ids_of_their_own(tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "classes.txt").write_text("person\nperson\n")
    (labels / "sizes.csv").write_text("file,width,height\na.jpg,100,100\n")
    (labels / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n1 0.2 0.2 0.1 0.1\n")
    write_ground_truth(read_ground_truth(labels), tmp_path / "a.json", "coco")
    ids = [entry["id"] for entry in json.loads((tmp_path / "a.json").read_text())["categories"]]
    assert len(set(ids)) == 2


def test_a_name_that_is_too_long_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(DOCUMENT))
    done = runner.invoke(app, [str(tmp_path / "a.json"), str(tmp_path / ("x" * 300)), "--to", "voc"])
    assert isinstance(done.exception, OutputError)
    assert "File name too long" in str(done.exception)


def test_what_else_a_coco_file_holds_is_named(tmp_path: Path) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    document |= {"info": {"year": 2026}, "licenses": [{"id": 1}]}
    document["images"][0] |= {"coco_url": "http://x", "license": 1}
    document["annotations"][0] |= {"id": 77, "track_id": 5, "segmentation": [[1, 2, 3, 4, 5, 6]]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    truth = read_ground_truth(tmp_path / "a.json")
    said = " ".join(write_ground_truth(truth, tmp_path / "b.json", "coco"))
    for what in ("info (1)", "licenses (1)", "coco_url (1)", "license (1)", "track_id (1)", "segmentation (1)"):
        assert what in said
    assert "ids of boxes" not in said
    assert "has no ids of boxes" in " ".join(write_ground_truth(truth, tmp_path / "labels", "labelme"))
    assert write_ground_truth(read_ground_truth(tmp_path / "b.json"), tmp_path / "c.json", "coco") == []


@pytest.fixture
def found(tmp_path: Path) -> Path:
    """What a detector found in two pictures of three."""
    (tmp_path / "photos" / "b").mkdir(parents=True)
    boxes = [
        {"box": [1, 2, 31, 42], "score": 0.91, "class": "dog", "class_id": 2},
        {"box": [5, 5, 15, 25], "score": 0.2, "class": "cat", "class_id": 0},
    ]
    lines = [
        {"file": file, "width": 100, "height": 80, "detections": own}
        for file, own in (("a.jpg", boxes), ("b/c.png", boxes[:1]), ("d.jpg", []))
    ]
    (tmp_path / "found.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "found.jsonl"


@pytest.mark.parametrize("format", ["labelme", "voc", "yolo", "coco", "cvat", "jsonl", "csv", "labelstudio"])
def test_a_draft_reads_back_as_annotations(found: Path, tmp_path: Path, format: str) -> None:
    result = runner.invoke(app, [str(found), str(tmp_path / "out"), "--to", format])
    assert result.exit_code == 0, result.stderr
    assert "look through them" in result.stderr
    assert ("score of an annotation: that of 3 boxes is lost" in result.stderr) == (format not in ("coco", "labelme"))
    back = read_ground_truth(tmp_path / "out", images=found.parent / "photos")
    assert len(back) == 3
    assert len(back.images) == 3
    assert back.boxes[0].round(3).tolist() == [1, 2, 30, 40]
    assert {back.categories.names[k] for k in back.class_index} == {"dog", "cat"}


def test_a_draft_is_chosen_by_score_and_has_the_classes_of_the_network(found: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ncow\ndog\n")
    options = ["--to", "yolo", "--conf", "0.5", "--names", str(tmp_path / "names.txt")]
    result = runner.invoke(app, [str(found), str(tmp_path / "out"), *options])
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "out/a.txt").read_text().split()[0] == "2"
    assert len((tmp_path / "out/a.txt").read_text().splitlines()) == 1
    assert "1: cow" in (tmp_path / "out/data.yaml").read_text().replace('"', "")


def test_scores_are_kept_where_a_tool_shows_them(found: Path, tmp_path: Path) -> None:
    runner.invoke(app, [str(found), str(tmp_path / "out"), "--to", "labelme"])
    shape = json.loads((tmp_path / "out/a.json").read_text())["shapes"][0]
    assert shape["description"] == "score 0.91"
    assert "score" not in shape
    runner.invoke(app, [str(found), str(tmp_path / "out.json"), "--to", "coco"])
    assert json.loads((tmp_path / "out.json").read_text())["annotations"][0]["attributes"] == {"score": 0.91}


def test_labelme_finds_pictures_from_where_its_files_lie(found: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels" / "new"
    runner.invoke(app, [str(found), str(out), "--to", "labelme", "--images", str(tmp_path / "photos")])
    for name in ("a", "b/c"):
        file = out / f"{name}.json"
        picture = file.parent / json.loads(file.read_text())["imagePath"]
        assert picture.resolve().relative_to(tmp_path.resolve() / "photos").with_suffix("").as_posix() == name
    runner.invoke(app, [str(found), str(tmp_path / "beside"), "--to", "labelme"])
    assert json.loads((tmp_path / "beside/b/c.json").read_text())["imagePath"] == "c.png"


def test_a_threshold_needs_scores(annotations: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, [str(annotations), str(tmp_path / "out"), "--to", "voc", "--conf", "0.5"])
    assert isinstance(result.exception, InputError)
    assert "no scores" in str(result.exception)
