"""Masks, key points and corners that `Detections` carry: through its methods, into records, results and pictures."""

from __future__ import annotations

import io

import numpy as np
import orjson
import pytest

from detkit.detections import Detections
from detkit.drawing import crops, draw
from detkit.errors import InputError
from detkit.runs.writers import CocoIds, Whole, write_coco
from detkit.shapes.masks import Masks
from detkit.shapes.turned_boxes import enclosing, to_corners

PIXELS = np.zeros((3, 30, 40), bool)
PIXELS[0, 5:15, 5:20], PIXELS[1, 2:9, 20:38], PIXELS[2, 20:28, 3:30] = True, True, True
PIXELS[0, 8:11, 8:12] = False
SCORES = [0.5, 0.9, 0.7]


def masked() -> Detections:
    masks = Masks.from_dense(PIXELS)
    return Detections(masks.boxes, SCORES, [0, 1, 0], ("cat", "dog"), masks=masks)


def posed() -> Detections:
    points = np.arange(3 * 2 * 3, dtype=np.float32).reshape(3, 2, 3)
    return Detections(np.zeros((3, 4)), SCORES, [0, 0, 0], ("person",), keypoints=points)


def turned() -> Detections:
    corners = to_corners([[20, 15, 12, 4, 0.5], [10, 10, 6, 2, -1], [30, 20, 8, 8, 0.7]])
    return Detections(enclosing(corners), SCORES, [0, 0, 0], ("ship",), corners=corners)


@pytest.mark.parametrize("make", [masked, posed, turned])
def test_every_method_carries_the_columns(make) -> None:
    found = make()
    name = (found.columns().keys() - {"boxes", "scores", "class_ids"}).pop()
    column = found.columns()[name]

    def is_column(some: Detections, rows: list[int]) -> bool:
        own = some.columns()[name]
        return bool(own == column[rows] if name == "masks" else np.array_equal(own, column[rows]))

    assert is_column(found[[2, 0]], [2, 0])
    assert is_column(found[1], [1])
    assert is_column(found.sorted(), [1, 2, 0])
    assert is_column(found.clip(10, 10), [0, 1, 2])
    assert is_column(Detections.concatenate([found[:1], Detections.empty(("cat",)), found[1:]]), [0, 1, 2])
    assert found == make()
    assert found != Detections(found.boxes, found.scores, found.class_ids, found.names)
    assert found[[0, 1]] != found[[0, 2]]
    plain = Detections(found.boxes, found.scores, found.class_ids, found.names)
    with pytest.raises(InputError, match="cannot be put together"):
        Detections.concatenate([found, plain])
    with pytest.raises(InputError, match="3 boxes"):
        Detections(plain.boxes, plain.scores, plain.class_ids, **{name: column[[0]]})


def test_records_and_coco_results() -> None:
    row = masked().to_dicts()[0]
    assert Masks.from_coco([row["mask"]], [(30, 40)]) == Masks.from_dense(PIXELS[:1])
    assert posed().to_dicts()[1]["keypoints"] == [[6.0, 7.0, 8.0], [9.0, 10.0, 11.0]]
    assert np.allclose(turned().to_dicts()[2]["corners"], turned().corners[2])
    for make, key in ((masked, "segmentation"), (posed, "keypoints"), (turned, "segmentation")):
        found = make()
        file = io.BytesIO()
        record = {"file": "a.png", "width": 40, "height": 30, "detections": found.to_dicts()}
        list(write_coco(file, [record], Whole(found.names, ids=CocoIds(lambda key: 1, lambda class_id: 1))))
        rows = orjson.loads(file.getvalue())
        assert all(key in row for row in rows)
    assert rows[0]["segmentation"] == [[number for corner in found.to_dicts()[0]["corners"] for number in corner]]


def test_pycocotools_reads_our_masks(tmp_path) -> None:
    mask = pytest.importorskip("pycocotools.mask")
    for row, pixels in zip(masked().to_dicts(), PIXELS, strict=True):
        assert np.array_equal(mask.decode(row["mask"]), pixels)


def test_drawings_and_cut_outs() -> None:
    image = np.full((300, 400, 3), 100, np.uint8)
    masks = Masks.from_dense(PIXELS[:1]).resize(300, 400)
    found = Detections(masks.boxes, [0.5], [0], masks=masks)
    shown = draw(image, found)
    assert (shown[95, 95] == 100).all()  # a hole keeps its colour
    assert (shown[125, 165] != 100).any()
    (_, part), *_ = crops(image, found)
    assert part.shape == (100, 150, 3)
    assert (part[45, 45] == 255).all()
    assert (part[0, 0] == 100).all()
    assert (draw(image, turned()) != image).any()
    seen = posed()
    assert (draw(image, seen) != draw(image, Detections(seen.boxes, seen.scores, seen.class_ids, seen.names))).any()
