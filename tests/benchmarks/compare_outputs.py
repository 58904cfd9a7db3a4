"""Whether two states of the code give the same output: every command on real pictures, byte for byte.

    python tests/benchmarks/compare_outputs.py record --code DIR --out BEFORE [--only PATTERN ...] [--jobs 2]
    python tests/benchmarks/compare_outputs.py compare BEFORE AFTER [--only PATTERN ...] [--intended FILE]
    python tests/benchmarks/compare_outputs.py list

`record` copies the code at --code (a checkout: `detkit/` and `models/`) to a scratch folder, builds inputs from
../shared beside them, and runs each case in an empty folder of its own: one or more commands, `python -m detkit ...`
with one thread and COLUMNS=100. Of each it keeps the exit status, stdout, stderr and every file that is there at the
end, with its SHA-256 (files over KEPT_BYTES only as that). Python's hash seed stays random, so that an order that
hangs on a set shows when one state is recorded twice. Two recordings on one machine need to take turns: the scratch
folder has a fixed name, so that paths in messages wrap at the same place.

With --only, `record` runs the cases of these names and leaves what else the recording holds.

`compare` prints one line for each difference and exits with 1 if there are any. Only what has to differ is made
equal first: seconds and rates in stderr, the lines that only a slow run says (that numba compiles, how much is left),
the column `seconds` of a training's history.csv, and the path of the scratch folder. FILE names intended differences,
one a line: `CASE FILE REASON...`, CASE and FILE as shell patterns (FILE is also `status`, `stdout` or `stderr`); they
are counted apart, and a line that matched nothing is named.

A case whose files cannot be equal (checkpoints of PyTorch hold times) says so with `Case.without`.
"""

from __future__ import annotations

import argparse
import base64
import fnmatch
import hashlib
import importlib.util
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED = ROOT.parent / "shared"
SCRATCH = Path(tempfile.gettempdir()) / "detkit-compare"
STEP_SECONDS = 900
KEPT_BYTES = 4_000_000
FORMATS = ("coco", "jsonl", "voc", "yolo", "csv", "labelme", "openimages", "kitti")
WITH_THREADS = ("yolo", "rcnn", "hog-detect", "slide", "proposals")

# ---------------------------------------------------------------------------------------------------------- the cases


@dataclass(frozen=True)
class Step:
    """One command; `before` is called with the case's folder first."""

    arguments: tuple[str, ...]
    stdin: str = ""
    before: Callable[[Path], None] | None = None


@dataclass(frozen=True)
class Case:
    name: str
    steps: tuple[Step, ...]
    without: tuple[str, ...] = field(default=())  # patterns of files that hold times


def step(line: str, stdin: str = "", before: Callable[[Path], None] | None = None) -> Step:
    """A step from a line as in a shell. IN/ is the folder of inputs; `python` runs Python in place of detkit."""
    words = [re.sub(r"(^|[@=])IN/", r"\1../../in/", word) for word in shlex.split(line)]
    if words[0] in WITH_THREADS and "--threads" not in words and "--help" not in words:
        words += ["--threads", "1"]
    return Step(tuple(words), stdin, before)


def case(name: str, *lines: str | Step, without: Sequence[str] = ()) -> Case:
    steps = tuple(line if isinstance(line, Step) else step(line) for line in lines)
    return Case(name, steps, tuple(without))


def all_cases() -> list[Case]:
    groups = (help_cases, yolo_cases, source_cases, rcnn_cases, window_cases, model_cases, graph_cases,
              proposal_cases, eval_cases, convert_cases, training_cases, library_cases, wrong_cases)  # fmt: skip
    cases = [one for group in groups for one in group()]
    doubled = [name for name, count in Counter(one.name for one in cases).items() if count > 1]
    assert not doubled, doubled
    return cases


def help_cases() -> Iterator[Case]:
    for command in ("yolo", "rcnn", "hog-detect", "slide", "eval", "proposals", "convert", "bench", "train",
                    "train hog", "train rcnn", "train yolo", "models", "models list", "models info", "models pull",
                    "models path"):  # fmt: skip
        yield case(f"help.{command.replace(' ', '-')}", f"{command} --help")
    yield case("help", "--help", "--version")


def yolo_cases() -> Iterator[Case]:
    twelve = "yolo IN/twelve"
    yield case("yolo.all", "yolo IN/coco128 -o found.jsonl --conf 0.01 --multi-label")
    yield case("yolo.all-drawn", "yolo IN/coco128 -o found.json --draw drawn --threads 2 --workers 4")
    yield case("yolo.one", "yolo IN/twelve/000000000009.jpg")
    yield case("yolo.one-table", "yolo IN/twelve/000000000009.jpg -f table")
    yield case("yolo.stdout-jsonl", f"{twelve} -v")
    yield case("yolo.stdout-table", f"{twelve} -f table")
    yield case("yolo.stdout-coco", f"{twelve} -f coco")
    yield case("yolo.stdout-csv", f"{twelve} -f csv -o -")
    yield case("yolo.device", f"{twelve} -f csv -o /dev/stdout -q")
    yield case("yolo.jsonl", f"{twelve} -o found.jsonl")
    yield case("yolo.coco", f"{twelve} -o found.json")
    yield case("yolo.coco-names", "yolo IN/named -o found.json")
    yield case("yolo.coco-gt", f"{twelve} -o found.json --gt IN/coco128.json")
    yield case("yolo.yolo", f"{twelve} -f yolo -o labels")
    yield case("yolo.voc", f"{twelve} -f voc -o xml")
    yield case("yolo.csv", f"{twelve} -o found.csv")
    yield case("yolo.txt", f"{twelve} -o found.txt")
    yield case("yolo.draw-crops", f"{twelve} --draw drawn --crops cut -o found.jsonl -q")
    yield case("yolo.classes", f"{twelve} --class person --class 'dining table' --conf 0.1")
    yield case("yolo.max-det", f"{twelve} --max-det 3 --conf 0.05")
    yield case("yolo.agnostic", f"{twelve} --agnostic --conf 0.05 --iou 0.3")
    yield case("yolo.single-label", f"{twelve} --single-label --conf 0.05")
    yield case("yolo.batch", f"{twelve} --batch 4 --workers 1")
    yield case("yolo.conf-ends", f"{twelve} --conf 1", "yolo IN/twelve/000000000009.jpg --conf 0 --max-det 20")
    for way in ("soft", "diou", "wbf", "none"):
        yield case(f"yolo.nms-{way}", f"{twelve} --nms {way} --conf 0.1", f"{twelve} --nms {way} --agnostic -f csv")
    yield case("yolo.nms-iou", f"{twelve} --nms diou --iou 0.4", f"{twelve} --nms wbf --iou 0.4")
    yield case(
        "yolo.resume",
        step(f"{twelve} -o found.json --draw drawn --workers 1", before=_block),
        step(f"{twelve} -o found.json --draw drawn --workers 1 --resume", before=_unblock),
        f"{twelve} -o found.json --draw drawn --workers 1 --resume",
    )
    yield case(
        "yolo.resume-other",
        step(f"{twelve} -o found.csv --draw drawn --workers 1", before=_block),
        step(f"{twelve} -o found.csv --draw drawn --conf 0.5 --resume", before=_unblock),
        f"{twelve} -o found.csv --draw drawn",
    )


BLOCKED = "000000000326.jpg"  # the sixth of the twelve: a folder of that name stops the run there


def _block(folder: Path) -> None:
    (folder / "drawn" / BLOCKED).mkdir(parents=True)


def _unblock(folder: Path) -> None:
    (folder / "drawn" / BLOCKED).rmdir()


