"""YOLO txt: one file an image, one line a box, `class cx cy w h`, relative to the image (ultralytics' convention).

Classes are counted from 0; predictions have their score as the sixth column. What further or other columns are is told
from all lines together, in `yolo_columns`. A data.yaml may be named in place of the folder.

    data/labels/*.txt  data/images/*.jpg  data/data.yaml      or      folder/*.txt  folder/sizes.csv  folder/classes.txt
    data/train/labels/*.txt  data/train/images/*.jpg  data/valid/labels/*.txt  data/valid/images/*.jpg  data/data.yaml

Names come from `classes.txt`, `obj.names`, `names.txt`, `data.yaml` or `dataset.yaml`, else from a `data.yaml` one
folder further up; sizes from `sizes.csv` (file, width, height) or from the headers of the pictures. Pictures without a
label file are images without boxes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import ArrayLike, NDArray

from detkit.annotations.beside import NOTHING, Beside
from detkit.annotations.building import Builder, Contents, with_classes
from detkit.annotations.by_picture import class_positions, pictures_of
from detkit.annotations.columns import finite_numbers, whole_number
from detkit.annotations.format import Format, Request
from detkit.annotations.formats.yolo_columns import Known, reading_of
from detkit.annotations.formats.yolo_data_file import Label, read_data_yaml
from detkit.annotations.label_files import OTHER_TEXTS as OTHER_TEXTS
from detkit.annotations.label_files import LabelLines, holds_labels, label_file, label_files, label_folder
from detkit.annotations.name_files import read_names
from detkit.annotations.number_text import number_text, shortest_doubles
from detkit.annotations.problems import Problems
from detkit.annotations.sizes import UNSIZED, Sizes, image_files, size_table
from detkit.annotations.text_files import need_files, read_text
from detkit.annotations.yaml_text import read_yaml
from detkit.boxes import as_boxes, clip, xyxy_to_cxcywh
from detkit.dataset import Categories, GroundTruth
from detkit.errors import InputError

NAME_FILES = ("data.yaml", "dataset.yaml", "classes.txt", "obj.names", "names.txt")
SIZE_FILE = "sizes.csv"
Floats = NDArray[np.float64]
# What the lines are under the names of formats: told from the lines, or said by the name.
_KINDS = {"yolo": "", "yolo-seg": "polygon", "yolo-obb": "corners", "yolo-pose": "pose"}
# By this share of its picture a box may reach out of it unquestioned.
_BEYOND = 0.02
# Characters that JSON writes as they are and that YAML takes for line breaks or refuses.
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufffe\uffff]")


def read(request: Request) -> Contents:
    """The tables of a folder of label files or of a data.yaml, with the names and sizes that lie beside them."""
    path, target = request.path, request.target
    own_sizes: Sizes | None
    if path.is_file():
        if not re.search(r"^(train|val|test)\s*:", read_text(path), re.MULTILINE):
            raise request.form.needs_folder(path)
        data = read_data_yaml(path, request.part, request.problems)
        labels, own_sizes, tables = data.labels, data.sizes, [path]
    else:
        folder = label_folder(path)
        files = label_files(folder)
        need_files(path, files, ".txt")
        labels = [Label(file, file[:-4], folder / file) for file in files]
        own_sizes, tables = find_sizes(path), find_tables(path)
    sizes = own_sizes if request.sizes is None else request.sizes.and_then(own_sizes)
    if sizes is None:
        raise request.form.needs_sizes(path, f", or put {SIZE_FILE} beside the labels")
    names = request.class_names or (read_names(tables[0]) if tables else ())
    if not names and request.names_of_target:
        names = request.names_of_target
        request.problems.add("no class names found, so classes 0, 1, 2 ... are those of the ground truth in the order "
                             "of their ids", f"0 is '{names[0]}'")  # fmt: skip
    tables = [*([request.names] if isinstance(request.names, Path) else []), *tables]
    kind = _KINDS[request.form.name]
    case = _Case(path, request.problems, labels, tuple(names), sizes, key_points(tables), kind, request.shapes)
    return _read(case, target is None)


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One label file a picture, boxes cut at its border, then the names and the sizes."""
    numbers = class_positions(ground_truth)
    sizes = []
    for picture in pictures_of(ground_truth, form):
        width, height = picture.width, picture.height
        if not (width and height):
            raise form.size_unknown(picture.file)
        cut = clip(picture.corners, width, height)
        yield label_file(picture), yolo_lines(cut, numbers[picture.classes], width, height).encode()
        sizes.append((f"{picture.stem}{picture.ending}", width, height))
    yield "data.yaml", yaml_of([ground_truth.categories.names[k] for k in np.argsort(numbers)])
    yield SIZE_FILE, size_table(sizes)


