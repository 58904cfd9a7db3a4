"""A Kalman filter for boxes that move at nearly constant velocity, in continuous time (Kalman 1960).

State of a box: centre x, centre y, width, height, and the velocity of each, per second. The four coordinates are
independent of each other, so their covariance is four 2 x 2 matrices, and T tracks are filtered at once with arrays.

The process is white noise acceleration (Bar-Shalom et al. 2001, sec. 6.2.2) plus a random walk of the position:

    F(t) = [1 t; 0 1],   Q(t) = q [t^3/3 t^2/2; t^2/2 t] + w [t 0; 0 0]

One step over a gap then equals many small ones, to rounding: frame rates, gaps and skipped frames need no rule of
their own. All deviations scale with the size of the box, sqrt(width * height), as in DeepSORT's filter with height.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats, cxcywh_to_xyxy, xyxy_to_cxcywh
from detkit.tracking.motion import Rows


@dataclass(frozen=True)
class KalmanNoise:
    """Standard deviations for centre and side, in sizes of the box; chosen on six sets of detections at four rates.

    measured       of a detection
    acceleration   change of velocity in one second, in sizes per second
    walk           of the position in one second, beside what the velocity explains
    speed          of the velocity before anything is known of it, in sizes per second
    """

    measured: tuple[float, float] = (0.1, 0.15)
    acceleration: tuple[float, float] = (1.0, 0.4)
    walk: tuple[float, float] = (0.15, 0.4)
    speed: tuple[float, float] = (1.5, 0.3)


class KalmanMotion:
    """The filter as a motion model. State at each track's last detection:

    mean        (T, 2, 4): position and velocity of cx, cy, w, h
    variance    (T, 3, 4): of the position, covariance with the velocity, of the velocity
    time        (T,), seconds
    """

    def __init__(self, noise: KalmanNoise | None = None) -> None:
        noise = noise or KalmanNoise()
        self._measured, self._acceleration, self._walk, self._speed = (
            np.array([centre, centre, side, side]) ** 2
            for centre, side in (noise.measured, noise.acceleration, noise.walk, noise.speed)
        )
        self.mean: Floats = np.zeros((0, 2, 4))
        self.variance: Floats = np.zeros((0, 3, 4))
        self.time: Floats = np.zeros(0)

    def add(self, boxes: Floats, time: float) -> None:
        position = xyxy_to_cxcywh(np.asarray(boxes, np.float64))
        area = _area(position)
        mean = np.stack((position, np.zeros_like(position)), axis=1)
        variance = np.stack((area * self._measured, np.zeros_like(position), area * self._speed), axis=1)
        self.mean = np.concatenate((self.mean, mean))
        self.variance = np.concatenate((self.variance, variance))
        self.time = np.concatenate((self.time, np.full(len(boxes), time)))

    def predict(self, time: float) -> Floats:
        step = (time - self.time)[:, None]
        return _boxes(self.mean[:, 0] + step * self.mean[:, 1])

    def update(self, rows: NDArray[np.int64], boxes: Floats, time: float) -> None:
        mean, variance = self._predicted(rows, time)
        seen = xyxy_to_cxcywh(np.asarray(boxes, np.float64))
        total = variance[:, 0] + _area(seen) * self._measured
        gain_position, gain_velocity = variance[:, 0] / total, variance[:, 1] / total
        error = seen - mean[:, 0]
        self.mean[rows] = mean + np.stack((gain_position * error, gain_velocity * error), axis=1)
        # (I - K H) P with the gains above
        self.variance[rows] = np.stack(
            (
                (1 - gain_position) * variance[:, 0],
                (1 - gain_position) * variance[:, 1],
                variance[:, 2] - gain_velocity * variance[:, 1],
            ),
            axis=1,
        )
        self.time[rows] = time

    def boxes(self) -> Floats:
        return _boxes(self.mean[:, 0])

    def keep(self, rows: Rows) -> None:
        self.mean, self.variance, self.time = self.mean[rows], self.variance[rows], self.time[rows]

    def _predicted(self, rows: NDArray[np.int64], time: float) -> tuple[Floats, Floats]:
        """Mean and variance of the tracks `rows` at `time`: F mean, F P F' + Q."""
        mean, (position, mixed, velocity) = self.mean[rows], np.moveaxis(self.variance[rows], 1, 0)
        t = (time - self.time[rows])[:, None]
        area = _area(mean[:, 0])
        q, w = area * self._acceleration, area * self._walk
        predicted = np.stack((mean[:, 0] + t * mean[:, 1], mean[:, 1]), axis=1)
        variance = np.stack(
            (
                position + t * (2 * mixed + t * velocity) + t**3 / 3 * q + t * w,
                mixed + t * velocity + t**2 / 2 * q,
                velocity + t * q,
            ),
            axis=1,
        )
        return predicted, variance


def _area(position: Floats) -> Floats:
    """(N, 1), width times height of boxes cxcywh, at least one pixel."""
    return np.maximum(position[:, 2:3], 1) * np.maximum(position[:, 3:4], 1)


def _boxes(position: Floats) -> Floats:
    """xyxy of cxcywh; a side that was predicted below 0 is 0."""
    return cxcywh_to_xyxy(np.concatenate((position[:, :2], np.maximum(position[:, 2:], 0)), axis=1))
