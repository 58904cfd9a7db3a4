"""What commands say beside their results: messages and progress, all on stderr."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from os import PathLike
from typing import Any

import typer

from detkit.spelling import counted as counted
from detkit.spelling import printable

# Without a terminal, progress is a line now and then, not a bar.
_SECONDS_BETWEEN_LINES = 10.0
_resume_hint = ""


def say(message: str) -> None:
    """One line on stderr."""
    show(f"detkit: {printable(message)}", err=True)


def show(text: str, *, err: bool = False) -> None:
    """Lines for people on stdout, or on stderr: what names and graphs hold is shown, and moves no cursor.

    Where nobody reads stderr any more, nothing is said, and the work goes on.
    """
    lines = "\n".join(map(printable, text.split("\n")))
    if not err:
        print(lines, flush=True)
        return
    try:
        print(lines, file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - lives as long as the process


def counts_of(found: Counter[str]) -> str:
    """ "3 dog, 1 cat": boxes of each class, the most frequent first."""
    return ", ".join(f"{count} {name}" for name, count in found.most_common())


def hint_on_interrupt(hint: str) -> None:
    """What `interrupted` adds about going on."""
    global _resume_hint
    _resume_hint = hint


def interrupted() -> None:
    """The line that an interrupt leaves."""
    say("interrupted" + (f"; {_resume_hint}" if _resume_hint else ""))


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def start_logging(*, quiet: bool = False, verbose: bool = False) -> None:
    """Show what the library logs: warnings and notes, with `verbose` details, with `quiet` errors only."""
    logger = logging.getLogger("detkit")
    logger.handlers = [_Lines()]
    logger.propagate = False
    logger.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)


class Progress:
    """A count that grows; shown as a bar with rate and time left on a terminal, else as a line every ten seconds."""

    def __init__(self, total: int | None, unit: str, bar: Any = None) -> None:
        self.total, self.unit, self.done = total, unit, 0
        self.started = self._said = time.monotonic()
        self._bar = bar
        self._task = bar.add_task(unit, total=total, rate="") if bar is not None else None

    @property
    def rate(self) -> float:
        """Units a second since the start."""
        return self.done / max(time.monotonic() - self.started, 1e-9)

    def advance(self, count: int = 1) -> None:
        self.done += count
        if self._bar is not None:
            self._bar.update(self._task, advance=count, rate=f"{self.rate:.1f}/s")
        elif self.total and time.monotonic() - self._said > _SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            left = (self.total - self.done) / self.rate if self.rate else 0
            say(f"{self.done} of {self.total} {self.unit}, {self.rate:.1f}/s, {_clock(left)} left")


@contextmanager
def progress(total: int | None, unit: str, *, shown: bool = True) -> Iterator[Progress]:
    """Progress over `total` units, silent where not `shown`."""
    if not shown or not sys.stderr.isatty():
        counter = Progress(total if shown else None, unit)
        yield counter
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Progress(total, unit, bar)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Problems:
    """Sources that could not be used, and why: known before there is a run to count them."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def add(self, name: str, why: str) -> None:
        self.told.append((name, why))


class RunProgress:
    """The `runs.run.Listener` of the commands: failures in a line each, progress, and what an interrupt leaves."""

    def __init__(self, unit: str, *, shown: bool) -> None:
        self._unit, self._shown = unit, shown
        self._open = ExitStack()
        self._bar: Progress | None = None

    def failed(self, name: str, why: str) -> None:
        say(f"{name}: {why}")

    def started(self, items: int) -> None:
        self._bar = self._open.enter_context(progress(items, self._unit, shown=self._shown))

    def finished_one(self) -> None:
        if self._bar is not None:
            self._bar.advance()

    def ended(self) -> None:
        self._open.close()

    def resumable(self, path: PathLike[str]) -> None:
        hint_on_interrupt(f"what is done is in {path}, --resume goes on from there")


def terminal_width(otherwise: int) -> int:
    """Columns of the terminal, at least 40; `otherwise` where there is none."""
    return max(shutil.get_terminal_size((otherwise, 24)).columns, 40) if sys.stdout.isatty() else otherwise


def refuse_options(context: typer.Context, allowed: Sequence[str], what: str) -> None:
    """BadParameter for an option that was given and says nothing about `what`; `allowed` are parameters' names."""
    for parameter in context.command.params:
        name = str(parameter.name)
        source: Any = context.get_parameter_source(name)
        if name not in allowed and source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"is not for {what}", param_hint=parameter.opts[0])


def write_figures(path: str, content: Mapping[str, Any]) -> None:
    """JSON of `--json`: a file, or - for stdout."""
    import orjson

    from detkit.files import write_bytes

    data = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY) + b"\n"
    if path == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    else:
        write_bytes(path, data)
