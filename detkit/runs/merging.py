"""The parts of a run joined: what comes out is, byte for byte, what the run on one machine writes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import IO, Any

from detkit.errors import InputError
from detkit.files import write_bytes
from detkit.remote import Place, place
from detkit.runs.long_lists import Item
from detkit.runs.names import Names
from detkit.runs.parts import PartsFolder, differences, read_part
from detkit.runs.record import Record
from detkit.runs.writers import CocoIds, Whole, Writer

_MISSING_NAMED = 8


class Merged:
    """The parts of one run, checked to be all of it, in the order of its list.

    InputError where one is missing, is there twice, or belongs to another run: other settings, another model, another
    list of pictures.
    """

    def __init__(self, parts: Mapping[int, Place], of: int) -> None:
        """`parts` by their numbers, of which there are `of`."""
        absent = of - sum(1 <= number <= of for number in parts)
        if absent:
            missing = list(islice((number for number in range(1, of + 1) if number not in parts), _MISSING_NAMED))
            named = ", ".join(map(str, missing)) + (" ..." if absent > _MISSING_NAMED else "")
            count = f"{absent} of {of} parts are" if absent > 1 else "a part is"
            raise InputError(f"{count} missing: {named}; run with --part {missing[0]}/{of}")
        self._parts, self.of = parts, of
        self._header = _header(parts[1])

    @property
    def places(self) -> Collection[Place]:
        """The files of the parts."""
        return self._parts.values()

    @property
    def settings(self) -> dict[str, Any]:
        """What the records depend on."""
        settings: dict[str, Any] = self._header["settings"]
        return settings

    @property
    def names(self) -> list[str]:
        """Of the classes that the run's task tells apart."""
        names: list[str] = self._header["classes"]["names"]
        return names

    @classmethod
    def of_folder(cls, folder: PartsFolder) -> Merged:
        """The parts in a folder: those of its plan, or as many as the parts say."""
        there = {number: folder.part(number) for number in folder.present()}
        if not there:
            raise InputError(f"{folder.folder} holds no parts of a run")
        plan = folder.plan()
        return cls(there, plan.parts if plan is not None else _header(there[min(there)])["of"])

    @classmethod
    def of_files(cls, places: Sequence[Place]) -> Merged:
        """The parts in some files."""
        parts: dict[int, Place] = {}
        of = 0
        for path in places:
            header = _header(path)
            number, of = header["part"], header["of"]
            if number in parts:
                raise InputError(f"{parts[number]} and {path} are both part {number} of {of}")
            parts[number] = path
        return cls(parts, of)

    def records(self) -> Iterator[Record]:
        """All records, in the order of the list. InputError where a part belongs to another run."""
        for number in range(1, self.of + 1):
            path = self._parts[number]
            part = read_part(path)
            header = next(part)
            _check_same(self._header, self._parts[1], header, path)
            if header["part"] != number:
                raise InputError(f"{path} is part {header['part']}, not {number}")
            yield from part

    def write(
        self,
        out: Place,
        writer: Writer,
        ids: CocoIds | None = None,
        each: Callable[[Record], Record] = lambda record: record,
        files_are_there: bool = False,
    ) -> None:
        """The run's output; `each` sees all records.

        files_are_there  of a format with a file a picture, whether the parts have written these
        """
        records: Iterator[Record] = map(each, self.records())
        if writer.content is not None and not files_are_there:
            records = _written(records, out, writer, Names(_Items(self)))
        writer.write_all(out, records, self._whole(ids))

    def write_to(
        self,
        stream: IO[bytes],
        writer: Writer,
        ids: CocoIds | None = None,
        each: Callable[[Record], Record] = lambda record: record,
    ) -> None:
        """The same into a stream, in a format that is one file."""
        assert writer.write is not None
        deque(writer.write(stream, map(each, self.records()), self._whole(ids)), maxlen=0)
        stream.flush()

    def _whole(self, ids: CocoIds | None) -> Whole:
        return Whole(self.names, (), ids, self._header["classes"]["wanted"], self._header["list"]["numbered"])


class _Items:
    """The items of a run, as its records tell them, again and again."""

    def __init__(self, merged: Merged) -> None:
        self._merged = merged

    def __iter__(self) -> Iterator[Item]:
        last = None
        for record in self._merged.records():
            if record["file"] != last:
                last = record["file"]
                yield Item(place(last), last)


def _written(records: Iterator[Record], out: Place, writer: Writer, names: Names) -> Iterator[Record]:
    assert writer.content is not None
    for record in records:
        if "error" not in record:
            write_bytes(out / names.record_file(record, writer.ending), writer.content(record))
        yield record


def _header(path: Place) -> dict[str, Any]:
    return next(read_part(path))


def _check_same(header: dict[str, Any], first: Place, other: dict[str, Any], path: Place) -> None:
    settings = differences(header["settings"], other["settings"])
    if settings:
        raise InputError(f"{path} and {first} are of runs with other settings: {settings}")
    if header["list"] != other["list"]:
        counts = f"{header['list']['items']} pictures and {other['list']['items']}"
        raise InputError(
            f"{path} and {first} are of other lists of pictures ({counts}); take the list once, with --plan"
        )
    if header["of"] != other["of"]:
        raise InputError(f"{path} is one of {other['of']} parts, {first} one of {header['of']}")
    if header["classes"] != other["classes"]:
        raise InputError(f"{path} and {first} are of networks with other classes")


def parts_in(places: Sequence[Place]) -> Merged:
    """The parts that a folder or some files are."""
    (first, *others) = places
    return Merged.of_files(places) if others or first.suffix == ".jsonl" else Merged.of_folder(PartsFolder(first))
