"""Timing a network: stages of the pipeline, and throughput over batch sizes and threads."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from detkit.cores import available_cores
from detkit.detectors.selection import Selection
from detkit.detectors.yolo.feeding import Prepared
from detkit.detectors.yolo.graph_options import GraphOptions
from detkit.detectors.yolo.yolo_detector import Yolo
from detkit.errors import InputError
from detkit.graphs.runtime import Runtime
from detkit.images import Image, read_image
from detkit.runs.sources import Complain, find_items

# Pictures kept in memory at most; more would only measure the same again.
MOST_PICTURES = 16


@dataclass(frozen=True)
class Effort:
    """Runs of each measurement, of which the median counts, and the batch sizes."""

    runs: int = 30
    batches: tuple[int, ...] = (1, 2, 4, 8)


def measure(
    model: str | None,
    pictures: Sequence[Image],
    runtime: Runtime = Runtime(),
    effort: Effort = Effort(),
    head: str | None = None,
) -> dict[str, Any]:
    """Times of each stage in seconds, and pictures per second of the network alone for each batch and thread count.

    The first run of everything is not counted. Batch sizes are left out where the graph's batch is fixed. Without
    pictures a synthetic one is used.
    """
    options = GraphOptions(head=head)
    yolo = Yolo(model, Selection(), runtime, options)
    shown = list(pictures[:MOST_PICTURES]) or [_synthetic()]
    fixed = yolo.feeding.fixed_batch
    batches = (fixed,) if fixed else effort.batches
    throughput: list[dict[str, Any]] = []
    for count in [runtime.threads] if runtime.threads else _thread_counts():
        widest = replace(runtime, threads=count, batch=max(batches))
        throughput += _throughput(Yolo(model, Selection(), widest, options), shown[0], effort.runs, batches)
    return {
        "model": str(yolo.network.path),
        "head": yolo.head.name,
        "provider": yolo.network.provider,
        "threads": yolo.network.threads,
        "fixed_batch": fixed,
        "stages": _stages(yolo, shown, effort.runs),
        "throughput": throughput,
    }


def _stages(yolo: Yolo, pictures: list[Image], runs: int) -> dict[str, dict[str, float]]:
    times: dict[str, list[float]] = {"prepare": [], "run": [], "decode": [], "suppress": []}
    for number in range(runs + 1):
        picture = pictures[number % len(pictures)]
        marks = [time.perf_counter()]
        prepared = yolo.prepare(picture)
        marks.append(time.perf_counter())
        outputs = yolo.run([prepared])
        marks.append(time.perf_counter())
        candidates = yolo.decode(outputs, 0, prepared.placement.size)
        marks.append(time.perf_counter())
        yolo.suppress(candidates, prepared.placement)
        marks.append(time.perf_counter())
        if number:
            for stage, begin, end in zip(times, marks, marks[1:], strict=False):
                times[stage].append(end - begin)
    medians = {stage: statistics.median(values) for stage, values in times.items()}
    total = sum(medians.values())
    return {
        stage: {"median": medians[stage], "best": min(values), "share": medians[stage] / total}
        for stage, values in times.items()
    }


def _throughput(yolo: Yolo, picture: Image, runs: int, batches: Sequence[int]) -> list[dict[str, Any]]:
    prepared = yolo.prepare(picture)
    entries = []
    for batch in batches:
        seconds = _median_seconds(lambda pictures: yolo.run(pictures), [prepared] * batch, max(2, runs // batch))
        entries.append({"threads": yolo.network.threads, "batch": batch, "pictures_per_second": batch / seconds})
    return entries


def _median_seconds(run: Callable[[list[Prepared]], Any], pictures: list[Prepared], runs: int) -> float:
    run(pictures)
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        run(pictures)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _thread_counts() -> list[int]:
    """1, 2, 4, ... up to the cores that this process may use."""
    cores = available_cores()
    counts = [1]
    while counts[-1] * 2 <= cores:
        counts.append(counts[-1] * 2)
    return counts if counts[-1] == cores else [*counts, cores]


def pictures_of(sources: Sequence[str], complain: Complain) -> list[Image]:
    """The first pictures of `sources` that can be read, as many as are measured on. InputError where there is none."""
    pictures = []
    for item in [item for item in find_items(sources, complain) if not item.video][:MOST_PICTURES]:
        try:
            pictures.append(read_image(item.path))
        except InputError as error:
            complain(item.name, str(error).removeprefix(f"{item.path}: "))
    if not pictures:
        raise InputError("none of the pictures could be read")
    return pictures


def _synthetic() -> Image:
    """A picture of 640 x 480 with coarse noise, so that decoding has something to look at."""
    coarse = np.random.default_rng(0).integers(0, 256, (15, 20, 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(32, axis=0).repeat(32, axis=1))
