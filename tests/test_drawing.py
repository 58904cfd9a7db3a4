import numpy as np
import pytest

from detkit import Detections, draw
from detkit.drawing import color_of, crops

COCO_NAMES = tuple(f"class {number}" for number in range(80))


def test_a_copy_is_drawn_on_with_the_box_on_its_border():
    image = np.full((200, 300, 3), 90, np.uint8)
    detections = Detections([[100, 80, 200, 160]], [0.9], [16], COCO_NAMES)
    drawn = draw(image, detections)
    assert (image == 90).all()
    assert tuple(drawn[120, 100]) == color_of(16)
    assert (drawn[120, 150] == 90).all()


def test_lines_and_letters_grow_with_the_picture():
    small, large = np.zeros((480, 640, 3), np.uint8), np.zeros((2160, 3840, 3), np.uint8)
    shares = np.array([[0.3, 0.5, 0.6, 0.9]], np.float32)
    painted = []
    for image in (small, large):
        height, width = image.shape[:2]
        detections = Detections(shares * [width, height, width, height], [0.5], [0], COCO_NAMES)
        painted.append((draw(image, detections) != 0).any(axis=2).mean())
    assert painted[1] == pytest.approx(painted[0], rel=0.35)


def test_eighty_classes_have_eighty_colours():
    colors = np.array([color_of(class_id) for class_id in range(80)], float)
    distances = np.abs(colors[:, None] - colors[None]).sum(axis=2) + 1e9 * np.eye(80)
    assert distances.min() > 15


@pytest.mark.parametrize("box", [[0, 0, 5, 5], [-50, -50, 400, 400], [290, 190, 300, 200], [10, 10, 10, 10]])
def test_labels_stay_inside_the_picture(box):
    detections = Detections([box], [0.9], [60], COCO_NAMES)
    assert draw(np.zeros((200, 300, 3), np.uint8), detections).any()


def test_a_tiny_picture_and_no_boxes():
    assert draw(np.zeros((3, 3, 3), np.uint8), Detections([[0, 0, 2, 2]], [0.9], [0])).shape == (3, 3, 3)
    assert not draw(np.zeros((30, 30, 3), np.uint8), Detections.empty()).any()


def test_crops_are_the_pixels_of_the_boxes():
    image = np.arange(200 * 300 * 3, dtype=np.uint32).reshape(200, 300, 3).astype(np.uint8)
    detections = Detections([[10.5, 20.2, 30.1, 40.9], [-5, 0, 3, 2], [50, 50, 50, 50]], [0.5, 0.9, 0.7], [0, 1, 0],
                            ("hot dog/bun", "b"))  # fmt: skip
    found = dict(crops(image, detections))
    assert sorted(found) == ["001-b", "003-hot-dog-bun"]  # the empty one is left out
    assert np.array_equal(found["003-hot-dog-bun"], image[20:41, 10:31])
    assert np.array_equal(found["001-b"], image[0:2, 0:3])
