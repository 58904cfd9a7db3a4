"""Width and height of pictures as they are shown (EXIF rotation applied), from their headers where that is enough.

Sources: ITU T.81 (JPEG markers), CIPA DC-008 (EXIF orientation), W3C PNG.
"""

from __future__ import annotations

import csv
import io
import os
import struct
from collections.abc import Iterable
from copy import copy
from pathlib import Path
from typing import IO

from detkit.annotations.alignment import ImageMatcher
from detkit.annotations.building import images_table
from detkit.annotations.columns import whole_number
from detkit.annotations.finding import IMAGE_SUFFIXES, UNKNOWN, plain_path, without_ending
from detkit.annotations.formats.csv_table import csv_writer
from detkit.annotations.text_files import check_file, files_under, read_text
from detkit.dataset import Images
from detkit.errors import InputError
from detkit.files import reason

# The kind of problem that formats relative to the image have with an image whose size is not known.
UNSIZED = "boxes of images whose size is not known, left out"
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def image_files(folder: Path) -> list[str]:
    """Paths of the pictures in `folder` and its subfolders, relative to it."""
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder of images")
    return files_under(folder, IMAGE_SUFFIXES)


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels; InputError where the file is not a picture."""
    check_file(path)
    try:
        with open(path, "rb") as file:
            start = file.read(26)
            size = None
            if start.startswith(b"\xff\xd8"):
                file.seek(2)
                size = _jpeg_size(file)
            elif start.startswith(b"\x89PNG\r\n\x1a\n") and len(start) >= 24:
                size = struct.unpack(">II", start[16:24])
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error
    if size is None or 0 in size:
        size = _decoded_size(path)
    return int(size[0]), int(size[1])


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
    for number, cells in enumerate(csv.reader(io.StringIO(text, newline="")), 1):
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


def _jpeg_size(file: IO[bytes]) -> tuple[int, int] | None:
    turned = False
    while True:
        marker = file.read(2)
        if len(marker) < 2 or marker[0] != 0xFF:
            return None
        if marker[1] == 0xFF:  # a fill byte before the marker
            file.seek(-1, 1)
            continue
        if marker[1] in (0x01, *range(0xD0, 0xD9)):  # no length, no content
            continue
        length = file.read(2)
        if len(length) < 2:
            return None
        content = struct.unpack(">H", length)[0] - 2
        if marker[1] in _FRAME_MARKERS:
            frame = file.read(5)
            if len(frame) < 5:
                return None
            height, width = struct.unpack(">HH", frame[1:5])
            return (height, width) if turned else (width, height)
        if marker[1] == 0xDA or content < 0:
            return None
        if marker[1] == 0xE1:
            turned = _orientation(file.read(content)) >= 5 or turned
        else:
            file.seek(content, 1)


def _orientation(segment: bytes) -> int:
    """EXIF tag 0x0112 of an APP1 segment, 1 where there is none; 5 to 8 swap width and height."""
    if not segment.startswith(b"Exif\x00\x00"):
        return 1
    tiff = segment[6:]
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        if order is None:
            return 1
        (offset,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, offset)
        for entry in range(min(count, 512)):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, offset + 2 + 12 * entry)
            if tag == 0x0112 and kind == 3:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _decoded_size(path: Path) -> tuple[int, int]:
    import cv2
    import numpy as np

    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
    if picture is None:
        raise InputError(f"{path}: is not a picture that can be read")
    return picture.shape[1], picture.shape[0]
