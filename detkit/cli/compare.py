"""`detkit compare`: several detectors on the same pictures, side by side on one page."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detkit.cli.options import CONF, DeviceOption, MaxPixelsOption, QuietOption, ThreadsOption, VerboseOption
from detkit.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from detkit.dataset import GroundTruth
    from detkit.detectors.base import Detector
    from detkit.report.gallery import Gallery
    from detkit.report.thumbnails import Thumbnails
    from detkit.runs.record import Record
    from detkit.runs.sources import Item

PAGE = "detkit-compare.html"
# AP asks how well all boxes rank, so that it is taken from this score on, whatever is shown.
_FOR_AP = 0.01


@dataclass(frozen=True)
class Contender:
    """A detector that is compared: what it is called, the command that runs it, its model and its own options."""

    name: str
    command: str
    model: str | None = None
    own: dict[str, Any] = field(default_factory=dict)


# The history of detection, by the names that --model takes, too.
METHODS = {
    "hog": Contender("HOG", "hog-detect"),
    "rcnn": Contender("R-CNN", "rcnn", own={"variant": "rcnn"}),
    "fast": Contender("Fast R-CNN", "rcnn", own={"variant": "fast"}),
    "faster": Contender("Faster R-CNN", "rcnn", own={"variant": "faster"}),
    "yolo": Contender("YOLO", "yolo"),
    "slide": Contender("sliding window", "slide"),
}
DEFAULT = ("hog", "rcnn", "fast", "faster", "yolo")


def compare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Pictures, folders (searched through), globs, videos, @list.txt, or - for paths on stdin.",
            show_default=False,
        ),
    ],
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", metavar="NAME|FILE",
            help=f"A model by name, a file, or one of {', '.join(METHODS)}. May be repeated. Default: "
            f"{', '.join(DEFAULT)}.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE.html", help="Write the page there.")
    ] = Path(PAGE),
    gt: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Annotations: the AP of each, and the pictures where they differ most first."
        ),
    ] = None,
    conf: Annotated[float, typer.Option(min=0, max=1, help="Show boxes with a higher score.")] = CONF,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class", metavar="NAME", help="Compare only on this class. May be repeated; a model may lack some."
        ),
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    max_pixels: MaxPixelsOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:  # fmt: skip
    """Run several detectors over the same pictures: boxes, times, proposals and heat maps side by side on one page."""
    import cv2

    from detkit.cli.console import Problems, say, start_logging
    from detkit.cli.run_report import check_page
    from detkit.graphs.runtime import Runtime
    from detkit.images import set_max_pixels
    from detkit.runs.sources import find_items

    start_logging(quiet=quiet, verbose=verbose)
    contenders = _contenders(models)
    problems = Problems()
    items = find_items(sources, problems.add, sys.stdin)
    lists = [source[1:] for source in sources if source[:1] == "@"]
    check_page(out, "--out", [*(item.path for item in items), gt, *(models or ()), *lists])
    for name, why in problems.told:
        say(f"{name}: {why}")
    if not items:
        raise typer.Exit(int(ExitStatus.SOME_INPUTS_FAILED))
    truth = None if gt is None else _truth(gt, classes or ())
    cv2.setNumThreads(1)
    if max_pixels is not None:
        set_max_pixels(max_pixels)
    lowest = conf if gt is None else min(conf, _FOR_AP)
    wanted = _Wanted(items, lowest, conf, tuple(classes or ()), Runtime(device, threads), quiet, verbose)
    with ExitStack() as stack:
        page = stack.enter_context(_page(out, contenders, items, truth is not None))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="detkit-compare-")))
        runs = [_run(wanted, page, k, one, folder / f"{k}.jsonl") for k, one in enumerate(contenders)]
        measured = None if truth is None else _measured(runs, truth, conf)
        for entries in zip(*(run.records() for run in runs), strict=True):
            _add(page, [_shown(record, conf) for record in entries], measured)
        rows = [_titles(measured), *(_row(run, measured) for run in runs)]
        page.gallery.write(_about(wanted, sources, gt, rows, measured), page.heat)
    _print(rows)
    if not quiet:
        say(f"page: {out}")
    if problems.told or any(run.failures for run in runs):
        raise typer.Exit(int(ExitStatus.SOME_INPUTS_FAILED))


@dataclass(frozen=True)
class _Wanted:
    """What all detectors are run with: boxes above `conf`, of which those above `shown` are shown."""

    items: Sequence[Item]
    conf: float
    shown: float
    classes: tuple[str, ...]
    runtime: Any
    quiet: bool
    verbose: bool


@dataclass(frozen=True)
class _Page:
    """The page in the making, and by the number of a panel its heat maps."""

    gallery: Gallery
    first: int  # the number of the first detector's panel: after that of the truth, if there is one
    folder: Path
    side: int
    heat: dict[int, Thumbnails] = field(default_factory=dict)

    def see(self, key: str, image: Any) -> None:
        """Keep a picture, once."""
        if key not in self.gallery.thumbnails:
            self.gallery.see(key, image)

    def keep_heat(self, panel: int) -> Callable[[str, Any], None]:
        """What keeps the heat maps of a panel."""

        def keep(key: str, image: Any) -> None:
            from detkit.report.thumbnails import Thumbnails

            if panel not in self.heat:
                name = f"{self.gallery.target.name}.heat{panel}.partial"
                self.heat[panel] = Thumbnails(self.gallery.target.with_name(name), self.side)
            self.heat[panel].add(key, image)

        return keep

    def __enter__(self) -> _Page:
        return self

    def __exit__(self, *error: object) -> None:
        self.gallery.close()
        for maps in self.heat.values():
            maps.close(remove=True)


@dataclass(frozen=True)
class _Ran:
    """What a detector has found: its records in a file, and the numbers over all of them."""

    number: int
    contender: Contender
    model: str
    names: tuple[str, ...]
    path: Path
    boxes: int
    pictures: int
    filled: int
    failures: int
    seconds: float
    proposals: float

    def records(self) -> Iterator[Record]:
        """The records, with what is seen beside the detections."""
        import orjson

        with open(self.path, "rb") as file, open(f"{self.path}.beside", "rb") as beside:
            for line, more in zip(file, beside, strict=True):
                yield orjson.loads(line) | orjson.loads(more)


@dataclass(frozen=True)
class _Measured:
    """Figures against annotations.

    figures  of each detector over the classes that it knows
    common   of each detector over the classes that all know
    shared   names of these
    known    how many classes of the truth each detector knows
    counts   by detector, hits, false positives and misses of each picture over these, above the score that is shown
    truth    the annotations of the pictures
    boxes    the rows of its boxes, by picture
    row      of a picture by its key, -1 where the truth does not have it
    """

    figures: list[dict[str, float]]
    common: list[dict[str, float]]
    known: list[int]
    shared: tuple[str, ...]
    counts: list[tuple[Any, Any, Any]]
    truth: GroundTruth
    boxes: list[Any]
    row: Callable[[str], int]


def _contenders(models: Sequence[str] | None) -> list[Contender]:
    from detkit.detectors.by_command import command_of

    chosen = []
    for model in models or DEFAULT:
        known = METHODS.get(model)
        chosen.append(known or Contender(Path(model).stem or model, command_of(model), model))
    if len(chosen) < 2:
        raise UsageError("there is nothing to compare with one model: give --model twice or more, or not at all")
    names = [one.name for one in chosen]
    return [
        one if names.count(one.name) == 1 else Contender(f"{one.name} ({place})", one.command, one.model, one.own)
        for place, one in enumerate(chosen, start=1)
    ]


def _page(out: Path, contenders: Sequence[Contender], items: Sequence[Item], truth: bool) -> _Page:
    from detkit.cli.run_report import picture_files, thumbnail_side
    from detkit.report.gallery import Gallery, Panel

    panels = [Panel("truth")] if truth else []
    panels += [Panel(one.name, one.model or one.command) for one in contenders]
    side = thumbnail_side(items)
    return _Page(Gallery(out, panels, side, picture_files(items).get), len(panels) - len(contenders), out.parent, side)


def _run(wanted: _Wanted, page: _Page, number: int, contender: Contender, path: Path) -> _Ran:
    """Run a detector over all pictures; its records go into a file, and what is seen beside them into another."""
    import statistics

    from detkit.cli.console import RunProgress, say
    from detkit.runs.batch import Reading
    from detkit.runs.record import jsonl_line
    from detkit.runs.run import Output, Run
    from detkit.runs.watched import Watched

    detector = _detector(wanted, contender)
    if wanted.verbose:
        for line in detector.about():
            say(f"{contender.name}: {line}")
    task = Watched(detector, page.side, page.keep_heat(page.first + number))
    progress = RunProgress(f"pictures, {contender.name}", shown=not wanted.quiet and len(wanted.items) > 1)
    run = Run(task, wanted.items, Output(format="jsonl", seen=page.see), Reading(workers=1), progress)
    seconds, proposals, boxes, filled, failures = [], [], 0, 0, 0
    with open(path, "wb") as file, open(f"{path}.beside", "wb") as beside:
        for record in run.records():
            more: Record = {key: record.pop(key) for key in ("seconds", "proposals", "proposed") if key in record}
            file.write(jsonl_line(record))
            beside.write(jsonl_line(more))
            failures += "error" in record
            seconds += [more["seconds"]] if "seconds" in more else []
            proposals += [more["proposed"]] if "proposed" in more else []
            shown = sum(one["score"] >= wanted.shown for one in record.get("detections", ()))
            boxes, filled = boxes + shown, filled + bool(shown)
    model = contender.model or (contender.command if detector.path is None else detector.path.stem)
    return _Ran(
        number, contender, model, tuple(detector.names), path, boxes, len(seconds), filled, failures,
        statistics.median(seconds) if seconds else -1.0, statistics.fmean(proposals) if proposals else -1.0,
    )  # fmt: skip


def _detector(wanted: _Wanted, contender: Contender) -> Detector:
    """The detector, of the wanted classes those that it has. UsageError where it has none of them."""
    from detkit.classes import classes_called
    from detkit.detectors.by_command import detector_of
    from detkit.detectors.selection import Selection

    def made(classes: Sequence[str]) -> Detector:
        selection = Selection(conf=wanted.conf, classes=classes)
        return detector_of(contender.command, contender.model, selection, wanted.runtime, **contender.own)

    detector = made(())
    if not wanted.classes:
        return detector
    has = [name for name in wanted.classes if classes_called(name, detector.names)]
    if not has:
        raise UsageError(f"{contender.name} has none of the classes {', '.join(wanted.classes)}")
    return made(has)


def _truth(path: Path, classes: Sequence[str]) -> GroundTruth:
    from detkit.annotations import read_ground_truth
    from detkit.classes import chosen_classes

    truth = read_ground_truth(path)
    kept = chosen_classes(classes, truth.categories.names, "the ground truth")
    return truth if kept is None else truth.of_classes(kept)


def _measured(runs: Sequence[_Ran], truth: GroundTruth, conf: float) -> _Measured:
    """AP of each detector, over the classes of the truth that it knows, and over those that all know."""
    from detkit.annotations import read_predictions
    from detkit.annotations.alignment import ImageMatcher
    from detkit.classes import classes_called
    from detkit.metrics.counts import image_counts
    from detkit.metrics.evaluation import Settings
    from detkit.metrics.evaluation import evaluate as evaluate_tables

    matcher = ImageMatcher(truth.images)
    looked_at = sorted({row for one in runs[0].records() if (row := matcher.by_file(_key(one))) >= 0})
    if not looked_at:
        raise UsageError("--gt has none of the pictures; its names or ids must be theirs")
    part = truth.of_images(looked_at)
    places = [[k for k, name in enumerate(truth.categories.names) if classes_called(name, run.names)] for run in runs]
    shared = [k for k in places[0] if all(k in others for others in places[1:])]
    figures, common, counts = [], [], []
    for run, own in zip(runs, places, strict=True):
        found = read_predictions(run.path, part)
        figures.append(evaluate_tables(found.of_classes(own), part.of_classes(own), Settings()).figures)
        over = shared or own
        evaluation = evaluate_tables(found.of_classes(over), part.of_classes(over), Settings(score=conf))
        common.append(evaluation.figures if shared else {"AP": -1.0, "AP50": -1.0})
        counts.append(image_counts(evaluation.outcomes, evaluation.ground_truth.image_index, conf))
    rows = {row: place for place, row in enumerate(looked_at)}
    names = tuple(truth.categories.names[k] for k in shared)
    return _Measured(
        figures, common, [len(own) for own in places], names, counts, part, part.rows_by_image(),
        lambda key: rows.get(matcher.by_file(key), -1),
    )  # fmt: skip


def _key(record: Record) -> str:
    from detkit.runs.record import record_key

    return record_key(record)


def _shown(record: Record, conf: float) -> Record:
    if "detections" in record:
        record["detections"] = [one for one in record["detections"] if one["score"] >= conf]
    return record


def _add(page: _Page, records: list[Record], measured: _Measured | None) -> None:
    """Put a picture on the page: the truth, if there is one, and what each detector found."""
    key, rank = _key(records[0]), 0.0
    if measured is not None:
        row = measured.row(key)
        if row >= 0:
            for record, (hits, false, missed) in zip(records, measured.counts, strict=True):
                if "error" not in record:
                    record["marks"] = f"{hits[row]} found, {false[row]} false, {missed[row]} missed"
            errors = [int(false[row] + missed[row]) for _, false, missed in measured.counts]
            rank = float(max(errors) - min(errors))
        own = measured.boxes[row] if row >= 0 else []
        records = [_true_record(records[0], measured.truth, own), *records]
    page.gallery.add(key, records, rank)


def _true_record(first: Record, truth: GroundTruth, rows: Any) -> Record:
    from detkit.boxes import xywh_to_xyxy

    record: Record = {name: first[name] for name in ("file", "frame", "time") if name in first}
    boxes = xywh_to_xyxy(truth.boxes[rows])
    names = truth.categories.names
    record["detections"] = [
        {"box": box, "score": 1.0, "class": names[k], "class_id": k}
        for box, k in zip(boxes.tolist(), truth.class_index[rows].tolist(), strict=True)
    ]
    return record


def _titles(measured: _Measured | None) -> list[str]:
    titles = ["detector", "model", "boxes", "found in", "seconds", "proposals"]
    return titles if measured is None else [*titles, "knows", "AP", "AP50", "shared"]


def _row(run: _Ran, measured: _Measured | None) -> list[str]:
    from detkit.metrics.wording import number

    row = [
        run.contender.name, run.model, f"{run.boxes:,}",
        f"{run.filled:,} of {run.pictures:,}", number(run.seconds, 3), number(run.proposals, 0),
    ]  # fmt: skip
    if measured is None:
        return row
    own, common = measured.figures[run.number], measured.common[run.number]
    return [*row, str(measured.known[run.number]), *(number(v) for v in (own["AP"], own["AP50"], common["AP50"]))]


def _about(
    wanted: _Wanted, sources: Sequence[str], gt: Path | None, rows: list[list[str]], measured: _Measured | None
) -> Any:
    import numpy as np

    from detkit.detectors.windows.window_pictures import heat_colours
    from detkit.report.document import Fact, now
    from detkit.report.gallery import About

    steps = heat_colours(np.linspace(0, 1, 24, dtype=np.float32) ** 2)
    settings = f"boxes with scores above {wanted.shown:g}"
    settings += f"; of classes {', '.join(wanted.classes)}" if wanted.classes else ""
    facts = [
        Fact("Date", now()),
        Fact("Sources", ", ".join(sources[:20]) + (", ..." if len(sources) > 20 else "")),
        Fact("Ground truth", str(gt or "")),
        Fact("Settings", settings),
    ]
    note = "Seconds are the median, preparing and detecting one picture after the other, without reading it."
    if measured is not None:
        note += " " + " ".join(_sentences(wanted, measured))
    colours = tuple("#{:02x}{:02x}{:02x}".format(*colour) for colour in steps.tolist())
    return About("Detectors compared", facts, rows, note, wanted.shown, colours)


def _sentences(wanted: _Wanted, measured: _Measured) -> list[str]:
    shared = measured.shared
    shown = ", ".join(shared[:6]) + (f" and {len(shared) - 6} more" if len(shared) > 6 else "")
    return [
        f"AP is over the classes of the truth that a detector knows, of all boxes with scores above {wanted.conf:g}; "
        "`shared` is AP50 over those that all know, as is what is found, false and missed in a picture"
        + (f": {shown}." if shared else ", of which there are none: each by its own classes."),
    ]


def _print(rows: list[list[str]]) -> None:
    """The table, without the models' files."""
    from detkit.cli.tables import print_table

    kept = [0, *range(2, len(rows[0]))]
    columns = [(rows[0][k], "left" if k == 0 else "right") for k in kept]
    print_table(None, columns, [[row[k] for k in kept] for row in rows[1:]])
