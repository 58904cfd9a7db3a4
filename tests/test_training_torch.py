"""What the trainings share: convolutions, the order of the pictures, the schedule, the average of weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from detkit.errors import InputError  # noqa: E402
from detkit.training.torch.augmentation import jitter_colours  # noqa: E402
from detkit.training.torch.depthwise import depthwise_convolution, pointwise_convolution  # noqa: E402
from detkit.training.torch.schedule import rate_factor  # noqa: E402
from detkit.training.torch.tensor_boxes import pairwise_iou  # noqa: E402
from detkit.training.torch.train_session import average_weights  # noqa: E402
from detkit.training.torch.train_settings import Length  # noqa: E402
from detkit.training.torch.training_set import BatchOrder, TrainingSet, image_stream, repeat_factors  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize("length", [{}, {"minutes": 1.0, "epochs": 1.0}])
def test_a_training_has_one_length(length):
    with pytest.raises(InputError, match="either"):
        Length(**length)


def test_a_training_has_no_negative_length():
    with pytest.raises(InputError, match="negative"):
        Length(epochs=-1)


def random_boxes(number: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, (number, 2))
    return np.concatenate((corner, corner + rng.uniform(1, 30, (number, 2))), axis=1)


def iou_of(a, b) -> float:
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def test_pairwise_iou_is_that_of_each_pair():
    a, b = random_boxes(7, 0), random_boxes(5, 1)
    expected = [[iou_of(x, y) for y in b] for x in a]
    np.testing.assert_allclose(pairwise_iou(torch.tensor(a), torch.tensor(b)), expected, atol=1e-9)


def test_iou_of_empty_boxes_is_zero():
    assert pairwise_iou(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0


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


def test_colours_without_gains_stay():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    rng = np.random.default_rng(0)
    changed = jitter_colours(image, rng, 0, 0, 0)
    assert np.abs(changed.astype(int) - image).max() <= 6  # 8-bit HSV rounds
    assert np.abs(jitter_colours(image, rng).astype(int) - image).max() > 6


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
    whole, rest = BatchOrder(np.ones(5), 3, 7).part(), BatchOrder(np.ones(5), 3, 7, 4).part()
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


def test_average_of_weights():
    average, network = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    torch.nn.init.zeros_(average.weight)
    torch.nn.init.ones_(network.weight)
    average_weights(average, network, 0, 0.9)
    assert average.weight.item() == pytest.approx(0.9)  # of a decay of 1 / 10
    average_weights(average, network, 10**6, 0.9)
    assert average.weight.item() == pytest.approx(0.91)


def test_processes_share_a_batch():
    order = BatchOrder(np.ones(5), 4, 7, 2)
    whole, first, second = order.part(), order.part(0, 2), order.part(1, 2)
    for _ in range(3):
        batch = next(whole)
        assert (next(first), next(second)) == (batch[::2], batch[1::2])
