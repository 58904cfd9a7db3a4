"""Edge boxes step by step (Zitnick and Dollar 2014): edges, groups, and what speaks for and against a box."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from detkit.drawing import color_of
from detkit.images import Image
from detkit.inside.heat_pictures import coloured
from detkit.inside.stages import Stage, boxed
from detkit.proposals.edge_boxes import EdgeBoxes, boxes_of_edges, edge_groups
from detkit.proposals.edge_boxes_kernels import Groups, cluster_kernel
from detkit.proposals.edges import gradient_edges, thinned_edges
from detkit.proposals.proposal_pictures import draw_best

Floats = NDArray[np.float32]

_PAPER = "Zitnick and Dollar 2014, section "
_FAINT = 0.05


def edge_box_stages(image: Image, threads: int) -> Iterator[Stage]:
    """The stages of `detkit proposals --method edge-boxes`."""
    parameters = EdgeBoxes()
    strength = gradient_edges(image)
    yield Stage(
        "edges", "The edge map", "How sure it is that a pixel lies on an edge.", _PAPER + "3", coloured(strength)
    )
    edges = thinned_edges(strength)
    yield Stage(
        "thinned", "Thinned edges", "Only pixels that no neighbour across the edge beats.", _PAPER + "3",
        coloured(edges.strength),
    )  # fmt: skip
    groups = edge_groups(edges, parameters)
    turned, orientation = (np.ascontiguousarray(one.T, np.float32) for one in edges)
    ids = cluster_kernel(turned, orientation, parameters.min_edge, parameters.merge, parameters.min_group)[0].T
    count = int((groups.strengths > 0).sum())
    yield Stage(
        "groups", "Edge groups",
        f"{count} groups: connected edges until their orientations have turned by a quarter of a circle.",
        _PAPER + "3.1", _painted(ids), {"groups": count},
    )  # fmt: skip
    found = boxes_of_edges(edges, parameters, max_proposals=2000, threads=threads)
    if not len(found.boxes):
        yield Stage("result", "Proposals", "No box encloses a contour.", _PAPER + "3.4", image, {"proposals": 0})
        return
    box = found.boxes[0]
    x1, y1, x2, y2 = (round(float(side) - 0.5) for side in box)
    weights, score = box_score(ids, groups, edges.strength, (x1, y1, x2, y2), parameters)
    yield Stage(
        "for-and-against", "Contours for and against the best box",
        "Green groups lie inside and count; red ones touch its border, or lead to one that does, and count less or not "
        f"at all. Score {score:.3f}.", _PAPER + "3.2, eqs. 2 to 4",
        boxed(_for_and_against(ids, weights, edges.strength), box[None]), {"box": box.tolist(), "score": score},
    )  # fmt: skip
    yield Stage(
        "result", "Proposals", f"{len(found.boxes)} boxes; the best 50.", _PAPER + "3.4",
        draw_best(image, found, 50), {"proposals": len(found.boxes)},
    )  # fmt: skip


def box_score(
    ids: NDArray[np.int32], groups: Groups, strength: Floats, box: tuple[int, int, int, int], parameters: EdgeBoxes
) -> tuple[Floats, float]:
    """w_b(s) of every group (eq. 2), -1 outside of the box, and the box's score (eqs. 3 and 4), the slow, plain way.

    box   x1, y1, x2, y2, whole pixels that belong to it; `ids` and `strength` are (H, W)
    """
    x1, y1, x2, y2 = box
    count = len(groups.strengths)
    inside = (groups.xs >= x1) & (groups.xs <= x2) & (groups.ys >= y1) & (groups.ys <= y2) & (groups.strengths > 0)
    border = np.unique(
        np.concatenate((ids[y1, x1 : x2 + 1], ids[y2, x1 : x2 + 1], ids[y1 : y2 + 1, x1], ids[y1 : y2 + 1, x2]))
    )
    reached = np.zeros(count, np.float32)  # the largest product of affinities along a path from the border
    waiting = [(-1.0, int(group)) for group in border if group > 0]
    for _, group in waiting:
        reached[group] = 1
    while waiting:
        weight, group = heapq.heappop(waiting)
        if -weight < reached[group]:
            continue
        for place in range(groups.starts[group], groups.starts[group + 1]):
            other, along = int(groups.neighbours[place]), -weight * float(groups.affinities[place])
            if along >= _FAINT and along > reached[other] and inside[other]:
                reached[other] = along
                heapq.heappush(waiting, (-along, other))
    weights = np.where(inside, 1 - reached, -1).astype(np.float32)
    total = float((groups.strengths[inside] * weights[inside]).sum())
    half_x, half_y = (x2 - x1) // 2, (y2 - y1) // 2
    left, top = x1 + half_x // 2, y1 + half_y // 2
    middle = strength[top : top + half_y + 1, left : left + half_x + 1]
    total -= float(middle[middle > parameters.min_edge].sum())
    return weights, total / max(half_x + half_y, 1) ** parameters.kappa


def _painted(ids: NDArray[np.int32]) -> Image:
    palette = np.array([(0, 0, 0), *(color_of(number) for number in range(996))], np.uint8)
    shown = np.where(ids > 0, ids % 996 + 1, 0)
    return np.asarray(palette[shown])


def _for_and_against(ids: NDArray[np.int32], weights: Floats, strength: Floats) -> Image:
    value = np.where(ids > 0, weights[np.maximum(ids, 0)], -1)[..., None]
    green, red, gray = (np.array(one, np.float32) for one in ((60, 230, 90), (255, 60, 60), (70, 70, 70)))
    colour = np.where(value < 0, gray, green * np.maximum(value, 0) + red * (1 - np.maximum(value, 0)))
    light = np.where(ids > 0, np.clip(0.35 + strength, 0, 1), 0)[..., None]
    return np.asarray(np.rint(colour * light), np.uint8)