def source_cases() -> Iterator[Case]:
    yield case("source.list", "yolo @IN/list.txt -o found.csv --draw drawn")
    yield case("source.list-bad", "yolo @IN/list-bad.txt")
    yield case("source.glob", "yolo 'IN/twelve/*0.jpg'", "yolo 'IN/nested/**/*.jpg'", "yolo 'IN/nested/*.gone'")
    yield case("source.stdin", step("yolo -", stdin="../../in/twelve/000000000009.jpg\n\n../../in/gone.jpg\n"))
    yield case("source.several", "yolo IN/nested IN/twelve/000000000009.jpg IN/named -f csv")
    yield case("source.nested", "yolo IN/nested -f voc -o xml --draw drawn --crops cut")
    yield case("source.nested-yolo", "yolo IN/nested -f yolo -o labels")
    yield case("source.endings", "yolo IN/endings -o found.jsonl --draw drawn --crops cut --conf 0.1")
    yield case("source.endings-yolo", "yolo IN/endings -f yolo -o labels --conf 0.1", "yolo IN/endings -f voc -o xml")
    yield case("source.broken", "yolo IN/broken -o found.jsonl", "yolo IN/broken -f csv", "yolo IN/broken -o a.json")
    yield case("source.broken-quiet", "hog-detect IN/broken -q --draw drawn -o a.jsonl", "proposals IN/broken --max 9")
    yield case("source.video", "yolo IN/video.avi -o found.jsonl --draw drawn --crops cut --conf 0.1")
    yield case("source.video-formats", "yolo IN/video.avi -o a.json", "yolo IN/video.avi -o a.csv",
               "yolo IN/video.avi -f yolo -o labels", "yolo IN/video.avi -f voc -o xml",
               "yolo IN/video.avi -f table")  # fmt: skip
    yield case("source.over-source", step("yolo pictures --draw drawn --crops cut -o b.jsonl", before=_two_of_a_stem),
               "yolo pictures --draw pictures -o c.jsonl", "hog-detect pictures --draw pictures -f csv",
               "yolo pictures -f yolo -o pictures", "yolo pictures -f voc -o xml")  # fmt: skip
    yield case("source.empty", "yolo IN/empty", "yolo IN/empty -o found.json", "proposals IN/empty")


def rcnn_cases() -> Iterator[Case]:
    four = "rcnn IN/four"
    yield case("rcnn.rcnn", f"{four} --variant rcnn -o found.json -v --draw drawn")
    yield case("rcnn.rcnn-bare", f"{four} --variant rcnn --no-bbox-regression --no-context --max-proposals 200")
    yield case("rcnn.fast", f"{four} --variant fast -o found.csv -v")
    yield case("rcnn.fast-edge", f"{four} --variant fast --proposals edge-boxes --max-proposals 300 -f voc -o xml")
    yield case("rcnn.fast-grid", f"{four} --variant fast --proposals grid --no-bbox-regression -f csv")
    yield case("rcnn.fast-file", "proposals IN/four -o p.jsonl --max 300 --method edge-boxes",
               f"{four} --variant fast --proposals p.jsonl")  # fmt: skip
    yield case("rcnn.faster", "rcnn IN/twelve -o found.jsonl --conf 0.05 --crops cut -v")
    yield case("rcnn.faster-all", "rcnn IN/coco128 -f csv --conf 0.1")
    yield case("rcnn.faster-options", f"{four} --variant faster --proposal-iou 0.5 --max-proposals 100 --nms soft",
               f"{four} --no-bbox-regression --class person -f yolo -o labels", f"{four} --agnostic --nms wbf -f table",
               f"{four} --nms none --max-det 5 -f coco --gt IN/coco128.json")  # fmt: skip
    yield case("rcnn.wrong", f"{four} --no-context", f"{four} --proposals grid", f"{four} --variant fast --class gone",
               f"{four} --variant fast --proposals IN/coco128.json", f"{four} --variant rcnn --proposal-iou 0.5",
               f"{four} --model yolo-lite0", f"{four} --model rcnn-lite0 --variant fast")  # fmt: skip


def window_cases() -> Iterator[Case]:
    four = "hog-detect IN/four"
    yield case("hog.twelve", "hog-detect IN/twelve -o found.json -v --draw drawn --crops cut --conf 0.1")
    yield case("hog.inria", f"{four} --model person-inria -f csv --threads 2")
    yield case("hog.pictures", f"{four} --heatmap heat --show-hog glyphs -f yolo -o labels")
    yield case("hog.options", f"{four} --scale 1.2 --stride 16x16 --padding 0x0 --levels 3 --enlarge 1.5")
    yield case("hog.group", f"{four} --group mean-shift", f"{four} --group none --max-det 10 -f csv",
               f"{four} --nms soft --conf 0.1 -f csv", f"{four} --nms wbf --agnostic -f coco")  # fmt: skip
    yield case("hog.svm", f"{four} --svm IN/svm.txt --class thing --conf 0.6 -f csv -v",
               f"{four} --svm IN/svm.txt --hog window=64x128,orientations=9 -f table",
               f"{four} --svm IN/svm.txt --hog window=48x96", f"{four} --svm IN/list.txt")  # fmt: skip
    yield case("hog.wrong", f"{four} --class dog", f"{four} --model yolo-lite0", f"{four} --batch 4",
               f"{four} --stride 3x", f"{four} --svm IN/svm.txt --model person", f"{four} --hog window=64x128",
               f"{four} --iou 0.3 --group none")  # fmt: skip
    two = "slide IN/two"
    yield case("slide.default", f"{two} -v --conf 0.5 -o found.json --draw drawn")
    yield case("slide.one", "slide IN/twelve/000000000009.jpg --conf 0.3 --iou 0.1 --nms diou -f csv --heatmap heat")
    yield case(
        "slide.digits", "slide IN/two IN/digits.png --model lenet5-digits --conf 0.8 --agnostic --stride 4 -f csv"
    )
    yield case("slide.windows", "slide IN/digits.png --model lenet5-digits --no-dense --batch 64 --conf 0.8",
               "slide IN/digits.png --model lenet5-digits --conf 0.8 --window 48x64 --scale 1.5 --levels 2 "
               "--group none --max-det 20",
               "slide IN/digits.png --model lenet5-digits --group mean-shift --class 3 -f csv",
               "slide IN/digits.png --model lenet5-digits --background 7 --names IN/eleven.txt -f csv")  # fmt: skip
    yield case("slide.graph", "slide IN/four/000000000009.jpg --model IN/graphs/classifier.onnx --max-det 5 --levels 2",
               "slide IN/four/000000000009.jpg --model yolo-lite0", "slide IN/digits.png --class gone",
               "slide IN/digits.png --model lenet5-digits --names IN/list.txt",
               "slide IN/digits.png --background gone")  # fmt: skip


