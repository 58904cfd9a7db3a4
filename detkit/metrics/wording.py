"""Figures as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detkit.metrics.bootstrap import Comparison


def number(value: float, digits: int = 4) -> str:
    """`value` with so many decimals, "-" for the -1 that stands for undefined."""
    return "-" if value <= -1 else f"{value:.{digits}f}"


def compared(one: Comparison) -> list[str]:
    """First, second, difference, its low and high, p; "-" for what is undefined in one of the two."""
    parts = (one.difference.value, one.difference.low, one.difference.high)
    known = min(one.first, one.second) > -1 and one.difference.samples > 0
    told = [*map(signed, parts), f"{one.p_value:.4f}"] if known else ["-"] * 4
    return [number(one.first), number(one.second), *told]


def signed(value: float) -> str:
    """A difference with its sign and four decimals; one that rounds to nothing has no sign."""
    return f"{value:+.4f}" if abs(value) >= 5e-5 else "0.0000"
