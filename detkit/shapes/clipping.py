"""Rings cut at the borders of their pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]


def clipped(ring: Ring, width: float, height: float) -> Ring:
    """A ring (K, 2) within a picture, (0, 2) where nothing of it is inside (Sutherland and Hodgman 1974).

    A part that is cut in two stays one ring, joined along the border, where the line covers nothing.
    """
    for axis, limit, sign in ((0, 0.0, 1), (0, width, -1), (1, 0.0, 1), (1, height, -1)):
        if not len(ring):
            break
        inside = sign * (ring[:, axis] - limit) >= 0
        if inside.all():
            continue
        following, inside_next = np.roll(ring, -1, axis=0), np.roll(inside, -1)
        pieces = []
        for point, after, own, other in zip(ring, following, inside, inside_next, strict=True):
            if own:
                pieces.append(point)
            if own != other:
                crossing = point + (after - point) * ((limit - point[axis]) / (after[axis] - point[axis]))
                crossing[axis] = limit
                pieces.append(crossing)
        ring = np.array(pieces).reshape(-1, 2)
    return ring
