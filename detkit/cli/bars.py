"""Figures that fail a build: `--fail-under` and `--fail-if-worse` of every command that measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from detkit.cli.console import say

FailUnderOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]NUMBER",
        help="Exit with status 1 if the first figure (AP, mIoU, PQ, HOTA), or the one that is named (AP50=0.4), is "
        "below this, or undefined. May be repeated.",
    ),
]


@dataclass(frozen=True)
class Bars:
    """What figures have to reach.

    under   (name, bar) each; "" is the figure that is shown first
    """

    under: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, texts: Sequence[str] | None) -> Bars:
        """Those of `--fail-under`. BadParameter for one that is none."""
        return cls(tuple(map(_bar, texts or ())))

    def missed(self, figures: Mapping[str, float]) -> list[str]:
        """A sentence for each bar that `figures`, the main one first, do not reach.

        BadParameter for a name that is none of them, or that of a count.
        """
        shares = {name: value for name, value in figures.items() if isinstance(value, float)}
        said = []
        for name, bar in self.under:
            own = name or next(iter(figures))
            if own not in shares:
                what = "is a count, which no bar of 0 to 1 is for" if own in figures else "is no figure here"
                raise typer.BadParameter(f"{own} {what}; there are {', '.join(shares)}", param_hint="--fail-under")
            if not shares[own] >= bar:
                said.append(f"{own} {_told(shares[own])}, below the {bar:g} asked for")
        return said

    def judge(self, figures: Mapping[str, float], others: Sequence[str] = ()) -> None:
        """Say what is missed, with the sentences of `others`, and leave with status 1 where something is."""
        said = [*self.missed(figures), *others]
        for sentence in said:
            say(sentence)
        if said:
            raise typer.Exit(1)


_ROUNDING = 1e-9  # of two figures that are the same


def worse(figure: str, own: float, other: float, margin: float) -> list[str]:
    """A sentence where a figure is undefined, or lower than that of another by more than `margin`."""
    if own >= 0 and own >= other - margin - _ROUNDING:
        return []
    allowed = f" by more than {margin:g}" if margin else ""
    return [f"{figure} {_told(own)}, below the {other:.6f} of --compare{allowed}"]


def _bar(text: str) -> tuple[str, float]:
    name, equals, number = text.rpartition("=")
    try:
        bar = float(number)
    except ValueError:
        bar = -1.0
    if not 0 <= bar <= 1 or bool(equals) != bool(name.strip()):
        raise typer.BadParameter(
            f"{text!r}: a figure lies from 0 to 1, like 0.4 or AP50=0.4", param_hint="--fail-under"
        )
    return name.strip(), bar


def _told(value: float) -> str:
    return "is undefined" if value <= -1 else f"is {value:.6f}"
