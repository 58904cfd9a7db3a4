"""`detkit rcnn`."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.options import DetectionOptions, detection_command

_REGIONS = "The regions"


class Variant(str, Enum):
    rcnn = "rcnn"
    fast = "fast"
    faster = "faster"


@detection_command
def rcnn(
    options: DetectionOptions,
    variant: Annotated[
        Variant | None,
        typer.Option(
            metavar="NAME",
            help="rcnn, fast (Fast R-CNN) or faster (Faster R-CNN). Default: what --model is, else faster.",
            rich_help_panel=_REGIONS,
        ),
    ] = None,
    proposals: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD|FILE",
            help="selective-search, edge-boxes, grid, or a file of `detkit proposals`: for rcnn and fast.",
            rich_help_panel=_REGIONS,
        ),
    ] = None,
    max_proposals: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Regions per picture. Default: 1000, for faster 300.", rich_help_panel=_REGIONS
        ),
    ] = None,
    no_bbox_regression: Annotated[
        bool,
        typer.Option(
            "--no-bbox-regression", help="Do not move each box by the offsets of its class.", rich_help_panel=_REGIONS
        ),
    ] = False,
    no_context: Annotated[
        bool,
        typer.Option(
            "--no-context",
            help="Do not show the network what is around a region: for rcnn.",
            rich_help_panel=_REGIONS,
        ),
    ] = False,
    proposal_iou: Annotated[
        float | None,
        typer.Option(
            min=0.01, max=1, help="Suppress the RPN's proposals that overlap more: for faster. Default: 0.7.",
            rich_help_panel=_REGIONS,
        ),
    ] = None,
) -> None:  # fmt: skip
    """Find objects by regions with R-CNN, Fast R-CNN or Faster R-CNN: bundled, your own, or torchvision's."""
    from detkit.cli.detect import run_detection
    from detkit.detectors.rcnn.regions import RegionOptions
    from detkit.detectors.rcnn.two_stage import two_stage

    regions = RegionOptions(proposals, max_proposals, not no_bbox_regression, not no_context, proposal_iou)
    chosen = None if variant is None else variant.value
    own = {"variant": chosen, "boxes": _fingerprint(proposals), **asdict(regions)}
    run_detection(
        "rcnn",
        options,
        lambda: two_stage(options.model, chosen, options.selection(), options.runtime(), regions),
        own,
    )


def _fingerprint(proposals: str | None) -> str | None:
    """The method, or the hash of the file: results depend on what is in it."""
    from detkit.files import sha256

    if proposals is None or not Path(proposals).is_file():
        return proposals
    return sha256(proposals)
