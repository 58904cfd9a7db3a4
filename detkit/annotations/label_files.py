"""Folders of text files with one line a box, which YOLO and KITTI have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from detkit.annotations.by_picture import Picture
from detkit.annotations.formats import format_of_line
from detkit.annotations.problems import Problems, shorten
from detkit.annotations.text_files import files_under, lines_of
from detkit.errors import InputError
from detkit.files import opened, read_file

Entry = TypeVar("Entry")

# Text files that lie beside labels without being labels.
OTHER_TEXTS = frozenset(
    ("classes.txt", "names.txt", "labels.txt", "train.txt", "val.txt", "test.txt", "readme.txt", "license.txt",
     "readme.roboflow.txt", "readme.dataset.txt", "requirements.txt")
)  # fmt: skip


def label_folder(path: Path) -> Path:
    """The folder of the label files: `path`, or `labels` in it where `path` is the root of a data set."""
    inner = path / "labels"
    return inner if inner.is_dir() else path


def label_files(folder: Path) -> list[str]:
    """The text files that may hold labels, relative to `folder`."""
    return [
        file
        for file in files_under(folder, (".txt",))
        if file.rpartition("/")[2].lower() not in OTHER_TEXTS or holds_labels(folder / file)
    ]


def label_file(picture: Picture) -> str:
    """The text file of a picture's boxes, with the picture's ending where it would be taken for another text."""
    name = f"{picture.stem}.txt"
    if name.rpartition("/")[2].lower() in OTHER_TEXTS:
        return f"{picture.stem}{picture.ending or '.jpg'}.txt"
    return name


def holds_labels(path: Path) -> bool:
    """Whether the first line of a text is a box: `train.txt` may also be the labels of train.jpg."""
    try:
        with opened(path) as file:
            first = next((line for line in file if line.strip()), b"")
        return format_of_line(first.decode("utf-8-sig")) is not None
    except (InputError, UnicodeDecodeError):
        return False


class LabelLines(Generic[Entry]):
    """The lines of label files, parsed and counted.

    what   what a line should be, for messages
    parse  gives an entry of a line, None where it is something else
    """

    def __init__(self, problems: Problems, what: str, parse: Callable[[str], Entry | None]) -> None:
        self.problems, self.what, self.parse = problems, what, parse
        self.count = self.unreadable = 0

    def of(self, file: str, path: Path) -> Iterator[tuple[str, Entry]]:
        """(place, entry) of the lines of a file that can be read; empty ones do not count. Messages call it `file`."""
        for number, line in enumerate(lines_of(label_text(path)), 1):
            if not line.strip():
                continue
            self.count += 1
            where = f"{file}, line {number}"
            entry = self.parse(line)
            if entry is None:
                self.unreadable += 1
                self.problems.add(f"lines that are not {self.what}, left out", f"{where}: {shorten(line)}")
            else:
                yield where, entry

    def check(self, path: Path) -> None:
        """InputError where there were lines and none could be read."""
        if self.count and self.unreadable == self.count:
            first = next(iter(self.problems.examples.values()))
            raise InputError(f"{path}: none of its {self.count} lines is {self.what} (first: {first})")


def label_text(path: Path) -> str:
    """The text of a label file, which may be empty. InputError where it is not UTF-8 or cannot be read."""
    try:
        return read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text") from error
