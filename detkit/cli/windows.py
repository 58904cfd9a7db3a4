"""What `detkit hog-detect` and `detkit slide` share: sizes as WxH, and grouping."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli.options import DetectionOptions

if TYPE_CHECKING:
    from detkit.detectors.windows.grouping import Grouping

PANEL = "The window"


class Group(str, Enum):
    maxima = "maxima"
    mean_shift = "mean-shift"
    none = "none"


GroupOption = Annotated[
    Group,
    typer.Option(
        "--group",
        help="Windows to boxes: local maxima over x, y and scale, then --nms; mean shift; or every window.",
        rich_help_panel=PANEL,
    ),
]
HeatmapOption = Annotated[
    str | None,
    typer.Option(
        "--heatmap", metavar="DIR", help="Write the score maps there: each level, and the maximum over scales.",
        rich_help_panel="Output",
    ),
]  # fmt: skip


def size_of(text: str, option: str, least: int = 1) -> tuple[int, int]:
    """(width, height) of "64x128", or of "64" for a square; each at least `least`."""
    match = re.fullmatch(r"(\d{1,9})(?:[xX](\d{1,9}))?", text.strip())
    if match is None or int(match[1]) < least or int(match[2] or match[1]) < least:
        raise typer.BadParameter(f"{text!r} is not a size in pixels like 64x128", param_hint=option)
    return int(match[1]), int(match[2] or match[1])


def grouping_of(options: DetectionOptions, group: Group) -> Grouping:
    """How windows become boxes, from --group; the options of suppression are for maxima only."""
    from detkit.detectors.windows.grouping import Grouping
    from detkit.errors import UsageError

    if group is not Group.maxima and (options.iou is not None or options.nms.value != "greedy" or options.agnostic):
        raise UsageError(f"--nms, --iou and --agnostic are for --group maxima, not for {group.value}")
    return Grouping(group.value)
