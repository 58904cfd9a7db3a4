"""The trackers beside roboflow's `trackers` 2.6, on the same detections in the same run.

Needs, in an environment of its own: PyPI: trackers>=2.6,<2.7 (which brings supervision), and the sequences of
../shared/data/tracks. Run from the project's root:

    PYTHONPATH=. python tests/benchmarks/bench_tracking.py [--every 1,3,6,10] [--peers-best] [--time]

Detections: MOT15's det.txt with their scores as they are, MOT17's published boxes (score 1), yolo-lite0's on PETS09.
Both get the seconds of each frame. `ours` has its defaults. `same conf` has the peer's threshold of scores as `conf`.
"With first boxes": with those from before a track was confirmed, as a file of results has them.
Without --peers-best the peer gets scores as they are; with it, of three scales (as they are, / 100, min-max) and of
two frame rates (the video's, and that of the frames it is shown without seconds) the one of the best HOTA.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.metrics.mot import MOT15, MOT17, figures_of
from detkit.tracking import TRACKERS, TrackerSettings, make_tracker
from detkit.tracking.motchallenge import has_classes, read_detections, read_truth
from detkit.tracking.trajectories import Recorder
from detkit.tracks import TrackTable

warnings.filterwarnings("ignore")
DATA = Path(__file__).parents[3] / "shared" / "data" / "tracks"
SEQUENCES = {  # folder, frames a second, frames, detections
    "PETS09": ("MOT15/PETS09-S2L1", 7, 795, "det/det.txt"),
    "TUD-Stadtmitte": ("MOT15/TUD-Stadtmitte", 25, 179, "det/det.txt"),
    "ETH-Sunnyday": ("MOT15/ETH-Sunnyday", 14, 354, "det/det.txt"),
    "MOT17-05": ("MOT17/MOT17-05-FRCNN", 14, 837, "tracker-result.txt"),
    "MOT17-09": ("MOT17/MOT17-09-FRCNN", 30, 525, "tracker-result.txt"),
    "PETS09, yolo": ("MOT15/PETS09-S2L1", 10, 795, "yolo-lite0-det.txt"),
}
FIGURES = ("HOTA", "MOTA", "IDF1", "switches")
PEER_CONF = {"bytetrack": 0.6, "sort": 0.25, "c-biou": 0.6, "oc-sort": 0.6}  # their defaults
Scale = Callable[[NDArray[Any]], NDArray[Any]]
SCALES: list[Scale] = [
    lambda scores: scores,
    lambda scores: np.clip(scores / 100, 0, 1),
    lambda scores: (scores - scores.min()) / max(np.ptp(scores), 1e-9),
]


@dataclass(frozen=True)
class Sequence:
    truth: TrackTable
    frames: list[tuple[NDArray[np.float32], NDArray[np.float64]]]
    rate: int

    def shown(self, every: int) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float64]]]:
        for index in range(0, len(self.frames), every):
            yield index, *self.frames[index]


def sequence(name: str) -> Sequence:
    folder, rate, count, file = SEQUENCES[name]
    truth, found = read_truth(DATA / folder / "gt" / "gt.txt"), read_detections(DATA / folder / file)
    here = [found.frames == frame for frame in range(1, count + 1)]
    return Sequence(truth, [(found.boxes[h].astype(np.float32), found.scores[h]) for h in here], rate)


def figures(data: Sequence, every: int, table: TrackTable) -> list[float]:
    truth = data.truth[(data.truth.frames - 1) % every == 0]
    named = figures_of(truth, table, MOT17 if has_classes(truth) else MOT15).named()
    return [named[name] for name in FIGURES]


def ours(data: Sequence, name: str, every: int, conf: float | None, whole: bool) -> list[float]:
    """`whole`: with the boxes from before confirmation, as a file of results has them."""
    tracker, recorder = make_tracker(name, TrackerSettings(conf=conf)), Recorder()
    online = []
    for index, boxes, scores in data.shown(every):
        tracks = tracker.update(index / data.rate, boxes, scores)
        recorder.add(index + 1, tracks)
        sure = tracks.confirmed
        online.append((np.full(sure.sum(), index + 1), tracks.track_ids[sure], tracks.boxes[sure].astype(np.float64)))
    if whole:
        return figures(data, every, recorder.trajectories().table)
    frames, ids, boxes = (np.concatenate(parts) for parts in zip(*online, strict=True))
    return figures(data, every, TrackTable(frames, ids, boxes, np.ones(len(ids)), np.full(len(ids), -1)))


def peer(name: str, rate: float) -> Any:
    import trackers

    classes = {
        "bytetrack": trackers.ByteTrackTracker,
        "sort": trackers.SORTTracker,
        "c-biou": trackers.CBIoUTracker,
        "oc-sort": trackers.OCSORTTracker,
    }
    return classes[name](frame_rate=rate)


def peers(data: Sequence, name: str, every: int, scale: Scale, seconds: bool) -> list[float]:
    import supervision

    scaled = scale(np.concatenate([scores for _, scores in data.frames]))
    split = np.split(scaled, np.cumsum([len(scores) for _, scores in data.frames])[:-1])
    tracker = peer(name, data.rate if seconds else data.rate / every)
    rows = []
    for index, boxes, _ in data.shown(every):
        given = supervision.Detections(
            boxes, confidence=split[index].astype(np.float32), class_id=np.zeros(len(boxes), int)
        )
        got = tracker.update(given, timestamp=index / data.rate) if seconds else tracker.update(given)
        rows += [(index + 1, i + 1, *box) for box, i in zip(got.xyxy, got.tracker_id, strict=True) if i >= 0]
    table = np.array(rows, float).reshape(-1, 6)
    ones = np.ones(len(table))
    return figures(
        data, every, TrackTable(table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2:], ones, -ones.astype(int))
    )


def shown(values: list[float]) -> str:
    return " ".join(f"{100 * value:5.1f}" for value in values[:3]) + f" {values[3]:4.0f}"


def scene(objects: int, frames: int = 100) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Walkers on a field as dense as a busy street, 5 % of them missed in each frame."""
    rng = np.random.default_rng(0)
    side = 1920 * (max(objects, 40) / 100) ** 0.5
    start, way = rng.uniform(0, side, (objects, 2)), rng.normal(0, 60, (objects, 2))
    half = rng.uniform(0.8, 1.2, (objects, 1)) * np.array([25, 60])
    made = []
    for frame in range(frames):
        place = start + way * frame / 30 + rng.normal(0, 2, (objects, 2))
        seen = rng.random(objects) < 0.95
        boxes = np.concatenate((place - half, place + half), axis=1)[seen]
        made.append((boxes.astype(np.float32), rng.uniform(0.4, 0.95, seen.sum()).astype(np.float32)))
    return made


