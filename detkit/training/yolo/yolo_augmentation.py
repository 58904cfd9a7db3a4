"""Random training pictures from images and their boxes.

Images are RGB uint8 (H, W, 3), boxes float32 (N, 4) xyxy in pixels of their image, classes int64 (N,).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.training.torch.augmentation import PAD, log_uniform


class Picture(NamedTuple):
    """An image with the boxes and classes of its objects and, where not all are certain, their scores in 0-1."""

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32] | None = None


def place(
    source: Picture,
    canvas: NDArray[np.uint8],
    rng: np.random.Generator,
    scale: float,
    *,
    flip: bool = False,
    visible: float = 0.25,
    smallest: float = 3.0,
) -> Picture:
    """Draw `source`, scaled and perhaps mirrored, on `canvas` (h, w, 3); returns it with the objects left in view.

    Along each axis the image lies at random: wholly inside the canvas if it fits, else covering it wholly. Boxes
    are cut to what is seen; those seen to less than the share `visible`, or narrower than `smallest` pixels, are
    dropped.
    """
    image = source.image[:, ::-1] if flip else source.image
    boxes = source.boxes.copy()
    if flip:
        boxes[:, [0, 2]] = image.shape[1] - boxes[:, [2, 0]]
    size = np.maximum(np.round(np.array(image.shape[1::-1]) * scale), 1).astype(int)  # width, height
    room = np.array(canvas.shape[1::-1]) - size
    offset = np.array([rng.integers(min(r, 0), max(r, 0) + 1) for r in room])  # of the image's corner in the canvas

    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(np.ascontiguousarray(image), (int(size[0]), int(size[1])), interpolation=interpolation)
    (x0, y0), (x1, y1) = np.maximum(offset, 0), np.minimum(offset + size, canvas.shape[1::-1])
    canvas[y0:y1, x0:x1] = resized[y0 - offset[1] : y1 - offset[1], x0 - offset[0] : x1 - offset[0]]

    boxes = boxes * np.tile(size / np.array(image.shape[1::-1]), 2) + np.tile(offset, 2)
    cut = boxes.copy()
    cut[:, [0, 2]] = cut[:, [0, 2]].clip(x0, x1)
    cut[:, [1, 3]] = cut[:, [1, 3]].clip(y0, y1)
    whole, seen = ((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (boxes, cut))
    keep = (seen > visible * whole) & ((cut[:, 2:] - cut[:, :2]).min(axis=1) >= smallest)
    scores = None if source.scores is None else source.scores[keep]
    return Picture(canvas, cut[keep].astype(np.float32), source.classes[keep], scores)


def scaled_crop(
    source: Picture, size: int, rng: np.random.Generator, full_size: int, scales: tuple[float, float]
) -> Picture:
    """One image on a square canvas of `size`: its long side becomes `full_size` times a random factor from `scales`."""
    canvas = np.full((size, size, 3), PAD, np.uint8)
    scale = full_size / max(source.image.shape[:2]) * log_uniform(rng, *scales)
    return place(source, canvas, rng, scale, flip=rng.random() < 0.5)


def mosaic(
    sources: Sequence[Picture], size: int, rng: np.random.Generator, full_size: int, scales: tuple[float, float]
) -> Picture:
    """Four images around a random point of a square canvas of `size`, each scaled as in `scaled_crop`.

    Bochkovskiy et al., "YOLOv4" (2020), section 3.3. Departure: a tile shows a random part of its image, not a
    corner.
    """
    canvas = np.full((size, size, 3), PAD, np.uint8)
    x, y = (int(rng.uniform(0.3, 0.7) * size) for _ in range(2))
    boxes, tiles = [], []
    for source, rows, columns in zip(
        sources,
        (slice(0, y), slice(0, y), slice(y, size), slice(y, size)),
        (slice(0, x), slice(x, size)) * 2,
        strict=True,
    ):
        scale = full_size / max(source.image.shape[:2]) * log_uniform(rng, *scales)
        tile = place(source, canvas[rows, columns], rng, scale, flip=rng.random() < 0.5)
        boxes.append(tile.boxes + np.array([columns.start, rows.start] * 2, np.float32))
        tiles.append(tile)
    scores = [np.ones(len(t.classes), np.float32) if t.scores is None else t.scores for t in tiles]
    certain = all(t.scores is None for t in tiles)
    return Picture(
        canvas,
        np.concatenate(boxes),
        np.concatenate([t.classes for t in tiles]),
        None if certain else np.concatenate(scores),
    )
