"""`--report` of `detkit track`: the page of tracked videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from detkit.cli.console import counted as number_of
from detkit.runs.track_counts import line_rows, zone_rows

if TYPE_CHECKING:
    from detkit.report.document import Fact
    from detkit.report.track_page import Bar, Lane, Moment
    from detkit.runs.sources import Item
    from detkit.runs.track_counts import Counted
    from detkit.runs.tracked import Tracked

MOMENTS = 12  # key frames of a video
GAP = 2.5  # steps between frames: from there on a track has a gap


def write_track_report(
    path: Path,
    videos: Sequence[Tracked],
    counts: Sequence[Counted],
    about: Sequence[Fact],
    *,
    items: Sequence[Item] = (),
    film: Path | None = None,
) -> None:
    """Write the page. `items` give the key frames; `film` is the drawn video, which takes their place."""
    from detkit.files import write_bytes
    from detkit.report.track_page import LARGEST_VIDEO, track_page

    note = ""
    shown = film.read_bytes() if film is not None and film.stat().st_size <= LARGEST_VIDEO else None
    if film is not None and shown is None:
        note = f"The drawn video is too large for a page; it is {film}."
    of_video = {id(one.video): one for one in counts}
    lanes = [_lane(video, of_video.get(id(video)), () if shown else items, shown) for video in videos]
    title = ", ".join(video.footage.name for video in videos[:3]) + (", ..." if len(videos) > 3 else "")
    write_bytes(path, track_page(f"Tracks of {title}", list(about), lanes, note))


def _lane(video: Tracked, found: Counted | None, items: Sequence[Item], film: bytes | None) -> Lane:
    from detkit.report.track_page import Lane

    shots, table = video.footage.shots, video.trajectories.table
    start, end = (shots[0].time, shots[-1].time) if shots else (0.0, 0.0)
    bars, places = _bars(video)
    tiles = [
        ("tracks", f"{len(bars):,}"),
        ("boxes", f"{len(table):,}"),
        ("frames", f"{len(shots):,}"),
        ("seconds", f"{end - start:,.1f}"),
        ("most at once", f"{max(Counter(table.frames.tolist()).values(), default=0):,}"),
    ]
    marks: dict[str, list[tuple[float, str]]] = {}
    tables: list[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = []
    if found is not None:
        for name, crossings in found.crossings.items():
            ways = Counter("forward" if crossing.forward else "backward" for crossing in crossings)
            tiles += [(f"{name}, {way}", f"{ways[way]:,}") for way in ("forward", "backward")]
            for one in crossings:
                text = f"over {name}, {'for' if one.forward else 'back'}ward"
                marks.setdefault(str(one.track_id), []).append((one.time, text))
        if found.crossings:
            rows = [[str(cell) for cell in row] for row in line_rows([found])]
            tables.append(("Crossings", ("line", "class", "forward", "backward"), rows))
        if found.visits:
            rows = [[str(cell) for cell in row] for row in zone_rows([found])]
            tables.append(("Zones", ("zone", "class", "visits", "tracks", "seconds", "a visit"), rows))
    bars = [replace(bar, marks=sorted(marks.get(bar.name, ()))) for bar in bars]
    moments = _moments(video, items, places) if items else []
    return Lane(video.footage.name, start, end, bars, moments, film, tiles, tables)


def _bars(video: Tracked) -> tuple[list[Bar], dict[int, int]]:
    """A bar for each track, and the place of each track among them."""
    from detkit.report.track_page import Bar, spans

    table, times = video.trajectories.table, video.trajectories.times
    steps = np.diff([shot.time for shot in video.footage.shots])
    most = GAP * float(np.median(steps)) if len(steps) else 1.0
    order = np.lexsort((times, table.ids))
    bars: list[Bar] = []
    places: dict[int, int] = {}
    for rows in np.split(order, np.flatnonzero(np.diff(table.ids[order])) + 1) if len(order) else ():
        track, kind = int(table.ids[rows[0]]), video.kind_of(int(table.class_ids[rows[0]])).name
        about = f"{number_of(len(rows), 'box', 'boxes')}, mean score {float(table.scores[rows].mean()):.2f}"
        places[track] = len(bars)
        bars.append(Bar(str(track), kind, [(a, b, kind) for a, b in spans(times[rows], most)], about))
    return bars, places


def _moments(video: Tracked, items: Sequence[Item], places: dict[int, int]) -> list[Moment]:
    from detkit.report.track_page import Moment
    from detkit.runs.key_frames import key_frames

    table = video.trajectories.table
    moments = []
    for shot, image in key_frames(video, items, MOMENTS):
        rows = np.flatnonzero(table.frames == shot.number)
        boxes = [(*table.boxes[row].tolist(), places[int(table.ids[row])]) for row in rows]
        moments.append(Moment.of(shot.time, image, boxes))
    return moments
