"""`Segmentation`: what semantic segmentation finds, a class for every pixel of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.detections import Detections
from detkit.errors import InputError
from detkit.images import Image
from detkit.label_maps.components import connected_regions
from detkit.label_maps.palettes import IGNORED, Palette
from detkit.spelling import spelled

# What data sets call the class of everything else.
_BACKGROUND = ("background", "bg", "other", "others", "unlabeled", "unlabelled", "void", "ignore", "ignored")


@dataclass(frozen=True, repr=False, eq=False)
class Segmentation:
    """A class for every pixel of one picture.

    classes  uint8 (H, W), the picture's size as it is shown: class numbers, places in `palette.names`; 255
             (`palettes.IGNORED`) for a pixel without a class
    palette  names and colours of the classes

    Immutable: every method returns a new object. InputError for another type or shape.

    >>> from detkit.label_maps.palettes import palette_named
    >>> found = Segmentation(np.array([[0, 0, 15, 15], [0, 12, 15, 15]], np.uint8), palette_named("voc"))
    >>> found
    Segmentation(4 x 2: person 50.0 %, background 37.5 %, dog 12.5 %)
    >>> float(found.shares[15])
    0.5
    """

    classes: NDArray[np.uint8]
    palette: Palette

    def __post_init__(self) -> None:
        if self.classes.ndim != 2 or self.classes.dtype != np.uint8 or not self.classes.size:
            raise InputError(f"classes must be uint8 (height, width), got {self.classes.dtype} {self.classes.shape}")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.palette.names

    @cached_property
    def pixels(self) -> NDArray[np.int64]:
        """int64 (K,): how many pixels each class has."""
        return np.bincount(self.classes.ravel(), minlength=256)[: len(self.palette)].astype(np.int64)

    @property
    def shares(self) -> NDArray[np.float64]:
        """float64 (K,): the share of the picture that each class covers; pixels without a class lack in their sum."""
        return np.asarray(self.pixels / self.classes.size)

    @property
    def present(self) -> list[int]:
        """The classes that have pixels, the largest first."""
        order = np.argsort(-self.pixels, kind="stable")
        return [int(number) for number in order if self.pixels[number]]

    @property
    def background(self) -> tuple[int, ...]:
        """The classes that stand for everything else, by their names."""
        return background_classes(self.names)

    def only(self, class_ids: NDArray[Any] | Sequence[int]) -> Segmentation:
        """The same with these classes alone; all other pixels have none."""
        kept = np.full(256, IGNORED, np.uint8)
        kept[list(class_ids)] = list(class_ids)
        return replace(self, classes=np.asarray(kept[self.classes]))

    def regions(self, *, min_pixels: int = 1, left_out: Sequence[int] | None = None) -> Detections:
        """Connected regions of one class as detections with masks, and scores of 1, as a map has none.

        Pixels that touch at corners are connected. Left out are regions of fewer than `min_pixels`, and the classes
        `left_out`; None: those of the background.
        """
        spared = self.background if left_out is None else tuple(left_out)
        found = connected_regions(self.classes, (*spared, IGNORED), min_pixels=min_pixels)
        scores = np.ones(len(found), np.float32)
        return Detections(found.masks.boxes, scores, found.class_ids, self.names, masks=found.masks)

    def colours(self) -> Image:
        """The picture (H, W, 3) RGB of the classes in their colours."""
        return self.palette.colour(self.classes)

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dictionary a class that has pixels, the largest first: class, class_id, pixels, share (from 0 to 1)."""
        total = self.classes.size
        return [
            {"class": self.names[one], "class_id": one, "pixels": int(self.pixels[one]),
             "share": round(float(self.pixels[one]) / total, 6)}
            for one in self.present
        ]  # fmt: skip

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Segmentation):
            return NotImplemented
        return self.names == other.names and np.array_equal(self.classes, other.classes)

    def __repr__(self) -> str:
        height, width = self.classes.shape
        shown = ", ".join(f"{self.names[one]} {100 * self.shares[one]:.1f} %" for one in self.present[:6])
        more = f" and {len(self.present) - 6} more" if len(self.present) > 6 else ""
        return f"Segmentation({width} x {height}: {shown or 'no class'}{more})"


def background_classes(names: Sequence[str]) -> tuple[int, ...]:
    """The places of the names that stand for everything else.

    >>> background_classes(("__background__", "cat")), background_classes(("road", "sky"))
    ((0,), ())
    """
    plain = [spelled(name).strip(" _-").casefold() for name in names]
    return tuple(place for place, name in enumerate(plain) if name in _BACKGROUND)
