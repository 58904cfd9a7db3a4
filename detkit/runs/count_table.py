"""The table of counts: a row a picture or a frame, a column a class, for spreadsheets."""

from __future__ import annotations

import codecs
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from detkit import DISTRIBUTION
from detkit.annotations.formats.csv_table import csv_writer
from detkit.errors import OutputError, UsageError
from detkit.runs.record import Record

# A spreadsheet takes a cell that begins so for a formula, and runs it.
_STARTS_OF_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
Cell = str | int | float
# Of a sheet of a workbook (ECMA-376), and what its XML cannot hold.
_MOST_ROWS, _MOST_COLUMNS = 1_048_576, 16_384
_NOT_IN_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def counts_table(records: Iterable[Record], names: Sequence[str], wanted: Sequence[str] = ()) -> bytes:
    """The rows of `count_rows` as comma-separated text.

    Texts that a spreadsheet would run begin with an apostrophe. A byte order mark stands first where a letter is not
    ASCII: without it Excel would not read UTF-8.
    """
    text = io.StringIO()
    writer = csv_writer(text)
    for row in count_rows(records, names, wanted):
        writer.writerow([harmless(cell) if isinstance(cell, str) else cell for cell in row])
    content = text.getvalue()
    return (b"" if content.isascii() else codecs.BOM_UTF8) + content.encode("utf-8", errors="backslashreplace")


def counts_workbook(records: Iterable[Record], names: Sequence[str], wanted: Sequence[str] = ()) -> bytes:
    """The rows of `count_rows` as an Office Open XML workbook: numbers as numbers, texts as texts and never formulas.

    OutputError for more rows or columns than a sheet has.
    """
    need_openpyxl()
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    book = Workbook(write_only=True)
    sheet = book.create_sheet("counts")
    sheet.freeze_panes = "B2"

    def cell(value: Cell) -> Any:
        made = WriteOnlyCell(sheet, _NOT_IN_XML.sub("\ufffd", value) if isinstance(value, str) else value)
        if isinstance(value, str):
            made.data_type = "s"  # "=1+1" would be a formula
        return made

    for number, row in enumerate(count_rows(records, names, wanted)):
        if number >= _MOST_ROWS or len(row) > _MOST_COLUMNS:
            raise OutputError(f"a sheet has {_MOST_ROWS:,} rows and {_MOST_COLUMNS:,} columns: write -f counts as .csv")
        sheet.append([None if value == "" else cell(value) for value in row])
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def need_openpyxl() -> None:
    """UsageError where the library that writes workbooks is missing."""
    if find_spec("openpyxl") is None:
        raise UsageError(
            f"an .xlsx file needs openpyxl: pip install '{DISTRIBUTION}[xlsx]'; -f counts as .csv does not"
        )


def count_rows(records: Iterable[Record], names: Sequence[str], wanted: Sequence[str] = ()) -> Iterator[list[Cell]]:
    """The head of the table and its rows: file, frame and seconds where there are videos, error, boxes, the classes.

    The classes are those `wanted` and those that occur, in the order of `names`, numbers that have no name after them.
    A picture in which nothing was found has zeros; one that could not be read has its error, and empty cells, for
    nothing is known of it.
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
    moment = ("frame", "time") if videos else ()
    yield ["file", *moment, "error", "boxes", *classes]
    for record, counts in rows:
        known: list[Cell] = [""] * (len(classes) + 1)
        if counts is not None:
            known = [counts.total(), *(counts[name] for name in classes)]
        yield [record["file"], *(record.get(key, "") for key in moment), record.get("error", ""), *known]


def harmless(text: str) -> str:
    """The text, with an apostrophe before what a spreadsheet would run.

    >>> harmless("=1+1"), harmless("a=1")
    ("'=1+1", 'a=1')
    """
    return f"'{text}" if text.startswith(_STARTS_OF_FORMULAS) else text
