"""How the objects of annotated videos move, as motion models see it: what was seen of each, where each truly was."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import iou
from detkit.errors import InputError
from detkit.tracking.association import assign
from detkit.tracking.motchallenge import read_detections, read_truth
from detkit.tracking.sequence_files import TRUTH, frame_rate
from detkit.tracks import TrackTable

DETECTIONS = "det/det.txt"
TRUTHS = "truth"  # the annotated boxes themselves, where a file of detections could be named
MATCH = 0.5  # IoU from which a detection is of an annotated object


@dataclass(frozen=True)
class Walks:
    """The N objects of one video of F frames.

    name     of the sequence
    rate     frames a second
    truth    float64 (F, N, 4) xyxy, the annotated boxes; NaN where an object is not in the picture
    seen     float64 (F, N, 4), what a motion model is shown: annotated boxes, or detections of them; NaN where nothing
    """

    name: str
    rate: float
    truth: NDArray[np.float64]
    seen: NDArray[np.float64]

    @property
    def boxes(self) -> int:
        """How many are seen."""
        return int(np.isfinite(self.seen[..., 0]).sum())


def read_walks(data: Sequence[Path], boxes: str | None = None, fps: float | None = None) -> list[Walks]:
    """The sequences of folders of MOTChallenge's layout, or of ground truth files, by name.

    boxes   which a motion model is shown: "truth", or a file of detections in each sequence's folder. None: det/det.txt
            where all have one, else the truth
    fps     frames a second; None asks each `seqinfo.ini`

    InputError where there is no sequence, no rate, or no such file.
    """
    truths = {path.resolve(): None for one in data for path in _truths(one)}
    if boxes is None:
        boxes = DETECTIONS if all((_folder(path) / DETECTIONS).is_file() for path in truths) else TRUTHS
    walks = [_walks(path, boxes, fps) for path in truths]
    names = [one.name for one in walks]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two sequences are called {name}: give each once")
    return sorted(walks, key=lambda one: one.name)


def joined(truth: TrackTable, shown: TrackTable | None, name: str, rate: float) -> Walks:
    """The objects of a ground truth; rows of score 0 do not count. `shown` are detections, with any ids; None: truth.

    In each frame detections are assigned to objects by the largest summed IoU among pairs of at least MATCH.
    """
    table = truth[truth.scores > 0]
    ids, columns = np.unique(table.ids, return_inverse=True)
    frames = int(table.frames.max(initial=0))
    true = np.full((frames, len(ids), 4), np.nan)
    true[table.frames - 1, columns] = table.boxes
    if shown is None:
        return Walks(name, rate, true, true.copy())
    seen = np.full_like(true, np.nan)
    order = np.argsort(shown.frames, kind="stable")
    bounds = np.searchsorted(shown.frames[order], np.arange(1, frames + 2))
    for frame in range(frames):
        found = shown.boxes[order[bounds[frame] : bounds[frame + 1]]]
        here = np.flatnonzero(np.isfinite(true[frame, :, 0]))
        if len(found) and len(here):
            matches = assign(iou(true[frame, here], found), MATCH)
            seen[frame, here[matches.tracks]] = found[matches.detections]
    return Walks(name, rate, true, seen)


def folds(walks: Sequence[Walks], count: int) -> Iterator[tuple[list[Walks], list[Walks]]]:
    """(the others, the fold) for each of `count` folds of whole sequences, dealt by their boxes, the largest first."""
    dealt: list[list[Walks]] = [[] for _ in range(min(count, len(walks)))]
    for one in sorted(walks, key=lambda one: -one.boxes):
        min(dealt, key=lambda part: sum(each.boxes for each in part)).append(one)
    for part in dealt:
        yield [one for one in walks if all(one is not own for own in part)], part


def _truths(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(path.glob(f"**/{TRUTH.as_posix()}"))
        if not found:
            raise InputError(f"{path}: holds no sequence: no SEQ/{TRUTH.as_posix()} below it")
        return found
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    return [path]


def _folder(truth: Path) -> Path:
    return truth.parent.parent if truth.parts[-2:] == TRUTH.parts else truth.parent


def _walks(truth: Path, boxes: str, fps: float | None) -> Walks:
    folder = _folder(truth)
    rate = fps or frame_rate(truth)
    if rate is None:
        raise InputError(f"{truth}: no seqinfo.ini beside it tells the frames a second; --fps N says it")
    name = folder.name if truth.parts[-2:] == TRUTH.parts else truth.stem
    table = read_truth(truth)
    if boxes == TRUTHS:
        return joined(table, None, name, rate)
    path = folder / boxes
    if not path.is_file():
        raise InputError(f"{path}: no such file; --boxes names one in each sequence's folder, or says {TRUTHS}")
    found = read_detections(os.fspath(path))
    count = len(found.frames)
    ids, classes = np.arange(count), np.full(count, -1)
    return joined(table, TrackTable(found.frames, ids, found.boxes, found.scores, classes), name, rate)
