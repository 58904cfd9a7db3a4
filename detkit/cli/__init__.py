"""The command line. Commands parse, call and print; what they call lives in the other packages.

Each command imports what it needs when it runs, so that `detkit --help` imports neither OpenCV nor onnxruntime.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from detkit import __version__
from detkit.cli.console import interrupted, say, start_logging
from detkit.errors import DetkitError, ExitStatus, missing_library
from detkit.files import reason

# Typer exports the exception of wrong use only by its heirs.
_UsageError: Any = typer.BadParameter.__base__
# What writing to a full or broken stdout fails with; errors of named files are caught where they are written.
_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Commands(TyperGroup):
    """All commands; the one place where their errors become a line on stderr and an exit status."""

    def main(self, *args: Any, **extra: Any) -> Any:
        if sys.stdout is None:  # closed by who started it
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - lives as long as the process
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


def _register() -> None:
    from detkit.cli import (
        bench,
        convert,
        demo,
        evaluate,
        hog_detect,
        models,
        proposals,
        rcnn,
        slide,
        track,
        train,
        yolo,
    )

    app.command("demo")(demo.demo)
    app.command("yolo")(yolo.yolo)
    app.command("rcnn")(rcnn.rcnn)
    app.command("hog-detect")(hog_detect.hog_detect)
    app.command("slide")(slide.slide)
    app.command("track")(track.track)
    app.add_typer(train.app, name="train")
    app.add_typer(models.app, name="models")
    app.command("eval")(evaluate.evaluate)
    app.command("proposals")(proposals.proposals)
    app.command("convert")(convert.convert)
    app.add_typer(bench.app, name="bench")


_register()


def main() -> None:
    """The `detkit` command."""
    app()
