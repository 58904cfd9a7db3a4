"""Tables of a data set, filtered."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from detkit.dataset import PER_ROW, Categories, GroundTruth, Images, Predictions
from detkit.shapes.shape_columns import Shapes


def truth() -> GroundTruth:
    boxes = np.arange(20, dtype=np.float64).reshape(5, 4)
    no = np.zeros(5, bool)
    return GroundTruth(
        Images((7, "b", 9), ("7.jpg", "b.jpg", ""), np.array([10, 20, 30]), np.array([11, 21, 31])),
        Categories(("cat", "dog", "cow"), (3, 1, 2), given=True),
        np.array([0, 2, 1, 0, 2]), np.array([0, 1, 2, 1, 0]), boxes, boxes[:, 0],
        np.arange(5) == 1, no, no, no, np.arange(5) == 4, (5, 6, 7, 8, "x"), "coco", {"segmentation": 2},
        Shapes(corners=np.arange(40.0).reshape(5, 4, 2)), scores=(0.1, 0.2, 0.3, 0.4, 0.5),
    )  # fmt: skip


def test_rows_are_taken_of_every_column() -> None:
    whole = truth()
    for rows in (np.array([True, False, False, True, True]), [0, 3, 4]):
        some = whole[rows]
        for one in fields(whole):
            if one.name == "shapes":
                assert some.shapes.corners is not None
                assert some.shapes.corners[:, 0, 0].tolist() == [0, 24, 32]
            elif one.metadata.get("rows"):
                assert list(map(str, getattr(some, one.name))) == [
                    str(getattr(whole, one.name)[row]) for row in (0, 3, 4)
                ]
            else:
                assert getattr(some, one.name) is getattr(whole, one.name)
    assert whole[[4, 0, 4]].ids == ("x", 5, "x")
    assert len(whole[np.zeros(5, bool)]) == 0
    assert whole[[]].boxes.shape == (0, 4)
    assert replace(whole, ids=())[[1, 2]].ids == ()


def test_classes_and_images_are_numbered_anew() -> None:
    some = truth().of_classes([2, 0])
    assert some.categories == Categories(("cow", "cat"), (2, 3), given=True)
    assert some.class_index.tolist() == [1, 0, 1]
    assert some.ids == (5, 7, "x")
    assert some.unread == {"segmentation": 2}
    part = truth().of_images([2, 0])
    assert (part.images.ids, part.images.files) == ((9, 7), ("", "7.jpg"))
    assert part.images.widths.tolist() == [30, 10]
    assert part.image_index.tolist() == [1, 0, 1, 0]
    found = Predictions(np.array([0, 1, 2]), np.array([2, 1, 5]), np.zeros((3, 4)), np.array([0.1, 0.2, 0.3]))
    assert found.of_classes([1, 2]).class_index.tolist() == [1, 0]
    assert found.of_classes([1, 2]).scores.tolist() == [0.1, 0.2]
    assert found.of_images([1]).image_index.tolist() == [0]
    assert len(found[[]].of_classes([0])) == 0


@dataclass(frozen=True)
class Tracked(Predictions):
    """What a later table may look like."""

    tracks: NDArray[np.int64] = field(default=(), metadata=PER_ROW)


def test_a_new_column_is_one_field() -> None:
    found = Tracked(
        np.array([0, 1]), np.array([0, 1]), np.zeros((2, 4)), np.array([0.5, 0.6]), tracks=np.array([11, 12])
    )
    assert found.of_images([1]).tracks.tolist() == [12]
    assert found.of_classes([1])[[0, 0]].tracks.tolist() == [12, 12]
