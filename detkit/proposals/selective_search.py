"""Selective search (Uijlings, van de Sande, Gevers and Smeulders, "Selective Search for Object Recognition", 2013).

    colour_space -> segmentation -> initial_regions -> group (section 3.1), for every strategy (section 3.2)
                 -> rank (section 3.3) -> duplicates removed

Regions of a first segmentation are merged two by two, always the most similar neighbours, until one is left; the
box of every region met on the way is a proposal. A strategy is a colour space, the scale k of the first
segmentation, and the similarities that count. The fast mode has 8 strategies, the quality mode 80 (table 5).

Ranking. "paper" is section 3.3: a region that is the i-th from the top of its hierarchy has the value i times a
random number in 0..1, low values first, and only equal boxes are duplicates. "agreement", the default here, has no
chance in it and puts more objects among the first boxes: the value is i divided by the square of the agreement, which
is the sum over hierarchies of max(0, 2 * IoU - 1) with the most similar box of each; and a box that overlaps a better
one by more than 0.65 is a duplicate.

Departures: in the texture histograms, the largest response of a channel to a direction in the picture ends its last
bin (the paper leaves the range open); pictures larger than `max_side` are reduced first, as k means pixels of pictures
of the size that the paper had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.boxes import clip
from detkit.cores import available_cores
from detkit.errors import UsageError
from detkit.images import Image, as_image
from detkit.nms import greedy_nms
from detkit.proposals import Proposals
from detkit.proposals.segmentation import SIGMA, Edges, components, smooth, sorted_edges
from detkit.settings import settled

ColourSpace = Literal["RGB", "I", "Lab", "rgI", "HSV", "rgb", "C", "H"]
COLOUR_SPACES: tuple[ColourSpace, ...] = get_args(ColourSpace)
Mode = Literal["fast", "quality"]
Ranking = Literal["agreement", "paper"]
RANKINGS: tuple[Ranking, ...] = get_args(Ranking)

# What counts as a duplicate of a better box: IoU above this.
NEAR_DUPLICATE = 0.65
MAX_SIDE = 600
TEXTURE_SIGMA = 1.0

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


class Strategy(NamedTuple):
    """One way to group: colour space, scale of the first segmentation, and similarities out of "CTSF"."""

    space: ColourSpace
    k: float
    similarities: str


def strategies(spaces: Iterable[ColourSpace], scales: Iterable[float], similarities: Iterable[str]) -> list[Strategy]:
    """Every combination of the given colour spaces, scales k and similarities."""
    combinations, scales = list(similarities), list(scales)
    return [Strategy(space, k, letters) for space in spaces for k in scales for letters in combinations]


FAST = strategies(("HSV", "Lab"), (50, 100), ("CTSF", "TSF"))
QUALITY = strategies(("HSV", "Lab", "rgI", "H", "I"), (50, 100, 150, 300), ("CTSF", "TSF", "F", "S"))
MODES: dict[str, list[Strategy]] = {"fast": FAST, "quality": QUALITY}


class Regions(NamedTuple):
    """The regions of a first segmentation, R of them, with C colour channels.

    sizes    int32 (R,), pixels
    boxes    int32 (R, 4), x1, y1, x2, y2; x2 and y2 are just outside
    pairs    int64 (P,), a * R + b with a < b, of regions that touch at a side or a corner, each once
    colour   float32 (R, 25 C), histograms with sum 1
    texture  float32 (R, 80 C), histograms with sum 1: channel, orientation, bin
    """

    sizes: NDArray[np.int32]
    boxes: NDArray[np.int32]
    pairs: NDArray[np.int64]
    colour: NDArray[np.float32]
    texture: NDArray[np.float32]


@dataclass(frozen=True)
class SelectiveSearch:
    """The parameters.

    mode           "fast", "quality", or the strategies themselves
    ranking        "agreement" or "paper"
    overlap        boxes that overlap a better one by more are left out; by default 0.65 for the ranking "agreement",
                   and only equal boxes (1.0) for "paper"
    seed           of the random numbers of the ranking "paper"
    min_side       boxes of which a side is shorter are left out, in pixels
    max_side       larger pictures are reduced to this longer side first, in pixels; None for no limit
    sigma          of the smoothing before the first segmentation, in pixels
    """

    mode: Mode | Sequence[Strategy] = "fast"
    ranking: Ranking = "agreement"
    overlap: float | None = None
    seed: int = 0
    min_side: float = 0
    max_side: int | None = MAX_SIDE
    sigma: float = SIGMA


def selective_search(
    image: Image,
    search: SelectiveSearch = SelectiveSearch(),
    *,
    max_proposals: int | None = None,
    threads: int | None = None,
    **settings: Any,
) -> Proposals:
    """Proposals of a picture, uint8 (H, W, 3) RGB. Their scores are 1 / (1 + value), of the values of the ranking.

    search         the parameters, which may also be given by their names
    threads        strategies that are followed at the same time; by default the cores that this process may use
    """
    (search,) = settled(settings, search)
    mode, ranking, seed, min_side = search.mode, search.ranking, search.seed, search.min_side
    image = as_image(image)
    chosen = MODES.get(mode) if isinstance(mode, str) else list(mode)
    if not chosen:
        raise UsageError(f"selective search has the modes {', '.join(MODES)}, or takes strategies, got {mode!r}")
    if ranking not in RANKINGS:
        raise UsageError(f"the ranking {ranking!r} is not known; there are {', '.join(RANKINGS)}")
    _check(chosen)
    height, width = image.shape[:2]
    reduced = _reduced(image, search.max_side)
    hierarchies = all_hierarchies(reduced, chosen, search.sigma, threads)
    boxes, values = rank_by_agreement(hierarchies) if ranking == "agreement" else rank_by_chance(hierarchies, seed)
    scale = np.array([width / reduced.shape[1], height / reduced.shape[0]] * 2, np.float32)
    found = clip(boxes.astype(np.float32) * scale, width, height)
    scores = (1 / (1 + values)).astype(np.float32)
    wide = (found[:, 2] - found[:, 0] >= min_side) & (found[:, 3] - found[:, 1] >= min_side)
    found, scores = found[wide], scores[wide]
    limit = search.overlap if search.overlap is not None else NEAR_DUPLICATE if ranking == "agreement" else 1.0
    if limit < 1:
        # Equal values keep their order, which scores rounded to float32 alone would not tell.
        kept = greedy_nms(found, -np.arange(len(found), dtype=np.float32), limit)
        found, scores = found[kept], scores[kept]
    return Proposals(found, scores).first(max_proposals)


def colour_space(image: Image, space: ColourSpace) -> NDArray[np.uint8]:
    """An RGB picture in another space, uint8 (H, W, C), every channel spread over 0 to 255 (section 3.2).

    RGB, Lab and HSV have their three channels, I is the intensity and H the hue alone; rgb is RGB with the intensity
    divided out, rgI its first two channels and the intensity; C is the opponent colours with the intensity divided
    out, and the intensity.
    """
    if space == "RGB":
        return image
    if space == "Lab":
        return _bytes(cv2.cvtColor(image, cv2.COLOR_RGB2Lab))
    if space in ("HSV", "H"):
        hsv = _bytes(cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL))
        return hsv if space == "HSV" else np.ascontiguousarray(hsv[:, :, :1])
    if space == "I":
        return _bytes(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[:, :, None]
    samples = image.astype(np.float32)
    total = samples.sum(axis=2, keepdims=True)
    shares = samples * (255 / np.maximum(total, 1))
    if space == "rgb":
        return _bytes(shares)
    if space == "rgI":
        return _bytes(np.concatenate((shares[:, :, :2], total / 3), axis=2))
    red, green, blue = shares[:, :, 0], shares[:, :, 1], shares[:, :, 2]
    # Red minus green is -255 to 255, yellow minus blue -510 to 255 of the divided intensity.
    return _bytes(np.stack(((red - green + 255) / 2, (red + green - 2 * blue + 510) / 3, total[:, :, 0] / 3), axis=2))


def texture_bins(image: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Bins of Gaussian derivatives (sigma 1) in eight orientations of every channel, (4, H, W, C) int8.

    `image` is uint8 (H, W, C). What the signs mean is in `selective_search_kernels.texture_kernel`.
    """
    from detkit.proposals.selective_search_kernels import texture_kernel

    at = np.arange(-3, 4, dtype=np.float32)
    bell = np.exp(-(at**2) / (2 * TEXTURE_SIGMA**2))
    bell /= bell.sum()
    slope = at * bell
    slope /= (slope * at).sum()  # a slope of 1 per pixel has the response 1
    dx = cv2.sepFilter2D(image, cv2.CV_32F, slope, bell, borderType=cv2.BORDER_REPLICATE)
    dy = cv2.sepFilter2D(image, cv2.CV_32F, bell, slope, borderType=cv2.BORDER_REPLICATE)
    return texture_kernel(dx.reshape(image.shape), dy.reshape(image.shape))


