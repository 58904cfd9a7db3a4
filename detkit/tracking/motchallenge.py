"""MOTChallenge's text files: ground truth, detections and results of one video; and MOTS's, with masks.

A row of a box is `frame, id, x, y, width, height, score, ...`, separated by commas, frames counted from 1. In a
ground truth of MOT16, 17 and 20 class and visibility follow; elsewhere three world coordinates, -1 where unknown. A
file of detections has -1 for every id.

Reading is strict: a row that cannot be understood is an InputError that names file and line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from detkit.annotations.number_text import number_text
from detkit.errors import InputError
from detkit.files import read_file, write_bytes
from detkit.tracks import NO_CLASS, TrackTable, first_repeated

FRAME, ID, LEFT, TOP, WIDTH, HEIGHT, SCORE, CLASS, VISIBILITY = range(9)
CLASS_NAMES = {
    1: "pedestrian",
    2: "person on vehicle",
    3: "car",
    4: "bicycle",
    5: "motorbike",
    6: "non-motorised vehicle",
    7: "static person",
    8: "distractor",
    9: "occluder",
    10: "occluder on the ground",
    11: "occluder full",
    12: "reflection",
    13: "crowd",
}

_MOST = 2**53  # of frames and ids: as far as doubles count

Path = str | os.PathLike[str]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MotMask:
    """One row of a MOTS file: `size` is (height, width), `counts` COCO's compressed run lengths."""

    frame: int
    id: int
    class_id: int
    size: tuple[int, int]
    counts: str


@dataclass(frozen=True)
class FrameBoxes:
    """Detections of a video without tracks, N rows in the order of the file.

    frames int64 (N,), from 1; boxes float64 (N, 4) xyxy in pixels; scores float64 (N,), on the detector's own scale
    """

    frames: NDArray[np.int64]
    boxes: Floats
    scores: Floats


def read_truth(path: Path) -> TrackTable:
    """A ground truth. Classes are NO_CLASS in the format of MOT15, which has none."""
    rows = _read_rows(path, SCORE + 1)
    has_classes = _has_classes(rows)
    return _table(path, rows, rows[:, CLASS] if has_classes else np.full(len(rows), NO_CLASS))


def read_tracks(path: Path) -> TrackTable:
    """The result of a tracker. An empty file is a result without tracks."""
    rows = _read_rows(path, SCORE)
    if rows.shape[1] == SCORE:
        rows = np.concatenate((rows, np.ones((len(rows), 1))), axis=1)
    return _table(path, rows, np.full(len(rows), NO_CLASS))


def read_detections(path: Path) -> FrameBoxes:
    """A file of detections; ids, which are -1 there, are not looked at."""
    rows = _read_rows(path, SCORE + 1)
    return FrameBoxes(rows[:, FRAME].astype(np.int64), _boxes(rows), rows[:, SCORE])


def has_classes(truth: TrackTable) -> bool:
    """Whether a ground truth has classes (MOT16, 17, 20) or not (MOT15)."""
    return bool((truth.class_ids != NO_CLASS).any())


def tracks_text(table: TrackTable) -> bytes:
    """A result as MOTChallenge takes it: rows by frame and track, pixels with three decimals, -1 for the world."""
    table = table.in_order()
    sides = np.concatenate((table.boxes[:, :2], table.boxes[:, 2:] - table.boxes[:, :2]), axis=1)
    lines = [
        f"{frame},{track},{','.join(number_text(round(side, 3)) for side in box)},{number_text(score, 6)},-1,-1,-1\n"
        for frame, track, box, score in zip(
            table.frames.tolist(), table.ids.tolist(), sides.tolist(), table.scores.tolist(), strict=True
        )
    ]
    return "".join(lines).encode()


def write_tracks(path: Path, table: TrackTable) -> None:
    """`tracks_text` as a file. OutputError where it cannot be written."""
    write_bytes(path, tracks_text(table))


def read_masks(path: Path) -> list[MotMask]:
    """A MOTS file: rows of `frame id class height width counts`, separated by spaces."""
    masks = []
    for number, line in _lines(read_file(path).decode("utf-8", "replace")):
        parts = line.split()
        if len(parts) != 6:
            raise _error(path, number, f"{len(parts)} values, expected frame, id, class, height, width and a mask")
        try:
            frame, track, class_id, height, width = map(int, parts[:5])
        except ValueError:
            raise _error(path, number, "frame, id, class, height and width must be whole numbers") from None
        if frame < 1 or track < 0 or height < 1 or width < 1:
            raise _error(path, number, "frames count from 1, ids from 0, and a mask has at least one pixel")
        masks.append(MotMask(frame, track, class_id, (height, width), parts[5]))
    return masks


