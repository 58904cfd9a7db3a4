"""The page of tracked videos: key frames or the drawn video, tracks over time as bars, counts over time, events."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit import __version__
from detkit.report.document import Fact, asset, embedded, facts, opening, page_bytes
from detkit.report.thumbnails import encode_small

LARGEST_VIDEO = 48 << 20  # bytes of a video that is held in the page
STEPS = 600  # of the curves of counts, over the time of a video


@dataclass(frozen=True)
class Bar:
    """A track in time.

    name    its number, say; group, its class
    parts   (start, end, key) in seconds, one after the other; parts of one key have one colour
    about   what the pointer shows, beside name, group and duration
    marks   (seconds, text): what happened to it
    whole   (start, end) in seconds; None: those of its parts
    """

    name: str
    group: str
    parts: Sequence[tuple[float, float, str]]
    about: str = ""
    marks: Sequence[tuple[float, str]] = ()
    whole: tuple[float, float] | None = None

    @property
    def span(self) -> tuple[float, float]:
        """Start and end."""
        return self.whole or (self.parts[0][0], self.parts[-1][1])


@dataclass(frozen=True)
class Moment:
    """A key frame: seconds, its picture as WebP or so, the size (width, height) that its boxes are in, and these:

    boxes   (x1, y1, x2, y2, index of its bar)
    """

    time: float
    picture: bytes
    size: tuple[int, int]
    boxes: Sequence[tuple[float, float, float, float, int]]

    @classmethod
    def of(cls, time: float, image: Any, boxes: Sequence[tuple[float, float, float, float, int]]) -> Moment:
        """Of a frame, uint8 (H, W, 3) RGB."""
        return cls(time, encode_small(image, 480), (image.shape[1], image.shape[0]), boxes)


@dataclass(frozen=True)
class Lane:
    """What the page shows of one video.

    name      of it; start and end, in seconds
    bars      its tracks; moments, its key frames
    film      a WebM or MP4 that browsers play, in the place of key frames
    tiles     (what, figure); tables, (title, headings, rows)
    """

    name: str
    start: float
    end: float
    bars: Sequence[Bar]
    moments: Sequence[Moment] = ()
    film: bytes | None = None
    tiles: Sequence[tuple[str, str]] = ()
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = field(default_factory=tuple)


def track_page(title: str, about: list[Fact], lanes: Sequence[Lane], note: str = "") -> bytes:
    """The page: one file that loads nothing."""
    videos = "".join(_video(number, lane) for number, lane in enumerate(lanes))
    data = embedded([_data(lane) for lane in lanes]).decode()
    style = asset("page.css") + asset("track_page.css")
    head = opening(title, style).replace("img-src data:", "img-src data:; media-src data:", 1)
    return page_bytes(
        f"{head}<header><h1>{escape(title)}</h1>{facts(about)}</header><main>"
        f"{f'<p class=note>{escape(note)}</p>' if note else ''}{videos}</main>"
        f'<footer>detkit {escape(__version__)}</footer><div id="tip" hidden></div>'
        f'<script type="application/json" id="data">{data}</script><script>{asset("track_page.js")}</script>'
        "</body></html>\n"
    )


def counts_over_time(bars: Iterable[Bar], start: float, end: float) -> dict[str, list[tuple[float, int]]]:
    """How many tracks of each group there are at each of up to STEPS moments, their gaps included."""
    ticks = np.linspace(start, end, STEPS) if end > start else np.array([start])
    sums: dict[str, NDArray[np.int64]] = {}
    for bar in bars:
        row = sums.setdefault(bar.group, np.zeros(len(ticks), np.int64))
        row += (ticks >= bar.span[0]) & (ticks <= bar.span[1])
    return {
        group: [(round(float(tick), 3), int(count)) for tick, count in zip(ticks, row, strict=True)]
        for group, row in sorted(sums.items(), key=lambda pair: -int(pair[1].sum()))
    }


def spans(times: NDArray[np.float64], most: float) -> list[tuple[float, float]]:
    """Seconds (N,), ascending, as stretches without a gap of more than `most`."""
    if not len(times):
        return []
    breaks = np.flatnonzero(np.diff(times) > most)
    starts, ends = np.append(0, breaks + 1), np.append(breaks, len(times) - 1)
    return [(float(times[a]), float(times[b])) for a, b in zip(starts, ends, strict=True)]


def _video(number: int, lane: Lane) -> str:
    tiles = "".join(
        f"<div class=tile><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in lane.tiles
    )
    film = ""
    if lane.film is not None:
        code = base64.b64encode(lane.film).decode()
        kind = "mp4" if lane.film[4:8] == b"ftyp" else "webm"
        film = f'<video controls muted src="data:video/{kind};base64,{code}"></video>'
    tables = "".join(_table(*one) for one in lane.tables)
    return (
        f'<section data-lane="{number}"><h2>{escape(lane.name)}</h2><div class="tiles">{tiles}</div>'
        f'{film}<div class="moments"></div>'
        '<div class="keys"></div><h3>Tracks over time</h3><div class="bars" tabindex="0"></div>'
        f'<h3>In view at once</h3><div class="curve"></div>{tables}</section>'
    )


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<h3>{escape(title)}</h3><div class=wide>{table}</div>"


def _data(lane: Lane) -> dict[str, Any]:
    return {
        "start": lane.start,
        "end": max(lane.end, lane.start + 1e-3),
        "bars": [
            {
                "name": bar.name,
                "group": bar.group,
                "about": bar.about,
                "span": [round(second, 3) for second in bar.span],
                "parts": [(round(start, 3), round(end, 3), key) for start, end, key in bar.parts],
                "marks": [(round(time, 3), text) for time, text in bar.marks],
            }
            for bar in lane.bars
        ],
        "curves": counts_over_time(lane.bars, lane.start, lane.end),
        "moments": [
            {
                "time": round(moment.time, 3),
                "picture": f"data:image/webp;base64,{base64.b64encode(moment.picture).decode()}",
                "size": moment.size,
                "boxes": [[*(round(float(side), 1) for side in box[:4]), box[4]] for box in moment.boxes],
            }
            for moment in lane.moments
        ],
    }