def initial_regions(image: NDArray[np.uint8], bins: NDArray[np.int8], labels: NDArray[np.int32], count: int) -> Regions:
    """The features of the `count` regions of a segmentation `labels` (H, W) of an image (H, W, C)."""
    from detkit.proposals.selective_search_kernels import colour_kernel, regions_kernel, texture_histograms_kernel

    sizes, boxes, pairs = regions_kernel(labels, count)
    colour, texture = colour_kernel(labels, sizes, image), texture_histograms_kernel(labels, sizes, bins)
    return Regions(sizes, boxes, np.unique(pairs), colour, texture)


def group(regions: Regions, similarities: str) -> NDArray[np.int32]:
    """Hierarchical grouping (algorithm 1): boxes (2 R - 1, 4) of all regions, the whole picture first.

    similarities  the letters of those that count, added up: C(olour), T(exture), S(ize), F(ill)
    """
    from detkit.proposals.selective_search_kernels import group_kernel

    use = ("C" in similarities, "T" in similarities, "S" in similarities, "F" in similarities)
    boxes = group_kernel(
        regions.colour, regions.texture, regions.sizes, regions.boxes, regions.pairs, use, int(regions.sizes.sum())
    )
    return boxes[::-1]


def all_hierarchies(
    image: Image, chosen: Sequence[Strategy], sigma: float = SIGMA, threads: int | None = None
) -> list[NDArray[np.int32]]:
    """The boxes of every strategy's hierarchy, as `group` gives them; what strategies share is computed once."""
    spaces = list(dict.fromkeys(strategy.space for strategy in chosen))
    starts = list(dict.fromkeys((strategy.space, strategy.k) for strategy in chosen))

    def prepare(space: ColourSpace) -> tuple[NDArray[np.uint8], Edges, NDArray[np.int8]]:
        converted = colour_space(image, space)
        return converted, sorted_edges(smooth(converted, sigma)), texture_bins(converted)

    with _Threads(threads) as run:
        prepared = dict(zip(spaces, run(prepare, spaces), strict=True))

        def segment(start: tuple[ColourSpace, float]) -> Regions:
            space, k = start
            converted, edges, bins = prepared[space]
            # As the authors have it, no region is smaller than k pixels.
            return initial_regions(converted, bins, *components(edges, k, int(k)))

        regions = dict(zip(starts, run(segment, starts), strict=True))
        return run(lambda one: group(regions[one.space, one.k], one.similarities), chosen)


