"""`detkit hog-detect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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


@detection_command
def hog_detect(
    options: DetectionOptions,
    svm: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Coefficients in OpenCV's layout: text, .npy, .npz, .yml or .xml, in place of --model. Scores are "
            "then not calibrated: --conf 0.5 is OpenCV's threshold 0. A --class names what is found.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    hog: Annotated[
        str,
        typer.Option(
            metavar="KEY=VALUE,...",
            help="Parameters of the descriptor that --svm was trained with, like window=48x96,orientations=9.",
            rich_help_panel=PANEL,
        ),
    ] = "",
    scale: Annotated[
        float, typer.Option(min=1.0, help="Size of one pyramid level over the next.", rich_help_panel=PANEL)
    ] = 1.05,
    enlarge: Annotated[
        float,
        typer.Option(min=0.01, help="Enlarge the picture so many times first.", rich_help_panel=PANEL),
    ] = 1.0,
    levels: Annotated[int, typer.Option(min=1, help="Pyramid levels at the most.", rich_help_panel=PANEL)] = 64,
    stride: Annotated[str, typer.Option(metavar="WxH", help="Pixels between windows.", rich_help_panel=PANEL)] = "8x8",
    padding: Annotated[
        str, typer.Option(metavar="WxH", help="Pixels mirrored around every level; 0 for none.", rich_help_panel=PANEL)
    ] = "8x8",
    group: GroupOption = Group.maxima,
    heatmap: HeatmapOption = None,
    show_hog: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Write each picture beside its HOG glyphs there.", rich_help_panel="Output"),
    ] = None,
) -> None:
    """Find people, or what `detkit train hog` learned, by histograms of oriented gradients (Dalal and Triggs 2005)."""
    from detkit.cli.detect import run_detection
    from detkit.detectors.hog.glyphs import glyphs
    from detkit.detectors.hog.hog_detector import HogDetector, HogOptions
    from detkit.detectors.hog.hog_model import named_model, parameters_from_text, read_opencv_svm
    from detkit.detectors.windows.window_pictures import heatmaps
    from detkit.errors import UsageError

    if svm is not None and options.model is not None:
        raise UsageError("--svm and --model both name a classifier: give one of them")
    if hog and svm is None:
        raise UsageError("--hog describes the coefficients of --svm; a model file knows its own parameters")
    if svm is None:
        model = named_model(options.model)
    else:
        parameters = parameters_from_text(hog) if hog else None
        model = read_opencv_svm(svm, parameters, name=(options.classes or ["object"])[0])

    def build() -> HogDetector:
        window = HogOptions(
            scale,
            enlarge,
            levels,
            size_of(stride, "--stride"),
            size_of(padding, "--padding", least=0),
            grouping_of(options, group),
        )
        return HogDetector(model, options.selection(), options.runtime(), window)

    own = plain(
        svm=str(svm) if svm else None, hog=hog, scale=scale, enlarge=enlarge, levels=levels, stride=stride,
        padding=padding, group=group,
    )  # fmt: skip
    more = (
        (heatmap, lambda detector: lambda image: heatmaps(detector.score_map(image), image)),
        (show_hog, lambda detector: lambda image: iter([("hog", glyphs(image, model.parameters))])),
    )
    run_detection("hog-detect", options, build, own, more)
