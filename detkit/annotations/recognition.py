"""Which format a file or folder is in, found from its content; endings only pick the files of a folder to look at."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path

import orjson

from detkit.annotations.formats import kitti_txt as kitti
from detkit.annotations.formats import yolo_txt as yolo
from detkit.annotations.formats.voc_xml import annotation_folder
from detkit.annotations.problems import quoted, shorten
from detkit.annotations.text_files import files_under, lines_of, read_head
from detkit.errors import InputError

FORMATS = ("coco", "jsonl", "voc", "yolo", "csv", "labelme", "openimages", "kitti")
_FILES_LOOKED_AT = 50
_KNOWN = "COCO JSON, JSON Lines, VOC XML, YOLO txt, CSV, LabelMe, Open Images CSV, KITTI"
# A string, whole or cut off by the end of the text, and the marks between values.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[{}\[\],]', re.DOTALL)
# Keys of which one is enough.
_TELLING = {
    "file": "jsonl",
    **dict.fromkeys(("shapes", "imagePath", "imageData"), "labelme"),
    **dict.fromkeys(("images", "categories", "info", "licenses"), "coco"),
}
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
    return _folder(path) if os.path.isdir(path) else _file(path, read_head(path))


def _file(path: Path, head: bytes) -> str:
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise InputError(f"{path}: is {what}")
    text = head.lstrip()
    if not text:
        raise InputError(f"{path}: holds nothing but white space")
    if b"\0" in head:
        raise InputError(f"{path}: is a binary file, not annotations or detections as text")
    if text.startswith(b"<"):
        if b"<annotation" in head:
            return "voc"
        raise InputError(f"{path}: is XML, but not Pascal VOC's (no <annotation> in it)")
    if text.startswith((b"{", b"[")):
        return _json(path, text)
    return _lines(path, text.decode("utf-8", "replace"))


def _json(path: Path, text: bytes) -> str:
    if text.startswith(b"["):
        inner = text[1:].lstrip()
        if inner.startswith(b"]"):
            return "coco"
        keys = []
        for key in top_level_keys(inner) if inner.startswith(b"{") else ():
            if key in ("image_id", "category_id", "bbox"):
                return "coco"
            keys.append(key)
        raise InputError(f"{path}: is a JSON list, but not of COCO results: {_seen(keys, inner)}")
    keys = []
    for key in top_level_keys(text):
        if key in _TELLING:
            return _TELLING[key]
        keys.append(key)
    if "annotations" in keys:  # JSON Lines have it too, with a file
        return "coco"
    raise InputError(f"{path}: is JSON, but none of {_KNOWN}: {_seen(keys, text)}")


def _seen(keys: list[str], text: bytes) -> str:
    if keys:
        return f"its keys are {quoted(keys)}"
    return f"it begins {shorten(text[:200].decode('utf-8', 'replace'), 40)}"


def top_level_keys(text: bytes) -> Iterator[str]:
    """Keys of the JSON object that `text` begins with, as far as it goes; it may be cut off or broken."""
    depth = 0
    expects_key = False
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token.startswith(b'"'):
            if depth == 1 and expects_key and len(token) > 1 and token.endswith(b'"'):
                yield _key(token)
            expects_key = False
        elif token in b"{[":
            depth += 1
            expects_key = token == b"{"
        elif token in b"}]":
            depth -= 1
            if depth <= 0:
                return
        else:
            expects_key = depth == 1


def _key(text: bytes) -> str:
    try:
        return str(orjson.loads(text))
    except orjson.JSONDecodeError:
        return shorten(text.decode("utf-8", "replace"))


def _lines(path: Path, text: str) -> str:
    first = text.splitlines()[0] if text.splitlines() else ""
    try:
        header = {name.strip().lower() for name in next(csv.reader([first]), [])}
    except csv.Error:
        header = set()
    if {"file", "x1", "y1", "x2", "y2"} <= header:
        return "csv"
    if {"imageid", "xmin", "xmax"} <= header:
        return "openimages"
    for name, fits in (("KITTI", kitti.is_object), ("YOLO", yolo.parse_line)):
        if fits(first):  # type: ignore[operator]
            raise InputError(f"{path}: is one {name} label file; name the folder that holds one for every image")
    raise InputError(f"{path}: is none of {_KNOWN}: it begins {shorten(first[:200], 40) or 'with an empty line'}")


def _folder(path: Path) -> str:
    votes: dict[str, str] = {}
    reasons: list[str] = []
    texts = yolo.label_files(yolo.label_folder(path))
    text_format = _texts(yolo.label_folder(path), texts)
    if text_format:
        votes[text_format] = texts[0]
    for ending, folder in ((".xml", annotation_folder(path)), (".json", path)):
        for file in files_under(folder, (ending,))[:_FILES_LOOKED_AT]:
            try:
                name = _file(folder / file, read_head(folder / file))
            except InputError as error:
                reasons.append(str(error))
                continue
            if name in ("voc", "labelme"):
                votes.setdefault(name, file)
            else:
                reasons.append(f"{folder / file}: is {name}; name this file instead of the folder")
    if len(votes) == 1:
        return next(iter(votes))
    if votes:
        files = ", ".join(f"{name} ('{file}')" for name, file in votes.items())
        raise InputError(f"{path}: holds files of several formats, {files}; say which one is meant")
    if reasons:
        raise InputError(reasons[0])
    raise InputError(f"{path}: holds no annotation files (.xml, .txt or .json of {_KNOWN})")


def _texts(folder: Path, files: list[str]) -> str | None:
    """YOLO or KITTI by the first line that is there; empty label files alone are YOLO's."""
    understood = None
    for file in files[: 20 * _FILES_LOOKED_AT]:
        if not (folder / file).stat().st_size:
            understood = understood or "empty"
            continue
        text = read_head(folder / file).decode("utf-8", "replace")
        line = next((line for line in lines_of(text) if line.strip()), "")
        if kitti.is_object(line):
            return "kitti"
        if yolo.parse_line(line):
            return "yolo"
    return "yolo" if understood else None
