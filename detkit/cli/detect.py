"""What all detection commands do with their options: a run, told on stderr, its results on stdout or in files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import typer

from detkit.cli.at_scale import run_at_scale
from detkit.cli.console import RunProgress, counted, counts_of, say, show, start_logging
from detkit.cli.live_sources import LiveOptions, all_sources
from detkit.cli.options import DetectionOptions
from detkit.cli.run_report import facts_of_run, report_of_run
from detkit.detectors.base import Detector
from detkit.errors import ExitStatus, UsageError
from detkit.images import set_max_pixels
from detkit.remote import Place, place
from detkit.runs.batch import Reading
from detkit.runs.jobs import Job
from detkit.runs.record import Record
from detkit.runs.run import Output, Pictures, Run
from detkit.runs.sources import find_items
from detkit.runs.summary import Summary
from detkit.runs.tasks import Detection

# Where a GPU waits for them, and nobody says it.
GPU_READERS = 64
More = tuple[tuple[str | None, Callable[[Any], Pictures]], ...]


def run_detection(
    command: str,
    options: DetectionOptions,
    build: Callable[[], Detector],
    own: Mapping[str, Any],
    more: More = (),
) -> None:
    """Run the detector that `build` makes over the sources; `own` are the command's own options.

    more   (folder, what makes pictures of a picture for the detector), where a folder is named
    """
    start_logging(quiet=options.quiet, verbose=options.verbose)
    options.selection()  # says now what is wrong with it, before a model is loaded
    scale = options.scale()
    if not scale.whole and options.report is not None:
        raise UsageError(f"--report is a page of one run on one machine, and {scale.option} makes parts of it")
    otherwise = "table" if sys.stdout.isatty() else "jsonl"
    _output(options, otherwise).writer()

    def built() -> tuple[Detector, Detector]:
        single = build()
        return single, options.tiled(single)

    def made(single: Detector, detector: Detector) -> tuple[Detection, Output]:
        # Decoders and onnxruntime fill the cores; OpenCV's own threads would only compete with them.
        cv2.setNumThreads(1)
        if options.max_pixels is not None:
            set_max_pixels(options.max_pixels)
        pictures = tuple((place(folder), make(single)) for folder, make in more if folder is not None)
        lists = (source[1:] for source in options.sources if source[:1] == "@")
        spare = [detector.path or options.model, options.gt, *own.values(), *lists]
        kept = tuple(path for path in spare if isinstance(path, str | Path))
        return Detection(detector), _output(options, otherwise, pictures, kept)

    single, detector = built()
    for line in detector.about() if options.verbose else ():
        say(line)
    task, output = made(single, detector)
    settings = {"command": command, "format": output.format, "model": detector.fingerprint, **_settings(options), **own}

    problems: list[tuple[str, str]] = []

    def complain(name: str, why: str) -> None:
        problems.append((name, why))

    reading = replace(reading_of(options), every=options.every)
    live = LiveOptions(options.latest, options.reconnect)
    whole = Summary()
    if scale.whole:
        sources = all_sources(options.sources, live, complain, resume=options.resume)
        items = sources.items
        watching = output.path is None and output.format == "table" and sys.stdout.isatty()
        progress = RunProgress("pictures", shown=not options.quiet and len(items) > 1 and not watching)
        reading = replace(reading, live=sources.live)
        with sources.ended_by_signals(), report_of_run(options.report, items, output, output.spare) as report:
            output = replace(output, seen=None if report is None else report.see)
            run = Run(task, items, output, reading, progress)
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
        summary, painted, told = run.summary, run.painted(), len(items) > 1 or sources.live
    else:
        if live != LiveOptions():
            raise UsageError(f"--latest and --reconnect are for streams, and {scale.option} makes parts of a list")
        job = Job(lambda: made(*built()), settings, reading)
        progress = RunProgress("parts" if scale.engine else "pictures", shown=not options.quiet)
        summary = run_at_scale(
            scale, job, (task, output), lambda: find_items(options.sources, complain, sys.stdin), progress, whole.seen
        )
        for name, why in problems:
            summary.failures += 1
            progress.failed(name, why)
        painted, told = output.painted(summary), summary.pictures + summary.failures > 0
    if not options.quiet:
        if told:
            _tell(summary)
        if whole.found:
            say(f"found {counts_of(whole.found)}")
        tell_painted(painted)
        if options.report is not None:
            say(f"report: {options.report}")
    if summary.failures:
        raise typer.Exit(int(ExitStatus.SOME_INPUTS_FAILED))


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


def tell_painted(painted: Iterable[tuple[str, Place]]) -> None:
    """Say where the pictures are that a run has written."""
    for what, where in painted:
        say(f"{what}: {where}")


def _tell(summary: Summary) -> None:
    boxes = sum(summary.found.values())
    rate = f", {summary.pictures / summary.seconds:.1f}/s" if summary.seconds and summary.pictures else ""
    empty = f"; nothing in {summary.empty}" if summary.empty else ""
    failed = f"; {summary.failures} could not be read" if summary.failures else ""
    done = f"{counted(summary.pictures, 'picture')}, {counted(boxes, 'box', 'boxes')}"
    say(f"{done} in {summary.seconds:.1f} s{rate}{empty}{failed}")