def milliseconds(step: Callable[[int, NDArray[Any], NDArray[Any]], object], objects: int) -> float:
    made = scene(objects)
    start = time.process_time()
    for frame, (boxes, scores) in enumerate(made):
        step(frame, boxes, scores)
    return 1000 * (time.process_time() - start) / len(made)


def print_times() -> None:
    import supervision

    print("ms of CPU a frame, ours / trackers, best of 3")
    for objects in (20, 200):
        for name in TRACKERS:
            own, other = [], []
            for _ in range(3):
                mine, their = make_tracker(name), peer(name, 30)
                own.append(milliseconds(lambda f, b, s, t=mine: t.update(f / 30, b, s), objects))
                other.append(
                    milliseconds(
                        lambda f, b, s, t=their: t.update(
                            supervision.Detections(b, confidence=s, class_id=np.zeros(len(b), int))
                        ),
                        objects,
                    )
                )
            print(f"{objects:4d} {name:10s} {min(own):6.2f} {min(other):6.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", default="1,3,6,10")
    parser.add_argument("--peers-best", action="store_true")
    parser.add_argument("--time", action="store_true")
    options = parser.parse_args()
    if options.time:
        print_times()
        return
    print("HOTA MOTA IDF1 switches: ours | ours, with first boxes | with them, same conf | trackers")
    for every in map(int, options.every.split(",")):
        for title in SEQUENCES:
            data = sequence(title)
            for name in TRACKERS:
                scales, clocks = (SCALES, (True, False)) if options.peers_best else (SCALES[:1], (True,))
                theirs = max(peers(data, name, every, scale, clock) for scale in scales for clock in clocks)
                mine = ours(data, name, every, None, False), ours(data, name, every, None, True)
                same = ours(data, name, every, PEER_CONF[name], True)
                columns = " | ".join(map(shown, (*mine, same, theirs)))
                print(f"{every:2d} {title:14s} {name:9s} {columns}", flush=True)


if __name__ == "__main__":
    main()
