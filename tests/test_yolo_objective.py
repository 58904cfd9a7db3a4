"""What a YOLO's training minimises: losses against independent formulas, assignment by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from detkit.training.yolo.task_aligned import Alignment, task_aligned_assignment  # noqa: E402
from detkit.training.yolo.yolo_data import Batch  # noqa: E402
from detkit.training.yolo.yolo_losses import (  # noqa: E402
    ciou_loss,
    complete_iou,
    distribution_focal_loss,
    quality_focal_loss,
)
from detkit.training.yolo.yolo_network import decode_boxes, grid_points  # noqa: E402
from detkit.training.yolo.yolo_objective import batch_losses  # noqa: E402
from detkit.training.yolo.yolo_recipe import Recipe  # noqa: E402

SMALL = Recipe(image_size=64, batch=4, seed=3)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def random_boxes(number: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, (number, 2))
    return np.concatenate((corner, corner + rng.uniform(1, 30, (number, 2))), axis=1)


def iou_of(a, b) -> float:
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def ciou_of(a, b) -> float:
    """Complete IoU of two boxes, written from the paper with centre, width and height."""
    ax, ay, aw, ah = (a[0] + a[2]) / 2, (a[1] + a[3]) / 2, a[2] - a[0], a[3] - a[1]
    bx, by, bw, bh = (b[0] + b[2]) / 2, (b[1] + b[3]) / 2, b[2] - b[0], b[3] - b[1]
    diagonal = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    v = 4 / np.pi**2 * (np.arctan2(bw, bh) - np.arctan2(aw, ah)) ** 2
    iou = iou_of(a, b)
    return iou - ((ax - bx) ** 2 + (ay - by) ** 2) / diagonal - v * v / (1 - iou + v)


def test_complete_iou_is_the_papers():
    a, b = random_boxes(50, 2), random_boxes(50, 3)
    got = complete_iou(torch.tensor(a), torch.tensor(b))
    np.testing.assert_allclose(got, [ciou_of(x, y) for x, y in zip(a, b, strict=True)], atol=1e-5)


def test_ciou_loss_is_weighted_and_zero_for_equal_boxes():
    a, b = torch.tensor(random_boxes(4, 4)), torch.tensor(random_boxes(4, 5))
    weights = torch.tensor([1.0, 0.5, 0.0, 2.0], dtype=torch.float64)
    expected = sum(w * (1 - ciou_of(x, y)) for w, x, y in zip(weights.numpy(), a.numpy(), b.numpy(), strict=True))
    assert ciou_loss(a, b, weights).item() == pytest.approx(expected, abs=1e-5)
    assert ciou_loss(a, a, weights).item() == pytest.approx(0, abs=1e-5)


def test_ciou_gradient_moves_a_box_to_its_target():
    box = torch.tensor([[0.0, 0.0, 10.0, 10.0]], requires_grad=True)
    ciou_loss(box, torch.tensor([[30.0, 0.0, 40.0, 10.0]]), torch.ones(1)).backward()
    assert box.grad[0, [0, 2]].sum() < -1e-3  # they do not overlap, and still the centre is drawn


def test_distribution_focal_loss_by_hand():
    logits = torch.randn(3, 4, 8, dtype=torch.float64)
    distances = torch.tensor(np.random.default_rng(0).uniform(0, 6.9, (3, 4)))
    weights = torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64)
    p = np.exp(logits.numpy())
    p /= p.sum(axis=2, keepdims=True)
    expected = 0.0
    for i in range(3):
        for j in range(4):
            d = distances[i, j].item()
            low = int(d)
            both = (low + 1 - d) * np.log(p[i, j, low]) + (d - low) * np.log(p[i, j, low + 1])
            expected -= weights[i].item() * both / 4
    assert distribution_focal_loss(logits, distances, weights).item() == pytest.approx(expected)


def test_distribution_focal_loss_clamps_distances_beyond_the_bins():
    logits = torch.zeros(1, 4, 4)
    loss = distribution_focal_loss(logits, torch.tensor([[-1.0, 9.0, 3.0, 0.0]]), torch.ones(1))
    assert loss.item() == pytest.approx(np.log(4))


def test_distribution_focal_loss_is_least_at_the_true_distance():
    logits = torch.zeros(1, 4, 8, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[1.5, 2.25, 0.0, 6.9]], dtype=torch.float64)
    optimizer = torch.optim.Adam([logits], 0.5)
    for _ in range(150):
        optimizer.zero_grad()
        distribution_focal_loss(logits, target, torch.ones(1)).backward()
        optimizer.step()
    mean = (logits.detach().softmax(2) * torch.arange(8)).sum(2)
    np.testing.assert_allclose(mean, target, atol=0.05)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_quality_focal_loss_is_the_papers(beta):
    logits, targets = torch.randn(5, 3, dtype=torch.float64), torch.rand(5, 3, dtype=torch.float64)
    p = 1 / (1 + np.exp(-logits.numpy()))
    t = targets.numpy()
    expected = -(np.abs(t - p) ** beta * (t * np.log(p) + (1 - t) * np.log(1 - p))).sum()
    assert quality_focal_loss(logits, targets, beta).item() == pytest.approx(expected)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_quality_focal_loss_is_least_at_the_target(beta):
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    optimizer = torch.optim.Adam([logits], 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        quality_focal_loss(logits, targets, beta).backward()
        optimizer.step()
    np.testing.assert_allclose(logits.detach().sigmoid(), targets, atol=0.05)


def test_decoded_boxes_are_the_means_of_the_distributions():
    centres, strides = grid_points(32, 64)
    assert len(centres) == 32 + 8 + 2
    assert centres[1].tolist() == [12, 4]
    assert centres[-1].tolist() == [48, 16]
    logits = torch.full((1, 4, 5, 42), -100.0)
    for side, distance in enumerate((1, 2, 3, 4)):
        logits[0, side, distance] = 100
    box = decode_boxes(logits, centres, strides)[0, :, 1]
    assert box.tolist() == pytest.approx([12 - 8, 4 - 16, 12 + 24, 4 + 32])


def test_assignment_by_hand():
    # Points 8 pixels apart on a row; one object holds the first three of them, another the last.
    centres = torch.tensor([[4.0, 4.0], [12.0, 4.0], [20.0, 4.0], [28.0, 4.0], [36.0, 4.0]])
    objects = torch.tensor([[0.0, 0.0, 24.0, 8.0], [32.0, 0.0, 40.0, 8.0]])
    boxes = torch.tensor(
        [[0.0, 0.0, 24.0, 8.0], [0.0, 0.0, 12.0, 8.0], [0.0, 0.0, 24.0, 8.0], [0.0, 0.0, 24.0, 8.0], [32.0, 0, 40, 4]]
    )
    scores = torch.tensor([[0.25, 0.9], [0.25, 0.0], [0.01, 0.0], [1.0, 1.0], [0.0, 0.36]])
    got = task_aligned_assignment(
        scores, boxes, centres, objects, torch.tensor([0, 1]), alignment=Alignment(candidates=2)
    )
    # t of the first object: 0.5 * 1, 0.5 * 0.5^6, 0.1 * 1, and none for the fourth point, which lies outside.
    assert got.object.tolist() == [0, -1, 0, -1, 1]
    # Scaled so that the largest is the largest IoU: 1 and 0.1 / 0.5 of it; half an object overlaps by 0.5.
    assert got.score.tolist() == pytest.approx([1.0, 0.0, 0.2, 0.0, 0.5])


def test_a_point_of_two_objects_goes_to_the_one_it_overlaps_most():
    centres = torch.tensor([[4.0, 4.0]])
    objects = torch.tensor([[0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 16.0, 8.0]])
    boxes = torch.tensor([[0.0, 0.0, 14.0, 8.0]])
    got = task_aligned_assignment(torch.ones(1, 1), boxes, centres, objects, torch.tensor([0, 0]))
    assert got.object.tolist() == [1]
    assert got.score.item() == pytest.approx(14 / 16)


def test_no_objects_no_positives():
    got = task_aligned_assignment(
        torch.rand(6, 2), torch.rand(6, 4), torch.rand(6, 2), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    )
    assert (got.object == -1).all()
    assert (got.score == 0).all()


def batch_of(teacher: bool, size: int = 64) -> tuple[Batch, torch.Tensor, torch.Tensor]:
    """A batch of one square picture with one object, and an untrained network's output for it."""
    points = len(grid_points(size, size)[0])
    scores = torch.zeros(1, points, 2)
    scores[0, 9, 1] = 0.8
    box = torch.tensor([[4.0, 4.0, 28.0, 28.0]])
    batch = Batch(
        torch.zeros(1, 3, size, size, dtype=torch.uint8),
        [box],
        [torch.tensor([1])],
        [None],
        scores if teacher else None,
        box[None].expand(1, points, 4) if teacher else None,
    )
    return batch, torch.randn(1, 2, points, requires_grad=True), torch.randn(1, 4, 16, points, requires_grad=True)


