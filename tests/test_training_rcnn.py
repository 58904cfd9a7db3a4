"""Training of Fast and Faster R-CNN: each step by hand-made cases, pooling against a slow loop, runs of a few steps."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
onnx = pytest.importorskip("onnx", reason="training needs onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from detkit.errors import DetkitError, InputError  # noqa: E402
from detkit.training.rcnn import Progress, Recipe, TrainingSet, plot_history, train_rcnn  # noqa: E402
from detkit.training.rcnn.anchors import (  # noqa: E402
    anchor_shapes,
    grid_anchors,
    inside,
    label_anchors,
    sample_anchors,
)
from detkit.training.rcnn.data import BatchSource, Picture, collate, transform  # noqa: E402
from detkit.training.rcnn.export import ExportedNetwork, export_onnx  # noqa: E402
from detkit.training.rcnn.losses import box_loss, class_loss, rpn_loss, smooth_l1  # noqa: E402
from detkit.training.rcnn.network import STRIDE, RcnnNetwork  # noqa: E402
from detkit.training.rcnn.objective import OFFSET_SCALE, Losses, batch_losses, by_anchor, multi_task_loss  # noqa: E402
from detkit.training.rcnn.offsets import clip, decode, encode  # noqa: E402
from detkit.training.rcnn.precomputed import kept_proposals, load_proposals  # noqa: E402
from detkit.training.rcnn.roi_pool import roi_max_pool  # noqa: E402
from detkit.training.rcnn.rois import propose, sample_rois  # noqa: E402
from detkit.training.rcnn.train import gradients, run_worker  # noqa: E402
from detkit.training.rcnn.weights import initial_network, load_yolo_weights, yolo_weights  # noqa: E402
from detkit.training.yolo.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from detkit.training.yolo.export import export_onnx as export_yolo  # noqa: E402
from detkit.training.yolo.network import YoloNetwork  # noqa: E402
from detkit.training.yolo.parallel import GradientWorkers  # noqa: E402

NAMES = ("square", "disc")
SMALL = Recipe(image_size=64, batch=4, rois=16, proposals=30, seed=3)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_imagenet(monkeypatch, tmp_path_factory):
    """The tests need no downloaded weights: networks start at random."""
    monkeypatch.setattr("detkit.training.rcnn.weights.load_imagenet_weights", lambda backbone, state: None)
    empty = tmp_path_factory.mktemp("weights") / "empty.pth"
    torch.save({}, empty)
    monkeypatch.setattr("detkit.training.rcnn.weights.imagenet_weights_path", lambda: empty)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> TrainingSet:
    """Eight gray pictures, each with a red square and a blue disc; the last is empty."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    paths, boxes, classes = [], [], []
    for i in range(8):
        image = np.full((64, 80, 3), 128, np.uint8)
        found = []
        if i < 7:
            x, y, r = rng.integers(2, 24), rng.integers(2, 30), rng.integers(8, 12)
            image[y : y + 2 * r, x : x + 2 * r] = (40, 40, 220)
            found.append((x, y, x + 2 * r, y + 2 * r))
            x, y = int(rng.integers(60, 66)), int(rng.integers(20, 44))
            cv2.circle(image, (x, y), 10, (220, 60, 40), -1)
            found.append((x - 10, y - 10, x + 11, y + 11))
        paths.append(folder / f"{i}.png")
        cv2.imwrite(str(paths[-1]), image)
        boxes.append(np.array(found, np.float32).reshape(-1, 4))
        classes.append(np.arange(len(found)))
    return TrainingSet(paths, boxes, classes, NAMES)


def tiles(path: Path) -> np.ndarray:
    """Proposals of any picture: tiles of 20 and of 40 pixels."""
    found = [(x, y, x + s, y + s) for s in (20, 40) for x in range(0, 81 - s, s // 4) for y in range(0, 65 - s, s // 4)]
    return np.array(found, np.float32)


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


# Pictures


def painted() -> Picture:
    """A gray image of 90 x 60 with one white box of 20 x 10 at (30, 20), which is a proposal, too."""
    image = np.full((60, 90, 3), 100, np.uint8)
    image[20:30, 30:50] = 255
    box = np.array([[30, 20, 50, 30]], np.float32)
    return Picture(image, box, np.array([1]), np.concatenate((box, box)))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])
