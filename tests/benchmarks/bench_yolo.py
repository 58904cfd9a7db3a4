"""`detkit yolo` against a bare loop, its memory over long folders, suppression against its peers, and start-up.

    python tests/benchmarks/bench_yolo.py [--rounds N] [--only folder,memory,nms,start] [--peer-python PYTHON]

Everything runs side by side in alternating rounds, and ratios are printed: this machine's noise is in both sides.
Needs ../shared. Torchvision is timed in this interpreter, or in the one named by --peer-python.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))
SHARED = ROOT.parent / "shared"
MODEL = SHARED / "models" / "yolox_nano.onnx"
PICTURES = SHARED / "data" / "coco128" / "images"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

# The whole of the bare loop: read, letterbox, run, nothing else. A process of its own, as `detkit yolo` is.
BARE_LOOP = """
import sys, time, cv2, numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
options.intra_op_num_threads = int(sys.argv[3])
options.add_session_config_entry("session.intra_op.allow_spinning", sys.argv[4])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
paths = sorted(__import__("pathlib").Path(sys.argv[2]).rglob("*.jpg"))
begin = time.perf_counter()
for path in paths:
    image = cv2.imread(str(path))
    ratio = min(416 / image.shape[0], 416 / image.shape[1])
    width, height = int(image.shape[1] * ratio), int(image.shape[0] * ratio)
    canvas = np.full((416, 416, 3), 114, np.uint8)
    canvas[:height, :width] = cv2.resize(image, (width, height))
    tensor = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], dtype=np.float32)
    session.run(None, {"images": tensor})
print(len(paths) / (time.perf_counter() - begin))
"""

DETKIT_LOOP = """
import sys, time
from pathlib import Path
from detkit import Yolo
from detkit.runs.batch import detect_all
from detkit.runs.results import Journal, to_record, write_jsonl
from detkit.runs.sources import find_items
import cv2
cv2.setNumThreads(1)
yolo = Yolo(sys.argv[1], threads=int(sys.argv[3]))
items = find_items([sys.argv[2]], lambda *_: None)
begin = time.perf_counter()
journal = Journal(Path(sys.argv[4]), {}, False)
for result in detect_all(yolo, items):
    journal.add(to_record(result), result.last)
with open(sys.argv[4] + ".out", "wb") as file:
    write_jsonl(file, journal.records(items))
print(len(items) / (time.perf_counter() - begin))
"""


def run(code: str, *arguments: object, python: str = sys.executable) -> str:
    done = subprocess.run([python, "-c", code, *map(str, arguments)], capture_output=True, text=True, env=ENVIRONMENT)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def summary(ours: list[float], theirs: list[float]) -> str:
    """The median of the ratios of neighbouring runs, and their spread."""
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return f"ratio {statistics.median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})"


def bench_folder(rounds: int) -> None:
    """Pictures a second of the whole pipeline, results written, over the bare loop."""
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        ours, bare, patient = [], [], []
        for _ in range(rounds):
            ours.append(float(run(DETKIT_LOOP, MODEL, PICTURES, threads, Path(folder) / "r.jsonl")))
            bare.append(float(run(BARE_LOOP, MODEL, PICTURES, threads, "1")))
            patient.append(float(run(BARE_LOOP, MODEL, PICTURES, threads, "0")))
    print(f"folder: detkit {statistics.median(ours):.1f}/s on {threads} threads, {rounds} rounds")
    print(f"  bare loop {statistics.median(bare):.1f}/s: {summary(ours, bare)}")
    print(f"  bare loop whose threads do not spin {statistics.median(patient):.1f}/s: {summary(ours, patient)}")


def bench_memory() -> None:
    """Peak memory of `detkit yolo` over 200 and over 2,000 pictures (links to those of coco128)."""
    pictures = sorted(PICTURES.glob("*.jpg"))
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in (200, 2000):
            for number in range(count):
                target = Path(folder) / str(count) / f"{number:05d}.jpg"
                target.parent.mkdir(exist_ok=True)
                target.symlink_to(pictures[number % len(pictures)])
            command = [sys.executable, "-m", "detkit", "yolo", str(Path(folder) / str(count)), "-m", str(MODEL), "-q"]
            process = subprocess.Popen([*command, "-o", str(Path(folder) / f"{count}.jsonl")], env=ENVIRONMENT)
            _, _, usage = os.wait4(process.pid, 0)
            peaks[count] = usage.ru_maxrss / 1024
    print(f"memory: {peaks[200]:.0f} MiB over 200 pictures, {peaks[2000]:.0f} MiB over 2,000, "
          f"ratio {peaks[2000] / peaks[200]:.2f}")  # fmt: skip


def crowd(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes as a detector gives them before suppression: eight around each object, of all sizes."""
    rng = np.random.default_rng(seed)
    objects = count // 8
    centres, sides = rng.uniform(0, 640, (objects, 2)), np.exp(rng.uniform(np.log(8), np.log(250), (objects, 2)))
    chosen = rng.integers(0, objects, count)
    centres = centres[chosen] + rng.normal(0, 0.15, (count, 2)) * sides[chosen]
    sides = sides[chosen] * np.exp(rng.normal(0, 0.2, (count, 2)))
    return np.hstack((centres - sides / 2, centres + sides / 2)).astype(np.float32), rng.random(count, np.float32)


