"""What a user says of a graph that does not tell it, or is not to be believed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from detkit.annotations.class_names import names_from_file
from detkit.errors import UsageError
from detkit.graphs.letterbox import Fit
from detkit.graphs.preparation import Preparation

Names = Sequence[str] | str | os.PathLike[str]


@dataclass(frozen=True)
class PictureOptions:
    """The classes of a graph and how it wants its picture, where it does not tell or is not to be believed.

    names        class names, a file of them, "coco" or "voc", in place of the graph's own
    size         side of the input in pixels, where the graph leaves it open
    mean, std    for each channel, on the scale 0 to 255: input = (pixel - mean) / std
    color, fit   see `Preparation`
    """

    names: Names | None = None
    size: int | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    color: Literal["rgb", "bgr"] | None = None
    fit: Fit | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            if numbers is None:
                continue
            if len(numbers) not in (1, 3) or not all(np.isfinite(numbers)) or (name == "std" and min(numbers) <= 0):
                above = " above 0" if name == "std" else ""
                raise UsageError(f"{name} is one number{above} or three, for pixels from 0 to 255, not {list(numbers)}")
            object.__setattr__(self, name, tuple(map(float, numbers)) * (3 // len(numbers)))
        if (self.std and max(self.std) < 1) or (self.mean and 0 < max(self.mean) < 1):
            raise UsageError("mean and std are for pixels from 0 to 255: times 255, where yours are for 0 to 1")

    def applied_to(self, preparation: Preparation) -> Preparation:
        """`preparation` with what is given here."""
        given = {key: getattr(self, key) for key in ("mean", "std", "color", "fit")}
        return replace(preparation, **{key: value for key, value in given.items() if value is not None})


@dataclass(frozen=True)
class GraphOptions(PictureOptions):
    """How the graph of a detector is read.

    head         name of the head, in place of recognising it
    multi_label  whether a box counts for every class above `conf`; None takes the exporter's own choice
    """

    head: str | None = None
    multi_label: bool | None = None


def resolved_names(given: Names | None) -> tuple[str, ...]:
    """Class names that were given, or those of the file that was named; () for None."""
    if given is None:
        return ()
    return names_from_file(given) if isinstance(given, str | os.PathLike) else tuple(given)
