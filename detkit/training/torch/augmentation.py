"""What changes training pictures of any kind at random."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

PAD = 114


def jitter_colours(
    image: NDArray[np.uint8], rng: np.random.Generator, hue: float = 0.015, saturation: float = 0.6, value: float = 0.4
) -> NDArray[np.uint8]:
    """Multiply hue, saturation and value by random gains up to 1 +- the given shares, through lookup tables."""
    gains = 1 + rng.uniform(-1, 1, 3) * (hue, saturation, value)
    h, s, v = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    levels = np.arange(256)
    tables = (levels * gains[0] % 180, (levels * gains[1]).clip(0, 255), (levels * gains[2]).clip(0, 255))
    h, s, v = (cv2.LUT(c, t.astype(np.uint8)) for c, t in zip((h, s, v), tables, strict=True))
    return np.asarray(cv2.cvtColor(cv2.merge((h, s, v)), cv2.COLOR_HSV2RGB), dtype=np.uint8)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A factor between `low` and `high` whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
