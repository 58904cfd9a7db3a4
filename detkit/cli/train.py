"""`detkit train`: detectors from your own pictures."""

from __future__ import annotations

import typer

from detkit.cli import train_hog, train_rcnn, train_segment, train_yolo

app = typer.Typer(no_args_is_help=True, help="Train a detector, or a network for regions, on your own annotations.")
app.command("hog")(train_hog.train_hog)
app.command("rcnn")(train_rcnn.train_rcnn)
app.command("yolo")(train_yolo.train_yolo)
app.command("segment")(train_segment.train_segment)
