"""The pictures and videos that SOURCE arguments name."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from detkit.errors import UsageError
from detkit.files import is_device, reason, walk
from detkit.picture_files.picture_headers import looks_like_a_picture
from detkit.picture_names import heif_is_read, is_picture, is_video, unread_kind

logger = logging.getLogger("detkit")

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


def find_items(sources: Sequence[str], complain: Complain, stdin: Any = None) -> list[Item]:
    """What the sources name, in their order, each file once.

    A source is a file, a folder (searched through its subfolders, sorted), a glob pattern, `@list.txt` (a path a
    line, relative to the list's folder or the current one), or `-` (paths from `stdin`). A file is called by its
    path inside the folder that was given, or inside the part of a pattern before its first wildcard; a file given
    by itself is called by its file name. Where two files would get the same name, all get their path from the
    nearest folder that they share. Hidden files and folders are found only where they are named themselves. Sources
    that cannot be read or name nothing are told to `complain`; what a folder holds that is not read is a warning.
    UsageError where a picture stands in place of a list of paths.
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


def _expand(source: str, complain: Complain, stdin: Any) -> Iterator[tuple[Path, Path]]:
    """(path, folder that its name is relative to) of everything a source names."""
    if not source:
        complain("''", "an empty name is no source")
    elif source == "-":
        stream = getattr(stdin, "buffer", stdin)
        lines = () if stream is None else _lines("standard input", stream) if hasattr(stream, "peek") else stream
        yield from _listed(source, lines, Path(), complain)
    elif source.startswith("@"):
        path = source[1:]
        if is_device(path) and not path.startswith("/dev/fd/"):  # which may never end, or never begin
            complain(source, "the list is not an ordinary file")
            return
        try:
            with open(path, "rb") as file:
                lines = list(_lines(source, file))
        except OSError as error:
            complain(source, f"the list cannot be read: {reason(error)}")
            return
        yield from _listed(source, lines, Path(path).parent, complain)
    elif os.path.isdir(source):
        yield from _in_folder(Path(source), complain)
    elif glob.has_magic(source) and not os.path.exists(source):
        yield from _in_pattern(source, complain)
    else:
        yield Path(source), Path(source).parent


def _lines(name: str, file: BinaryIO) -> Iterator[str]:
    """The lines of a list of paths, whose bytes need not be UTF-8. UsageError where it is a picture."""
    kind = looks_like_a_picture(file.peek(132)[:132])  # type: ignore[attr-defined]
    if kind is not None:
        raise UsageError(f"{name} is a picture ({kind}), where a list of paths is read; name the picture's file itself")
    for line in file:
        yield os.fsdecode(line)


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

    unread: Counter[str] = Counter()
    for parent, files in walk(folder, on_error):
        for file in files:
            kind = unread_kind(file)
            if kind is not None:
                unread[kind] += 1
            if is_picture(file) or is_video(os.path.join(parent, file)):
                empty = False
                yield Path(parent, file), folder
    if unread:
        counts = ", ".join(f"{count} {kind}" for kind, count in unread.most_common())
        hint = " (pip install pillow-heif reads HEIC)" if "HEIC" in unread and not heif_is_read() else ""
        logger.warning("%s: not read, as detkit does not know these formats: %s%s", folder, counts, hint)
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
