"""What a heat map is worth, in numbers, beside a blob in the middle of the picture that knows nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.inside.likeness import Target, likeness
from detkit.inside.subjects import Subject, View

Floats = NDArray[np.float32]

_HOTTEST = 0.1


@dataclass(frozen=True)
class HeatFigures:
    """How well a map says what a target depends on.

    inside      share of the heat that lies inside the box; None without a box
    area        the box's share of the picture
    blob_inside the same share of a centred blob's heat
    drop        share of the target's likeness that is lost when the hottest tenth of the picture is hidden
    blob_drop   the same for the middle tenth
    """

    inside: float | None
    area: float | None
    blob_inside: float | None
    drop: float
    blob_drop: float

    @property
    def verdict(self) -> str:
        """Why the map is uninformative, "" where it is not."""
        if self.drop <= self.blob_drop:
            return "uninformative: hiding the middle of the picture costs as much"
        if self.inside is not None and self.area is not None and self.inside <= self.area:
            return "uninformative: no more of its heat lies in the box than anywhere"
        return ""


def heat_figures(subject: Subject, view: View, target: Target, heat: Floats) -> HeatFigures:
    """The figures of a map (h, w) of the view; what lies below 0 in it counts as 0."""
    height, width = view.image.shape[:2]
    blob = centred_blob(height, width)
    before, after, after_blob = (
        likeness(rows, [target])[0]
        for rows in subject.rows([view.image, without_hottest(view, heat), without_hottest(view, blob)], view)
    )
    drop, blob_drop = (float((before - rest) / max(before, 1e-9)) for rest in (after, after_blob))
    if target.box is None:
        return HeatFigures(None, None, None, drop, blob_drop)
    return HeatFigures(
        share_inside(heat, target.box), share_inside(np.ones_like(heat), target.box),
        share_inside(blob, target.box), drop, blob_drop,
    )  # fmt: skip


def centred_blob(height: int, width: int) -> Floats:
    """A Gaussian (h, w) in the middle whose deviation is a quarter of each side."""
    y, x = (np.linspace(-2, 2, side, dtype=np.float32) for side in (height, width))
    return np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / 2)


def share_inside(heat: Floats, box: Sequence[float] | NDArray[np.float32]) -> float:
    """The share of a map's heat above 0 that lies in a box xyxy; pixels are cut at its sides. 0 where there is none."""
    positive = np.maximum(heat, 0)
    total = float(positive.sum())
    rows, columns = (_covered(heat.shape[axis], float(box[1 - axis]), float(box[3 - axis])) for axis in (0, 1))
    return float(rows @ positive @ columns) / total if total > 0 else 0.0


def without_hottest(view: View, heat: Floats, share: float = _HOTTEST) -> NDArray[np.uint8]:
    """The view with the hottest `share` of its pixels hidden."""
    flat = heat.ravel()
    count = max(1, round(share * flat.size))
    content = view.image.copy()
    content.reshape(-1, 3)[np.argpartition(-flat, count - 1)[:count]] = view.fill
    return content


def _covered(count: int, start: float, end: float) -> Floats:
    """The share of each of `count` pixels in a row that lies between `start` and `end`."""
    left = np.arange(count, dtype=np.float32)
    return np.asarray(np.clip(np.minimum(left + 1, end) - np.maximum(left, start), 0, 1), np.float32)
