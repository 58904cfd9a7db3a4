"""Edge boxes (Zitnick and Dollar, "Edge Boxes: Locating Object Proposals from Edges", ECCV 2014).

    edges (strength and orientation, thinned) -> edge_groups with affinities (section 3.1)
        -> sliding_windows (section 3.3) -> score_windows (section 3.2, eqs. 2 to 4) with refinement
        -> non-maximum suppression (section 3.4)

A box is good if many contours are wholly inside it: the strengths of all edge groups in it are added, those of groups
that cross its border are taken away, others by how well a chain of groups joins them to one that crosses.

Scores equal OpenCV's for the same maps and boxes. Departure: the border of a window runs through the centres of its
border pixels, as no enclosed contour reaches them; OpenCV's boxes are half a pixel further right and down.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detkit.cores import available_cores
from detkit.errors import InputError, UsageError
from detkit.images import Image, as_image
from detkit.ordering import best_first
from detkit.proposals import Proposals
from detkit.proposals.edges import EdgeMap, Edges, gradient_edges, thinned_edges

if TYPE_CHECKING:
    from detkit.proposals.edge_boxes_kernels import Groups

# Windows that one call of the compiled loop scores: enough to be worth a thread's while.
_CHUNK = 2048
_MOST_WINDOWS = 50_000_000
_LONGEST = 100_000  # half perimeters that have a norm


@dataclass(frozen=True)
class EdgeBoxes:
    """The parameters, with the paper's defaults (section 4.1).

    alpha       IoU of neighbouring windows, above 0 and below 1: the step of the search
    beta        of boxes that overlap more than this only the best stays
    eta         below 1, beta is multiplied by it for every box kept, down to 0.5
    min_score   boxes with a lower score are left out
    min_edge    weaker edges are left out
    merge       orientations turn by less than so many half turns within a group
    min_group   groups with a lower sum of strengths are dissolved
    max_aspect  of the windows, longer side over shorter
    min_area    of the smallest windows, square pixels
    gamma       power of the affinity: how sharply contours are told apart (eq. 1)
    kappa       power of the perimeter in the norm of the score (eq. 2)
    """

    alpha: float = 0.65
    beta: float = 0.75
    eta: float = 1.0
    min_score: float = 0.01
    min_edge: float = 0.1
    merge: float = 0.5
    min_group: float = 0.5
    max_aspect: float = 3.0
    min_area: float = 1000.0
    gamma: float = 2.0
    kappa: float = 1.5

    def __post_init__(self) -> None:
        for name, low, high in (("alpha", 0, 1), ("beta", 0, 1.0001), ("eta", 0, 1.0001)):
            if not low < getattr(self, name) < high:
                raise UsageError(f"edge boxes: {name} lies between 0 and 1, got {getattr(self, name):g}")
        for name in ("min_score", "min_edge", "merge", "min_group", "gamma", "kappa"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"edge boxes: {name} is 0 or more, got {getattr(self, name):g}")
        if not (self.max_aspect >= 1 and self.min_area >= 1):
            raise UsageError("edge boxes: max_aspect and min_area are 1 or more")


def edge_boxes(
    image: Image,
    parameters: EdgeBoxes | None = None,
    *,
    strength: EdgeMap | None = None,
    max_proposals: int | None = 2000,
    threads: int | None = None,
) -> Proposals:
    """Proposals of a picture, uint8 (H, W, 3) RGB, with the scores of the paper.

    strength  an edge map (H, W) of the picture, 0 to 1, not thinned; by default `edges.gradient_edges`
    threads   that score windows at the same time; by default the cores that this process may use
    """
    image = as_image(image)
    strength = gradient_edges(image) if strength is None else strength
    if strength.shape != image.shape[:2]:
        raise InputError(f"the edge map has shape {strength.shape}, the picture {image.shape[:2]}")
    return boxes_of_edges(thinned_edges(strength), parameters, max_proposals=max_proposals, threads=threads)


def boxes_of_edges(
    edges: Edges, parameters: EdgeBoxes | None = None, *, max_proposals: int | None = 2000, threads: int | None = None
) -> Proposals:
    """Proposals of thinned strengths and their orientations, both float32 (H, W)."""
    parameters = parameters or EdgeBoxes()
    groups = edge_groups(edges, parameters)
    height, width = edges.strength.shape
    windows = sliding_windows(width, height, parameters)
    windows, scores = score_windows(windows, groups, parameters, refine=True, threads=threads)
    order = best_first(scores)[: np.count_nonzero(scores)]
    boxes, scores = window_boxes(windows[order]), scores[order]
    kept = suppress(boxes, parameters.beta, parameters.eta, max_proposals)
    return Proposals(boxes[kept], scores[kept])


def edge_groups(edges: Edges, parameters: EdgeBoxes) -> Groups:
    """Groups of connected edges and their affinities (section 3.1), with what makes scores quick (section 3.2).

    Greedily, from an edge on, the 8-connected edge that differs least in orientation is added until the differences
    add up to `merge` half turns; weak groups go to their neighbours.
    """
    from detkit.proposals.edge_boxes_kernels import Groups, affinity_kernel, cluster_kernel, runs_kernel, sums_kernel

    if edges.strength.ndim != 2 or edges.strength.shape != edges.orientation.shape or 0 in edges.strength.shape:
        raise InputError(
            f"strengths and orientations must have the same shape (H, W), got {edges.strength.shape} "
            f"and {edges.orientation.shape}"
        )
    strength, orientation = (np.ascontiguousarray(one.T, np.float32) for one in edges)
    ids, count = cluster_kernel(strength, orientation, parameters.min_edge, parameters.merge, parameters.min_group)
    affinities = affinity_kernel(ids, strength, orientation, count, parameters.gamma)
    sums = sums_kernel(strength, *affinities[:3], parameters.min_edge)
    return Groups(*affinities, *sums, *runs_kernel(np.ascontiguousarray(ids.T)), *runs_kernel(ids))


def sliding_windows(width: int, height: int, parameters: EdgeBoxes) -> NDArray[np.int32]:
    """Windows (N, 4), x, y, width, height, over all positions, scales and aspect ratios (section 3.3).

    One step in position, scale or aspect ratio leaves neighbours with an IoU of alpha.
    """
    alpha = parameters.alpha
    step, larger, longer = (1 - alpha) / (1 + alpha), (1 / alpha) ** 0.5, (1 + alpha) / (2 * alpha)
    smallest = parameters.min_area**0.5
    aspects = int(np.log(parameters.max_aspect) / np.log(longer**2))
    scales = int(np.ceil(np.log(max(width, height) / smallest) / np.log(larger)))
    windows, count = [np.zeros((0, 4), np.int32)], 0
    for scale in range(scales):
        for aspect in range(-aspects, aspects + 1):
            side, ratio = smallest * larger**scale, longer**aspect
            wide, high = int(side * ratio), int(side / ratio)
            step_x, step_y = max(2, int(wide * step)), max(2, int(high * step))
            xs, ys = np.arange(0, width - wide + step_x, step_x), np.arange(0, height - high + step_y, step_y)
            count += len(xs) * len(ys)
            if count > _MOST_WINDOWS:
                raise UsageError(f"edge boxes: alpha {alpha:g} makes over {_MOST_WINDOWS:,} windows; take a lower one")
            grid = np.empty((len(xs), len(ys), 4), np.int32)
            grid[:, :, 0], grid[:, :, 1], grid[:, :, 2], grid[:, :, 3] = xs[:, None], ys, wide, high
            windows.append(grid.reshape(-1, 4))
    return np.concatenate(windows)


def score_windows(
    windows: NDArray[np.integer[Any]],
    groups: Groups,
    parameters: EdgeBoxes,
    *,
    refine: bool = False,
    threads: int | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Windows (N, 4), cut to the picture and with `refine` moved to a better place, and their scores (N,).

    0 for those below `min_score`, which are not moved.
    """
    from detkit.proposals.edge_boxes_kernels import score_kernel

    moved: NDArray[np.int32] = np.array(windows, np.int32)
    norms = np.float32(1) / np.maximum(np.arange(_LONGEST, dtype=np.float32), 1)
    norms = (norms ** np.float32(parameters.kappa)).astype(np.float32)
    step = (1 - parameters.alpha) / (1 + parameters.alpha)

    def score(start: int) -> NDArray[np.float32]:
        part = moved[start : start + _CHUNK]  # a view: the loop moves the windows themselves
        return score_kernel(part, *groups, norms, parameters.min_score, step, refine)

    starts = range(0, len(moved), _CHUNK)
    workers = min(threads or available_cores(), len(starts))
    if workers > 1:
        with ThreadPoolExecutor(workers, thread_name_prefix="detkit-proposals") as pool:
            scores = list(pool.map(score, starts))
    else:
        scores = [score(start) for start in starts]
    return moved, np.concatenate([np.zeros(0, np.float32), *scores])


def window_boxes(windows: NDArray[np.int32]) -> NDArray[np.float32]:
    """Boxes (N, 4) xyxy of windows x, y, width, height: their border runs through the centres of the border pixels."""
    corners = windows[:, :2].astype(np.float32) + np.float32(0.5)
    return np.concatenate((corners, corners + windows[:, 2:].astype(np.float32)), axis=1)


def suppress(
    boxes: NDArray[np.float32], beta: float, eta: float = 1.0, max_boxes: int | None = None
) -> NDArray[np.int64]:
    """Indices of the boxes (N, 4), best first, that greedy suppression above IoU `beta` keeps, until `max_boxes` are.

    `beta` is multiplied by `eta` for every box kept while it is above 0.5: the best objects get dense boxes, then
    comes more variety. With eta 1 this is `nms.greedy_nms`, which does not stop early and is for fewer boxes.
    """
    from detkit.proposals.edge_boxes_kernels import adaptive_nms_kernel

    return adaptive_nms_kernel(boxes, float(beta), float(eta), len(boxes) if max_boxes is None else max_boxes)
