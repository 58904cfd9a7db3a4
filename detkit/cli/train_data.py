"""The options that say what `detkit train yolo` and `detkit train rcnn` learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataArgument = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="Annotations: COCO JSON, a VOC or YOLO folder, ...", show_default=False),
]
ImagesOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where the pictures are. Default: beside the annotations.")
]
NamesOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Class names, for YOLO folders without.")]
ListOption = Annotated[
    Path | None,
    typer.Option("--list", metavar="FILE", help="Use only the pictures listed there, like VOC's ImageSets."),
]
HeldOutOption = Annotated[float, typer.Option(min=0, max=0.9, help="Share of the pictures that only measure.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Of everything random.")]
