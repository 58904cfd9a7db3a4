"""What a Fast or Faster R-CNN's training minimises: each step by hand-made cases, pooling against a slow loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
onnx = pytest.importorskip("onnx", reason="training needs onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from detkit.training.rcnn.anchors import (  # noqa: E402
    anchor_shapes,
    grid_anchors,
    inside,
    label_anchors,
    sample_anchors,
)
from detkit.training.rcnn.offsets import clip, decode, encode  # noqa: E402
from detkit.training.rcnn.rcnn_losses import box_loss, class_loss, rpn_loss, smooth_l1  # noqa: E402
from detkit.training.rcnn.rcnn_objective import by_anchor  # noqa: E402
from detkit.training.rcnn.roi_pool import roi_max_pool  # noqa: E402
from detkit.training.rcnn.rois import propose, sample_rois  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def random_boxes(number: int, seed: int, side: float = 64) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0, side, (2, number, 2))
    return torch.from_numpy(np.concatenate((np.minimum(a, b), np.maximum(a, b) + 0.5), axis=1).astype(np.float32))


# Offsets


def test_offsets_are_those_of_the_paper():
    anchor, box = torch.tensor([[10.0, 20.0, 30.0, 60.0]]), torch.tensor([[15.0, 20.0, 55.0, 40.0]])
    # Centres (20, 40) and (35, 30), sizes 20 x 40 and 40 x 20.
    expected = [15 / 20, -10 / 40, math.log(40 / 20), math.log(20 / 40)]
    assert encode(box, anchor)[0].tolist() == pytest.approx(expected)
    assert decode(torch.tensor([expected]), anchor)[0].tolist() == pytest.approx(box[0].tolist(), abs=1e-4)


def test_decoding_is_the_inverse_of_encoding():
    boxes, references = random_boxes(50, 0), random_boxes(50, 1)
    np.testing.assert_allclose(decode(encode(boxes, references), references), boxes, atol=1e-3)


def test_no_box_grows_without_bounds():
    box = decode(torch.tensor([[0.0, 0.0, 1000.0, 0.0]]), torch.tensor([[0.0, 0.0, 2.0, 2.0]]))
    assert box[0].tolist() == pytest.approx([1 - 62.5, 0, 1 + 62.5, 2])


def test_boxes_are_cut_at_the_border():
    assert clip(torch.tensor([[-3.0, 5.0, 90.0, 70.0]]), 80, 60).tolist() == [[0, 5, 80, 60]]


# Anchors


def test_anchors_have_three_scales_in_three_ratios():
    shapes = np.array(anchor_shapes())
    assert shapes.shape == (9, 2)
    np.testing.assert_allclose(np.sqrt(shapes.prod(axis=1)), np.repeat([24, 72, 200], 3))
    np.testing.assert_allclose(shapes[:, 1] / shapes[:, 0], [0.5, 1, 2] * 3)


def test_anchors_lie_on_the_centres_of_their_cells():
    anchors = grid_anchors(2, 3, 8)
    assert anchors.shape == (2 * 3 * 9, 4)
    centres = ((anchors[:, :2] + anchors[:, 2:]) / 2).view(2, 3, 9, 2)
    assert centres[1, 2].tolist() == [[20, 12]] * 9
    assert anchors[(1 * 3 + 2) * 9 + 1].tolist() == [20 - 12, 12 - 12, 20 + 12, 12 + 12]  # the square one of 24


def test_outputs_of_the_proposal_network_are_in_the_order_of_the_anchors():
    output = torch.arange(2 * 18 * 2 * 3).view(2, 18, 2, 3)
    rows = by_anchor(output, 2)
    assert rows.shape == (2, 54, 2)
    assert rows[1, (1 * 3 + 2) * 9 + 4].tolist() == [output[1, 8, 1, 2], output[1, 9, 1, 2]]


def test_anchors_that_cross_the_border_are_known():
    boxes = torch.tensor([[0.0, 0, 10, 10], [-0.1, 0, 9, 9], [0, -1, 9, 9], [1, 1, 20.1, 9], [1, 1, 20, 10.1]])
    assert inside(boxes, 20, 10).tolist() == [True, False, False, False, False]


def test_anchor_labels_by_hand():
    objects = torch.tensor([[0.0, 0, 10, 10], [100, 100, 110, 120]])
    anchors = torch.tensor(
        [
            [0.0, 0, 10, 10],  # the first object: IoU 1
            [0, 0, 10, 8],  # IoU 0.8
            [0, 0, 10, 5],  # IoU 0.5, neither
            [0, 0, 5, 5],  # IoU 0.25, background
            [100, 100, 110, 110],  # IoU 0.5 with the second, and no other has more
            [100, 110, 110, 120],  # just as much
            [100, 105, 110, 109],  # IoU 0.2
            [50, 50, 60, 60],
        ]
    )
    labels, owners = label_anchors(anchors, objects)
    assert labels.tolist() == [1, 1, -1, 0, 1, 1, 0, 0]
    assert owners[labels == 1].tolist() == [0, 0, 1, 1]


def test_an_anchor_that_is_the_best_of_an_object_is_its_own():
    """Though the anchor overlaps another object more, which has a better one."""
    objects = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 4]])
    labels, owners = label_anchors(torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 7.5]]), objects)
    assert labels.tolist() == [1, 1]
    assert owners.tolist() == [0, 1]


def test_without_objects_all_anchors_are_background():
    labels, _ = label_anchors(grid_anchors(2, 2, 8), torch.zeros(0, 4))
    assert (labels == 0).all()
    labels, _ = label_anchors(torch.tensor([[0.0, 0, 5, 5]]), torch.tensor([[50.0, 50, 60, 60]]))
    assert labels.tolist() == [0]  # an IoU of 0 is no best one


@pytest.mark.parametrize(("objects", "expected"), [(300, 128), (128, 128), (5, 5), (0, 0)])
def test_half_of_the_sampled_anchors_are_objects_where_there_are_so_many(objects, expected):
    labels = torch.full((1000,), -1)
    labels[:objects], labels[400:] = 1, 0
    sample = sample_anchors(labels, 256, np.random.default_rng(0))
    assert len(sample) == len(sample.unique()) == 256
    assert (labels[sample] == 1).sum() == expected
    assert (labels[sample] == 0).sum() == 256 - expected


def test_fewer_anchors_are_sampled_only_where_there_are_no_more():
    sample = sample_anchors(torch.tensor([1, 1, 1, -1, 0]), 4, np.random.default_rng(0))
    assert len(sample) == 3
    assert 4 in sample


# Losses


def test_smooth_l1_by_hand():
    found = smooth_l1(torch.tensor([0.0, 0.5, -0.5, 1.0, -3.0]))
    assert found.tolist() == pytest.approx([0, 0.125, 0.125, 0.5, 2.5])


def test_rpn_loss_by_hand():
    scores = torch.tensor([[0.0, math.log(3)], [math.log(3), 0.0], [0.0, math.log(3)]])
    offsets = torch.tensor([[0.5, 0, 0, 2], [9, 9, 9, 9], [9, 9, 9, 9]])
    loss = rpn_loss(scores, offsets, torch.tensor([1, 0, 0]), torch.zeros(3, 4), 40)
    # The right ones of two have the shares 3/4, 3/4 and 1/4.
    assert loss.classes.item() == pytest.approx(-(2 * math.log(3 / 4) + math.log(1 / 4)) / 3)
    assert loss.boxes.item() == pytest.approx(10 * (0.125 + 1.5) / 40)


def test_class_loss_by_hand():
    logits = torch.tensor([[0.0, 0.0, math.log(2)], [0.0, 0.0, 0.0]])
    assert class_loss(logits, torch.tensor([2, 0])).item() == pytest.approx(-(math.log(0.5) + math.log(1 / 3)) / 2)


def test_box_loss_looks_at_the_own_class_of_objects_only():
    offsets = torch.full((3, 2, 4), 100.0, requires_grad=True)
    with torch.no_grad():
        offsets[1, 1] = torch.tensor([0.5, 0, 0, 3])
    loss = box_loss(offsets, torch.zeros(3, 4), torch.tensor([0, 2, 0]))
    assert loss.item() == pytest.approx((0.125 + 2.5) / 3)
    loss.backward()
    moved = offsets.grad.abs().sum(dim=2) > 0
    assert moved.tolist() == [[False, False], [False, True], [False, False]]


def test_box_loss_without_objects_is_zero():
    assert box_loss(torch.ones(2, 3, 4), torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64)).item() == 0


# RoIs


def test_proposals_are_decoded_cut_and_suppressed():
    anchors = torch.tensor([[10.0, 10, 30, 30], [10, 10, 30, 31], [50, 10, 70, 30], [10, 40, 11, 60], [0, 0, 9, 9]])
    offsets = torch.zeros(5, 4)
    offsets[2, 0] = 1.0  # by its width to the right, over the border
    scores = torch.tensor([[0.0, 2.0], [0.0, 3.0], [3.0, 4.0], [0.0, 9.0], [0.0, -5.0]])
    found = propose(scores, offsets, anchors, 80, 64, candidates=4, count=10)
    # The second is better than the first, which it covers; the fourth is one pixel wide; the fifth is no candidate.
    assert found.tolist() == [[10, 10, 30, 31], [70, 10, 80, 30]]
    assert propose(scores, offsets, anchors, 80, 64, candidates=5, count=1).tolist() == [[10, 10, 30, 31]]


def test_sampled_rois_have_the_shares_and_overlaps_of_the_paper():
    objects, classes = torch.tensor([[10.0, 10, 30, 30], [40, 10, 60, 50]]), torch.tensor([4, 7])
    rng = np.random.default_rng(0)
    near = torch.cat([objects[i] + torch.from_numpy(rng.uniform(-1, 1, (20, 4)).astype(np.float32)) for i in (0, 1)])
    beside = torch.cat((objects[0] + torch.tensor([9.0, 0, 9, 0]) * torch.linspace(0.8, 1.5, 30)[:, None], near))
    far = random_boxes(200, 1, 5.0) + 60
    sampled = sample_rois(torch.cat((beside, far)), objects, classes, 64, 0.25, 0.1, rng)
    iou = np.array([max(iou_of(roi, o) for o in objects.tolist()) for roi in sampled.boxes.tolist()])
    assert (sampled.classes[:16] > 0).all()
    assert (sampled.classes[16:] == 0).all()
    assert (iou[:16] >= 0.5).all()
    assert (iou[16:] < 0.5).all()
    assert (iou[16:] >= 0.1).all()
    assert len(iou) == 16 + 30  # of those far away, none
    for roi, name, target in zip(sampled.boxes[:16].tolist(), sampled.classes[:16], sampled.targets[:16], strict=True):
        best = max((0, 1), key=lambda i: iou_of(roi, objects[i].tolist()))
        assert name == classes[best] + 1
        assert torch.equal(target, objects[best])
    assert len(sample_rois(torch.cat((beside, far)), objects, classes, 64, 0.25, 0.0, rng).boxes) == 64


def test_the_objects_themselves_are_rois():
    box = torch.tensor([[10.0, 10, 30, 30]])
    sampled = sample_rois(torch.zeros(0, 4), box, torch.tensor([1]), 8, 0.25, 0.0, np.random.default_rng(0))
    assert torch.equal(sampled.boxes, box)
    assert sampled.classes.tolist() == [2]


def test_a_picture_without_objects_gives_background():
    empty = torch.zeros(0, dtype=torch.int64)
    sampled = sample_rois(random_boxes(20, 0), torch.zeros(0, 4), empty, 8, 0.25, 0.0, np.random.default_rng(0))
    assert sampled.classes.tolist() == [0] * 8


def iou_of(a, b) -> float:
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


# Pooling


def pooled_slowly(features: torch.Tensor, rois: torch.Tensor, stride: int) -> torch.Tensor:
    """Each bin's maximum, cell by cell, for RoIs that end inside the map."""
    result = []
    for roi in rois.tolist():
        picture, x1, y1, x2, y2 = int(roi[0]), *(math.floor(v / stride + 0.5) for v in roi[1:])
        part = features[picture, :, y1 : y2 + 1, x1 : x2 + 1]
        result.append(torch.nn.functional.adaptive_max_pool2d(part, 7))
    return torch.stack(result)


