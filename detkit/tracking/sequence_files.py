"""The sequences of an evaluation: which file of a tracker's results belongs to which ground truth.

MOTChallenge keeps a ground truth as `SEQ/gt/gt.txt` and the results as `SEQ.txt`, all in one folder. A track file of
ours, JSON Lines, may stand in for a text file of results.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from detkit.errors import InputError
from detkit.files import read_file
from detkit.tracking.motchallenge import read_tracks
from detkit.tracks import NO_CLASS, TrackTable

TRUTH = Path("gt", "gt.txt")
JSON_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class SequenceFiles:
    """A sequence: its name, its ground truth and a tracker's result."""

    name: str
    truth: Path
    result: Path


def find_sequences(results: Path, truth: Path) -> tuple[list[SequenceFiles], list[Path]]:
    """The sequences by name, and results without a ground truth.

    Both are files, or both folders. The truth of a folder are all `SEQ/gt/gt.txt` below it, or `SEQ.txt` in it.
    InputError where a sequence has no result: an empty file is one, a file that is missing is a mistake.
    """
    if truth.is_dir() and (truth / TRUTH).is_file() and not results.is_dir():
        return [SequenceFiles(truth.resolve().name, truth / TRUTH, results)], []
    if truth.is_dir() != results.is_dir():
        one, other = (results, truth) if results.is_dir() else (truth, results)
        raise InputError(f"{one} is a folder and {other} is none: give two files, or two folders of sequences")
    if not truth.is_dir():
        return [SequenceFiles(_name_of(truth), truth, results)], []
    truths = _truths(truth)
    sequences = [SequenceFiles(name, path, _result(results, name)) for name, path in sorted(truths.items())]
    known = {os.path.abspath(one.result) for one in sequences}
    others = [path for path in sorted(results.glob("*.txt")) if os.path.abspath(path) not in known]
    return sequences, others


def read_result(path: Path) -> TrackTable:
    """The tracks of a result: MOTChallenge's text, or JSON Lines of `detkit track` of one video."""
    return read_track_lines(path) if path.suffix.lower() in JSON_LINES else read_tracks(path)


def read_track_lines(path: Path) -> TrackTable:
    """The tracks of JSON Lines; frame 0 of a video is frame 1 here. InputError with the line that is none.

    Records of pictures, which have no frame, are numbered in their order.
    """
    rows: list[tuple[int, int, float]] = []
    boxes: list[Sequence[float]] = []
    files: set[str] = set()
    number = 0
    for number, line in enumerate(read_file(path).splitlines(), start=1):
        try:
            record = orjson.loads(line)
            frame = record.get("frame")
            files.update([record["file"]] if frame is not None else ())
            for found in record.get("detections", ()):
                rows.append((number if frame is None else frame + 1, int(found["track"]), float(found["score"])))
                x1, y1, x2, y2 = map(float, found["box"])
                boxes.append((x1, y1, x2, y2))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            raise InputError(f"{path}, line {number}: not a record of `detkit track`, with a track a box") from None
    if len(files) > 1:
        raise InputError(f"{path}: holds {len(files)} videos; give a file for each")
    table = np.array(rows, np.float64).reshape(-1, 3)
    return TrackTable(
        table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int64),
        np.array(boxes, np.float64).reshape(-1, 4),
        table[:, 2],
        np.full(len(rows), NO_CLASS),
    )


def frame_rate(path: Path) -> float | None:
    """Frames a second by the `seqinfo.ini` beside a file or folder of a sequence, or one folder up; None without."""
    for folder in (path, path.parent, path.parent.parent):
        info = folder / "seqinfo.ini"
        if not info.is_file():
            continue
        parser = configparser.ConfigParser()
        try:
            parser.read(info, encoding="utf-8")
            rate = parser.getfloat("Sequence", "frameRate")
        except (configparser.Error, ValueError, OSError):
            return None
        return rate if rate > 0 else None
    return None


def _name_of(truth: Path) -> str:
    """SEQ of SEQ/gt/gt.txt, or of SEQ.txt."""
    path = truth.resolve()
    return path.parent.parent.name if path.parts[-2:] == TRUTH.parts else path.stem


def _truths(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.glob(f"**/{TRUTH.as_posix()}")) or sorted(folder.glob("*.txt")):
        name = _name_of(path)
        if name in found:
            raise InputError(f"{folder}: two sequences are called {name}: {found[name]} and {path}")
        found[name] = path
    if not found:
        raise InputError(f"{folder}: holds no sequence: neither SEQ/gt/gt.txt nor SEQ.txt")
    return found


def _result(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}{ending}" for ending in (".txt", *JSON_LINES)):
        if path.is_file():
            return path
    raise InputError(f"{folder}: no result of {name}: {folder / name}.txt is not there; an empty file means no tracks")
