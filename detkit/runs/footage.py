"""The frames that tracks go through: records of a run or of a file, sorted into videos, each with its clock.

A video's frames carry the times of its own clock. A folder of pictures is a video, too: its pictures are frames in
the order of their numbers, at a rate that is given, or that MOTChallenge's `seqinfo.ini` beside them tells.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import orjson

from detkit.errors import InputError
from detkit.files import opened
from detkit.picture_names import is_video
from detkit.runs.record import Record, jsonl_line
from detkit.runs.sources import Item
from detkit.tracking.motchallenge import read_detections
from detkit.tracking.sequence_files import JSON_LINES, frame_rate

logger = logging.getLogger("detkit")

ASSUMED_RATE = 30.0
DETECTIONS = (*JSON_LINES, ".txt")  # endings of files of detections


@dataclass(frozen=True)
class Shot:
    """One frame: its number, from 1, seconds, and its record as JSON, which is small."""

    number: int
    time: float
    line: bytes

    @property
    def record(self) -> Record:
        record: Record = orjson.loads(self.line)
        return record


@dataclass
class Footage:
    """One video: what it is called, and its frames by their numbers."""

    name: str
    shots: list[Shot] = field(default_factory=list)


@dataclass(frozen=True)
class Pace:
    """How fast frames follow each other.

    fps      frames a second of what has no clock; None asks `seqinfo.ini`
    every    of all frames, each N-th
    numbers  the frame numbers, from 1, of pictures that were chosen already
    """

    fps: float | None = None
    every: int = 1
    numbers: Mapping[str, int] = field(default_factory=dict)


# Where a record's picture or file lies, for its name and rate.
Whereabouts = Callable[[Record], Path]


def footage_of(records: Iterable[Record], where: Whereabouts, pace: Pace) -> list[Footage]:
    """The videos of records, in the order in which they begin; records in any order.

    InputError where a frame comes twice, or where times run backwards.
    """
    groups: dict[str, list[tuple[Record, bytes]]] = {}
    for record in records:
        video = record.get("frame") is not None or is_video(record["file"])  # one that cannot be opened has no frame
        key = record["file"] if video else f"{PurePosixPath(record['file']).parent}/"
        groups.setdefault(key, []).append(({**record, "detections": ()}, jsonl_line(record)))
    return [_footage(group, where(group[0][0]), pace) for group in groups.values()]


def _footage(group: list[tuple[Record, bytes]], path: Path, pace: Pace) -> Footage:
    first = group[0][0]
    if first.get("frame") is None and not is_video(first["file"]):
        files = [record["file"] for record, _ in group]
        chosen = all(file in pace.numbers for file in files)
        numbers = [pace.numbers[file] for file in files] if chosen else _picture_numbers(files)
        pairs = sorted(zip(numbers, group, strict=True), key=lambda pair: pair[0])
        kept = pairs if chosen else pairs[:: pace.every]
        name = _folder_name(path)
    else:
        numbers = [record.get("frame", 0) + 1 for record, _ in group]
        pairs = sorted(zip(numbers, group, strict=True), key=lambda pair: pair[0])
        kept = [pair for pair in pairs if (pair[0] - 1) % pace.every == 0]
        name = PurePosixPath(first["file"]).stem
    clockless = any(record.get("time") is None and "error" not in record for _, (record, _) in kept)
    rate = _rate(path, pace) if clockless else ASSUMED_RATE
    footage = Footage(name)
    for number, (record, line) in kept:
        time = record.get("time")
        shot = Shot(number, (number - 1) / rate if time is None else float(time), line)
        if footage.shots and (number == footage.shots[-1].number or shot.time < footage.shots[-1].time):
            what = "comes twice" if number == footage.shots[-1].number else "is earlier than the one before it"
            raise InputError(f"{path}: frame {number - 1} of {record['file']} {what}")
        footage.shots.append(shot)
    return footage


def sampled(items: Sequence[Item], every: int) -> tuple[list[Item], dict[str, int]]:
    """Videos, and each `every`-th picture of a folder, in the order of their frames; frame numbers of pictures."""
    folders: dict[PurePosixPath, list[Item]] = defaultdict(list)
    for item in items:
        if not item.video:
            folders[PurePosixPath(item.name).parent].append(item)
    kept = [item for item in items if item.video]
    numbers: dict[str, int] = {}
    for folder in folders.values():
        own = _picture_numbers([item.name for item in folder])
        for number, item in sorted(zip(own, folder, strict=True), key=lambda pair: pair[0])[::every]:
            numbers[item.name] = number
            kept.append(item)
    return kept, numbers


def _picture_numbers(files: list[str]) -> list[int]:
    """Frame numbers from 1: the numbers that pictures are called by, where all are; else their order."""
    stems = [PurePosixPath(file).stem for file in files]
    if all(stem.isascii() and stem.isdecimal() for stem in stems) and len(set(map(int, stems))) == len(stems):
        numbers = [int(stem) for stem in stems]
        return [number + 1 for number in numbers] if min(numbers) == 0 else numbers
    return list(range(1, len(files) + 1))


def _folder_name(path: Path) -> str:
    """What a folder of frames is called: SEQ of MOTChallenge's SEQ/img1."""
    folder = path.resolve().parent if path.suffix.lower() not in JSON_LINES else path.with_suffix("")
    return folder.parent.name if folder.name == "img1" else folder.name