TORCHVISION = """
import sys, time, json, numpy as np, torch, torchvision
torch.set_num_threads(1)
boxes, scores = torch.from_numpy(np.load(sys.argv[1])), torch.from_numpy(np.load(sys.argv[2]))
times = []
for _ in range(int(sys.argv[3])):
    begin = time.perf_counter()
    kept = torchvision.ops.nms(boxes, scores, 0.5)
    times.append(time.perf_counter() - begin)
print(json.dumps([min(times), kept.tolist()]))
"""


def best_time(call, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def bench_nms(rounds: int, python: str) -> None:
    """Greedy suppression at IoU 0.5, best of several rounds; the kept indices are compared."""
    from detkit.nms import greedy_nms

    for count in (1000, 5000, 20000):
        boxes, scores = crowd(count, count)
        xywh = np.hstack((boxes[:, :2], boxes[:, 2:] - boxes[:, :2])).astype(np.float64)
        kept = greedy_nms(boxes, scores, 0.5)
        ours = theirs = float("inf")
        for _ in range(rounds):  # in turns, so that a busy moment meets both
            ours = min(ours, best_time(partial(greedy_nms, boxes, scores, 0.5), 3))
            theirs = min(theirs, best_time(partial(cv2.dnn.NMSBoxes, xywh, scores, 0.0, 0.5), 1))
        same = np.array_equal(kept, cv2.dnn.NMSBoxes(xywh, scores, 0.0, 0.5))
        line = f"nms {count:6d} boxes, {len(kept)} kept: {1e3 * ours:.2f} ms; OpenCV {theirs / ours:.1f} x, same {same}"
        with tempfile.TemporaryDirectory() as folder:
            np.save(f"{folder}/b.npy", boxes)
            np.save(f"{folder}/s.npy", scores)
            try:
                other, indices = json.loads(
                    run(TORCHVISION, f"{folder}/b.npy", f"{folder}/s.npy", rounds, python=python)
                )
                line += f"; torchvision {other / ours:.1f} x, same {indices == kept.tolist()}"
            except SystemExit:
                line += "; torchvision is not there"
        print(line)


def cpu_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def bench_start(rounds: int) -> None:
    """CPU seconds of whole processes."""
    detkit = [sys.executable, "-m", "detkit"]
    picture = str(sorted(PICTURES.glob("*.jpg"))[0])
    imports = [sys.executable, "-c", "import cv2, numpy, onnxruntime"]
    for label, command in (
        ("detkit --help", [*detkit, "--help"]),
        ("detkit yolo one.jpg", [*detkit, "yolo", picture, "-m", str(MODEL)]),
        ("import cv2, numpy, onnxruntime (for comparison)", imports),
    ):
        times = [cpu_seconds(command) for _ in range(rounds)]
        print(f"start: {label}: {min(times):.2f} s of CPU at best, {statistics.median(times):.2f} s in the median")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="folder,memory,nms,start")
    parser.add_argument("--peer-python", default=sys.executable)
    options = parser.parse_args()
    if not SHARED.is_dir():
        raise SystemExit(f"needs {SHARED}")
    print(f"onnxruntime {onnxruntime.__version__}, OpenCV {cv2.__version__}, numpy {np.__version__}")
    wanted = options.only.split(",")
    if "folder" in wanted:
        bench_folder(options.rounds)
    if "memory" in wanted:
        bench_memory()
    if "nms" in wanted:
        bench_nms(options.rounds, options.peer_python)
    if "start" in wanted:
        bench_start(options.rounds)


if __name__ == "__main__":
    main()
