"""`detkit anchors`: k-means over boxes with 1 - IoU as distance, against a loop over single boxes."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from detkit.cli import app
from detkit.metrics.anchor_clusters import anchor_clusters, improved, size_iou


def overlap(a, b):
    shared = min(a[0], b[0]) * min(a[1], b[1])
    return shared / (a[0] * a[1] + b[0] * b[1] - shared)


def slow_step(boxes, anchors):
    """One round of k-means, box by box: the means of those nearest to each anchor, and the mean of the best IoU."""
    groups, best = [[] for _ in anchors], []
    for box in boxes:
        overlaps = [overlap(box, anchor) for anchor in anchors]
        groups[overlaps.index(max(overlaps))].append(box)
        best.append(max(overlaps))
    means = [np.mean(group, axis=0) if group else anchor for group, anchor in zip(groups, anchors, strict=True)]
    return np.array(means), sum(best) / len(best)


def slow_best(boxes, anchors):
    """The best anchors that the slow loop meets from `anchors` on, and their mean IoU."""
    best = (anchors, 0.0)
    for _ in range(40):
        moved, mean = slow_step(boxes, anchors)
        best = max(best, (anchors, mean), key=lambda one: one[1])
        anchors = moved
    return best


@pytest.fixture
def boxes():
    rng = np.random.default_rng(3)
    middles = np.array([(20, 40), (100, 30), (200, 220)])
    return middles[rng.integers(0, 3, 90)] * np.exp(rng.normal(0, 0.25, (90, 2)))


def test_overlap_is_that_of_boxes_on_one_corner(boxes):
    expected = [[overlap(a, b) for b in boxes[:7]] for a in boxes]
    assert np.allclose(size_iou(boxes, boxes[:7]), expected, rtol=1e-14)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_anchors_equal_those_of_a_slow_loop(boxes, k):
    found = anchor_clusters(boxes, k)
    assert found.sizes.shape == (k, 2)
    assert slow_step(boxes, found.sizes)[1] == pytest.approx(found.mean_iou, abs=1e-12)
    begin = boxes[np.random.default_rng(k).choice(len(boxes), k, replace=False)]
    sizes, mean = slow_best(boxes, begin)
    one = improved(boxes, np.ones(len(boxes), np.int64), begin)
    assert np.allclose(one.sizes, sizes, rtol=1e-12)
    assert one.mean_iou == pytest.approx(mean, abs=1e-12)
    assert found.mean_iou >= mean - 0.01
    assert np.array_equal(found.sizes, anchor_clusters(boxes, k).sizes)
    if k == 1:  # the mean of all boxes, or a box that is better
        assert found.mean_iou >= slow_step(boxes, boxes.mean(axis=0, keepdims=True))[1] - 1e-12


def test_many_boxes_and_few_kinds(boxes):
    many = np.repeat(boxes, 200, axis=0)  # more than choose the beginning
    assert anchor_clusters(many, 3).mean_iou == pytest.approx(anchor_clusters(boxes, 3).mean_iou, abs=0.01)
    few = anchor_clusters(np.array([(4.0, 5.0), (2.0, 3.0), (4.0, 5.0)]), 5)
    assert few.sizes.tolist() == [[2, 3], [4, 5]]
    assert few.mean_iou == 1


def coco(path, boxes, size=(208, 104)):
    """Annotations of one picture with these widths and heights, and a crowd that is not counted."""
    rows = [{"id": n, "image_id": 1, "category_id": 1, "bbox": [0, 0, w, h], "area": w * h, "iscrowd": 0}
            for n, (w, h) in enumerate(boxes, 1)]  # fmt: skip
    rows.append({"id": 99, "image_id": 1, "category_id": 1, "bbox": [0, 0, 100, 100], "area": 10000, "iscrowd": 1})
    image = {"id": 1, "file_name": "a.jpg", "width": size[0], "height": size[1]}
    path.write_text(json.dumps({"images": [image], "annotations": rows, "categories": [{"id": 1, "name": "x"}]}))
    return str(path)


def test_command(tmp_path):
    data = coco(tmp_path / "a.json", [(10, 20), (30, 40)])
    told = CliRunner().invoke(app, ["anchors", data, "-k", "2", "--json", "-"])
    assert told.exit_code == 0, told.output
    figures = json.loads(told.stdout)
    assert figures["boxes"] == 2
    assert [row["k"] for row in figures["clusters"]] == [1, 2]
    assert figures["clusters"][1] == {"k": 2, "mean_iou": 1.0, "anchors": [[20, 40], [60, 80]]}  # 208 pixels are 416
    shown = CliRunner().invoke(app, ["anchors", data, "-k", "3"])
    assert shown.exit_code == 0
    assert "1.0000" in shown.stdout
    assert "only 2 different sizes" in shown.output


def test_what_cannot_be(tmp_path):
    empty = CliRunner().invoke(app, ["anchors", coco(tmp_path / "a.json", [])])
    assert empty.exit_code != 0
    assert "has no boxes" in empty.output
    unsized = CliRunner().invoke(app, ["anchors", coco(tmp_path / "b.json", [(3, 4)], (0, 0))])
    assert unsized.exit_code == 2
    assert "--images DIR" in unsized.output
    own = coco(tmp_path / "c.json", [(3, 4)])
    assert CliRunner().invoke(app, ["anchors", own, "--json", own]).exit_code != 0
    assert "images" in json.loads((tmp_path / "c.json").read_text())