def _rate(path: Path, pace: Pace) -> float:
    rate = pace.fps or frame_rate(path)
    if rate is None:
        logger.warning(
            "%s: frames without a clock; %g a second are assumed, --fps N says how many there are", path, ASSUMED_RATE
        )
    return rate or ASSUMED_RATE


def is_detections(source: str) -> bool:
    """Whether a source is a file of detections: by its ending, so that a folder is none."""
    return not source.startswith("@") and Path(source).suffix.lower() in DETECTIONS and not Path(source).is_dir()


def read_found(path: Path, pace: Pace) -> Iterator[Record]:
    """The records of a file of detections: JSON Lines of a detection command, or MOTChallenge's det.txt."""
    return _lines_of(path) if path.suffix.lower() in JSON_LINES else _frames_of(path, pace)


def _lines_of(path: Path) -> Iterator[Record]:
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _checked(path, number, line)


def _checked(path: Path, number: int, line: bytes) -> Record:
    try:
        record: Any = orjson.loads(line)
        name, frame, time = record["file"], record.get("frame"), record.get("time")
        sound = isinstance(name, str) and (frame is None or (type(frame) is int and frame >= 0))
        sound = sound and (time is None or isinstance(time, int | float))
        for found in record.get("detections", ()):
            sound = sound and len(found["box"]) == 4 and isinstance(found["class"], str)
            sound = sound and bool(np.isfinite([*found["box"], found["score"]]).all())
    except (ValueError, KeyError, TypeError, AttributeError):
        sound = False
    if not sound or ("detections" not in record and "error" not in record):
        raise InputError(
            f"{path}, line {number}: is no record of a detection command: file, and detections with box, score, class"
        )
    return {key: value for key, value in record.items() if key != "last"}


def _frames_of(path: Path, pace: Pace) -> Iterator[Record]:
    found = read_detections(path)
    rate = _rate(path, pace)
    name = path.resolve().parent.parent.name if path.resolve().parent.name == "det" else path.stem
    order = np.argsort(found.frames, kind="stable")
    starts = np.searchsorted(found.frames[order], np.arange(1, int(found.frames.max(initial=0)) + 2))
    for frame in range(len(starts) - 1):
        rows = order[starts[frame] : starts[frame + 1]]
        detections = [
            {"box": box, "score": score, "class": "object", "class_id": 0}
            for box, score in zip(found.boxes[rows].tolist(), found.scores[rows].tolist(), strict=True)
        ]
        yield {"file": name, "frame": frame, "time": frame / rate, "detections": detections}
