"""Lists of pictures that are longer than memory: items in lines on disk, and the order of a folder for any names."""

from __future__ import annotations

import heapq
import json
import tempfile
import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, overload

import orjson

from detkit.picture_names import is_video
from detkit.remote import Place, place

_IN_MEMORY = 8 << 20  # bytes of lines
_STEP = 256  # lines between two whose places are known
_CHUNK = 1 << 16
_NAMES_AT_ONCE = 300_000  # names that are sorted in memory
_END = b"\xff"  # ends a key on disk: no byte of UTF-8


@dataclass(frozen=True, slots=True)
class Item:
    """A picture or video: where it lies, and its name in every output, with / between folders."""

    path: Place
    name: str

    @property
    def video(self) -> bool:
        return is_video(self.path)


class Listing(Sequence[Item]):
    """Items in their order, as a sequence: in memory while they are few, else in a temporary file.

    It is made of lines of JSON, `[path, name]` each. What it holds in memory of a long one is a number for every 256
    items. A slice is a `Listing` of the same lines.
    """

    def __init__(self, lines: Iterable[bytes] = ()) -> None:
        self._lines = _Lines(lines)
        self._range = range(self._lines.count)

    @classmethod
    def of(cls, items: Iterable[Item]) -> Listing:
        """The listing of some items."""
        return cls(item_line(str(item.path), item.name) for item in items)

    def __len__(self) -> int:
        return len(self._range)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> Listing: ...

    def __getitem__(self, index: int | slice) -> Item | Listing:
        if isinstance(index, slice):
            part = self._range[index]
            if part.step != 1:
                raise ValueError("a part of a list is contiguous")
            return self._part(part)
        number = self._range[index]
        return _item(next(self._lines.between(number, number + 1)))

    def __iter__(self) -> Iterator[Item]:
        return map(_item, self.lines())

    def lines(self) -> Iterator[bytes]:
        """The items as lines."""
        return self._lines.between(self._range.start, self._range.stop)

    def _part(self, part: range) -> Listing:
        made = Listing.__new__(Listing)
        made._lines, made._range = self._lines, part
        return made


def item_line(path: str, name: str) -> bytes:
    """An item as a line of JSON, whatever bytes are in its path."""
    try:
        return orjson.dumps((path, name)) + b"\n"
    except TypeError:  # of a path that is no UTF-8
        return json.dumps((path, name)).encode() + b"\n"


def line_parts(line: bytes) -> tuple[str, str]:
    """The path and the name in such a line."""
    try:
        path, name = orjson.loads(line)
    except orjson.JSONDecodeError:
        path, name = json.loads(line)
    return path, name


def _item(line: bytes) -> Item:
    path, name = line_parts(line)
    return Item(place(path), name)


class _Lines:
    """Lines that are read again and again, by several at once."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - lives as long
        self._places = array("Q")
        self._lock = threading.Lock()
        self.count = self._size = 0
        for line in lines:
            if self.count % _STEP == 0:
                self._places.append(self._size)
            self._file.write(line)
            self.count += 1
            self._size += len(line)

    def between(self, start: int, stop: int) -> Iterator[bytes]:
        """Lines `start` to `stop`."""
        if start >= stop:
            return
        at = self._places[start // _STEP]
        skip, left = start % _STEP, stop - start
        while left > 0:
            with self._lock:
                self._file.seek(at)
                some = self._file.readlines(_CHUNK)
            at += sum(map(len, some))
            yield from some[skip : skip + left]
            left -= max(len(some) - skip, 0)
            skip = max(skip - len(some), 0)


def in_order_of_a_folder(names: Iterable[str]) -> Iterator[str]:
    """Names with / between folders, sorted as a folder on disk is gone through, whatever order they come in.

    The files of a folder come first, by their code points, then its folders, the same way. What is more than 300,000
    names is sorted in pieces on disk, and these are merged (Knuth, The Art of Computer Programming 3, 5.4).
    """
    runs: list[Iterator[bytes]] = []
    keys: list[bytes] = []
    for name in names:
        keys.append(_key(name))
        if len(keys) >= _NAMES_AT_ONCE:
            runs.append(_stored(keys))
            keys = []
    keys.sort()
    return map(_name, heapq.merge(*runs, keys) if runs else iter(keys))


def _key(name: str) -> bytes:
    """Sorts as `in_order_of_a_folder` says: 0 before the name of a file, 1 before that of a folder and 0 after it."""
    folders, slash, file = name.encode().rpartition(b"/")
    return b"\1" + folders.replace(b"/", b"\0\1") + b"\0\0" + file if slash else b"\0" + file


def _name(key: bytes) -> str:
    return key[1:].replace(b"\0\0", b"/").replace(b"\0\1", b"/").decode()


def _stored(keys: list[bytes]) -> Iterator[bytes]:
    keys.sort()
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the last reader lets go of it
    for at in range(0, len(keys), 1000):
        file.write(b"".join(key + _END for key in keys[at : at + 1000]))
    file.seek(0)
    return _read(file)


def _read(file: Any) -> Iterator[bytes]:
    rest = b""
    with file:
        while some := file.read(_CHUNK):
            *whole, rest = (rest + some).split(_END)
            yield from whole
