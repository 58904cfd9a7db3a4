"""Tiles: where they lie, what their seams cut, and detectors over them. A toy detector finds rectangles by colour."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detkit import Detections, Tiled, Yolo, read_image
from detkit.detectors.base import Detector
from detkit.detectors.seams import View, merged
from detkit.detectors.selection import Selection
from detkit.detectors.tiles import Tiling, meeting, shrunk
from detkit.errors import InputError, UsageError
from detkit.shapes.masks import Masks


class Colours(Detector):
    """Finds each colour but black, as its red value's class, with a mask, corners, and a point in each corner.

    only   pictures of another size are empty to it
    """

    names = tuple(f"red {number}" for number in range(256))

    def __init__(self, only=None, score=lambda box: 0.9, batch=1, selection=Selection()):
        self.only, self.score, self.batch, self.selection = only, score, batch, selection
        self.seen = []

    def prepare(self, image, name=""):
        return image

    def detect(self, prepared):
        self.seen.append([picture.shape for picture in prepared])
        return [self._one(picture) for picture in prepared]

    def _one(self, picture):
        codes = picture.astype(int) @ (1 << 16, 1 << 8, 1)
        boxes, classes, masks, points = [], [], [], []
        for code in np.unique(codes[codes > 0]) if self.only in (None, picture.shape[:2]) else ():
            mask = codes == code
            (y1, y2), (x1, x2) = np.flatnonzero(mask.any(1))[[0, -1]], np.flatnonzero(mask.any(0))[[0, -1]]
            boxes.append((x1, y1, x2 + 1, y2 + 1))
            classes.append(code >> 16)
            masks.append(mask)
            points.append([(x1, y1, 0.6), (x2, y2, 0.8)])
        if not boxes:
            return Detections.empty(self.names)
        boxes = np.array(boxes, np.float32)
        corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
        scores = [self.score(box) for box in boxes]
        return Detections(boxes, scores, classes, self.names, Masks.from_dense(masks), np.array(points), corners)


def painted(width, height, rectangles):
    """A black picture with rectangles (x1, y1, x2, y2, class), each of a colour of its own."""
    picture = np.zeros((height, width, 3), np.uint8)
    for number, (x1, y1, x2, y2, red) in enumerate(rectangles):
        picture[y1:y2, x1:x2] = red, number // 250 + 1, number % 250 + 1
    return picture


def rows(found):
    return sorted(
        (*(round(float(side), 3) + 0.0 for side in box), int(one))
        for box, one in zip(found.boxes, found.class_ids, strict=True)
    )


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5000), st.integers(32, 700), st.floats(0, 0.75))
def test_tiles_cover_a_side_evenly_and_overlap_enough(length, tile, overlap):
    starts = Tiling(tile, overlap).starts(length)
    assert starts[0] == 0
    assert starts[-1] == max(length - tile, 0)
    steps = np.diff(starts)
    assert (steps <= tile - round(tile * overlap)).all()
    assert (steps > 0).all()
    assert steps.max(initial=0) - steps.min(initial=10**6) <= 1 or len(steps) < 2


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.floats(0, 0.75))
def test_meeting_tiles_are_those_that_touch(width, height, overlap):
    rects = Tiling(64, overlap).rects(width, height)
    slow = {
        (i, j)
        for i, a in enumerate(rects)
        for j, b in enumerate(rects)
        if i < j and all(a[k] <= b[k + 2] and b[k] <= a[k + 2] for k in (0, 1))
    }
    pairs = list(meeting(rects))
    assert set(pairs) == slow
    assert len(pairs) == len(slow)


@pytest.mark.parametrize("bad", [{"tile": 31}, {"overlap": -0.1}, {"overlap": 0.8}, {"overlap": float("nan")}])
def test_impossible_tiles_are_refused(bad):
    with pytest.raises(UsageError):
        Tiling(**bad)


def test_shrinking_is_the_mean_of_whole_squares():
    picture = np.random.default_rng(0).integers(0, 256, (601, 403, 3), np.uint8)
    small = shrunk(picture, 4)
    assert small.shape == (151, 101, 3)
    mean = picture[:600, :400].reshape(150, 4, 100, 4, 3).mean(axis=(1, 3))
    assert np.abs(small[:150, :100] - mean).max() <= 0.51
    assert np.abs(small[150, :100] - picture[600, :400].reshape(100, 4, 3).mean(axis=1)).max() <= 0.51  # the last row


rectangle = st.tuples(st.integers(0, 330), st.integers(0, 250), st.integers(8, 140), st.integers(8, 140))


def apart(found):
    """Rectangles (x1, y1, x2, y2) of which no two touch."""
    kept = []
    for x, y, width, height in found:
        box = (x, y, min(x + width, 340), min(y + height, 260))
        if box[2] - box[0] > 7 and box[3] - box[1] > 7 and all(
            box[2] + 8 < other[0] or other[2] + 8 < box[0] or box[3] + 8 < other[1] or other[3] + 8 < box[1]
            for other in kept
        ):  # fmt: skip
            kept.append(box)
    return kept


@settings(max_examples=40, deadline=None)
@given(st.lists(rectangle, max_size=8), st.integers(80, 130), st.sampled_from([0.0, 0.1, 0.2, 0.5]), st.booleans())
def test_objects_come_out_whole_whatever_seams_cut(found, tile, overlap, one_class):
    """Objects larger than a tile or smaller, over any number of seams, that lie apart: each once, and whole."""
    boxes = apart(found)
    picture = painted(340, 260, [(*box, 7 if one_class else 7 + number) for number, box in enumerate(boxes)])
    detector = Colours(only=(tile, tile))
    result = Tiled(detector, tile=tile, overlap=overlap)(picture)
    truth = Colours()(picture)
    assert rows(result) == rows(truth)
    order = [np.lexsort((*one.boxes.round(2).T, one.class_ids)) for one in (result, truth)]
    if len(boxes):
        result, truth = (one[rank] for one, rank in zip((result, truth), order, strict=True))
        assert result.masks == truth.masks
        assert (result.keypoints[..., :2].min(axis=1) <= truth.keypoints[..., :2].max(axis=1)).all()
        np.testing.assert_allclose(
            np.sort(result.corners, axis=1), np.sort(truth.corners, axis=1), atol=1e-3
        )  # in some order around the box


def test_neighbours_of_one_class_are_not_joined():
    """Two people at a seam, one above the other, each cut in two: two people."""
    picture = painted(200, 200, [(70, 20, 130, 60, 1), (72, 70, 128, 110, 1)])
    found = Tiled(Colours(only=(100, 100)), tile=100, overlap=0)(picture)
    assert rows(found) == [(70, 20, 130, 60, 1), (72, 70, 128, 110, 1)]


def test_a_whole_box_speaks_for_pieces_of_it_and_takes_their_score():
    picture = painted(200, 100, [(40, 20, 160, 60, 1)])
    scores = Colours(score=lambda box: 0.9 if box[2] - box[0] < 100 else 0.4)
    found = Tiled(scores, tile=100, overlap=0.2)(picture)
    assert rows(found) == [(40, 20, 160, 60, 1)]
    assert found.scores.tolist() == [np.float32(0.9)]


def view(rect, boxes, scores, size=(300, 100), classes=None):
    found = Detections(boxes, scores, classes or [0] * len(boxes), ("a", "b"))
    return View.of(rect, found, *size)


def test_two_views_of_an_object_are_one_by_each_method():
    left = view((0, 0, 200, 100), [[110, 10, 150, 50]], [0.8])
    right = view((100, 0, 300, 100), [[114, 10, 154, 50]], [0.4])
    for method in ("greedy", "diou", "soft", "none"):
        found = merged([left, right], [(0, 1)], Selection(nms=method))
        assert rows(found) == [(110, 10, 150, 50, 0)]
        assert found.scores.tolist() == [np.float32(0.8)]
    fused = merged([left, right], [(0, 1)], Selection(nms="wbf"))
    np.testing.assert_allclose(fused.boxes, [[110 + 4 / 3, 10, 150 + 4 / 3, 50]], rtol=1e-6)
    np.testing.assert_allclose(fused.scores, [0.6], rtol=1e-6)
    assert len(merged([left, right], [(0, 1)], Selection(iou=0.9))) == 2


def test_classes_are_kept_apart_unless_agnostic():
    left = view((0, 0, 200, 100), [[110, 10, 150, 50]], [0.8], classes=[0])
    right = view((100, 0, 300, 100), [[111, 10, 150, 50]], [0.4], classes=[1])
    assert len(merged([left, right], [(0, 1)])) == 2
    assert len(merged([left, right], [(0, 1)], Selection(agnostic=True))) == 1


def test_boxes_of_one_view_are_left_as_they_are():
    """What the detector keeps of near duplicates is its own business."""
    left = view((0, 0, 200, 100), [[10, 10, 60, 50], [12, 10, 62, 50]], [0.8, 0.7])
    assert len(merged([left, view((100, 0, 300, 100), np.zeros((0, 4)), [])], [(0, 1)])) == 2


@pytest.mark.parametrize("size", [(100, 100), (99, 40), (1, 1), (100, 7)])
def test_a_picture_within_a_tile_goes_through_as_it_is(size):
    detector = Colours()
    picture = painted(*size, [(0, 0, size[0], size[1], 3)])
    assert Tiled(detector, tile=100)(picture) == detector(picture)
    assert detector.seen == [[picture.shape], [picture.shape]]


def test_a_remainder_of_one_pixel_is_seen():
    picture = painted(101, 100, [(100, 0, 101, 100, 5)])
    found = Tiled(Colours(only=(100, 100)), tile=100, overlap=0)(picture)
    assert rows(found) == [(100, 0, 101, 100, 5)]


def test_tiles_go_through_in_batches_and_the_whole_is_shrunk():
    detector = Colours(batch=4)
    Tiled(detector, tile=64, overlap=0)(np.zeros((128, 640, 3), np.uint8))
    shapes = [shape for batch in detector.seen for shape in batch]
    assert shapes == [(64, 64, 3)] * 20 + [(43, 214, 3)]
    assert max(map(len, detector.seen)) == 4


def test_masks_of_the_shrunken_whole_are_brought_back():
    picture = painted(700, 130, [(102, 12, 603, 120, 9), (699, 129, 700, 130, 8)])
    found = Tiled(Colours(only=(44, 234)), tile=64)(picture)
    assert rows(found) == [(102, 12, 603, 120, 9), (699, 129, 700, 130, 8)]
    assert found.masks.sizes.tolist() == [[130, 700]] * 2
    assert (found.masks.boxes == found.boxes).all()


def test_an_error_says_in_which_tile():
    class Picky(Colours):
        def detect(self, prepared):
            if any(picture.any() for picture in prepared):
                raise InputError("is too colourful")
            return [Detections.empty() for _ in prepared]

    with pytest.raises(InputError, match="^the tile at 80, 0: is too colourful$"):
        Tiled(Picky(), tile=100)(painted(180, 100, [(170, 5, 178, 9, 1)]))


def test_detectors_that_look_up_names_are_refused():
    detector = Colours()
    detector.by_name = True
    with pytest.raises(UsageError, match="whole pictures"):
        Tiled(detector)


def test_the_fingerprint_knows_the_tiles():
    prints = {Tiled(Colours(), tile=tile, overlap=overlap).fingerprint for tile in (64, 65) for overlap in (0, 0.1)}
    assert len(prints) == 4


def test_small_objects_of_a_real_picture(coco128):
    """A quarter of its size in each direction, the picture's objects are lost to the network, and found in tiles."""
    names = ["000000000357.jpg", "000000000450.jpg"]
    pictures = [read_image(coco128 / "images" / name) for name in names if (coco128 / "images" / name).exists()]
    picture = np.zeros((1920, 2560, 3), np.uint8)
    for number, one in enumerate(pictures * 8):
        top, left = number // 4 * 480, number % 4 * 640
        picture[top : top + one.shape[0], left : left + one.shape[1]] = one[:480, :640]
    yolo = Yolo(conf=0.4)
    assert len(Tiled(yolo, tile=640)(picture)) > 4 * max(len(yolo(picture)), 1)
