"""`detkit eval --protocol mot`: figures of tracks against a ground truth of tracks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from detkit.cli.bars import Bars
from detkit.cli.console import refuse_options, say, show, terminal_width, write_figures
from detkit.errors import InputError

if TYPE_CHECKING:
    from detkit.metrics.mot import Rules, TrackFigures
    from detkit.tracking.sequence_files import SequenceFiles

# Options of `detkit eval` that mean something here.
_OPTIONS = ("detections", "ground_truth", "protocol", "json", "gt_format", "explain", "fail_under", "report")


@dataclass(frozen=True)
class TrackEvaluation:
    """What is asked for.

    json        file of all figures; - is stdout, instead of the table
    benchmark   mot15, mot17 or mot20: whose rules hold; None: what the truth and its name tell
    explain     say what each figure asks
    bars        what figures have to reach
    report      a page
    """

    json: str | None = None
    benchmark: str | None = None
    explain: bool = False
    bars: Bars = field(default_factory=Bars)
    report: Path | None = None


def evaluate_tracks(results: Path, truth: Path, wanted: TrackEvaluation, context: typer.Context) -> None:
    """Read, measure, print."""
    refuse_options(context, _OPTIONS, "--protocol mot")
    from detkit.files import check_writable
    from detkit.guard import Guard
    from detkit.metrics.mot import combined
    from detkit.tracking.sequence_files import find_sequences

    sequences, others = find_sequences(results, truth)
    guard = Guard(*(path for one in sequences for path in (one.truth, one.result)), results, truth)
    if wanted.json not in (None, "-"):
        guard.spare("--json", Path(str(wanted.json)))
    if wanted.report is not None:
        if wanted.report.suffix.lower() not in (".html", ".htm"):
            raise typer.BadParameter(
                f"the report is a page: {wanted.report} should end in .html", param_hint="--report"
            )
        guard.spare("--report", wanted.report)
        check_writable(wanted.report)
    for path in others:
        say(f"{path}: no ground truth of this name; not counted")

    figures: dict[str, TrackFigures] = {}
    names: set[str] = set()
    for one in sequences:
        figures[one.name], rules = _measured(one.truth, one.result, one.name, wanted.benchmark)
        names.add(rules)
    whole = combined(list(figures.values()))
    named = whole.named()
    if not named["TP"] + named["FN"]:
        raise InputError(f"{truth}: has no box that counts: in a ground truth the seventh column is 1, not a score")
    wanted.bars.missed(named)  # says now what is wrong with their names
    if wanted.json != "-":
        _print(figures, whole, " and ".join(sorted(names)), wanted.explain)
    if wanted.json:
        write_figures(
            wanted.json,
            {
                "protocol": "mot",
                "figures": named,
                "classes": {},
                "sequences": {name: one.named() for name, one in figures.items()},
            },
        )
    if wanted.report is not None:
        _write_page(wanted.report, f"{results.name} against {truth.name}", sequences, figures, wanted.benchmark)
        say(f"report: {wanted.report}")
    wanted.bars.judge(named)


def _measured(truth: Path, result: Path, name: str, benchmark: str | None) -> tuple[TrackFigures, str]:
    from detkit.metrics.mot import figures_of
    from detkit.tracking.motchallenge import has_classes, read_truth
    from detkit.tracking.sequence_files import read_result

    table = read_truth(truth)
    title, rules = _rules(name, has_classes(table), benchmark)
    return figures_of(table, read_result(result), rules), title


def _write_page(
    path: Path,
    title: str,
    sequences: Sequence[SequenceFiles],
    figures: Mapping[str, TrackFigures],
    benchmark: str | None,
) -> None:
    from detkit.cli.evaluate_tracks_report import MeasuredSequence, write_evaluation_page
    from detkit.metrics.mot.coverage import coverage
    from detkit.tracking.motchallenge import has_classes, read_truth
    from detkit.tracking.sequence_files import read_result

    measured, titles = [], set()
    for one in sequences:
        table = read_truth(one.truth)
        named, rules = _rules(one.name, has_classes(table), benchmark)
        titles.add(named)
        found = coverage(table, read_result(one.result), rules)
        measured.append(MeasuredSequence(one.name, one.truth, figures[one.name], found))
    write_evaluation_page(path, title, " and ".join(sorted(titles)), measured)


def _rules(name: str, classes: bool, benchmark: str | None) -> tuple[str, Rules]:
    """The benchmark's title and rules: as named, else MOT20 by the sequence's name, else by the truth's columns."""
    from detkit.metrics.mot import MOT15, MOT17, MOT20

    known = {"mot15": ("MOT15", MOT15), "mot17": ("MOT16/17", MOT17), "mot20": ("MOT20", MOT20)}
    if benchmark is not None:
        if benchmark.lower() not in known:
            raise typer.BadParameter(f"of tracks is {', '.join(known)}", param_hint="--gt-format")
        if not classes and benchmark.lower() != "mot15":
            raise typer.BadParameter(f"{name} has no classes: its rules are those of mot15", param_hint="--gt-format")
        return known[benchmark.lower()]
    if not classes:
        return known["mot15"]
    return known["mot20" if "mot20" in name.lower() else "mot17"]


def _print(figures: Mapping[str, TrackFigures], whole: TrackFigures, rules: str, explain: bool) -> None:
    from detkit.report.track_text import track_heading, track_meanings, track_table

    width = terminal_width(120)
    show(f"{track_heading(figures, whole, rules)}\n{track_table(figures, whole, width)}")
    if explain:
        show(f"\n{track_meanings()}")
