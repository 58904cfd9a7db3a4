"""Training of YOLO detectors: losses against independent formulas, assignment by hand, and runs of a few steps."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
onnx = pytest.importorskip("onnx", reason="training needs onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from detkit.errors import DetkitError, InputError  # noqa: E402
from detkit.training.yolo import Progress, Recipe, TrainingSet, plot_history, train_yolo  # noqa: E402
from detkit.training.yolo.assign import pairwise_iou, task_aligned_assignment  # noqa: E402
from detkit.training.yolo.augment import Picture, jitter_colours, mosaic, place, scaled_crop  # noqa: E402
from detkit.training.yolo.checkpoint import load_checkpoint  # noqa: E402
from detkit.training.yolo.data import (  # noqa: E402
    AugmentedPictures,
    Batch,
    PictureStore,
    Request,
    batch_images,
    collate,
    image_stream,
    repeat_factors,
)
from detkit.training.yolo.depthwise import depthwise_convolution, pointwise_convolution  # noqa: E402
from detkit.training.yolo.export import ExportedNetwork, export_onnx  # noqa: E402
from detkit.training.yolo.losses import (  # noqa: E402
    ciou_loss,
    complete_iou,
    distribution_focal_loss,
    quality_focal_loss,
)
from detkit.training.yolo.network import YoloNetwork, decode_boxes, grid_points  # noqa: E402
from detkit.training.yolo.objective import batch_losses  # noqa: E402
from detkit.training.yolo.parallel import GradientWorkers  # noqa: E402
from detkit.training.yolo.prune import slim, surviving_channels  # noqa: E402
from detkit.training.yolo.schedule import picture_size, rate_factor  # noqa: E402
from detkit.training.yolo.session import average_weights  # noqa: E402
from detkit.training.yolo.taught import merge_labels, read_taught  # noqa: E402
from detkit.training.yolo.train import BatchSource, gradients, run_worker  # noqa: E402
from detkit.training.yolo.weights import exported_weights, initial_network, load_detector_weights  # noqa: E402

TEACHER = Path(__file__).parents[2] / "shared" / "models" / "yolox_nano.onnx"
NAMES = ("square", "disc")
SMALL = Recipe(image_size=64, batch=4, seed=3)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> TrainingSet:
    """Twelve gray pictures, each with a red square and a blue disc; the last is empty."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    paths, boxes, classes = [], [], []
    for i in range(12):
        image = np.full((64, 80, 3), 128, np.uint8)
        found = []
        if i < 11:
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


@pytest.fixture(autouse=True)
def _no_imagenet(monkeypatch, tmp_path_factory):
    """The tests need no downloaded weights: networks start at random, all layers in training."""
    monkeypatch.setattr("detkit.training.yolo.weights.load_imagenet_weights", lambda backbone, state: None)
    empty = tmp_path_factory.mktemp("weights") / "empty.pth"
    torch.save({}, empty)
    monkeypatch.setattr("detkit.training.yolo.weights.imagenet_weights_path", lambda: empty)


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


def test_pairwise_iou_is_that_of_each_pair():
    a, b = random_boxes(7, 0), random_boxes(5, 1)
    expected = [[iou_of(x, y) for y in b] for x in a]
    np.testing.assert_allclose(pairwise_iou(torch.tensor(a), torch.tensor(b)), expected, atol=1e-9)


