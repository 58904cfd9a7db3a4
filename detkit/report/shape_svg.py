"""Masks, key points and turned boxes as SVG, in pixels of their picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detkit.dataset import Skeleton
from detkit.drawing import PERSON_BONES
from detkit.shapes.outlines import outline, simplified
from detkit.shapes.shape_columns import Shapes

_PERSON_POINTS = 17


def shape_svg(shapes: Shapes, row: int, kind: str, unit: float, skeleton: Skeleton | None = None) -> str:
    """The shape of a row, "" where it has none.

    kind      the column of `Shapes` that is shown
    unit      pixels of the picture in one of the page: outlines are as fine as that, points and lines as large
    skeleton  of the row's class; without one, that of a person where there are 17 points
    """
    if kind == "masks" and shapes.masks is not None and shapes.masks.areas[row]:
        borders = outline(*shapes.masks.window(row))
        rings = [simplified(ring, unit / 2) for ring in (*borders.parts, *borders.holes)]
        return f'<path d="{"".join(f"M{_points(ring)}Z" for ring in rings)}"/>'
    if kind == "corners" and shapes.corners is not None:
        return f'<polygon points="{_points(shapes.corners[row])}"/>'
    if kind == "keypoints" and shapes.keypoints is not None:
        return _skeleton(shapes.keypoints[row], unit, skeleton)
    return ""


def _skeleton(points: NDArray[np.float64], unit: float, skeleton: Skeleton | None) -> str:
    """Dots where points are, joined; those that are not labelled, or stand at (0, 0), are left out."""
    there = (points[:, 2] > 0) & (points[:, :2] != 0).any(axis=1)
    edges: Sequence[tuple[int, int]] = PERSON_BONES if len(points) == _PERSON_POINTS else ()
    if skeleton is not None and skeleton.edges:
        edges = skeleton.edges
    places = [f"{x:.1f}" for x in points[:, 0]], [f"{y:.1f}" for y in points[:, 1]]
    parts = [
        f'<line x1="{places[0][a]}" y1="{places[1][a]}" x2="{places[0][b]}" y2="{places[1][b]}"/>'
        for a, b in edges
        if max(a, b) < len(points) and there[a] and there[b]
    ]
    parts += [
        f'<circle cx="{places[0][k]}" cy="{places[1][k]}" r="{2.4 * unit:.2f}"/>'
        for k in np.flatnonzero(there).tolist()
    ]
    return "".join(parts)


def _points(ring: NDArray[np.float64]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in ring.tolist())
