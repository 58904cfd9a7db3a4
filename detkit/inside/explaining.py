"""Maps of what a target depends on, by any of the methods, each with its figures and its picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from detkit.images import Image
from detkit.inside.attention import Attended, attended
from detkit.inside.class_activation import cam, eigen_cam
from detkit.inside.heat_figures import HeatFigures, heat_figures
from detkit.inside.heat_pictures import coloured, grid, over_picture, titled
from detkit.inside.hiding import SETTLED, Explained, RandomMasks, Tick, d_rise, no_tick, occlusion
from detkit.inside.likeness import Target
from detkit.inside.subjects import Subject, View
from detkit.inside.tapped import Tapped

if TYPE_CHECKING:
    from detkit.boxes import Floats as Boxes

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Heat:
    """A map of one target.

    method   "occlusion", "D-RISE", "RISE", "CAM", "Eigen-CAM", "Roll-out" or "Attention"
    target   what it is about
    values   float32 (h, w), of the view, or coarser
    figures  what it is worth
    note     how it was made, in words
    settled  how sure the map is (see `hiding.Explained`); None for methods without chance
    """

    method: str
    target: Target
    values: Floats
    figures: HeatFigures
    note: str
    settled: float | None = None

    def picture(self, image: Image, view: View) -> Image:
        """The map over the picture, with its figures as a title."""
        box: Boxes | None = None if self.target.box is None else self.target.box / view.scale
        lines = [f"{self.method}: {self.target.name} ({self.note})", summary(self.figures)]
        if self.figures.verdict:
            lines.append(self.figures.verdict)
        return over_picture(image, view.to_picture(self.values), "\n".join(lines), box)


def summary(figures: HeatFigures) -> str:
    """The figures in one line."""
    drop = f"hiding the hottest tenth costs {figures.drop:.0%} (the middle: {figures.blob_drop:.0%})"
    if figures.inside is None or figures.area is None:
        return drop
    return f"{figures.inside:.0%} of the heat in the box, {figures.area:.0%} of the picture; {drop}"


@dataclass(frozen=True)
class Asked:
    """A picture and its targets before a subject.

    square   of occlusion, see `hiding.occlusion`
    masks    of D-RISE
    """

    subject: Subject
    view: View
    targets: Sequence[Target]
    square: int | None = None
    masks: RandomMasks = field(default_factory=RandomMasks)


def by_occlusion(asked: Asked, tick: Tick = no_tick) -> Iterator[Heat]:
    """Maps of Zeiler and Fergus' occlusion."""
    found = occlusion(asked.subject, asked.view, asked.targets, asked.square, tick)
    yield from _each(asked, "occlusion", found, f"{found.runs} runs")


def by_d_rise(asked: Asked, tick: Tick = no_tick) -> Iterator[Heat]:
    """Maps of D-RISE; of a classifier's class RISE."""
    found = d_rise(asked.subject, asked.view, asked.targets, asked.masks, tick)
    method = "RISE" if asked.targets and asked.targets[0].box is None else "D-RISE"
    yield from _each(asked, method, found, f"{found.runs} masks")


def by_cam(asked: Asked, tapped: Tapped) -> Iterator[Heat]:
    """Class activation maps, enlarged to the view for their figures."""
    maps = cam(asked.subject, tapped, asked.view, asked.targets)
    for target, values in zip(asked.targets, maps, strict=True):
        whole = _enlarged(values, asked.view)
        yield Heat("CAM", target, whole, heat_figures(asked.subject, asked.view, target, whole), "exact")


def by_eigen_cam(asked: Asked, tapped: Tapped) -> Iterator[Heat]:
    """What is salient to the head's last layer at the best target's level."""
    for target in asked.targets[:1]:
        values, layer = eigen_cam(asked.subject, tapped, asked.view, target)
        whole = _enlarged(values, asked.view)
        figures = heat_figures(asked.subject, asked.view, target, whole)
        yield Heat("Eigen-CAM", target, whole, figures, f"what is salient, not why; layer {layer}")


def by_attention(asked: Asked, tapped: Tapped) -> Iterator[tuple[Heat, Attended]]:
    """What a transformer attends to for each target: a map of each kind of attention, and the heads behind it."""
    for target in asked.targets:
        for found in attended(asked.subject, tapped, asked.view, target):
            whole = _enlarged(found.total, asked.view)
            method = "Roll-out" if found.rolled else "Attention"
            layers = f"{len(found.layers)} layers" if found.rolled else "last layer, mean of its heads"
            figures = heat_figures(asked.subject, asked.view, target, whole)
            yield Heat(method, target, whole, figures, f"{found.query}, {layers}"), found


def head_sheet(found: Attended) -> Image:
    """The maps of every head of every layer, a row a layer; the labels are layer.head."""
    layers, heads = found.maps.shape[:2]
    shown = [found.maps[layer, head] for layer in range(layers) for head in range(heads)]
    pictures = [coloured(one / max(float(one.max()), 1e-12)) for one in shown]
    labels = [f"{layer + 1}.{head + 1}" for layer in range(layers) for head in range(heads)]
    return titled(
        grid(pictures, labels, heads, 96), f"attention of {found.query}: layer.head, each scaled to its highest"
    )


def _each(asked: Asked, method: str, found: Explained, note: str) -> Iterator[Heat]:
    for number, (target, values) in enumerate(zip(asked.targets, found.maps, strict=True)):
        settled = float(found.settled[number]) if len(found.settled) else None
        sure = "" if settled is None else f", settled {settled:.2f}"
        if settled is not None and settled < SETTLED:
            sure = f", not settled: {settled:.2f} of {SETTLED:g}"
        figures = heat_figures(asked.subject, asked.view, target, values)
        yield Heat(method, target, values, figures, note + sure, settled)


def _enlarged(values: Floats, view: View) -> Floats:
    import cv2

    return np.asarray(cv2.resize(values, view.image.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)
