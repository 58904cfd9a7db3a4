"""Tables on stdout that fit the terminal."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from detkit.cli.console import counted, show
from detkit.spelling import printable


def print_table(title: str | None, columns: list[tuple[str, str]], rows: list[list[Any]]) -> None:
    """A table; `columns` are (heading, "left" or "right"). Texts are shown as they are, not as Rich markup.

    Where the terminal is too narrow, texts are folded, those of the first column only from 20 letters on.
    """
    if title:
        show(title)
    table = Table(box=None, pad_edge=False, header_style="bold")
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    short = all(len(row[0]) <= 20 for row in cells)
    for place, (heading, side) in enumerate(columns):
        justify: Literal["left", "right"] = "right" if side == "right" else "left"
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=short and not place)
    for row in cells:
        table.add_row(*map(Text, row))
    Console().print(table)


def print_detections(record: dict[str, Any]) -> None:
    """The boxes of one picture."""
    found = record["detections"]
    show(f"{record['file']}  {record['width']}x{record['height']}  {counted(len(found), 'box', 'boxes')}")
    rows = [[box["class"], f"{box['score']:.3f}", *(f"{side:.1f}" for side in box["box"])] for box in found]
    if rows:
        columns = [("class", "left"), ("score", "right"), *((side, "right") for side in ("x1", "y1", "x2", "y2"))]
        print_table(None, columns, rows)


def print_totals(found: Counter[str], pictures: int) -> None:
    """How many boxes of each class all pictures have."""
    rows = [[name, count] for name, count in found.most_common()]
    boxes = counted(sum(found.values()), "box", "boxes")
    print_table(f"\n{boxes} in {counted(pictures, 'picture')}", [("class", "left"), ("boxes", "right")], rows)
