"""The journal: the records of a run as they come, so that an interrupted run can be taken up again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import orjson

from detkit.errors import OutputError, UsageError
from detkit.files import reason
from detkit.runs.record import Record, record_key
from detkit.runs.sources import Item

_VERSION = 1


class Journal:
    """The records of a run, appended as they come, in a file beside the output until the run is complete.

    Its first line is a header with the settings that the results depend on. A line that a killed process left
    incomplete is cut off when the journal is opened again. Records with errors are not kept over a resume, so that
    a file that has been repaired meanwhile is read.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], resume: bool) -> None:
        self.path = path
        # As they are read back: a tuple is a list then.
        self._settings = orjson.loads(orjson.dumps({"detkit": _VERSION, **settings}))
        self._places: dict[str, int] = {}  # record key -> offset of its line
        self._frames: dict[str, list[int]] = {}  # videos: the frames that are there, ascending
        self._complete: set[str] = set()  # items all of whose records are there
        self._end = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if resume and path.exists():
                self._read()
            self._file: IO[bytes] = open(path, "r+b" if self._end else "wb")  # noqa: SIM115 - closed by close()
            if self._end:
                self._file.seek(self._end)
                self._file.truncate()
            else:
                self._append(self._settings)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {reason(error)}") from error
        self.resumed = len(self._complete)

    def done(self, item: Item) -> bool:
        """Whether all of an item's records are there."""
        return item.name in self._complete

    def frames_done(self, item: Item) -> int:
        """The index of the first frame of a video that is not there; frames between those that were asked for count."""
        return self._frames.get(item.name, [-1])[-1] + 1

    def add(self, record: Record, last: bool) -> None:
        """Append a record; `last` closes its item. OutputError on a full disk; what is there stays readable."""
        try:
            self._place(record, self._append({**record, "last": last}))
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {reason(error)}") from error
        if last:
            self._complete.add(record["file"])

    def records(self, items: Iterable[Item]) -> Iterator[Record]:
        """All records, in the order of the items and of the frames of each."""
        self._file.flush()
        with open(self.path, "rb") as file:
            for item in items:
                keys = [item.name] if item.name in self._places else self._frame_keys(item)
                for key in keys:
                    file.seek(self._places[key])
                    record = orjson.loads(file.readline())
                    del record["last"]
                    yield record

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()

    def remove(self) -> None:
        """Delete the journal: the output is complete."""
        self.close()
        self.path.unlink(missing_ok=True)

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
            if header != self._settings:
                changed = [
                    f"{key} was {header.get(key)!r} and is {self._settings.get(key)!r}"
                    for key in sorted(header.keys() | self._settings.keys())
                    if header.get(key) != self._settings.get(key)
                ]
                raise UsageError(
                    f"--resume: {self.path} is from a run with other settings: {'; '.join(changed)}. "
                    "Run with the same, or without --resume to begin again"
                )
            self._end = place = file.tell()
            broken: set[str] = set()  # videos from whose first error on everything is read again
            for line in file:
                try:
                    record = orjson.loads(line) if line.endswith(b"\n") else None
                except orjson.JSONDecodeError:
                    record = None
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
