"""Footage with its tracks, and the formats that these are written in: a table, a row each."""

from __future__ import annotations

import csv
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from detkit.classes import classes_called
from detkit.errors import InputError, UsageError
from detkit.files import as_text, is_device, write_bytes
from detkit.guard import Guard
from detkit.remote import Place
from detkit.runs.footage import Footage, Pace, Whereabouts, footage_of
from detkit.runs.record import Record, jsonl_line, record_key
from detkit.runs.run import Output
from detkit.runs.writers import Beside, Whole, Writer
from detkit.tracking import Motion, Tracker, TrackerSettings, make_tracker
from detkit.tracking.motchallenge import tracks_text
from detkit.tracking.trajectories import Recorder, Trajectories
from detkit.tracks import TrackTable

logger = logging.getLogger("detkit")

CSV_COLUMNS = (
    *("file", "frame", "time", "track", "x1", "y1", "x2", "y2", "score", "class", "class_id", "width", "height"),
)


_USUAL = TrackerSettings()


@dataclass(frozen=True)
class Kind:
    """A class as records have it."""

    name: str
    class_id: int


@dataclass(frozen=True)
class Tracked:
    """A video with the tracks of its detections.

    trajectories   frames are numbered as those of `footage`, from 1; class ids are places in `kinds`
    """

    footage: Footage
    trajectories: Trajectories
    kinds: tuple[Kind, ...]

    def kind_of(self, class_id: int) -> Kind:
        return self.kinds[class_id]

    def records(self) -> Iterator[Record]:
        """The records, of the detections those that are on a track, with its number and its class."""
        table, rows = self.trajectories.table, self.trajectories.detections
        starts = np.searchsorted(table.frames, [shot.number for shot in self.footage.shots])
        ends = np.searchsorted(table.frames, [shot.number for shot in self.footage.shots], side="right")
        for shot, start, end in zip(self.footage.shots, starts.tolist(), ends.tolist(), strict=True):
            record = shot.record
            if "error" not in record:
                found = record["detections"]
                kinds = [self.kinds[one] for one in table.class_ids[start:end].tolist()]
                record["detections"] = [
                    {**found[row], "class": kind.name, "class_id": kind.class_id, "track": track}
                    for row, track, kind in zip(
                        rows[start:end].tolist(), table.ids[start:end].tolist(), kinds, strict=True
                    )
                ]
            yield record


@dataclass(frozen=True)
class Following:
    """How detections are joined: the tracker's name and settings, its motion model, and which detections it sees.

    conf      detections with a higher score; None: all that are there
    classes   by name; none: all
    motion    makes the motion model of a video; None: the tracker's own
    conf_of   the same as `conf` of single classes, by name
    """

    tracker: str = "bytetrack"
    settings: TrackerSettings = _USUAL
    conf: float | None = None
    classes: tuple[str, ...] = ()
    motion: Callable[[], Motion] | None = None
    conf_of: Mapping[str, float] = field(default_factory=dict)

    def make(self) -> Tracker:
        return make_tracker(self.tracker, self.settings, None if self.motion is None else self.motion())

    def follow(self, footage: Footage) -> Tracked:
        """The tracks of a video. A frame that could not be read is a gap in time, not a frame without objects."""
        tracker, recorder, table = self.make(), Recorder(), _Kinds(self)
        shots = []
        for shot in footage.shots:
            record = shot.record
            if "error" not in record:
                kept = [found for found in record["detections"] if self._sees(found, table)]
                if len(kept) < len(record["detections"]):
                    shot = replace(shot, line=jsonl_line({**record, "detections": kept}))
                recorder.add(shot.number, _update(tracker, shot.time, kept, table))
            shots.append(shot)
        for one in table.unseen():
            logger.warning("%s: no detection is of class %r; there are %s", footage.name, one, table.names())
        return Tracked(Footage(footage.name, shots), recorder.trajectories(), tuple(table.kinds))

    def _sees(self, found: dict[str, Any], table: _Kinds) -> bool:
        least = table.least(found["class"])
        return (least is None or found["score"] > least) and table.wanted(found["class"])


class _Kinds:
    """Numbers for the classes of a video as they come."""

    def __init__(self, following: Following) -> None:
        self.kinds: list[Kind] = []
        self._classes, self._conf, self._conf_of = following.classes, following.conf, following.conf_of
        self._places, self._wanted, self._least = dict[str, int](), dict[str, bool](), dict[str, float | None]()

    def least(self, name: str) -> float | None:
        """The score above which detections of a class are seen."""
        if name not in self._least:
            own = [conf for called, conf in self._conf_of.items() if classes_called(called, [name])]
            self._least[name] = own[0] if own else self._conf
        return self._least[name]

    def wanted(self, name: str) -> bool:
        if name not in self._wanted:
            self._wanted[name] = not self._classes or any(classes_called(one, [name]) for one in self._classes)
        return self._wanted[name]

    def names(self) -> str:
        """The classes that came, wanted or not."""
        shown = sorted(self._least)
        return ", ".join(shown[:12]) + (", ..." if len(shown) > 12 else "")

    def unseen(self) -> list[str]:
        """Classes that were named and that no detection has, where there are detections at all."""
        came = list(self._least)
        return [one for one in (*self._classes, *self._conf_of) if came and not classes_called(one, came)]

    def place(self, found: dict[str, Any]) -> int:
        name = found["class"]
        if name not in self._places:
            self._places[name] = len(self.kinds)
            self.kinds.append(Kind(name, int(found.get("class_id", len(self.kinds)))))
        return self._places[name]