def model_cases() -> Iterator[Case]:
    yield case("models.list", "models list", "models list --json")
    for name in ("yolo-lite0", "rcnn-lite0", "faster-rcnn-lite0", "efficientnet-lite0", "lenet5-digits", "person",
                 "person-inria", "yolox-nano"):  # fmt: skip
        yield case(f"models.{name}", f"models info {name}", f"models info {name} --json", f"models path {name}")
    yield case("models.wrong", "models info gone", "models path gone", "models pull gone", "models info IN/list.txt",
               "models info IN/svm.txt --json", "models path yolox-s", "models info yolo-lite0 --head gone",
               "models info yolo-lite0 --head yolox", "yolo IN/four --model yolox-s")  # fmt: skip
    for stem in _stems(SHARED / "models"):
        model = f"IN/models/{stem}.onnx"
        yield case(f"model.{stem}", f"models info {model}", f"models info {model} --json",
                   f"yolo IN/twelve --model {model} -v -o found.json --conf 0.1",
                   f"yolo IN/four --model {model} --nms soft --batch 2 --size 320 -f csv")  # fmt: skip
    yield case("model.names", "yolo IN/four --model IN/models/yolox_nano.onnx --names IN/eighty.txt -f csv",
               "yolo IN/four --model IN/models/yolox_nano.onnx --names voc",
               "yolo IN/four --model IN/models/yolox_nano.onnx --head yolov8",
               "yolo IN/four --model IN/models/yolox_nano.onnx --names IN/eighty.txt --class thing7 -f yolo -o labels",
               )  # fmt: skip
    yield case("model.names-case", *(f"yolo IN/graphs/square.png --model IN/graphs/names-yaml.onnx --names "
               f"IN/cats.txt -f csv --conf 0.001 --class {name}" for name in ("Cat", "cat", "CAT", "dog")),
               *(f"slide IN/digits.png --model lenet5-digits --names IN/cats11.txt -f csv --class {name}"
                 for name in ("Cat", "cat", "CAT")))  # fmt: skip
    yield case("model.sidecar", "models info IN/sidecar/good.onnx", "yolo IN/four --model IN/sidecar/good.onnx -v",
               "models info IN/sidecar/bad.onnx", "yolo IN/four --model IN/sidecar/bad.onnx")  # fmt: skip


def graph_cases() -> Iterator[Case]:
    for stem in _stems(SHARED / "heads"):
        model = f"IN/heads/{stem}.onnx"
        yield case(f"head.{stem}", f"models info {model}", f"models info {model} --json",
                   f"yolo IN/twelve/000000000025.jpg IN/four --model {model} -v",
                   f"yolo IN/four/000000000025.jpg --model {model} --conf 0.001 --max-det 50 -f csv -o found.csv",
                   )  # fmt: skip
    for name in graph_names():
        model = f"IN/graphs/{name}.onnx"
        yield case(f"graph.{name}", f"models info {model}",
                   f"yolo IN/graphs/square.png --model {model} -v",
                   f"yolo IN/graphs/square.png IN/four/000000000009.jpg --model {model} -f csv -o found.csv",
                   )  # fmt: skip