def test_boxes_and_proposals_move_with_the_picture(scale, flip):
    picture = transform(painted(), scale, flip)
    assert picture.image.shape == (round(60 * scale), round(90 * scale), 3)
    rows, columns = np.nonzero(picture.image[:, :, 0] > 178)
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(picture.boxes, [seen], atol=1.1)
    np.testing.assert_allclose(picture.proposals, picture.boxes.repeat(2, axis=0))


def test_a_batch_has_pictures_of_several_sizes():
    batch = collate([transform(painted(), 1.0, False), transform(painted(), 0.5, False)], (1, 2))
    assert batch.images.shape == (2, 3, 64, 96)
    assert batch.sizes == [(90, 60), (45, 30)]
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert (batch.images[1, :, :30, 45:] == 114).all()


def test_a_step_always_gives_the_same_batch(data):
    proposals = [tiles(path) for path in data.paths]
    a, b = (BatchSource(data, proposals, SMALL, np.ones(8), 1, 0, 1) for _ in range(2))
    first, second = a.next(), b.next()
    assert torch.equal(first.images, second.images)
    assert first.seed == second.seed
    assert all(len(p) == len(tiles(data.paths[0])) for p in first.proposals)
    halves = [BatchSource(data, proposals, SMALL, np.ones(8), 1, rank, 2).next() for rank in range(2)]
    assert halves[0].sizes + halves[1].sizes == first.sizes[::2] + first.sizes[1::2]


def test_proposals_are_computed_once(tmp_path):
    asked = []

    def propose_one(path: Path) -> np.ndarray:
        asked.append(path.name)
        return np.arange(8.0).reshape(2, 4)[: 0 if path.name == "b" else 2]

    paths = [tmp_path / name for name in "abc"]
    first = kept_proposals(tmp_path, paths[:2], propose_one)
    assert [len(boxes) for boxes in first] == [2, 0]
    both = kept_proposals(tmp_path, paths, propose_one, save_seconds=0)
    assert asked == ["a", "b", "c"]
    assert [boxes.dtype for boxes in both] == [np.float32] * 3
    assert (both[2] == first[0]).all()
    assert list(load_proposals(tmp_path / "proposals.npz")) == [str(path) for path in paths]
    kept_proposals(tmp_path, paths[:1], propose_one, "another method")
    assert asked[3:] == ["a"]
    assert list(load_proposals(tmp_path / "proposals.npz", "another method")) == [str(paths[0])]
    (tmp_path / "proposals.npz").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="proposals"):
        kept_proposals(tmp_path, paths, propose_one)


def test_a_picture_without_proposals_is_left_out(tmp_path, caplog):
    def propose_one(path: Path) -> np.ndarray:
        if path.name == "b":
            raise InputError("b has none")
        return np.arange(8.0).reshape(2, 4)

    boxes = kept_proposals(tmp_path, [tmp_path / name for name in "abc"], propose_one)
    assert [None if own is None else len(own) for own in boxes] == [2, None, 2]
    assert "b has none; left out" in caplog.text


# Training


def test_the_losses_fall(data):
    """Of one batch, trained on again and again; with and without proposals from elsewhere."""
    network = RcnnNetwork(2, rpn=True, hidden=64).train()
    batch = BatchSource(data, [tiles(path) for path in data.paths], SMALL, np.ones(8), 0, 0, 1).next()
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], 1e-3)
    seen = []
    for _ in range(9):
        optimizer.zero_grad()
        losses = batch_losses(network, batch, SMALL)
        multi_task_loss(losses).backward()
        optimizer.step()
        seen.append([loss.item() for loss in losses])
    assert np.isfinite(seen).all()
    first, last = np.mean(seen[:2], axis=0), np.mean(seen[-3:], axis=0)
    assert last[0] < 0.9 * first[0]
    assert last[2] < 0.7 * first[2]
    assert all(p.grad is None for p in network.backbone.parameters())


