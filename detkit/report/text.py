"""Figures as plain text that fits a terminal: no dependency, so that printing costs no import."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from detkit.metrics.evaluation import Evaluation
from detkit.metrics.wording import compared, number, signed
from detkit.spelling import counted, printable

COLUMNS = 3


def figures(evaluation: Evaluation) -> str:
    """Names and values, three pairs a line."""
    cells = [f"{name:<5}  {number(value):>6}" for name, value in shown_figures(evaluation)]
    return "\n".join("    ".join(cells[row : row + COLUMNS]) for row in range(0, len(cells), COLUMNS))


def shown_figures(evaluation: Evaluation) -> list[tuple[str, float]]:
    """The figures under the names they are shown by: AR by how many detections were kept, where that is not COCO's."""
    limit = evaluation.max_det
    names = {f"AR{most}": f"AR{min(most, limit) if most < 100 else limit}" for most in (1, 10, 100)} if limit else {}
    return [(names.get(name, name), value) for name, value in evaluation.figures.items()]


# What overlaps, where it is not boxes.
_OVERLAP_OF = {
    "segm": " of masks",
    "boundary": " of the boundaries of masks",
    "keypoints": " of key points (OKS)",
    "obb": " of turned boxes",
}


def heading(evaluation: Evaluation) -> str:
    """What was evaluated, in a line."""
    names = {"coco": "COCO", "voc": "Pascal VOC, area under the curve", "voc07": "Pascal VOC 2007, eleven points"}
    text = names[evaluation.protocol] + _OVERLAP_OF.get(evaluation.settings.iou_type, "")
    if evaluation.protocol != "coco":
        text += f", overlap {evaluation.iou:g}"
        text += ", sides longer by 1" if evaluation.settings.inclusive else ""
    boxes, detections = len(evaluation.ground_truth), len(evaluation.predictions)
    images = counted(len(evaluation.ground_truth.images), "image")
    return f"{text}: {images}, {counted(boxes, 'box', 'boxes')}, {counted(detections, 'detection')}"


def working_point(evaluation: Evaluation) -> str:
    """Counts at the working point, in two lines."""
    total = evaluation.total
    why = "" if evaluation.asked_score is not None else " (the best F1)"
    return (
        f"At scores of {evaluation.score:.4g} or more{why} and overlap {evaluation.iou:g}:\n"
        f"TP {total.tp:,}  FP {total.fp:,}  FN {total.fn:,}  "
        f"precision {number(total.precision)}  recall {number(total.recall)}  F1 {number(total.f1)}"
    )


def class_table(evaluation: Evaluation, width: int) -> str:
    """A line a class. The columns that do not fit into `width` characters are left out, the last ones first."""
    table = evaluation.class_table()
    columns: list[tuple[str, str, int]] = [("boxes", "boxes", 0)]
    columns += [(key, key, 3) for key in evaluation.figures if key in ("AP", "AP50", "APs", "APm", "APl", "AR100")]
    columns += [("precision", "P", 3), ("recall", "R", 3), ("F1", "F1", 3), ("best_score", "best@", 3)]
    columns += [("best_F1", "F1", 3), ("TP", "TP", 0), ("FP", "FP", 0), ("FN", "FN", 0)]
    rows = [[_cell(row[key], digits) for key, _, digits in columns] for row in table.values()]
    return grid(["class", *(title for _, title, _ in columns)], list(table), rows, width)


def intervals(values: dict[str, Any]) -> str:
    """A line an interval of the bootstrap."""
    rows = [
        [number(one.value), number(one.low), number(one.high), signed(one.bias), f"{one.samples:,}"]
        for one in values.values()
    ]
    level = next(iter(values.values())).level
    titles = [f"{level:.0%} interval", "value", "low", "high", "bias", "samples"]
    return grid(titles, list(values), rows, 80)


def comparison(values: dict[str, Any]) -> str:
    """A line a figure of two sets of detections; the difference is second minus first."""
    rows = [compared(one) for one in values.values()]
    return grid(["compared", "first", "second", "diff.", "low", "high", "p"], list(values), rows, 80)


def explanation(explained: Any, width: int) -> str:
    """The conventions side by side, then the sentences, folded to `width`."""
    import textwrap

    rows = []
    base = explained.rows[0]
    for row in explained.rows:
        known = row.one >= 0 and base.one >= 0
        rows.append([number(row.ten), number(row.one), signed(row.one - base.one) if known else "-", row.who])
    titles = ["convention", "AP .50:.95", f"AP {explained.iou:g}", "diff.", "done by"]
    table = grid(titles, [row.what for row in explained.rows], rows, width, least=28, left=("done by",))
    told = [
        textwrap.fill(sentence, width, initial_indent="- ", subsequent_indent="  ") for sentence in explained.sentences
    ]
    return "\n".join([table, "", *told])


def errors(evaluation: Evaluation) -> str:
    """TIDE's kinds of errors: how many, and the AP they cost."""
    tide = evaluation.tide
    rows = [[f"{tide.counts[kind]:,}", number(cost)] for kind, cost in tide.cost.items()]
    return grid(["error (TIDE)", "count", "costs AP"], list(tide.cost), rows, 80)


def grid(
    titles: Sequence[str],
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    least: int = 12,
    left: Sequence[str] = (),
) -> str:
    """A table of names and right-aligned cells, `width` characters at most.

    Columns are left out from the right until the names have `least` characters or all they need; longer names are
    cut. Columns named in `left` are aligned to the left.
    """
    shown = [printable(name) for name in names]
    sizes = [max(len(title), *(len(row[c]) for row in rows)) if rows else len(title)
             for c, title in enumerate(titles[1:])]  # fmt: skip
    need = max([display_width(titles[0]), *(display_width(name) for name in shown)])
    while sizes and width - sum(size + 2 for size in sizes) < min(need, least):
        sizes.pop()
    room = max(min(need, width - sum(size + 2 for size in sizes)), 1)
    lines = []
    for name, cells in [(titles[0], list(titles[1:])), *zip(shown, rows, strict=True)]:
        line = fit(name, room)
        for title, cell, size in zip(titles[1:], cells, sizes, strict=False):
            line += "  " + (cell.ljust(size) if title in left else cell.rjust(size))
        lines.append(line.rstrip())
    return "\n".join(lines)


def display_width(text: str) -> int:
    """Columns that `text` takes: two for wide East Asian characters, none for combining ones."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fit(text: str, width: int) -> str:
    """`text` cut or filled up to `width` columns."""
    if display_width(text) > width:
        text = text[: 4 * width]
        while text and display_width(text) > width - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (width - display_width(text))


def _cell(value: float, digits: int) -> str:
    return number(value, digits) if digits else f"{value:,}"