@pytest.mark.parametrize("teacher", [False, True])
def test_the_objective_can_be_learnt(teacher):
    batch, logits, distances = batch_of(teacher)
    optimizer = torch.optim.Adam([logits, distances], 0.2)
    for _ in range(150):
        optimizer.zero_grad()
        sum(batch_losses(logits, distances, batch, SMALL)).backward()
        optimizer.step()
    scores = logits.detach().sigmoid()[0]
    centres, strides = grid_points(64, 64)
    best = scores[1].argmax()
    box = decode_boxes(distances.detach(), centres, strides)[0, :, best]
    np.testing.assert_allclose(box, [4, 4, 28, 28], atol=1.0)
    assert scores[0].max() < 0.1


def test_a_teachers_share_of_one_leaves_its_scores_only():
    batch, logits, distances = batch_of(True)
    recipe = replace(SMALL, teacher_share=1.0)
    loss = batch_losses(logits, distances, batch, recipe).classes
    target = torch.zeros_like(logits)
    target[0, 1, 9] = 0.8
    expected = recipe.class_gain * quality_focal_loss(logits, target, recipe.focus)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_an_uncertain_object_is_asked_for_less():
    """Where a certain and an uncertain object of another class lie on each other, both classes are asked for."""
    batch, logits, distances = batch_of(False)
    boxes = batch.boxes[0].repeat(2, 1)
    doubt = batch._replace(boxes=[boxes], classes=[torch.tensor([1, 0])], scores=[torch.tensor([1.0, 0.3])])
    optimizer = torch.optim.Adam([logits, distances], 0.2)
    for _ in range(200):
        optimizer.zero_grad()
        sum(batch_losses(logits, distances, doubt, SMALL)).backward()
        optimizer.step()
    scores = logits.detach().sigmoid()[0].amax(dim=1)
    assert scores[1] > 0.85
    assert 0.2 < scores[0] < 0.4


