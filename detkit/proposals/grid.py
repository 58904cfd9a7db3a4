"""A regular grid of windows: proposals that have not seen the picture, the yardstick for those that have.

The windows step through position, scale and aspect ratio so that one step in any of them leaves neighbours with an
IoU of about alpha, as in Edge Boxes (Zitnick and Dollar 2014, section 3.3), from the whole picture down to small ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UsageError
from detkit.proposals import Proposals

ALPHA = 0.4
MAX_ASPECT = 3.0
_GOLDEN = (5**0.5 - 1) / 2


def grid_proposals(
    width: int, height: int, count: int, *, alpha: float = ALPHA, max_aspect: float = MAX_ASPECT
) -> Proposals:
    """`count` windows of a picture, large ones first, the whole picture at their head; all lie within it.

    alpha       IoU of neighbours, above 0 and below 1: more is denser in place and scale, and ends at larger windows
    max_aspect  longer side of a window over the shorter, 1 or more

    Scores are areas, as parts of the picture's. The windows of one size come in an order that is spread over the
    picture, so that any first part of the list is. Fewer than `count` only where the picture has no more pixels.
    """
    if width < 1 or height < 1 or count < 1:
        raise UsageError(f"a grid needs a picture and a number of windows, got {width} x {height} and {count}")
    if not (0 < alpha < 1 and max_aspect >= 1):
        raise UsageError(f"a grid's alpha is between 0 and 1, max_aspect 1 or more, got {alpha:g} and {max_aspect:g}")
    parts, total = [], 0
    for wide, high in _sizes(width, height, alpha, max_aspect):
        parts.append(_spread(width, height, wide, high, (1 - alpha) / (1 + alpha)))
        total += len(parts[-1])
        if total >= count:
            break
    boxes = np.concatenate(parts)[:count]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return Proposals(boxes.astype(np.float32), (areas / (width * height)).astype(np.float32))


def _sizes(width: int, height: int, alpha: float, max_aspect: float) -> Iterator[tuple[float, float]]:
    """Width and height of the windows, large ones first: the whole picture, then scale by scale all aspect ratios."""
    yield float(width), float(height)
    aspects = round(math.log(max_aspect) / (2 * math.log((1 + alpha) / (2 * alpha))))
    ratios = [max_aspect ** (step / aspects) for step in range(-aspects, aspects + 1)] if aspects else [1.0]
    area = float(width * height)
    while area > 1:
        area *= alpha
        for ratio in ratios:  # width over height
            wide, high = (area * ratio) ** 0.5, (area / ratio) ** 0.5
            if 1 <= wide <= width and 1 <= high <= height:
                yield wide, high


def _spread(width: int, height: int, wide: float, high: float, step: float) -> NDArray[np.float64]:
    """Boxes (N, 4) of one size in even steps from border to border, at most `step` of its sides each."""
    xs = np.linspace(0, width - wide, math.ceil((width - wide) / (wide * step)) + 1)
    ys = np.linspace(0, height - high, math.ceil((height - high) / (high * step)) + 1)
    x1, y1 = (values.ravel() for values in np.meshgrid(xs, ys))
    order = np.argsort(np.arange(len(x1)) * _GOLDEN % 1, kind="stable")
    boxes = np.stack((x1, y1, x1 + wide, y1 + high), axis=1)[order]
    return np.minimum(boxes, (width, height, width, height))
