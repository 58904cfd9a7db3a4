"""`detkit yolo`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from detkit.cli.network_options import (
    NETWORK,
    ColorOption,
    FitOption,
    MeanOption,
    MultiLabelOption,
    SizeOption,
    StdOption,
    numbers,
)
from detkit.cli.options import DetectionOptions, detection_command


@detection_command
def yolo(
    options: DetectionOptions,
    head: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Decode as this head instead of recognising it.", rich_help_panel=NETWORK),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Class names: a file (one a line, or JSON), coco or voc.", rich_help_panel=NETWORK
        ),
    ] = None,
    size: SizeOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    color: ColorOption = None,
    fit: FitOption = None,
    multi_label: MultiLabelOption = None,
) -> None:
    """Find objects with an exported network: YOLO v1 to v26, YOLOX, NanoDet, RTMDet, DETR and kin."""
    from detkit.cli.detect import run_detection
    from detkit.detectors.yolo.graph_options import GraphOptions
    from detkit.detectors.yolo.yolo_detector import Yolo

    own = GraphOptions(
        names,
        size,
        numbers("--mean", mean),
        numbers("--std", std),
        color.value if color else None,
        fit.value if fit else None,
        head=head,
        multi_label=multi_label,
    )
    run_detection(
        "yolo", options, lambda: Yolo(options.model, options.selection(), options.runtime(), own), asdict(own)
    )
