"""What `detkit look --stages` and `--report` do: the steps of a detector as pictures, or as a page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from detkit.cli.console import counted, say, show, write_figures
from detkit.errors import ExitStatus, InputError, UsageError
from detkit.files import check_writable, write_bytes
from detkit.graphs.registry import default_model
from detkit.graphs.runtime import Runtime
from detkit.guard import Guard
from detkit.images import read_image, write_image
from detkit.inside.stages import METHODS, Stage, stages_of
from detkit.runs.names import Names
from detkit.runs.sources import find_items


def write_stages(
    sources: list[str],
    model: str | None,
    runtime: Runtime,
    conf: float,
    folder: Path | None,
    report: Path | None,
    json: str | None,
    quiet: bool,
) -> int:
    """The stages of every picture; the exit status."""
    failed = 0

    def complain(name: str, why: str) -> None:
        nonlocal failed
        failed += 1
        say(f"{name}: {why}")

    items = find_items(sources, complain, sys.stdin)
    if report is not None and len(items) > 1:
        raise UsageError(f"--report shows the way of one picture; there are {len(items)}")
    guard = Guard(*(item.path for item in items), model)
    if report is not None:
        guard.spare("--report", report)
        check_writable(report)
    names, written, records = Names(items), 0, []
    for item in items:
        try:
            stages = list(stages_of(model, read_image(item.path), runtime, conf))
        except InputError as error:
            complain(item.name, str(error).removeprefix(f"{item.path}: "))
            continue
        for number, stage in enumerate(stages if folder is not None else (), start=1):
            assert folder is not None
            target = folder / names.stem(item.name) / f"{number:02d}-{stage.name}.png"
            guard.spare("--stages", target)
            write_image(target, stage.picture)
            written += 1
        if not quiet and json != "-":
            show(item.name)
            for number, stage in enumerate(stages, start=1):
                show(f"{number:>3} {stage.title}: {stage.sentence}")
        if report is not None:
            from detkit.report.stages_page import stages_page

            write_bytes(report, stages_page(f"{item.name} through {_called(model)}", stages).encode())
            if not quiet:
                say(f"the page: {report}")
        records.append({"file": item.name, "stages": [_record(stage) for stage in stages]})
    if written and not quiet:
        say(f"{counted(written, 'picture')}: {folder}")
    if json is not None:
        write_figures(json, {"model": model, "pictures": records})
    return int(ExitStatus.SOME_INPUTS_FAILED if failed else ExitStatus.OK)


def _called(model: str | None) -> str:
    if model is None:
        entry = default_model("yolo")
        return entry.name if entry is not None else "the bundled detector"
    return model if model in METHODS else Path(model).name


def _record(stage: Stage) -> dict[str, Any]:
    return {"name": stage.name, "title": stage.title, "source": stage.source, "figures": stage.figures}
