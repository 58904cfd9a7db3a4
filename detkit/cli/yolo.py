"""`detkit yolo`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from detkit.cli.options import DetectionOptions, detection_command

_NETWORK = "The network"


@detection_command
def yolo(
    options: DetectionOptions,
    head: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Decode as this head instead of recognising it.", rich_help_panel=_NETWORK),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Class names: a file (one a line, or JSON), coco or voc.", rich_help_panel=_NETWORK
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=32, help="Side of the input, where the graph leaves it open.", rich_help_panel=_NETWORK),
    ] = None,
    multi_label: Annotated[
        bool | None,
        typer.Option(
            "--multi-label/--single-label",
            help="Count a box for every class above --conf, or for its best. Default: the exporter's own.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
) -> None:
    """Find objects with an exported network: YOLO v1 to v26, YOLOX, NanoDet, RTMDet, DETR and kin."""
    from detkit.cli.detect import run_detection
    from detkit.detectors.yolo.yolo_detector import GraphOptions, Yolo

    own = GraphOptions(names, head, size, multi_label)
    run_detection(
        "yolo", options, lambda: Yolo(options.model, options.selection(), options.runtime(), own), asdict(own)
    )
