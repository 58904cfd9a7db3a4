"""The command line. Commands parse, call and print; what they call lives in the other packages.

Each command imports what it needs when it runs, so that `detkit --help` imports neither OpenCV nor onnxruntime.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from detkit import __version__
from detkit.cli.console import interrupted, say, start_logging
from detkit.errors import DetkitError, ExitStatus


class Commands(TyperGroup):
    """All commands; the one place where their errors become a line on stderr and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DetkitError as error:
            say(str(error))
            raise typer.Exit(int(error.status)) from error
        except KeyboardInterrupt as error:
            interrupted()
            raise typer.Exit(int(ExitStatus.INTERRUPTED)) from error
        except BrokenPipeError as error:
            # The reader of stdout has gone (`| head`). Nothing more can be said there, not even at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(int(ExitStatus.OK)) from error


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
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
    from detkit.cli import bench, convert, evaluate, hog_detect, models, slide, train, yolo

    app.command("yolo")(yolo.yolo)
    app.command("hog-detect")(hog_detect.hog_detect)
    app.command("slide")(slide.slide)
    app.add_typer(train.app, name="train")
    app.add_typer(models.app, name="models")
    app.command("eval")(evaluate.evaluate)
    app.command("convert")(convert.convert)
    app.command("bench")(bench.bench)


_register()


def main() -> None:
    """The `detkit` command."""
    app()
