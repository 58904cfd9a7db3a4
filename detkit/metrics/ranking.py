"""The order in which a precision-recall curve goes through the detections of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from detkit.dataset import Predictions

Integers = NDArray[np.integer]


@dataclass(frozen=True)
class Ranking:
    """N detections by class, then by falling score; equal scores by image, then in the order of the file.

    rows         int64 (N,), rows of the `Predictions` they come from
    image, class_index   int64 (N,)
    place        int64 (N,), 0 for the best detection of its image and class, 1 for the second ...
    scores       float64 (N,)
    starts       int64 (K + 1,), class k is `starts[k]:starts[k + 1]`
    found        the `Predictions`

    A detection's *position* is its index here. Within an image and class the positions rise as the scores fall,
    so a position is also the priority of a detection in greedy matching.
    """

    rows: NDArray[np.int64]
    image: NDArray[np.int64]
    class_index: NDArray[np.int64]
    place: NDArray[np.int64]
    scores: NDArray[np.float64]
    starts: NDArray[np.int64]
    found: Predictions

    @cached_property
    def boxes(self) -> NDArray[np.float64]:
        """float64 (N, 4), x, y, width, height in pixels."""
        return self.found.boxes.take(self.rows, axis=0)

    @cached_property
    def areas(self) -> NDArray[np.float64]:
        """float64 (N,), of the shapes where they have any, else width * height, in square pixels."""
        if self.found.shapes.areas is not None:
            return self.found.shapes.areas.take(self.rows)
        return (self.found.boxes[:, 2] * self.found.boxes[:, 3]).take(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def sorted_order(ids: Sequence[int | str]) -> NDArray[np.int64]:
    """Positions (I,) of `ids` in rising order, numbers before strings: pycocotools' order of images and classes."""
    try:
        return np.argsort(np.array(ids, dtype=np.int64), kind="stable") if _all_numbers(ids) else _mixed_order(ids)
    except OverflowError:
        return _mixed_order(ids)


def _all_numbers(ids: Sequence[int | str]) -> bool:
    return set(map(type, ids)) <= {int}


def _mixed_order(ids: Sequence[int | str]) -> NDArray[np.int64]:
    order = sorted(range(len(ids)), key=lambda row: (isinstance(ids[row], str), ids[row]))
    return np.array(order, dtype=np.int64)


def stable_order(values: Integers, bound: int) -> NDArray[np.int64]:
    """Stable ascending order (N,) of integers in [0, bound).

    Narrowed to 16 bits where they fit, because there numpy's stable sort is a radix sort: linear in N.
    """
    narrow = values.astype(np.uint16) if bound <= 1 << 16 else values
    return np.argsort(narrow, kind="stable")


def falling_order(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Stable order (N,) of finite doubles from the highest down: a radix sort over their four 16-bit digits."""
    bits = (scores + 0.0).view(np.uint64)  # + 0.0 makes -0.0 the 0.0 that it equals
    sign = np.uint64(1 << 63)
    keys = np.where(bits & sign, bits, ~(bits | sign))  # rises as the score falls
    order = np.arange(len(scores))
    for shift in (0, 16, 32, 48):
        digit = (keys >> np.uint64(shift)).astype(np.uint16)
        if digit.size and (digit != digit[0]).any():
            order = order.take(np.argsort(digit.take(order), kind="stable"))
    return order


def rank(
    predictions: Predictions,
    image_ids: Sequence[int | str],
    class_count: int,
    *,
    max_det: int | None = None,
    min_score: float | None = None,
    one_class: bool = False,
) -> Ranking:
    """The `Ranking` of `predictions`, O(D log D).

    image_ids   ids of the I images, which order detections of the same score
    max_det     keep the best so many of each image and class (COCO's maxDets)
    min_score   keep detections of at least this score
    one_class   rank all classes together: one class of number 0, and `max_det` counts per image
    """
    image = predictions.image_index.astype(np.int64, copy=False)
    classes = predictions.class_index.astype(np.int64, copy=False)
    if one_class:
        classes, class_count = np.zeros_like(classes), 1
    rows = np.arange(len(predictions))
    if min_score is not None:
        rows = rows[predictions.scores >= min_score]

    order = sorted_order(image_ids)
    image_rank = np.empty(len(order), dtype=np.int64)
    image_rank[order] = np.arange(len(order))
    ranks = image_rank.take(image.take(rows))
    if np.any(ranks[1:] < ranks[:-1]):
        rows = rows.take(stable_order(ranks, len(order)))

    # least significant key first: image (done), score, class
    rows = rows.take(falling_order(predictions.scores.take(rows)))
    rows = rows.take(stable_order(classes.take(rows), class_count))
    place = _places(image.take(rows), classes.take(rows), len(image_ids))
    if max_det is not None and len(place) and place.max() >= max_det:
        kept = place < max_det
        rows, place = rows[kept], place[kept]
    counts = np.bincount(classes.take(rows), minlength=class_count)
    return Ranking(
        rows,
        image.take(rows),
        classes.take(rows),
        place,
        predictions.scores.take(rows),
        np.concatenate(([0], np.cumsum(counts))),
        predictions,
    )


def _places(image: NDArray[np.int64], classes: NDArray[np.int64], image_count: int) -> NDArray[np.int64]:
    """For detections in ranking order, how many of the same image and class come before each, (N,)."""
    by_image = stable_order(image, image_count)  # within an image still by class, then by score
    cell_image, cell_class = image.take(by_image), classes.take(by_image)
    first = np.ones(len(image), dtype=bool)
    first[1:] = (cell_image[1:] != cell_image[:-1]) | (cell_class[1:] != cell_class[:-1])
    index = np.arange(len(image))
    starts = index[first]
    place = np.empty(len(image), dtype=np.int64)
    place[by_image] = index - np.repeat(starts, np.diff(np.append(starts, len(image))))
    return place
