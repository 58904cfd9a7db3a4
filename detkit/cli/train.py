"""`detkit train`: detectors from your own pictures."""

from __future__ import annotations

import typer

from detkit.cli import train_hog

app = typer.Typer(no_args_is_help=True, help="Train a detector on your own annotations.")
app.command("hog")(train_hog.train_hog)


@app.callback()
def _root() -> None:
    """Keeps `detkit train hog` a command of its own while it is the only one."""