def rois_of(number: int, seed: int, pictures: int, side: float) -> torch.Tensor:
    picture = torch.arange(number).remainder(pictures).float()[:, None]
    return torch.cat((picture, random_boxes(number, seed, side)), dim=1)


def test_pooling_and_its_gradient_are_those_of_a_slow_loop():
    features = torch.randn(2, 3, 12, 16, requires_grad=True)
    rois = rois_of(40, 0, 2, 80)
    fast, slow = roi_max_pool(features, rois, 8), pooled_slowly(features, rois, 8)
    assert fast.shape == (40, 3, 7, 7)
    assert torch.equal(fast, slow)
    upstream = torch.randn_like(slow)
    a, b = (torch.autograd.grad(pooled, features, upstream)[0] for pooled in (fast, slow))
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_roi_of_14_cells_has_bins_of_two():
    features = torch.arange(256.0).view(1, 1, 16, 16)
    found = roi_max_pool(features, torch.tensor([[0.0, 0, 0, 13 * 8, 13 * 8]]), 8)
    assert found[0, 0, 0].tolist() == [17, 19, 21, 23, 25, 27, 29]  # the last of rows 0-1, columns 0-1, 2-3, ...


def test_corners_go_to_the_nearest_cell():
    features = torch.arange(64.0).view(1, 1, 8, 8)
    rois = torch.tensor([[0, 3.9, 0.0, 4.1, 0.0], [0, 4.0, 0, 4.0, 0], [0, 12.1, 11.9, 12.1, 11.9]])
    found = roi_max_pool(features, rois, 8)
    assert found[0, 0, 0].unique().tolist() == [0, 1]  # cells 0 and 1
    assert found[1].unique().tolist() == [1]
    assert found[2].unique().tolist() == [10]  # column 2, row 1


def test_bins_outside_the_map_are_zero_and_have_no_gradient():
    features = torch.full((1, 1, 4, 4), -2.0, requires_grad=True)
    found = roi_max_pool(features, torch.tensor([[0.0, 0, 0, 13 * 8, 24]]), 8)
    assert found[0, 0, 0].tolist() == [-2, -2, 0, 0, 0, 0, 0]
    found.sum().backward()
    assert features.grad.sum() == 14  # two columns of seven bins


def test_pooling_is_onnxs_operator():
    node = onnx.helper.make_node("MaxRoiPool", ["x", "rois"], ["y"], pooled_shape=[7, 7], spatial_scale=1 / 8)
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [info("x", 1, [2, 3, 52, 40]), info("rois", 1, ["r", 5])],
        [info("y", 1, ["r", 3, 7, 7])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    features = torch.randn(2, 3, 52, 40)
    rois = torch.cat((rois_of(1500, 3, 2, 400), rois_of(500, 4, 2, 400).round() // 4 * 4))
    expected = session.run(None, {"x": features.numpy(), "rois": rois.numpy()})[0]
    assert np.array_equal(roi_max_pool(features, rois, 8), expected)
