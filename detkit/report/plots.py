"""Plots of an evaluation: drawn once, saved as PNG files or as SVG for the page.

matplotlib is imported here and nowhere else, and this module only where a plot is asked for.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from detkit.files import write_atomically
from detkit.metrics.average_precision import COCO_RECALLS
from detkit.metrics.curves import FROC_FPPI, MISS_RATE_FPPI, mean_precision_curve
from detkit.metrics.evaluation import Evaluation
from detkit.metrics.wording import number
from detkit.report.text import fit
from detkit.spelling import counted, printable

INK = "#20242b"
GRID = "#9aa3af"
BLUE, ORANGE, GREEN, RED, GRAY = "#2f6fde", "#e07b1a", "#2a9d5c", "#d1394a", "#8a93a0"
MOST_CLASSES = 90  # in the confusion matrix
SIZE = (5.2, 4.0)
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called $x$
    "legend.frameon": False,
    "svg.fonttype": "none",
}

Drawing = Callable[[Evaluation], Figure]


def write_plots(evaluation: Evaluation, folder: str | os.PathLike[str]) -> list[Path]:
    """Write pr.png, scores.png, roc.png, det.png, froc.png, errors.png and confusion.png; returns their paths."""
    written = []
    for name, draw in PLOTS.items():
        with matplotlib.rc_context(STYLE), _any_script():
            figure = draw(evaluation)
            path = Path(folder) / f"{name}.png"
            with write_atomically(path) as file:
                figure.set_dpi(150)
                FigureCanvasAgg(figure).print_png(file)
        written.append(path)
    return written


def svg_plots(evaluation: Evaluation, without: Sequence[str] = ()) -> dict[str, str]:
    """The same plots as SVG elements for a page: no background, ink in the page's text colour, names escaped.

    without  names of plots that are not wanted
    """
    elements = {}
    for name in [name for name in PLOTS if name not in without]:
        draw = PLOTS[name]
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}), _any_script():
            figure = draw(evaluation)
            figure.patch.set_alpha(0)
            for axes in figure.axes:
                axes.patch.set_alpha(0)
            buffer = io.StringIO()
            unsaid = dict.fromkeys(("Date", "Creator", "Type", "Format"))
            FigureCanvasSVG(figure).print_svg(buffer, metadata=unsaid)
        elements[name] = _inline(buffer.getvalue(), name)
    return elements


@contextmanager
def _any_script() -> Iterator[None]:
    """No warnings about letters that matplotlib's font lacks, nor about names too long for its layout.

    A browser has the letters, a PNG shows boxes; long names reach out of their place.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        yield


