"""Where the pictures of a data set lie: in the folder that is named, else in or beside its annotations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from detkit.annotations.finding import PictureFolder
from detkit.errors import InputError

PLACES = ("images", "JPEGImages", "", "../images", "../JPEGImages")


class Pictures:
    """Finds the picture of an image under some folders, or in images/ or JPEGImages/ in or beside them.

    A folder is listed when it is first needed. The nearer it is, the sooner it counts.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._places = [folder / place for folder in folders for place in PLACES]
        self._listed: dict[Path, PictureFolder] = {}

    def find(self, name: str) -> Path | None:
        """The file, None where it is not there or where it could be several."""
        for place in self._places:
            if place not in self._listed and place.is_dir():
                self._listed[place] = PictureFolder(place)
            try:
                found = self._listed[place].find(name) if place in self._listed else None
            except InputError:  # several: a place of pictures alone may tell
                continue
            if found is not None:
                return found
        return None


def folders_of(images: str | os.PathLike[str] | None, ground_truth: str | os.PathLike[str]) -> list[Path]:
    """Where to look for pictures: the folder that was named, else the one of the annotations; of a data.yaml its own
    places."""
    if images is not None and Path(images).is_dir():
        return [Path(images)]
    path = Path(ground_truth)
    if path.is_dir():
        return [path]
    table = path if path.is_file() else Path(str(path).rpartition("#")[0])
    if table.suffix.lower() in (".yaml", ".yml") and table.is_file():
        from detkit.annotations.formats.yolo_data_file import roots_of

        return roots_of(table)
    return [path.parent]
