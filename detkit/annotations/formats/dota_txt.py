"""DOTA's text files (Xia et al. 2018): one file an image, one line a turned box.

    imagesource:GoogleEarth
    gsd:0.146343590398
    x1 y1 x2 y2 x3 y3 x4 y4 class difficult

Corners are pixels, in order around the box. The first two lines may be missing, and so may `difficult`; 1 and 2 are
difficult. Files lie in the folder named, or in `labelTxt` in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from detkit.annotations.beside import Beside
from detkit.annotations.building import Builder, Contents, in_class_order
from detkit.annotations.by_picture import pictures_of
from detkit.annotations.columns import finite_numbers, whole_number
from detkit.annotations.format import Format, Request
from detkit.annotations.formats.yolo_obb_txt import corners_of, turned_losses
from detkit.annotations.label_files import LabelLines, label_file, label_files, label_folder
from detkit.annotations.number_text import number_text
from detkit.annotations.text_files import inner_folder, need_files
from detkit.dataset import GroundTruth
from detkit.shapes.turned_boxes import area

_HEADERS = ("imagesource:", "gsd:")
Line = tuple[list[float], str, bool]


def parse_line(line: str) -> Line | None:
    """The eight numbers, the class and whether it is difficult; None where the line is something else."""
    parts = line.split()
    if len(parts) not in (9, 10) or finite_numbers([parts[8]], 1) is not None:
        return None
    numbers = finite_numbers(parts[:8], 8)
    level = whole_number(parts[9]) if len(parts) == 10 else 0
    return None if numbers is None or level is None else (numbers, parts[8], level > 0)


def is_line(line: str) -> bool:
    """Whether a line of text is a turned box, or one of the two lines above."""
    return line.strip().lower().startswith(_HEADERS) or parse_line(line) is not None


def class_name(name: str) -> str:
    """A class name as it comes back: columns are separated by spaces."""
    name = "-".join(name.split())
    return f"class-{name}" if name and finite_numbers([name], 1) is not None else name


def read(request: Request) -> Contents:
    """The tables of a folder of text files; sizes are asked of the request."""
    path = request.path
    folder = label_folder(inner_folder(path, request.form.inner, request.form.ending))
    files = label_files(folder)
    need_files(path, files, ".txt")
    builder = Builder(request.problems)
    lines: LabelLines[Line | str] = LabelLines(request.problems, "`x1 y1 x2 y2 x3 y3 x4 y4 class difficult`", _entry)
    named: set[str] = set()
    for file in files:
        stem = file[: -len(".txt")]
        sizes = request.sizes
        called = stem if sizes is None else sizes.name(stem)
        named.add(called)
        image = builder.image(stem, called, *(sizes(stem) if sizes is not None else (0, 0)))
        for _, entry in lines.of(file, folder / file):
            if isinstance(entry, str):
                continue
            numbers, name, difficult = entry
            corners = np.array(numbers).reshape(4, 2)
            low, high = corners.min(axis=0), corners.max(axis=0)
            builder.box(
                image, builder.category(name), [*low.tolist(), *(high - low).tolist()],
                area=float(area(corners[None])[0]), beside=Beside(corners=corners), difficult=difficult,
            )  # fmt: skip
    lines.check(path)
    if request.target is None and request.sizes is not None:
        for file in request.sizes.files:
            if file not in named:
                builder.background(file, *request.sizes(file))
    return in_class_order(builder.finish(request.shapes))


def _entry(line: str) -> Line | str | None:
    return line if line.strip().lower().startswith(_HEADERS) else parse_line(line)


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One text file a picture."""
    for picture in pictures_of(ground_truth, form):
        lines = []
        for row, name in enumerate(picture.names):
            numbers = " ".join(number_text(float(value)) for value in corners_of(picture, row).ravel())
            lines.append(f"{numbers} {class_name(name)} {int(picture.flags['difficult'][row])}\n")
        yield label_file(picture), "".join(lines).encode()


def losses(ground_truth: GroundTruth) -> list[str]:
    """What has no corners."""
    return turned_losses(ground_truth, "DOTA txt", cut=False)


def rules(ground_truth: GroundTruth, path: Path) -> list[str]:
    """DOTA's own evaluation leaves difficult objects out, which COCO's protocol does not know."""
    return ["DOTA's own figures are those of --protocol voc07 (or voc) with --iou-type obb, which leave difficult "
            "objects out"] if ground_truth.difficult.any() else []  # fmt: skip
