"""Figures of regions as plain text: a line a class, and what holds for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from detkit.report.text import grid

MEANINGS = {
    "mIoU": "the overlap of each class's pixels with those found, mean over the classes that are there or found",
    "pixel_accuracy": "the share of pixels that have their class",
    "mean_accuracy": "the same within each class, mean over classes",
    "frequency_weighted_IoU": "the overlap of each class, weighted by its pixels",
    "PQ": "SQ x RQ: overlaps of matched segments / (matched + half of those missed and false)",
    "SQ": "the overlap of matched segments, those above .5",
    "RQ": "F1 of segments",
}


def region_table(figures: Mapping[str, float], explain: bool) -> str:
    """A line a figure, with what it asks where that is wanted."""
    width = max(map(len, figures))
    lines = [f"{name:<{width}}  {_share(value)}" for name, value in figures.items()]
    if explain:
        lines += ["", *(f"{name:<{width}}  {MEANINGS[name]}" for name in figures if name in MEANINGS)]
    return "\n".join(lines)


def class_table(names: Sequence[str], columns: Mapping[str, Sequence[float]], width: int) -> str:
    """A line for each class that is there or found."""
    kept = [row for row in range(len(names)) if any(values[row] >= 0 for values in columns.values())]
    rows = [[_share(values[row]) for values in columns.values()] for row in kept]
    return grid(["class", *columns], [names[row] for row in kept], rows, width)


def _share(value: float) -> str:
    return f"{value:.4f}" if value >= 0 else "-"