def _inline(svg: str, name: str) -> str:
    """The <svg> element alone, with ids of its own among several on one page, in the colour of the text."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    width, height = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"|$', svg).groups() or ("400", "300")  # type: ignore[union-attr]
    svg = svg.replace(f'width="{width}pt" height="{height}pt"', f'style="max-width:{width}pt"', 1)
    return svg.replace(INK, "currentColor")


def draw_precision_recall(evaluation: Evaluation) -> Figure:
    """Precision over recall, averaged over classes: COCO's ten overlaps, or VOC's one with every class behind it."""
    figure, axes = _square("Precision and recall", "recall", "precision")
    defined = evaluation.outcomes.positives > 0
    if evaluation.protocol == "coco" and defined.any():
        result = evaluation.coco_result
        scale = matplotlib.colors.LinearSegmentedColormap.from_list("overlap", [BLUE, "#b0509c", ORANGE])
        colours = scale(np.linspace(0, 1, len(result.thresholds)))
        for t, threshold in enumerate(result.thresholds):
            tables = result.precision[t, :, :, 0]  # (R, K)
            tables = tables[:, (tables > -1).all(axis=0)]
            if not tables.size:
                continue
            ap = tables.mean()
            wide = 2.0 if threshold in (0.5, 0.75) else 1.0
            label = f"{threshold:.2f}  AP {ap:.3f}"
            axes.plot(COCO_RECALLS, tables.mean(axis=1), color=colours[t], lw=wide, label=label)
        axes.legend(title="overlap", fontsize=7.5, title_fontsize=8, loc="upper right", bbox_to_anchor=(1.32, 1.02))
    elif defined.any():
        for curve in evaluation.class_curves:
            if curve.positives and len(curve.scores):
                axes.plot(curve.recall, curve.precision, color=GRAY, lw=0.6, alpha=0.45)
        mean = mean_precision_curve(evaluation.outcomes, COCO_RECALLS)
        classes = counted(int(defined.sum()), "class", "classes")
        label = f"mean of {classes}, AP {number(evaluation.figures['AP'], 3)}"
        axes.plot(COCO_RECALLS, mean, color=BLUE, lw=2, label=label)
        axes.legend(loc="upper right", fontsize=8)
    else:
        _nothing(axes)
    return figure


def draw_scores(evaluation: Evaluation) -> Figure:
    """Precision, recall and F1 of all detections over the score, with the working point."""
    figure, axes = _square("Choosing a score", "score at least", "")
    curve = evaluation.curve
    if not len(curve.scores) or not curve.positives:
        _nothing(axes)
        return figure
    for values, colour, label in (
        (curve.precision, BLUE, "precision"),
        (curve.recall, ORANGE, "recall"),
        (curve.f1, GREEN, "F1"),
    ):
        axes.plot(curve.scores, values, color=colour, lw=1.6, label=label, drawstyle="steps-pre")
    low, high = float(curve.scores[-1]), float(curve.scores[0])
    pad = (high - low) * 0.02 or 0.5
    axes.set_xlim(low - pad, high + pad)
    axes.axvline(evaluation.score, color=INK, lw=0.9, ls=":")
    side = "left" if evaluation.score < (low + high) / 2 else "right"
    gap = "  " if side == "left" else ""
    axes.text(evaluation.score, 1.01, f"{gap}{evaluation.score:.3g}", ha=side, va="bottom", fontsize=8)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, fontsize=8)
    return figure


def draw_roc(evaluation: Evaluation) -> Figure:
    """ROC of the score among the detections."""
    figure, axes = _square("ROC: do scores rank hits first?", "share of the false positives", "share of the hits")
    auc = evaluation.curve.roc_auc()
    axes.plot([0, 1], [0, 1], color=GRAY, lw=0.8, ls="--")
    if auc < 0:
        _nothing(axes)
        return figure
    axes.plot(*evaluation.curve.roc(), color=BLUE, lw=2, label=f"all classes, area {auc:.3f}")
    axes.legend(loc="lower right", fontsize=8)
    return figure


def draw_det(evaluation: Evaluation) -> Figure:
    """Miss rate over false positives per image, both logarithmic (Dollar et al. 2012)."""
    title = "Misses against false positives (DET)"
    figure, axes = _square(title, "false positives per image", "miss rate")
    curve = evaluation.curve
    average = curve.log_average_miss_rate()
    if average < 0:
        _nothing(axes)
        return figure
    falses = curve.falses_per_image
    shown = falses > 0
    axes.set_xscale("log")
    axes.set_yscale("log")
    misses = np.maximum(1 - curve.recall, 1e-4)
    axes.plot(falses[shown], misses[shown], color=BLUE, lw=2, drawstyle="steps-post")
    points = np.maximum(curve.miss_rates(MISS_RATE_FPPI), 1e-4)
    axes.plot(MISS_RATE_FPPI, points, "o", color=ORANGE, ms=4, label=f"log-average miss rate {average:.3f}")
    lowest = float(min(points.min(), misses[shown].min(initial=1.0)))
    bottom = lowest * 0.85
    axes.set_ylim(bottom, 1.1)
    axes.set_xlim(5e-3, max(2.0, float(falses.max(initial=1.0)) * 1.2))
    ticks = [t for t in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1) if t >= bottom]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(loc="lower left", fontsize=8)
    return figure


def draw_froc(evaluation: Evaluation) -> Figure:
    """Recall over false positives per image (FROC)."""
    figure, axes = _square("Recall per false positives (FROC)", "false positives per image", "recall")
    recalls, mean = evaluation.curve.froc()
    if mean < 0:
        _nothing(axes)
        return figure
    falses = np.append(evaluation.curve.falses_per_image, 1e9)  # past the last detection nothing is added
    recall = np.append(evaluation.curve.recall, evaluation.curve.recall[-1:].sum())
    shown = falses > 0
    axes.set_xscale("log", base=2)
    axes.plot(falses[shown], recall[shown], color=BLUE, lw=2, drawstyle="steps-post")
    axes.plot(FROC_FPPI, recalls, "o", color=ORANGE, ms=4, label=f"mean of seven {mean:.3f}")
    axes.set_xlim(1 / 16, 16)
    axes.xaxis.set_major_locator(FixedLocator(FROC_FPPI.tolist()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda x, _: f"1/{round(1 / x)}" if x < 1 else f"{x:g}")
    axes.legend(loc="upper left", fontsize=8)
    return figure


def draw_errors(evaluation: Evaluation) -> Figure:
    """The AP that each kind of error costs (TIDE)."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title("What the errors cost (TIDE)")
    tide = evaluation.tide
    kinds = list(tide.cost)
    costs = np.array([tide.cost[kind] for kind in kinds])
    places = np.arange(len(kinds))[::-1]
    axes.barh(places, costs, color=[BLUE, GREEN, GRAY, ORANGE, RED, "#7a55c7"], height=0.65)
    axes.set_yticks(places, [f"{kind}\n{tide.counts[kind]:,}" for kind in kinds], fontsize=8)
    axes.set_xlabel(f"AP at overlap {evaluation.iou:g} lost")
    axes.grid(axis="y", visible=False)
    high = max(float(costs.max(initial=0)), 0.01)
    axes.set_xlim(0, high * 1.18)
    for place, cost in zip(places, costs, strict=True):
        axes.text(cost + high * 0.015, place, f"{cost:.3f}", va="center", fontsize=8)
    return figure


