"""Selective search and edge boxes against opencv-contrib, side by side on pictures of coco128.

    python tests/benchmarks/bench_proposals.py [--images N] [--threads N] [--method NAME] [--contrib-python PATH]

opencv-contrib runs in a process of its own. Pictures alternate between the two, so that whatever else the machine does
falls on both, and each picture is done twice, the better time of the two counts. Times are without decoding.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
COCO128 = ROOT.parent / "shared" / "data" / "coco128"
COUNTS = (100, 200, 500, 1000, 2000)
ROUNDS = 2

REFERENCE = """
import json, sys, time
import cv2, numpy as np
threads, folder = int(sys.argv[1]), sys.argv[2]
if threads:
    cv2.setNumThreads(threads)
for line in sys.stdin:
    task, path = json.loads(line)
    if task == "selective-search":
        image = cv2.imread(path)
        cv2.setRNGSeed(0)
        start, used = time.perf_counter(), time.process_time()
        search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(image)
        search.switchToSelectiveSearchFast()
        boxes = search.process()
        scores = np.zeros(len(boxes))
    else:
        maps = np.load(path)
        start, used = time.perf_counter(), time.process_time()
        search = cv2.ximgproc.createEdgeBoxes(maxBoxes=2000)
        boxes, scores = search.getBoundingBoxes(maps["strength"], maps["orientation"])
    took = [time.perf_counter() - start, time.process_time() - used]
    np.savez(folder + "/found.npz", boxes=np.reshape(boxes, (-1, 4)), scores=np.ravel(scores))
    print(json.dumps(took), flush=True)
"""


class Reference:
    """The other process: seconds, seconds of CPU, its windows (N, 4) x, y, width, height, and its scores."""

    def __init__(self, python: str, threads: int, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [python, "-c", REFERENCE, str(threads), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, task: str, path: Path) -> tuple[float, float, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([task, str(path)]) + "\n")
        self._process.stdin.flush()
        seconds, used = json.loads(self._process.stdout.readline())
        return seconds, used, dict(np.load(self._folder / "found.npz"))


def timed(function: Callable[[], Any]) -> tuple[float, float, Any]:
    start, used = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - start, time.process_time() - used, result


def pictures(count: int) -> list[tuple[Path, Any]]:
    """Path and objects (G, 4) xyxy of the first pictures, in the order of their names."""
    annotations = json.loads((COCO128 / "instances.json").read_text())
    objects: dict[Any, list[list[float]]] = {}
    for one in annotations["annotations"]:
        x, y, width, height = one["bbox"]
        objects.setdefault(one["image_id"], []).append([x, y, x + width, y + height])
    entries = sorted(annotations["images"], key=lambda entry: entry["file_name"])[:count]
    return [
        (COCO128 / "images" / Path(entry["file_name"]).name, np.reshape(objects.get(entry["id"], []), (-1, 4)))
        for entry in entries
    ]


def compare(method: str, entries: list[tuple[Path, Any]], python: str, threads: int, reference_threads: int) -> None:
    from detkit.images import read_image
    from detkit.proposals.edge_boxes import EdgeBoxes, boxes_of_edges, edge_groups, score_windows
    from detkit.proposals.edges import gradient_edges, thinned_edges
    from detkit.proposals.quality import average_best_overlap, best_overlaps, recall
    from detkit.proposals.selective_search import selective_search

    times, sizes, worst = [], [], 0.0
    best: list[list[Any]] = [[], []]
    with tempfile.TemporaryDirectory() as folder:
        reference = Reference(python, reference_threads, Path(folder))
        for number, (path, objects) in enumerate(entries):
            image = read_image(path)
            source = path
            if method == "edge-boxes":
                edges = thinned_edges(gradient_edges(image))
                source = Path(folder) / "edges.npz"
                np.savez(source, strength=edges.strength, orientation=edges.orientation)
                own = lambda edges=edges: boxes_of_edges(edges, threads=threads)  # noqa: E731
            else:
                own = lambda image=image: selective_search(image, threads=threads)  # noqa: E731
            if number == 0:
                own()
                reference(method, source)
            rounds = []
            for turn in range(ROUNDS):
                if (number + turn) % 2:
                    theirs, ours = reference(method, source), timed(own)
                else:
                    ours, theirs = timed(own), reference(method, source)
                rounds.append((*ours[:2], *theirs[:2]))
            times.append(np.min(rounds, axis=0))
            windows, scores = theirs[2]["boxes"], theirs[2]["scores"]
            if method == "edge-boxes":
                parameters = EdgeBoxes()
                groups = edge_groups(edges, parameters)
                again = score_windows(windows - [1, 1, 0, 0], groups, parameters)[1]
                worst = max(worst, float(np.abs(again - scores).max(initial=0)))
            boxes = np.concatenate((windows[:, :2], windows[:, :2] + windows[:, 2:]), axis=1)
            sizes.append((len(ours[2].boxes), len(boxes)))
            for place, found in enumerate((ours[2].boxes, boxes)):
                best[place].append(best_overlaps(found, objects, COUNTS))
    wall, cpu, wall_other, cpu_other = np.array(times).T
    print(
        f"{method}, {len(entries)} pictures, threads: ours {threads}, opencv-contrib {reference_threads or 'default'}"
    )
    print(f"  {'':14s} {'boxes':>6s}  " + "".join(f"  first {count:<13d}" for count in COUNTS))
    print(f"  {'':14s} {'':6s}  " + "   recall     ABO   " * len(COUNTS))
    for place, name in enumerate(("ours", "opencv-contrib")):
        overlaps = np.concatenate(best[place])
        figures = zip(recall(overlaps, 0.5), average_best_overlap(overlaps), strict=True)
        row = "".join(f"   {one:.4f}  {two:.4f}  " for one, two in figures)
        print(f"  {name:14s} {np.mean(sizes, axis=0)[place]:6.0f}  {row}")
    ratios = wall_other / wall
    print(
        f"  times: ours 1 in {wall_other.sum() / wall.sum():.1f} of opencv-contrib's wall clock (by picture: median "
        f"{np.median(ratios):.1f}, worst {ratios.min():.1f}), 1 in {cpu_other.sum() / cpu.sum():.1f} of its CPU time; "
        f"seconds a picture {wall.mean():.3f} and {wall_other.mean():.3f}"
    )
    if method == "edge-boxes":
        print(f"  scores of opencv-contrib's boxes by ours: largest difference {worst:.1e}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--contrib-threads", type=int, default=0, help="0: its own default")
    parser.add_argument("--method", choices=["selective-search", "edge-boxes"], action="append")
    parser.add_argument("--contrib-python", required=True, help="a Python with opencv-contrib-python")
    given = parser.parse_args()
    for method in given.method or ["selective-search", "edge-boxes"]:
        compare(method, pictures(given.images), given.contrib_python, given.threads, given.contrib_threads)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
