import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detkit import boxes
from detkit.errors import InputError

corners = arrays(np.float64, (5, 2), elements=st.floats(0, 1000))
sides = arrays(np.float64, (5, 2), elements=st.floats(0, 500))


def slow_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / union if union > 0 else 0.0


@given(corners, sides, corners, sides)
def test_iou_is_that_of_the_obvious_loop(corner_a, side_a, corner_b, side_b):
    a, b = np.hstack((corner_a, corner_a + side_a)), np.hstack((corner_b, corner_b + side_b))
    expected = [[slow_iou(one, other) for other in b] for one in a]
    np.testing.assert_allclose(boxes.iou(a, b), expected, rtol=1e-9, atol=1e-12)


def test_two_empty_boxes_have_no_overlap():
    empty = np.array([[5.0, 5.0, 5.0, 5.0]])
    assert boxes.iou(empty, empty)[0, 0] == 0
    assert boxes.iou_over_first(empty, empty)[0, 0] == 0


def test_overlap_over_first_is_that_of_crowd_regions():
    inside, region = np.array([[2.0, 2.0, 4.0, 4.0]]), np.array([[0.0, 0.0, 10.0, 10.0]])
    assert boxes.iou_over_first(inside, region)[0, 0] == 1
    assert boxes.iou_over_first(region, inside)[0, 0] == pytest.approx(0.04)


def test_diou_of_zheng_2020_by_hand():
    a, b = np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([[1.0, 0.0, 3.0, 2.0]])
    # IoU 2 / 6; centres 1 apart; the enclosing box is 3 x 2
    assert boxes.diou(a, b)[0, 0] == pytest.approx(1 / 3 - 1 / 13)


@given(corners, sides)
def test_layouts_round_trip(corner, side):
    xyxy = np.hstack((corner, corner + side))
    np.testing.assert_allclose(boxes.cxcywh_to_xyxy(boxes.xyxy_to_cxcywh(xyxy)), xyxy, atol=1e-9)
    np.testing.assert_allclose(boxes.xywh_to_xyxy(boxes.xyxy_to_xywh(xyxy)), xyxy, atol=1e-9)


def test_distances_to_sides():
    found = boxes.distances_to_xyxy(np.array([[10.0, 20.0]]), np.array([[1.0, 2.0, 3.0, 4.0]]))
    assert found.tolist() == [[9, 18, 13, 24]]


def test_shapes_are_checked():
    assert boxes.as_boxes([]).shape == (0, 4)
    with pytest.raises(InputError, match=r"\(N, 4\), got \(2, 3\)"):
        boxes.as_boxes([[1, 2, 3], [4, 5, 6]])


def test_clip():
    assert boxes.clip(np.array([[-5.0, 2.0, 50.0, 9.0]]), 20, 8).tolist() == [[0, 2, 20, 8]]