def test_iou_of_empty_boxes_is_zero():
    assert pairwise_iou(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0


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
    optimizer = torch.optim.Adam([logits], 0.2)
    for _ in range(400):
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


@pytest.mark.parametrize(("size", "kernel", "stride"), [(9, 5, 1), (9, 5, 2), (8, 5, 2), (4, 5, 1), (8, 3, 2)])
def test_depthwise_gradients_are_those_of_torch(size, kernel, stride):
    x = torch.randn(2, 6, size, size, requires_grad=True)
    weight = torch.randn(6, 1, kernel, kernel, requires_grad=True)
    bias = torch.randn(6, requires_grad=True)
    expected = torch.nn.functional.conv2d(x, weight, bias, stride, kernel // 2, groups=6)
    got = depthwise_convolution(x, weight, bias, stride)
    assert torch.equal(got, expected)
    upstream = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad(got, (x, weight, bias), upstream),
        torch.autograd.grad(expected, (x, weight, bias), upstream),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert not depthwise_convolution(x.detach(), weight.detach(), None, stride).requires_grad


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
    got = task_aligned_assignment(scores, boxes, centres, objects, torch.tensor([0, 1]), candidates=2)
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


def painted(width: int = 90, height: int = 60) -> Picture:
    """A gray image with one white box of 20 x 10 at (30, 20)."""
    image = np.full((height, width, 3), 100, np.uint8)
    image[20:30, 30:50] = 255
    return Picture(image, np.array([[30, 20, 50, 30]], np.float32), np.array([1]))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])
def test_placed_boxes_lie_where_their_objects_are(seed, scale):
    rng = np.random.default_rng(seed)
    canvas = np.zeros((64, 64, 3), np.uint8)
    _, boxes, classes, scores = place(painted(), canvas, rng, scale, flip=seed % 2 == 1)
    rows, columns = np.nonzero(canvas[:, :, 0] > 178)
    assert len(boxes) == len(classes)
    assert scores is None
    for box in boxes:
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(box, found, atol=1.1)
    if not len(boxes):
        assert len(rows) < 0.3 * 200 * scale**2


@pytest.mark.parametrize("seed", range(4))
def test_augmented_pictures_keep_boxes_inside(seed):
    rng = np.random.default_rng(seed)
    for picture in (
        scaled_crop(painted(), 64, rng, 90, (0.5, 2.0)),
        mosaic([painted(), painted(40, 80), painted(60, 64), painted()], 64, rng, 64, (0.5, 1.0)),
    ):
        assert picture.image.shape == (64, 64, 3)
        assert picture.boxes.dtype == np.float32
        assert picture.boxes.shape == (len(picture.classes), 4)
        assert (picture.boxes >= 0).all()
        assert (picture.boxes <= 64).all()
        assert (picture.boxes[:, 2:] > picture.boxes[:, :2]).all()


def test_colours_without_gains_stay():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    rng = np.random.default_rng(0)
    changed = jitter_colours(image, rng, 0, 0, 0)
    assert np.abs(changed.astype(int) - image).max() <= 6  # 8-bit HSV rounds
    assert np.abs(jitter_colours(image, rng).astype(int) - image).max() > 6


def test_a_request_always_gives_the_same_picture(data):
    pictures = AugmentedPictures(data, 64)
    request = Request(2, (3, 4), 64, False)
    a, b = pictures.make(request), pictures.make(request)
    assert (a.picture.image == b.picture.image).all()
    assert (a.picture.boxes == b.picture.boxes).all()
    batch = collate([a, b, pictures.make(Request(11, (0, 0), 64, True))])
    assert batch.images.shape == (3, 3, 64, 64)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert [len(c) for c in batch.classes][2] == 0


def test_rare_classes_are_repeated():
    classes = [np.array([0])] * 99 + [np.array([0, 1])]
    factors = repeat_factors(classes, 2, 0.04)
    assert factors[:99].tolist() == [1] * 99
    assert factors[99] == pytest.approx(2.0)  # sqrt(0.04 / 0.01)
    stream = image_stream(factors, 0)
    epoch = [next(stream) for _ in range(101)]
    assert sorted(set(epoch)) == list(range(100))
    assert epoch.count(99) == 2


def test_batches_continue_where_they_stopped():
    whole, rest = batch_images(np.ones(5), 3, 7, 0), batch_images(np.ones(5), 3, 7, 4)
    all_of_them = [next(whole) for _ in range(6)]
    assert [next(rest), next(rest)] == all_of_them[4:]
    assert sorted(image for batch in all_of_them[:5] for image, _ in batch) == sorted([0, 1, 2, 3, 4] * 3)