def draw_confusion(evaluation: Evaluation) -> Figure:
    """The confusion matrix, each row divided by its sum; numbers in the cells where there are few classes."""
    matrix = evaluation.confusion
    rows, left_out = shown_classes(matrix)
    names = [fit(printable(name), 20).rstrip() for name in evaluation.names]
    labels = [*(names[k] for k in rows[:-1]), "background"]
    matrix = matrix[np.ix_(rows, rows)]
    count = len(rows)
    side = max(4.2, 0.155 * count + 2.2)
    figure = Figure(figsize=(side + 0.7, side), layout="constrained")
    axes = figure.add_subplot()
    title = f"Confusion at score {evaluation.score:.3g}, overlap {evaluation.iou:g}"
    if left_out:
        title += f"\n{count - 1} classes with the most errors of {count - 1 + left_out}"
    axes.set_title(title)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap=_from_transparent(), vmin=0, vmax=1, interpolation="nearest", aspect="equal")
    size = 8.5 if count <= 12 else 7 if count <= 30 else 5.5
    axes.set_xticks(range(count), labels, rotation=90, fontsize=size)
    axes.set_yticks(range(count), labels, fontsize=size)
    axes.set_xlabel("detected as")
    axes.set_ylabel("true class")
    axes.grid(False)
    axes.tick_params(length=0)
    for edge in axes.spines.values():
        edge.set_visible(True)
    axes.axhline(count - 1.5, color=GRID, lw=0.8)
    axes.axvline(count - 1.5, color=GRID, lw=0.8)
    if count <= 15:
        for row in range(count):
            for column in range(count):
                if matrix[row, column]:
                    ink = "white" if shares[row, column] > 0.55 else INK
                    text = f"{matrix[row, column]:,}"
                    axes.text(column, row, text, ha="center", va="center", fontsize=7, color=ink)
    bar = figure.colorbar(picture, ax=axes, shrink=0.6, pad=0.02)
    bar.set_label("share of the row", fontsize=8)
    bar.outline.set_visible(False)  # type: ignore[operator]
    return figure


def shown_classes(matrix: np.ndarray) -> tuple[list[int], int]:
    """Rows of the classes to show, the background last, and how many with counts are left out."""
    classes = len(matrix) - 1
    errors = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * np.diag(matrix)
    used = [k for k in range(classes) if matrix[k].any() or matrix[:, k].any()]
    kept = used
    if len(used) > MOST_CLASSES:
        kept = sorted(sorted(used, key=lambda k: -int(errors[k]))[:MOST_CLASSES])
    return [*kept, classes], len(used) - len(kept)


def _from_transparent() -> matplotlib.colors.Colormap:
    """Blue whose strength is the value: on a light page and on a dark one nothing is no colour."""
    red, green, blue = matplotlib.colors.to_rgb(BLUE)
    return matplotlib.colors.LinearSegmentedColormap.from_list(
        "strength", [(red, green, blue, 0.0), (red, green, blue, 1.0)]
    )


def _square(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, pad=12)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.02)
    return figure, axes


def _nothing(axes: Axes) -> None:
    axes.text(0.5, 0.5, "nothing to draw:\nno true boxes or no detections", ha="center", va="center",
              transform=axes.transAxes, color=GRAY)  # fmt: skip


PLOTS: dict[str, Drawing] = {
    "pr": draw_precision_recall,
    "scores": draw_scores,
    "roc": draw_roc,
    "det": draw_det,
    "froc": draw_froc,
    "errors": draw_errors,
    "confusion": draw_confusion,
}
