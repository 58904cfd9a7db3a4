"""`detkit yolo`."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from typing import Annotated

import typer

from detkit.cli.options import DetectionOptions, detection_command

_NETWORK = "The network"


class Color(str, Enum):
    RGB = "rgb"
    BGR = "bgr"


class FitChoice(str, Enum):
    CENTER = "center"
    TOP_LEFT = "top-left"
    STRETCH = "stretch"


def numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """The numbers of a text like 123.7,116.3,103.5."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number, or three like 1,2,3", param_hint=option) from None


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
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="N[,N,N]", help="What is taken from pixels of 0 to 255, each channel.", rich_help_panel=_NETWORK
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(metavar="N[,N,N]", help="What they are then divided by.", rich_help_panel=_NETWORK),
    ] = None,
    color: Annotated[
        Color | None, typer.Option(help="Order of the channels.", rich_help_panel=_NETWORK, show_default=False)
    ] = None,
    fit: Annotated[
        FitChoice | None,
        typer.Option(
            help="How a picture is brought to the input's size: padded on all sides, at the end, or stretched.",
            rich_help_panel=_NETWORK,
            show_default=False,
        ),
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
