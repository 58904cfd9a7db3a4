"""The pictures and videos that SOURCE arguments name."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from detkit.files import reason, walk
from detkit.picture_names import is_picture, is_video

# A source that cannot be used: what it is called, and why.
Complain = Callable[[str, str], None]


@dataclass(frozen=True)
class Item:
    """A picture or video: where it lies, and its name in every output, with / between folders."""

    path: Path
    name: str

    @property
    def video(self) -> bool:
        return is_video(self.path)


def find_items(sources: Sequence[str], complain: Complain, stdin: Iterable[str] | None = None) -> list[Item]:
    """What the sources name, in their order, each file once.

    A source is a file, a folder (searched through its subfolders, sorted), a glob pattern, `@list.txt` (a path a
    line, relative to the list's folder or the current one), or `-` (paths from `stdin`). A file is called by its
    path inside the folder that was given, or inside the part of a pattern before its first wildcard; a file given
    by itself is called by its file name. Where two files would get the same name, all get their path from the
    nearest folder that they share. Hidden files and folders are found only where they are named themselves. Sources
    that cannot be read or name nothing are told to `complain`.
    """
    found: dict[str, Item] = {}
    for source in sources:
        for path, root in _expand(source, complain, stdin):
            key = os.path.abspath(path)
            found.setdefault(key, Item(path, _name(key, os.path.abspath(root))))
    counts = Counter(item.name for item in found.values())
    if len(counts) < len(found):
        shared = os.path.commonpath([os.path.dirname(key) for key in found])
        return [Item(item.path, _name(key, shared)) for key, item in found.items()]
    return list(found.values())


def _name(path: str, folder: str) -> str:
    """The path inside `folder`, its bytes that are no UTF-8 as \\xff: every output can hold it."""
    relative = Path(os.path.relpath(path, folder)).as_posix()
    return os.fsencode(relative).decode("utf-8", "backslashreplace")


def _expand(source: str, complain: Complain, stdin: Iterable[str] | None) -> Iterator[tuple[Path, Path]]:
    """(path, folder that its name is relative to) of everything a source names."""
    if not source:
        complain("''", "an empty name is no source")
    elif source == "-":
        yield from _listed(source, stdin or (), Path(), complain)
    elif source.startswith("@"):
        try:
            with open(source[1:], encoding="utf-8") as file:
                yield from _listed(source, _lines(file), Path(source[1:]).parent, complain)
        except OSError as error:
            complain(source, f"the list cannot be read: {reason(error)}")
        except UnicodeDecodeError:
            complain(source, "the list is not text; it holds a path a line")
    elif os.path.isdir(source):
        yield from _in_folder(Path(source), complain)
    elif glob.has_magic(source) and not os.path.exists(source):
        yield from _in_pattern(source, complain)
    else:
        yield Path(source), Path(source).parent


def _lines(file: TextIO) -> list[str]:
    return list(file)


def _listed(source: str, lines: Iterable[str], folder: Path, complain: Complain) -> Iterator[tuple[Path, Path]]:
    empty = True
    for line in lines:
        text = line.rstrip("\r\n").removeprefix("\ufeff")  # a byte order mark
        if not text.strip():
            continue
        empty = False
        if "\0" in text:
            complain(source, "holds a NUL byte, which no path has; it should hold a path a line")
            continue
        path = Path(text)
        if not path.is_absolute() and not path.exists() and (folder / path).exists():
            path = folder / path
        if path.is_dir():
            yield from _in_folder(path, complain)
        else:
            # A listed relative path keeps its folders in the outputs.
            keeps = not Path(text).is_absolute() and ".." not in Path(text).parts
            yield path, path.parents[len(Path(text).parts) - 1] if keeps else path.parent
    if empty:
        complain(source, "names no source")


def _in_folder(folder: Path, complain: Complain) -> Iterator[tuple[Path, Path]]:
    empty = True
    failed: list[str] = []

    def on_error(error: OSError) -> None:
        failed.append(str(error.filename))
        complain(str(error.filename), f"the folder cannot be read: {reason(error)}")

    for parent, files in walk(folder, on_error):
        for file in files:
            if is_picture(file) or is_video(os.path.join(parent, file)):
                empty = False
                yield Path(parent, file), folder
    if empty and not failed:
        complain(str(folder), "the folder holds no pictures")


def _in_pattern(pattern: str, complain: Complain) -> Iterator[tuple[Path, Path]]:
    parts = Path(pattern).parts
    fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    matches = sorted(glob.glob(pattern, recursive=True))
    files = [match for match in matches if not os.path.isdir(match)]
    for match in files:
        yield Path(match), root
    if not files:
        complain(pattern, "only folders match the pattern" if matches else "no file matches the pattern")
