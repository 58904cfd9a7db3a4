"""Object key point similarity, the overlap of COCO's key point protocol (pycocotools' `computeOks`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UsageError
from detkit.metrics.overlaps import Pairs
from detkit.metrics.pairing import gather_pairs

Doubles = NDArray[np.float64]

# Of the 17 points of a person: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles.
PERSON_SIGMAS = (
    np.array([0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89])
    / 10.0
)


@dataclass(frozen=True)
class Targets:
    """The true objects, M of them.

    keypoints   float64 (M, K, 3), x, y and visibility, above 0 where labelled
    boxes       float64 (M, 4), x, y, width, height;  areas float64 (M,), that of the object, not of its box
    """

    keypoints: Doubles
    boxes: Doubles
    areas: Doubles


def sigmas_of(count: int) -> Doubles:
    """float64 (K,): how far annotators lie apart, as a share of the object's size. UsageError unless there are 17.

    Only for COCO's 17 points of a person it has been measured.
    """
    if count != len(PERSON_SIGMAS):
        raise UsageError(
            f"there are {count} key points, and OKS has constants for the {len(PERSON_SIGMAS)} of a person only"
        )
    return PERSON_SIGMAS


def oks(found: Doubles, targets: Targets, sigmas: Doubles) -> Doubles:
    """OKS (P,) of detected key points (P, K, >= 2) with the targets, row by row; the double that pycocotools computes.

    The mean over labelled points of exp(-d^2 / (2 area (2 sigma)^2)). Where none is labelled, d is the distance of
    each found point from the target's box made three times as wide and as high ("doubled" to each side).
    """
    x, y = found[..., 0], found[..., 1]
    labelled = targets.keypoints[..., 2] > 0
    dx, dy = x - targets.keypoints[..., 0], y - targets.keypoints[..., 1]
    number = labelled.sum(axis=1)
    if (bare := np.flatnonzero(number == 0)).size:
        left, top, width, height = targets.boxes[bare].T[:, :, None]
        dx[bare] = np.maximum(0, left - width - x[bare]) + np.maximum(0, x[bare] - (left + width * 2))
        dy[bare] = np.maximum(0, top - height - y[bare]) + np.maximum(0, y[bare] - (top + height * 2))
        labelled[bare] = True
        number[bare] = found.shape[1]
    variances = (sigmas * 2) ** 2
    exponent = (dx**2 + dy**2) / variances / (targets.areas + np.spacing(1))[:, None] / 2
    result = np.zeros(len(found))
    # Rows of as many points together, so that each sum goes through the same numbers as pycocotools' in its order.
    for count in np.unique(number):
        some = np.flatnonzero(number == count)
        points = exponent[some][labelled[some]].reshape(len(some), count)
        result[some] = np.sum(np.exp(-points), axis=1) / count
    return result


def keypoint_pairs(
    cells: NDArray[np.int64],
    found: Doubles,
    rows: NDArray[np.int64],
    truth_cells: NDArray[np.int64],
    targets: Targets,
    least: float,
    sigmas: Doubles | None = None,
) -> Pairs:
    """All pairs of the same cell with an OKS of at least `least`; detection d has the key points `found[rows[d]]`."""
    weights = sigmas_of(targets.keypoints.shape[1]) if sigmas is None else sigmas
    if found.shape[1] != len(weights) or targets.keypoints.shape[1] != len(weights):
        raise UsageError(
            f"detections have {found.shape[1]} key points and the annotations {targets.keypoints.shape[1]}; "
            f"OKS compares {len(weights)}"
        )

    def measure(detection: NDArray[np.int64], truth: NDArray[np.int64]) -> Doubles:
        there = Targets(targets.keypoints[truth], targets.boxes[truth], targets.areas[truth])
        return oks(found[rows[detection]], there, weights)

    return gather_pairs(cells, truth_cells, measure, least)


def extent_areas(keypoints: Doubles) -> Doubles:
    """float64 (D,): width times height of what the points (D, K, 3) span, pycocotools' area of such a result."""
    if not keypoints.shape[1]:
        return np.zeros(len(keypoints))
    span = keypoints[..., :2].max(axis=1) - keypoints[..., :2].min(axis=1)
    return np.asarray(span[:, 0] * span[:, 1])