@pytest.mark.parametrize(
    ("boxes", "classes", "names"),
    [
        ([np.zeros((2, 4))], [np.zeros(1, int)], ["a"]),
        ([np.zeros((1, 4))], [np.ones(1, int)], ["a"]),
        ([], [], ["a"]),
        ([np.zeros((0, 4))], [np.zeros(0, int)], []),
    ],
)
def test_training_sets_that_do_not_fit_are_refused(boxes, classes, names):
    with pytest.raises(InputError):
        TrainingSet([Path("a.png")], boxes, classes, names)


def test_learning_rate_rises_then_falls():
    assert rate_factor(0, 0.1, 0.01) == 0
    assert rate_factor(0.05, 0.1, 0.01) == pytest.approx(0.5)
    assert rate_factor(0.1, 0.1, 0.01) == pytest.approx(1)
    assert rate_factor(0.55, 0.1, 0.01) == pytest.approx((1 + 0.01) / 2)
    assert rate_factor(1, 0.1, 0.01) == pytest.approx(0.01)


def test_pictures_grow_in_the_course_of_a_run():
    recipe = Recipe(image_size=416)
    assert [picture_size(share, recipe) for share in (0, 0.74, 0.75, 0.9, 1)] == [256, 256, 320, 416, 416]
    assert picture_size(0, Recipe(image_size=32)) == 32


def test_average_of_weights():
    average, network = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    torch.nn.init.zeros_(average.weight)
    torch.nn.init.ones_(network.weight)
    average_weights(average, network, 0, 0.9)
    assert average.weight.item() == pytest.approx(0.9)  # of a decay of 1 / 10
    average_weights(average, network, 10**6, 0.9)
    assert average.weight.item() == pytest.approx(0.91)


def test_training_lowers_the_loss_and_writes_what_it_says(data, tmp_path):
    seen: list[Progress] = []
    recipe = replace(SMALL, frozen_blocks=0, backbone_rate=1e-4, rate=1e-3, class_gain=1.0, focus=0.0)
    path = train_yolo(data, tmp_path, epochs=6, recipe=recipe, processes=1, progress=seen.append)
    assert len(seen) == 18
    assert seen[-1].share == 1
    assert np.mean([p.box_loss for p in seen[-4:]]) < 0.8 * np.mean([p.box_loss for p in seen[:4]])
    assert path == tmp_path / "detector.onnx"
    assert (tmp_path / "history.csv").read_text().count("\n") == 19
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    output = session.run(None, {"images": np.zeros((2, 3, 64, 64), np.float32)})[0]
    assert output.shape == (2, 6, 84)
    pytest.importorskip("matplotlib")
    assert plot_history(tmp_path).stat().st_size > 1000


def test_resumed_training_is_the_training_that_was_not_interrupted(data, tmp_path):
    class Killed(Exception):
        pass

    def kill(progress: Progress) -> None:
        if progress.step == 3:
            raise Killed

    options = {"epochs": 2, "recipe": SMALL, "processes": 1, "checkpoint_seconds": 0.0}
    train_yolo(data, tmp_path / "whole", **options)
    with pytest.raises(Killed):
        train_yolo(data, tmp_path / "parts", progress=kill, **options)
    assert load_checkpoint(tmp_path / "parts")["step"] == 2
    train_yolo(data, tmp_path / "parts", resume=True, **options)
    whole, parts = (load_checkpoint(tmp_path / name) for name in ("whole", "parts"))
    assert whole["step"] == parts["step"] == 6
    for name, value in whole["average"].items():
        assert torch.equal(value, parts["average"][name]), name
    losses = [
        [row.split(",")[3] for row in (tmp_path / name / "history.csv").read_text().splitlines()]
        for name in ("whole", "parts")
    ]
    assert losses[0] == losses[1]


