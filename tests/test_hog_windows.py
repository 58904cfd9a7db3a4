"""Whether boxes suit a HOG window, and the window that would suit them."""

import numpy as np

from detkit.detectors.hog.hog_model import HogParameters
from detkit.training.hog_windows import Fit, advice, in_the_middle, shaped, whole_boxes

FIT = Fit(aspect=1.4, smallest=0.6, covered=0.5)


def boxes(*sizes):
    return np.array([(10, 10, 10 + width, 10 + height) for width, height in sizes], np.float64).reshape(-1, 4)


def test_the_paper_leaves_16_pixels_around_a_person():
    assert in_the_middle((64, 128)) == (16, 16, 48, 112)


def test_boxes_are_whole_inside_the_picture_and_not_hidden():
    some = np.array([(10, 10, 50, 50), (0, 10, 30, 40), (12, 12, 30, 30), (60, 10, 99, 40)], float)
    assert whole_boxes(some, (100, 100), 0.5).tolist() == [True, False, False, False]


def test_wide_objects_get_a_wide_window():
    """Dogs that lie: of a person's window nearly none suits."""
    wide = boxes(*[(140 + k, 100) for k in range(20)], (40, 100))
    whole = np.ones(21, bool)
    used = int(shaped(wide, in_the_middle((64, 128)), FIT).sum())
    assert used == 1
    said = advice(wide, whole, used, HogParameters(), FIT)
    assert said.startswith("1 of 21 boxes suit a window of 64 x 128; --hog window=")
    width, height = map(int, said.split("window=")[1].split(" would")[0].split("x"))
    assert width > height
    assert (width - 16) % 8 == (height - 16) % 8 == 0
    assert int(shaped(wide, in_the_middle((width, height)), FIT).sum()) == int(said.rsplit(" ", 1)[1]) == 20


def test_objects_of_every_shape_get_a_wider_aspect():
    rng = np.random.default_rng(0)
    any_shape = boxes(*zip(*(np.exp(rng.uniform(np.log(80), np.log(320), 200)) for _ in "wh"), strict=True))
    said = advice(any_shape, np.ones(200, bool), 10, HogParameters(), FIT)
    assert "--aspect 2 would use" in said


def test_nothing_is_said_where_boxes_suit_and_no_option_where_none_helps():
    assert advice(boxes((40, 100), (40, 100)), np.ones(2, bool), 1, HogParameters(), FIT) == ""
    assert advice(boxes(), np.ones(0, bool), 0, HogParameters(), FIT) == ""
    small = boxes(*[(6, 6)] * 10)
    said = advice(small, np.array([False] * 4 + [True] * 6), 0, HogParameters(), FIT)
    assert said == (
        "0 of 10 boxes suit a window of 64 x 128 (4 cut off, hidden or flagged); "
        "no window of about its size suits many more"
    )
