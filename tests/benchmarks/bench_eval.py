"""Whole processes from two files to COCO's twelve figures: detkit, pycocotools, faster-coco-eval and hotcoco.

    python tests/benchmarks/bench_eval.py [--rounds 3] [--reference-python /path/to/python] [--folder DIR]

The case has the size of COCO's val2017: 4,952 images, 36,781 boxes of 80 classes, 70 detections an image, made with a
seed: each box is found by none to three detections near it, some of another class, and the rest lie anywhere. The
programs run in turn, so that what else the machine does falls on all of them. Wall time is the least and the median of
the rounds, memory the largest resident set. `--reference-python` is an interpreter that has the other programs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")

PYCOCOTOOLS = """
import contextlib, io, json, sys
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
with contextlib.redirect_stdout(io.StringIO()):
    gt = COCO(sys.argv[2]); dt = gt.loadRes(sys.argv[1])
    e = COCOeval(gt, dt, "bbox"); e.evaluate(); e.accumulate(); e.summarize()
print(json.dumps([float(v) for v in e.stats[:12]]))
"""
FASTER = PYCOCOTOOLS.replace(
    "pycocotools.cocoeval import COCOeval", "faster_coco_eval import COCOeval_faster as COCOeval"
)
FASTER = FASTER.replace("pycocotools.coco import", "faster_coco_eval import")
HOTCOCO = """
import json, os, sys
from hotcoco import COCO, COCOeval
kept = os.dup(1); os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
gt = COCO(sys.argv[2]); dt = gt.load_res(sys.argv[1])
e = COCOeval(gt, dt, "bbox"); e.evaluate(); e.accumulate(); e.summarize()
sys.stdout.flush(); os.dup2(kept, 1)
print(json.dumps([float(v) for v in e.stats[:12]]))
"""


@dataclass
class Program:
    """A command that is given detections and annotations, what its runs took, and its figures if it prints a list."""

    name: str
    command: list[str]
    figures: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    megabytes: float = 0.0

    def run(self, found: Path, truth: Path) -> None:
        """One process, timed."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            start = time.perf_counter()
            process = subprocess.Popen([*self.command, str(found), str(truth)], stdout=out, stderr=err)
            _, status, usage = os.wait4(process.pid, 0)
            self.seconds.append(time.perf_counter() - start)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.megabytes = max(self.megabytes, usage.ru_maxrss / 1024)
            out.seek(0)
            err.seek(0)
            text = out.read().decode()
            if process.returncode:
                raise RuntimeError(f"{self.name} failed: {err.read().decode()[-500:]}")
        last = text.strip().splitlines()[-1]
        if last.startswith("["):
            self.figures = json.loads(last)