def is_line(line: str) -> bool:
    """Whether a line of text is a box or a polygon."""
    return numbers_of(line) is not None


def yaml_of(names: Sequence[str]) -> bytes:
    """ultralytics' table of class names; quoted as JSON, which YAML reads too where all of it can be printed."""
    texts = (_NOT_IN_YAML.sub(lambda m: f"\\u{ord(m[0]):04x}", orjson.dumps(name).decode()) for name in names)
    return ("names:\n" + "".join(f"  {number}: {name}\n" for number, name in enumerate(texts))).encode("utf-8")


def _roots(path: Path, folder: Path) -> Iterator[Path]:
    """Where names and sizes are looked for: the labels, what was named, and the data set around `labels`."""
    yield folder
    if path != folder:
        yield path
    parts = folder.resolve().parts
    if "labels" in parts:
        place = len(parts) - 1 - parts[::-1].index("labels")
        for length in range(len(parts) - 1, place - 1, -1):
            yield Path(*parts[:length])


def find_tables(path: Path) -> list[Path]:
    """The files of class names that lie with the labels, or above the split that they are, the nearest first."""
    roots = list(_roots(path, label_folder(path)))
    files = (*(root / name for root in roots for name in NAME_FILES), roots[-1].resolve().parent / NAME_FILES[0])
    return [file for file in files if file.is_file() and not holds_labels(file)]


def key_points(tables: Sequence[Path]) -> tuple[int, int] | None:
    """`kpt_shape` of the first YAML of these that has it: the count of key points, and 2 or 3 numbers each."""
    for table in tables:
        if table.suffix.lower() in (".yaml", ".yml"):
            shape = read_yaml(table, read_text(table)).get("kpt_shape")
            numbers = [whole_number(one) for one in shape] if isinstance(shape, list) else []
            if len(numbers) == 2 and numbers[0] is not None and numbers[0] >= 0 and numbers[1] in (2, 3):
                return numbers[0], numbers[1]
            if shape is not None:
                raise InputError(f"{table}: 'kpt_shape' should be two numbers as [17, 3], the count of key points and "
                                 "the numbers of each")  # fmt: skip
    return None


def find_sizes(path: Path) -> Sizes | None:
    """The table of sizes or the pictures that lie with the labels; None where there are none."""
    folder = label_folder(path)
    for root in _roots(path, folder):
        if (root / SIZE_FILE).is_file():
            return Sizes.read(root / SIZE_FILE)
    parts = folder.resolve().parts
    if "labels" in parts:
        place = len(parts) - 1 - parts[::-1].index("labels")
        pictures = Path(*parts[:place], "images", *parts[place + 1 :])
        if pictures.is_dir():
            return Sizes.read(pictures)
    for candidate in (path / "images", folder):
        if candidate.is_dir() and image_files(candidate):
            return Sizes.read(candidate)
    return None


@dataclass(frozen=True)
class _Case:
    """What is read: label files, names of classes 0, 1, 2 ..., sizes of the images, and the shape of key points.

    kind     "polygon", "corners" or "pose" where somebody has said what the lines are
    shapes   as in `Request`
    """

    path: Path
    problems: Problems
    labels: Sequence[Label]
    names: tuple[str, ...]
    sizes: Sizes
    kpt_shape: tuple[int, int] | None
    kind: str
    shapes: str


