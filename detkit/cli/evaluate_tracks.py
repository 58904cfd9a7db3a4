"""`detkit eval --protocol mot`: figures of tracks against a ground truth of tracks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from detkit.cli.bars import Bars
from detkit.cli.console import refuse_options, say, show, terminal_width, write_figures
from detkit.errors import InputError

if TYPE_CHECKING:
    from detkit.metrics.mot import Rules, TrackFigures

# Options of `detkit eval` that mean something here.
_OPTIONS = ("detections", "ground_truth", "protocol", "json", "gt_format", "explain", "fail_under")


@dataclass(frozen=True)
class TrackEvaluation:
    """What is asked for.

    json        file of all figures; - is stdout, instead of the table
    benchmark   mot15, mot17 or mot20: whose rules hold; None: what the truth and its name tell
    explain     say what each figure asks
    bars        what figures have to reach
    """

    json: str | None = None
    benchmark: str | None = None
    explain: bool = False
    bars: Bars = field(default_factory=Bars)


def evaluate_tracks(results: Path, truth: Path, wanted: TrackEvaluation, context: typer.Context) -> None:
    """Read, measure, print."""
    refuse_options(context, _OPTIONS, "--protocol mot")
    from detkit.guard import Guard
    from detkit.metrics.mot import combined
    from detkit.tracking.sequence_files import find_sequences

    sequences, others = find_sequences(results, truth)
    if wanted.json not in (None, "-"):
        inputs = [path for one in sequences for path in (one.truth, one.result)]
        Guard(*inputs, results, truth).spare("--json", Path(str(wanted.json)))
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
    wanted.bars.judge(named)


def _measured(truth: Path, result: Path, name: str, benchmark: str | None) -> tuple[TrackFigures, str]:
    from detkit.metrics.mot import figures_of
    from detkit.tracking.motchallenge import has_classes, read_truth
    from detkit.tracking.sequence_files import read_result

    table = read_truth(truth)
    title, rules = _rules(name, has_classes(table), benchmark)
    return figures_of(table, read_result(result), rules), title


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
