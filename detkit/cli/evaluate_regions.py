"""`detkit eval --protocol semantic` and `panoptic`: figures of label maps and of panoptic segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from detkit.cli.bars import Bars
from detkit.cli.console import counted, refuse_options, say, show, terminal_width, write_figures

# Options of `detkit eval` that mean something here.
_OPTIONS = ("detections", "ground_truth", "protocol", "json", "explain", "fail_under", "per_class")
_SEMANTIC_OPTIONS = (*_OPTIONS, "gt_format", "names")


@dataclass(frozen=True)
class RegionEvaluation:
    """What is asked for.

    json        file of all figures; - is stdout, instead of the table
    palette     voc, cityscapes or ade20k: what the numbers of label maps mean; None: what they show
    names       a file of class names, for numbers from 0
    per_class   a line for each class
    explain     say what each figure asks
    bars        what figures have to reach
    """

    json: str | None = None
    palette: str | None = None
    names: Path | None = None
    per_class: bool = False
    explain: bool = False
    bars: Bars = field(default_factory=Bars)


@dataclass(frozen=True)
class _Figures:
    """What holds for all, the main figure first, and columns of figures by class."""

    heading: str
    figures: dict[str, float]
    names: Sequence[str]
    classes: dict[str, Any]


def evaluate_regions(protocol: str, found: Path, truth: Path, wanted: RegionEvaluation, context: typer.Context) -> None:
    """Read, measure, print."""
    refuse_options(context, _SEMANTIC_OPTIONS if protocol == "semantic" else _OPTIONS, f"--protocol {protocol}")
    if wanted.json not in (None, "-"):
        from detkit.guard import Guard

        Guard(found, truth, wanted.names).spare("--json", Path(str(wanted.json)))
    result = _semantic(found, truth, wanted) if protocol == "semantic" else _panoptic(found, truth)
    wanted.bars.missed(result.figures)  # says now what is wrong with their names
    if wanted.json != "-":
        _print(result, wanted)
    if wanted.json:
        classes = {
            name: {key: float(values[row]) for key, values in result.classes.items()}
            for row, name in enumerate(result.names)
        }
        write_figures(wanted.json, {"protocol": protocol, "figures": result.figures, "classes": classes})
    wanted.bars.judge(result.figures)


def _semantic(found: Path, truth: Path, wanted: RegionEvaluation) -> _Figures:
    import numpy as np

    from detkit.annotations.label_map_files import class_pairs, paired_maps, palette_of
    from detkit.annotations.name_files import read_names
    from detkit.metrics.semantic import IGNORED, SemanticResult, pixel_confusion

    pairs, others = paired_maps(found, truth)
    for path in others:
        say(f"{path}: no true label map of this name; not counted")
    palette = palette_of(pairs[0].truth, wanted.palette, tuple(read_names(wanted.names)) if wanted.names else ())
    count = IGNORED if palette is None else len(palette)
    matrix = np.zeros((count, count + 1), np.int64)
    for true_classes, found_classes in class_pairs(pairs, palette):
        matrix += pixel_confusion(true_classes, found_classes, count)
    if palette is None:  # as many classes as there are numbers
        there = np.flatnonzero(matrix[:, :count].sum(axis=0) + matrix.sum(axis=1))
        count = int(there.max(initial=0)) + 1
        matrix = np.concatenate((matrix[:count, :count], matrix[:count, -1:]), axis=1)
    names = palette.names if palette is not None else tuple(map(str, range(count)))
    result = SemanticResult(matrix)
    whose = "numbers without names" if palette is None else f"classes {palette.name}"
    heading = f"{counted(len(pairs), 'label map')}, {int(matrix.sum()):,} pixels with a class; {whose}"
    by_class = {"IoU": result.iou, "accuracy": result.accuracy}
    return _Figures(heading, result.figures, names, by_class)


def _panoptic(found: Path, truth: Path) -> _Figures:
    import numpy as np

    from detkit.annotations.panoptic_files import read_panoptic
    from detkit.errors import InputError
    from detkit.metrics.panoptic import PanopticCounts, PanopticResult, Segments, panoptic_counts

    true_file, found_file = read_panoptic(truth), read_panoptic(found)
    if not true_file.categories:
        raise InputError(f"{truth}: has no categories")
    ids = tuple(one["id"] for one in true_file.categories)
    counts = PanopticCounts.zero(len(ids))
    for image_id in true_file.pictures:
        if image_id not in found_file.pictures:
            raise InputError(f"{found}: has no segments of the picture {image_id}")
        true_segments = Segments(*true_file.parts(image_id, ids))
        try:
            counts = counts + panoptic_counts(true_segments, Segments(*found_file.parts(image_id, ids)), len(ids))
        except InputError as error:
            raise InputError(f"picture {image_id}: {error}") from error
    more = len(found_file.pictures.keys() - true_file.pictures.keys())
    if more:
        say(f"{counted(more, 'picture')} of {found} without a true one; not counted")
    thing = np.array([bool(one.get("isthing", 1)) for one in true_file.categories], bool)
    result = PanopticResult(counts, thing)
    segments = int((counts.hits + counts.missed).sum())
    heading = f"{counted(len(true_file.pictures), 'picture')}, {counted(segments, 'segment')} to find"
    names = [str(one.get("name", one["id"])) for one in true_file.categories]
    return _Figures(heading, result.figures, names, dict(result.by_class()))


def _print(result: _Figures, wanted: RegionEvaluation) -> None:
    from detkit.report.region_text import class_table, region_table

    show(result.heading)
    if wanted.per_class:
        width = terminal_width(120)
        show(class_table(result.names, result.classes, width) + "\n")
    show(region_table(result.figures, wanted.explain))
