"""A run in parts, on one machine after the other or on many at once: the plan, the parts, and reading them again.

Beside an output `found.jsonl` lies the folder `found.jsonl.parts`, on disk or in a store:

    plan.json       the settings with the model's hash, what is known of the whole list, and the number of parts
    items/3.jsonl   the pictures of the third part, so that the list is taken once
    3.jsonl         the third part: JSON Lines of its records, between a header and a summary

Parts are stretches of the list, so that they are joined by putting one behind the other. A plan is needed only where
the list is not to be taken by each part again; parts with a plan and without are the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import orjson

from detkit.errors import InputError, UsageError
from detkit.files import opened, read_file, remove, tail_of, write_atomically, write_bytes
from detkit.remote import Place, RemotePath
from detkit.runs.long_lists import Listing, line_parts
from detkit.runs.names import Names
from detkit.runs.record import Record, is_whole, jsonl_line
from detkit.runs.summary import Summary
from detkit.runs.writers import has_numbered_stems
from detkit.stores import keys_under

_VERSION = 1
_PART = re.compile(r"[1-9]\d*\.jsonl")
_TAIL = 1 << 16  # the summary of a part is in its last bytes: classes take a few each


@dataclass(frozen=True)
class WholeList:
    """What a part has to know of the whole list.

    items     how many there are
    digest    of their names, and of their addresses in a store
    numbered  whether the stems of all are numbers, which then are COCO's image ids
    """

    items: int
    digest: str
    numbered: bool

    @classmethod
    def of(cls, listing: Listing) -> WholeList:
        digest = blake2b(digest_size=16)
        for line in listing.lines():
            path, name = line_parts(line)
            digest.update((path if "://" in path else name).encode("utf-8", "backslashreplace") + b"\n")
        return cls(len(listing), digest.hexdigest(), has_numbered_stems(listing))


@dataclass(frozen=True)
class Part:
    """A part of a run: its number, from 1, of how many, and the whole that it belongs to.

    place    where its records go
    journal  where they are kept until all are there
    names    what outputs are called, as it follows from the whole list
    """

    number: int
    of: int
    place: Place
    journal: Path
    whole: WholeList
    names: Names

    def before(self) -> Iterator[Record]:
        """The records of this part that were there already, if it was done before."""
        with suppress(InputError):
            part = read_part(self.place)
            next(part)
            yield from part

    def header(self, settings: Mapping[str, Any], names: Sequence[str], wanted: Sequence[str]) -> dict[str, Any]:
        """What stands first in the part: all that its records depend on, and the names of the classes."""
        classes = {"names": list(names), "wanted": list(wanted)}
        return {
            "settings": settings,
            "list": asdict(self.whole),
            "classes": classes,
            "part": self.number,
            "of": self.of,
        }


def stretch(items: int, number: int, of: int) -> slice:
    """Where part `number` of `of` lies in a list; their lengths differ by one at most.

    >>> [stretch(10, number, 3) for number in (1, 2, 3)]
    [slice(0, 3, None), slice(3, 6, None), slice(6, 10, None)]
    """
    return slice(items * (number - 1) // of, items * number // of)


class PartsFolder:
    """The folder of a run's parts, beside its output."""

    def __init__(self, folder: Place) -> None:
        self.folder = folder

    @classmethod
    def beside(cls, out: Place) -> PartsFolder:
        """The one that belongs to an output."""
        return cls(out.with_name(f"{out.name}.parts"))

    def part(self, number: int) -> Place:
        """Where the records of a part lie."""
        return self.folder / f"{number}.jsonl"

    def write_plan(self, plan: Plan, listing: Listing, names: Names | None) -> None:
        """Write the list in pieces, and then the plan: where that is, all of it is there."""
        for number in range(1, plan.parts + 1):
            piece = listing[stretch(len(listing), number, plan.parts)]
            own = {} if names is None else names.of_some(piece).to_json()
            with write_atomically(self._piece(number)) as file:
                file.write(orjson.dumps({"names": own}) + b"\n")
                file.writelines(piece.lines())
        write_bytes(self._plan, orjson.dumps(asdict(plan), option=orjson.OPT_INDENT_2) + b"\n")

    def plan(self) -> Plan | None:
        """The plan, where one is there."""
        try:
            content = orjson.loads(read_file(self._plan))
            plan = Plan(content["settings"], WholeList(**content["whole"]), content["parts"])
            if not isinstance(plan.settings, dict) or {type(plan.parts), type(plan.whole.items)} != {int}:
                raise TypeError("other values")
            return plan
        except InputError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self._plan} is no plan of detkit's") from error

    def piece(self, number: int) -> tuple[Listing, Names]:
        """The items of a part of the plan, and what their outputs are called. InputError where they are not there."""
        with opened(self._piece(number)) as file:
            names = orjson.loads(file.readline())["names"]
            return Listing(iter(file)), Names.of_json(names)

    def present(self) -> set[int]:
        """The numbers of the parts that are there; those that are, are whole."""
        if isinstance(self.folder, RemotePath):
            names: Iterable[str] = keys_under(self.folder)
        else:
            names = os.listdir(self.folder) if os.path.isdir(self.folder) else ()
        return {int(name.removesuffix(".jsonl")) for name in names if _PART.fullmatch(name)}

    def remove(self) -> None:
        """Delete the plan and all of its parts."""
        plan = self.plan()
        for number in self.present():
            remove(self.part(number))
        for number in range(1, plan.parts + 1) if plan is not None else ():
            remove(self._piece(number))
        remove(self._plan)
        for folder in (self.folder / "items", self.folder):
            with suppress(OSError):  # in a store there are none; on disk somebody may have put something else in
                os.rmdir(folder)

    def summary(self, number: int) -> Summary | None:
        """What a part did; None where it is not there, or not whole."""
        last = (tail_of(self.part(number), _TAIL) or b"").rstrip(b"\n").rpartition(b"\n")[2]
        with suppress(orjson.JSONDecodeError, KeyError, TypeError):
            return Summary.of(orjson.loads(last)["summary"])
        return None

    @property
    def _plan(self) -> Place:
        return self.folder / "plan.json"

    def _piece(self, number: int) -> Place:
        return self.folder / "items" / f"{number}.jsonl"


