"""Recognition by content, alignment of detections with a ground truth, files that cannot be used, the fast parser."""

from __future__ import annotations

import gzip
import json
import os
import time
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detkit.annotations import FORMATS, read_ground_truth, read_predictions, recognise, write_ground_truth
from detkit.annotations import text_files as sources
from detkit.annotations.alignment import ImageMatcher, rows_by_number, without_ending
from detkit.annotations.formats import coco_fast
from detkit.annotations.formats import coco_json as coco
from detkit.annotations.problems import Problems
from detkit.annotations.recognition import top_level_keys
from detkit.classes import CATEGORY_IDS
from detkit.dataset import Categories, GroundTruth, Images
from detkit.errors import InputError, UsageError

SHARED = Path(__file__).parents[2] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} with its data sets is not here")

GROUND_TRUTH = {
    "images": [{"id": 1, "file_name": "x/a.jpg", "width": 100, "height": 80}, {"id": 2, "file_name": "b.jpg"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 30, 40]}],
    "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "Dog"}],
}


@pytest.fixture
def ground_truth(tmp_path: Path) -> GroundTruth:
    path = tmp_path / "ground_truth"
    path.write_text(json.dumps(GROUND_TRUTH))
    return read_ground_truth(path)


def images(*files: str, ids: tuple[int | str, ...] | None = None) -> Images:
    none = np.zeros(len(files), np.int64)
    return Images(ids or tuple(range(1, len(files) + 1)), files, none, none)


# ------------------------------------------------------------------ recognition


KITTI_LINE = "Car 0.00 0 -1.59 586.42 199.76 662.87 266.02 1.4 1.5 3.3 -2.7 1.7 3.7 -1.6"
CONTENTS = {
    "coco": [
        '{"info": {}, "images": [], "annotations": []}',
        ' \n{"categories": [], "x": 1}',
        "[]",
        '[{"score": 1, "bbox": [1, 2, 3, 4], "image_id": 1, "category_id": 1}]',
        '[{"image_id": ' + "1" * 70000,
    ],
    "jsonl": [
        '{"file": "a.jpg", "detections": []}\n{"file": "b.jpg", "detections": []}',
        '{"width": 3, "annotations": [{"box": [1, 2, 3, 4]}], "file": "a.jpg"}',
    ],
    "labelme": [
        '{"version": "5.0", "flags": {}, "shapes": [], "imagePath": "a.jpg"}',
        '{"imageData": "' + "A" * 70000 + '", "shapes": []}',
        '{"shapes": [{"label": "file"}]}',
    ],
    "voc": ["<annotation></annotation>", '<?xml version="1.0"?>\n<!-- x -->\n<annotation verified="yes">'],
    "csv": ["file,width,height,x1,y1,x2,y2,score,class,class_id\n", 'class,"x1",y1,x2,y2, File\n'],
    "openimages": [
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\n",
        "XMin,XMax,YMin,YMax,ImageID,LabelName",
    ],
}


@pytest.mark.parametrize(
    ("format", "content"), [(name, content) for name, all_ in CONTENTS.items() for content in all_]
)
@pytest.mark.parametrize("ending", ["", ".txt", ".json"])
def test_a_file_is_recognised_by_content_not_by_ending(tmp_path: Path, format: str, content: str, ending: str) -> None:
    path = tmp_path / f"file{ending}"
    path.write_text(content)
    assert recognise(path) == format
    assert recognise(str(path)) == format
    path.write_bytes(gzip.compress(content.encode()))
    assert recognise(path) == format


