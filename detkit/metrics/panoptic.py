"""Panoptic quality (Kirillov et al., "Panoptic Segmentation", 2019), by the rules of COCO's panopticapi.

PQ = sum of IoU over matched segments / (TP + FP / 2 + FN / 2) = SQ * RQ, for each class; then the mean over the classes
that occur. A predicted and a true segment of one class match where their IoU is above 0.5, which no two can be with
one segment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError
from detkit.metrics.average_precision import mean_defined
from detkit.metrics.semantic import Labels, count_pairs

VOID = 0


@dataclass(frozen=True)
class Segments:
    """The segments of one picture, S of them.

    labels       whole numbers (H, W), the id of each pixel's segment, 0 for none
    ids          int64 (S,);  class_index int64 (S,);  crowd bool (S,)
    """

    labels: Labels
    ids: NDArray[np.int64]
    class_index: NDArray[np.int64]
    crowd: NDArray[np.bool_]


@dataclass(frozen=True)
class PanopticCounts:
    """By class, K of them: int64 true positives, false positives, false negatives, and float64 sums of IoU."""

    hits: NDArray[np.int64]
    false: NDArray[np.int64]
    missed: NDArray[np.int64]
    iou: NDArray[np.float64]

    @classmethod
    def zero(cls, classes: int) -> PanopticCounts:
        """Nothing counted yet."""
        hits, false, missed = np.zeros((3, classes), np.int64)
        return cls(hits, false, missed, np.zeros(classes))

    def __add__(self, other: PanopticCounts) -> PanopticCounts:
        return PanopticCounts(
            self.hits + other.hits, self.false + other.false, self.missed + other.missed, self.iou + other.iou
        )


def panoptic_counts(truth: Segments, found: Segments, classes: int) -> PanopticCounts:
    """What one picture adds.

    A crowd matches nothing and is never missed. Pixels without a true segment count for no union; a predicted segment
    that lies for more than half on such pixels, or on a crowd of its class (of several in a picture the last one, as
    panopticapi has it), is not false.

    InputError where sizes differ, or ids of the map and of the list do not agree.
    """
    if truth.labels.shape != found.labels.shape:
        raise InputError(
            f"segments of {found.labels.shape} pixels cannot be compared with true ones of {truth.labels.shape}"
        )
    pairs, pixels = count_pairs(truth.labels, found.labels)
    true_row = _rows(truth, pairs[:, 0], "the true segments")
    row = _rows(found, pairs[:, 1], "the predicted segments")
    true_area = _pixels(true_row, pixels, truth, "true")
    area = _pixels(row, pixels, found, "predicted")
    on_void = np.zeros(len(found.ids), np.int64)
    bare = (true_row < 0) & (row >= 0)
    np.add.at(on_void, row[bare], pixels[bare])

    both = np.flatnonzero((true_row >= 0) & (row >= 0))
    g, p, common = true_row[both], row[both], pixels[both]
    alike = truth.class_index[g] == found.class_index[p]
    iou = common / (area[p] + true_area[g] - common - on_void[p])
    match = alike & ~truth.crowd[g] & (iou > 0.5)

    missed = ~truth.crowd
    missed[g[match]] = False
    crowd_of = np.full(classes, -1)
    crowd_of[truth.class_index[truth.crowd]] = np.flatnonzero(truth.crowd)
    spared = on_void.copy()
    on_crowd = crowd_of[found.class_index[p]] == g
    np.add.at(spared, p[on_crowd], common[on_crowd])
    false = spared <= 0.5 * area
    false[p[match]] = False
    result = PanopticCounts.zero(classes)
    np.add.at(result.hits, found.class_index[p[match]], 1)
    np.add.at(result.iou, found.class_index[p[match]], iou[match])
    np.add.at(result.false, found.class_index[false], 1)
    np.add.at(result.missed, truth.class_index[missed], 1)
    return result


@dataclass(frozen=True)
class PanopticResult:
    """Figures of the counts of all pictures; shares from 0 to 1, -1 where undefined.

    thing   bool (K,), the classes of countable things; the others are stuff
    """

    counts: PanopticCounts
    thing: NDArray[np.bool_]

    def by_class(self) -> dict[str, NDArray[np.float64]]:
        """PQ, SQ and RQ of each class, float64 (K,): -1 for one that has no segment."""
        hits = self.counts.hits
        weight = hits + self.counts.false / 2 + self.counts.missed / 2
        occurs = weight > 0
        nothing = np.where(occurs, 0.0, -1.0)
        return {
            "PQ": np.divide(self.counts.iou, weight, out=nothing.copy(), where=occurs),
            "SQ": np.divide(self.counts.iou, hits, out=nothing.copy(), where=hits > 0),
            "RQ": np.divide(hits, weight, out=nothing.copy(), where=occurs),
        }

    @property
    def figures(self) -> dict[str, float]:
        """Means over the classes that occur: of all, of things (PQ_things ...) and of stuff."""
        table = self.by_class()
        parts: Iterable[tuple[str, NDArray[np.bool_]]] = (
            ("", np.ones_like(self.thing)),
            ("_things", self.thing),
            ("_stuff", ~self.thing),
        )
        return {name + part: mean_defined(values[some]) for part, some in parts for name, values in table.items()}


def _rows(segments: Segments, labels: NDArray[np.int64], what: str) -> NDArray[np.int64]:
    """The row of each label in the list of segments, -1 for pixels without a segment."""
    order = np.argsort(segments.ids, kind="stable")
    ids = segments.ids[order]
    if len(ids) and ((ids[1:] == ids[:-1]).any() or (ids == VOID).any()):
        raise InputError(f"{what} need ids that differ and are not {VOID}")
    place = np.searchsorted(ids, labels)
    known = place < len(ids)
    known[known] = ids[place[known]] == labels[known]
    strange = ~known & (labels != VOID)
    if strange.any():
        raise InputError(f"the id {labels[strange][0]} of the map is not among {what}")
    rows = np.full(len(labels), -1)
    rows[known] = order[place[known]]
    return rows


def _pixels(rows: NDArray[np.int64], pixels: NDArray[np.int64], segments: Segments, what: str) -> NDArray[np.int64]:
    area = np.zeros(len(segments.ids), np.int64)
    np.add.at(area, rows[rows >= 0], pixels[rows >= 0])
    if (area == 0).any():
        raise InputError(f"the {what} segment {segments.ids[area == 0][0]} has no pixel in its map")
    return area
