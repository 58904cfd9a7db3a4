"""Figures as people read them."""

from __future__ import annotations


def number(value: float, digits: int = 4) -> str:
    """`value` with so many decimals, "-" for the -1 that stands for undefined."""
    return "-" if value <= -1 else f"{value:.{digits}f}"


def signed(value: float) -> str:
    """A difference with its sign and four decimals; one that rounds to nothing has no sign."""
    return f"{value:+.4f}" if abs(value) >= 5e-5 else "0.0000"
