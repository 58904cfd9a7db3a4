"""Which pixels a box depends on, found by hiding parts of the picture and asking the detector again.

Occlusion: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2. D-RISE: Petsiuk
et al. 2021, "Black-box Explanation of Object Detectors via Saliency Maps", after RISE (Petsiuk et al. 2018). Both see
the detector from outside and give a map (h, w) of the view for each target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.errors import UsageError
from detkit.images import Image
from detkit.inside.likeness import Target, likeness
from detkit.inside.subjects import Subject, View

Floats = NDArray[np.float32]
# Called with the number of runs that are done since the last call.
Tick = Callable[[int], None]

_AT_ONCE = 8
# A map has settled where the two halves of its masks agree so much (Pearson) that all together would by 0.9
# (Spearman and Brown's formula: 2 r / (1 + r)).
SETTLED = 0.9


def no_tick(count: int) -> None:
    """Nobody waits."""


@dataclass(frozen=True)
class RandomMasks:
    """How D-RISE hides.

    cells    of the grid, along each side (the paper: 16; fewer cells settle sooner and show less)
    shown    the share of cells that stay visible
    most     masks at the most
    least    masks before it is asked whether the map has settled
    seed     of the random numbers
    """

    cells: int = 8
    shown: float = 0.5
    most: int = 2000
    least: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.cells < 2 or self.most < 2 or not 0 < self.shown < 1:
            raise UsageError(
                "masks need at least 2 cells a side, 2 masks, and a share of visible cells between 0 and 1"
            )


@dataclass(frozen=True)
class Explained:
    """What hiding found.

    maps      float32 (T, h, w), a map of the view for each target; above 0 where hiding lowers the score
    runs      how often the network was asked
    settled   how sure each map is, (T,): 1 where another set of masks would give the same; empty for occlusion
    """

    maps: Floats
    runs: int
    settled: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


def occlusion(
    subject: Subject, view: View, targets: Sequence[Target], square: int | None = None, tick: Tick = no_tick
) -> Explained:
    """The share of each target's likeness that is lost where a square hides, averaged over the squares on a pixel.

    square   its side in pixels of the view; by default a sixth of the view's longer side. Squares lie half a side apart
    """
    height, width = view.image.shape[:2]
    side = square or default_square(view)
    places = list(_square_places(height, width, side))
    (rows,) = subject.rows([view.image], view)
    before = likeness(rows, targets)
    lost = np.zeros((len(targets), height, width), np.float32)
    count = np.zeros((height, width), np.float32)
    for start in range(0, len(places), _AT_ONCE):
        group = places[start : start + _AT_ONCE]
        contents = []
        for y1, y2, x1, x2 in group:
            content = view.image.copy()
            content[y1:y2, x1:x2] = view.fill
            contents.append(content)
        for (y1, y2, x1, x2), answer in zip(group, subject.rows(contents, view), strict=True):
            drop = (before - likeness(answer, targets)) / np.maximum(before, 1e-9)
            lost[:, y1:y2, x1:x2] += drop[:, None, None].astype(np.float32)
            count[y1:y2, x1:x2] += 1
        tick(len(group))
    return Explained((lost / np.maximum(count, 1)).astype(np.float32), len(places) + 1)


def default_square(view: View) -> int:
    """The side of the hiding square, in pixels of the view."""
    return max(2, round(max(view.size) / 6))


def square_count(view: View, square: int | None = None) -> int:
    """How many squares `occlusion` lays on a view."""
    width, height = view.size
    return len(list(_square_places(height, width, square or default_square(view))))


def _square_places(height: int, width: int, side: int) -> Iterator[tuple[int, int, int, int]]:
    """(y1, y2, x1, x2) of squares half a side apart, cut at the borders, so that every pixel lies in as many."""
    step = max(1, side // 2)
    for y in range(step - side, height, step):
        for x in range(step - side, width, step):
            y1, y2, x1, x2 = max(0, y), min(height, y + side), max(0, x), min(width, x + side)
            if y2 > y1 and x2 > x1:
                yield y1, y2, x1, x2


def d_rise(
    subject: Subject,
    view: View,
    targets: Sequence[Target],
    masks: RandomMasks = RandomMasks(),
    tick: Tick = no_tick,
) -> Explained:
    """D-RISE's maps: how each pixel's visibility goes with the likeness of what is found then, over random masks.

    Departure from the paper: the map is the covariance of visibility and likeness, not the sum of masks weighted by
    likeness; so it is around 0 where a pixel does not matter, and pixels that chance showed more often weigh no more.
    Hidden is what the network's pad is, and the pad around the picture stays as it is. Masks are drawn until every
    map has settled (see `SETTLED`), at most `masks.most`.
    """
    height, width = view.image.shape[:2]
    halves = [Covariance(len(targets), (height, width)) for _ in range(2)]
    drawn = random_masks(masks, (height, width))
    done, sure = 0, np.zeros(len(targets))
    while done < masks.most:
        group = [next(drawn) for _ in range(min(_AT_ONCE, masks.most - done))]
        answers = subject.rows([hidden(view, mask) for mask in group], view)
        for mask, answer in zip(group, answers, strict=True):
            halves[done % 2].add(mask, likeness(answer, targets))
            done += 1
        tick(len(group))
        if done >= masks.least and done % 40 < _AT_ONCE:
            sure = agreement(halves[0].maps(), halves[1].maps())
            if (sure >= SETTLED).all():
                break
    whole = halves[0].with_other(halves[1])
    return Explained(whole.maps(), done, agreement(halves[0].maps(), halves[1].maps()))


def random_masks(masks: RandomMasks, size: tuple[int, int]) -> Iterator[Floats]:
    """Masks (h, w) from 0 (hidden) to 1, for ever: cells, enlarged bilinearly and shifted by chance (RISE, 3.2)."""
    random = np.random.default_rng(masks.seed)
    cell = [-(-side // masks.cells) for side in size]
    whole = ((masks.cells + 1) * cell[1], (masks.cells + 1) * cell[0])
    while True:
        grid = (random.random((masks.cells + 1, masks.cells + 1)) < masks.shown).astype(np.float32)
        y, x = int(random.integers(cell[0])), int(random.integers(cell[1]))
        large = cv2.resize(grid, whole, interpolation=cv2.INTER_LINEAR)
        yield np.asarray(large[y : y + size[0], x : x + size[1]], np.float32)


def hidden(view: View, mask: Floats) -> Image:
    """The view where `mask` (h, w) is 1, its fill where it is 0, and what lies between between."""
    fill = np.array(view.fill, np.float32)
    mixed = fill + (view.image.astype(np.float32) - fill) * mask[:, :, None]
    return np.asarray(np.rint(mixed), np.uint8)


class Covariance:
    """The covariance of each pixel's visibility with T weights, gathered mask by mask."""

    def __init__(self, targets: int, size: tuple[int, int]) -> None:
        self._weighted = np.zeros((targets, *size), np.float64)
        self._masks = np.zeros(size, np.float64)
        self._weights = np.zeros(targets)
        self._count = 0

    def add(self, mask: Floats, weights: NDArray[np.float64]) -> None:
        """One mask (h, w) and the weights (T,) that it brought."""
        for number in np.flatnonzero(weights).tolist():
            self._weighted[number] += mask * weights[number]
        self._masks += mask
        self._weights += weights
        self._count += 1

    def with_other(self, other: Covariance) -> Covariance:
        """Both together."""
        made = Covariance(len(self._weights), (self._masks.shape[0], self._masks.shape[1]))
        made._weighted = self._weighted + other._weighted
        made._masks, made._weights = self._masks + other._masks, self._weights + other._weights
        made._count = self._count + other._count
        return made

    def maps(self) -> Floats:
        """float32 (T, h, w)."""
        count = max(self._count, 1)
        means = self._weights / count
        return np.asarray(self._weighted / count - means[:, None, None] * self._masks / count, np.float32)


def agreement(one: Floats, other: Floats) -> NDArray[np.float64]:
    """How sure maps (T, h, w) are whose halves are these: Spearman and Brown's 2 r / (1 + r), 0 for r below 0."""
    sure = np.zeros(len(one))
    for number, (a, b) in enumerate(zip(one, other, strict=True)):
        a, b = a - a.mean(), b - b.mean()
        length = float(np.linalg.norm(a) * np.linalg.norm(b))
        r = float((a * b).sum()) / length if length else 0.0
        sure[number] = 2 * r / (1 + r) if r > 0 else 0.0
    return sure