def _update(tracker: Tracker, time: float, found: Sequence[dict[str, Any]], table: _Kinds) -> Any:
    boxes = np.array([one["box"] for one in found], np.float32).reshape(-1, 4)
    return tracker.update(time, boxes, [one["score"] for one in found], [table.place(one) for one in found])


@dataclass
class TrackFormat:
    """A format of tracks: its name, the endings that mean it, and what writes it."""

    name: str
    endings: tuple[str, ...]
    content: Callable[[IO[bytes], Sequence[Tracked]], None]


def _jsonl(file: IO[bytes], videos: Sequence[Tracked]) -> None:
    for video in videos:
        for record in video.records():
            file.write(jsonl_line(record))


def _csv(file: IO[bytes], videos: Sequence[Tracked]) -> None:
    with as_text(file) as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for video in videos:
            for shot, record in zip(video.footage.shots, video.records(), strict=True):
                size = (record.get("width"), record.get("height"))
                for found in record.get("detections", ()):
                    place = (record_key(record), shot.number - 1, round(shot.time, 6), found["track"])
                    writer.writerow((*place, *found["box"], found["score"], found["class"], found["class_id"], *size))


def _mot(file: IO[bytes], videos: Sequence[Tracked]) -> None:
    if len(videos) > 1:
        names = ", ".join(video.footage.name for video in videos[:4])
        raise InputError(
            f"MOTChallenge's format holds one video, and the sources are {len(videos)} ({names}); "
            "write .jsonl or .csv, or track them one by one"
        )
    file.write(tracks_text(videos[0].trajectories.table if videos else TrackTable.empty()))


TRACK_FORMATS = (
    TrackFormat("mot", (".txt",), _mot),
    TrackFormat("jsonl", (".jsonl", ".ndjson"), _jsonl),
    TrackFormat("csv", (".csv",), _csv),
)


def track_format(out: Place | None) -> TrackFormat:
    """The format that an output's ending names; JSON Lines for stdout. UsageError where it names none."""
    ending = ".jsonl" if out is None or is_device(out) else out.suffix.lower()
    for form in TRACK_FORMATS:
        if ending in form.endings:
            return form
    raise UsageError(f"tracks are written as .txt (MOTChallenge), .jsonl or .csv; the ending of {out} names none")


def write_each(folder: Path, videos: Sequence[Tracked], guard: Guard) -> None:
    """A file of MOTChallenge's format for each video, called by it; of two of one name the later one is NAME-2.

    UsageError where one would replace an input.
    """
    names: Counter[str] = Counter()
    for video in videos:
        name = video.footage.name
        names[name] += 1
        path = folder / f"{name}{f'-{names[name]}' if names[name] > 1 else ''}.txt"
        guard.spare("--out", path)
        write_bytes(path, tracks_text(video.trajectories.table))


class TrackWriter:
    """Makes tracks of a run's records once they are through, and writes them; `videos` holds them then."""

    def __init__(self, following: Following, where: Whereabouts, pace: Pace) -> None:
        self._following, self._where, self._pace = following, where, pace
        self.videos: list[Tracked] = []

    def write(self, file: IO[bytes], records: Iterable[Record], form: TrackFormat) -> None:
        """All records as tracks, in a format."""
        footage = footage_of(records, self._where, self._pace)
        self.videos = [self._following.follow(one) for one in footage]
        form.content(file, self.videos)
        file.flush()


@dataclass(frozen=True)
class TrackOutput(Output):
    """An `Output` whose records become tracks before they are written."""

    tracks: TrackWriter | None = None

    def named(self, otherwise: str = "jsonl") -> TrackOutput:
        """The same: the ending names the format."""
        return self

    def writer(self) -> Writer:
        """What writes tracks. UsageError where the path does not go with it."""
        form, tracks = track_format(self.path), self.tracks
        assert tracks is not None
        if self.path is not None and os.path.isdir(self.path):
            raise UsageError(f"tracks are one file, but {self.path} is a folder")
        if self.resume and (self.path is None or is_device(self.path)):
            raise UsageError("--resume needs --out FILE: what is done is kept beside it")

        def write(file: IO[bytes], records: Iterable[Record], whole: Whole) -> Beside:
            tracks.write(file, records, form)
            yield from ()

        return Writer(form.name, form.endings, write)
