"""Tracks, lines and zones on a picture."""

from __future__ import annotations

import numpy as np

from detkit.drawing import color_of
from detkit.drawing_tracks import DrawnTracks, draw_marks, draw_tracks


def test_a_track_has_a_colour_of_its_own_and_a_tail():
    image = np.zeros((200, 300, 3), np.uint8)
    boxes = np.array([[100.0, 60, 140, 160], [200.0, 60, 240, 160]])
    tails = [np.array([[20.0, 190.0], [60.0, 190.0], [120.0, 160.0]]), np.zeros((0, 2))]
    drawn = draw_tracks(image, DrawnTracks(boxes, np.array([3, 8]), ["person 3", "person 8"], tails))
    assert not image.any()
    assert tuple(drawn[110, 100]) == color_of(3)
    assert tuple(drawn[110, 200]) == color_of(8)
    assert np.allclose(drawn[190, 40], color_of(3), atol=60)  # the way it came, thin and smooth
    assert (drawn[170:, 180:] == 0).all()  # the second has none


def test_no_track_leaves_the_picture_as_it_is():
    image = np.full((50, 60, 3), 7, np.uint8)
    drawn = draw_tracks(image, DrawnTracks(np.zeros((0, 4)), np.zeros(0, np.int64), [], []))
    assert np.array_equal(drawn, image)


def test_marks_are_lines_and_zones():
    image = np.zeros((200, 300, 3), np.uint8)
    drawn = draw_marks(
        image, [([(10, 100), (290, 100)], "2 forward, 1 backward"), ([(50, 120), (90, 120), (90, 180)], "a: 1")]
    )
    assert drawn[100, 150].max() > 200
    assert drawn[150, 90].max() > 200
    assert drawn[60:96, 10:150].any()  # the text above the line
    assert not image.any()
