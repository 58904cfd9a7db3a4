"""`detkit.metrics.mot` against TrackEval 1.3.0: the same figures to 1e-9, and how much faster.

Needs, in an environment of its own, PyPI: trackeval==1.3.0, and the sequences of ../shared/data/tracks. From the
project's root:

    PYTHONPATH=. python tests/benchmarks/bench_mot_eval.py

Results: the published ones; noisy variants of the ground truths (moved, whole pixels, numbers changed, copies, false
boxes); those of all our trackers. At last a crowd: seven sequences as long and as full as MOT17's, made by laying parts
of the two that are there over each other. Times are of CPU, reading of the files included.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import trackeval
from numpy.typing import NDArray

from detkit.metrics.mot import MOT15, MOT17, MOT20, TrackFigures, combined, figures_of
from detkit.tracking import TRACKERS, make_tracker
from detkit.tracking.motchallenge import read_detections, read_tracks, read_truth, write_tracks
from detkit.tracking.trajectories import Recorder

DATA = Path(__file__).parents[3] / "shared" / "data" / "tracks"
RULES = {"MOT15": MOT15, "MOT17": MOT17, "MOT20": MOT20}
LENGTHS = {"PETS09-S2L1": 795, "TUD-Stadtmitte": 179, "ETH-Sunnyday": 354, "MOT17-05-FRCNN": 837, "MOT17-09-FRCNN": 525}
RATES = {"PETS09-S2L1": 7, "TUD-Stadtmitte": 25, "ETH-Sunnyday": 14, "MOT17-05-FRCNN": 14, "MOT17-09-FRCNN": 30}
MOT17_LIKE = {"02": (600, 6), "04": (1050, 10), "05": (837, 1), "09": (525, 2), "10": (654, 4), "11": (900, 2)}
MOT17_LIKE["13"] = (750, 3)  # frames, and how many of the sequences that are there lie over each other
Files = dict[str, Path]


def folder(name: str) -> Path:
    return DATA / ("MOT17" if name.startswith("MOT17") else "MOT15") / name


def theirs(benchmark: str, truths: Files, results: Files, lengths: dict[str, int]) -> tuple[dict[str, Any], float]:
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        for name in truths:
            for source, path in ((truths[name], f"gt/{name}/gt/gt.txt"), (results[name], f"r/t/data/{name}.txt")):
                Path(place, path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, Path(place, path))
        start = time.process_time()
        dataset = trackeval.datasets.MotChallenge2DBox(
            {
                "GT_FOLDER": f"{place}/gt",
                "TRACKERS_FOLDER": f"{place}/r",
                "SKIP_SPLIT_FOL": True,
                "BENCHMARK": benchmark,
                "SEQ_INFO": lengths,
            }
        )
        metrics = (trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(), trackeval.metrics.Identity())
        found: dict[str, Any] = {metric.get_name(): {} for metric in metrics}
        for name in truths:
            data = dataset.get_preprocessed_seq_data(dataset.get_raw_seq_data("t", name), "pedestrian")
            for metric in metrics:
                found[metric.get_name()][name] = metric.eval_sequence(data)
        for metric in metrics:
            found[metric.get_name()]["combined"] = metric.combine_sequences(found[metric.get_name()])
    return found, time.process_time() - start


def ours(benchmark: str, truths: Files, results: Files) -> tuple[dict[str, TrackFigures], float]:
    start = time.process_time()
    found = {
        name: figures_of(read_truth(truths[name]), read_tracks(results[name]), RULES[benchmark]) for name in truths
    }
    found["combined"] = combined(list(found.values()))
    return found, time.process_time() - start


def largest_difference(mine: dict[str, TrackFigures], their: dict[str, Any]) -> float:
    worst = 0.0
    for name, figures in mine.items():
        h, c, i = figures.hota, figures.clear, figures.identity
        pairs = {
            "HOTA": {
                "HOTA": h.hota, "DetA": h.det_a, "AssA": h.ass_a, "LocA": h.loc_a, "DetRe": h.det_recall,
                "DetPr": h.det_precision, "AssRe": h.ass_recall, "AssPr": h.ass_precision,
                "HOTA_TP": h.true_positives, "HOTA_FN": h.false_negatives, "HOTA_FP": h.false_positives,
            },
            "CLEAR": {
                "MOTA": c.mota, "MODA": c.moda, "MOTP": c.motp, "sMOTA": c.s_mota, "CLR_Re": c.recall,
                "CLR_Pr": c.precision, "CLR_TP": c.true_positives, "CLR_FN": c.false_negatives,
                "CLR_FP": c.false_positives, "IDSW": c.switches, "Frag": c.fragments, "MT": c.mostly_tracked,
                "PT": c.partly_tracked, "ML": c.mostly_lost,
            },
            "Identity": {
                "IDF1": i.idf1, "IDR": i.recall, "IDP": i.precision, "IDTP": i.true_positives,
                "IDFN": i.false_negatives, "IDFP": i.false_positives,
            },
        }  # fmt: skip
        for family, values in pairs.items():
            for key, value in values.items():
                worst = max(worst, float(np.abs(np.asarray(their[family][name][key], float) - value).max()))
    return worst


def noisy(rows: NDArray[np.float64], rng: np.random.Generator, kind: str) -> NDArray[np.float64]:
    rows = rows.copy()
    rows[:, 6:] = (1, *[-1] * (rows.shape[1] - 7))
    if kind == "the truth itself":
        return rows
    if kind == "moved":
        rows[:, 2:6] += rng.normal(0, 0.08, (len(rows), 4)) * rows[:, [4, 5, 4, 5]]
    if kind == "whole pixels":
        rows[:, 2:6] = np.round(rows[:, 2:6] + rng.integers(-3, 4, (len(rows), 4)))
    rows[:, 4:6] = np.maximum(rows[:, 4:6], 1)
    rows = rows[rng.random(len(rows)) > 0.2]
    if kind == "numbers changed":
        tracks = np.unique(rows[:, 1])
        for frame in rng.choice(np.unique(rows[:, 0]), 20):
            later = rows[:, 0] >= frame
            rows[later, 1] = rng.permutation(tracks)[np.searchsorted(tracks, rows[later, 1])]
    if kind in ("copies", "false boxes"):
        more = rows[rng.random(len(rows)) < 0.4].copy()
        more[:, 1] += 1000
        more[:, 2:4] += rng.normal(0, 40, (len(more), 2)) if kind == "false boxes" else 0
        rows = np.concatenate((rows, more))
    return rows


def tracked(name: str, tracker_name: str, path: Path) -> None:
    file = folder(name) / ("tracker-result.txt" if name.startswith("MOT17") else "det/det.txt")
    found, tracker, recorder = read_detections(file), make_tracker(tracker_name), Recorder()
    for frame in range(1, LENGTHS[name] + 1):
        here = found.frames == frame
        recorder.add(frame, tracker.update((frame - 1) / RATES[name], found.boxes[here], found.scores[here]))
    write_tracks(path, recorder.trajectories().table)


def crowd(place: Path) -> tuple[Files, Files, dict[str, int]]:
    """Seven sequences as long and about as full as MOT17's."""
    truths: Files = {}
    results: Files = {}
    lengths = {}
    rng = np.random.default_rng(17)
    for name, (frames, layers) in MOT17_LIKE.items():
        lengths[name] = frames
        for files, source in ((truths, "gt/gt.txt"), (results, "tracker-result.txt")):
            parts = []
            shifts = np.random.default_rng(int(name)).uniform(-400, 400, (layers, 2))
            for layer in range(layers):
                rows = np.loadtxt(folder(("MOT17-05-FRCNN", "MOT17-09-FRCNN")[layer % 2]) / source, delimiter=",")
                last = int(rows[:, 0].max())
                again = [rows + np.array([k * last, k * 500] + [0] * (rows.shape[1] - 2)) for k in range(3)]
                rows = np.concatenate(again)
                rows = rows[rows[:, 0] <= frames]
                rows[:, 1] += 10000 * layer
                rows[:, 2:4] += shifts[layer]
                parts.append(rows)
            files[name] = place / f"{name}-{'truth' if files is truths else 'result'}.txt"
            rows = np.concatenate(parts)
            if files is results:
                rows[:, 2:6] += rng.normal(0, 0.5, (len(rows), 4))
            np.savetxt(files[name], rows, fmt="%.10g", delimiter=",")
    return truths, results, lengths