def test_two_processes_train_on_the_two_halves_of_a_batch(data, tmp_path):
    """Their mean gradient is that of each half, and their parameters are the first process's."""
    recipe = replace(SMALL, batch=8, averaging=0.0)
    network = initial_network(NAMES, None)
    network.backbone.freeze(recipe.frozen_blocks)
    factors = repeat_factors(data.classes, 2, recipe.repeat_threshold)
    halves = []
    for rank in range(2):
        copied = copy.deepcopy(network).train()
        source = BatchSource(data, None, None, recipe, factors, 0, rank, 2)
        losses = gradients(copied, source.next(0.0), recipe)
        halves.append((losses, [p.grad for p in copied.parameters() if p.requires_grad]))
    arguments = (data, None, None, recipe, factors, 0)
    with GradientWorkers(network, 2, run_worker, arguments) as workers:
        source = BatchSource(data, None, None, recipe, factors, 0, 0, 2)
        workers.begin(0.0)
        losses = workers.finish(gradients(network, source.next(0.0), recipe))
        assert losses == pytest.approx(np.mean([half[0] for half in halves], axis=0), rel=1e-4)
        for p, a, b in zip(
            [p for p in network.parameters() if p.requires_grad], halves[0][1], halves[1][1], strict=True
        ):
            np.testing.assert_allclose(p.grad, (a + b) / 2, rtol=1e-2, atol=1e-5 + 1e-3 * float(p.grad.abs().max()))


def test_a_process_that_fails_ends_the_training(tmp_path):
    missing = TrainingSet([tmp_path / "none.png"], [np.zeros((0, 4))], [np.zeros(0, int)], NAMES)
    network = YoloNetwork(2)

    def train() -> None:
        with GradientWorkers(network, 2, run_worker, (missing, None, None, SMALL, np.ones(1), 0)) as workers:
            workers.begin(0.0)
            workers.finish((0.0, 0.0, 0.0))

    with pytest.raises(DetkitError, match="process stopped"):
        train()


def test_what_cannot_be_trained_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="either"):
        train_yolo(data, tmp_path)
    with pytest.raises(InputError, match="multiple of 32"):
        Recipe(image_size=100)
    with pytest.raises(InputError, match="batch"):
        Recipe(batch=0)
    (tmp_path / "checkpoint.pt").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="checkpoint"):
        train_yolo(data, tmp_path, epochs=1, recipe=SMALL, resume=True)


def trained_like(classes: int) -> YoloNetwork:
    """A network with random weights whose normalisations have seen something."""
    network = YoloNetwork(classes).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(4, 3, 64, 64))
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return network.eval()


@pytest.mark.parametrize("half", [False, True])
def test_the_exported_graph_computes_what_torch_computes(half, tmp_path):
    network = trained_like(3)
    path = export_onnx(network, tmp_path / "a.onnx", 96, ["a", "b", "it's"], half=half)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        expected = ExportedNetwork(network, 96).eval()(images).numpy()
    got = session.run(None, {"images": images.numpy()})[0]
    assert got.shape == expected.shape == (2, 7, 144 + 36 + 9)
    np.testing.assert_allclose(got, expected, atol=0.1 if half else 1e-3)
    np.testing.assert_allclose(got[:, 4:], expected[:, 4:], atol=1e-2 if half else 1e-4)
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["names"] == str({0: "a", 1: "b", 2: "it's"})
    assert metadata["imgsz"] == "[96, 96]"
    assert json.loads(metadata["detkit"])["head"] == "v8"


def test_half_takes_half_the_space(tmp_path):
    network = YoloNetwork(2)
    whole = export_onnx(network, tmp_path / "a.onnx", 64, NAMES, half=False).stat().st_size
    half = export_onnx(network, tmp_path / "b.onnx", 64, NAMES).stat().st_size
    assert half < 0.55 * whole


def test_training_can_start_from_an_exported_detector(tmp_path):
    teacher = trained_like(2)
    path = export_onnx(teacher, tmp_path / "a.onnx", 64, ["dog", "cat"], half=False)
    network = initial_network(["cat", "cow"], path).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, expected_boxes = teacher(images)
        got, boxes = network(images)
    np.testing.assert_allclose(boxes, expected_boxes, atol=1e-5)
    np.testing.assert_allclose(got[:, 0], expected[:, 1], atol=1e-5)  # the cats