@pytest.mark.parametrize(
    ("format", "files"),
    [
        ("voc", {"a.xml": "<annotation/>", "readme.txt": "hello", "x.json": "{}"}),
        ("voc", {"Annotations/a.xml": "<annotation/>", "ImageSets/Main/train.txt": "a\n"}),
        ("yolo", {"a.txt": "", "b.txt": "\n0 0.5 0.5 0.1 0.1\n"}),
        (
            "yolo",
            {"labels/train/a.txt": "0 0.5 0.5 0.1 0.1 0.9", "data.yaml": "names: [a]", "README.roboflow.txt": "x"},
        ),
        ("yolo", {"a.txt": "", "classes.txt": "cat\n"}),
        ("kitti", {"a.txt": "", "b.txt": KITTI_LINE}),
        ("labelme", {"a.json": '{"shapes": [], "imagePath": "a.jpg"}', "sub/b.json": '{"shapes": []}'}),
    ],
)
def test_a_folder_is_recognised_by_its_files(tmp_path: Path, format: str, files: dict[str, str]) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert recognise(tmp_path) == format


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (b" \n\t ", "nothing but white space"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"PK\x03\x04abc", "a zip archive; unpack it first"),
        (b"abc\0def", "a binary file"),
        (b"<html></html>", "is XML, but its root <html> is not <annotation> of VOC XML"),
        (b'{"a": 1, "b": {"file": 2}}', "its keys are 'a', 'b'"),
        (b"{nonsense", "it begins {nonsense"),
        (b"[1, 2, 3]", "a JSON list, but none of COCO JSON"),
        (b'[{"name": "x"}]', "its keys are 'name'"),
        (b"hello world", "it begins hello world"),
        (b"0 0.5 0.5 0.1 0.1", "is one YOLO txt file; name the folder"),
        (KITTI_LINE.encode(), "is one KITTI file; name the folder"),
        (b"a,b,c\n1,2,3", "it begins a,b,c"),
        (b"\x1f\x8b\x08garbage", "damaged gzip"),
    ],
)
def test_files_that_are_nothing_we_know(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    for read in (recognise, read_ground_truth):
        with pytest.raises(InputError) as error:
            read(path)  # type: ignore[operator]
        message = str(error.value)
        assert message.startswith(f"{path}: ")
        assert said in message
        assert "\n" not in message
        assert len(message) < 400


def test_folders_that_are_nothing_we_know(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no annotation files"):
        recognise(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps(GROUND_TRUTH))
    with pytest.raises(InputError, match=r"a\.json: is coco; name this file instead of the folder"):
        recognise(tmp_path)
    (tmp_path / "a.xml").write_text("<annotation/>")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1")
    with pytest.raises(InputError, match=r"several formats, yolo \('a\.txt'\), voc \('a\.xml'\); say which"):
        recognise(tmp_path)
    assert len(read_ground_truth(tmp_path, format="voc").images) == 1


def test_a_name_that_is_too_long_for_a_file(tmp_path: Path, ground_truth: GroundTruth) -> None:
    for path in (tmp_path / ("n" * 300), tmp_path / ("n" * 5000)):
        for format in (None, "voc", "yolo", "coco"):
            with pytest.raises(InputError, match="cannot be read: File name too long"):
                read_predictions(path, ground_truth, format=format)
        with pytest.raises(InputError, match="cannot be read: File name too long"):
            read_ground_truth(tmp_path / "ground_truth", images=path)


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing: cannot be read: No such file or directory"):
        read_ground_truth(tmp_path / "missing")
    for format in FORMATS:
        with pytest.raises(InputError, match="missing: cannot be read: No such file or directory"):
            read_ground_truth(tmp_path / "missing", format=format)
    for format in ("coco", "jsonl", "csv"):
        with pytest.raises(InputError, match="is a folder, and a file is needed"):
            read_ground_truth(tmp_path, format=format)
    (tmp_path / "file").write_text("0 0.5 0.5 0.1 0.1")
    for format in ("yolo", "kitti"):
        with pytest.raises(InputError, match="is read from a folder"):
            read_ground_truth(tmp_path / "file", format=format)
    with pytest.raises(UsageError, match="no annotation format 'pdf'; there are coco, jsonl"):
        read_ground_truth(tmp_path / "file", format="pdf")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is not an ordinary file"):
        read_ground_truth(tmp_path / "pipe")


@pytest.mark.parametrize("format", [name for name, form in FORMATS.items() if not form.of_shapes])
def test_no_format_crashes_on_what_another_writes(tmp_path: Path, format: str, ground_truth: GroundTruth) -> None:
    sizes = tmp_path / "sizes"
    sizes.write_text("file,width,height\nx/a.jpg,100,80\nb.jpg,100,80\n")
    whole = GroundTruth(**{**vars(ground_truth), "images": Images((1, 2), ("x/a.jpg", "b.jpg"), *np.full((2, 2), 90))})
    write_ground_truth(whole, tmp_path / "out", format)
    for other in FORMATS:
        if other == format or any(one in format and one in other for one in ("yolo", "voc")):
            assert len(read_ground_truth(tmp_path / "out", format=other, images=sizes)) == 1
            continue
        with pytest.raises(InputError) as error:
            read_ground_truth(tmp_path / "out", format=other, images=sizes)
        assert "\n" not in str(error.value)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_top_level_keys_of_anything(text: bytes) -> None:
    assert all(isinstance(key, str) for key in top_level_keys(text))


def test_top_level_keys() -> None:
    text = b'{"a": {"b": [1, {"c": 2}]}, "d\\"e": "f", "g": ["h", "i"], "j": "k" , "l'
    assert list(top_level_keys(text)) == ["a", 'd"e', "g", "j"]
    assert list(top_level_keys(b'{"a": 1}, {"b": 2}')) == ["a"]
    began = time.process_time()
    assert list(top_level_keys(b'{"a": 1, "' + b'\\"' * 32000 + b"a")) == ["a"]
    assert list(top_level_keys(b'{"a": 1, "' + b"a" * 64000)) == ["a"]
    assert time.process_time() - began < 1


@pytest.mark.parametrize("format", ["voc", "yolo", "labelme", "kitti"])
def test_an_empty_folder_is_no_data_set_and_no_detections(
    tmp_path: Path, format: str, ground_truth: GroundTruth
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "sizes.csv").write_text("file,width,height\na.jpg,5,5\n")
    with pytest.raises(InputError, match=r"empty: holds no \.(xml|txt|json) files"):
        read_ground_truth(tmp_path / "empty", format=format)
    with pytest.raises(InputError, match=r"empty: holds no \.(xml|txt|json) files"):
        read_predictions(tmp_path / "empty", ground_truth, format=format)


# ------------------------------------------------------------------ big and broken files


MEMORY = Path("/proc/self/clear_refs")


def peak_megabytes() -> float:
    """The most memory that this process had since the last reset."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@pytest.mark.skipif(not MEMORY.exists(), reason="the peak of memory is measured through /proc, which is not here")
@pytest.mark.parametrize(
    ("start", "filler", "format", "size", "times"),
    [
        (b"", b"x", None, 200, 0.1),
        (b'{"images": "', b"a", None, 200, 3.5),
        (b'{"file": "', b"a", None, 200, 3.5),
        (b"file,x1,y1,x2,y2,class\n", b"a", None, 200, 4.5),
        (b"", b"\0", None, 20, 0.2),
        (b"", b"[", None, 20, 0.2),
        (b'{"', b"a", None, 20, 0.2),
        (b"[", b"1,", None, 20, 0.2),
        (b'[{"image_id": 1, "bbox": ', b"[", None, 20, 4.5),
        (b'{"images": ', b"[", None, 20, 4.5),
        (b"", b"x", "coco", 20, 4.5),
        (b"", b"x", "jsonl", 20, 4.5),
    ],
)
def test_one_line_of_200_megabytes(
    tmp_path: Path, start: bytes, filler: bytes, format: str | None, size: int, times: float
) -> None:
    """One clear line, soon, and with a few times the memory of the file at most."""
    path = tmp_path / "file"
    block = filler * ((1 << 20) // len(filler))
    with open(path, "wb") as file:
        file.write(start)
        for _ in range(size):
            file.write(block)
    MEMORY.write_text("5")
    before = peak_megabytes()
    began = time.process_time()
    with pytest.raises(InputError) as error:
        read_ground_truth(path, format=format)
    seconds = time.process_time() - began
    assert peak_megabytes() - before < times * size + 20
    assert seconds < 10
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
    path.unlink()


def test_a_gzip_file_that_was_cut_off_or_is_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    whole = gzip.compress(json.dumps(GROUND_TRUTH).encode())
    path.write_bytes(whole[:-20])
    with pytest.raises(InputError, match=r"is a gzip file that ends too early; it was cut off"):
        read_ground_truth(path)
    path.write_bytes(whole[:30] + b"xxxx" + whole[34:])
    with pytest.raises(InputError, match=r"file: is a (damaged gzip|gzip file that ends)"):
        read_ground_truth(path)
    path.write_bytes(whole[:-3] + b"xxx")
    with pytest.raises(InputError, match=r"file: is a (damaged gzip|gzip file that ends)"):
        read_ground_truth(path)
    monkeypatch.setattr(sources, "ALWAYS_ALLOWED_BYTES", 2 << 20)
    path.write_bytes(gzip.compress(b'{"images": [' + b" " * (3 << 20)))
    with pytest.raises(InputError, match="unpacks to more than 2 MB; unpack it yourself"):
        read_ground_truth(path)


def test_text_in_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes("file,x1,y1,x2,y2,class\na.jpg,1,2,3,4,Kätzchen\n".encode("latin-1"))
    with pytest.raises(InputError, match="line 2 is not UTF-8 text; save the file as UTF-8"):
        read_ground_truth(path)


# ------------------------------------------------------------------ alignment


@pytest.mark.parametrize(
    ("files", "name", "row"),
    [
        (("a.jpg", "b.jpg"), "b.jpg", 1),
        (("a.jpg", "b.jpg"), "b.png", 1),
        (("a.jpg", "b.jpg"), "b", 1),
        (("a.jpg", "b.jpg"), "/data/val/b.jpg", 1),
        (("a.jpg", "b.jpg"), ".\\val\\b.jpg", 1),
        (("a.jpg", "b.jpg"), "c.jpg", -1),
        (("/data/val/a.jpg", "/data/train/a.jpg"), "val/a", 0),
        (("val/a.jpg", "train/a.jpg"), "/x/train/a.jpg", 1),
        (("val/a.jpg", "train/a.jpg"), "a.jpg", -2),
        (("val/a.jpg", "train/a.jpg"), "test/a.jpg", -2),
        (("a.jpg", "a.png"), "a.png", 1),
        (("a.jpg", "a.png"), "a", -2),
        (("a.v1.jpg", "a.v2.jpg"), "a.v2", 1),
        (("", ""), "000002.jpg", 1),
        (("", ""), "2", 1),
    ],
)
def test_images_are_found_by_as_much_of_the_name_as_is_needed(files: tuple[str, ...], name: str, row: int) -> None:
    assert ImageMatcher(images(*files)).by_file(name) == row


def test_endings_of_pictures_only() -> None:
    assert [without_ending(name) for name in ("a.jpg", "a.JPEG", "a.v2", ".jpg", "x/a.b.png")] == [
        "a", "a", "a.v2", ".jpg", "x/a.b",
    ]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(-(2**62), 2**62) | st.integers(-3, 50), max_size=20),
    st.lists(st.integers(-3, 50) | st.integers(-(2**62) + 1, 2**62 - 1), max_size=20),
)
def test_rows_by_number_against_a_dictionary(numbers: list[int], ids: list[int]) -> None:
    table = {id: row for row, id in reversed(list(enumerate(ids)))}
    expected = [table.get(number, -1) for number in numbers]
    assert rows_by_number(np.array(numbers, np.int64), ids).tolist() == expected


def detections(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def line(file: str, *names: str, **more: Any) -> dict[str, Any]:
    boxes = [{"box": [0, 0, 5, 5], "score": 0.5, "class": name} for name in names]
    return {"file": file, "detections": boxes, **more}


def test_detections_of_another_data_set(tmp_path: Path, ground_truth: GroundTruth) -> None:
    path = detections(tmp_path / "d", line("p.jpg", "cat"), line("q.jpg"), line("r.jpg"))
    with pytest.raises(InputError) as error:
        read_predictions(path, ground_truth)
    assert str(error.value) == (
        f"{path}: no image in common with the ground truth: here 'p.jpg', 'q.jpg' and 1 more, "
        "there 'x/a.jpg', 'b.jpg'; are these detections of another data set?"
    )


def test_classes_of_another_data_set(tmp_path: Path, ground_truth: GroundTruth) -> None:
    path = detections(tmp_path / "d", line("a.jpg", "rbc", "wbc"))
    with pytest.raises(
        InputError, match="no class in common with the ground truth: here 'rbc', 'wbc', there 'cat', 'Dog'"
    ):
        read_predictions(path, ground_truth)


def test_ambiguous_images_are_refused(tmp_path: Path, ground_truth: GroundTruth) -> None:
    twins = GroundTruth(**{**vars(ground_truth), "images": images("val/a.jpg", "train/a.jpg")})
    with pytest.raises(InputError, match=r"'a\.jpg' could be any of 'val/a\.jpg', 'train/a\.jpg' of the ground truth"):
        read_predictions(detections(tmp_path / "d", line("a.jpg", "cat")), twins)


def test_what_is_not_in_the_ground_truth_is_left_out_and_said(
    tmp_path: Path, ground_truth: GroundTruth, caplog: pytest.LogCaptureFixture
) -> None:
    path = detections(tmp_path / "d", line("a.jpg", "cat", "mouse", "dog"), line("z.jpg", "cat"), line("y/b.png"))
    predictions = read_predictions(path, ground_truth)
    assert predictions.class_index.tolist() == [0, 1]
    assert predictions.image_index.tolist() == [0, 0]
    assert [record.message.partition(": ")[2] for record in caplog.records] == [
        "images that are not in the ground truth, left out: 1 (first: z.jpg)",
        "class names that differ in upper and lower case only, taken as the same: 1 (first: 'dog' and 'Dog')",
        "detections of classes that the ground truth does not have, left out: 1 (first: 'mouse')",
    ]


def test_case_is_a_last_resort(tmp_path: Path, caplog: pytest.LogCaptureFixture, ground_truth: GroundTruth) -> None:
    both = GroundTruth(**{**vars(ground_truth), "categories": Categories(("cat", "Cat"), (1, 2))})
    predictions = read_predictions(detections(tmp_path / "d", line("a.jpg", "Cat", "cat")), both)
    assert predictions.class_index.tolist() == [1, 0]
    assert not caplog.records
    with pytest.raises(InputError, match="no class in common"):
        read_predictions(detections(tmp_path / "d", line("a.jpg", "CAT")), both)


def test_no_detections_at_all(tmp_path: Path, ground_truth: GroundTruth) -> None:
    for content in ("[]", json.dumps(line("a.jpg")), "file,x1,y1,x2,y2,score,class\nb.jpg,,,,,,\n"):
        (tmp_path / "d").write_text(content)
        predictions = read_predictions(tmp_path / "d", ground_truth)
        assert (len(predictions), predictions.boxes.shape) == (0, (0, 4))


def test_two_lines_for_one_image_count_both_and_are_said(
    tmp_path: Path, ground_truth: GroundTruth, caplog: pytest.LogCaptureFixture
) -> None:
    path = detections(tmp_path / "d", line("1/b.jpg", "cat"), line("2/b.jpg", "cat"))
    assert read_predictions(path, ground_truth).image_index.tolist() == [1, 1]
    assert "several entries stand for, all counted: 1 (first: b.jpg)" in caplog.text


# ------------------------------------------------------------------ the array parser of COCO results


def bits(column: Any) -> list[int]:
    return np.ascontiguousarray(column, np.float64).view(np.int64).reshape(-1).tolist()


def record(number: str, score: str = "0.5") -> str:
    return f'{{"image_id": 1, "category_id": 2, "bbox": [{number}, 1.0, 2.5, 3.0], "score": {score}}}'


def results_text(*records: str) -> str:
    return f"[{', '.join(records)}]"


def same_as_general(text: str) -> bool:
    """Whether the array parser takes `text`; if so, its columns are the general reader's to the last bit."""
    columns = coco_fast.parse_results(text.encode())
    if columns is None:
        return False
    general = coco.read_results(Path("x"), text.encode(), Problems("x"))
    expected = (general.image_ids, general.category_ids, general.boxes, general.scores)
    for ours, theirs in zip(columns, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert bits(ours) == bits(theirs)
    return True


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.floats(-2000, 2000) | st.floats(0, 1e-3)))
@example([5e-324, 1.7976931348623157e308, 9007199254740993.0, 0.00010000000000000002, 1e-5, -0.0])
def test_fast_numbers_are_pythons_floats(values: list[float]) -> None:
    records = [record("0.5"), *(record(repr(value), repr(abs(value))) for value in values), record("-1.0")]
    columns = coco_fast.parse_results(results_text(*records).encode())
    assert columns is not None
    assert bits(columns[2][1:-1, 0]) == bits(values)
    assert bits(columns[3][1:-1]) == bits(np.abs(values))
    assert columns[0].tolist() == [1] * len(records)


DECIMALS = st.tuples(st.integers(0, 10**22), st.integers(1, 25), st.booleans())


def decimal_text(digits: int, places: int, negative: bool) -> str:
    text = str(digits).rjust(places + 1, "0")
    return f"{'-' if negative else ''}{text[:-places]}.{text[-places:]}"


@settings(max_examples=300, deadline=None)
@given(st.lists(DECIMALS, max_size=20))
def test_fast_decimals_of_any_length(numbers: list[tuple[int, int, bool]]) -> None:
    texts = [decimal_text(*number) for number in numbers]
    columns = coco_fast.parse_results(results_text(record("0.5"), *map(record, texts), record("0.5")).encode())
    assert columns is not None
    assert bits(columns[2][1:-1, 0]) == bits([float(text) for text in texts])


def test_fast_numbers_halfway_between_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decimals within a hair of the middle between two doubles, where a wrong error bound would show."""
    rng = np.random.default_rng(5)
    texts = []
    for value in [*rng.uniform(0, 1000, 4000), *rng.uniform(0, 1, 4000), *rng.uniform(1e-4, 1e-3, 2000)]:
        with localcontext() as context:
            context.prec = 19
            texts.append(str((Decimal(value) + Decimal(np.nextafter(value, 2000))) / 2))
    text = results_text(*map(record, texts)).encode()
    monkeypatch.setattr(coco_fast, "_by_orjson", None)  # all of it is plain
    columns = coco_fast.parse_results(text)
    assert columns is not None
    assert bits(columns[2][:, 0]) == bits([float(text) for text in texts])


@pytest.mark.parametrize("block", [200, 300, 1000, 1 << 19])
def test_fast_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(coco_fast, "BLOCK_BYTES", block)
    rng = np.random.default_rng(block)
    numbers = [repr(value) for value in (rng.uniform(-1, 1, 200) * 10.0 ** rng.integers(-6, 6, 200)).tolist()]
    assert sum("e-" in number for number in numbers) > 5
    assert same_as_general(results_text(*map(record, numbers)))
    assert same_as_general("[" + "\n".join(f"{record(number)}," for number in numbers) + record("1.5") + "\n]\n")


def test_fast_takes_any_order_space_and_further_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_fast, "_by_orjson", None)
    first, second, third = (
        f'{{ "score" :{score},"bbox":[0,-1 , 1.50,\t{side}],"id":-7.5, "area":3,"category_id":0,\r\n"image_id":-12 }}'
        for score, side in (("0.25", "10.5"), ("0.125", "3.0"), ("1.0", "7.5"))
    )
    assert same_as_general(f"\n[\n{first} ,\n{second} ,\n{third}] ")
    monkeypatch.undo()
    assert same_as_general(f"[{first} , {second} ,\n{third}]")


PLAIN = record("1.5")


@pytest.mark.parametrize(
    "odd",
    [
        "", "1", "{}", "null", PLAIN[:-1], PLAIN[1:], PLAIN + ",", PLAIN + "]",
        *(record(number) for number in ("01.5", "1.", ".5", "+1.5", "--1.5", "1.-5", "1..5", "1.5.5", "1/5", "-",
                                        "1e-", "NaN",
                                        '"1.5"', "1.5, 2.5", "null")),
        *(record("1.5", score) for score in ("null", "[1]", '"0.5"', "-", "00.5", "")),
        *(PLAIN.replace(": 1,", f": {id},") for id in ('"1"', "1.0", str(10**19), "01", "-", "null", "", "1 1")),
        PLAIN.replace("}", ",}"), PLAIN.replace(", 3.0]", "]"), PLAIN.replace("image_id", "image_ib"),
        PLAIN.replace("image_id", "imageid"), PLAIN.replace("score", "sc0re"), PLAIN.replace('"score"', "score"),
        PLAIN.replace('"score":', '"score"'), PLAIN.replace(": 1,", ": 1.,"),
    ],
)  # fmt: skip
def test_fast_gives_up_on_what_is_not_a_plain_record(odd: str) -> None:
    assert coco_fast.parse_results(results_text(PLAIN, PLAIN, odd, PLAIN).encode()) is None
    assert coco_fast.parse_results(results_text(odd, PLAIN, PLAIN).encode()) is None
    assert coco_fast.parse_results(results_text(PLAIN, PLAIN, odd).encode()) is None


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "{}", "[1]", "[{}]", results_text(PLAIN), results_text(PLAIN, PLAIN) + "x",
             results_text(PLAIN, PLAIN)[:-1], results_text(PLAIN, PLAIN)[1:], "[," + results_text(PLAIN, PLAIN)[1:],
             results_text(PLAIN, PLAIN)[:-1] + ",]", results_text(PLAIN, PLAIN).replace("}, {", "} {"),
             results_text(PLAIN, PLAIN).replace("}, {", "},, {")],
)  # fmt: skip
def test_fast_leaves_other_texts_alone(text: str) -> None:
    assert coco_fast.parse_results(text.encode()) is None


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_fast_never_reads_what_is_not_json(data: st.DataObject) -> None:
    """One byte changed, put in or taken out: the array parser gives up or agrees with the general reader."""
    text = results_text(record("12.25"), record("3.5", "1.0"), record("-4.75", "1e-05"), record("8.5"))
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from('{}[]":,.-+e019 tfn\\\n/'))
    change = data.draw(st.sampled_from(["set", "insert", "delete"]))
    keep = {"set": 1, "insert": 0, "delete": 1}[change]
    same_as_general(text[:place] + ("" if change == "delete" else letter) + text[place + keep :])


def test_large_results_go_through_the_array_parser(
    tmp_path: Path, ground_truth: GroundTruth, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    rows = [
        {"image_id": int(rng.integers(1, 3)), "category_id": int(rng.choice([3, 7])),
         "bbox": rng.uniform(-5, 500, 4).tolist(), "score": float(rng.random(dtype=np.float32)) ** 4}
        for _ in range(3000)
    ]  # fmt: skip
    path = tmp_path / "d"
    path.write_text(json.dumps(rows))
    assert path.stat().st_size > coco.FAST_FROM_BYTES
    general_calls = []
    parse_json = coco.parse_json
    monkeypatch.setattr(coco, "parse_json", lambda *given: general_calls.append(1) or parse_json(*given))
    quick = read_predictions(path, ground_truth)
    assert not general_calls
    monkeypatch.setattr(coco, "FAST_FROM_BYTES", 1 << 60)
    slow = read_predictions(path, ground_truth)
    assert general_calls
    for column in ("image_index", "class_index", "boxes", "scores"):
        assert np.array_equal(getattr(slow, column), getattr(quick, column))
    assert quick.scores.tolist() == [row["score"] for row in rows]


# ------------------------------------------------------------------ real data


@needs_shared
def test_coco128_is_what_its_file_says() -> None:
    path = SHARED / "data" / "coco128" / "instances.json"
    document = json.loads(path.read_text())
    ground_truth = read_ground_truth(path)
    assert ground_truth.boxes.tolist() == [entry["bbox"] for entry in document["annotations"]]
    assert ground_truth.areas.tolist() == [entry["area"] for entry in document["annotations"]]
    assert [ground_truth.images.ids[k] for k in ground_truth.image_index] == [
        entry["image_id"] for entry in document["annotations"]
    ]
    assert ground_truth.categories.ids == CATEGORY_IDS


def test_rows_by_image_are_all_rows_in_order(tmp_path: Path) -> None:
    truth = {"images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(4)], "categories": [{"id": 1, "name": "a"}],
             "annotations": [{"id": k, "image_id": image, "category_id": 1, "bbox": [0, 0, 1, 1]}
                             for k, image in enumerate([2, 0, 2, 3, 0], 1)]}  # fmt: skip
    (tmp_path / "t.json").write_text(json.dumps(truth))
    rows = read_ground_truth(tmp_path / "t.json").rows_by_image()
    assert [part.tolist() for part in rows] == [[1, 4], [], [0, 2], [3]]


def test_names_that_contradict_each_other_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth = read_ground_truth(_coco_of(tmp_path / "truth.json", ["val/0001.jpg", "cat.jpg", "x/y/same.jpg"]))
    box = {"box": [1, 2, 30, 40], "score": 1, "class": "cat"}
    for file, said in [
        ("train/0001.jpg", "found by file name, their folders differ: 1 (first: 'train/0001.jpg' is taken for 'val/"),
        ("000002.jpg", "the number in their name, their files differ: 1 (first: '000002.jpg' is taken for 'cat.jpg'"),
        ("y/same.png", None),
        ("/data/x/y/same.jpg", None),
    ]:
        caplog.clear()
        path = tmp_path / "found.jsonl"
        path.write_text(json.dumps({"file": file, "width": 9, "height": 9, "detections": [box]}))
        assert len(read_predictions(path, truth)) == 1
        assert (said in caplog.text) if said else ("taken for" not in caplog.text)


def _coco_of(path: Path, files: list[str]) -> Path:
    images = [{"id": n + 1, "file_name": file, "width": 90, "height": 90} for n, file in enumerate(files)]
    path.write_text(json.dumps({**GROUND_TRUTH, "images": images}))
    return path
