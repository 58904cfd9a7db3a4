"""How the outputs of a run are called: a path for each picture and frame, no two the same."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from detkit.hashes import HashSet, hash_of
from detkit.picture_names import WRITABLE
from detkit.runs.long_lists import Item

# Endings of outputs that are no pictures.
_TEXTS = (".txt", ".xml")

# What file systems allow a name to have.
_LONGEST = 255


class Names:
    """The names of a run's outputs, made from those of its items.

    A picture's outputs are called as it is, with another ending. Pictures that differ in their ending only keep it
    (`a.jpg.txt`, `a.png.txt`), and those that are called as another one with an ending
    more. The frames of a video are files in a folder of its name.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        """`items`, which may be very many, are gone through again and again."""
        self._doubled = HashSet.repeated(_stem(item.name) for item in items)
        every = HashSet(item.name for item in items)
        # `a.gif.png` beside `a.gif`: where that one keeps its ending, this one has to.
        beside = [item.name for item in items if _stem(item.name) in every]
        self._beside = HashSet(beside)
        self._names = HashSet(_stem(name) for name in beside)

    def of_some(self, items: Iterable[Item]) -> Names:
        """The same for some of the items: the names that theirs could meet are kept, and no others."""
        if not (len(self._doubled) or len(self._names)):
            return Names(())
        stems = [_stem(item.name) for item in items]
        kept = [item.name for item in items if self.stem(item.name) == PurePosixPath(item.name)]
        met: set[str] = set()
        for name in kept:
            for ending in (*WRITABLE, *_TEXTS):
                made = name + ending
                while made in self._beside:
                    met.add(made)
                    made += ending
        some = Names(())
        some._doubled = HashSet(stem for stem in stems if stem in self._doubled)
        some._names = HashSet(stem for stem in stems if stem in self._names)
        some._beside = HashSet(met)
        return some

    def to_json(self) -> dict[str, list[int]]:
        """What `of_json` takes."""
        return {
            "doubled": self._doubled.hashes.tolist(),
            "names": self._names.hashes.tolist(),
            "beside": self._beside.hashes.tolist(),
        }

    @classmethod
    def of_json(cls, content: Mapping[str, Sequence[int]]) -> Names:
        """The names that `to_json` has told."""
        names = cls(())
        hashes = {key: HashSet(hashes=np.unique(np.array(some, np.uint64))) for key, some in content.items()}
        names._doubled = hashes.get("doubled", HashSet())
        names._names, names._beside = hashes.get("names", HashSet()), hashes.get("beside", HashSet())
        return names

    def stem(self, name: str, frame: int | None = None) -> PurePosixPath:
        """The path of a picture without its ending, or with it where another has the same stem; of a frame."""
        path = PurePosixPath(name)
        if frame is not None:
            return path / f"{frame:06d}"
        stem = path.with_suffix("")
        return path if stem.as_posix() in self._doubled or stem.as_posix() in self._names else stem

    def with_ending(self, name: str, ending: str, frame: int | None = None) -> PurePosixPath:
        """The path of an output of another kind: `a.txt` for `a.jpg`, `a.gif.png` beside a source `a.png`."""
        path = PurePosixPath(name)
        if frame is None and path.suffix == ending:
            return path
        stem = self.stem(name, frame)
        made = stem.with_name(stem.name + ending)
        while made.as_posix() in self._beside:  # the name of another source, whose own output is called so
            made = made.with_name(made.name + ending)
        return fitting(made)

    def part(self, name: str, label: str, ending: str, frame: int | None = None) -> PurePosixPath:
        """The path of a part of a picture, a cut-out say: `a-001-cat.jpg`."""
        stem = self.stem(name, frame)
        rest = f"-{label}{ending}"
        return fitting(stem.parent) / (_fitting(stem.name, _LONGEST - len(os.fsencode(rest))) + rest)

    def drawn(self, name: str, frame: int | None = None) -> PurePosixPath:
        """The path of the annotated picture: of the same kind where pictures of that kind are written, else PNG."""
        suffix = ".jpg" if frame is not None else PurePosixPath(name).suffix.lower()
        return self.with_ending(name, suffix if suffix in WRITABLE else ".png", frame)

    def record_file(self, record: dict[str, Any], ending: str) -> PurePosixPath:
        """The file of a record in a format with a file a picture.

        A name that would be taken for something else beside the labels keeps its ending (`classes.jpg.txt`).
        """
        from detkit.annotations.label_files import OTHER_TEXTS

        name, frame = record["file"], record.get("frame")
        path = PurePosixPath(name)
        if frame is None and path.with_suffix(ending).name.lower() in OTHER_TEXTS:
            return fitting(path.with_name(path.name + ending))
        return self.with_ending(name, ending, frame)


def fitting(path: PurePosixPath) -> PurePosixPath:
    """The path with names that file systems take: a longer one is cut, and a hash of it keeps it its own."""
    return PurePosixPath(*(_fitting(part) for part in path.parts))


def _fitting(name: str, longest: int = _LONGEST) -> str:
    encoded = os.fsencode(name)
    if len(encoded) <= longest:
        return name
    ending = PurePosixPath(name).suffix
    ending = "" if len(ending) > 20 else ending
    mark = f"~{hash_of(name):016x}{ending}"
    return encoded[: longest - len(mark.encode())].decode("utf-8", "ignore") + mark


def _stem(name: str) -> str:
    """`PurePosixPath(name).with_suffix("")`, of millions."""
    dot = name.rfind(".")
    return name[:dot] if name.rfind("/") + 1 < dot < len(name) - 1 else name
