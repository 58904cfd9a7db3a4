"""The filter against a textbook filter with full matrices, and what continuous time promises."""

from __future__ import annotations

import numpy as np

from detkit.boxes import xyxy_to_cxcywh
from detkit.tracking.kalman import KalmanMotion, KalmanNoise

NOISE = KalmanNoise((0.1, 0.2), (1.0, 0.5), (0.2, 0.3), (1.5, 0.4))


def textbook(boxes: np.ndarray, times: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """State (8,) and covariance (8, 8) after all boxes, with 8 x 8 matrices."""
    pairs = np.array([[0, 0, 1, 1], [0, 0, 1, 1]])
    measured, acceleration, walk, speed = (
        np.array(values)[pairs[0]] ** 2 for values in (NOISE.measured, NOISE.acceleration, NOISE.walk, NOISE.speed)
    )
    seen = xyxy_to_cxcywh(boxes)
    size = seen[0, 2] * seen[0, 3]
    state = np.concatenate((seen[0], np.zeros(4)))
    covariance = np.diag(np.concatenate((size * measured, size * speed)))
    observe = np.eye(4, 8)
    for before, time, z in zip(times, times[1:], seen[1:], strict=False):
        t = time - before
        move = np.eye(8) + t * np.eye(8, k=4)
        size = state[2] * state[3]
        q, w = np.diag(size * acceleration), np.diag(size * walk)
        noise = np.block([[t**3 / 3 * q + t * w, t**2 / 2 * q], [t**2 / 2 * q, t * q]])
        state, covariance = move @ state, move @ covariance @ move.T + noise
        total = observe @ covariance @ observe.T + np.diag(z[2] * z[3] * measured)
        gain = covariance @ observe.T @ np.linalg.inv(total)
        state = state + gain @ (z - observe @ state)
        covariance = (np.eye(8) - gain @ observe) @ covariance
    return state, covariance


def walk(count: int) -> tuple[np.ndarray, list[float]]:
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.uniform(0.02, 0.5, count)).tolist()
    corners = np.stack([[10 + 30 * t, 20 - 5 * t, 60 + 31 * t, 140 - 4 * t] for t in times])
    return corners + rng.normal(0, 2, corners.shape), times


def test_equals_the_textbook_filter() -> None:
    boxes, times = walk(12)
    motion = KalmanMotion(NOISE)
    motion.add(boxes[:1], times[0])
    for time, box in zip(times[1:], boxes[1:], strict=True):
        motion.update(np.array([0]), box[None], time)
    state, covariance = textbook(boxes, times)
    np.testing.assert_allclose(motion.mean[0].ravel(), state, rtol=1e-9)
    np.testing.assert_allclose(motion.variance[0, 0], np.diag(covariance)[:4], rtol=1e-9)
    np.testing.assert_allclose(motion.variance[0, 1], np.diag(covariance, 4), rtol=1e-9)
    np.testing.assert_allclose(motion.variance[0, 2], np.diag(covariance)[4:], rtol=1e-9)


def test_one_long_step_is_many_short_ones() -> None:
    """F(a + b) = F(b) F(a), and Q(a + b) = F(b) Q(a) F(b)' + Q(b): no frame rate is built in."""
    boxes, times = walk(5)
    motion = KalmanMotion(NOISE)
    motion.add(boxes[:1], times[0])
    motion.update(np.array([0]), boxes[1:2], times[1])
    mean, variance = motion._predicted(np.array([0]), times[1] + 0.9)
    for step in range(1, 10):
        motion.mean[:], motion.variance[:] = motion._predicted(np.array([0]), times[1] + 0.1 * step)
        motion.time[:] = times[1] + 0.1 * step
    np.testing.assert_allclose(motion.mean, mean, rtol=1e-9)
    np.testing.assert_allclose(motion.variance, variance, rtol=2e-2)  # the size, by which noise scales, has changed


def test_predicting_changes_nothing() -> None:
    boxes, times = walk(3)
    motion = KalmanMotion()
    motion.add(boxes, times[0])
    first = motion.predict(5.0)
    motion.predict(1.0)
    np.testing.assert_array_equal(motion.predict(5.0), first)
    np.testing.assert_allclose(motion.boxes(), boxes, atol=1e-9)


def test_a_box_never_turns_inside_out() -> None:
    motion = KalmanMotion()
    motion.add(np.array([[0.0, 0, 100, 100]]), 0.0)
    for time in (0.1, 0.2, 0.3):
        motion.update(np.array([0]), np.array([[200 * time, 200 * time, 100 - 200 * time, 100 - 200 * time]]), time)
    x1, y1, x2, y2 = motion.predict(5.0)[0]
    assert x1 <= x2
    assert y1 <= y2


def test_rows_are_kept_and_independent() -> None:
    boxes, times = walk(4)
    together, alone = KalmanMotion(), KalmanMotion()
    together.add(boxes[:2], times[0])
    alone.add(boxes[1:2], times[0])
    together.update(np.array([1]), boxes[2:3], times[1])
    alone.update(np.array([0]), boxes[2:3], times[1])
    together.keep(np.array([False, True]))
    np.testing.assert_allclose(together.predict(times[3]), alone.predict(times[3]))
    assert KalmanMotion().predict(1.0).shape == (0, 4)
