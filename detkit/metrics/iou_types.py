"""What overlaps: boxes, masks, boundaries of masks, key points, turned boxes; one row of a table for each.

The matching and the figures are the same for all. An `Overlap` says which pairs of a detection and a true object
overlap and by how much, what areas decide the ranges of areas, which true objects do not count, and which figures its
protocol has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detkit.dataset import GroundTruth, Predictions
from detkit.errors import InputError
from detkit.metrics import keypoints
from detkit.metrics.average_precision import mean_defined
from detkit.metrics.mask_overlaps import boundary_pairs, mask_pairs
from detkit.metrics.overlaps import Pairs, overlapping_pairs
from detkit.metrics.turned_overlaps import turned_pairs
from detkit.shapes.shape_columns import Shapes
from detkit.shapes.turned_boxes import area as quadrangle_area


@dataclass(frozen=True)
class Side:
    """Rows to be compared, C of them, of one of the two tables (N rows).

    cells    int64 (C,), what may be compared: only rows of equal numbers are
    rows     int64 (C,), rows of the columns below
    boxes    float64 (N, 4), x, y, width, height;  areas float64 (N,);  shapes of N rows
    """

    cells: NDArray[np.int64]
    rows: NDArray[np.int64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    shapes: Shapes

    @classmethod
    def of_truth(cls, truth: GroundTruth, cells: NDArray[np.int64], rows: NDArray[np.int64] | None = None) -> Side:
        """True objects `rows` (C,), or all."""
        rows = np.arange(len(truth)) if rows is None else rows
        return cls(cells, rows, truth.boxes, truth.areas, truth.shapes)

    @classmethod
    def of_found(cls, found: Predictions, cells: NDArray[np.int64], rows: NDArray[np.int64]) -> Side:
        """Detections `rows` (C,)."""
        return cls(cells, rows, found.boxes, np.zeros(0), found.shapes)


@dataclass(frozen=True)
class Figure:
    """One figure of a protocol: a mean of precision or recall over what is not fixed here.

    threshold   the overlap, or None for the mean over all;  area   place of its range in `coco.AREA_RANGES`
    limit       place in the limits of detections an image; the last one for precision
    """

    name: str
    recall: bool
    threshold: float | None = None
    area: int = 0
    limit: int = 2

    def of(self, precision: NDArray[np.float64], recall: NDArray[np.float64], thresholds: NDArray[np.float64]) -> float:
        """The value from precision (T, R, K, A) and recall (T, K, A, M), -1 where nothing defines it."""
        some = slice(None) if self.threshold is None else thresholds == self.threshold
        if self.recall:
            return mean_defined(recall[some, :, self.area, self.limit])
        return mean_defined(precision[some, :, :, self.area])


@dataclass(frozen=True)
class Overlap:
    """A kind of overlap, a row of `OVERLAPS`.

    name        what `--iou-type` calls it;  needs   the column of `Shapes` that both tables must have, "" for none
    pairs       (found, truth, crowd (C,), least overlap) -> pairs of positions in the two sides
    figures     of its protocol;  max_dets   limits of detections per image and class
    who         whose figures these are
    """

    name: str
    needs: str
    pairs: Callable[[Side, Side, NDArray[np.bool_], float], Pairs]
    figures: tuple[Figure, ...]
    max_dets: tuple[int, int, int] = (1, 10, 100)
    who: str = "pycocotools"

    def found_areas(self, boxes: NDArray[np.float64], shapes: Shapes) -> NDArray[np.float64]:
        """float64 (D,): the areas of detections that decide in which range they belong."""
        if shapes.areas is not None:
            return shapes.areas
        if self.needs == "masks" and shapes.masks is not None:
            return shapes.masks.areas.astype(np.float64)
        if self.needs == "keypoints" and shapes.keypoints is not None:
            return keypoints.extent_areas(shapes.keypoints)
        if self.needs == "corners" and shapes.corners is not None:
            return quadrangle_area(shapes.corners)
        return np.asarray(boxes[:, 2] * boxes[:, 3])

    def not_counted(self, shapes: Shapes, count: int) -> NDArray[np.bool_]:
        """bool (M,): true objects that do not count besides crowds and ignored ones: those without a key point."""
        if self.needs == "keypoints" and shapes.keypoints is not None:
            return np.asarray(~(shapes.keypoints[..., 2] > 0).any(axis=1))
        return np.zeros(count, bool)

    def check(self, shapes: Shapes, what: str) -> None:
        """InputError where a table, which `what` names, lacks what is to be compared."""
        if self.needs and getattr(shapes, self.needs) is None:
            name = {"masks": "masks", "keypoints": "key points", "corners": "turned boxes"}[self.needs]
            raise InputError(f"{what} hold no {name}, which --iou-type {self.name} compares")

    def summarize(
        self, precision: NDArray[np.float64], recall: NDArray[np.float64], thresholds: NDArray[np.float64]
    ) -> dict[str, float]:
        """The figures by name, from precision (T, R, K, A) and recall (T, K, A, M)."""
        return {figure.name: figure.of(precision, recall, thresholds) for figure in self.figures}


def overlap_of(truth: GroundTruth) -> Overlap:
    """What is compared with these true objects."""
    return OVERLAPS[truth.iou_type]


def prepared(truth: GroundTruth, found: Predictions, iou_type: str) -> tuple[GroundTruth, Predictions]:
    """Both tables for the figures of `--iou-type`: areas of detections are set, what does not count is ignored.

    InputError where either lacks what is to be compared.
    """
    overlap = OVERLAPS[iou_type]
    overlap.check(truth.shapes, "the annotations")
    overlap.check(found.shapes, "the detections")
    if iou_type == "bbox":
        return truth, found
    ignore = truth.ignore | overlap.not_counted(truth.shapes, len(truth))
    areas = overlap.found_areas(found.boxes, found.shapes)
    return (
        replace(truth, iou_type=iou_type, ignore=ignore),
        replace(found, shapes=replace(found.shapes, areas=areas)),
    )


def _boxes(found: Side, truth: Side, crowd: NDArray[np.bool_], least: float) -> Pairs:
    return overlapping_pairs(
        found.cells, found.boxes, truth.cells, truth.boxes[truth.rows], crowd, least, rows=found.rows
    )


def _masks(found: Side, truth: Side, crowd: NDArray[np.bool_], least: float) -> Pairs:
    assert found.shapes.masks is not None
    assert truth.shapes.masks is not None
    return mask_pairs(found.cells, found.shapes.masks, truth.cells, truth.shapes.masks, crowd, least,
                      rows=(found.rows, truth.rows))  # fmt: skip


def _boundaries(found: Side, truth: Side, crowd: NDArray[np.bool_], least: float) -> Pairs:
    assert found.shapes.masks is not None
    assert truth.shapes.masks is not None
    return boundary_pairs(found.cells, found.shapes.masks, truth.cells, truth.shapes.masks, crowd, least,
                          rows=(found.rows, truth.rows))  # fmt: skip


def _keypoints(found: Side, truth: Side, crowd: NDArray[np.bool_], least: float) -> Pairs:
    assert found.shapes.keypoints is not None
    assert truth.shapes.keypoints is not None
    targets = keypoints.Targets(truth.shapes.keypoints[truth.rows], truth.boxes[truth.rows], truth.areas[truth.rows])
    return keypoints.keypoint_pairs(found.cells, found.shapes.keypoints, found.rows, truth.cells, targets, least)


def _corners(found: Side, truth: Side, crowd: NDArray[np.bool_], least: float) -> Pairs:
    assert found.shapes.corners is not None
    assert truth.shapes.corners is not None
    return turned_pairs(found.cells, found.shapes.corners[found.rows], truth.cells,
                        truth.shapes.corners[truth.rows], crowd, least)  # fmt: skip


_TWELVE = (
    Figure("AP", False),
    Figure("AP50", False, 0.5),
    Figure("AP75", False, 0.75),
    Figure("APs", False, area=1),
    Figure("APm", False, area=2),
    Figure("APl", False, area=3),
    Figure("AR1", True, limit=0),
    Figure("AR10", True, limit=1),
    Figure("AR100", True),
    Figure("ARs", True, area=1),
    Figure("ARm", True, area=2),
    Figure("ARl", True, area=3),
)
# COCO's key point protocol: no small objects, one limit.
_TEN = (
    Figure("AP", False),
    Figure("AP50", False, 0.5),
    Figure("AP75", False, 0.75),
    Figure("APm", False, area=2),
    Figure("APl", False, area=3),
    Figure("AR", True),
    Figure("AR50", True, 0.5),
    Figure("AR75", True, 0.75),
    Figure("ARm", True, area=2),
    Figure("ARl", True, area=3),
)

OVERLAPS = {
    overlap.name: overlap
    for overlap in (
        Overlap("bbox", "", _boxes, _TWELVE),
        Overlap("segm", "masks", _masks, _TWELVE),
        Overlap("boundary", "masks", _boundaries, _TWELVE, who="faster-coco-eval"),
        Overlap("keypoints", "keypoints", _keypoints, _TEN, (1, 10, 20)),
        Overlap("obb", "corners", _corners, _TWELVE, who=""),
    )
}
