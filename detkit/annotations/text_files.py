"""Bytes of annotation files: plain or gzip, UTF-8 or UTF-16, and JSON from them. All failures are InputError."""

from __future__ import annotations

import codecs
import csv
import gc
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from detkit.errors import InputError
from detkit.files import opened, read_file, walk

HEAD_BYTES = 1 << 16
# A gzip file may grow this much; text of numbers shrinks four to ten times, a bomb a thousand times.
_MOST_GROWTH = 100
ALWAYS_ALLOWED_BYTES = 1 << 28
_GZIP_MAGIC = b"\x1f\x8b"
# How text of wide characters begins: with its mark, or without one with what JSON, XML and our CSV begin with.
_WIDE = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    **{first + b"\0": "utf-16-le" for first in (b"<", b"{", b"[", b"f", b"I")},
    **{b"\0" + first: "utf-16-be" for first in (b"<", b"{", b"[", b"f", b"I")},
}


def check_file(path: Path) -> None:
    """InputError unless `path` is a file that is there and holds at least one byte."""
    with opened(path) as file:
        if not file.read(1):
            raise InputError(f"{path}: is empty (0 bytes)")


def read_head(path: Path, count: int = HEAD_BYTES) -> bytes:
    """The first `count` bytes of the text, unpacked and as UTF-8."""
    check_file(path)
    with opened(path) as file:
        head = file.read(count)
    if head.startswith(_GZIP_MAGIC):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, count)
        except zlib.error as error:
            raise InputError(f"{path}: is a damaged gzip file ({error})") from error
    return _as_utf8(path, head, cut=True)


def read_bytes(path: Path) -> bytes:
    """The whole text, unpacked and as UTF-8 without a byte order mark."""
    check_file(path)
    data = read_file(path)
    if data.startswith(_GZIP_MAGIC):
        data = _unzip(path, data)
    return _as_utf8(path, data)


def read_text(path: Path) -> str:
    """The whole text; InputError with the position where it is not UTF-8."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: line {line} is not UTF-8 text; save the file as UTF-8") from error


@contextmanager
def readable_csv(path: Path) -> Iterator[None]:
    """A block that takes a CSV file apart: InputError where it is none, or has a cell beyond what csv reads."""
    try:
        yield
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from error


def lines_of(text: str) -> list[str]:
    """The lines of a text. They end at a line feed, with or without a carriage return before it, and nowhere else."""
    return text.replace("\r\n", "\n").split("\n")


def _unzip(path: Path, data: bytes) -> bytes:
    limit = max(ALWAYS_ALLOWED_BYTES, _MOST_GROWTH * len(data))
    parts: list[bytes] = []
    size = 0
    while data.startswith(_GZIP_MAGIC):  # members may follow one another
        unpacker = zlib.decompressobj(wbits=31)
        try:
            parts.append(unpacker.decompress(data, limit - size + 1))
        except zlib.error as error:
            raise InputError(f"{path}: is a damaged gzip file ({error})") from error
        size += len(parts[-1])
        if size > limit:
            raise InputError(f"{path}: is a gzip file that unpacks to more than {limit >> 20} MB; unpack it yourself")
        if not unpacker.eof:
            raise InputError(f"{path}: is a gzip file that ends too early; it was cut off, get it again")
        data = unpacker.unused_data
    return b"".join(parts)


def _as_utf8(path: Path, data: bytes, cut: bool = False) -> bytes:
    if data.startswith(codecs.BOM_UTF8):
        return data[3:]
    encoding = next((name for mark, name in _WIDE.items() if data.startswith(mark)), None)
    if encoding is None:
        return data
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data, final=not cut)
        return text.removeprefix("\ufeff").encode("utf-8")
    except UnicodeError as error:
        raise InputError(f"{path}: begins like {encoding.upper()} text but is not; save the file as UTF-8") from error


@contextmanager
def paused_gc() -> Iterator[None]:
    """No cyclic garbage collection: it would walk millions of fresh objects again and again and free none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def parse_json(where: object, data: bytes, is_line: bool = False) -> Any:
    """`data` as Python objects. NaN and Infinity, which Python's json writes, are read; they are not JSON.

    is_line  whether `where` names a line already, and `data` is that line
    """
    try:
        with paused_gc():
            return orjson.loads(data)
    except MemoryError as error:
        raise InputError(f"{where}: needs more memory than there is ({len(data) >> 20} MB of JSON)") from error
    except orjson.JSONDecodeError as error:
        if b"NaN" in data or b"Infinity" in data:
            try:
                return json.loads(data)
            except (ValueError, RecursionError):
                pass
        at = f"column {error.colno}" if is_line else f"line {error.lineno}, column {error.colno}"
        cut = "; the file seems to be cut off" if error.pos >= len(data) - 1 else ""
        raise InputError(f"{where}: is not valid JSON at {at}: {error.msg.split(': line')[0]}{cut}") from error


def inner_folder(path: Path, inner: str, ending: str) -> Path:
    """`path`, or the folder `inner` in it where `path` is the root of a data set and holds no such files itself."""
    folder = path / inner
    return folder if inner and folder.is_dir() and not any(path.glob(f"*{ending}")) else path


def parse_json_exactly(where: object, data: bytes) -> Any:
    """`data` as Python objects, with whole numbers of any length; slower, for files that are known to have such."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: is not valid JSON: {str(error).splitlines()[0]}") from error


def json_bytes(document: object) -> bytes:
    """JSON text of `document`, also with whole numbers beyond 64 bits."""
    try:
        return orjson.dumps(document)
    except TypeError:  # what orjson raises for such a number
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def need_files(path: Path, files: list[str], ending: str) -> None:
    """InputError where a folder has no file of its format."""
    if not files:
        raise InputError(f"{path}: holds no {ending} files")


def files_under(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Paths relative to `folder`, with "/", of its files with these endings; sorted, hidden ones left out."""
    found: list[str] = []
    for parent, files in walk(folder):
        relative = os.path.relpath(parent, folder).replace(os.sep, "/")
        prefix = "" if relative == "." else relative + "/"
        found += [prefix + name for name in files if name.lower().endswith(suffixes)]
    return sorted(found)
