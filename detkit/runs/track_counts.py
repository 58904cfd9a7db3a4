"""Counts of tracked videos: who crossed which line, who stayed in which zone, in all and by minute."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from detkit.runs.tracked import Tracked
from detkit.tracking.counting import Crossing, LineCounter, Point, Visit, ZoneCounter
from detkit.tracking.trajectories import replay

CSV_COLUMNS = ("file", "minute", "place", "class", "forward", "backward", "entries", "seconds")


@dataclass(frozen=True)
class Places:
    """What is counted at: lines and zones by name, in pixels; and by which point of a box (`counting.ANCHORS`)."""

    lines: Mapping[str, tuple[Point, Point]] = field(default_factory=dict)
    zones: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    anchor: str = "foot"

    def __bool__(self) -> bool:
        return bool(self.lines or self.zones)


@dataclass(frozen=True)
class Counted:
    """What was counted in a video: crossings of each line, visits of each zone, by name. `end` is its last second."""

    video: Tracked
    crossings: Mapping[str, list[Crossing]]
    visits: Mapping[str, list[Visit]]
    end: float

    def class_of(self, event: Crossing | Visit) -> str:
        return self.video.kind_of(event.class_id).name


def count(video: Tracked, places: Places) -> Counted:
    """Crossings and visits of a video's tracks. UsageError where a line or zone is none."""
    shots = video.footage.shots
    size = next(((one["width"], one["height"]) for one in (shot.record for shot in shots) if "width" in one), None)
    lines = {name: LineCounter(*ends, size=size, anchor=places.anchor) for name, ends in places.lines.items()}
    zones = {name: ZoneCounter(polygon, anchor=places.anchor) for name, polygon in places.zones.items()}
    for tracks in replay(video.trajectories):
        for line in lines.values():
            line.update(tracks)
        for zone in zones.values():
            zone.update(tracks)
    return Counted(
        video,
        {name: line.crossings for name, line in lines.items()},
        {name: zone.visits() for name, zone in zones.items()},
        shots[-1].time if shots else 0.0,
    )


def line_rows(counted: Sequence[Counted]) -> list[list[Any]]:
    """(line, class, forward, backward) over all videos; a line that nobody crossed has a row of zeros."""
    sums: dict[str, Counter[tuple[str, bool]]] = defaultdict(Counter)
    for one in counted:
        for name, crossings in one.crossings.items():
            sums[name].update((one.class_of(crossing), crossing.forward) for crossing in crossings)
    rows: list[list[Any]] = []
    for name, found in sums.items():
        classes = sorted({kind for kind, _ in found}) or ["-"]
        rows += [[name, kind, found[kind, True], found[kind, False]] for kind in classes]
    return rows


def zone_rows(counted: Sequence[Counted]) -> list[list[Any]]:
    """(zone, class, visits, tracks, seconds in all, seconds a visit) over all videos."""
    visits: dict[str, dict[str, list[tuple[int, Visit]]]] = defaultdict(lambda: defaultdict(list))
    for number, one in enumerate(counted):
        for name, found in one.visits.items():
            visits[name]
            for visit in found:
                visits[name][one.class_of(visit)].append((number, visit))
    rows: list[list[Any]] = []
    for name, by_class in visits.items():
        for kind, both in sorted(by_class.items()) or [("-", [])]:
            seconds = sum(visit.seconds for _, visit in both)
            tracks = len({(number, visit.track_id) for number, visit in both})
            mean = f"{seconds / len(both):.1f}" if both else "-"
            rows.append([name, kind, len(both), tracks, f"{seconds:.1f}", mean])
    return rows


def counts_csv(counted: Sequence[Counted]) -> bytes:
    """A row for each video, minute, place and class that was counted there at all.

    forward, backward   crossings of a line in that minute
    entries, seconds    visits of a zone that began in it, and the time spent there in it
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for one in counted:
        for minute in range(int(one.end // 60) + 1):
            for name, crossings in one.crossings.items():
                writer.writerows(_line_minutes(one, name, crossings, minute))
            for name, visits in one.visits.items():
                writer.writerows(_zone_minutes(one, name, visits, minute))
    return text.getvalue().encode()


def _line_minutes(one: Counted, name: str, crossings: Sequence[Crossing], minute: int) -> Iterator[list[Any]]:
    classes = sorted({one.class_of(crossing) for crossing in crossings})
    now = Counter((one.class_of(each), each.forward) for each in crossings if each.time // 60 == minute)
    for kind in classes:
        yield [one.video.footage.name, minute, name, kind, now[kind, True], now[kind, False], "", ""]


def _zone_minutes(one: Counted, name: str, visits: Sequence[Visit], minute: int) -> Iterator[list[Any]]:
    for kind in sorted({one.class_of(visit) for visit in visits}):
        own = [visit for visit in visits if one.class_of(visit) == kind]
        begun = sum(visit.entered // 60 == minute for visit in own)
        inside = sum(
            max(min(visit.left, 60.0 * (minute + 1)) - max(visit.entered, 60.0 * minute), 0.0) for visit in own
        )
        yield [one.video.footage.name, minute, name, kind, "", "", begun, round(inside, 3)]