def test_certain_objects_are_assigned_as_if_nothing_were_said():
    rng = np.random.default_rng(0)
    centres = torch.tensor(rng.uniform(0, 64, (80, 2)))
    boxes, objects = torch.tensor(random_boxes(80, 1)), torch.tensor(random_boxes(5, 2))
    scores, classes = torch.tensor(rng.random((80, 3))), torch.tensor([0, 1, 2, 1, 0])
    plain = task_aligned_assignment(scores, boxes, centres, objects, classes)
    sure = task_aligned_assignment(scores, boxes, centres, objects, classes, torch.ones(5))
    assert torch.equal(plain.object, sure.object)
    half = task_aligned_assignment(scores, boxes, centres, objects, classes, torch.full((5,), 0.5))
    torch.testing.assert_close(half.scores, sure.scores / 2, rtol=1e-6, atol=0)


def test_a_batch_without_objects_has_finite_losses():
    batch, logits, distances = batch_of(False)
    batch = batch._replace(boxes=[torch.zeros(0, 4)], classes=[torch.zeros(0, dtype=torch.int64)])
    losses = batch_losses(logits, distances, batch, SMALL)
    assert losses.boxes.item() == losses.distances.item() == 0
    sum(losses).backward()
    assert torch.isfinite(logits.grad).all()
