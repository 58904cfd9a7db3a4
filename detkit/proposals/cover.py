"""How well proposals cover the objects of an annotated data set, gathered picture by picture."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from detkit.annotations import read_ground_truth
from detkit.annotations.alignment import ImageMatcher
from detkit.boxes import Floats, xywh_to_xyxy
from detkit.proposals.quality import (
    COUNTS,
    OVERLAPS,
    average_best_overlap,
    average_recall,
    best_overlaps,
    mean_average_best_overlap,
    recall,
    recall_over_overlap,
)

logger = logging.getLogger("detkit")


class Cover:
    """The proposals of some pictures against the objects of `annotations`; `most` are looked at in a picture."""

    def __init__(self, annotations: str | os.PathLike[str], most: int) -> None:
        self.path = annotations
        self._truth = read_ground_truth(annotations)
        self._rows = self._truth.rows_by_image()
        self._matcher = ImageMatcher(self._truth.images)
        self._counted = ~(self._truth.crowd | self._truth.ignore | self._truth.difficult)
        self._corners = xywh_to_xyxy(self._truth.boxes)
        self.counts = [*(count for count in COUNTS if count < most), most]
        self._best: list[Any] = [np.zeros((0, len(self.counts)))]
        self._classes: list[Any] = [np.zeros(0, np.int64)]
        self._unknown = 0

    def _of(self, file: str) -> Any:
        """The rows of a picture's objects, None for a picture that the annotations do not hold."""
        image = self._matcher.by_file(file)
        if image < 0:
            return None
        rows = self._rows[image]
        return rows[self._counted[rows]]

    def objects(self, file: str) -> Floats | None:
        """Boxes (G, 4) xyxy of a picture, None for a picture that the annotations do not hold."""
        rows = self._of(file)
        return None if rows is None else self._corners[rows]

    def add(self, file: str, boxes: Any) -> None:
        """The proposals (N, 4) xyxy of a picture, best first."""
        rows = self._of(file)
        if rows is None:
            self._unknown += 1
            return
        found = np.array(boxes, np.float64).reshape(-1, 4)
        self._best.append(best_overlaps(found, self._corners[rows], self.counts))
        self._classes.append(self._truth.class_index[rows])

    def lines(self) -> Iterator[str]:
        """The figures as lines for people: recall, ABO and MABO over the number of proposals, recall over overlap."""
        if self._unknown:
            logger.warning("%d pictures are not in %s and do not count in the figures", self._unknown, self.path)
        best, classes = np.concatenate(self._best), np.concatenate(self._classes)
        if len(best) == 0:
            logger.warning("%s has no objects in these pictures: there are no figures", self.path)
            return
        yield f"{len(best)} objects in {len(self._best) - 1} pictures"
        yield "proposals  recall at 0.5  at 0.7  average recall     ABO    MABO"
        figures = zip(
            self.counts, recall(best, 0.5), recall(best, 0.7), average_recall(best), average_best_overlap(best),
            mean_average_best_overlap(best, classes), strict=True,
        )  # fmt: skip
        for count, half, more, average, abo, mabo in figures:
            yield f"{count:9d}  {half:13.4f}  {more:6.4f}  {average:14.4f}  {abo:6.4f}  {mabo:6.4f}"
        over = zip(OVERLAPS, recall_over_overlap(best)[:, -1], strict=True)
        yield f"recall over overlap, first {self.counts[-1]} proposals:"
        yield "  " + "  ".join(f"{overlap:.2f}: {value:.4f}" for overlap, value in over)
