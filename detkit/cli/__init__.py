"""The command line. Commands parse, call and print; what they call lives in the other packages.

A command's module is imported when the command is asked for, and imports what it needs when it runs: the list of
commands costs none of them, and imports neither OpenCV nor onnxruntime.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from detkit import __version__
from detkit.cli.console import interrupted, say, start_logging
from detkit.errors import DetkitError, ExitStatus, missing_library
from detkit.files import reason

# Typer exports the exception of wrong use only by its heirs.
_UsageError: Any = typer.BadParameter.__base__
# What writing to a full or broken stdout fails with; errors of named files are caught where they are written.
_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Row(NamedTuple):
    """A command in the list: its module in this package, its panel, and a line on it that fits 80 columns.

    The module holds a function of the command's name, or an `app` of several commands.
    """

    name: str
    panel: str
    about: str

    @property
    def module(self) -> str:
        return {"eval": "evaluate", "anchors": "box_anchors"}.get(self.name, self.name.replace("-", "_"))

    def load(self) -> Any:
        """The command itself."""
        module = import_module(f"detkit.cli.{self.module}")
        own = getattr(module, "app", None)
        if own is None:
            own = typer.Typer(add_completion=False)
            own.command(self.name)(getattr(module, self.module))
        command = typer.main.get_command(own)
        command.name = self.name
        return command

    def listed(self) -> Any:
        """What stands for it in the list of commands."""
        return TyperCommand(self.name, help=self.about, rich_help_panel=self.panel)


_FIND, _MEASURE, _MAKE = "Find objects", "Measure and look at results", "Networks and data"
COMMANDS = (
    Row("demo", _FIND, "every method on pictures that come with detkit"),
    Row("yolo", _FIND, "an exported network: YOLO v1 to v26, DETR and kin"),
    Row("rcnn", _FIND, "regions: R-CNN, Fast R-CNN, Faster R-CNN"),
    Row("hog-detect", _FIND, "people by histograms of oriented gradients"),
    Row("slide", _FIND, "any classifier as a sliding window"),
    Row("proposals", _FIND, "boxes that may hold anything, best first"),
    Row("segment", _FIND, "a class for every pixel, by any semantic network"),
    Row("merge", _FIND, "the parts of a run on many machines, joined"),
    Row("track", _FIND, "objects followed through a video, drawn and counted"),
    Row("eval", _MEASURE, "AP, AR, counts and curves against annotations"),
    Row("look", _MEASURE, "inside: layers, activations, what a box depends on"),
    Row("val", _MEASURE, "detect in a data set and measure, in one go"),
    Row("compare", _MEASURE, "several detectors on the same pictures, on one page"),
    Row("bench", _MEASURE, "how fast a network runs; how well motion models foresee"),
    Row("train", _MAKE, "detectors and motion models from your annotations"),
    Row("quantize", _MAKE, "a network in eight bits: faster, AP before and after"),
    Row("models", _MAKE, "models by name: list, info, pull, path"),
    Row("convert", _MAKE, "annotations from one format to another"),
    Row("anchors", _MAKE, "anchors that suit your boxes, by YOLO v2's k-means"),
    Row("schema", _MAKE, "the JSON schemas of results and of figures"),
)


class Loaded(Mapping[str, Any]):
    """The commands by name, each loaded when it is asked for."""

    _rows: ClassVar = {row.name: row for row in COMMANDS}

    def __getitem__(self, name: str) -> Any:
        return self._rows[name].load()

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


class Commands(TyperGroup):
    """All commands; the one place where their errors become a line on stderr and an exit status."""

    def __init__(self, **extra: Any) -> None:
        super().__init__(**extra)
        self.commands: Any = Loaded()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and name is not None:
            ctx.default_map = {name: _given(command, (name,))}
        return name, command, rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        with self._listed():
            super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        with self._listed():
            return super().shell_complete(ctx, incomplete)

    @contextmanager
    def _listed(self) -> Iterator[None]:
        """Inside, commands are their lines in the list."""
        whole = self.commands
        self.commands = {row.name: row.listed() for row in COMMANDS}
        try:
            yield
        finally:
            self.commands = whole

    def main(self, *args: Any, **extra: Any) -> Any:
        _open_streams()
        try:
            status = self._status(*args, **extra)
            sys.stdout.flush()
        except BrokenPipeError:
            _drop_stdout()
            status = ExitStatus.OK
        except OSError as error:
            if error.errno not in _CANNOT_WRITE or error.filename is not None:
                raise
            _drop_stdout()
            say(f"cannot write to stdout: {reason(error)}")
            status = ExitStatus.SOME_INPUTS_FAILED
        sys.exit(int(status))

    def _status(self, *args: Any, **extra: Any) -> int:
        """Run without Typer's own endings, which would put wrong use into a box of several lines."""
        try:
            return super().main(*args, **{**extra, "standalone_mode": False}) or ExitStatus.OK
        except _UsageError as error:
            message = " ".join(error.format_message().split())
            if message:  # there is none where a command without arguments has shown its help
                say(message)
            return ExitStatus.USAGE
        except typer.Abort:
            say("aborted")
            return ExitStatus.SOME_INPUTS_FAILED

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DetkitError as error:
            say(str(error))
            raise typer.Exit(int(error.status)) from error
        except ImportError as error:
            explained = missing_library(error)
            if explained is None:
                raise
            say(str(explained))
            raise typer.Exit(int(explained.status)) from error
        except KeyboardInterrupt as error:
            interrupted()
            raise typer.Exit(int(ExitStatus.INTERRUPTED)) from error
        except BrokenPipeError as error:
            _drop_stdout()  # the reader has gone (`| head`)
            raise typer.Exit(int(ExitStatus.OK)) from error


def _given(command: Any, path: tuple[str, ...]) -> dict[str, Any]:
    """The defaults that files and the environment give a command, or the commands of a group; `-v` tells them."""
    inner = getattr(command, "commands", None)
    if inner is not None:
        return _OfGroup(inner, path)
    from detkit.cli.defaults import defaults_of

    found = defaults_of(path, command, _every_command)
    own_invoke = command.invoke

    def invoke(ctx: Any) -> Any:
        if ctx.params.get("verbose"):
            for name, default in found.items():
                if getattr(ctx.get_parameter_source(name), "name", "") == "DEFAULT_MAP":
                    value = default.value
                    shown = ", ".join(value) if isinstance(value, list) else value
                    say(f"--{default.option} {shown} by {default.origin}")
        return own_invoke(ctx)

    command.invoke = invoke
    return {name: default.value for name, default in found.items()}


class _OfGroup(dict[str, Any]):
    """The defaults of the commands of a group, each when it is asked for."""

    def __init__(self, commands: Mapping[str, Any], path: tuple[str, ...]) -> None:
        super().__init__()
        self._commands, self._path = commands, path

    def get(self, name: str, default: Any = None) -> Any:
        return _given(self._commands[name], (*self._path, name)) if name in self._commands else default


def _every_command() -> Iterator[Any]:
    for row in COMMANDS:
        command = row.load()
        yield from getattr(command, "commands", {"": command}).values()


def _open_streams() -> None:
    """Streams that were closed by who started it lead nowhere, so that no file takes their place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - lives as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def _drop_stdout() -> None:
    """Nothing more can be said there, not even at exit, when Python flushes what is left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find objects in pictures, from the sliding window to the transformers, and measure how well.",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"detkit {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    start_logging()


def main() -> None:
    """The `detkit` command."""
    app()