def all_digits(command: list[str], found: Path, truth: Path) -> list[float]:
    """detkit's figures with all digits; the timed runs print its table."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        subprocess.run([*command, str(found), str(truth), "--json", str(out)], check=True, capture_output=True)
        figures = json.loads(out.read_text())["figures"]
    return [figures[name] for name in FIGURES]


def make_case(
    folder: Path, images: int = 4952, boxes: int = 36781, per_image: int = 70, seed: int = 0
) -> tuple[Path, Path]:
    """Write found.json and truth.json."""
    import numpy as np

    rng = np.random.default_rng(seed)
    classes = 80
    width = np.where(rng.random(images) < 0.7, 640, 480)
    height = np.where(width == 640, 480, 640)
    image_ids = np.sort(rng.choice(600_000, images, replace=False)) + 1
    category_ids = np.sort(rng.choice(np.arange(1, 91), classes, replace=False))
    common = 1 / np.arange(1, classes + 1) ** 0.9  # few classes have most of the boxes
    common /= common.sum()

    # boxes: some images are crowded, some empty; an image has at most three kinds of things
    busy = rng.gamma(0.9, size=images)
    image = np.sort(rng.choice(images, boxes, p=busy / busy.sum()))
    kinds = rng.choice(classes, (images, 3), p=common)
    kind = kinds[image, rng.integers(0, 3, boxes)]
    side, aspect = np.exp(rng.normal(4, 1, boxes)).clip(4, 450), np.exp(rng.normal(0, 0.4, boxes))
    w, h = np.minimum(side * aspect, width[image] - 1), np.minimum(side / aspect, height[image] - 1)
    true = np.stack([rng.random(boxes) * (width[image] - w), rng.random(boxes) * (height[image] - h), w, h], axis=1)
    true = true.round(2)
    crowd = rng.random(boxes) < 0.012
    area = (true[:, 2] * true[:, 3] * rng.uniform(0.4, 1, boxes)).round(4)

    # detections near boxes, with higher scores the nearer they are
    source = np.repeat(np.arange(boxes), rng.integers(0, 4, boxes))
    spread = np.where(rng.random(len(source)) < 0.6, 0.06, 0.25)[:, None]
    shift = rng.normal(0, 1, (len(source), 4)) * spread
    near = true[source] + shift * np.concatenate([true[source, 2:], true[source, 2:]], axis=1)
    near[:, 2:] = np.maximum(near[:, 2:], 1)
    near_kind = np.where(rng.random(len(source)) < 0.9, kind[source], rng.choice(classes, len(source), p=common))
    near_score = rng.beta(3, 2, len(source)) * np.exp(-2 * np.abs(shift).mean(axis=1))
    order = rng.permutation(len(source))
    order = order[np.argsort(image[source][order], kind="stable")]
    place = np.arange(len(order)) - np.searchsorted(image[source][order], image[source][order])
    order = order[place < per_image]

    # and anywhere, up to the same number in every image
    lack = per_image - np.bincount(image[source][order], minlength=images)
    where = np.repeat(np.arange(images), lack)
    count = len(where)
    sides = np.exp(rng.normal(4, 0.9, (count, 2))).clip(4, 400)
    corner = rng.random((count, 2)) * np.stack([width[where], height[where]], axis=1) * 0.8
    stray_kind = np.where(
        rng.random(count) < 0.5, kinds[where, rng.integers(0, 3, count)], rng.choice(classes, count, p=common)
    )

    found = np.concatenate([near[order], np.concatenate([corner, sides], axis=1)]).round(2)
    found_image = np.concatenate([image[source][order], where])
    found_kind = np.concatenate([near_kind[order], stray_kind])
    score = np.concatenate([near_score[order], rng.beta(0.6, 6, count)]).clip(1e-5, 1).round(5)
    by_image = np.lexsort((-score, found_image))

    def rows(**columns: Any) -> list[dict[str, Any]]:
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    truth = {
        "images": rows(
            id=image_ids.tolist(),
            file_name=[f"{number:012d}.jpg" for number in image_ids],
            width=width.tolist(),
            height=height.tolist(),
        ),
        "annotations": rows(
            id=list(range(1, boxes + 1)),
            image_id=image_ids[image].tolist(),
            category_id=category_ids[kind].tolist(),
            bbox=true.tolist(),
            area=area.tolist(),
            iscrowd=crowd.astype(int).tolist(),
        ),
        "categories": rows(id=category_ids.tolist(), name=[f"class {k}" for k in range(classes)]),
    }
    results = rows(
        image_id=image_ids[found_image[by_image]].tolist(),
        category_id=category_ids[found_kind[by_image]].tolist(),
        bbox=found[by_image].tolist(),
        score=score[by_image].tolist(),
    )
    paths = folder / "found.json", folder / "truth.json"
    for path, content in zip(paths, (results, truth), strict=True):
        path.write_text(json.dumps(content))
    return paths


def made_case(folder: Path, images: int = 4952, boxes: int = 36781, seed: int = 0) -> tuple[Path, Path]:
    """`make_case` in a process of its own: the memory of this one would count as that of the programs it starts."""
    arguments = ["--make", str(folder), str(images), str(boxes), str(seed)]
    subprocess.run([sys.executable, __file__, *arguments], check=True)
    return folder / "found.json", folder / "truth.json"


def report(programs: list[Program], what: str) -> None:
    """A line a program: least and median time, memory, and the time in detkit's."""
    ours = programs[0]
    print(f"\n{what}: {len(ours.seconds)} rounds, in turn")
    print(f"{'':18}{'least':>9}{'median':>9}{'memory':>10}{'least / detkit':>16}{'figures':>22}")
    for program in programs:
        apart = max(abs(a - b) for a, b in zip(program.figures, ours.figures, strict=True))
        same = "same bits" if apart == 0 else f"off by {apart:.1e}"
        least, median = min(program.seconds), statistics.median(program.seconds)
        ratio = least / min(ours.seconds)
        print(f"{program.name:18}{least:8.2f}s{median:8.2f}s{program.megabytes:8.0f}MB{ratio:15.2f}x{same:>22}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reference-python", default=sys.executable)
    parser.add_argument("--folder", type=Path, help="keep the files here")
    parser.add_argument("--make", nargs=4, metavar=("FOLDER", "IMAGES", "BOXES", "SEED"), help="only make a case")
    options = parser.parse_args()
    if options.make:
        folder, images, boxes, seed = options.make
        make_case(Path(folder), int(images), int(boxes), seed=int(seed))
        return

    detkit = Program("detkit", [sys.executable, "-m", "detkit", "eval"])
    programs = [detkit]
    for name, module, script in (
        ("hotcoco", "hotcoco", HOTCOCO),
        ("faster-coco-eval", "faster_coco_eval", FASTER),
        ("pycocotools", "pycocotools", PYCOCOTOOLS),
    ):
        there = subprocess.run([options.reference_python, "-c", f"import {module}"], capture_output=True, check=False)
        if there.returncode:
            print(f"{name} is not installed for {options.reference_python}: left out")
        else:
            programs.append(Program(name, [options.reference_python, "-c", script]))

    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found, truth = made_case(folder)
        for program in programs:
            if program.name != "pycocotools":  # a first run of each, to have the files and programs in memory
                program.run(found, truth)
                print(f"{program.name}'s first run: {program.seconds.pop():.2f}s")
        for _ in range(options.rounds):
            for program in programs:
                program.run(found, truth)
        detkit.figures = all_digits(detkit.command, found, truth)
        report(programs, "COCO-sized, 4,952 images, 36,781 boxes, 346,640 detections")

        sizes = [
            Program("1 x images", detkit.command),
            Program("2 x images", detkit.command),
            Program("4 x images", detkit.command),
        ]
        cases = []
        for times in (1, 2, 4):
            case = folder / f"times{times}"
            case.mkdir(exist_ok=True)
            cases.append(made_case(case, 4952 * times, 36781 * times))
        for _ in range(options.rounds):
            for program, case in zip(sizes, cases, strict=True):
                program.run(*case)
        print("\ngrowth of detkit's time with the data")
        for program in sizes:
            least = min(program.seconds)
            print(f"{program.name:18}{least:8.2f}s{least / min(sizes[0].seconds):8.2f}x{program.megabytes:8.0f}MB")


if __name__ == "__main__":
    main()