@dataclass(frozen=True)
class Plan:
    """What a run in parts is: its settings, its whole list, and how many parts."""

    settings: Mapping[str, Any]
    whole: WholeList
    parts: int

    def check(self, settings: Mapping[str, Any], where: Place) -> None:
        """UsageError where the plan was made for other settings."""
        changed = differences(self.settings, orjson.loads(orjson.dumps(dict(settings))))
        if changed:
            raise UsageError(f"{where} is of a run with other settings: {changed}. Run with the same, or delete it")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What of two runs' settings is not the same; "" where all is."""
    return "; ".join(
        f"{key} was {before.get(key)!r} and is {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    )


def write_part(file: IO[bytes], header: Mapping[str, Any], records: Iterable[Record], summary: Summary) -> Summary:
    """A part: its header, its records, and in the end what they are, which is given back; `summary` has what failed."""
    file.write(orjson.dumps({"detkit": _VERSION, **header}) + b"\n")
    whole = Summary(failures=summary.failures, seconds=round(summary.seconds, 3))
    for record in records:
        file.write(jsonl_line(whole.seen(record)))
    file.write(
        orjson.dumps({"summary": {**vars(whole), "found": dict(whole.found), "shapes": dict(whole.shapes)}}) + b"\n"
    )
    return whole


def read_part(path: Place) -> Iterator[dict[str, Any]]:
    """The header of a part, and then its records. InputError where it is none, or not whole."""
    with opened(path) as file:
        try:
            header = orjson.loads(file.readline())
            if not _is_header(header):
                raise InputError(f"{path} is no part of a run")
            yield header
            for number, line in enumerate(file, 2):
                record = orjson.loads(line)
                if "summary" in record:
                    return
                if not is_whole(record):
                    raise InputError(f"{path}, line {number}: is no record of a run: damaged")
                yield record
        except (orjson.JSONDecodeError, TypeError) as error:
            raise InputError(f"{path} is no part of a run, or damaged") from error
    raise InputError(f"{path} is not whole: its summary is missing")


def _is_header(header: Any) -> bool:
    if not isinstance(header, dict) or not isinstance(header.get("settings"), dict):
        return False
    whole, classes = header.get("list"), header.get("classes")
    if not isinstance(whole, dict) or type(whole.get("items")) is not int or "numbered" not in whole:
        return False
    if not isinstance(classes, dict) or not all(isinstance(classes.get(key), list) for key in ("names", "wanted")):
        return False
    return all(type(header.get(key)) is int for key in ("part", "of"))
