"""The table of counts: a row a picture or a frame, a column a class, for spreadsheets."""

from __future__ import annotations

import codecs
import io
from collections import Counter
from collections.abc import Iterable, Sequence

from detkit.annotations.formats.csv_table import csv_writer
from detkit.runs.record import Record

# A spreadsheet takes a cell that begins so for a formula, and runs it.
_STARTS_OF_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def counts_table(records: Iterable[Record], names: Sequence[str], wanted: Sequence[str] = ()) -> bytes:
    """Comma-separated text: file, frame and time in seconds where there are videos, error, boxes, and the classes.

    The classes are those `wanted` and those that occur, in the order of `names`, numbers that have no name after them.
    A picture in which nothing was found has zeros; one that could not be read has its error, and empty cells, for
    nothing is known of it. Texts that a spreadsheet would run begin with an apostrophe. A byte order mark stands
    first where a letter is not ASCII: without it Excel would not read UTF-8.
    """
    rows: list[tuple[Record, Counter[str] | None]] = []
    occurring = set(wanted)
    videos = False
    for record in records:
        counts = None if "error" in record else Counter(box["class"] for box in record["detections"])
        kept: Record = {key: record[key] for key in ("file", "frame", "time", "error") if key in record}
        rows.append((kept, counts))
        occurring.update(counts or ())
        videos = videos or "frame" in record
    place = {name: number for number, name in reversed(list(enumerate(names)))}
    classes = sorted(occurring, key=lambda name: (place.get(name, len(names)), len(name), name))

    text = io.StringIO()
    writer = csv_writer(text)
    moment = ("frame", "time") if videos else ()
    writer.writerow(("file", *moment, "error", "boxes", *map(harmless, classes)))
    for record, counts in rows:
        known = [""] * (len(classes) + 1) if counts is None else [counts.total(), *(counts[name] for name in classes)]
        moments = (record.get(key, "") for key in moment)
        writer.writerow((harmless(record["file"]), *moments, harmless(record.get("error", "")), *known))
    content = text.getvalue()
    return (b"" if content.isascii() else codecs.BOM_UTF8) + content.encode("utf-8", errors="backslashreplace")


def harmless(text: str) -> str:
    """The text, with an apostrophe before what a spreadsheet would run.

    >>> harmless("=1+1"), harmless("a=1")
    ("'=1+1", 'a=1')
    """
    return f"'{text}" if text.startswith(_STARTS_OF_FORMULAS) else text
