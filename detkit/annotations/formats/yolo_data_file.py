"""ultralytics' data.yaml: which pictures a data set has, and where their labels are.

    path: ../data            # of the splits; without it the folder of the file
    train: images/train      # a folder, a text file that lists pictures, or a list of both
    val: images/val
    names: {0: cat}

The labels of `images/val/a.jpg` are `labels/val/a.txt`, else `a.txt` beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detkit.annotations.building import images_table
from detkit.annotations.problems import Problems, quoted
from detkit.annotations.sizes import Sizes, image_files
from detkit.annotations.text_files import lines_of, read_text
from detkit.annotations.yaml_text import read_yaml
from detkit.errors import InputError
from detkit.picture_names import without_ending

SPLITS = ("val", "test", "train")


@dataclass(frozen=True)
class Label:
    """A label file: what messages call it, the relative path of its picture without ending, and where it is."""

    file: str
    stem: str
    path: Path


@dataclass(frozen=True)
class DataSet:
    """The label files of a split that are there, and its pictures."""

    labels: list[Label]
    sizes: Sizes


def read_data_yaml(path: Path, part: str, problems: Problems) -> DataSet:
    """The split `part`, or the first of val, test and train that is there; InputError where none is."""
    document = read_yaml(path, read_text(path))
    given = [key for key in SPLITS if document.get(key)]
    if not given:
        raise InputError(f"{path}: has no train, val or test; name the folder of the label files")
    if part and part not in given:
        raise InputError(f"{path}: has no split '{part}'; it has {quoted(given)}")
    roots = _roots(path, document.get("path"))
    for split in [part] if part else given:
        pictures = list(_pictures(roots, document[split]))
        if pictures:
            break
    else:
        raise InputError(f"{path}: the pictures of {quoted([part] if part else given)} are not there; "
                         f"looked in {quoted(roots)}")  # fmt: skip
    if len(given) > 1 and not part:
        problems.add(f"a data set of {', '.join(given)}, of which {split} is read",
                     f"{path.name}#{next(key for key in given if key != split)} is another")  # fmt: skip
    common = Path(os.path.commonpath([os.path.dirname(picture) for picture in pictures]))
    root = next((root for root in roots if common.is_relative_to(root.resolve())), common)
    labels, files = [], []
    for picture in pictures:
        file = Path(os.path.relpath(picture, root.resolve())).as_posix()
        files.append(file)
        label = _label_of(picture)
        if label is not None:
            labels.append(Label(str(label), without_ending(file), label))
    if not labels:
        raise InputError(f"{path}: none of the {len(pictures)} pictures of {split} has a label file; looked for "
                         f"'{_label_paths(pictures[0])[0]}'")  # fmt: skip
    images = images_table([(without_ending(file), file, 0, 0) for file in files])
    return DataSet(labels, Sizes(images, root.resolve()))


def roots_of(path: Path) -> list[Path]:
    """The folders that the pictures' names in the tables of a data.yaml may be relative to."""
    return [root for root in _roots(path, read_yaml(path, read_text(path)).get("path")) if root.is_dir()]


def _roots(path: Path, named: Any) -> list[Path]:
    """Where splits are looked for: `path` of the file as it stands and beside the file, then the file's own folder."""
    own = path.parent
    if not isinstance(named, str):
        return [own]
    return list(dict.fromkeys((own / named, own.parent / named, Path(named), own)))


def _pictures(roots: list[Path], split: Any) -> Iterator[Path]:
    """The pictures that a split names: of folders, of lists, or the files themselves."""
    for entry in split if isinstance(split, list) else [split]:
        if not isinstance(entry, str):
            continue
        place = _place(roots, entry)
        if place is None:
            continue
        if place.is_dir():
            yield from (place.resolve() / file for file in image_files(place))
        elif place.suffix.lower() == ".txt":
            for line in lines_of(read_text(place)):
                found = _place([place.parent, *roots], line.strip()) if line.strip() else None
                if found is not None:
                    yield found.resolve()
        else:
            yield place.resolve()


def _place(roots: list[Path], entry: str) -> Path | None:
    """The first of the roots that has the entry; `../` in front of it is forgiven, as Roboflow writes one too many."""
    for name in (entry, entry.removeprefix("../")):
        for root in roots:
            if (root / name).exists():
                return root / name
    return None


def _label_paths(picture: Path) -> list[Path]:
    parts = list(picture.with_name(f"{without_ending(picture.name)}.txt").parts)
    beside = Path(*parts)
    if "images" in parts[:-1]:
        parts[len(parts) - 2 - parts[-2::-1].index("images")] = "labels"
    return list(dict.fromkeys((Path(*parts), beside)))


def _label_of(picture: Path) -> Path | None:
    return next((path for path in _label_paths(picture) if path.is_file()), None)
