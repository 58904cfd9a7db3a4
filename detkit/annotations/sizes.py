"""Width and height of pictures as they are shown (EXIF rotation applied), from their headers or from a table."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from copy import copy
from mmap import ACCESS_READ, mmap
from pathlib import Path

from detkit.annotations.alignment import ImageMatcher
from detkit.annotations.building import images_table
from detkit.annotations.columns import whole_number
from detkit.annotations.finding import UNKNOWN
from detkit.annotations.formats.csv_table import csv_writer
from detkit.annotations.text_files import check_file, files_under, read_text, readable_csv
from detkit.dataset import Images
from detkit.errors import InputError
from detkit.files import opened, reason
from detkit.picture_files.picture_headers import read_header
from detkit.picture_names import HEIF, PICTURES, plain_path, without_ending

# The kind of problem that formats relative to the image have with an image whose size is not known.
UNSIZED = "boxes of images whose size is not known, left out"


def image_files(folder: Path) -> list[str]:
    """Paths of the pictures in `folder` and its subfolders, relative to it."""
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder of images")
    return files_under(folder, (*PICTURES, *HEIF))


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels, as the picture is shown; InputError where the file is not a picture."""
    check_file(path)
    try:
        with opened(path) as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            header = read_header(content)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error
    if header is None:
        raise InputError(f"{path}: is not a picture that can be read")
    if 0 in header.shown_size:
        raise InputError(f"{path}: {header.strange}")
    return header.shown_size


class Sizes:
    """Sizes of images by file name or stem: from a table of ours, a folder of pictures, or a table of images.

    `files` are the names it knows; a picture is opened when its size is asked for, and only once. What is not known
    here is asked of `further`, if there is one.
    """

    def __init__(self, images: Images, folder: Path | None = None) -> None:
        self.files = images.files
        self._stems = frozenset(without_ending(plain_path(file)) for file in images.files)
        self._matcher = ImageMatcher(images)
        self._known = {
            row: (width, height)
            for row, (width, height) in enumerate(zip(images.widths.tolist(), images.heights.tolist(), strict=True))
            if width > 0 and height > 0
        }
        self._folder = folder
        self._further: Sizes | None = None

    def and_then(self, further: Sizes | None) -> Sizes:
        """The same with `further`, whose files are added where they are others."""
        if further is None:
            return self
        both = copy(self)
        both.files += tuple(file for file in further.files if self._matcher.by_file(file) == UNKNOWN)
        both._further = further if self._further is None else self._further.and_then(further)
        return both

    @classmethod
    def read(cls, path: Path) -> Sizes:
        """A folder of pictures, or a CSV file with the columns file, width, height."""
        if os.path.isdir(path):
            files = image_files(path)
            return cls(_images([(file, 0, 0) for file in files]), path)
        return cls(_images(read_size_table(path)))

    def called(self, *stems: str) -> str | None:
        """The first of these that an image is called, with its folders and without its ending; None where none is."""
        found = next((stem for stem in stems if stem in self._stems), None)
        return found if found or self._further is None else self._further.called(*stems)

    def name(self, file: str) -> str:
        """The name that it knows the image by, `file` itself where it knows none."""
        row = self._matcher.by_file(file)
        if row < 0 and self._further is not None:
            return self._further.name(file)
        return self.files[row] if row >= 0 and self.files[row] else file

    def __call__(self, file: str) -> tuple[int, int]:
        """(width, height) of the image, (0, 0) where it is not known."""
        row = self._matcher.by_file(file)
        if row >= 0 and row not in self._known and self._folder is not None:
            self._known[row] = image_size(self._folder / self.files[row])
        if row not in self._known and self._further is not None:
            return self._further(file)
        return self._known.get(row, (0, 0))


def _images(rows: list[tuple[str, int, int]]) -> Images:
    return images_table([(without_ending(file), file, width, height) for file, width, height in rows])


def read_size_table(path: Path) -> list[tuple[str, int, int]]:
    """(file, width, height) rows of a CSV file with these columns; other columns do not matter."""
    text = read_text(path)
    header = [name.strip().lower() for name in text.split("\n", 1)[0].split(",")]
    if not {"file", "width", "height"} <= set(header):
        raise InputError(f"{path}: is neither a folder of images nor a table of sizes (CSV: file,width,height)")
    rows = []
    with readable_csv(path):
        table = list(csv.reader(io.StringIO(text, newline="")))
    for number, cells in enumerate(table, 1):
        if number == 1 or not cells:
            continue
        by_name = dict(zip(header, cells, strict=False))
        width, height = whole_number(by_name.get("width")), whole_number(by_name.get("height"))
        if not by_name["file"] or not width or not height or width < 0 or height < 0:
            raise InputError(f"{path}: line {number} is not a file name with a width and a height")
        rows.append((plain_path(by_name["file"]), width, height))
    return rows


def size_table(rows: Iterable[tuple[str, int, int]]) -> bytes:
    """The CSV file that `read_size_table` reads, from (file, width, height) rows."""
    text = io.StringIO(newline="")
    writer = csv_writer(text)
    writer.writerow(("file", "width", "height"))
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")
