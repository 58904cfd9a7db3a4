"""`detkit train`: detectors from your own pictures."""

from __future__ import annotations

import typer

from detkit.cli import train_hog, train_motion, train_rcnn, train_segment, train_yolo

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Train a detector, a network for regions or a motion model on your own annotations.",
)
app.command("hog")(train_hog.train_hog)
app.command("rcnn")(train_rcnn.train_rcnn)
app.command("yolo")(train_yolo.train_yolo)
app.command("segment")(train_segment.train_segment)
app.command("motion")(train_motion.train_motion)
