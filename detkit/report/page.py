"""The report: one HTML file that loads nothing, with plots, a sortable table of classes and the worst images."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from detkit import __version__
from detkit.metrics.evaluation import Evaluation
from detkit.metrics.wording import compared, number, signed
from detkit.report import text
from detkit.report.plots import svg_plots
from detkit.report.worst import Pictures, draw_image, worst_images

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


def make_report(
    evaluation: Evaluation,
    detections: str,
    ground_truth: str,
    folders: Sequence[Path],
    intervals: dict[str, Any] | None = None,
    comparison: dict[str, Any] | None = None,
    explained: Any = None,
) -> str:
    """The page as text. `detections` and `ground_truth` name the files; pictures are looked for in `folders`."""
    title = f"{Path(detections).name} against {Path(ground_truth).name}"
    plots = svg_plots(evaluation)
    confusion = plots.pop("confusion")
    cards = "".join(f'<div class="plot" id="plot-{name}">{svg}</div>' for name, svg in plots.items())
    pictures = Pictures(folders)
    shots = "".join(draw_image(evaluation, row, pictures) for row in worst_images(evaluation, IMAGES))
    sections = [
        _section("Figures", _figures(evaluation) + _intervals(intervals) + _comparison(comparison)),
        _section("Plots", f'<div class="plots">{cards}</div>'),
        _section("Why other tools give other figures", _explained(explained)) if explained else "",
        _section("Classes", _class_table(evaluation)),
        _section(
            "Confusions",
            f'<div class="wide" id="plot-confusion">{confusion}</div>{_confusions(evaluation)}',
        ),
        _section(
            "Worst images",
            f'{_LEGEND}<div class="shots">{shots}</div>' if shots else "<p>No image has an error.</p>",
        ),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<header><h1>{escape(title)}</h1><p>{escape(text.heading(evaluation))}</p></header>"
        f"<main>{''.join(sections)}</main><footer>detkit {escape(__version__)}</footer>"
        f"<script>{_SCRIPT}</script></body></html>\n"
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

_STYLE = """
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#20242b;--soft:#68717d;--line:#dfe3e8;--bar:#2f6fde26;
--tp:#22a35a;--fp:#e0384c;--fn:#f39a1e;--crowd:#8a93a0}
@media(prefers-color-scheme:dark){:root{--bg:#14171b;--card:#1d2126;--ink:#e6e9ee;--soft:#98a2af;--line:#333a43;
--bar:#5b93f540}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
header,main,footer{max-width:1240px;margin:auto;padding:0 20px}header{padding-top:28px}
h1{font-size:22px;margin:0;overflow-wrap:anywhere}header p,footer,.note{color:var(--soft);margin:4px 0}
h2{font-size:17px;margin:0 0 12px}section{background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:18px 20px;margin:18px 0}
.tiles{display:grid;grid-template-columns:repeat(6,1fr);gap:10px}.tiles.small{grid-template-columns:repeat(9,1fr)}
@media(max-width:1000px){.tiles,.tiles.small{grid-template-columns:repeat(3,1fr)}}
.tile{border:1px solid var(--line);border-radius:8px;padding:8px 12px;display:flex;flex-direction:column}
.tile b{font-size:20px;font-variant-numeric:tabular-nums}.small .tile b{font-size:16px}
.tile span{color:var(--soft);font-size:12.5px}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(340px,1fr));gap:16px}
.plot svg{width:100%;height:auto;display:block}.wide{overflow-x:auto;max-width:100%}
#plot-confusion svg{width:100%;height:auto;display:block;margin:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13.5px;margin:8px 0}
td,th{padding:3px 7px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
td.w,th[scope=row]{text-align:left;font-weight:400;max-width:280px;overflow:hidden;text-overflow:ellipsis}
thead th{color:var(--soft);font-weight:600}th:first-child{text-align:left}
#classes{width:100%}#classes td{background:linear-gradient(90deg,var(--bar) calc(var(--s,0)*100%),transparent 0)}
th button{all:unset;cursor:pointer;white-space:nowrap}th button:focus-visible{outline:2px solid #2f6fde}
th[aria-sort=ascending] button::after{content:" \\25B2"}th[aria-sort=descending] button::after{content:" \\25BC"}
.shots{display:grid;grid-template-columns:repeat(auto-fill,minmax(360px,1fr));gap:18px}
.shot{margin:0}.shot svg{width:100%;height:auto;display:block;border-radius:6px}
figcaption{font-size:13px;color:var(--soft);margin-top:4px;overflow-wrap:anywhere}figcaption b{color:var(--ink)}
.shot rect{fill:none;stroke-width:calc(var(--u)*2)}.shot .back{fill:var(--line);stroke:none}
.shot text{stroke:#000c;stroke-width:calc(var(--u)*2.6);paint-order:stroke;font-weight:600;
font-family:system-ui,"DejaVu Sans",sans-serif}
.shot g:hover rect{stroke-width:calc(var(--u)*4)}.crowded .tp text,.crowded .crowd text{display:none}
.crowded g:hover text{display:inline}
.tp rect{stroke:var(--tp)}.tp text{fill:#7ee2a8}.fp rect{stroke:var(--fp)}.fp text{fill:#ff9aa6}
.fn rect{stroke:var(--fn)}.fn text{fill:#ffd08a}.crowd rect{stroke:var(--crowd);stroke-dasharray:calc(var(--u)*6)}
.crowd text{fill:#ccd2da}
.legend label{margin-right:18px;cursor:pointer}.legend i{display:inline-block;width:14px;height:14px;border:3px solid;
border-radius:3px;vertical-align:-2px;margin:0 6px 0 4px}
i.tp{border-color:var(--tp)}i.fp{border-color:var(--fp)}i.fn{border-color:var(--fn)}i.crowd{border-color:var(--crowd)}
body.no-tp .tp:not(i),body.no-fp .fp:not(i),body.no-fn .fn:not(i),body.no-crowd .crowd:not(i){display:none}
footer{padding-bottom:30px;font-size:13px}
"""

_SCRIPT = """
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstChild.addEventListener('click', () => {
    const falling = column > 0 ? head.ariaSort !== 'descending' : head.ariaSort === 'ascending';
    heads.forEach(other => other.removeAttribute('aria-sort'));
    head.ariaSort = falling ? 'descending' : 'ascending';
    const value = row => column > 0 ? Number(row.cells[column].dataset.v) : row.cells[0].textContent;
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => {
      const x = value(a), y = value(b);
      return (column > 0 ? x - y : x.localeCompare(y)) * (falling ? -1 : 1);
    });
    table.tBodies[0].append(...rows);
  }));
}
for (const box of document.querySelectorAll('.legend input'))
  box.addEventListener('change', () => document.body.classList.toggle('no-' + box.dataset.kind, !box.checked));
"""