def test_pictures_without_objects_have_finite_losses(data):
    nothing = TrainingSet(data.paths[-1:], data.boxes[-1:], data.classes[-1:], NAMES)
    source = BatchSource(nothing, None, replace(SMALL, batch=1), np.ones(1), 0, 0, 1)
    losses = gradients(RcnnNetwork(2, rpn=True), source.next(), SMALL)
    assert losses[1] == losses[3] == 0
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("variant", ["fast", "faster"])
def test_training_writes_what_it_says(variant, data, tmp_path):
    seen: list[Progress] = []
    proposals = tiles if variant == "fast" else None
    path = train_rcnn(
        data, tmp_path, variant=variant, epochs=1, recipe=SMALL, proposals=proposals, processes=1, progress=seen.append
    )
    assert len(seen) == 2
    assert seen[-1].share == 1
    assert (seen[-1].rpn_class_loss == 0) == (variant == "fast")
    assert path == tmp_path / "detector.onnx"
    assert (tmp_path / "proposals.npz").exists() == (variant == "fast")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["head"] == f"{variant}-rcnn"
    names = [output.name for output in session.get_outputs()]
    rpn = ["rpn_scores", "rpn_offsets"] if variant == "faster" else []
    assert names == ["feature_map", *rpn, "class_scores", "box_offsets"]
    pytest.importorskip("matplotlib")
    assert plot_history(tmp_path).stat().st_size > 1000


def test_resumed_training_is_the_training_that_was_not_interrupted(data, tmp_path, monkeypatch):
    monkeypatch.setattr("detkit.training.rcnn.train.export_onnx", lambda network, path, *rest: path)

    class Killed(Exception):
        pass

    def kill(progress: Progress) -> None:
        if progress.step == 2:
            raise Killed

    options = {"epochs": 1.5, "recipe": SMALL, "processes": 1, "checkpoint_seconds": 0.0, "proposals": tiles}
    train_rcnn(data, tmp_path / "whole", **options)
    with pytest.raises(Killed):
        train_rcnn(data, tmp_path / "parts", progress=kill, **options)
    assert load_checkpoint(tmp_path / "parts")["step"] == 1
    train_rcnn(data, tmp_path / "parts", resume=True, **options)
    whole, parts = (load_checkpoint(tmp_path / name) for name in ("whole", "parts"))
    assert whole["step"] == parts["step"] == 3
    for name, value in whole["average"].items():
        assert torch.equal(value, parts["average"][name]), name
    losses = [
        [row.split(",")[3:8] for row in (tmp_path / name / "history.csv").read_text().splitlines()]
        for name in ("whole", "parts")
    ]
    assert losses[0] == losses[1]


def test_two_processes_train_on_the_two_halves_of_a_batch(data):
    """Their mean gradient is that of each half."""
    network = RcnnNetwork(2, rpn=True, hidden=32)
    arguments = (data, None, SMALL, np.ones(8), 0)
    halves = []
    for rank in range(2):
        copied = copy.deepcopy(network).train()
        losses = gradients(copied, BatchSource(*arguments, rank, 2).next(), SMALL)
        halves.append((losses, copied.head.first.weight.grad))
    with GradientWorkers(network, 2, run_worker, arguments, len(Losses._fields)) as workers:
        source = BatchSource(*arguments, 0, 2)
        workers.begin(0.0)
        losses = workers.finish(gradients(network, source.next(), SMALL))
    assert losses == pytest.approx(np.mean([half[0] for half in halves], axis=0), rel=1e-4)
    mean = (halves[0][1] + halves[1][1]) / 2
    np.testing.assert_allclose(network.head.first.weight.grad, mean, atol=1e-3 * float(mean.abs().max()))


def test_what_cannot_be_trained_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="either"):
        train_rcnn(data, tmp_path)
    with pytest.raises(InputError, match="without proposals"):
        train_rcnn(data, tmp_path, variant="fast", epochs=1)
    with pytest.raises(InputError, match="not known"):
        train_rcnn(data, tmp_path, variant="fastest", epochs=1)
    with pytest.raises(InputError, match="shared by 5"):
        train_rcnn(data, tmp_path, epochs=1, recipe=SMALL, processes=5)
    with pytest.raises(InputError, match="multiple of 32"):
        Recipe(image_size=100)
    with pytest.raises(InputError, match="1 or more"):
        Recipe(rois=0)
    state = {"names": list(NAMES), "settings": RcnnNetwork(2, rpn=False).settings, "optimizer": {}}
    save_checkpoint(tmp_path, state)
    with pytest.raises(InputError, match="variant faster"):
        train_rcnn(data, tmp_path, epochs=1, recipe=SMALL, resume=True)
    save_checkpoint(tmp_path, state | {"names": ["cow"]})
    with pytest.raises(InputError, match="other classes"):
        train_rcnn(data, tmp_path, epochs=1, recipe=SMALL, resume=True)


