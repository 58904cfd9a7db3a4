"""`Runtime`: where and how a network runs."""

from __future__ import annotations

from dataclasses import dataclass

from detkit.cores import available_cores
from detkit.errors import UsageError


@dataclass(frozen=True)
class Runtime:
    """Where and how a network, and what works beside it, runs; every detector takes one.

    device   "auto", or one of `session.DEVICES`; one that is asked for by name must be there
    threads  of onnxruntime, of pyramids and proposals; None takes the cores that this process may use
    batch    pictures (of `SlideDetector` windows) in one run of a graph that allows it; None takes the detector's own

    UsageError where a number is below 1.
    """

    device: str = "auto"
    threads: int | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        for name in ("threads", "batch"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise UsageError(f"{name} is at least 1, not {count}")

    @property
    def cores(self) -> int:
        """`threads`, or what this process may use."""
        return self.threads or available_cores()
