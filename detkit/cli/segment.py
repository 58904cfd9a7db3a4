"""`detkit segment`: a class for every pixel, as label maps, drawings, shares and regions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detkit.cli.network_options import NETWORK, ColorOption, FitOption, MeanOption, SizeOption, StdOption, numbers
from detkit.cli.options import (
    DeviceOption,
    MaxPixelsOption,
    QuietOption,
    ResumeOption,
    ThreadsOption,
    VerboseOption,
    WorkersOption,
)
from detkit.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from detkit.runs.run import Run
    from detkit.runs.segmented import Totals

_CLASSES, _OUTPUT, _RUN = "Classes", "Output", "How it runs"


class SharesFormat(str, Enum):
    table = "table"
    jsonl = "jsonl"
    csv = "csv"


def segment(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Pictures, folders (searched through), globs, videos, @list.txt, or - for paths on stdin.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="NAME|FILE", help="A model by name, or a file. Default: the bundled one."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Write a palette PNG of class numbers for each picture there.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    format: Annotated[
        SharesFormat | None,
        typer.Option(
            "--format", "-f", metavar="FORMAT",
            help="How the shares of the classes are told on stdout: table, jsonl or csv. Default: a table on a "
            "terminal, JSON Lines when piped.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    draw: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write pictures with the classes over them, and a legend.",
                     rich_help_panel=_OUTPUT),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write connected regions as detections with masks: .jsonl, .json (COCO) or .csv.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    min_pixels: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="The smallest region of --boxes. Default: 100.", rich_help_panel=_OUTPUT),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class", metavar="NAME", help="Keep only this class; all else has none (255). May be repeated.",
            rich_help_panel=_CLASSES,
        ),
    ] = None,
    palette: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Colours, and names where the graph has none: voc, cityscapes, ade20k, or a file. Default: by the "
            "names.",
            rich_help_panel=_CLASSES,
        ),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Class names: a file (one a line, or JSON).", rich_help_panel=_CLASSES),
    ] = None,
    ids: Annotated[
        bool,
        typer.Option(
            "--ids", help="Write the numbers of the data set's own files (Cityscapes, ADE20K) in place of class "
            "numbers.", rich_help_panel=_CLASSES,
        ),
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The output with the map, where the graph has several.", rich_help_panel=NETWORK
        ),
    ] = None,
    conf: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Of a network with a sigmoid for each class: what a probability has to be above.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    size: SizeOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    color: ColorOption = None,
    fit: FitOption = None,
    resume: ResumeOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Pictures per run of the network, where it allows more.", rich_help_panel=_RUN),
    ] = None,
    workers: WorkersOption = None,
    max_pixels: MaxPixelsOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:  # fmt: skip
    """Give every pixel a class with any semantic network: label maps, overlays, shares of area, regions."""
    import cv2

    from detkit.cli.console import Problems, RunProgress, say, start_logging
    from detkit.cli.detect import tell_painted
    from detkit.detectors.semantic.segmenter import Segmenter
    from detkit.detectors.semantic.semantic_reading import SegmentOptions
    from detkit.graphs.runtime import Runtime
    from detkit.images import set_max_pixels
    from detkit.runs.batch import Reading
    from detkit.runs.run import Run
    from detkit.runs.segmented import Regions, Segmenting, Totals, map_output
    from detkit.runs.sources import find_items

    start_logging(quiet=quiet, verbose=verbose)
    if min_pixels is not None and boxes is None:
        raise UsageError("--min-pixels is the smallest region of --boxes FILE, which is not asked for")
    if ids and out is None:
        raise UsageError("--ids is for the label maps of --out DIR, which are not asked for")
    if out is not None and draw is not None and out.absolute() == draw.absolute():
        raise UsageError("--out and --draw name one folder, where a drawing could replace a label map; name two")
    options = SegmentOptions(
        names, size, numbers("--mean", mean), numbers("--std", std), color.value if color else None,
        fit.value if fit else None, palette, output, conf,
    )  # fmt: skip
    segmenter = Segmenter(model, Runtime(device, threads, batch), options)
    for line in segmenter.about() if verbose else ():
        say(line)
    regions = None if boxes is None else Regions() if min_pixels is None else Regions(min_pixels)
    task = Segmenting(segmenter, classes or (), regions, ids=ids)
    spare = tuple(
        path for path in (segmenter.path, model, palette, names, *(s[1:] for s in sources if s[:1] == "@")) if path
    )
    where = map_output(task, out, boxes, draw=draw, resume=resume, spare=spare)
    where.writer()
    cv2.setNumThreads(1)
    if max_pixels is not None:
        set_max_pixels(max_pixels)
    problems = Problems()
    items = find_items(sources, problems.add, sys.stdin)
    chosen = (SharesFormat.table if sys.stdout.isatty() else SharesFormat.jsonl) if format is None else format
    watching = where.path is None and chosen is SharesFormat.table and sys.stdout.isatty()
    progress = RunProgress("pictures", shown=not quiet and len(items) > 1 and not watching)
    run = Run(task, items, where, Reading(workers=workers), progress)
    for name, why in problems.told:
        run.fail(name, why)
    totals = Totals()
    tell = _teller(chosen, run, totals)
    if where.path is not None:
        settings = {"command": "segment", "model": segmenter.fingerprint, "classes": classes, "ids": ids,
                    "min_pixels": regions and regions.min_pixels, "draw": None if draw is None else str(draw),
                    **_plain(options)}  # fmt: skip
        run.write(settings, tell)
    else:
        for record in run.records():
            tell(record)
    if chosen is SharesFormat.table and not _single(run) and totals.count:
        _print_totals(totals)
    sys.stdout.flush()
    if not quiet:
        _say_done(run, totals, out, boxes)
        tell_painted(run.painted())
    if run.summary.failures:
        raise typer.Exit(int(ExitStatus.SOME_INPUTS_FAILED))


def _plain(options: Any) -> dict[str, Any]:
    """The options as the journal holds them; a palette's file by its content."""
    from detkit.files import sha256

    palette = options.palette
    if palette is not None and Path(palette).is_file():
        palette = sha256(palette)
    return {**asdict(options), "palette": palette}


