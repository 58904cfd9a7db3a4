"""Selective search step by step (Uijlings et al. 2013): the first segmentation, the hierarchy, and the ranked boxes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from detkit.drawing import color_of
from detkit.images import Image
from detkit.inside.stages import Stage, boxed
from detkit.proposals.proposal_pictures import draw_best
from detkit.proposals.segmentation import segmentation
from detkit.proposals.selective_search import (
    FAST,
    MAX_SIDE,
    colour_space,
    group,
    initial_regions,
    selective_search,
    texture_bins,
)

_PAPER = "Uijlings et al. 2013, section "
_LEVELS = (8, 32, 128)


def selective_search_stages(image: Image, threads: int) -> Iterator[Stage]:
    """The stages of `detkit proposals --method selective-search`, of its first strategy."""
    import cv2

    factor = min(1.0, MAX_SIDE / max(image.shape[:2]))
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8) if factor < 1 else image
    first = FAST[0]
    converted = colour_space(small, first.space)
    labels, count = segmentation(converted, first.k, min_size=int(first.k))
    yield Stage(
        "segmentation", "Graph-based segmentation",
        f"{count} regions in {first.space} at k = {first.k:g}: two are joined where the difference between them is no "
        "larger than that inside them.", "Felzenszwalb and Huttenlocher 2004, eqs. 1 to 4; " + _PAPER + "3.1",
        painted(small, labels), {"regions": count},
    )  # fmt: skip
    regions = initial_regions(converted, texture_bins(converted), labels, count)
    hierarchy = group(regions, first.similarities)
    for wanted in _LEVELS:
        if wanted >= count:
            break
        shown = hierarchy[:wanted]  # the whole picture comes first
        yield Stage(
            f"hierarchy-{wanted}", f"The hierarchy: its last {wanted} regions",
            f"The most similar neighbours are joined again and again ({first.similarities}: colour, texture, size, "
            f"fill), until one is left; the boxes of the last {wanted} that came about.",
            _PAPER + "3.1, algorithm 1; similarities eqs. 2 to 6",
            boxed(small, shown.astype(np.float32), width=1), {"boxes": len(shown)},
        )  # fmt: skip
    found = selective_search(image, max_proposals=2000, threads=threads)
    yield Stage(
        "result", "Proposals",
        f"{len(FAST)} strategies together give {len(found.boxes)} boxes; the best 50.", _PAPER + "3.3",
        draw_best(image, found, 50), {"proposals": len(found.boxes)},
    )  # fmt: skip


def painted(image: Image, labels: NDArray[np.int32]) -> Image:
    """Regions in colours over the picture."""
    palette = np.array([color_of(number) for number in range(997)], np.float32)
    return np.asarray(np.rint(image * 0.35 + palette[labels % 997] * 0.65), np.uint8)
