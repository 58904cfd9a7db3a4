"""The confusion matrix as a table to read: the classes that are confused most, first."""

from __future__ import annotations

from html import escape

import numpy as np

from detkit.metrics.evaluation import Evaluation

MOST = 24  # classes; more cannot be read
_FULL = 0.6  # from this share on, the number stands on a dark ground


def confusion_table(evaluation: Evaluation) -> str:
    """HTML: rows are the true classes, columns what they were detected as, background last; the shade is the share
    of the row. Of many classes those are shown that are taken for others most often."""
    matrix = evaluation.confusion
    rows, left_out = most_confused(matrix)
    names = [*evaluation.names, "background"]
    sums = matrix.sum(axis=1)
    head = "".join(f'<th scope="col" title="{escape(names[c])}"><span>{escape(names[c])}</span></th>' for c in rows)
    lines = []
    for r in rows:
        cells = "".join(_cell(matrix, sums, r, c, names) for c in rows)
        lines.append(f'<tr><th scope="row" title="{escape(names[r])}">{escape(names[r])}</th>{cells}</tr>')
    shown = len(rows) - 1
    some = f"The {shown} most confused of {shown + left_out} classes; all are in --json. " if left_out else ""
    return (
        f'<p class="note">At scores of {evaluation.score:.4g} or more and overlap {evaluation.iou:g}. {some}'
        "Rows: the true class; columns: what it was detected as. "
        '<span class="scale">share of the row 0<i></i>1</span></p><div class="wide" id="confusion">'
        f'<table class="matrix"><thead><tr><td class="corner">true \\ detected</td>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
        '<output id="cell">Point at a cell to read it.</output>'
    )


def most_confused(matrix: np.ndarray) -> tuple[list[int], int]:
    """Classes by how often they and others are taken for each other, then by misses and false alarms, the background
    last; and how many classes with counts are left out."""
    classes = len(matrix) - 1
    among = matrix[:classes, :classes]
    confused = among.sum(axis=0) + among.sum(axis=1) - 2 * np.diag(among)
    others = matrix[:classes, -1] + matrix[-1, :classes]
    used = [k for k in range(classes) if matrix[k].any() or matrix[:, k].any()]
    order = sorted(used, key=lambda k: (-int(confused[k]), -int(others[k]), k))
    return [*order[:MOST], classes], max(len(order) - MOST, 0)


def _cell(matrix: np.ndarray, sums: np.ndarray, row: int, column: int, names: list[str]) -> str:
    count, background = int(matrix[row, column]), len(matrix) - 1
    right = " right" if row == column and row != background else ""
    if row == background and column == background:
        return '<td title="what is background and was left alone is not counted"></td>'
    share = count / int(sums[row]) if sums[row] else 0.0
    whole = f"{count:,} of {int(sums[row]):,}"
    if row == background:
        told = f"{whole} false positives on the background are {names[column]}"
    elif column == background:
        told = f"{whole} {names[row]} were missed ({share:.0%})"
    elif row == column:
        told = f"{whole} {names[row]} were found ({share:.0%})"
    else:
        told = f"{whole} {names[row]} were detected as {names[column]} ({share:.0%})"
    style = f' style="--s:{share:.3f}"' if count else ""
    full = " full" if share > _FULL else ""
    kind = f' class="{(right + full).strip()}"' if right or full else ""
    return f'<td{kind}{style} title="{escape(told)}">{f"{count:,}" if count else ""}</td>'
