"""Which format a file or folder is in, found from its content; endings only pick the files of a folder to look at.

What shows a format is in its row of the table (`Signs`).
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path

import orjson

from detkit.annotations.format import Format
from detkit.annotations.formats import FORMATS, format_of_line, titles
from detkit.annotations.label_files import label_files, label_folder
from detkit.annotations.problems import quoted, shorten
from detkit.annotations.text_files import files_under, inner_folder, lines_of, read_head
from detkit.errors import InputError
from detkit.files import opened

_FILES_LOOKED_AT = 50
_DEPTH = 3
# A string, whole or cut off by the end of the text, and the marks between values.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[{}\[\],]', re.DOTALL)
_ROOT = re.compile(rb"<([A-Za-z_][\w.-]*)")
_MAGIC = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"\x1f\x8b": "a gzip file inside a gzip file",
    b"%PDF": "a PDF document",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
}


def recognise(path: Path | str) -> str:
    """The name of the format, one of `FORMATS`. COCO annotations and COCO results are both "coco".

    Reads the first 64 KB of a file, or of some files of a folder. InputError where it is none of them, or where a
    folder holds files of several formats.
    """
    path = Path(path)
    return (_folder(path) if os.path.isdir(path) else _file(path, read_head(path))).name


def _file(path: Path, head: bytes) -> Format:
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise InputError(f"{path}: is {what}")
    text = head.lstrip()
    if not text:
        raise InputError(f"{path}: holds nothing but white space")
    if b"\0" in head:
        raise InputError(f"{path}: is a binary file, not annotations or detections as text")
    if text.startswith(b"<"):
        return _xml(path, text)
    if text.startswith((b"{", b"[")):
        return _json(path, text)
    return _lines(path, text.decode("utf-8", "replace"))


def _xml(path: Path, text: bytes) -> Format:
    root = _ROOT.search(re.sub(rb"<!--.*?-->", b"", text, flags=re.DOTALL))
    tag = root.group(1).decode().lower() if root else ""
    for form in FORMATS.values():
        if tag in form.signs.tags:
            return form
    tags = [f"<{tag}> of {form.title}" for form in FORMATS.values() for tag in form.signs.tags]
    raise InputError(f"{path}: is XML, but its root <{shorten(tag)}> is not {' or '.join(tags)}")


def _json(path: Path, text: bytes) -> Format:
    is_list = text.startswith(b"[")
    inner = text[1:].lstrip() if is_list else text
    if is_list and inner.startswith(b"]"):
        return next(form for form in FORMATS.values() if form.signs.empty)
    paths = list(json_paths(inner, _DEPTH)) if inner.startswith(b"{") else []
    if is_list and paths:
        found = _shown(paths, "items") or _shown(list(json_paths(text, _DEPTH)), "items") or _shown(paths, "bare")
    else:
        found = _shown(paths, "paths") or _shown(paths, "keys") or _shown(paths, "late")
    if found is not None:
        return found
    what = "a JSON list" if is_list else "JSON"
    raise InputError(f"{path}: is {what}, but none of {titles()}: {_seen(paths, inner)}")


def _shown(paths: list[tuple[str, ...]], kind: str) -> Format | None:
    """The format that the first telling of the paths shows by its signs of this kind."""
    telling = {tuple(sign.split(".")): form for form in FORMATS.values() for sign in getattr(form.signs, kind)}
    found = (telling.get(path) or telling.get(("*", *path[1:])) for path in paths)
    return next((form for form in found if form is not None), None)


def _seen(paths: list[tuple[str, ...]], text: bytes) -> str:
    if paths:
        return f"its keys are {quoted(path[0] for path in paths if len(path) == 1)}"
    return f"it begins {shorten(text[:200].decode('utf-8', 'replace'), 40)}"


def top_level_keys(text: bytes) -> Iterator[str]:
    """Keys of the JSON object that `text` begins with, as far as it goes; it may be cut off or broken."""
    return (path[0] for path in json_paths(text, 1))


def json_paths(text: bytes, depth: int) -> Iterator[tuple[str, ...]]:
    """Keys of the JSON object, or the objects in the list, that `text` begins with, and of objects in them.

    `depth` is how far down.

    Keys of an inner object come behind those of the outer ones; lists between do not show: {"a": [{"b": 1}]} gives
    ("a",) and ("a", "b"). The text may be cut off or broken.
    """
    places: list[str | None] = []  # the last key of each object around, None for a list
    expects_key = False
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token.startswith(b'"'):
            if expects_key and len(token) > 1 and token.endswith(b'"'):
                outer = [key for key in places[:-1] if key is not None]
                if len(outer) < depth:
                    places[-1] = key = _key(token)
                    yield (*outer, key)
            expects_key = False
        elif token in b"{[":
            places.append("" if token == b"{" else None)
            expects_key = token == b"{"
        elif token in b"}]":
            del places[-1:]
            expects_key = False
            if not places:
                return
        else:
            expects_key = bool(places) and places[-1] is not None


def _key(text: bytes) -> str:
    try:
        return str(orjson.loads(text))
    except orjson.JSONDecodeError:
        return shorten(text.decode("utf-8", "replace"))


def _lines(path: Path, text: str) -> Format:
    first = text.splitlines()[0] if text.splitlines() else ""
    try:
        mark = next((mark for mark in (",", ";", "\t") if mark in first), ",")
        header = {name.strip().lower() for name in next(csv.reader([first], delimiter=mark), [])}
    except csv.Error:
        header = set()
    for form in FORMATS.values():
        if any(columns <= header for columns in form.signs.columns):
            return form
    for form in FORMATS.values():
        if any(re.search(rf"^{key}\s*:", text, re.MULTILINE) for key in form.signs.lines):
            return form
    line_format = format_of_line(first)
    if line_format is not None and not line_format.folder:
        return line_format
    if line_format is not None:
        raise InputError(f"{path}: is one {line_format.title} file; name the folder that holds one for every image")
    raise InputError(f"{path}: is none of {titles()}: it begins {shorten(first[:200], 40) or 'with an empty line'}")


def _folder(path: Path) -> Format:
    votes: dict[str, str] = {}
    reasons: list[str] = []
    texts = label_files(label_folder(path))
    text_format = _texts(label_folder(path), texts)
    if text_format:
        votes[text_format.name] = texts[0]
    for form in (form for form in FORMATS.values() if form.folder and form.signs.tells and not form.signs.line):
        folder = inner_folder(path, form.inner, form.ending)
        for file in files_under(folder, (form.ending,))[:_FILES_LOOKED_AT]:
            try:
                found = _file(folder / file, read_head(folder / file))
            except InputError as error:
                reasons.append(str(error))
                continue
            if found.folder:
                votes.setdefault(found.name, file)
            else:
                reasons.append(f"{folder / file}: is {found.name}; name this file instead of the folder")
    if len(votes) == 1:
        return FORMATS[next(iter(votes))]
    if votes:
        files = ", ".join(f"{name} ('{file}')" for name, file in votes.items())
        raise InputError(f"{path}: holds files of several formats, {files}; say which one is meant")
    if reasons:
        raise InputError(reasons[0])
    endings = list(dict.fromkeys(form.ending for form in FORMATS.values() if form.folder))
    raise InputError(f"{path}: holds no annotation files ({', '.join(endings[:-1])} or {endings[-1]} of {titles()})")


def _texts(folder: Path, files: list[str]) -> Format | None:
    """The format of the first line that is there; empty label files alone are those of the format that has them."""
    understood = False
    for file in files[: 20 * _FILES_LOOKED_AT]:
        with opened(folder / file) as content:
            if not content.read(1):
                understood = True
                continue
        text = read_head(folder / file).decode("utf-8", "replace")
        form = format_of_line(next((line for line in lines_of(text) if line.strip()), ""))
        if form is not None:
            return form
    return max(FORMATS.values(), key=lambda form: form.signs.line) if understood else None
