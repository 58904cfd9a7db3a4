"""The journal: the records of a run as they come, so that an interrupted run can be taken up again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import orjson

from detkit.errors import OutputError, UsageError
from detkit.files import reason
from detkit.locks import lock_now
from detkit.runs.record import Record, is_whole, record_key
from detkit.runs.sources import Item

_VERSION = 2


# What a record was made of: an absolute path, and where it is a file on this machine its size and its time of change.
Source = list[Any]


def source_of(item: Item) -> Source:
    """What an item is now."""
    try:
        status = os.stat(item.path)
    except (OSError, TypeError, ValueError):
        return [str(item.path)]
    return [
        os.fsencode(os.path.abspath(item.path)).decode("utf-8", "backslashreplace"),
        status.st_size,
        status.st_mtime_ns,
    ]


class Journal:
    """The records of a run, appended as they come, in a file beside the output until the run is complete.

    Its first line is a header with the settings that the results depend on. A line that a killed process left
    incomplete is cut off when the journal is opened again. Records with errors are not kept over a resume, so that
    a file that has been repaired meanwhile is read; nor are those of an input that lies elsewhere, or has another size
    or time of change, than when it was read. One process at a time may have a journal open.

    changed   inputs that were others than before
    lost      inputs whose outputs were no longer there
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], resume: bool) -> None:
        self.path = path
        # As they are read back: a tuple is a list then.
        self._settings = orjson.loads(orjson.dumps({"detkit": _VERSION, **settings}))
        self._places: dict[str, int] = {}  # record key -> offset of its line
        self._frames: dict[str, list[int]] = {}  # videos: the frames that are there, ascending
        self._complete: set[str] = set()  # items all of whose records are there
        self._end = 0
        self._sources: dict[str, Source] = {}  # of the items that are being read
        self.changed = self.lost = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")  # noqa: SIM115 - by close()
            if not lock_now(self._file):
                self._file.close()
                raise OutputError(f"cannot write {path}: another run is writing it; wait for it, or give another --out")
            if resume:
                self._read()
            self._file.seek(self._end)
            self._file.truncate()
            if not self._end:
                self._append(self._settings)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {reason(error)}") from error
        self.resumed = len(self._complete)

    def done(self, item: Item, there: Callable[[Record], bool] = lambda record: True) -> bool:
        """Whether all of an item's records are there, the item is what it was, and `there` says yes to each record.

        To be asked before the item is read: what it is now is remembered for its records.
        """
        source = source_of(item)
        if item.name in self._places or item.name in self._frames:
            if self._line(item)["source"] != source:
                self.changed += 1
            elif not all(map(there, self.records([item]))):
                self.lost += 1
            elif item.name in self._complete:
                return True
            else:
                self._sources[item.name] = source
                return False
            self._forget(item)
        self._sources[item.name] = source
        return False

    def frames_done(self, item: Item) -> int:
        """The index of the first frame of a video that is not there; frames between those that were asked for count."""
        return self._frames.get(item.name, [-1])[-1] + 1

    def add(self, record: Record, last: bool) -> None:
        """Append a record; `last` closes its item. OutputError on a full disk; what is there stays readable."""
        try:
            source = self._sources.get(record["file"])
            self._place(record, self._append({**record, "last": last, "source": source}))
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {reason(error)}") from error
        if last:
            self._complete.add(record["file"])
            self._sources.pop(record["file"], None)

    def records(self, items: Iterable[Item]) -> Iterator[Record]:
        """All records, in the order of the items and of the frames of each."""
        self._file.flush()
        with open(self.path, "rb") as file:
            for item in items:
                keys = [item.name] if item.name in self._places else self._frame_keys(item)
                for key in keys:
                    file.seek(self._places[key])
                    record = orjson.loads(file.readline())
                    del record["last"], record["source"]
                    yield record

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()

    def remove(self) -> None:
        """Delete the journal: the output is complete."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _line(self, item: Item) -> dict[str, Any]:
        """The first line of an item."""
        key = item.name if item.name in self._places else next(self._frame_keys(item))
        with open(self.path, "rb") as file:
            file.seek(self._places[key])
            line: dict[str, Any] = orjson.loads(file.readline())
        return line

    def _forget(self, item: Item) -> None:
        """As if the item had never been read."""
        for key in [item.name, *self._frame_keys(item)]:
            self._places.pop(key, None)
        self._frames.pop(item.name, None)
        self._complete.discard(item.name)

    def _frame_keys(self, item: Item) -> Iterator[str]:
        return (f"{item.name}#{frame}" for frame in self._frames.get(item.name, ()))

    def _place(self, record: Record, place: int) -> None:
        self._places[record_key(record)] = place
        if "frame" in record:
            self._frames.setdefault(record["file"], []).append(record["frame"])

    def _append(self, line: Mapping[str, Any]) -> int:
        place = self._file.tell()
        self._file.write(orjson.dumps(line) + b"\n")
        self._file.flush()  # a killed process loses nothing that was flushed
        return place

    def _read(self) -> None:
        with open(self.path, "rb") as file:
            try:
                header = orjson.loads(file.readline())
            except orjson.JSONDecodeError:
                return  # killed before the first line was complete
            if not isinstance(header, dict):
                return
            if header != self._settings:
                changed = [
                    f"{key} was {header.get(key)!r} and is {self._settings.get(key)!r}"
                    for key in sorted(header.keys() | self._settings.keys())
                    if header.get(key) != self._settings.get(key)
                ]
                self._file.close()
                raise UsageError(
                    f"--resume: {self.path} is from a run with other settings: {'; '.join(changed)}. "
                    "Run with the same, or without --resume to begin again"
                )
            self._end = place = file.tell()
            broken: set[str] = set()  # videos from whose first error on everything is read again
            for line in file:
                record = _whole_record(line)
                if record is None:
                    break
                if "error" in record:
                    broken.add(record["file"])
                elif record["file"] not in broken or "frame" not in record:
                    self._place(record, place)
                    if record["last"]:
                        self._complete.add(record["file"])
                place += len(line)
                self._end = place


def _whole_record(line: bytes) -> Record | None:
    """The record in a line of a journal; None where the line is cut off or damaged."""
    if not line.endswith(b"\n"):
        return None
    try:
        record: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    whole = is_whole(record) and isinstance(record.get("last"), bool) and "source" in record
    return record if whole else None
