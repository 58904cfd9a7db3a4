"""Random crops of pictures with their labels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.label_maps.palettes import IGNORED
from detkit.training.torch.augmentation import PAD, jitter_colours, log_uniform


def crop(
    picture: NDArray[np.uint8], size: int, rng: np.random.Generator, full_size: int, scales: tuple[float, float]
) -> NDArray[np.uint8]:
    """A square (size, size, 4) of a picture (H, W, 4), RGB and the class number: scaled, mirrored, colours changed.

    The picture's long side becomes `full_size` times a random factor from `scales`. Along each axis it lies at random:
    wholly inside the square if it fits, else covering it wholly. What is beside it is gray and ignored.
    """
    scale = full_size / max(picture.shape[:2]) * log_uniform(rng, *scales)
    room = size - np.array(picture.shape[1::-1]) * scale
    left, top = rng.uniform(np.minimum(room, 0), np.maximum(room, 0)).tolist()
    square = placed(picture, size, scale, (left, top), flip=rng.random() < 0.5)
    square[..., :3] = jitter_colours(np.ascontiguousarray(square[..., :3]), rng)
    return square


def fitted(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """A picture (H, W, 4) at the top left of a square, its long side `size`; what is beside it is gray and ignored."""
    return placed(picture, size, size / max(picture.shape[:2]), (0.0, 0.0))


def placed(
    picture: NDArray[np.uint8], size: int, scale: float, corner: tuple[float, float], *, flip: bool = False
) -> NDArray[np.uint8]:
    """A picture (H, W, 4), scaled and perhaps mirrored, with its left top `corner` there in a square of `size`."""
    towards = -scale if flip else scale
    left = corner[0] + (scale * picture.shape[1] if flip else 0.0)
    # Pixels are squares: the middle of the first one is at half a pixel.
    matrix = np.array([[towards, 0, left + towards / 2 - 0.5], [0, scale, corner[1] + scale / 2 - 0.5]])
    canvas = np.empty((size, size, 4), np.uint8)
    canvas[..., :3] = cv2.warpAffine(
        np.ascontiguousarray(picture[..., :3]), matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=(PAD,) * 3
    )
    canvas[..., 3] = cv2.warpAffine(
        np.ascontiguousarray(picture[..., 3]), matrix, (size, size), flags=cv2.INTER_NEAREST, borderValue=IGNORED
    )
    return canvas