# Export and start


def trained_like(network: torch.nn.Module) -> torch.nn.Module:
    """The network with random weights."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return network.eval()


@pytest.mark.parametrize("half", [False, True])
def test_the_exported_parts_run_alone_and_compute_what_torch_computes(half, tmp_path):
    network = trained_like(RcnnNetwork(3, rpn=True, hidden=32))
    path = export_onnx(network, tmp_path / "a.onnx", 96, ["a", "b", "it's"], half=half)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images, rois = torch.rand(1, 3, 64, 96), rois_of(6, 0, 1, 60)
    with torch.no_grad():
        features = network.features(images).map
        logits, offsets = network.classify(features, rois)
        expected = [*ExportedNetwork(network)(images, features, rois)]
    np.testing.assert_allclose(expected[3], logits.softmax(dim=1), atol=1e-6)
    np.testing.assert_allclose(expected[4], offsets * torch.tensor(OFFSET_SCALE), atol=1e-6)
    nothing = {
        "images": np.zeros((1, 3, 32, 32), np.float32),
        "features": np.zeros((1, 64, 1, 1), np.float32),
        "rois": np.zeros((0, 5), np.float32),
    }
    first = session.run(["feature_map", "rpn_scores", "rpn_offsets"], nothing | {"images": images.numpy()})
    second = session.run(
        ["class_scores", "box_offsets"], nothing | {"features": features.numpy(), "rois": rois.numpy()}
    )
    cells = (64 // STRIDE, 96 // STRIDE)
    shapes = [(1, 64, *cells), (1, 18, *cells), (1, 36, *cells), (6, 4), (6, 3, 4)]
    for got, wanted, shape in zip([*first, *second], expected, shapes, strict=True):
        assert got.shape == shape
        np.testing.assert_allclose(got, wanted, atol=0.05 * float(wanted.abs().max()) if half else 1e-3)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["names"]) == {"0": "a", "1": "b", "2": "it's"}
    assert (metadata["head"], metadata["size"], metadata["stride"]) == ("faster-rcnn", "96", "8")
    np.testing.assert_allclose(json.loads(metadata["anchors"]), anchor_shapes())


def test_a_network_of_80_classes_fits_into_12_megabytes(tmp_path):
    path = export_onnx(RcnnNetwork(80, rpn=True), tmp_path / "a.onnx", 64, [str(i) for i in range(80)])
    assert path.stat().st_size < 12e6


def test_training_can_start_from_a_yolo(tmp_path):
    yolo = trained_like(YoloNetwork(2))
    exported = export_yolo(yolo, tmp_path / "a.onnx", 64, NAMES, half=False)
    save_checkpoint(tmp_path, {"average": yolo.state_dict(), "optimizer": {}})
    images = torch.rand(1, 3, 64, 64)
    for start in (exported, tmp_path / "checkpoint.pt"):
        network = initial_network(5, True, start).eval()
        with torch.no_grad():
            *maps, top = network.backbone(images)
            *expected, expected_top = yolo.backbone(images)
            np.testing.assert_allclose(top, expected_top, atol=1e-5)
            for level, (a, b) in enumerate(zip(network.neck(maps), yolo.neck(expected), strict=True)):
                np.testing.assert_allclose(a, b, atol=1e-5)
                mine, theirs = network.shared.class_branch[0](a, level), yolo.head.class_branch[0](b, level)
                np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_what_no_yolo_training_wrote_is_no_start(tmp_path):
    with pytest.raises(DetkitError, match="no such"):
        yolo_weights(tmp_path / "none.onnx")
    with pytest.raises(DetkitError, match="no such"):
        yolo_weights(tmp_path / "none.pt")
    (tmp_path / "a.pt").write_bytes(b"nonsense")
    with pytest.raises(DetkitError, match="not a checkpoint"):
        yolo_weights(tmp_path / "a.pt")
    with pytest.raises(DetkitError, match="another architecture"):
        load_yolo_weights(RcnnNetwork(2, rpn=False), {})
