"""Figures of tracking as plain text, with what each of them asks."""

from __future__ import annotations

from collections.abc import Mapping

from detkit.metrics.mot import TrackFigures
from detkit.report.text import grid
from detkit.spelling import counted

ALL = "all"
_SHARES = ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1")
_COUNTS = {"switches": "switch", "fragments": "frag", "FP": "FP", "FN": "FN"}
_MEANINGS = (
    ("HOTA", "detection and association alike: the root of DetA x AssA, mean over overlaps from .05 to .95"),
    ("DetA", "matched boxes among all true and found ones"),
    ("AssA", "how far the track of a match and the track of its truth are the same one"),
    ("LocA", "the overlap of matches"),
    ("MOTA", "1 - (FN + FP + switches) / true boxes, at overlap .5; mostly detection"),
    ("MOTP", "the overlap of matches at .5"),
    ("IDF1", "F1 of boxes under the best pairing of whole tracks; mostly association"),
    ("switch", "how often a true track goes on under another number; frag: how often it is lost and found again"),
)


def track_table(sequences: Mapping[str, TrackFigures], whole: TrackFigures, width: int) -> str:
    """A line a sequence and one for all together; shares from 0 to 1."""
    shown = dict(sequences) if len(sequences) == 1 else {**sequences, ALL: whole}
    rows = []
    for figures in shown.values():
        named = figures.named()
        rows.append([f"{named[key]:.4f}" for key in _SHARES] + [f"{named[key]:,.0f}" for key in _COUNTS])
    return grid(["sequence", *_SHARES, *_COUNTS.values()], list(shown), rows, width)


def track_heading(sequences: Mapping[str, TrackFigures], whole: TrackFigures, rules: str) -> str:
    """What was evaluated, in a line."""
    named = whole.named()
    boxes = counted(int(named["TP"] + named["FN"]), "box", "boxes")
    return (
        f"{rules}: {counted(len(sequences), 'sequence')}, {boxes} of {counted(whole.truth_tracks, 'track')}; "
        "the result has "
        f"{named['TP'] + named['FP']:,.0f} of {whole.result_tracks:,} that count"
    )


def track_meanings() -> str:
    """What each figure asks, a line each."""
    return "\n".join(f"{name:<7} {meaning}" for name, meaning in _MEANINGS)
