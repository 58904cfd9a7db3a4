"""The pictures and videos that SOURCE arguments name."""

from __future__ import annotations

import glob
import io
import itertools
import logging
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from detkit.errors import InputError, UsageError
from detkit.files import is_device, read_file, reason, walk
from detkit.hashes import HashSet
from detkit.picture_files.picture_headers import looks_like_a_picture
from detkit.picture_names import heif_is_read, is_picture, is_video, unread_kind
from detkit.remote import Place, RemotePath, is_remote
from detkit.runs.long_lists import Item as Item
from detkit.runs.long_lists import Listing, in_order_of_a_folder, item_line, line_parts
from detkit.stores import keys_under

logger = logging.getLogger("detkit")

# A source that cannot be used: what it is called, and why.
Complain = Callable[[str, str], None]


def find_items(sources: Sequence[str], complain: Complain, stdin: Any = None) -> Listing:
    """What the sources name, in their order, each file once.

    A source is a file, a folder (searched through its subfolders, sorted), a glob pattern, `@list.txt` (a path or an
    address a line, relative to the list's folder or the current one), `-` (paths from `stdin`), or the address of an
    object or of a prefix in a store, under which everything is taken as from a folder. A file is called by its
    path inside the folder that was given, or inside the part of a pattern before its first wildcard; a file given
    by itself is called by its file name. Where two files would get the same name, all get their path from the
    nearest folder that they share. Hidden files and folders are found only where they are named themselves. Sources
    that cannot be read or name nothing are told to `complain`; what a folder holds that is not read is a warning.
    UsageError where a picture stands in place of a list of paths, StoreError where a store does not give all of a list.
    """
    alike = _Alike(len(sources) == 1 and _names_each_once(sources[0]))

    def lines() -> Iterator[bytes]:
        for source in sources:
            for path, root in _expand(source, complain, stdin):
                yield item_line(str(path), alike.seen(path, root))

    return alike.told_apart(Listing(lines()))


class _Alike:
    """Finds files that come twice, and names that two files would get, with 8 bytes a file in memory."""

    def __init__(self, each_once: bool) -> None:
        self._each_once = each_once

    def seen(self, path: Place, root: Place) -> str:
        """The name of a file inside a folder."""
        name = _name(path, root)
        if "\\" in name:  # what stands for bytes that are no text may be a name by itself
            self._each_once = False
        return name

    def told_apart(self, listing: Listing) -> Listing:
        """The listing with each file once, and no two names the same."""
        if self._each_once:
            return listing
        again = HashSet.repeated(_identity(path) for path, _ in _parts(listing))
        if again:
            listing = Listing(_without_repeats(listing, again))
        twice = HashSet.repeated(name for _, name in _parts(listing))
        if not twice or max(Counter(name for _, name in _parts(listing) if name in twice).values()) < 2:
            return listing
        shared = _nearest_folder(_identity(path) for path, _ in _parts(listing))
        return Listing(item_line(path, _inside(_identity(path), shared)) for path, _ in _parts(listing))


def _parts(listing: Listing) -> Iterator[tuple[str, str]]:
    return map(line_parts, listing.lines())


def _without_repeats(listing: Listing, again: HashSet) -> Iterator[bytes]:
    seen: set[str] = set()
    for line in listing.lines():
        identity = _identity(line_parts(line)[0])
        if identity in again:
            if identity in seen:
                continue
            seen.add(identity)
        yield line


def _names_each_once(source: str) -> bool:
    """Whether a source cannot name a file twice, or two files alike: a folder, a prefix."""
    return is_remote(source) or os.path.isdir(source)


def _identity(path: str) -> str:
    return path if is_remote(path) else os.path.abspath(path)


def _nearest_folder(paths: Iterable[str]) -> str:
    shared: str | None = None
    for path in paths:
        folder = path.rpartition("/")[0] if is_remote(path) else os.path.dirname(path)
        if shared is None:
            shared = folder
        elif is_remote(path) or is_remote(shared):
            both = itertools.takewhile(
                lambda two: two[0] == two[1], zip(shared.split("/"), folder.split("/"), strict=False)
            )
            shared = "/".join(one for one, _ in both)
        elif folder != shared:
            shared = os.path.commonpath([shared, folder])
    return shared or ""


def _inside(path: str, folder: str) -> str:
    if is_remote(path):
        return path.removeprefix(folder).replace("://", "/").lstrip("/")
    return _name(Path(path), Path(folder or os.path.sep))


