"""The page of `detkit eval --protocol mot --report`: true tracks over time, in the colours of what covers them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from detkit.tracking.sequence_files import frame_rate

if TYPE_CHECKING:
    from detkit.metrics.mot import TrackFigures
    from detkit.metrics.mot.coverage import Coverage
    from detkit.report.track_page import Bar, Lane

_SHARES = ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1")
_COUNTS = ("switches", "fragments", "FP", "FN")
ROWS = 500  # of a table of switches
_NOTE = (
    "Each bar is a true track. Its colour is that of the found track that covers it; a thin line is where none does, "
    "and a dot a switch: another track goes on with it."
)


@dataclass(frozen=True)
class MeasuredSequence:
    """A sequence: its name and ground truth, its figures, and what covers its tracks."""

    name: str
    truth: Path
    figures: TrackFigures
    coverage: Coverage


def write_evaluation_page(path: Path, title: str, rules: str, measured: Sequence[MeasuredSequence]) -> None:
    """Write the page."""
    from detkit.files import write_bytes
    from detkit.report.document import Fact, now
    from detkit.report.track_page import track_page

    about = [Fact("Date", now()), Fact("Rules", rules)]
    write_bytes(path, track_page(title, about, [_lane(one) for one in measured], _NOTE))


def _lane(one: MeasuredSequence) -> Lane:
    from detkit.report.track_page import Lane

    found, rate = one.coverage, frame_rate(one.truth)
    named = one.figures.named()
    tiles = [(name, f"{named[name]:.3f}") for name in _SHARES] + [(name, f"{named[name]:,.0f}") for name in _COUNTS]
    seconds = found.frames / (rate or 1.0)
    before: dict[int, int] = {}
    rows = []
    for row in np.flatnonzero(found.by >= 0).tolist():
        track, by = int(found.ids[row]), int(found.by[row])
        if found.switched[row]:
            rows.append((int(found.frames[row]), track, before[track], by))
        before[track] = by
    rows.sort()
    table = [[str(cell) for cell in cells] for cells in rows[:ROWS]]
    more = f" (the first {ROWS} of {len(rows):,})" if len(rows) > ROWS else ""
    tables = [(f"Switches{more}", ("frame", "true track", "was found as", "goes on as"), table)] if rows else []
    start, end = (float(seconds.min()), float(seconds.max())) if len(seconds) else (0.0, 0.0)
    name = one.name if rate else f"{one.name} (a frame a second, as no seqinfo.ini tells the rate)"
    return Lane(name, start, end, _bars(found, seconds), (), None, tiles, tables)


def _bars(found: Coverage, seconds: np.ndarray) -> list[Bar]:
    """A bar for each true track, whose parts are stretches under one number."""
    from detkit.report.track_page import Bar

    bars = []
    for rows in np.split(np.arange(len(seconds)), np.flatnonzero(np.diff(found.ids)) + 1) if len(seconds) else ():
        by, times = found.by[rows], seconds[rows]
        bounds = np.flatnonzero(np.diff(by)) + 1
        parts = [
            (float(times[a]), float(times[b - 1]), f"track {by[a]}")
            for a, b in zip([0, *bounds.tolist()], [*bounds.tolist(), len(rows)], strict=True)
            if by[a] >= 0
        ]
        marks = [(float(times[at]), f"goes on as track {by[at]}") for at in np.flatnonzero(found.switched[rows])]
        share = float((by >= 0).mean())
        numbers = len(np.unique(by[by >= 0]))
        about = f"covered in {share:.0%} of {len(rows)} boxes, under {numbers} number{'s' * (numbers != 1)}"
        whole = (float(times[0]), float(times[-1]))
        bars.append(Bar(str(int(found.ids[rows[0]])), "true track", parts, about, marks, whole))
    return bars
