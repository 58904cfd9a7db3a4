"""What all detection commands do with their options: a run, told on stderr, its results on stdout or in files."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import typer

from detkit.cli.console import RunProgress, counted, counts_of, say, show, start_logging
from detkit.cli.live_sources import LiveOptions, Sources, all_sources
from detkit.cli.options import DetectionOptions
from detkit.cli.run_report import facts_of_run, report_of_run
from detkit.detectors.base import Detector
from detkit.errors import ExitStatus
from detkit.images import set_max_pixels
from detkit.remote import Place, place
from detkit.runs.batch import Reading
from detkit.runs.record import Record
from detkit.runs.run import Output, Pictures, Run, Summary
from detkit.runs.sources import Item
from detkit.runs.tasks import Detection

# Where a GPU waits for them, and nobody says it.
GPU_READERS = 64
More = tuple[tuple[str | None, Callable[[Any], Pictures]], ...]


@dataclass(frozen=True)
class Done:
    """A run that is through: with --out how many boxes of each class there are, and whether it was of a stream."""

    run: Run
    found: Counter[str]
    live: bool


def run_detection(
    command: str,
    options: DetectionOptions,
    build: Callable[[], Detector],
    own: Mapping[str, Any],
    more: More = (),
) -> None:
    """Run the detector that `build` makes over the sources and say what came of it; `own` are the command's options.

    more   (folder, what makes pictures of a picture for the detector), where a folder is named
    """
    done = detect_all(command, options, build, own, more)
    run = done.run
    if not options.quiet:
        if len(run.items) > 1 or done.live:
            tell(run.summary)
        if done.found:
            say(f"found {counts_of(done.found)}")
        tell_painted(run)
        if options.report is not None:
            say(f"report: {options.report}")
    if run.summary.failures:
        raise typer.Exit(int(ExitStatus.SOME_INPUTS_FAILED))


def detect_all(
    command: str,
    options: DetectionOptions,
    build: Callable[[], Detector],
    own: Mapping[str, Any],
    more: More = (),
    items: Sequence[Item] | None = None,
) -> Done:
    """The same without a word on the results.

    items   the pictures and their names, in place of the sources
    """
    start_logging(quiet=options.quiet, verbose=options.verbose)
    options.selection()  # says now what is wrong with it, before a model is loaded
    otherwise = "table" if sys.stdout.isatty() else "jsonl"
    plain = _output(options, otherwise)
    plain.writer()
    single = build()
    detector = options.tiled(single)
    for line in detector.about() if options.verbose else ():
        say(line)
    made = tuple((place(folder), make(single)) for folder, make in more if folder is not None)
    spare = [
        detector.path or options.model,
        options.gt,
        *own.values(),
        *(s[1:] for s in options.sources if s[:1] == "@"),
    ]
    spared = tuple(path for path in spare if isinstance(path, str | Path))
    output = _output(options, otherwise, made, spared)
    settings = {"command": command, "format": output.format, "model": detector.fingerprint, **_settings(options), **own}
    # Decoders and onnxruntime fill the cores; OpenCV's own threads would only compete with them.
    cv2.setNumThreads(1)
    if options.max_pixels is not None:
        set_max_pixels(options.max_pixels)

    problems: list[tuple[str, str]] = []
    if items is None:
        told = LiveOptions(options.latest, options.reconnect)
        sources = all_sources(
            options.sources, told, lambda name, why: problems.append((name, why)), resume=options.resume
        )
    else:
        sources = Sources(items, None)
    items = sources.items
    watching = output.path is None and output.format == "table" and sys.stdout.isatty()
    progress = RunProgress("pictures", shown=not options.quiet and len(items) > 1 and not watching)
    whole = Summary()
    reading = replace(reading_of(options), every=options.every, live=sources.live)
    with sources.ended_by_signals(), report_of_run(options.report, items, output, spared) as report:
        output = replace(output, seen=None if report is None else report.see)
        run = Run(Detection(detector), items, output, reading, progress)
        for name, why in problems:
            run.fail(name, why)
        shown = _unchanged if report is None else report.add
        if output.path is not None:
            run.write(settings, lambda record: shown(whole.seen(record)))
        elif output.format == "table":
            _table(run, shown)
        else:
            run.write_to(sys.stdout.buffer, shown)
        if report is not None:
            report.write(f"detkit {command}", facts_of_run(options, own, detector), options.confs[0])
    return Done(run, whole.found, sources.live)


def _unchanged(record: Record) -> Record:
    return record


def _output(
    options: DetectionOptions,
    otherwise: str,
    more: tuple[tuple[Place, Pictures], ...] = (),
    spare: tuple[str | Path, ...] = (),
) -> Output:
    path = None if options.out in (None, "-") else place(str(options.out))
    output = Output(
        path,
        None if options.format is None else options.format.value,
        None if options.draw is None else place(options.draw),
        None if options.crops is None else place(options.crops),
        options.gt,
        options.resume,
        more,
        spare,
    )
    return output.named(otherwise)


def reading_of(options: DetectionOptions) -> Reading:
    """How pictures are read: so many more are fetched at a time as what waits for them is faster."""
    waits = options.device.startswith(("cuda", "tensorrt"))
    return Reading(workers=options.workers, readers=options.readers or (GPU_READERS if waits else None))


def _settings(options: DetectionOptions) -> dict[str, Any]:
    """The shared options that results depend on."""
    conf, by_class = options.confs
    return {
        "conf": conf,
        **({"conf of classes": by_class} if by_class else {}),
        "iou": options.iou,
        "max_det": options.max_det,
        "classes": options.classes,
        "nms": options.nms.value,
        "agnostic": options.agnostic,
        **({"every": options.every} if options.every > 1 else {}),
        **({"tile": options.tile, "overlap": options.overlap} if options.tile else {}),
        "draw": options.draw,
        "crops": options.crops,
        **({"report": str(options.report)} if options.report else {}),
    }


def _table(run: Run, each: Callable[[Record], Record]) -> None:
    """The boxes of one picture, or a line a picture and what all have in the end."""
    from detkit.cli.tables import print_detections, print_totals
    from detkit.runs.record import one_line

    single = len(run.items) == 1 and not run.items[0].video
    for record in map(each, run.records()):
        if single and "error" not in record:
            print_detections(record)
        elif "error" not in record:
            show(one_line(record))
    if not single and run.summary.found:
        print_totals(run.summary.found, run.summary.pictures)
    sys.stdout.flush()


def tell_painted(run: Run) -> None:
    """Say where the pictures are that a run has written."""
    for what, where in run.painted():
        say(f"{what}: {where}")


def tell(summary: Summary) -> None:
    """Say what a run went through, and how fast."""
    boxes = sum(summary.found.values())
    rate = f", {summary.pictures / summary.seconds:.1f}/s" if summary.seconds and summary.pictures else ""
    empty = f"; nothing in {summary.empty}" if summary.empty else ""
    failed = f"; {summary.failures} could not be read" if summary.failures else ""
    done = f"{counted(summary.pictures, 'picture')}, {counted(boxes, 'box', 'boxes')}"
    say(f"{done} in {summary.seconds:.1f} s{rate}{empty}{failed}")
