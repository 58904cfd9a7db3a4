"""`detkit slide`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli.options import DetectionOptions, detection_command, plain
from detkit.cli.windows import (
    PANEL,
    Group,
    GroupOption,
    HeatmapOption,
    grouping_of,
    size_of,
)

if TYPE_CHECKING:
    from detkit.detectors.windows.slide_detector import SlideDetector
    from detkit.images import Image
    from detkit.runs.run import Pictures

from detkit.cli.network_options import NETWORK


@detection_command
def slide(
    options: DetectionOptions,
    window: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="The smallest window, in pixels of the picture. Default: the network's input size.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Pixels between windows, at the network's input size. Default: an eighth of it.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    scale: Annotated[
        float, typer.Option(min=1.0, help="Size of one pyramid level over the next.", rich_help_panel=PANEL)
    ] = 1.25,
    levels: Annotated[int, typer.Option(min=1, help="Pyramid levels at the most.", rich_help_panel=PANEL)] = 64,
    names: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Class names: a file (one a line, or JSON), coco or voc.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The class that stands for nothing. Default: one named so.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    dense: Annotated[
        bool | None,
        typer.Option(
            "--dense/--no-dense",
            help="Whole levels through the network, or window by window. Default: whole levels where that is exact.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    group: GroupOption = Group.maxima,
    heatmap: HeatmapOption = None,
) -> None:
    """Find what any classifier network knows, by sliding it as a window over the picture at many sizes."""
    from detkit.cli.detect import run_detection
    from detkit.detectors.windows.slide_detector import SlideDetector, SlideOptions
    from detkit.detectors.windows.window_pictures import heatmaps

    def build() -> SlideDetector:
        smallest = size_of(window, "--window") if window else None
        own = SlideOptions(smallest, stride, scale, levels, grouping_of(options, group), dense, names, background)
        return SlideDetector(options.model, options.selection(), options.runtime(), own)

    def heat(detector: SlideDetector) -> Pictures:
        def pictures(image: Image) -> Iterator[tuple[str, Image]]:
            best = detector.classify(image).best
            return iter(()) if best is None else heatmaps(best, image)

        return pictures

    own = plain(
        window=window, stride=stride, scale=scale, levels=levels, names=names, background=background, dense=dense,
        group=group,
    )  # fmt: skip
    run_detection("slide", options, build, own, ((heatmap, heat),))
