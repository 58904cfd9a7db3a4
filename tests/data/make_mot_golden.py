"""Make mot_golden.npz: made scenes and what TrackEval says of them. Needs PyPI: trackeval 1.3.0, numpy.

The scenes hold nothing of MOTChallenge's data: walkers, distractors, rows of score 0, and results with noise, switches,
missed and false boxes, exact copies, whole pixels, and nothing at all. Run it from the project's root.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import trackeval

FRAMES = 60
HOTA = ("HOTA", "DetA", "AssA", "LocA", "DetRe", "DetPr", "AssRe", "AssPr", "HOTA_TP", "HOTA_FN", "HOTA_FP")
CLEAR = ("MOTA", "MODA", "MOTP", "sMOTA", "CLR_Re", "CLR_Pr", "CLR_TP", "CLR_FN", "CLR_FP", "IDSW", "Frag")
CLEAR += ("MT", "PT", "ML")
IDENTITY = ("IDF1", "IDR", "IDP", "IDTP", "IDFN", "IDFP")


def scene(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a ground truth (N, 9) and of a result (M, 9)."""
    tracks = 12
    start, way = rng.uniform(0, 300, (tracks, 2)), rng.uniform(-4, 4, (tracks, 2))
    size = np.stack((rng.uniform(20, 40, tracks), rng.uniform(50, 90, tracks)), axis=1)
    class_ids = np.where(np.arange(tracks) < 8, 1, rng.choice([2, 3, 7, 8, 12], tracks))
    truth = []
    for frame in range(1, FRAMES + 1):
        for track in range(tracks):
            if track % 3 and not (10 * (track % 4) < frame < 60 - track):
                continue
            corner = start[track] + way[track] * frame
            score = float(rng.random() > 0.05)
            truth.append((frame, track + 1, *corner, *size[track], score, class_ids[track], 1))
    rows = np.array(truth)
    rows[:, 2:6] = np.round(rows[:, 2:6], 0 if kind == "pixels" else 2)
    result = rows[rng.random(len(rows)) > 0.15].copy()
    noise = 0 if kind == "copies" else 0.08
    result[:, 2:6] += rng.normal(0, noise, (len(result), 4)) * result[:, [4, 5, 4, 5]]
    for frame in rng.integers(5, FRAMES, 6):  # two tracks change numbers
        a, b = rng.choice(tracks, 2, replace=False) + 1
        later = result[:, 0] >= frame
        result[later, 1] = np.where(result[later, 1] == a, b, np.where(result[later, 1] == b, a, result[later, 1]))
    false = result[rng.random(len(result)) < 0.3].copy()
    false[:, 1] += 50
    if kind != "copies":
        false[:, 2:4] += rng.normal(0, 25, (len(false), 2))
    result = np.concatenate((result, false))
    result[:, 2:6] = np.round(result[:, 2:6], 0 if kind == "pixels" else 2)
    result[:, 6:] = (1, -1, -1)
    if kind == "one side":
        result = result[:1]
        result[:, 2:4] += 5000
    return rows, result


def main() -> None:
    rng = np.random.default_rng(15)
    arrays: dict[str, np.ndarray] = {}
    kinds = ("noise", "pixels", "copies", "one side")
    for benchmark in ("MOT15", "MOT17", "MOT20"):
        with tempfile.TemporaryDirectory() as folder:
            for kind in kinds:
                truth, result = scene(rng, kind)
                arrays[f"{benchmark}/{kind}/truth"], arrays[f"{benchmark}/{kind}/result"] = truth, result
                for path, rows in ((f"gt/{kind}/gt/gt.txt", truth), (f"results/t/data/{kind}.txt", result)):
                    target = Path(folder, path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    np.savetxt(target, rows, fmt="%.10g", delimiter=",")
            dataset = trackeval.datasets.MotChallenge2DBox(
                {
                    "GT_FOLDER": f"{folder}/gt",
                    "TRACKERS_FOLDER": f"{folder}/results",
                    "SKIP_SPLIT_FOL": True,
                    "BENCHMARK": benchmark,
                    "SEQ_INFO": dict.fromkeys(kinds, FRAMES),
                }
            )
            metrics = (trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(), trackeval.metrics.Identity())
            figures: list[dict[str, dict[str, object]]] = [{}, {}, {}]
            for kind in kinds:
                data = dataset.get_preprocessed_seq_data(dataset.get_raw_seq_data("t", kind), "pedestrian")
                for metric, found in zip(metrics, figures, strict=True):
                    found[kind] = metric.eval_sequence(data)
            for metric, found, names in zip(metrics, figures, (HOTA, CLEAR, IDENTITY), strict=True):
                found["combined"] = metric.combine_sequences(found)
                for kind, values in found.items():
                    arrays[f"{benchmark}/{kind}/{metric.get_name()}"] = np.array([values[name] for name in names])
    np.savez_compressed(Path(__file__).with_name("mot_golden.npz"), **arrays)


if __name__ == "__main__":
    main()