def _name(path: Place, folder: Place) -> str:
    """The path inside `folder`, its bytes that are no UTF-8 as \\xff: every output can hold it."""
    if isinstance(path, RemotePath):
        return path.key.removeprefix(f"{folder.key}/") if isinstance(folder, RemotePath) and folder.key else path.key
    relative = Path(os.path.relpath(path, folder)).as_posix()
    return os.fsencode(relative).decode("utf-8", "backslashreplace")


def _expand(source: str, complain: Complain, stdin: Any) -> Iterator[tuple[Place, Place]]:
    """(path, folder that its name is relative to) of everything a source names."""
    if not source:
        complain("''", "an empty name is no source")
    elif is_remote(source):
        yield from _in_store(RemotePath.parse(source), complain)
    elif source == "-":
        stream = getattr(stdin, "buffer", stdin)
        lines = () if stream is None else _lines("standard input", stream) if hasattr(stream, "peek") else stream
        yield from _listed(source, lines, Path(), complain)
    elif source.startswith("@"):
        path = source[1:]
        if is_remote(path):
            yield from _in_remote_list(source, RemotePath.parse(path), complain)
            return
        if is_device(path) and not path.startswith("/dev/fd/"):  # which may never end, or never begin
            complain(source, "the list is not an ordinary file")
            return
        try:
            with open(path, "rb") as file:
                yield from _listed(source, _lines(source, file), Path(path).parent, complain)
        except OSError as error:
            complain(source, f"the list cannot be read: {reason(error)}")
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


def _listed(source: str, lines: Iterable[str], folder: Place, complain: Complain) -> Iterator[tuple[Place, Place]]:
    empty = True
    for line in lines:
        text = line.rstrip("\r\n").removeprefix("\ufeff")  # a byte order mark
        if not text.strip():
            continue
        empty = False
        if "\0" in text:
            complain(source, "holds a NUL byte, which no path has; it should hold a path a line")
            continue
        if is_remote(text):
            yield from _in_store(RemotePath.parse(text), complain)
            continue
        if isinstance(folder, RemotePath):
            yield _beside_list(folder, text)
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


def _beside_list(folder: RemotePath, text: str) -> tuple[RemotePath, RemotePath]:
    """What a line of a list in a store names: a key beside the list, or after a slash one of the store."""
    key = posixpath.normpath(text if text.startswith("/") else f"/{folder.key}/{text}").strip("/")
    path = RemotePath(folder.root, key)
    keeps = not text.startswith("/") and ".." not in text.split("/")  # as of listed paths on disk
    return path, folder if keeps else path.parent


def _in_remote_list(source: str, path: RemotePath, complain: Complain) -> Iterator[tuple[Place, Place]]:
    """What a list in a store names."""
    try:
        content = read_file(path)
    except InputError as error:
        complain(source, f"the list cannot be read: {str(error).removeprefix(f'{path}: ')}")
        return
    with io.BufferedReader(io.BytesIO(content)) as file:  # type: ignore[type-var]
        yield from _listed(source, _lines(source, file), path.parent, complain)


def _in_store(path: RemotePath, complain: Complain) -> Iterator[tuple[Place, Place]]:
    """An object that is named as a picture or a video is, or all of those under a prefix."""
    if path.key and not {"", ".", ".."}.isdisjoint(path.key.split("/")):
        complain(str(path), "is no address of an object: a part of it is empty, . or ..")
        return
    if is_picture(path.name) or is_video(path.name) or unread_kind(path.name):
        yield path, path.parent
        return
    unread: Counter[str] = Counter()

    def pictures() -> Iterator[str]:
        for key in keys_under(path):
            kind = unread_kind(key)
            if kind is not None:
                unread[kind] += 1
            if (is_picture(key) or is_video(key)) and not key.startswith(".") and "/." not in key:
                yield key

    empty = True
    for key in in_order_of_a_folder(pictures()):
        empty = False
        yield path / key, path
    _warn_of_unread(str(path), unread)
    if empty:
        complain(str(path), "no pictures are under the prefix")


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
    _warn_of_unread(str(folder), unread)
    if empty and not failed:
        complain(str(folder), "the folder holds no pictures")


def _warn_of_unread(folder: str, unread: Counter[str]) -> None:
    if unread:
        counts = ", ".join(f"{count} {kind}" for kind, count in unread.most_common())
        hint = " (pip install pillow-heif reads HEIC)" if "HEIC" in unread and not heif_is_read() else ""
        logger.warning("%s: not read, as detkit does not know these formats: %s%s", folder, counts, hint)


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
