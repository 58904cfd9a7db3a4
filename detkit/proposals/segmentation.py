"""Graph-based segmentation (Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004).

Pixels are vertices, an edge joins each pixel to its eight neighbours and weighs the distance of their colours.
Edges are taken from light to heavy, and two components are joined where the edge between them is not heavier than
what is inside either of them, with some tolerance for small ones:

    smooth  ->  sorted_edges  ->  segment (the predicate D, eqs. 3 to 5)  ->  merge_small  ->  labels

The result depends on the order of equal edges, which the paper leaves open: here by pixel, row by row, and for each
pixel right, below, below right, above right.

Departure: edges are put in order by their weight in steps of 1 / 64 of a grey level, so that a counting sort does it;
the predicate sees the exact weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError, UsageError

SIGMA = 0.8  # section 5: removes artefacts of digitisation, changes nothing that is seen


class Edges(NamedTuple):
    """The edges of the pixel graph, lightest first.

    codes    uint32 (M,), 4 * pixel + direction, directions as in `segmentation_kernels.STEPS`
    weights  float32 (M,), distance of the two colours in grey levels
    shape    (height, width) of the picture
    """

    codes: NDArray[np.uint32]
    weights: NDArray[np.float32]
    shape: tuple[int, int]


def segmentation(
    image: NDArray[Any], k: float = 300.0, sigma: float = SIGMA, min_size: int = 20
) -> tuple[NDArray[np.int32], int]:
    """Labels (H, W) int32 from 0, numbered by first pixel row by row, and how many there are.

    image     (H, W) or (H, W, C), samples 0 to 255 of any colour space
    k         the scale of observation: larger values give larger components
    sigma     of the Gaussian that smooths the picture first, in pixels; 0 for none
    min_size  smaller components are joined to a neighbour over the lightest edge, in pixels
    """
    return components(sorted_edges(smooth(image, sigma)), k, min_size)


def smooth(image: NDArray[Any], sigma: float = SIGMA) -> NDArray[np.float32]:
    """The picture as float32 (H, W, C), smoothed; borders repeat their last pixel."""
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise InputError(f"a picture to segment must have shape (H, W) or (H, W, C), got {image.shape}")
    if sigma < 0:
        raise UsageError(f"sigma is a width in pixels, 0 or more, got {sigma:g}")
    samples: NDArray[Any] = np.ascontiguousarray(image, np.float32)
    if sigma > 0:
        # Four sigmas either way, as the authors' code has it.
        side = 2 * int(np.ceil(4 * sigma)) + 1
        samples = cv2.GaussianBlur(samples, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)
    return samples.reshape(*image.shape[:2], -1)


def sorted_edges(smoothed: NDArray[np.float32]) -> Edges:
    """All edges between pixels that touch at a side or a corner, lightest first; `smoothed` is (H, W, C) float32."""
    from detkit.proposals.segmentation_kernels import sorted_edges_kernel

    codes, weights = sorted_edges_kernel(smoothed)
    return Edges(codes, weights, (smoothed.shape[0], smoothed.shape[1]))


def components(edges: Edges, k: float, min_size: int) -> tuple[NDArray[np.int32], int]:
    """The labels and their number, as in `segmentation`. The same edges serve for any `k`."""
    from detkit.proposals.segmentation_kernels import label_kernel, segment_kernel

    if not k >= 0:
        raise UsageError(f"k, the scale of the segmentation, is 0 or more, got {k:g}")
    height, width = edges.shape
    parents = segment_kernel(edges.codes, edges.weights, height, width, float(k), int(min_size))
    labels, count = label_kernel(parents)
    return labels.reshape(height, width), int(count)
