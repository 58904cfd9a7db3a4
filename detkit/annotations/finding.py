"""Pictures found by name or id: one rule for tables, folders, results and proposals.

A name is a path, else as much of its end as is needed ("val/a.jpg" finds "/data/val/a.jpg" and the other way round),
with or without the ending; else a stem that is an id. What fits several pictures equally well is ambiguous, and never
the first of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from detkit.annotations.problems import quoted
from detkit.annotations.text_files import files_under
from detkit.dataset import ImageId
from detkit.errors import InputError
from detkit.picture_names import HEIF, PICTURES, plain_path, without_ending
from detkit.spelling import spelled

UNKNOWN = -1
AMBIGUOUS = -2


class Finder:
    """Finds pictures of a list by file name or id.

    files  with their folders, "" where there is none
    ids    what the pictures are called besides; None for nothing
    """

    def __init__(self, files: Sequence[str], ids: Sequence[ImageId] | None = None) -> None:
        self.files = files
        ids = () if ids is None else ids
        self._by_id: dict[ImageId, int] = {id: row for row, id in enumerate(ids)}
        self._by_text = {spelled(str(id)): row for row, id in enumerate(ids)}
        self._paths = [
            spelled(plain_path(file or (id if isinstance(id, str) else "")))
            for file, id in itertools.zip_longest(files, ids, fillvalue="")
        ]
        self._exact: dict[str, int] = {}
        self._whole: dict[str, int] = {}
        self._tails: dict[str, int] | None = None
        for row, path in enumerate(self._paths):
            if path:
                _claim(self._exact, path, row)
                _claim(self._whole, without_ending(path), row)

    def by_id(self, id: ImageId) -> int:
        """The row of an image id, as it is or as text; UNKNOWN where there is none."""
        row = self._by_id.get(id, UNKNOWN)
        return row if row >= 0 else self._by_text.get(spelled(str(id)), UNKNOWN)

    def by_file(self, file: str) -> int:
        """The row of a file name; UNKNOWN where there is none, AMBIGUOUS where several fit equally well."""
        path = spelled(plain_path(file))
        for table, name in ((self._exact, path), (self._whole, without_ending(path))):
            row = table.get(name, UNKNOWN)
            if row >= 0:
                return row
        if self._tails is None:
            self._tails = self._all_tails()
        for name in (path, without_ending(path)):
            for tail in _tails(name):
                row = self._tails.get(tail, UNKNOWN)
                if row != UNKNOWN:
                    return row
        stem = without_ending(path).rpartition("/")[2]
        row = self._by_text.get(stem, UNKNOWN)
        if row < 0 and stem.isascii() and stem.isdigit() and len(stem) < 19:
            row = self._by_id.get(int(stem), UNKNOWN)
        return row

    def fitting(self, file: str) -> list[str]:
        """The files that an ambiguous name may mean."""
        stem = without_ending(spelled(plain_path(file))).rpartition("/")[2]
        return [path for path in self._paths if without_ending(path).rpartition("/")[2] == stem]

    def _all_tails(self) -> dict[str, int]:
        tails: dict[str, int] = {}
        for row, path in enumerate(self._paths):
            for tail in _tails(path) if path else ():
                _claim(tails, tail, row)
                if without_ending(tail) != tail:
                    _claim(tails, without_ending(tail), row)
        return tails


def _tails(path: str) -> Iterator[str]:
    """The path, then what is left without its first folder, and so on down to the name."""
    yield path
    start = path.find("/")
    while start >= 0:
        yield path[start + 1 :]
        start = path.find("/", start + 1)


def _claim(table: dict[str, int], name: str, row: int) -> None:
    table[name] = row if table.get(name, row) == row else AMBIGUOUS


class PictureFolder:
    """The pictures that lie in a folder and its subfolders, found by name; the folder is listed once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.finder = Finder(files_under(folder, (*PICTURES, *HEIF)))

    def find(self, name: str) -> Path | None:
        """The file, None where it is not there. InputError where it could be several.

        A name that leads out of the folder is followed by its end only.
        """
        row = self.finder.by_file("/".join(part for part in name.replace("\\", "/").split("/") if part != ".."))
        if row == AMBIGUOUS:
            raise InputError(
                f"{self.folder}: '{name}' could be any of {quoted(self.finder.fitting(name), 3)}; "
                "give the names their subfolders, or name the folder of these pictures only"
            )
        return None if row < 0 else self.folder / self.finder.files[row]
