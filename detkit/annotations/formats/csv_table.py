"""CSV of ours: a header, then one line a box with its corners in pixels.

    file,width,height,x1,y1,x2,y2,score,class,class_id

Columns are found by their name, in any order; `file`, the corners and one of `class` and `class_id` are needed. The
names that other tools give them (`filename`, `xmin`, `label`, `confidence` ...) are known.
Annotations leave `score` empty and may have `crowd`, `difficult`, `ignore`, `truncated`, `occluded` (0 or 1),
`area` and `id`. A line whose corners are empty stands for an image without boxes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from detkit.annotations.building import BoxColumns, Contents, corners_in_order, from_columns, images_table
from detkit.annotations.columns import box_column, flag_column, number_column, whole_id, whole_number
from detkit.annotations.format import FLAGS, Format, Request
from detkit.annotations.number_text import number_text
from detkit.annotations.problems import Problems, quoted, shorten
from detkit.annotations.text_files import read_text
from detkit.dataset import GroundTruth, ImageId
from detkit.errors import InputError
from detkit.picture_names import plain_path, without_ending

CSV_HEADER = ("file", "width", "height", "x1", "y1", "x2", "y2", "score", "class", "class_id")
_CORNERS = ("x1", "y1", "x2", "y2")
# Other names of the columns, in lower case.
_ALIASES = {
    "file": ("filename", "file_name", "image", "image_name", "image_path", "imagepath", "path", "img", "img_path"),
    "x1": ("xmin", "x_min", "left"),
    "y1": ("ymin", "y_min", "top"),
    "x2": ("xmax", "x_max", "right"),
    "y2": ("ymax", "y_max", "bottom"),
    "class": ("label", "class_name", "classname", "label_name", "category", "name"),
    "class_id": ("classid", "category_id", "label_id", "class_index"),
    "score": ("confidence", "conf", "probability", "prob"),
    "width": ("image_width", "img_width"),
    "height": ("image_height", "img_height"),
}


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One file."""
    yield "", csv_bytes(ground_truth)


class _LineFeeds:
    """Ends the lines that a CSV writer gives it at a line feed alone."""

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def write(self, line: str) -> None:
        self.file.write(line[:-2] + "\n")


def csv_writer(file: TextIO) -> Any:
    """A writer of the csv module whose lines end at a line feed and whose cells may hold carriage returns.

    Python's own quotes those only from 3.13 on, or where they end the lines.
    """
    return csv.writer(_LineFeeds(file), lineterminator="\r\n")


def delimiter_of(header: str) -> str:
    """What separates the columns of a header: a comma, else a semicolon or a tab."""
    return next((mark for mark in (",", ";", "\t") if mark in header), ",")