def _read(case: _Case, add_images: bool) -> Contents:
    """The tables of label files.

    A class without a name is one where it has boxes, and is called by its number. Boxes of an image whose size is not
    known are left out, and that is said. With `add_images` images that have no label file belong to the data set.
    InputError where no line can be read, or where most boxes are not relative to the image.
    """
    builder, problems, sizes = Builder(case.problems), case.problems, case.sizes
    lines = LabelLines(problems, "`class cx cy w h`", numbers_of)
    for number in range(len(case.names)):
        builder.category(str(number), number)
    labelled: set[str] = set()
    entries: list[tuple[str, list[float]]] = []
    owners: list[tuple[int, int, int]] = []
    for label in case.labels:
        stem = _picture(label.stem, sizes)
        width, height = sizes(stem)
        image_file = sizes.name(stem)
        labelled.add(image_file)
        image = builder.image(stem, image_file, width, height)
        found = list(lines.of(label.file, label.path))
        entries += found
        owners += [(image, width, height)] * len(found)
    lines.check(case.path)
    boxes, scores, beside = _columns(case, entries)
    pixels = int((boxes.max(axis=1, initial=0) > 2).sum())
    if pixels > lines.count / 2:
        raise InputError(
            f"{case.path}: {pixels} of {lines.count} boxes are not relative to the image (0 to 1); are these pixels?"
        )
    _question(case, entries, boxes)
    for row, ((where, numbers), (image, width, height), (cx, cy, w, h), score) in enumerate(
        zip(entries, owners, boxes.tolist(), scores.tolist(), strict=True)
    ):
        if not (width and height):
            problems.add(UNSIZED, where)
            continue
        class_id = int(numbers[0])
        if case.names and class_id >= len(case.names):
            problems.add("boxes of classes beyond the list of names, called by their number", class_id)
        box = ((cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height)
        category = builder.category(str(class_id), class_id)
        found_beside = _in_pixels(beside.get(row), width, height) if case.shapes else NOTHING
        builder.box(image, category, box, score=None if score != score else score, beside=found_beside)
    if add_images:
        for file in sizes.files:
            if file not in labelled:
                builder.background(file, *sizes(file))
    return _named(builder.finish(case.shapes), case.names)


def _in_pixels(found: tuple[str, Floats] | None, width: int, height: int) -> Beside:
    """What a line has beside its box."""
    if found is None:
        return NOTHING
    kind, points = found
    points = points.copy()
    points[:, :2] *= (width, height)
    if kind == "pose":
        return Beside(keypoints=points)
    return Beside(corners=points) if kind == "corners" else Beside(rings=(points,))


Points = dict[int, tuple[str, Floats]]


def _columns(case: _Case, entries: Sequence[tuple[str, list[float]]]) -> tuple[Floats, Floats, Points]:
    """Boxes (N, 4), centre and size in shares of the picture, scores (N,), NaN where there is none, and points.

    Of the lines that have more than boxes: whether these are a "polygon", "corners" or a "pose", and they, in shares.
    """
    rows: dict[int, list[int]] = {}
    for row, (_, numbers) in enumerate(entries):
        rows.setdefault(len(numbers) - 1, []).append(row)
    known = Known(case.kpt_shape, sum(length > 6 for length in rows) > 2, case.kind.replace("corners", "polygon"))
    boxes, scores = np.zeros((len(entries), 4)), np.full(len(entries), np.nan)
    # Polygons vary in length; where all have four corners they are turned boxes.
    four = {length for length in rows if length > 6} <= {8, 9} and case.kind != "polygon"
    if case.kind == "corners" and not four:
        own = next(own for length, own in rows.items() if length > 6 and length not in (8, 9))
        raise InputError(f"{case.path}: {entries[own[0]][0]} has {len(entries[own[0]][1]) - 1} numbers behind the "
                         "class, and a turned box has 8, or 9 with its score")  # fmt: skip
    beside: Points = {}
    for length, own in sorted(rows.items()):
        columns = np.array([entries[row][1][1:] for row in own])
        where = entries[own[0]][0]
        try:
            reading = reading_of(columns, known)
        except ValueError as error:
            raise InputError(
                f"{case.path}: the {length} numbers behind the class ({where}) may be a box with key points or a "
                f"polygon; put a data.yaml with kpt_shape: [count, 2] beside the labels, or kpt_shape: [0, 2] for "
                f"none; or say that the format is yolo-pose or yolo-seg"
            ) from error
        found = reading.take(columns)
        boxes[own], scores[own] = found.boxes, found.scores
        kind = "corners" if reading.kind == "polygon" and four and length in (8, 9) else reading.kind
        if reading.what and not (case.shapes and kind == (case.kind or "box")):
            case.problems.add(f"lines that are read as {_said(case, reading.what, kind)}", where, len(own))
        if found.points is not None:
            beside |= {row: (kind, points) for row, points in zip(own, found.points, strict=True)}
    return boxes, scores, beside


def _said(case: _Case, what: str, kind: str) -> str:
    """What lines are, for a message."""
    if not case.shapes or kind == "box":
        return what
    if kind == "corners":
        return "turned boxes, as all of them have four corners (yolo-seg as the format reads polygons)"
    return {"pose": "boxes with key points", "polygon": "polygons"}[kind]


def _question(case: _Case, entries: Sequence[tuple[str, list[float]]], boxes: Floats) -> None:
    """Say which boxes reach far beyond their pictures: they may be something else."""
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    beyond = (low < -_BEYOND).any(axis=1) | (high > 1 + _BEYOND).any(axis=1)
    if beyond.any():
        row = int(np.argmax(beyond))
        text = " ".join(f"{value:g}" for value in entries[row][1][:6])
        case.problems.add("boxes that reach beyond their picture, kept as they stand: are the lines `class cx cy w h` "
                          "in shares of the picture?", f"{entries[row][0]}: {text}", int(beyond.sum()))  # fmt: skip


def _named(contents: Contents, names: Sequence[str]) -> Contents:
    """The same with the classes, so far in the order of their boxes, in the order of their numbers and by name."""
    ids = contents.ground_truth.categories.ids
    order = sorted(range(len(ids)), key=ids.__getitem__)
    numbers = [int(ids[row]) for row in order]
    called = tuple(names[number] if number < len(names) else str(number) for number in numbers)
    return with_classes(contents, order, Categories(called, tuple(numbers)))


def _picture(stem: str, sizes: Sizes) -> str:
    """What the image of a label file is called: `train/images/a` for `train/labels/a`, where `sizes` has that."""
    parts = stem.split("/")
    if "labels" not in parts[:-1]:
        return stem
    place = len(parts) - 2 - parts[-2::-1].index("labels")
    before, after = parts[:place], parts[place + 1 :]
    return sizes.called(stem, "/".join((*before, "images", *after)), "/".join((*before, *after))) or stem


def numbers_of(line: str) -> list[float] | None:
    """The class and the four or more numbers behind it; None where the line is something else."""
    numbers = finite_numbers(parts := line.split(), len(parts))
    if numbers is None or len(numbers) < 5 or not numbers[0].is_integer() or not 0 <= numbers[0] < 1 << 31:
        return None
    return numbers


def yolo_lines(
    boxes_xyxy: ArrayLike,
    class_ids: Sequence[int] | ArrayLike,
    width: float,
    height: float,
    scores: Sequence[float] | ArrayLike | None = None,
) -> str:
    """The text of one label file; "" where there is no box.

    boxes_xyxy  (N, 4), pixels; written relative to `width` and `height`, with 10 digits, not cut at the borders
    class_ids   (N,), counted from 0
    scores      (N,), the sixth column of predictions; None for annotations
    InputError where the size of the image is not known (0).
    """
    if width <= 0 or height <= 0:
        raise InputError(f"YOLO txt is relative to the size of the image, which is not known ({width} x {height})")
    boxes = xyxy_to_cxcywh(shortest_doubles(as_boxes(boxes_xyxy, dtype=None)))
    boxes = boxes / (width, height, width, height)
    classes = shortest_doubles(class_ids).astype(int).tolist()
    tails = [""] * len(classes) if scores is None else [f" {number_text(s)}" for s in shortest_doubles(scores)]
    return "".join(
        f"{class_id} {' '.join(number_text(value, 10) for value in box)}{tail}\n"
        for class_id, box, tail in zip(classes, boxes.tolist(), tails, strict=True)
    )