def test_what_no_training_wrote_is_no_start(tmp_path):
    with pytest.raises(DetkitError, match="no such"):
        exported_weights(tmp_path / "none.onnx")
    (tmp_path / "a.onnx").write_bytes(b"nonsense")
    with pytest.raises(DetkitError):
        exported_weights(tmp_path / "a.onnx")
    with pytest.raises(DetkitError, match="another architecture"):
        load_detector_weights(YoloNetwork(2), NAMES, {}, NAMES)


@pytest.mark.skipif(not TEACHER.is_file(), reason="the shared YOLOX-Nano is not here")
def test_the_teacher_sees_what_is_in_a_picture():
    from detkit.training.yolo.teacher import YoloxTeacher

    image = cv2.imread(str(TEACHER.parents[1] / "data" / "coco128" / "images" / "000000000025.jpg"))
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    scale = 320 / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale)
    canvas = np.full((256, 320, 3), 114, np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    scores, boxes = YoloxTeacher(TEACHER, 80)(canvas)
    assert scores.shape == (40 * 32 + 20 * 16 + 10 * 8, 80)
    best = scores.max(axis=1).argmax()
    assert scores[best].argmax() == 23  # the giraffe
    assert iou_of(boxes[best] / scale, [385, 60, 600, 357]) > 0.7


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_convolutions_in_mixed_precision_have_the_gradients_of_32_bits(kernel, stride):
    x = torch.randn(2, 16, 12, 12).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight, bias = (torch.randn(16, 1, kernel, kernel) / kernel).requires_grad_(), torch.randn(16, requires_grad=True)
    point, point_bias = (torch.randn(8, 16, 1, 1) / 4).requires_grad_(), torch.randn(8, requires_grad=True)
    wanted = (x, weight, bias, point, point_bias)

    def gradients_of(depthwise, pointwise):
        return torch.autograd.grad(pointwise(depthwise).float().square().mean(), wanted)

    plain = torch.nn.functional.conv2d(x, weight, bias, stride, kernel // 2, groups=16)
    expected = gradients_of(plain, lambda y: torch.nn.functional.conv2d(y, point, point_bias))
    with torch.autocast("cpu", torch.bfloat16):
        half = depthwise_convolution(x, weight, bias, stride)
        assert half.dtype == torch.bfloat16
        got = gradients_of(half, lambda y: pointwise_convolution(y, point, point_bias))
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.02 * b.norm()


def test_training_in_mixed_precision_gives_nearly_the_same_gradients(data):
    network = trained_like(2).train()
    source = BatchSource(data, None, None, SMALL, np.ones(12), 0, 0, 1)
    batch = source.next(0.0)
    losses, sizes = [], []
    for mixed in (False, True):
        losses.append(gradients(network, batch, replace(SMALL, mixed_precision=mixed)))
        sizes.append(torch.cat([p.grad.flatten() for p in network.head.parameters()]))
    assert losses[1] == pytest.approx(losses[0], rel=0.03)
    assert torch.nn.functional.cosine_similarity(*sizes, dim=0) > 0.98


def test_stored_pictures_are_those_of_the_files(data, tmp_path):
    store = PictureStore(tmp_path, data.paths, 40)
    plain = AugmentedPictures(data, 40)
    stored = AugmentedPictures(data, 40, store=store)
    for i in range(len(data.paths)):
        np.testing.assert_array_equal(stored.source(i).image, plain.source(i).image)
        np.testing.assert_array_equal(stored.source(i).boxes, plain.source(i).boxes)
    before = (tmp_path / "pixels.bin").stat().st_mtime_ns
    PictureStore(tmp_path, data.paths, 40)
    assert (tmp_path / "pixels.bin").stat().st_mtime_ns == before
    assert PictureStore(tmp_path, data.paths[:3], 80).image(0).shape == (64, 80, 3)  # others, so made again


def test_training_reads_stored_pictures_and_uncertain_objects(data, tmp_path):
    scores = [np.linspace(1, 0.3, len(c)).astype(np.float32) for c in data.classes]
    path = train_yolo(
        replace(data, scores=scores), tmp_path / "out", epochs=1, store=tmp_path / "store", processes=1,
        recipe=replace(SMALL, mixed_precision=True), origin={"seed": 3},
    )  # fmt: skip
    history = (tmp_path / "out" / "history.csv").read_text().splitlines()
    assert all(np.isfinite(float(row.split(",")[3])) for row in history[1:])
    metadata = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    assert json.loads(metadata["training"]) | {"minutes": 0} == {"seed": 3, "minutes": 0, "steps": 3, "pictures": 12}


def test_a_teachers_labels_fill_what_the_annotations_leave_open(tmp_path):
    path = tmp_path / "teacher.jsonl"
    rows = [[0, 0, 10, 10, 1, 0.9], [1, 0, 10, 10, 0, 0.8], [50, 50, 60, 60, 0, 0.6], [20, 20, 30, 30, 1, 0.15]]
    path.write_text(json.dumps({"set": "a", "id": 7, "boxes": rows}) + "\n")
    taught = read_taught(path)["a", 7]
    own = np.array([[0, 0, 10, 10]], np.float32), np.array([1])
    merged = merge_labels(*own, taught, np.array([False, True]))
    # The annotated object, not again from the teacher; class 0 is not annotated, so the teacher's word is whole; half of
    # 0.15 is too little.
    assert merged.classes.tolist() == [1, 0, 0]
    np.testing.assert_allclose(merged.scores, [1, 0.8, 0.6], rtol=1e-6)
    assert merge_labels(*own, taught, np.array([True, True])).scores.tolist() == pytest.approx([1, 0.4, 0.3])
    path.write_text('{"set": "a", "id": 7, "boxes": [[1, 2]]}\n')
    with pytest.raises(InputError, match="line 1"):
        read_taught(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_taught(tmp_path / "none")


def test_channels_that_others_can_stand_in_for_go_first():
    rng = np.random.default_rng(0)
    own = rng.normal(size=(500, 6))
    doubled = np.concatenate((own, own @ rng.normal(size=(6, 3))), axis=1)  # three more are sums of them
    x, weight = torch.tensor(doubled), torch.tensor(rng.normal(size=(4, 9)))
    kept, fitted = surviving_channels(x.T @ x, weight, 6)
    assert len(kept) == 6
    expected = x @ weight.T
    assert (x[:, kept] @ fitted.double().T - expected).norm() < 0.01 * expected.norm()
    best = torch.linalg.lstsq(x[:, kept[:5]], expected).residuals.sum()
    kept, fitted = surviving_channels(x.T @ x, weight, 5)
    error = (x[:, kept] @ fitted.double().T - expected).square().sum()
    assert error < 1.05 * torch.linalg.lstsq(x[:, kept], expected).residuals.sum()  # fitted anew
    assert error <= 1.001 * best


def test_a_slimmed_detector_can_be_trained_on(tmp_path):
    network = trained_like(2)
    widths = [block.depthwise.weight.shape[0] for block in network.backbone.blocks]
    hidden = [w if i == 0 else w // 2 for i, w in enumerate(widths)]
    images = torch.rand(4, 3, 64, 64)
    small = slim(network, hidden, 320, [images])
    path = export_onnx(small, tmp_path / "a.onnx", 64, NAMES, half=False)
    assert path.stat().st_size < 0.7 * export_onnx(network, tmp_path / "b.onnx", 64, NAMES, half=False).stat().st_size
    again = initial_network(NAMES, path).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(images)[0], small(images)[0], rtol=1e-4, atol=1e-4)
    whole = slim(network, widths, 1280, [images])
    with torch.no_grad():
        torch.testing.assert_close(whole(images)[0], network(images)[0])
