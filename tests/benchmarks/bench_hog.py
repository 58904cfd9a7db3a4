"""HOG against opencv-contrib and scikit-image, side by side, and the two person detectors on coco128.

    python tests/benchmarks/bench_hog.py [--images N] [--threads N] [--skip-persons]

The references run in a process of their own, under the Python named by DETKIT_CONTRIB_PYTHON. Pictures alternate
between the two, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
COCO128 = ROOT.parent / "shared" / "data" / "coco128"

REFERENCE = """
import json, sys, time
import cv2, numpy as np
from skimage.feature import hog as skimage_hog
cv2.setNumThreads(int(sys.argv[2]))
detector = cv2.HOGDescriptor()
detector.setSVMDetector(np.load(sys.argv[1]).astype(np.float32))
for line in sys.stdin:
    task, path = json.loads(line)
    image = cv2.imread(path)
    start, used = time.perf_counter(), time.process_time()
    if task == "detect":
        found = len(detector.detectMultiScale(image, winStride=(8, 8), padding=(8, 8), scale=1.05)[0])
    else:
        found = skimage_hog(image, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2), block_norm="L2-Hys",
                            transform_sqrt=True, channel_axis=-1).size
    print(json.dumps([time.perf_counter() - start, time.process_time() - used, found]), flush=True)
"""


class Reference:
    """The other process: seconds, seconds of CPU, and what it found."""

    def __init__(self, svm: Path, threads: int) -> None:
        python = os.environ.get("DETKIT_CONTRIB_PYTHON", "/root/venv-contrib/bin/python")
        self._process = subprocess.Popen(
            [python, "-c", REFERENCE, str(svm), str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, task: str, path: Path) -> tuple[float, float, int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([task, str(path)]) + "\n")
        self._process.stdin.flush()
        seconds, used, found = json.loads(self._process.stdout.readline())
        return seconds, used, found


def timed(function: Callable[[], Any]) -> tuple[float, float, Any]:
    start, used = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - start, time.process_time() - used, result


def show(what: str, other: str, ours: float, theirs: float) -> None:
    """One line: milliseconds of both, and ours over theirs."""
    print(f"  {what:7s} ours {ours:7.2f}  {other} {theirs:7.2f}  ratio {ours / theirs:.3f}, 1 in {theirs / ours:.1f}")


def side_by_side(paths: list[Path], threads: int) -> None:
    import tempfile

    from detkit.detectors.hog.hog_detector import HogDetector, HogParameters, compute, describe
    from detkit.detectors.hog.hog_model import named_model
    from detkit.images import read_image

    model = named_model("person-inria")
    detector = HogDetector(model, threads=threads)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "svm.npy", np.append(model.weights[0], model.offsets[0]))
        reference = Reference(Path(folder) / "svm.npy", threads)
        fitting = []
        for path in paths:
            image = read_image(path)
            if image.shape[0] >= 128 and image.shape[1] >= 64:
                fitting.append((path, image))
        detector(fitting[0][1])
        reference("detect", fitting[0][0])
        rows = []
        for number, (path, image) in enumerate(fitting):
            if number % 2:
                theirs, ours = reference("detect", path), timed(lambda image=image: detector(image))
            else:
                ours, theirs = timed(lambda image=image: detector(image)), reference("detect", path)
            rows.append((ours[0], ours[1], theirs[0], theirs[1]))
        wall, cpu, wall_cv, cpu_cv = np.array(rows).T * 1000
        print(f"detectMultiScale, {len(rows)} pictures of coco128, {threads} threads each, milliseconds a picture")
        show("mean", "opencv-contrib", wall.mean(), wall_cv.mean())
        show("median", "opencv-contrib", float(np.median(wall)), float(np.median(wall_cv)))
        show("CPU", "opencv-contrib", cpu.mean(), cpu_cv.mean())

        parameters = HogParameters()
        rows = []
        for path, image in fitting[:12]:
            theirs = reference("describe", path)
            ours = timed(lambda image=image: describe(image, parameters, parameters.cell))
            windows = timed(lambda image=image: compute(image))
            rows.append((ours[0], ours[1], theirs[0], theirs[1], windows[0]))
        wall, cpu, wall_sk, cpu_sk, whole = np.array(rows).T * 1000
        print(f"descriptor of a whole picture, {len(rows)} pictures, one thread each")
        show("mean", "scikit-image", wall.mean(), wall_sk.mean())
        show("CPU", "scikit-image", cpu.mean(), cpu_sk.mean())
        print(f"  with a copy of every block for every window that holds it (compute): {whole.mean():.1f}")


def persons(factor: float, names: list[str]) -> None:
    """Log-average miss rate and AP for `person` on coco128."""
    from detkit.annotations import read_ground_truth
    from detkit.dataset import Categories, Predictions
    from detkit.detections import Detections
    from detkit.detectors.hog.hog_detector import HogDetector
    from detkit.detectors.hog.hog_model import named_model
    from detkit.errors import InputError
    from detkit.images import read_image
    from detkit.metrics.curves import class_curve
    from detkit.metrics.evaluation import Evaluation

    truth = read_ground_truth(COCO128 / "instances.json")
    chosen = truth.class_index == truth.categories.names.index("person")
    columns = {
        entry.name: getattr(truth, entry.name)[chosen]
        for entry in dataclasses.fields(truth)
        if isinstance(getattr(truth, entry.name), np.ndarray)
    }
    columns["class_index"] = np.zeros(int(chosen.sum()), np.int64)
    ids = tuple(key for key, kept in zip(truth.ids, chosen, strict=True) if kept)
    truth = dataclasses.replace(truth, categories=Categories(("person",), (1,)), ids=ids, **columns)
    images = [read_image(COCO128 / "images" / name) for name in truth.images.files]
    print(f"person on coco128, {len(truth)} boxes, pyramid factor {factor}")
    print("  model           enlarged  miss rate (log average)    AP    AP50   boxes")
    for name in names:
        model = named_model(name)
        for enlarge in (1.0, 2.0):
            detector = HogDetector(model, conf=0.001, factor=factor, enlarge=enlarge, max_det=100, threads=2)
            found = []
            for image in images:
                try:
                    found.append(detector(image))
                except InputError:
                    found.append(Detections.empty())
            boxes = np.concatenate([entry.boxes for entry in found]).astype(np.float64)
            index = np.repeat(np.arange(len(found)), [len(entry) for entry in found])
            scores = np.concatenate([entry.scores for entry in found]).astype(np.float64)
            layout = np.column_stack((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]))
            evaluation = Evaluation(truth, Predictions(index, np.zeros(len(index), np.int64), layout, scores))
            rate = class_curve(evaluation.outcomes, 0).log_average_miss_rate()
            figures = evaluation.figures
            average, average50 = figures["AP"], figures["AP50"]
            row = f"  {name:15s} {enlarge:8g}  {rate:23.4f}  {average:.4f}  {average50:.4f}  {len(boxes):6d}"
            print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--factor", type=float, default=1.05)
    parser.add_argument("--skip-persons", action="store_true")
    parser.add_argument("--skip-speed", action="store_true")
    given = parser.parse_args()
    paths = sorted((COCO128 / "images").glob("*.jpg"))[: given.images]
    if not given.skip_speed:
        side_by_side(paths, given.threads)
    if not given.skip_persons:
        persons(given.factor, ["person", "person-inria"])


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
