"""Training pictures: whole ones, scaled and mirrored at random, with their objects and proposals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.training.rcnn.rcnn_recipe import Recipe
from detkit.training.torch.augmentation import PAD, jitter_colours, log_uniform
from detkit.training.torch.picture_store import CACHE_BYTES, read_shrunk
from detkit.training.torch.training_set import BatchOrder, TrainingSet

Boxes = NDArray[np.float32]


class Picture(NamedTuple):
    """An image (H, W, 3) RGB with its objects' boxes (G, 4) and classes (G,), and with proposals (P, 4) in pixels."""

    image: NDArray[np.uint8]
    boxes: Boxes
    classes: NDArray[np.int64]
    proposals: Boxes


class Batch(NamedTuple):
    """Images (N, 3, H, W) uint8 and what lies on each.

    Each picture has a width and a height, lies at the top left and has boxes (G, 4), classes (G,) and proposals (P, 4).
    `seed` is for all that is random in the step.
    """

    images: Tensor
    sizes: list[tuple[int, int]]
    boxes: list[Tensor]
    classes: list[Tensor]
    proposals: list[Tensor]
    seed: tuple[int, int]


class BatchSource:
    """The batches of a training or, of `processes`, the part that falls to process `rank`.

    Images are kept in memory, shrunk to the image size, as long as CACHE_BYTES last. `proposals` has the boxes (P, 4)
    of each picture of the data, in its pixels, or is None.
    """

    def __init__(
        self,
        data: TrainingSet,
        proposals: Sequence[Boxes] | None,
        recipe: Recipe,
        order: BatchOrder,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.data, self.proposals, self.recipe = data, proposals, recipe
        self.images = order.part(rank, processes)
        self._cache: dict[int, Picture] = {}
        self._cached = 0

    def next(self) -> Batch:
        """The next batch; the same step always gives the same."""
        wanted = next(self.images)
        return collate([self.picture(image, seed) for image, seed in wanted], wanted[0][1])

    def picture(self, index: int, seed: tuple[int, int]) -> Picture:
        """Picture `index`, changed at random; the same seed always gives the same."""
        rng = np.random.default_rng(seed)
        source = self._source(index)
        scale = self.recipe.image_size / max(source.image.shape[:2]) * log_uniform(rng, *self.recipe.scales)
        picture = transform(source, scale, flip=rng.random() < 0.5)
        return picture._replace(image=jitter_colours(picture.image, rng))

    def _source(self, index: int) -> Picture:
        if index in self._cache:
            return self._cache[index]
        image, scale = read_shrunk(self.data.paths[index], self.recipe.image_size)
        proposals = np.zeros((0, 4), np.float32) if self.proposals is None else self.proposals[index]
        boxes, classes = self.data.boxes[index].astype(np.float32), self.data.classes[index].astype(np.int64)
        whole = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        picture = Picture(image, boxes[whole] * np.float32(scale), classes[whole], proposals * np.float32(scale))
        if self._cached + image.nbytes <= CACHE_BYTES:
            self._cache[index] = picture
            self._cached += image.nbytes
        return picture


def transform(source: Picture, scale: float, flip: bool) -> Picture:
    """The picture with each side `scale` times as long, to whole pixels, and perhaps mirrored; boxes move along."""
    height, width = source.image.shape[:2]
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(source.image, (new_width, new_height), interpolation=interpolation)
    factors = np.array([new_width / width, new_height / height] * 2, np.float32)
    boxes, proposals = source.boxes * factors, source.proposals * factors
    if flip:
        image = image[:, ::-1]
        boxes, proposals = (np.stack((new_width - b[:, 2], b[:, 1], new_width - b[:, 0], b[:, 3]), 1)
                            for b in (boxes, proposals))  # fmt: skip
    return Picture(np.ascontiguousarray(image, np.uint8), boxes, source.classes, proposals)


def collate(pictures: Sequence[Picture], seed: tuple[int, int]) -> Batch:
    """Pictures on gray canvases of the smallest common size that is a multiple of 32; channels last in memory."""
    sizes = [(picture.image.shape[1], picture.image.shape[0]) for picture in pictures]
    width, height = (-(-max(size[i] for size in sizes) // 32) * 32 for i in range(2))
    canvas = np.full((len(pictures), height, width, 3), PAD, np.uint8)
    for row, picture, (w, h) in zip(canvas, pictures, sizes, strict=True):
        row[:h, :w] = picture.image
    return Batch(
        torch.from_numpy(canvas).permute(0, 3, 1, 2),
        sizes,
        [torch.from_numpy(picture.boxes) for picture in pictures],
        [torch.from_numpy(picture.classes) for picture in pictures],
        [torch.from_numpy(picture.proposals) for picture in pictures],
        seed,
    )
