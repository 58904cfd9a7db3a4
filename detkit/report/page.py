"""The report: one HTML file that loads nothing, with plots, a sortable table of classes and the worst images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from detkit import __version__
from detkit.annotations.picture_places import Pictures
from detkit.metrics.evaluation import Evaluation
from detkit.metrics.wording import compared, number, signed
from detkit.report import text
from detkit.report.confusion_table import confusion_table
from detkit.report.document import Fact, asset, facts, now, opening
from detkit.report.glossary import glossary
from detkit.report.plots import svg_plots
from detkit.report.worst import draw_image, worst_images

IMAGES = 12
CONFUSIONS = 15
CLASS_COLUMNS = {
    "boxes": "boxes",
    "AP": "AP",
    "AP50": "AP50",
    "AP75": "AP75",
    "APs": "APs",
    "APm": "APm",
    "APl": "APl",
    "AR100": "AR100",
    "TP": "TP",
    "FP": "FP",
    "FN": "FN",
    "precision": "precision",
    "recall": "recall",
    "F1": "F1",
    "best_F1": "best F1",
    "best_score": "at score",
    "log_average_miss_rate": "LAMR",
}


@dataclass(frozen=True)
class Compared:
    """What a page is about, for its heading: the files, and the model that made the detections, where it is known."""

    detections: str
    ground_truth: str
    other: str = ""
    model: str = ""

    def facts(self) -> list[Fact]:
        """The same with the date."""
        return [
            Fact("Date", now()),
            Fact("Detections", self.detections),
            Fact("Ground truth", self.ground_truth),
            Fact("Compared with", self.other),
            Fact("Model", self.model),
        ]


def make_report(
    evaluation: Evaluation,
    about: Compared,
    folders: Sequence[Path],
    intervals: dict[str, Any] | None = None,
    comparison: dict[str, Any] | None = None,
    explained: Any = None,
) -> str:
    """The page as text; pictures are looked for in `folders`."""
    title = f"{Path(about.detections).name} against {Path(about.ground_truth).name}"
    cards = "".join(
        f'<div class="plot" id="plot-{name}">{svg}</div>' for name, svg in svg_plots(evaluation, ("confusion",)).items()
    )
    pictures = Pictures(folders)
    shots = "".join(draw_image(evaluation, row, pictures) for row in worst_images(evaluation, IMAGES))
    sections = [
        _section(
            "Figures", _figures(evaluation) + _intervals(intervals) + _comparison(comparison) + glossary(evaluation)
        ),
        _section("Plots", f'<div class="plots">{cards}</div>'),
        _section("Why other tools give other figures", _explained(explained)) if explained else "",
        _section("Classes", _class_table(evaluation)),
        _section("Confusions", confusion_table(evaluation) + _confusions(evaluation)),
        _section(
            "Worst images",
            f'{_LEGEND}<div class="shots">{shots}</div>' if shots else "<p>No image has an error.</p>",
        ),
    ]
    return (
        f"{opening(title, asset('page.css') + asset('eval.css'))}"
        f"<header><h1>{escape(title)}</h1><p>{escape(text.heading(evaluation))}</p>{facts(about.facts())}</header>"
        f"<main>{''.join(sections)}</main><footer>detkit {escape(__version__)}</footer>"
        f"<script>{asset('eval.js')}</script></body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _figures(evaluation: Evaluation) -> str:
    total, curve = evaluation.total, evaluation.curve
    cells = [(name, number(value)) for name, value in text.shown_figures(evaluation)]
    tiles = "".join(f"<div class=tile><b>{value}</b><span>{escape(name)}</span></div>" for name, value in cells)
    chosen = "asked for" if evaluation.asked_score is not None else "the highest F1"
    counts = [
        ("TP", f"{total.tp:,}"),
        ("FP", f"{total.fp:,}"),
        ("FN", f"{total.fn:,}"),
        ("precision", number(total.precision)),
        ("recall", number(total.recall)),
        ("F1", number(total.f1)),
        ("ROC area", number(curve.roc_auc())),
        ("miss rate (LAMR)", number(curve.log_average_miss_rate())),
        ("FROC", number(curve.froc()[1])),
    ]
    more = "".join(f"<div class=tile><b>{value}</b><span>{escape(name)}</span></div>" for name, value in counts)
    return (
        f'<div class="tiles">{tiles}</div><p>At scores of {evaluation.score:.4g} or more ({chosen}) and overlap '
        f'{evaluation.iou:g}; ROC area, miss rate and FROC over all scores:</p><div class="tiles small">{more}</div>'
    )


def _intervals(intervals: dict[str, Any] | None) -> str:
    if not intervals:
        return ""
    rows = []
    for name, one in intervals.items():
        between = f"{number(one.low)} to {number(one.high)}"
        rows.append([name, number(one.value), between, signed(one.bias), f"{one.samples:,}"])
    level = next(iter(intervals.values())).level
    return _table(["figure", "value", f"{level:.0%} interval (bootstrap over images)", "bias", "samples"], rows)


def _comparison(comparison: dict[str, Any] | None) -> str:
    if not comparison:
        return ""
    rows = []
    for name, one in comparison.items():
        first, second, difference, low, high, p = compared(one)
        rows.append([name, first, second, difference, f"{low} to {high}", p])
    return _table(["compared", "first", "second", "difference", "interval", "p"], rows)


def _explained(explained: Any) -> str:
    base = explained.rows[0]
    rows = []
    for row in explained.rows:
        known = row.one >= 0 and base.one >= 0
        change = signed(row.one - base.one) if known else "-"
        rows.append([row.what, row.who, number(row.ten), number(row.one), change])
    table = _table(["convention", "done by", "AP .50:.95", f"AP {explained.iou:g}", "difference"], rows, words=2)
    told = "".join(f"<li>{escape(sentence)}</li>" for sentence in explained.sentences)
    return f"{table}<ul>{told}</ul>"


def _class_table(evaluation: Evaluation) -> str:
    table = evaluation.class_table()
    columns = {key: title for key, title in CLASS_COLUMNS.items() if any(key in row for row in table.values())}
    head = '<th scope="col"><button>class</button></th>'
    head += "".join(f'<th scope="col"><button>{escape(title)}</button></th>' for title in columns.values())
    lines = []
    for name, row in table.items():
        cells = "".join(_cell(row[key]) for key in columns)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return (
        f'<div class="wide"><table class="sortable" id="classes"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(value: Any) -> str:
    """A cell with the full value for sorting; -1, undefined, sorts below all."""
    if isinstance(value, int):
        return f'<td data-v="{value}">{value:,}</td>'
    share = f' style="--s:{min(max(value, 0), 1):.3f}"' if value > -1 else ""
    return f'<td data-v="{value!r}"{share}>{number(value, 3)}</td>'


def _confusions(evaluation: Evaluation) -> str:
    matrix = evaluation.confusion.copy()
    classes = len(matrix) - 1
    matrix[range(classes + 1), range(classes + 1)] = 0
    pairs = [(int(matrix[r, c]), r, c) for r in range(classes) for c in range(classes) if matrix[r, c]]
    pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
    if not pairs:
        return "<p>No box was found under the name of another class.</p>"
    names = evaluation.names
    rows = [[names[r], names[c], f"{count:,}"] for count, r, c in pairs[:CONFUSIONS]]
    return "<p>Most often taken for another:</p>" + _table(["true class", "detected as", "times"], rows, words=2)


def _table(titles: list[str], rows: list[list[str]], words: int = 1) -> str:
    """A plain table whose first `words` columns are text."""
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    kinds = [" class=w"] * words + [""] * (len(titles) - words)
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


_LEGEND = (
    '<p class="legend"><label><input type="checkbox" data-kind="fn" checked><i class="fn"></i>missed</label>'
    '<label><input type="checkbox" data-kind="fp" checked><i class="fp"></i>false positive</label>'
    '<label><input type="checkbox" data-kind="tp" checked><i class="tp"></i>found</label>'
    '<label><input type="checkbox" data-kind="crowd" checked><i class="crowd"></i>does not count</label></p>'
)