def _table(path: Path, rows: Floats, class_ids: Floats) -> TrackTable:
    frames, ids = rows[:, FRAME].astype(np.int64), rows[:, ID].astype(np.int64)
    bad = np.flatnonzero((ids < 0) | (ids != rows[:, ID]))
    if len(bad):
        raise _error(path, _line_of_row(path, bad[0]), f"track {rows[bad[0], ID]:g}: ids are whole numbers from 1")
    twice = first_repeated(frames, ids)
    if twice is not None:
        row = twice[1]
        raise _error(path, _line_of_row(path, row), f"frame {frames[row]} holds track {ids[row]} for the second time")
    return TrackTable(frames, ids, _boxes(rows), rows[:, SCORE], class_ids.astype(np.int64))


def _boxes(rows: Floats) -> Floats:
    corner = rows[:, LEFT : TOP + 1]
    return np.concatenate((corner, corner + rows[:, WIDTH : HEIGHT + 1]), axis=1)


def _has_classes(rows: Floats) -> bool:
    """Whether column 8 holds classes of MOTChallenge and column 9 a visibility, and not world coordinates."""
    if rows.shape[1] <= VISIBILITY or not len(rows):
        return False
    class_id, visibility = rows[:, CLASS], rows[:, VISIBILITY]
    known = np.isin(class_id, list(CLASS_NAMES))
    return bool(known.all() and (visibility >= 0).all() and (visibility <= 1).all())


def _read_rows(path: Path, least: int) -> Floats:
    """(N, K) of a text file with rows of K >= `least` numbers."""
    content = read_file(path)
    rows = _rows_in_bulk(content, least)
    if rows is None:
        rows = _rows_one_by_one(path, content, least)
    if not len(rows):
        return np.zeros((0, max(least, SCORE + 1)))
    with np.errstate(invalid="ignore"):
        bad = ~np.isfinite(rows[:, :least]).all(axis=1) | (rows[:, FRAME] < 1) | (rows[:, FRAME] % 1 != 0)
    bad |= (np.abs(rows[:, [FRAME, ID]]) > _MOST).any(axis=1)
    bad |= (rows[:, WIDTH : HEIGHT + 1] < 0).any(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise _error(path, _line_of_row(path, row), _complaint(rows[row]))
    return rows


def _complaint(row: Floats) -> str:
    if row[FRAME] < 1 or row[FRAME] > _MOST or row[FRAME] % 1:
        return f"frame {row[FRAME]:g}: frames are whole numbers from 1"
    if row[WIDTH] < 0 or row[HEIGHT] < 0:
        return f"a box of {row[WIDTH]:g} x {row[HEIGHT]:g} pixels"
    if np.isfinite(row[ID]) and abs(row[ID]) > _MOST:
        return f"track {row[ID]:g}: ids are whole numbers from 1"
    return "a number that is not finite"


def _rows_in_bulk(content: bytes, least: int) -> Floats | None:
    """All rows at once, or None where they are not rows of equal length of numbers, as JSON too would write them."""
    text = content.strip().replace(b"\r\n", b"\n")
    if not text:
        return np.zeros((0, least))
    if text.translate(None, b"0123456789+-.eE, \n"):
        return None
    byte = np.frombuffer(text, np.uint8)
    ends = np.append(np.flatnonzero(byte == ord("\n")), len(text))
    commas = np.diff(np.searchsorted(np.flatnonzero(byte == ord(",")), ends), prepend=0)
    if (commas != commas[0]).any() or commas[0] + 1 < least:
        return None
    try:
        numbers = orjson.loads(b"[" + text.replace(b"\n", b",") + b"]")
    except ValueError:
        return None
    return np.array(numbers, np.float64).reshape(len(ends), -1)


def _rows_one_by_one(path: Path, content: bytes, least: int) -> Floats:
    rows: list[list[float]] = []
    for number, line in _lines(content.decode("utf-8", "replace")):
        parts = re.split(r"\s*,\s*|\s+", line.strip().rstrip(","))
        try:
            rows.append([float(part) for part in parts])
        except ValueError:
            raise _error(path, number, f"not a row of numbers: {line.strip()[:60]!r}") from None
        if len(parts) < least:
            raise _error(path, number, f"{len(parts)} numbers, expected at least {least}: frame, id, x, y, w, h, ...")
        if len(parts) != len(rows[0]):
            raise _error(path, number, f"{len(parts)} numbers, but {len(rows[0])} in the rows before")
    return np.array(rows, dtype=np.float64)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of the lines that are not blank."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line


def _line_of_row(path: Path, row: int | np.integer) -> int:
    """The number of the line that holds row `row` (from 0)."""
    numbers = [number for number, _ in _lines(read_file(path).decode("utf-8", "replace"))]
    return numbers[int(row)]


def _error(path: Path, line: int, problem: str) -> InputError:
    return InputError(f"{os.fspath(path)}, line {line}: {problem}")
