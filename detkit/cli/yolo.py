"""`detkit yolo`."""

from __future__ import annotations

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
    from detkit.detectors.yolo.yolo_detector import Yolo

    def build() -> Yolo:
        return Yolo(
            options.model,
            conf=options.conf,
            iou=options.iou,
            max_det=options.max_det,
            nms=options.nms.value,
            agnostic=options.agnostic,
            multi_label=multi_label,
            classes=options.classes or (),
            names=names,
            head=head,
            size=size,
            device=options.device,
            threads=options.threads,
            batch=options.batch or 1,
        )

    own = {"head": head, "names": names, "size": size, "multi_label": multi_label}
    run_detection("yolo", options, build, own)
