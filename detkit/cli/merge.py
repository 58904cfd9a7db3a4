"""`detkit merge`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli.options import OutputFormat, QuietOption

if TYPE_CHECKING:
    from detkit.remote import Place
    from detkit.runs.merging import Merged


def merge(
    parts: Annotated[
        list[str],
        typer.Argument(
            metavar="PARTS...",
            help="The folder of the parts (OUT.parts, here or in a store), or their files.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str,
        typer.Option("--out", "-o", metavar="PATH", help="Write the whole there; - is stdout.", show_default=False),
    ],
    format: Annotated[
        OutputFormat | None,
        typer.Option("--format", "-f", metavar="FORMAT", help="Default: by the ending of --out, else the parts' own."),
    ] = None,
    gt: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Annotations whose image and category ids -f coco takes."),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Join the parts of a run made with --part: what the run on one machine writes, byte for byte.

    A part that is missing, is there twice or belongs to another run is an error.
    """
    import logging

    from detkit.cli.console import counted, counts_of, say, start_logging
    from detkit.errors import ExitStatus, UsageError
    from detkit.guard import Guard
    from detkit.remote import place
    from detkit.runs.merging import parts_in
    from detkit.runs.record import Record
    from detkit.runs.run import Output
    from detkit.runs.summary import Summary
    from detkit.runs.writers import ids_of

    start_logging(quiet=quiet)
    merged = parts_in([place(one) for one in parts])
    target = None if out == "-" else place(out)
    writer = Output(target, _format(merged, target) if format is None else format.value, gt=gt).writer()
    if target is not None:
        Guard(*merged.places).spare("--out", target)
    if merged.settings["command"] == "proposals" and writer.name != "jsonl":
        raise UsageError(f"proposals are JSON Lines; --format {writer.name} is for detections")
    summary = Summary()

    def seen(record: Record) -> Record:
        summary.failures += "error" in record
        return summary.seen(record)

    ids = None if gt is None else ids_of(gt, merged.names, logging.getLogger("detkit").warning)
    if target is None:
        merged.write_to(sys.stdout.buffer, writer, ids, seen)
    else:
        merged.write(target, writer, ids, seen)
    if not quiet:
        failed = f"; {summary.failures} could not be read" if summary.failures else ""
        found = f", {counts_of(summary.found)}" if summary.found else ""
        say(f"{counted(summary.pictures, 'picture')} of {counted(merged.of, 'part')}{found}{failed}")
    if summary.failures:
        raise typer.Exit(int(ExitStatus.SOME_INPUTS_FAILED))


def _format(merged: Merged, target: Place | None) -> str | None:
    """The format that the run had been given, unless the ending of the output means another."""
    from detkit.runs.writers import writer_named

    own = writer_named(merged.settings.get("format", "jsonl"))
    kept = target is None or not own.endings or target.suffix.lower() in own.endings
    return own.name if kept else None
