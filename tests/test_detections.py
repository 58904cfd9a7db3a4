import numpy as np
import pytest

from detkit import Detections
from detkit.errors import InputError


def some():
    return Detections(np.array([[0, 0, 4, 4], [1, 1, 9, 9], [2, 2, 3, 3]]), [0.2, 0.9, 0.5], [1, 0, 7], ("cat", "dog"))


def test_arrays_are_checked_against_each_other():
    with pytest.raises(InputError, match=r"scores must have shape \(1,\).*got \(2,\)"):
        Detections(np.zeros((1, 4)), [0.1, 0.2], [0])


def test_dtypes_and_shapes_are_those_promised():
    detections = some()
    assert detections.boxes.dtype == np.float32
    assert detections.boxes.shape == (3, 4)
    assert detections.class_ids.dtype == np.int64


def test_empty_is_a_real_one():
    empty = Detections.empty(["cat"])
    assert len(empty) == 0
    assert empty.boxes.shape == (0, 4)
    assert empty.names == ("cat",)
    assert len(empty.sorted()) == 0


def test_selection_keeps_rows_together():
    best = some()[some().scores > 0.4]
    assert best.scores.tolist() == pytest.approx([0.9, 0.5])
    assert best.class_names == ["cat", "7"]
    assert some()[1].boxes.tolist() == [[1, 1, 9, 9]]
    assert [row.class_names[0] for row in some()] == ["dog", "cat", "7"]


def test_sorted_and_concatenated():
    both = Detections.concatenate([some(), some()])
    assert len(both) == 6
    assert both.sorted().scores.tolist() == pytest.approx([0.9, 0.9, 0.5, 0.5, 0.2, 0.2])
    assert Detections.concatenate([]) == Detections.empty()


def test_it_cannot_be_changed():
    with pytest.raises(AttributeError):
        some().scores = np.zeros(3)  # type: ignore[misc]


def test_clip_cuts_at_the_picture():
    assert some().clip(3, 5).boxes.tolist() == [[0, 0, 3, 4], [1, 1, 3, 5], [2, 2, 3, 3]]
