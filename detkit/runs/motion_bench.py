"""How well motion models say where objects will be: the mean overlap with the annotated box some frames later."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats
from detkit.runs.motion_network import MotionNetwork
from detkit.tracking.kalman import KalmanMotion
from detkit.tracking.motion import HistoryMotion, Motion, last_box, last_velocity, least_squares
from detkit.tracking.walks import Walks, folds

if TYPE_CHECKING:
    from detkit.training.motion.motion_training import MotionRecipe

AHEAD = (1, 5, 15)  # frames
PAST = 12  # boxes of an object that have to be seen before it counts
PREDICTORS: dict[str, Callable[[], Motion]] = {
    "last box": lambda: HistoryMotion(last_box, 1),
    "last velocity": lambda: HistoryMotion(last_velocity, 2),
    "Kalman filter": KalmanMotion,
    f"least squares, {PAST} boxes": lambda: HistoryMotion(least_squares, PAST),
}


@dataclass
class Overlaps:
    """Sums of overlaps and their numbers, by frames ahead."""

    total: dict[int, float] = field(default_factory=lambda: dict.fromkeys(AHEAD, 0.0))
    count: dict[int, int] = field(default_factory=lambda: dict.fromkeys(AHEAD, 0))

    def add(self, ahead: int, overlaps: Floats) -> None:
        self.total[ahead] += float(overlaps.sum())
        self.count[ahead] += len(overlaps)

    def means(self) -> dict[int, float]:
        """By frames ahead; NaN where nothing could be compared."""
        return {ahead: self.total[ahead] / self.count[ahead] if self.count[ahead] else np.nan for ahead in AHEAD}


def follow(motion: Motion, walks: Walks, found: Overlaps) -> None:
    """Show a motion model what is seen of one video, frame after frame, and add what it expects to `found`.

    An object counts in each frame in which it is seen, from its PAST-th box on, where it is annotated so many frames
    later. Nothing is associated here: each object keeps its track.
    """
    frames, objects = walks.seen.shape[:2]
    row = np.full(objects, -1)
    hits = np.zeros(objects, np.int64)
    for frame in range(frames):
        time = frame / walks.rate
        here = np.flatnonzero(np.isfinite(walks.seen[frame, :, 0]))
        if not len(here):
            continue
        old, new = here[row[here] >= 0], here[row[here] < 0]
        motion.update(row[old], walks.seen[frame, old], time)
        motion.add(walks.seen[frame, new], time)
        row[new] = row.max() + 1 + np.arange(len(new))
        hits[here] += 1
        counts = here[hits[here] >= PAST]
        for ahead in AHEAD:
            if frame + ahead >= frames or not len(counts):
                continue
            true = walks.truth[frame + ahead, counts]
            known = np.isfinite(true[:, 0])
            if known.any():
                expected = motion.predict(time + ahead / walks.rate)[row[counts[known]]]
                found.add(ahead, _overlaps(expected, true[known]))


def fixed_rows(walks: Sequence[Walks], more: Mapping[str, Callable[[], Motion]]) -> dict[str, Overlaps]:
    """What PREDICTORS and `more` reach over all sequences; none of them learns from these."""
    rows: dict[str, Overlaps] = {}
    for name, make in {**PREDICTORS, **more}.items():
        rows[name] = Overlaps()
        for one in walks:
            follow(make(), one, rows[name])
    return rows


def learned_row(
    walks: Sequence[Walks], recipe: MotionRecipe, parts: int, trained: Callable[[], object] = lambda: None
) -> Overlaps:
    """What a network reaches on each part of the sequences after it was trained on the others.

    parts   folds by whole sequences; trained   called after each training
    """
    from detkit.training.motion.motion_training import train_motion

    row = Overlaps()
    with TemporaryDirectory(prefix="detkit-") as folder:
        for number, (learn, measure) in enumerate(folds(walks, parts)):
            network = MotionNetwork(train_motion(learn, Path(folder, str(number), "motion.onnx"), recipe))
            for one in measure:
                follow(network.motion(), one, row)
            trained()
    return row


def _overlaps(a: Floats, b: Floats) -> NDArray[np.float64]:
    """The IoU (N,) of each box of `a` with that of `b` in the same row."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    common = np.maximum(sides, 0).prod(axis=1)
    union = (a[:, 2:] - a[:, :2]).prod(axis=1) + (b[:, 2:] - b[:, :2]).prod(axis=1) - common
    return np.asarray(common / np.maximum(union, np.finfo(np.float64).tiny))
