"""AP and time of detection networks side by side: the table of models/README.md.

    python tests/benchmarks/bench_networks.py NAME=FILE [NAME=FILE ...] [--only ap,time] [--rounds N] [--reference NAME]

AP is measured with `--conf 0.01 --multi-label`, 100 boxes a picture, on coco128 and on the pictures that
`detkit.training.yolo.bundled` holds out of COCO's. Times are of the network alone and of whole commands, with one and
with two threads, each a process of its own, in turns; ratios are to the reference, the first network where none is
named, as medians over the rounds. Processor time is what counts with one thread, so that other work on the machine
disturbs little; with two threads it is the clock. Needs ../shared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))
DATA = ROOT.parent / "shared" / "data"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
COLUMNS = ("image_index", "class_index", "boxes", "areas", "crowd", "difficult", "ignore", "truncated", "occluded")
FIGURES = ("AP", "AP50", "person", "APs", "APm", "APl")

# Milliseconds of the best of many runs: of the processor with one thread, of the clock with more.
NETWORK_TIME = """
import sys, time, numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
options.intra_op_num_threads = threads = int(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
entry = session.get_inputs()[0]
image = np.random.default_rng(0).random([d if isinstance(d, int) else 1 for d in entry.shape], dtype=np.float32)
clock = time.process_time if threads == 1 else time.perf_counter
times = []
for _ in range(40):
    begin = clock()
    session.run(None, {entry.name: image})
    times.append(clock() - begin)
print(1e3 * min(times[3:]))
"""


def figures(model: Path, annotations: Path, images: Path, only: set[int] | None) -> dict[str, float]:
    """AP, AP50 and the rest of one network on the pictures of a set, or on those of it with the ids `only`."""
    from detkit import Yolo
    from detkit.annotations import Predictions, read_ground_truth
    from detkit.boxes import xyxy_to_xywh
    from detkit.metrics.coco import evaluate_coco
    from detkit.training.pictures import annotated_pictures

    truth = read_ground_truth(annotations, images=images)
    pictures = annotated_pictures(truth, images)
    if only is not None:
        pictures = [picture for picture in pictures if int(truth.images.ids[picture.row]) in only]
    yolo = Yolo(model, conf=0.01, max_det=100, multi_label=True, threads=1)
    found = [yolo(picture.path) for picture in pictures]
    rows = np.array([picture.row for picture in pictures])
    number = [truth.categories.names.index(name) for name in yolo.names]
    predictions = Predictions(
        np.repeat(rows, [len(one) for one in found]),
        np.array(number)[np.concatenate([one.class_ids for one in found])],
        xyxy_to_xywh(np.concatenate([one.boxes for one in found])).astype(np.float64),
        np.concatenate([one.scores for one in found]).astype(np.float64),
    )
    kept = np.isin(truth.image_index, rows)
    part = replace(
        truth,
        ids=tuple(entry for entry, keep in zip(truth.ids, kept.tolist(), strict=True) if keep),
        **{name: getattr(truth, name)[kept] for name in COLUMNS},
    )
    result = evaluate_coco(part, predictions)
    person = result.precision[0, :, truth.categories.names.index("person"), 0].mean()
    return {**result.figures, "person": float(person)}


def bench_ap(models: dict[str, Path]) -> None:
    from detkit.training.yolo.bundled import FILES, held_out

    sets = {"coco128": (DATA / "coco128" / "instances.json", DATA / "coco128" / "images", None)}
    for name, (file, images) in FILES.items():
        sets[f"{name}, held out"] = (DATA / name / file, DATA / name / images, held_out(DATA, name))
    print("| network | pictures | " + " | ".join(FIGURES) + " |\n|---|---|" + "---|" * len(FIGURES))
    for where, entry in sets.items():
        for name, path in models.items():
            got = figures(path, *entry)
            print(f"| {name} | {where} | " + " | ".join(f"{got[figure]:.4f}" for figure in FIGURES) + " |", flush=True)


def network_time(model: Path, threads: int) -> float:
    command = [sys.executable, "-c", NETWORK_TIME, str(model), str(threads)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def command_time(model: Path, threads: int) -> float:
    """Milliseconds a picture of `detkit yolo` over coco128, start and results included."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "detkit", "yolo", str(DATA / "coco128" / "images"), "-m", str(model), "-q",
             "--threads", str(threads), "-o", f"{folder}/found.jsonl"],
            env=ENVIRONMENT,
        )  # fmt: skip
        begin = time.perf_counter()
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"detkit yolo failed with {model}")
        seconds = usage.ru_utime + usage.ru_stime if threads == 1 else time.perf_counter() - begin
    return 1e3 * seconds / 128


def bench_time(models: dict[str, Path], reference: str, rounds: int) -> None:
    print("| network | threads | network alone, ms | ratio | whole command, ms a picture | ratio |")
    print("|---|---|---|---|---|---|")
    for threads in (1, 2):
        alone: dict[str, list[float]] = {name: [] for name in models}
        whole: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(rounds):
            for name, path in models.items():
                alone[name].append(network_time(path, threads))
                whole[name].append(command_time(path, threads))
        for name in models:
            cells = []
            for times in (alone, whole):
                ratios = [a / b for a, b in zip(times[name], times[reference], strict=True)]
                cells.append(f"{statistics.median(times[name]):.1f} | {statistics.median(ratios):.2f}")
            print(f"| {name} | {threads} | {' | '.join(cells)} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--only", default="ap,time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reference")
    options = parser.parse_args(arguments)
    if not DATA.is_dir():
        raise SystemExit(f"needs {DATA}")
    models = {name: Path(path) for name, path in (entry.split("=", 1) for entry in options.models)}
    if "time" in options.only.split(","):
        bench_time(models, options.reference or next(iter(models)), options.rounds)
    if "ap" in options.only.split(","):
        bench_ap(models)


if __name__ == "__main__":
    main()
