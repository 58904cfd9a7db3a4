"""YOLO txt: one file an image, one line a box, `class cx cy w h`, relative to the image (ultralytics' convention).

Classes are counted from 0; predictions have their score as the sixth column. Longer lines are polygons, `class x1 y1
x2 y2 x3 y3 ...`, with a score behind them where the number of columns is even: their bounds are taken.

    data/labels/*.txt  data/images/*.jpg  data/data.yaml      or      folder/*.txt  folder/sizes.csv  folder/classes.txt
    data/train/labels/*.txt  data/train/images/*.jpg  data/valid/labels/*.txt  data/valid/images/*.jpg  data/data.yaml

Names come from `classes.txt`, `obj.names`, `names.txt`, `data.yaml` or `dataset.yaml`, else from a `data.yaml` one
folder further up; sizes from `sizes.csv` (file, width, height) or from the headers of the pictures. Pictures without a
label file are images without boxes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import ArrayLike

from detkit.annotations.building import Builder, Contents, with_classes
from detkit.annotations.by_picture import class_positions, pictures_of
from detkit.annotations.columns import finite_numbers
from detkit.annotations.format import Format, Request
from detkit.annotations.label_files import OTHER_TEXTS as OTHER_TEXTS
from detkit.annotations.label_files import LabelLines, holds_labels, label_file, label_files, label_folder
from detkit.annotations.name_files import read_names
from detkit.annotations.number_text import number_text, shortest_doubles
from detkit.annotations.problems import Problems
from detkit.annotations.sizes import UNSIZED, Sizes, image_files, size_table
from detkit.annotations.text_files import need_files
from detkit.boxes import as_boxes, clip, xyxy_to_cxcywh
from detkit.dataset import Categories, GroundTruth
from detkit.errors import InputError

NAME_FILES = ("data.yaml", "dataset.yaml", "classes.txt", "obj.names", "names.txt")
SIZE_FILE = "sizes.csv"
# Characters that JSON writes as they are and that YAML takes for line breaks or refuses.
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufffe\uffff]")


def read(request: Request) -> Contents:
    """The tables of a folder of label files, with the names and sizes that lie beside them where none are given."""
    path, target = request.path, request.target
    own_sizes = find_sizes(path)
    sizes = own_sizes if request.sizes is None else request.sizes.and_then(own_sizes)
    if sizes is None:
        raise request.form.needs_sizes(path, f", or put {SIZE_FILE} beside the labels")
    names = request.class_names or find_names(path)
    if not names and request.names_of_target:
        names = request.names_of_target
        request.problems.add("no class names found, so classes 0, 1, 2 ... are those of the ground truth in the order "
                             "of their ids", f"0 is '{names[0]}'")  # fmt: skip
    return read_yolo(path, request.problems, names, sizes, target is None)


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
    return parse_line(line) is not None


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


def find_names(path: Path) -> tuple[str, ...]:
    """The class names that lie with the labels, or above the split that they are; () where there are none."""
    roots = list(_roots(path, label_folder(path)))
    for file in (*(root / name for root in roots for name in NAME_FILES), roots[-1].resolve().parent / NAME_FILES[0]):
        if file.is_file() and not holds_labels(file):
            return read_names(file)
    return ()


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


def read_yolo(path: Path, problems: Problems, names: Sequence[str], sizes: Sizes, add_images: bool) -> Contents:
    """The tables of a folder of label files.

    names       of classes 0, 1, 2 ...; a class without a name is one where it has boxes, and is called by its number
    sizes       of the images; boxes of an image whose size is not known are left out, and that is said
    add_images  whether images that `sizes` knows and that have no label file belong to the data set
    InputError where no line can be read, or where most boxes are not relative to the image.
    """
    folder = label_folder(path)
    files = label_files(folder)
    need_files(path, files, ".txt")
    builder = Builder(problems)
    lines = LabelLines(folder, problems, "`class cx cy w h`", parse_line)
    for number in range(len(names)):
        builder.category(str(number), number)
    labelled: set[str] = set()
    pixels = 0
    for file in files:
        stem = _picture(file[:-4], sizes)
        width, height = sizes(stem)
        image_file = sizes.name(stem)
        labelled.add(image_file)
        image = builder.image(stem, image_file, width, height)
        for where, (class_id, (cx, cy, w, h), score) in lines.of(file):
            if not (width and height):
                problems.add(UNSIZED, where)
                continue
            if max(cx, cy, w, h) > 2:
                pixels += 1
            box = ((cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height)
            if names and class_id >= len(names):
                problems.add("boxes of classes beyond the list of names, called by their number", class_id)
            builder.box(image, builder.category(str(class_id), class_id), box, score=score)
    lines.check(path)
    if pixels > lines.count / 2:
        raise InputError(
            f"{path}: {pixels} of {lines.count} boxes are not relative to the image (0 to 1); are these pixels?"
        )
    if add_images:
        for file in sizes.files:
            if file not in labelled:
                builder.background(file, *sizes(file))
    return _named(builder.finish(), names)


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


def parse_line(line: str) -> tuple[int, tuple[float, float, float, float], float | None] | None:
    """Class, (cx, cy, w, h) and score (None where there is none) of one line; None where it is something else."""
    numbers = finite_numbers(parts := line.split(), len(parts))
    if numbers is None or len(numbers) < 5 or not numbers[0].is_integer() or not 0 <= numbers[0] < 1 << 31:
        return None
    values = numbers[1:]
    score = values.pop() if len(values) % 2 else None
    if len(values) == 4:
        return int(numbers[0]), (values[0], values[1], values[2], values[3]), score
    xs, ys = values[::2], values[1::2]
    box = ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys))
    return int(numbers[0]), box, score


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