def _stems(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.onnx"))


def graph_names() -> list[str]:
    text = (SHARED / "cases" / "graphs.py").read_text()
    names = re.findall(r'yield "([\w-]+)"', text)
    return [*names, "tensorflow-count-first", "tensorflow-by-letter"]


def proposal_cases() -> Iterator[Case]:
    four = "proposals IN/four"
    for method in ("selective-search", "edge-boxes", "grid"):
        run = f"{four} --method {method}"
        yield case(f"proposals.{method}", f"{run} -o boxes.jsonl --draw drawn --gt IN/coco128.json -v",
                   f"{run} --max 20 --draw drawn-5 --draw-best 5 --threads 2")  # fmt: skip
    yield case("proposals.quality", "proposals IN/four/000000000009.jpg --mode quality --side 200 --max 500")
    yield case("proposals.paper", f"{four} --ranking paper --seed 3 --max 100", f"{four} --side 0 --max 50 -o -")
    yield case("proposals.edge-options", f"{four} --method edge-boxes --alpha 0.5 --beta 0.6 --eta 0.99 "
               "--min-score 0.05 --max 200")  # fmt: skip
    yield case("proposals.gt-voc", "proposals IN/bccd/pictures --method edge-boxes --gt IN/bccd/Annotations --max 100 "
               "-o boxes.jsonl")  # fmt: skip
    yield case("proposals.nested", "proposals IN/nested --method grid --max 10 -o boxes.jsonl --draw drawn",
               "proposals IN/endings --method grid --max 5", "proposals @IN/list.txt --method grid --max 5",
               step("proposals - --method grid --max 5", stdin="../../in/digits.png\n"))  # fmt: skip
    yield case("proposals.resume", step(f"{four} --method grid --max 50 -o b.jsonl --draw drawn", before=_block_four),
               step(f"{four} --method grid --max 50 -o b.jsonl --draw drawn --resume", before=_unblock_four),
               )  # fmt: skip
    yield case("proposals.over-source", step("proposals pictures --method grid --max 5 --draw drawn -o b.jsonl",
                                             before=_two_of_a_stem),
               "proposals pictures --method grid --max 5 --draw pictures -o c.jsonl")  # fmt: skip
    yield case("proposals.wrong", f"{four} --method gone", f"{four} --method grid --mode quality",
               f"{four} --edges IN/list.txt --method edge-boxes", f"{four} --gt IN/list.txt", f"{four} --alpha 2",
               f"{four} --resume", "proposals IN/gone", "proposals IN/video.avi --max 3",
               f"{four} -o boxes.csv")  # fmt: skip


def _two_of_a_stem(folder: Path) -> None:
    (folder / "pictures").mkdir()
    for ending in ("png", "ppm"):
        shutil.copy(SCRATCH / "in" / "endings" / f"doubled.{ending}", folder / "pictures" / f"x.{ending}")


def _block_four(folder: Path) -> None:
    (folder / "drawn" / "000000000086.jpg").mkdir(parents=True)


def _unblock_four(folder: Path) -> None:
    (folder / "drawn" / "000000000086.jpg").rmdir()


def eval_cases() -> Iterator[Case]:
    sets = {"coco128": "IN/found-coco128.json IN/coco128.json", "bccd": "IN/found-bccd.jsonl IN/bccd/Annotations"}
    other = {"coco128": "IN/other-coco128.json", "bccd": "IN/other-bccd.jsonl"}
    pictures = {"coco128": "IN/coco128", "bccd": "IN/bccd/pictures"}
    classes = {"coco128": "--class person --class dog", "bccd": "--class RBC"}
    for name, files in sets.items():
        run = f"eval {files}"
        for protocol in ("coco", "voc", "voc07"):
            yield case(f"eval.{name}.{protocol}", f"{run} --protocol {protocol}",
                       f"{run} --protocol {protocol} --json figures.json --per-class",
                       f"{run} --protocol {protocol} --json - --explain")  # fmt: skip
        yield case(f"eval.{name}.explain", f"{run} --explain", f"{run} --explain --protocol voc --iou 0.6 --per-class")
        yield case(f"eval.{name}.bootstrap", f"{run} --bootstrap 50", f"{run} --bootstrap 50 --seed 2 --json b.json")
        yield case(f"eval.{name}.compare", f"{run} --compare {other[name]} --bootstrap 50 --per-class",
                   f"{run} --compare {other[name]} --protocol voc --bootstrap 50 --json c.json")  # fmt: skip
        yield case(f"eval.{name}.class", f"{run} {classes[name]} --per-class", f"{run} {classes[name]} --json c.json")
        yield case(f"eval.{name}.options", f"{run} --conf 0.5 --iou 0.75", f"{run} --max-det 2", f"{run} --max-det 300",
                   f"{run} --like-pycocotools", f"{run} --honour-ignore", f"{run} --fail-under 0.99",
                   f"{run} --fail-under 0.01", f"{run} --class gone")  # fmt: skip
        yield case(f"eval.{name}.report", f"{run} --report page.html --images {pictures[name]}",
                   f"{run} --report plain.html --protocol voc --explain --bootstrap 20",
                   f"{run} --report two.html --compare {other[name]} --bootstrap 20")  # fmt: skip
        yield case(f"eval.{name}.plots", f"{run} --plots plots", f"{run} --plots voc --protocol voc07 {classes[name]}")
        for kind in FORMATS:
            truth = files.split()[1]
            more = "--images IN/sizes-coco128.csv" if name == "coco128" else "--images IN/sizes-bccd.csv"
            yield case(f"eval.{name}.gt-{kind}", f"convert {truth} gt --to {kind}",
                       f"eval {files.split()[0]} gt --json figures.json",
                       f"eval {files.split()[0]} gt {more} --per-class",
                       f"eval {files.split()[0]} gt {more} --gt-format {kind}")  # fmt: skip
    run = "yolo IN/twelve --conf 0.05"
    for kind, out in (("jsonl", "f.jsonl"), ("coco", "f.json"), ("csv", "f.csv"), ("voc", "f"), ("yolo", "f")):
        yield case(f"eval.from-{kind}", f"{run} -f {kind} -o {out}", f"eval {out} IN/coco128.json --per-class",
                   f"eval {out} IN/coco128.json --images IN/coco128 --json figures.json",
                   f"eval {out} IN/coco128.json --dt-format {kind} --images IN/coco128 --names coco",
                   )  # fmt: skip
    yield case("eval.endings", "yolo IN/endings --conf 0.1 -f yolo -o a", "yolo IN/endings --conf 0.1 -f voc -o b",
               "yolo IN/endings --conf 0.1 -o c.jsonl", step("eval a t.jsonl --images IN/endings",
               before=_without_scores), "eval b t.jsonl", "eval c.jsonl t.jsonl",
               "convert t.jsonl labels --to yolo", "convert t.jsonl xml --to voc")  # fmt: skip
    yield case("eval.kitti", "eval IN/kitti-found IN/kitti-truth", "eval IN/kitti-found IN/kitti-truth --protocol voc",
               )  # fmt: skip
    yield case("eval.coco-extras", "eval IN/found-extras.json IN/extras.json", "eval IN/found-extras.json "
               "IN/extras.json --honour-ignore --per-class", "eval IN/found-extras.json IN/extras.json "
               "--like-pycocotools --explain", "eval IN/found-extras.json IN/extras.json --class Cat --per-class",
               "convert IN/extras.json out.jsonl --to jsonl", "convert IN/extras.json back --to voc")  # fmt: skip
    yield case("eval.wrong", "eval IN/gone IN/coco128.json", "eval IN/found-coco128.json IN/bccd/Annotations",
               "eval IN/found-bccd.jsonl IN/coco128.json", "eval IN/list.txt IN/coco128.json",
               "eval IN/coco128.json IN/found-coco128.json", "eval IN/found-coco128.json IN/coco128.json --protocol x",
               "eval IN/found-coco128.json IN/coco128.json --iou 2", "eval IN/empty IN/coco128.json",
               "eval IN/found-coco128.json IN/coco128.json --dt-format voc", "eval IN/bad.json IN/coco128.json",
               "eval IN/found-coco128.json IN/coco128.json --gt-format gone",
               "eval IN/found-coco128.json IN/coco128.json --compare IN/gone",
               "eval IN/found-coco128.json IN/coco128.json --report new/page.html")  # fmt: skip


def _without_scores(folder: Path) -> None:
    text = (folder / "c.jsonl").read_text()
    (folder / "t.jsonl").write_text(re.sub(r'"score":[\d.]+,', "", text))


def convert_cases() -> Iterator[Case]:
    for name, source in (("coco128", "IN/coco128-40.json"), ("bccd", "IN/bccd-40")):
        sizes = f"IN/sizes-{name}.csv"
        for kind in FORMATS:
            back = [f"convert from-{kind} {kind}-to-{to} --to {to} --images {sizes}" for to in FORMATS]
            yield case(f"convert.{name}.{kind}", f"convert {source} from-{kind} --to {kind}", *back,
                       f"convert from-{kind} again --to coco --from {kind}",
                       f"convert from-{kind} plain --to jsonl")  # fmt: skip
    yield case("convert.options", "convert IN/coco128-40.json a --to yolo", "convert a b --to csv --images IN/coco128",
               "convert a c --to voc --images IN/coco128 --names IN/eighty.txt",
               "convert a d --to coco --images IN/coco128 --names IN/eleven.txt",
               "convert IN/bccd-40 e.json --to coco --names IN/eleven.txt")  # fmt: skip
    yield case("convert.detections", *(f"convert IN/found-coco128.json a-{kind} --to {kind}" for kind in FORMATS),
               *(f"convert IN/found-bccd.jsonl b-{kind} --to {kind}" for kind in FORMATS))  # fmt: skip
    yield case("convert.wrong", "convert IN/gone a --to coco", "convert IN/coco128.json a --to gone",
               "convert IN/coco128.json a", "convert IN/bad.json a --to voc", "convert IN/list.txt a --to voc",
               "convert IN/coco128.json new/a.json --to coco", "convert IN/empty a --to coco",
               "convert IN/coco128.json a --to csv --from voc", "convert IN/coco128.json a --to csv --from gone",
               "convert IN/coco128.json a --to csv --images IN/gone", "convert IN/coco128.json one --to voc",
               "convert IN/coco128.json one --to voc", "convert IN/kitti-truth a --to coco")  # fmt: skip


def training_cases() -> Iterator[Case]:
    few = "IN/bccd/Annotations --images IN/bccd/JPEGImages --list IN/three.txt"
    yield case("train.hog-crops", "train hog IN/crops IN/four -o mine.npz --random 200 --rounds 1 --cost 0.01 -v",
               "hog-detect IN/four --model mine.npz -f csv --max-det 20", "models info mine.npz")  # fmt: skip
    yield case("train.hog-annotations", "train hog IN/coco128.json --images IN/coco128 --class person -o p.npz "
               "--aspect 2.5 --random 300 --rounds 1 --cost 0.01 --seed 5", "models info p.npz --json")  # fmt: skip
    yield case("train.hog-mlp", "train hog IN/crops IN/four -o mine.npz --random 200 --rounds 0 --classifier mlp -q")
    yield case("train.rcnn", f"train rcnn {few} --max-proposals 60 --rounds 1 -o mine -v",
               f"train rcnn {few} --max-proposals 60 --rounds 1 -o mine --resume --cost 0.1",
               "rcnn IN/bccd/pictures --model mine/detector.npz --max-proposals 60 -f csv", "models info "
               "mine/detector.npz")  # fmt: skip
    network = f"{few} --epochs 1 --size 64 --batch 2 --processes 1 -o mine"
    yield case("train.yolo", f"train yolo {network}", "yolo IN/bccd/pictures --model mine/detector.onnx -f csv "
               "--conf 0.01 --max-det 20", without=("mine/checkpoint.pt",))  # fmt: skip
    for variant in ("fast", "faster"):
        more = " --max-proposals 60" if variant == "fast" else ""
        yield case(f"train.{variant}", f"train rcnn {network} --variant {variant}{more}",
                   "rcnn IN/bccd/pictures --model mine/detector.onnx -f csv --conf 0.01 --max-det 20",
                   without=("mine/checkpoint.pt",))  # fmt: skip
    yield case("train.wrong", "train hog IN/crops", "train hog IN/gone IN/four", "train rcnn IN/gone",
               "train yolo IN/list.txt", "train hog IN/coco128.json --images IN/coco128 --class gone",
               f"train rcnn {few} --features yolo-lite0 -o mine", f"train rcnn {few} --epochs 1 -o mine",
               f"train yolo {few} --size 65 -o mine",
               "train hog IN/crops IN/four --hog gone=1")  # fmt: skip


def library_cases() -> Iterator[Case]:
    yield case("library.readme", Step(("python", "-c", """
from detkit import Yolo, draw, read_image, write_image
yolo = Yolo(conf=0.3)
image = read_image("../../in/twelve/000000000009.jpg")
detections = yolo(image)
for one in detections[detections.scores > 0.5]:
    print(one.class_names[0], one.boxes[0])
print(image.shape, image.dtype, len(detections), detections.boxes.dtype, detections.scores.dtype, detections.class_ids)
write_image("out.jpg", draw(image, detections))
write_image("out.png", draw(image, detections))
""")))  # fmt: skip
    yield case("library.detectors", Step(("python", "-c", """
from detkit import FasterRcnn, FastRcnn, Rcnn, Yolo, read_image, suppress, Detections, DetkitError
path = "../../in/twelve/000000000025.jpg"
for make in (Yolo, FasterRcnn, FastRcnn, Rcnn):
    detector = make()
    found = detector(path)
    print(make.__name__, found.boxes.tolist(), found.scores.tolist(), found.class_ids.tolist(), found.class_names)
try:
    Yolo("gone.onnx")
except DetkitError as error:
    print(type(error).__name__, error)
try:
    read_image("gone.jpg")
except DetkitError as error:
    print(type(error).__name__, error)
""")))  # fmt: skip
    yield case("library.suppress", Step(("python", "-c", """
import numpy as np
from detkit import Detections, suppress
rng = np.random.default_rng(0)
corner, size = rng.uniform(0, 200, (300, 2)), rng.uniform(20, 80, (300, 2))
boxes = np.concatenate((corner, corner + size), 1).astype(np.float32)
scores, classes = rng.random(300, np.float32), rng.integers(0, 3, 300)
found = Detections(boxes, scores, classes, ("a", "b", "c"))
for method in ("greedy", "soft", "diou", "wbf", "none"):
    for agnostic in (False, True):
        kept = suppress(found, method, 0.4, agnostic=agnostic, max_detections=100)
        print(method, agnostic, kept.boxes.tolist(), kept.scores.tolist(), kept.class_ids.tolist())
""")))  # fmt: skip


def wrong_cases() -> Iterator[Case]:
    lines = {
        "command": ["gone", "yolo", "", "--gone"],
        "source": ["yolo IN/gone.jpg", "yolo IN/gone IN/four -f csv", "yolo @IN/gone.txt", "yolo IN/list.txt"],
        "values": ["yolo IN/four --conf 2", "yolo IN/four --conf a", "yolo IN/four --max-det 0", "yolo IN/four -f gone",
                   "yolo IN/four --nms gone", "yolo IN/four --size 3", "yolo IN/four --threads 0",
                   "yolo IN/four --nms soft --iou 0.5", "yolo IN/four --batch 0"],
        "class": ["yolo IN/four --class gone", "yolo IN/four --class Person", "yolo IN/four --class persn --class dog"],
        "model": ["yolo IN/four --model gone", "yolo IN/four --model gone.onnx", "yolo IN/four --model IN/list.txt",
                  "yolo IN/four --model person", "yolo IN/four --model lenet5-digits",
                  "yolo IN/four --model rcnn-lite0",
                  "yolo IN/four --head gone", "yolo IN/four --names IN/gone", "yolo IN/four --names IN/eleven.txt"],
        "device": ["yolo IN/four --device cuda", "yolo IN/four --device gone", "rcnn IN/four --device tensorrt",
                   "hog-detect IN/four --device cuda:1", "slide IN/four --device openvino"],
        "outputs": ["yolo IN/four -o found.gone", "yolo IN/four -f yolo", "yolo IN/four -o . -f csv", "yolo IN/four "
                    "--gt IN/coco128.json", "yolo IN/four --resume", "yolo IN/four --draw IN/four",
                    "yolo IN/four -o IN/four/000000000009.jpg -f csv", "yolo IN/four -o IN/coco128.json --gt "
                    "IN/coco128.json", "yolo IN/named -f coco --gt IN/coco128.json",
                    "yolo @IN/list.txt -o IN/list.txt"],
    }  # fmt: skip
    for name, commands in lines.items():
        yield case(f"wrong.{name}", *(step(line) if line else Step(()) for line in commands))


# ---------------------------------------------------------------------------------------------------------- the inputs


def build_inputs(folder: Path) -> None:
    """Everything that the cases read, from ../shared and a seed."""
    data = SHARED / "data"
    shutil.copytree(data / "coco128" / "images", folder / "coco128")
    shutil.copy(data / "coco128" / "instances.json", folder / "coco128.json")
    for name in ("models", "heads"):
        (folder / name).mkdir()
        for path in sorted((SHARED / name).glob("*.onnx")):
            shutil.copy(path, folder / name)
    pictures = sorted((folder / "coco128").iterdir())
    twelve, four = pictures[::11], pictures[:32:8]
    if pictures[1] not in twelve:
        twelve[1] = pictures[1]
    four[1] = pictures[1]
    for name, chosen in (("twelve", twelve), ("four", four), ("two", four[:2])):
        (folder / name).mkdir()
        for path in chosen:
            shutil.copy(path, folder / name)
    _write_pictures(folder, pictures)
    _write_bccd(folder, data / "bccd" / "BCCD")
    _write_lists(folder, twelve)
    _write_found(folder)
    _write_extras(folder)
    subprocess.run([sys.executable, SHARED / "cases" / "graphs.py", folder / "graphs"], check=True)
    (folder / "sidecar").mkdir()
    for name, content in (
        ("good", {"head": "yolov8", "names": [f"thing{k}" for k in range(80)]}),
        ("bad", {"haed": 1}),
    ):
        shutil.copy(folder / "heads" / "yolov8.onnx", folder / "sidecar" / f"{name}.onnx")
        (folder / "sidecar" / f"{name}.detkit.json").write_text(json.dumps(content))
    weights = np.random.default_rng(3).normal(0, 0.03, 3781)
    (folder / "svm.txt").write_text("\n".join(f"{value:.8f}" for value in weights))


def _write_pictures(folder: Path, pictures: list[Path]) -> None:
    """Pictures of all endings and kinds, broken ones, a video, crops."""
    for name in ("nested", "named", "endings", "broken", "empty", "crops"):
        (folder / name).mkdir()
    for place, path in zip(("a/1.jpg", "a/b/1.jpg", "2.jpg"), pictures[20:23], strict=True):
        (folder / "nested" / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / "nested" / place)
    shutil.copy(pictures[5], folder / "named" / "a street.JPG")
    shutil.copy(pictures[6], folder / "named" / "Größe.jpg")
    image = cv2.imread(str(pictures[1]))
    small = cv2.resize(image, (320, 213), interpolation=cv2.INTER_AREA)
    endings = folder / "endings"
    for ending in ("bmp", "png", "tif", "tiff", "webp", "ppm", "jpe", "jpeg", "avif"):
        _write(endings / f"picture-{ending}.{ending}", small)
    for name in ("doubled.png", "doubled.ppm"):
        _write(endings / name, small)
    shutil.copy(pictures[1], endings / "picture.jfif")
    gray = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    _write(endings / "gray.png", gray)
    _write(endings / "gray16.png", gray.astype(np.uint16) * 257)
    _write(endings / "alpha.png", np.dstack([small, gray]))
    # An EXIF block that says "turned by 90 degrees", put after the start of a JPEG.
    encoded = cv2.imencode(".jpg", small)[1].tobytes()
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    block = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (endings / "turned.jpg").write_bytes(encoded[:2] + block + encoded[2:])
    broken = folder / "broken"
    shutil.copy(pictures[0], broken / "1.jpg")
    shutil.copy(pictures[1], broken / "4.jpg")
    (broken / "2.jpg").write_text("no picture")
    (broken / "3.png").write_bytes(b"")
    (broken / "5.jpg").write_bytes(pictures[2].read_bytes()[:9000])
    video = cv2.VideoWriter(str(folder / "video.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 213))
    for frame in range(6):
        video.write(np.roll(small, 10 * frame, axis=1))
    video.release()
    rng = np.random.default_rng(8)
    for index in range(24):
        crop = rng.integers(0, 60, (128, 64, 3), np.uint8)
        cv2.ellipse(crop, (32, 64), (14, 44), float(rng.uniform(-8, 8)), 0, 360, (180, 190, 200), -1)
        cv2.circle(crop, (32, 16), 10, (220, 200, 190), -1)
        _write(folder / "crops" / f"{index:03d}.png", crop)
    page = np.full((120, 320), 255, np.uint8)
    cv2.putText(page, "0123 4567", (10, 70), cv2.FONT_HERSHEY_SIMPLEX, 1.6, 0, 4)
    _write(folder / "digits.png", 255 - page)


def _write(path: Path, image: np.ndarray) -> None:
    done, encoded = cv2.imencode(".jpg" if path.suffix == ".jpe" else path.suffix, image)
    assert done, path
    path.write_bytes(encoded.tobytes())


def _write_bccd(folder: Path, source: Path) -> None:
    shutil.copytree(source / "JPEGImages", folder / "bccd" / "JPEGImages")
    stems = (source / "ImageSets" / "Main" / "test.txt").read_text().split()
    (folder / "three.txt").write_text("\n".join(stems[:3]))
    for name, chosen in (("bccd/Annotations", stems), ("bccd-40", stems[:40])):
        (folder / name).mkdir()
        for stem in chosen:
            shutil.copy(source / "Annotations" / f"{stem}.xml", folder / name)
    (folder / "bccd" / "pictures").mkdir()
    for stem in stems[:5]:
        shutil.copy(source / "JPEGImages" / f"{stem}.jpg", folder / "bccd" / "pictures")


def _write_lists(folder: Path, twelve: list[Path]) -> None:
    """Lists of pictures, names and sizes, and a part of coco128."""
    names = [path.name for path in twelve[:3]]
    (folder / "list.txt").write_text("".join(f"../../in/twelve/{name}\n" for name in names))
    (folder / "list-bad.txt").write_text(f"../../in/twelve/{names[0]}\n../../in/gone.jpg\n../../in/svm.txt\n")
    (folder / "eighty.txt").write_text("".join(f"thing{k}\n" for k in range(80)))
    (folder / "eleven.txt").write_text("".join(f"digit{k}\n" for k in range(11)))
    (folder / "cats.txt").write_text("Cat\ndog\ncat\n")
    (folder / "cats11.txt").write_text("Cat\ndog\ncat\n" + "".join(f"digit{k}\n" for k in range(7)) + "background\n")
    (folder / "bad.json").write_text('{"images": [')
    document = json.loads((folder / "coco128.json").read_text())
    images = document["images"]
    lines = [f"{one['file_name']},{one['width']},{one['height']}\n" for one in images]
    (folder / "sizes-coco128.csv").write_text("file,width,height\n" + "".join(lines))
    bccd = [f"{path.stem}.jpg,640,480\n" for path in sorted((folder / "bccd" / "Annotations").iterdir())]
    (folder / "sizes-bccd.csv").write_text("file,width,height\n" + "".join(bccd))
    document["images"] = images[:40]
    kept = {one["id"] for one in document["images"]}
    document["annotations"] = [one for one in document["annotations"] if one["image_id"] in kept]
    (folder / "coco128-40.json").write_text(json.dumps(document))


def _write_found(folder: Path) -> None:
    """Detections of coco128 and bccd, made from the annotations: moved, missed, confused and invented boxes."""
    document = json.loads((folder / "coco128.json").read_text())
    ids = [one["id"] for one in document["categories"]]
    sizes = {one["id"]: (one["width"], one["height"]) for one in document["images"]}
    boxes = [(one["image_id"], one["category_id"], one["bbox"]) for one in document["annotations"]]
    for seed, name in enumerate(("found", "other")):
        results = [
            {"image_id": image, "category_id": category, "bbox": box, "score": score}
            for image, category, box, score in _disturbed(boxes, ids, sizes, seed)
        ]
        (folder / f"{name}-coco128.json").write_text(json.dumps(results))
    truth: list[tuple[str, str, list[float]]] = []
    for path in sorted((folder / "bccd" / "Annotations").iterdir()):
        for one in ElementTree.parse(path).getroot().iter("object"):
            x1, y1, x2, y2 = (float(one.findtext(f"bndbox/{key}", "0")) for key in ("xmin", "ymin", "xmax", "ymax"))
            truth.append((f"{path.stem}.jpg", str(one.findtext("name")), [x1, y1, x2 - x1, y2 - y1]))
    names = sorted({one[1] for one in truth})
    files = {one[0]: (640, 480) for one in truth}
    for seed, name in enumerate(("found", "other")):
        lines: dict[str, list[dict]] = {file: [] for file in files}
        for file, label, (x, y, width, height), score in _disturbed(truth, names, files, seed + 10):
            box = [x, y, round(x + width, 2), round(y + height, 2)]
            lines[file].append({"box": box, "score": score, "class": label, "class_id": names.index(label)})
        text = [
            json.dumps({"file": file, "width": 640, "height": 480, "detections": found})
            for file, found in lines.items()
        ]
        (folder / f"{name}-bccd.jsonl").write_text("".join(f"{line}\n" for line in text))


def _disturbed(boxes: list, classes: list, sizes: dict, seed: int) -> Iterator[tuple]:
    rng = np.random.default_rng(seed)
    for image, label, (x, y, width, height) in boxes:
        if rng.random() < 0.15:
            continue
        moved = rng.normal(0, 0.05 + 0.02 * seed % 10, 4)
        box = [x + moved[0] * width, y + moved[1] * height, width * np.exp(moved[2]), height * np.exp(moved[3])]
        label = label if rng.random() < 0.9 else classes[int(rng.integers(len(classes)))]
        yield image, label, [round(float(value), 2) for value in box], round(float(rng.beta(4, 2)), 3)
    for image, (width, height) in sizes.items():
        for _ in range(3):
            x, y = rng.uniform(0, 0.8, 2) * (width, height)
            box = [round(float(value), 2) for value in (x, y, *rng.uniform(10, 90, 2))]
            yield image, classes[int(rng.integers(len(classes)))], box, round(float(rng.beta(2, 4)), 3)


def _write_extras(folder: Path) -> None:
    """A COCO file with crowds, ignored boxes, an annotation 0, names that differ by case; and KITTI with scores."""
    rng = np.random.default_rng(21)
    images = [{"id": k, "file_name": f"sub/{k:03d}.png", "width": 300, "height": 200} for k in range(1, 13)]
    categories = [{"id": k, "name": name} for k, name in ((3, "Cat"), (5, "dog"), (9, "cat"))]
    annotations, results = [], []
    for number in range(60):
        box = [round(float(value), 1) for value in (*rng.uniform(0, 200, 2), *rng.uniform(5, 90, 2))]
        image, category = int(rng.integers(1, 13)), (3, 5, 9)[int(rng.integers(3))]
        annotations.append({"id": number, "image_id": image, "category_id": category, "bbox": box, "area": box[2] *
                            box[3], "iscrowd": int(number % 9 == 0), "ignore": int(number % 7 == 0)})  # fmt: skip
        moved = [round(value + float(rng.normal(0, 3)), 2) for value in box]
        results.append({"image_id": image, "category_id": category, "bbox": [*moved[:2], *map(abs, moved[2:])],
                        "score": round(float(rng.random()), 2)})  # fmt: skip
    (folder / "extras.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    (folder / "found-extras.json").write_text(json.dumps(results))
    for name in ("kitti-truth", "kitti-found"):
        (folder / name).mkdir()
    for image in range(6):
        truth, found = [], []
        for _ in range(5):
            x, y, width, height = rng.uniform(0, 300), rng.uniform(0, 100), *rng.uniform(20, 90, 2)
            label = ("Car", "Pedestrian", "DontCare")[int(rng.integers(3))]
            rest = "0 0 0 0 0 0 0"
            truth.append(f"{label} 0.00 0 -10 {x:.2f} {y:.2f} {x + width:.2f} {y + height:.2f} {rest}")
            x += rng.normal(0, 4)
            if label != "DontCare":
                found.append(
                    f"{label} -1 -1 -10 {x:.2f} {y:.2f} {x + width:.2f} {y + height:.2f} {rest} {rng.random():.3f}"
                )
        (folder / "kitti-truth" / f"{image:06d}.txt").write_text("".join(f"{line}\n" for line in truth))
        (folder / "kitti-found" / f"{image:06d}.txt").write_text("".join(f"{line}\n" for line in found))


# ---------------------------------------------------------------------------------------------------------- recording


def record(code: Path, out: Path, patterns: Sequence[str], jobs: int) -> int:
    cases = [one for one in all_cases() if chosen(one.name, patterns)]
    if not cases:
        sys.exit(f"no case is named like {' or '.join(patterns)}")
    if not (code / "detkit" / "__main__.py").is_file():
        sys.exit(f"{code} is no checkout of detkit")
    if out.exists() and any(out.iterdir()) and not (out / "meta.json").is_file():
        sys.exit(f"{out} is not empty and no recording: name another folder")
    if not patterns:
        shutil.rmtree(out, ignore_errors=True)
    try:
        SCRATCH.mkdir()
    except FileExistsError:
        sys.exit(f"{SCRATCH} is there: another recording is under way, or was killed (then remove it)")
    started = time.monotonic()
    try:
        for name in ("detkit", "models"):
            leave = shutil.ignore_patterns("__pycache__")
            shutil.copytree(code / name, SCRATCH / "code" / name, ignore=leave)
        for path in (SCRATCH / "code").rglob("*.py"):
            os.utime(path, (0, 10**9))  # numba's cache asks for the time; its folder's name, for the content
        (SCRATCH / "in").mkdir()
        build_inputs(SCRATCH / "in")
        inputs = hashes(SCRATCH / "in")
        environment = _environment()
        _check_code(environment)
        (out / "cases").mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(jobs) as pool:
            # the slow ones first, so that both workers finish together; their names say which they are
            order = sorted(cases, key=lambda one: not one.name.startswith(("train", "rcnn", "eval.from", "yolo.all")))
            for number, (one, seconds) in enumerate(pool.map(lambda c: (c, _run(c, out, environment)), order), 1):
                print(f"{number}/{len(cases)} {one.name} {seconds:.1f} s", flush=True)
        changed = [name for name, sha in hashes(SCRATCH / "in").items() if inputs.get(name) != sha]
        taken = round(time.monotonic() - started)
        meta = {"code": str(code.resolve()), "seconds": taken, "inputs": inputs,
                "inputs_changed_by_commands": changed}  # fmt: skip
        (out / "meta.json").write_text(json.dumps(meta, indent=1))
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)
    if changed:
        print(f"commands changed or added inputs: {', '.join(changed)}")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = f"{usage.ru_utime + usage.ru_stime:.0f} s of the processor"
    print(f"{len(cases)} cases, {sum(len(one.steps) for one in cases)} commands in {taken} s ({used}), in {out}")
    return 0


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DETKIT", "NUMBA", "PYTHON"))}
    kernels = hashlib.sha256()
    for path in sorted((SCRATCH / "code").rglob("*.py")):
        if b"compiled" in path.read_bytes():
            kernels.update(str(path).encode() + path.read_bytes())
    numba = Path(tempfile.gettempdir()) / f"detkit-compare-numba-{kernels.hexdigest()[:16]}"
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return kept | single | {
        "PYTHONPATH": str(SCRATCH / "code"), "DETKIT_HOME": str(SCRATCH / "home"), "COLUMNS": "100",
        "LC_ALL": "C.UTF-8", "TZ": "UTC", "NO_COLOR": "1", "TERM": "dumb", "CUDA_VISIBLE_DEVICES": "",
        "NUMBA_CACHE_DIR": str(numba),
    }  # fmt: skip


def _check_code(environment: dict[str, str]) -> None:
    found = subprocess.run(
        [sys.executable, "-c", "import detkit; print(detkit.__file__)"],
        cwd=SCRATCH, env=environment, check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    if not found.startswith(str(SCRATCH)):
        sys.exit(f"Python takes detkit from {found}, not from the code that was asked for")


def _run(one: Case, out: Path, environment: dict[str, str]) -> float:
    started = time.monotonic()
    folder = SCRATCH / "runs" / one.name
    folder.mkdir(parents=True)
    kept = out / "cases" / one.name
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    steps = []
    for number, command in enumerate(one.steps):
        if command.before is not None:
            command.before(folder)
        words = command.arguments
        words = words[1:] if words[:1] == ("python",) else ("-m", "detkit", *words)
        try:
            done = subprocess.run(
                [sys.executable, *words], cwd=folder, env=environment, input=command.stdin.encode(),
                capture_output=True, timeout=STEP_SECONDS,
            )  # fmt: skip
            status, stdout, stderr = done.returncode, done.stdout, done.stderr
        except subprocess.TimeoutExpired:
            status, stdout, stderr = -999, b"", b"timeout"
        (kept / f"{number}.stdout").write_bytes(stdout)
        (kept / f"{number}.stderr").write_bytes(stderr)
        steps.append({"arguments": command.arguments, "status": status})
    files = {
        name: sha for name, sha in hashes(folder).items() if not any(fnmatch.fnmatch(name, p) for p in one.without)
    }
    for name in files:
        if (folder / name).stat().st_size <= KEPT_BYTES:
            (kept / "files" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, kept / "files" / name)
    (kept / "case.json").write_text(json.dumps({"steps": steps, "files": files}, indent=1))
    shutil.rmtree(folder)
    return time.monotonic() - started


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*")) if path.is_file()
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- comparing


@dataclass(frozen=True)
class Difference:
    case: str
    file: str
    what: str


def chosen(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def compare(first: Path, second: Path, patterns: Sequence[str], intended: Path | None) -> int:
    for folder in (first, second):
        if not (folder / "meta.json").is_file():
            sys.exit(f"{folder} is no complete recording")
    metas = [json.loads((folder / "meta.json").read_text()) for folder in (first, second)]
    names = [
        {path.name for path in (folder / "cases").iterdir() if chosen(path.name, patterns)}
        for folder in (first, second)
    ]
    found: list[Difference] = []
    inputs = [meta["inputs"] for meta in metas]
    apart = [name for name in sorted(inputs[0].keys() | inputs[1].keys()) if inputs[0].get(name) != inputs[1].get(name)]
    if apart:
        found.append(Difference("inputs", apart[0], f"{len(apart)} inputs of the cases differ; record both again"))
    for name in sorted(names[0] ^ names[1]):
        found.append(Difference(name, "case", f"only in {first if name in names[0] else second}"))
    for name in sorted(names[0] & names[1]):
        found += _differences(name, first / "cases" / name, second / "cases" / name)
    rules = [line.split(maxsplit=2) for line in intended.read_text().splitlines() if line.strip() and line[0] != "#"] \
        if intended is not None else []  # fmt: skip
    matched: Counter[int] = Counter()
    count = 0
    for one in found:
        rule = next((k for k, (case_, file, *_) in enumerate(rules)
                     if fnmatch.fnmatch(one.case, case_) and fnmatch.fnmatch(one.file, file)), None)  # fmt: skip
        if rule is None:
            count += 1
            print(f"{one.case}: {one.file}: {one.what}")
        else:
            matched[rule] += 1
    for place, rule_ in enumerate(rules):
        print(
            f"intended ({matched[place]} times): {' '.join(rule_)}" if matched[place] else f"not met: {' '.join(rule_)}"
        )
    both = names[0] & names[1]
    cases = {one.case for one in found}
    print(
        f"{len(both)} cases compared, {len(both - cases)} equal; {count} differences, {sum(matched.values())} intended"
    )
    return 1 if count else 0


def _differences(name: str, first: Path, second: Path) -> Iterator[Difference]:
    a, b = (json.loads((folder / "case.json").read_text()) for folder in (first, second))
    if [one["arguments"] for one in a["steps"]] != [one["arguments"] for one in b["steps"]]:
        yield Difference(name, "case", "the commands differ: record both with the same script")
        return
    several = len(a["steps"]) > 1
    for number, (one, other) in enumerate(zip(a["steps"], b["steps"], strict=True)):
        command = f" [{shlex.join(one['arguments'])}]" if several else ""
        if one["status"] != other["status"]:
            yield Difference(name, "status", f"{one['status']} -> {other['status']}{command}")
        for stream, normal in (("stdout", _normal), ("stderr", _normal_stderr)):
            texts = [normal((folder / f"{number}.{stream}").read_bytes()) for folder in (first, second)]
            if texts[0] != texts[1]:
                yield Difference(name, stream, f"{first_difference(*texts)}{command}")
    for file in sorted(a["files"].keys() | b["files"].keys()):
        if file not in b["files"] or file not in a["files"]:
            yield Difference(name, file, "is missing in the second" if file in a["files"] else "only in the second")
        elif a["files"][file] != b["files"][file]:
            paths = [folder / "files" / file for folder in (first, second)]
            what = _file_difference(*paths)
            if what is not None:
                yield Difference(name, file, what)


def _file_difference(first: Path, second: Path) -> str | None:
    """What differs between two files; None if it is only a path of the scratch folder, or a training's seconds."""
    if not first.is_file() or not second.is_file():
        return "the content differs (too large to be kept)"
    if first.suffix in (".npz", ".npy"):
        return _array_difference(first, second)
    contents = [path.read_bytes() for path in (first, second)]
    images = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None for data in contents]
    if images[0] is not None and images[1] is not None:
        return picture_difference(images[0], images[1])
    texts = [_normal(data) for data in contents]
    if first.name == "history.csv":
        texts = [_without_seconds(text) for text in texts]
    if texts[0] == texts[1]:
        return None
    return first_difference(*texts)


def _without_seconds(text: str) -> str:
    """The losses of a training, without the column that says when."""
    rows = [line.split(",") for line in text.splitlines()]
    place = rows[0].index("seconds") if rows and "seconds" in rows[0] else None
    for row in rows if place is not None else ():
        row[place] = "<time>"
    return "\n".join(",".join(row) for row in rows)


def _array_difference(first: Path, second: Path) -> str:
    loaded = [np.load(path, allow_pickle=False) for path in (first, second)]
    tables = [dict(one) if isinstance(one, np.lib.npyio.NpzFile) else {"array": one} for one in loaded]
    if tables[0].keys() != tables[1].keys():
        return f"the arrays {sorted(tables[0])} -> {sorted(tables[1])}"
    parts = []
    for key in tables[0]:
        a, b = tables[0][key], tables[1][key]
        if a.shape != b.shape or a.dtype != b.dtype:
            parts.append(f"{key} {a.dtype}{a.shape} -> {b.dtype}{b.shape}")
        elif a.tobytes() != b.tobytes():
            far = f", by at most {np.abs(a.astype(float) - b).max():.3g}" if a.dtype.kind in "fiu" else ""
            parts.append(f"{key}: {int((a != b).sum())} of {a.size} values differ{far}")
    return "; ".join(parts) or "equal arrays, but not equal bytes"


def picture_difference(first: np.ndarray, second: np.ndarray) -> str:
    if first.shape != second.shape:
        return f"the size {first.shape} -> {second.shape}"
    apart = cv2.absdiff(first, second).reshape(*first.shape[:2], -1).max(axis=2)
    if not apart.any():
        return "equal pixels, but not equal bytes"
    return f"{int((apart > 0).sum())} of {apart.size} pixels differ, by at most {int(apart.max())}"


def first_difference(first: str, second: str) -> str:
    """The first line that differs, cut to where it does."""
    a, b = first.splitlines(), second.splitlines()
    number = next((k for k, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), min(len(a), len(b)))
    one, other = (lines[number] if number < len(lines) else None for lines in (a, b))
    if one is None and other is None:
        return "the ends of lines differ"
    if one is None or other is None:
        return f"line {number + 1}: {_cut(one, 0)} -> {_cut(other, 0)}"
    column = next((k for k, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), min(len(one), len(other)))
    embedded = _embedded(one, other)
    return embedded or f"line {number + 1}: {_cut(one, column)} -> {_cut(other, column)}"


def _embedded(first: str, second: str) -> str | None:
    """How a picture that is embedded in a page differs, where the first difference is in one."""
    pattern = re.compile(r"data:image/\w+;base64,([A-Za-z0-9+/=]+)")
    for one, other in zip(pattern.finditer(first), pattern.finditer(second), strict=False):
        if one[1] != other[1]:
            data = [np.frombuffer(base64.b64decode(match[1]), np.uint8) for match in (one, other)]
            images = [cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) for encoded in data]
            if images[0] is not None and images[1] is not None:
                return f"an embedded picture: {picture_difference(images[0], images[1])}"
    return None


def _cut(line: str | None, column: int) -> str:
    if line is None:
        return "(no line)"
    begin = max(0, column - 50)
    return f"{'...' if begin else ''}{line[begin : column + 50]!r}"


def _normal(data: bytes) -> str:
    """Text without the path of the scratch folder; bytes that are no text stay apart."""
    text = data.decode("utf-8", errors="surrogateescape")
    return re.sub(rf"/[\w./-]*{SCRATCH.name}(?![\w-])", "<scratch>", text)


def _normal_stderr(data: bytes) -> str:
    late = re.compile(r"compiling numerical loops|^detkit: \d+ of \d+ [\w ]+, .* left$")  # only where it takes seconds
    lines = [line for line in _normal(data).splitlines() if not late.search(line)]
    text = "\n".join(lines)
    text = re.sub(r"in \d+(\.\d+)? s(, \d+(\.\d+)?/s)?", "in <time>", text)
    return re.sub(r"\b\d+(\.\d+)?( ms| s| min|/s)\b", "<time>", text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("record", help="run all cases with the code of a checkout")
    one.add_argument("--code", type=Path, required=True, help="the checkout")
    one.add_argument("--out", type=Path, required=True, help="the folder of the recording; replaced")
    one.add_argument("--only", action="append", default=[], metavar="PATTERN", help="only cases named like this")
    one.add_argument("--jobs", type=int, default=2, help="cases at the same time (default: 2)")
    two = commands.add_parser("compare", help="say what differs between two recordings")
    two.add_argument("first", type=Path)
    two.add_argument("second", type=Path)
    two.add_argument("--only", action="append", default=[], metavar="PATTERN", help="only cases named like this")
    two.add_argument("--intended", type=Path, help="differences that are meant: CASE FILE REASON, one a line")
    commands.add_parser("list", help="print the names of all cases")
    options = parser.parse_args()
    if options.command == "compare":
        return compare(options.first, options.second, options.only, options.intended)
    if not SHARED.is_dir():
        sys.exit(f"needs the data and networks of {SHARED}")
    if options.command == "list":
        print("\n".join(one.name for one in all_cases()))
        return 0
    if importlib.util.find_spec("onnx") is None:
        sys.exit("the graphs need the package onnx (the extra `test`)")
    return record(options.code, options.out, options.only, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