def csv_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header and the other lines of a CSV file; lines shorter than the header are filled up."""
    try:
        text = read_text(path)
        lines = (line + "\n" for line in text.split("\n"))
        reader = csv.reader(lines, delimiter=delimiter_of(text.split("\n", 1)[0]), strict=True)
        header = [name.strip() for name in next(reader, [])]
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise InputError(f"{path}: is not CSV at line {reader.line_num}: {error}") from error
    width = len(header)
    return header, [row if len(row) >= width else row + [""] * (width - len(row)) for row in rows]


def read(request: Request) -> Contents:
    """The tables of a file of ours."""
    path, problems = request.path, request.problems
    header, rows = csv_rows(path)
    place = columns_of(header)
    missing = [name for name in ("file", *_CORNERS) if name not in place]
    if missing or not {"class", "class_id"} & place.keys():
        raise InputError(
            f"{path}: the header lacks {quoted(missing or ['class'])}; it should be {','.join(CSV_HEADER)}"
        )

    def column(name: str) -> list[str] | None:
        return [row[place[name]] for row in rows] if name in place else None

    files = [plain_path(row[place["file"]]) for row in rows]
    images, owners = _images(files, column("width"), column("height"), problems)
    cells: list[Any] = [[row[place[name]] for name in _CORNERS] for row in rows]
    filled = np.array([any(cell.strip() for cell in row) for row in cells], bool).reshape(len(rows))
    corners, readable = box_column([row if has else None for row, has in zip(cells, filled, strict=True)])
    keep = readable & (owners >= 0)
    unreadable = filled & ~readable
    if unreadable.any():
        row = int(np.argmax(unreadable))
        problems.add("boxes that are not four finite numbers, left out",
                     f"line {row + 2}: {shorten(','.join(rows[row]))}", int(unreadable.sum()))  # fmt: skip
    kept = np.flatnonzero(keep).tolist()

    def of_kept(name: str) -> list[str | None]:
        cells = column(name)
        return [None] * len(kept) if cells is None else [cells[row] or None for row in kept]

    ids = [_id(id) for id in of_kept("class_id")]
    names = [name or _name_of(row + 2, id, request) for name, id, row in zip(of_kept("class"), ids, kept, strict=True)]
    columns = BoxColumns(
        owners[keep],
        names,
        ids,
        corners_in_order(corners[keep], problems, lambda k: f"line {kept[k] + 2}"),
        number_column(of_kept("score")),
        areas=number_column(of_kept("area")),
        flags={key: flag_column(of_kept(key)) for key in FLAGS},
        ids=[_id(id) for id in of_kept("id")],
    )
    return from_columns(images_table(images), columns)


def columns_of(header: list[str]) -> dict[str, int]:
    """Where the columns are, under their names here."""
    place = {name.lower(): column for column, name in reversed(list(enumerate(header)))}
    for name, others in _ALIASES.items():
        found = next((place[other] for other in others if other in place), None)
        if found is not None:
            place.setdefault(name, found)
    return place


def _images(
    files: list[str], widths: list[str] | None, heights: list[str] | None, problems: Problems
) -> tuple[list[tuple[ImageId, str, int, int]], Any]:
    rows: dict[str, int] = {}
    images: list[tuple[ImageId, str, int, int]] = []
    owners = np.full(len(files), -1, np.int64)
    for line, file in enumerate(files):
        if not file.strip():
            problems.add("lines without a file, left out", f"line {line + 2}")
            continue
        row = rows.setdefault(file, len(images))
        if row == len(images):
            width = whole_number(widths[line]) if widths else 0
            height = whole_number(heights[line]) if heights else 0
            images.append((without_ending(file), file, max(width or 0, 0), max(height or 0, 0)))
        owners[line] = row
    return images, owners


def _id(text: str | None) -> int | str | None:
    number = whole_id(text)
    return (text or "").strip() or None if number is None else number


def _name_of(line: int, id: int | str | None, request: Request) -> str:
    if id is None:
        raise InputError(f"{request.path}: line {line} has neither a class nor a class_id")
    if isinstance(id, int) and 0 <= id < len(request.default_names):
        name = request.default_names[id]
        request.problems.add("boxes without a class name, taken as classes counted from 0", f"{id} is '{name}'")
        return name
    return str(id)


def csv_bytes(ground_truth: GroundTruth) -> bytes:
    """Annotations as CSV of ours, with the columns of flags, `area` and `id` after the usual ones."""
    text = io.StringIO(newline="")
    writer = csv_writer(text)
    writer.writerow((*CSV_HEADER, *FLAGS, "area", "id"))
    images, categories = ground_truth.images, ground_truth.categories
    heads = [
        (file or str(id), width, height)
        for id, file, width, height in zip(
            images.ids, images.files, images.widths.tolist(), images.heights.tolist(), strict=True
        )
    ]
    corners = ground_truth.boxes.copy()
    corners[:, 2:] += corners[:, :2]
    flags = np.stack([getattr(ground_truth, key) for key in FLAGS], axis=1).astype(int)
    ids = ground_truth.ids or range(1, len(ground_truth) + 1)
    lines: list[list[tuple[Any, ...]]] = [[] for _ in heads]
    for image, category, box, marks, area, id in zip(
        ground_truth.image_index.tolist(), ground_truth.class_index.tolist(), corners.tolist(), flags.tolist(),
        ground_truth.areas.tolist(), ids, strict=True,
    ):  # fmt: skip
        numbers = [number_text(value) for value in box]
        lines[image].append((*heads[image], *numbers, "", categories.names[category], categories.ids[category],
                             *marks, number_text(area), id))  # fmt: skip
    for head, own in zip(heads, lines, strict=True):
        writer.writerows(own or [(*head, *[""] * (len(CSV_HEADER) - 3 + len(FLAGS) + 2))])
    return text.getvalue().encode("utf-8")
