"""What `detkit hog-detect` and `detkit slide` share: sizes as WxH, grouping, and pictures of the inner workings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detkit.cli.options import DetectionOptions

if TYPE_CHECKING:
    from detkit.detectors.windows.grouping import Grouping
    from detkit.images import Image

Pictures = Callable[["Image"], Iterator[tuple[str, "Image"]]]

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
    Path | None,
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
    """How windows become boxes, from the shared options and --group."""
    from detkit.detectors.windows.grouping import Grouping
    from detkit.errors import UsageError

    default = Grouping()
    if group is not Group.maxima and (options.iou is not None or options.nms.value != default.nms or options.agnostic):
        raise UsageError(f"--nms, --iou and --agnostic are for --group maxima, not for {group.value}")
    return Grouping(
        method=group.value,
        nms=options.nms.value,
        iou=default.iou if options.iou is None else options.iou,
        agnostic=options.agnostic,
        max_detections=options.max_det,
    )


def run_with_pictures(
    run: Callable[[], None], options: DetectionOptions, wanted: list[tuple[Path, Callable[[], Pictures]]]
) -> None:
    """`run` the detection, then write for every source picture the pictures that each (folder, maker) makes of it.

    The sources are gone through a second time; files that cannot be read were named in the first.
    """
    from detkit.cli.console import say
    from detkit.errors import InputError, UsageError
    from detkit.files import write_bytes
    from detkit.images import encode_image, read_image
    from detkit.runs.results import doubled_stems, stem_of
    from detkit.runs.sources import files_of, find_items, spare_inputs

    if wanted and "-" in options.sources:
        raise UsageError("--heatmap and --show-hog go through the sources twice: name them in place of -")
    items = find_items(options.sources, lambda name, why: None) if wanted else []
    sources, doubled = files_of(items), doubled_stems(items)
    status: typer.Exit | None = None
    try:
        run()
    except typer.Exit as error:  # some inputs could not be read
        status = error
    for folder, make in wanted:
        pictures = make()
        for item in items:
            if item.video:
                say(f"{item.name}: is a video, of which --heatmap and --show-hog make no pictures")
                continue
            try:
                for name, picture in pictures(read_image(item.path)):
                    target = folder / stem_of(PurePosixPath(item.name), doubled) / f"{name}.png"
                    spare_inputs("--heatmap or --show-hog", target, sources)
                    write_bytes(target, encode_image(picture, ".png"))
            except InputError:
                continue
    if status is not None:
        raise status


def own_settings(**values: Any) -> dict[str, Any]:
    """A command's own options as plain values, for the journal of --resume."""
    return {key: value.value if isinstance(value, Enum) else value for key, value in values.items()}
