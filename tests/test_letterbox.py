import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detkit.graphs.letterbox import FITS, letterbox, place

sizes = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


@given(sizes, st.tuples(st.integers(32, 700), st.integers(32, 700)), st.sampled_from(FITS))
def test_undo_brings_every_box_back(source, size, fit):
    placement = place(source, size, fit)
    box = np.array([[0.1 * source[0], 0.2 * source[1], 0.9 * source[0], source[1]]])
    scale, offset = np.array(placement.scale * 2), np.array((placement.left, placement.top) * 2)
    np.testing.assert_allclose(placement.undo(box * scale + offset), box, rtol=1e-6, atol=1e-6)


@given(sizes, st.sampled_from(FITS))
def test_the_picture_lies_inside_its_input(source, fit):
    placement = place(source, (416, 320), fit)
    assert placement.left + placement.resized[0] <= 416
    assert placement.top + placement.resized[1] <= 320
    assert fit == "stretch" or max(placement.resized[0] / 416, placement.resized[1] / 320) > 0.99


def test_centred_letterbox_is_ultralytics_14285():
    # 640 x 426 in 320 x 320: 213 rows of picture, 107 of padding, the odd one below
    placement = place((640, 426), (320, 320), "center")
    assert (placement.resized, placement.left, placement.top) == ((320, 213), 0, 53)


def test_top_left_letterbox_is_yolox():
    placement = place((500, 375), (416, 416), "top-left")
    assert (placement.resized, placement.left, placement.top) == ((416, 312), 0, 0)


@pytest.mark.parametrize("fit", FITS)
def test_pixels_land_where_the_placement_says(fit):
    image = np.zeros((30, 60, 3), np.uint8)
    image[:, 30:] = 255
    canvas, placement = letterbox(image, (90, 90), fit, pad=7)
    assert canvas.shape == (90, 90, 3)
    inside = canvas[placement.top : placement.top + placement.resized[1], placement.left :][:, : placement.resized[0]]
    assert (inside[:, : placement.resized[0] // 2 - 2] == 0).all()
    assert (inside[:, placement.resized[0] // 2 + 2 :] == 255).all()
    assert (canvas == 7).all(axis=2).sum() == 90 * 90 - placement.resized[0] * placement.resized[1]


def test_a_picture_of_the_right_size_is_not_copied():
    image = np.zeros((64, 64, 3), np.uint8)
    assert letterbox(image, (64, 64))[0] is image