def rank_by_chance(
    hierarchies: Sequence[NDArray[np.int32]], seed: int = 0
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The paper's ranking (section 3.3): boxes, each once, and their values, the lowest first.

    The value of the i-th region from the top of a hierarchy is i times a random number in 0..1, so that large
    regions come early, but not all of them first. Of equal boxes the one with the lowest value counts.
    """
    random = np.random.default_rng(seed)
    boxes, starts, order = _distinct(hierarchies)
    levels = _levels(hierarchies)
    values = np.minimum.reduceat((levels * random.random(len(levels)))[order], starts[:-1])
    return _lowest_first(boxes, values)


def rank_by_agreement(hierarchies: Sequence[NDArray[np.int32]]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Boxes, each once, and their values, the lowest first: i / agreement^2, see the head of this module.

    Of equal boxes the one nearest to the top of its hierarchy counts.
    """
    from detkit.proposals.selective_search_kernels import agreement_kernel

    boxes, starts, order = _distinct(hierarchies)
    owners = np.repeat(np.arange(len(hierarchies)), [len(hierarchy) for hierarchy in hierarchies])[order]
    agreement = agreement_kernel(boxes.astype(np.int64), starts, owners, len(hierarchies))
    return _lowest_first(boxes, np.minimum.reduceat(_levels(hierarchies)[order], starts[:-1]) / agreement**2)


def _levels(hierarchies: Sequence[NDArray[np.int32]]) -> NDArray[np.float64]:
    """Of every box its place from the top of its hierarchy, from 1."""
    return np.concatenate([np.arange(1.0, len(hierarchy) + 1) for hierarchy in hierarchies])


def _distinct(
    hierarchies: Sequence[NDArray[np.int32]],
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Boxes (N, 4), each once; where box n stands among all M: order[starts[n]:starts[n + 1]] of `order` (M,)."""
    boxes = np.concatenate(hierarchies)
    order = np.lexsort((*boxes.T,))
    boxes = boxes[order]
    new = np.ones(len(boxes), bool)
    new[1:] = (boxes[1:] != boxes[:-1]).any(axis=1)
    return boxes[new], np.append(np.flatnonzero(new), len(boxes)), order


def _lowest_first(
    boxes: NDArray[np.int32], values: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    order = np.argsort(values, kind="stable")
    return boxes[order], values[order]


def _reduced(image: Image, max_side: int | None) -> Image:
    longer = max(image.shape[:2])
    if max_side is None or longer <= max_side:
        return image
    height, width = (max(1, round(side * max_side / longer)) for side in image.shape[:2])
    return _bytes(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))


def _bytes(samples: NDArray[Any]) -> NDArray[np.uint8]:
    return samples if samples.dtype == np.uint8 else np.rint(samples).astype(np.uint8)


def _check(chosen: Sequence[Strategy]) -> None:
    for strategy in chosen:
        if strategy.space not in COLOUR_SPACES:
            raise UsageError(f"the colour space {strategy.space!r} is not known; there are {', '.join(COLOUR_SPACES)}")
        if not strategy.similarities or set(strategy.similarities) - set("CTSF"):
            raise UsageError(f"similarities are letters out of CTSF, got {strategy.similarities!r}")


class _Threads:
    """`map` over so many threads, by default one for each core, or in this one."""

    def __init__(self, count: int | None) -> None:
        count = count or available_cores()
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="detkit-proposals") if count > 1 else None

    def __enter__(self) -> Callable[[Callable[[_Given], _Made], Iterable[_Given]], list[_Made]]:
        pool = self._pool
        return lambda make, given: [make(one) for one in given] if pool is None else list(pool.map(make, given))

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()