def show(title: str, benchmark: str, truths: Files, results: Files, lengths: dict[str, int]) -> None:
    their, slow = theirs(benchmark, truths, results, lengths)
    mine, fast = min((ours(benchmark, truths, results) for _ in range(3)), key=lambda found: found[1])
    difference = largest_difference(mine, their)
    print(f"{title:28s} {benchmark} {difference:8.1e}  {slow:6.2f} s {fast:6.3f} s {slow / fast:5.1f} x", flush=True)


def main() -> None:
    print("results                      rules    difference  trackeval  ours")
    rng = np.random.default_rng(0)
    groups = [(b, [n for n in LENGTHS if n.startswith("MOT17") == (b != "MOT15")]) for b in RULES]
    with tempfile.TemporaryDirectory() as folder_name:
        place = Path(folder_name)
        for benchmark, names in groups:
            truths = {name: folder(name) / "gt" / "gt.txt" for name in names}
            lengths = {name: LENGTHS[name] for name in names}
            for kind in ("the truth itself", "moved", "whole pixels", "numbers changed", "copies", "false boxes"):
                results = {name: place / f"{name}.txt" for name in names}
                for name in names:
                    rows = noisy(np.loadtxt(truths[name], delimiter=","), rng, kind)
                    np.savetxt(results[name], rows, fmt="%.10g", delimiter=",")
                show(kind, benchmark, truths, results, lengths)
            for tracker in TRACKERS:
                results = {name: place / f"{name}-{tracker}.txt" for name in names}
                for name in names:
                    tracked(name, tracker, results[name])
                show(tracker, benchmark, truths, results, lengths)
            if benchmark != "MOT15":
                show("published", benchmark, truths, {n: folder(n) / "tracker-result.txt" for n in names}, lengths)
        show("seven sequences, crowded", "MOT17", *crowd(place))


if __name__ == "__main__":
    main()
