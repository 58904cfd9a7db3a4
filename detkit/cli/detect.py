"""What all detection commands do with their options: a run, told on stderr, its results on stdout or in files."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import typer

from detkit.cli.at_scale import Scale, run_at_scale
from detkit.cli.console import Problems, RunProgress, counted, counts_of, say, show, start_logging
from detkit.cli.live_sources import LiveOptions, Sources, all_sources
from detkit.cli.options import DetectionOptions
from detkit.cli.run_report import facts_of_run, report_of_run
from detkit.detectors.base import Detector
from detkit.errors import ExitStatus, UsageError
from detkit.images import set_max_pixels
from detkit.remote import Place, place
from detkit.runs.batch import Reading
from detkit.runs.jobs import Job
from detkit.runs.long_lists import Item
from detkit.runs.outlined_records import Outlining
from detkit.runs.record import SHAPES, Record
from detkit.runs.run import Output, Pictures, Run
from detkit.runs.sources import find_items
from detkit.runs.summary import Summary
from detkit.runs.tasks import Detection

# Where a GPU waits for them, and nobody says it.
GPU_READERS = 64
More = tuple[tuple[str | None, Callable[[Any], Pictures]], ...]


class Done(NamedTuple):
    """What a run did.

    found     of each class, how many boxes there are in what was written; nothing without --out
    painted   (what, where) of the pictures that were written
    several   whether it went through more than one input
    notes     what else is to be said of what was written
    """

    summary: Summary
    found: Counter[str]
    painted: Iterable[tuple[str, Place]]
    several: bool
    notes: Sequence[str] = ()


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
    scale = options.scale()
    if not scale.whole and options.report is not None:
        raise UsageError(f"--report is a page of one run on one machine, and {scale.option} makes parts of it")
    if not scale.whole and options.polygons:
        raise UsageError(f"--polygons is for a run on one machine, and {scale.option} makes parts of it")
    detecting = Detecting(command, options, build, own, more)
    done = detecting.whole() if scale.whole else detecting.in_parts(scale)
    if not options.quiet:
        if done.several:
            tell(done.summary)
        if done.found:
            say(f"found {counts_of(done.found)}")
        for note in done.notes:
            say(note)
        tell_painted(done.painted)
        if options.report is not None:
            say(f"report: {options.report}")
    if done.summary.failures:
        raise typer.Exit(int(ExitStatus.SOME_INPUTS_FAILED))


@dataclass(frozen=True)
class Detecting:
    """A detection command with its options, see `run_detection`; nothing is said of the results."""

    command: str
    options: DetectionOptions
    build: Callable[[], Detector]
    own: Mapping[str, Any]
    more: More = ()

    def whole(self, items: Sequence[Item] | None = None) -> Done:
        """All pictures, here.

        items   the pictures and their names, in place of the sources
        """
        options, problems = self.options, Problems()
        detector, task, output = self._started()
        told = LiveOptions(options.latest, options.reconnect)
        sources = (
            Sources(items, None)
            if items is not None
            else all_sources(options.sources, told, problems.add, resume=options.resume)
        )
        watching = output.path is None and output.format == "table" and sys.stdout.isatty()
        progress = RunProgress("pictures", shown=not options.quiet and len(sources.items) > 1 and not watching)
        found = Summary()
        with sources.ended_by_signals(), report_of_run(options.report, sources.items, output, output.spare) as report:
            output = replace(output, seen=None if report is None else report.see)
            run = Run(task, sources.items, output, replace(self._reading, live=sources.live), progress)
            for name, why in problems.told:
                run.fail(name, why)
            shown = _unchanged if report is None else report.add
            if output.path is not None:
                run.write(self._settings(detector, output), lambda record: shown(found.seen(record)))
            elif output.format == "table":
                _table(run, shown)
            else:
                run.write_to(sys.stdout.buffer, shown)
            if report is not None:
                facts = facts_of_run(options, self.own, detector)
                report.write(f"detkit {self.command}", facts, options.confs[0])
        notes = tuple(_shape_notes(output, run.summary if output.path is None else found))
        return Done(run.summary, found.found, run.painted(), len(sources.items) > 1 or sources.live, notes)

    def in_parts(self, scale: Scale) -> Done:
        """A plan, a part of it, or all parts by an engine."""
        options, problems = self.options, Problems()
        if options.latest is not None or options.reconnect is not None:
            raise UsageError(f"--latest and --reconnect are for streams, and {scale.option} makes parts of a list")
        if options.polygons:
            raise UsageError(f"--polygons is for a run on one machine; {scale.option} keeps the masks, exactly")
        detector, task, output = self._started()
        job = Job(lambda: self._made(*self._built())[1:], self._settings(detector, output), self._reading)
        progress = RunProgress("pictures", shown=not options.quiet)
        found = Summary()
        summary = run_at_scale(
            scale,
            job,
            (task, output),
            lambda: find_items(options.sources, problems.add, sys.stdin),
            progress,
            found.seen,
        )
        for name, why in problems.told:
            summary.failures += 1
            progress.failed(name, why)
        notes = () if scale.engine is None else tuple(_shape_notes(output, found))
        return Done(summary, found.found, output.painted(summary), summary.pictures + summary.failures > 0, notes)

    @property
    def _reading(self) -> Reading:
        return replace(reading_of(self.options), every=self.options.every)

    def _started(self) -> tuple[Detector, Detection, Output]:
        """The detector with its task and where results go, once the options are known to be right."""
        self.options.selection()  # says what is wrong with it before a model is loaded
        _output(self.options).writer()
        single, detector = self._built()
        for line in detector.about() if self.options.verbose else ():
            say(line)
        return self._made(single, detector)

    def _built(self) -> tuple[Detector, Detector]:
        """The detector, and the same over tiles where these are asked for."""
        single = self.build()
        return single, self.options.tiled(single)

    def _made(self, single: Detector, detector: Detector) -> tuple[Detector, Detection, Output]:
        options = self.options
        # Decoders and onnxruntime fill the cores; OpenCV's own threads would only compete with them.
        cv2.setNumThreads(1)
        if options.max_pixels is not None:
            set_max_pixels(options.max_pixels)
        pictures = tuple((place(folder), make(single)) for folder, make in self.more if folder is not None)
        lists = (source[1:] for source in options.sources if source[:1] == "@")
        spare = [detector.path or options.model, options.gt, *self.own.values(), *lists]
        kept = tuple(path for path in spare if isinstance(path, str | Path))
        return detector, Detection(detector), _output(options, pictures, kept)

    def _settings(self, detector: Detector, output: Output) -> dict[str, Any]:
        fixed = {"command": self.command, "format": output.format, "model": detector.fingerprint}
        return {**fixed, **_settings(self.options), **self.own}


def _unchanged(record: Record) -> Record:
    return record


def _output(
    options: DetectionOptions,
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
        polygons=Outlining(options.simplify) if options.polygons else None,
    )
    return output.named("table" if sys.stdout.isatty() else "jsonl")


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
        **({"polygons": options.simplify} if options.polygons else {}),
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


def _shape_notes(output: Output, summary: Summary) -> Iterator[str]:
    """What of masks, key points and corners the format does not hold, and what polygons cost."""
    writer = output.writer()
    for key in writer.lacks:
        if count := summary.shapes[key]:
            boxes = counted(count, "box", "boxes")
            yield (
                f"--format {writer.name} has no {SHAPES[key]}: those of {boxes} are not written "
                "(jsonl, coco and yolo hold them)"
            )
    if output.polygons is not None and (told := output.polygons.told()):
        yield told


def tell_painted(painted: Iterable[tuple[str, Place]]) -> None:
    """Say where the pictures are that a run has written."""
    for what, where in painted:
        say(f"{what}: {where}")


def tell(summary: Summary) -> None:
    """Say what a run went through, and how fast."""
    boxes = sum(summary.found.values())
    rate = f", {summary.pictures / summary.seconds:.1f}/s" if summary.seconds and summary.pictures else ""
    empty = f"; nothing in {summary.empty}" if summary.empty else ""
    failed = f"; {summary.failures} could not be read" if summary.failures else ""
    done = f"{counted(summary.pictures, 'picture')}, {counted(boxes, 'box', 'boxes')}"
    say(f"{done} in {summary.seconds:.1f} s{rate}{empty}{failed}")