def _single(run: Run) -> bool:
    return len(run.items) == 1 and not run.items[0].video


def _teller(chosen: SharesFormat, run: Run, totals: Totals) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What tells a record on stdout, in the format, and counts it."""
    from detkit.cli.console import show
    from detkit.cli.tables import print_table
    from detkit.runs.segmented import SHARES_HEADER, csv_rows, one_share_line, share_text, shares_line, shares_rows

    stream = sys.stdout.buffer
    if chosen is SharesFormat.csv:
        stream.write(csv_rows([SHARES_HEADER]))

    def tell(record: dict[str, Any]) -> dict[str, Any]:
        totals.add(record)
        if chosen is SharesFormat.jsonl:
            stream.write(shares_line(record))
            stream.flush()
        elif "error" in record:
            pass
        elif chosen is SharesFormat.csv:
            stream.write(shares_rows(record))
            stream.flush()
        elif _single(run):
            show(f"{record['file']}  {record['width']}x{record['height']}")
            rows = [[one["class"], share_text(one["share"]), one["pixels"]] for one in record["classes"]]
            if rows:
                print_table(None, [("class", "left"), ("share", "right"), ("pixels", "right")], rows)
        else:
            show(one_share_line(record))
        return record

    return tell


def _print_totals(totals: Totals) -> None:
    from detkit.cli.console import counted
    from detkit.cli.tables import print_table
    from detkit.runs.segmented import share_text

    rows = [[name, share_text(share), pictures] for name, share, pictures in totals.rows()]
    columns = [("class", "left"), ("share", "right"), ("pictures", "right")]
    print_table(f"\nof the area of {counted(totals.count, 'picture')}", columns, rows)


def _say_done(run: Run, totals: Totals, out: Path | None, boxes: Path | None) -> None:
    """How it went, and where the results are."""
    from detkit.cli.console import counted, say

    summary = run.summary
    if len(run.items) > 1:
        rate = f", {summary.pictures / summary.seconds:.1f}/s" if summary.seconds and summary.pictures else ""
        failed = f"; {summary.failures} could not be read" if summary.failures else ""
        say(f"{counted(summary.pictures, 'picture')} in {summary.seconds:.1f} s{rate}{failed}")
    if out is not None and totals.count:
        say(f"label maps: {out}")
    if boxes is not None:
        say(f"regions: {boxes}")
