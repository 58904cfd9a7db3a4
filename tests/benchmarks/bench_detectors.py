"""The bundled detectors beside each other on coco128: AP, AP50, seconds a picture.

    python tests/benchmarks/bench_detectors.py                 # all of them
    python tests/benchmarks/bench_detectors.py yolo faster     # some

Each is the command as a user types it, in a process of its own, over all 128 pictures; seconds are its wall clock less
that of the same command on one picture, over the 127 others. `--classes` adds AP and AP50 of each class.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
COCO128 = ROOT.parent / "shared" / "data" / "coco128"

DETECTORS = {
    "hog-detect (person)": ["hog-detect", "--conf", "0.01"],
    "rcnn --variant rcnn": ["rcnn", "--variant", "rcnn", "--conf", "0.01"],
    "rcnn --variant rcnn --no-bbox-regression": ["rcnn", "--variant", "rcnn", "--conf", "0.01", "--no-bbox-regression"],
    "rcnn --variant fast": ["rcnn", "--variant", "fast", "--conf", "0.01"],
    "rcnn --variant fast --no-bbox-regression": ["rcnn", "--variant", "fast", "--conf", "0.01", "--no-bbox-regression"],
    "rcnn --variant faster": ["rcnn", "--variant", "faster", "--conf", "0.01"],
    "rcnn --variant faster --no-bbox-regression": [
        *("rcnn", "--variant", "faster", "--conf", "0.01", "--no-bbox-regression"),
    ],
    "yolo": ["yolo", "--conf", "0.01", "--multi-label"],
}


def seconds(command: list[str], source: Path, out: Path) -> float:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "detkit", *command, str(source), "--max-det", "100", "-q", "-o", str(out), "-f", "coco",
         "--gt", str(COCO128 / "instances.json")], check=True, cwd=ROOT,
    )  # fmt: skip
    return time.perf_counter() - started


def figures(found: Path, out: Path) -> dict:
    subprocess.run(
        [sys.executable, "-m", "detkit", "eval", str(found), str(COCO128 / "instances.json"), "--json", str(out)],
        check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return json.loads(out.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wanted", nargs="*", help="parts of the names of the detectors")
    parser.add_argument("--classes", action="store_true", help="AP and AP50 of each class")
    options = parser.parse_args()
    one = sorted((COCO128 / "images").iterdir())[0]
    print("| detector | AP | AP50 | AP50 person | seconds a picture |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, command in DETECTORS.items():
            if options.wanted and not any(part in name for part in options.wanted):
                continue
            seconds(command, one, Path(folder, "one.json"))
            start = seconds(command, one, Path(folder, "one.json"))
            whole = seconds(command, COCO128 / "images", Path(folder, "all.json"))
            result = figures(Path(folder, "all.json"), Path(folder, "figures.json"))
            overall, person = result["figures"], result["classes"]["person"]
            print(
                f"| {name} | {overall['AP']:.4f} | {overall['AP50']:.4f} | {person['AP50']:.3f} "
                f"| {(whole - start) / 127:.3f} |",
                flush=True,
            )
            if options.classes:
                rows = [(one, row) for one, row in result["classes"].items() if row["AP50"] >= 0]
                print(", ".join(f"{one} {row['AP']:.2f}/{row['AP50']:.2f}" for one, row in rows), flush=True)


if __name__ == "__main__":
    main()
