"""Training pictures: which images, augmented how, labelled by whom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.training.torch.augmentation import jitter_colours
from detkit.training.torch.picture_store import CACHE_BYTES, PictureStore, read_shrunk
from detkit.training.torch.training_set import TrainingSet
from detkit.training.yolo.teacher import YoloxTeacher
from detkit.training.yolo.yolo_augmentation import Picture, mosaic, scaled_crop
from detkit.training.yolo.yolo_recipe import Recipe

FINAL_SCALES = (0.8, 1.2)


class Request(NamedTuple):
    """One picture to make. The same request always gives the same picture."""

    image: int  # its index
    seed: tuple[int, int]
    size: int
    final: bool


class Sample(NamedTuple):
    """A picture of square `image` (size, size, 3) uint8 RGB and, with a teacher, its scores (A, C) and boxes (A, 4)."""

    picture: Picture
    teacher_scores: NDArray[np.float32] | None
    teacher_boxes: NDArray[np.float32] | None


class Batch(NamedTuple):
    """Images (N, 3, S, S) uint8; for each picture its boxes (G, 4), classes (G,) and scores (G,) or None; the teacher's
    view or None.
    """

    images: Tensor
    boxes: list[Tensor]
    classes: list[Tensor]
    scores: list[Tensor | None]
    teacher_scores: Tensor | None
    teacher_boxes: Tensor | None


class AugmentedPictures:
    """Pictures by request: a mosaic of four images or a crop of one, colours jittered; only crops in the end.

    Images are shrunk to `image_size` along the long side (never enlarged). They are kept in memory as long as
    CACHE_BYTES last or, all of them, in the `store`.
    """

    def __init__(
        self,
        data: TrainingSet,
        image_size: int,
        teacher: Path | None = None,
        recipe: Recipe = Recipe(),
        store: PictureStore | None = None,
    ) -> None:
        self.data, self.image_size, self.recipe = data, image_size, recipe
        self.teacher_path = teacher
        self._teacher: YoloxTeacher | None = None
        self._cache: dict[int, Picture] = {}
        used = 0
        self._store = store
        for i in range(0 if store else len(data.paths)):
            picture = self._read(i)
            used += picture.image.nbytes
            if used > CACHE_BYTES:
                break
            self._cache[i] = picture

    def _read(self, index: int) -> Picture:
        if self._store:
            image, scale = self._store.image(index), self._store.scale(index)
        else:
            image, scale = read_shrunk(self.data.paths[index], self.image_size)
        boxes = (self.data.boxes[index] * scale).astype(np.float32)
        scores = None if self.data.scores is None else self.data.scores[index]
        return Picture(image, boxes, self.data.classes[index].astype(np.int64), scores)

    def source(self, index: int) -> Picture:
        return self._cache.get(index) or self._read(index)

    def make(self, request: Request) -> Sample:
        rng = np.random.default_rng(request.seed)
        source = self.source(request.image)
        if request.final:
            picture = scaled_crop(source, request.size, rng, self.image_size, FINAL_SCALES)
        elif rng.random() < self.recipe.mosaic_share:
            others = [self.source(int(i)) for i in rng.integers(len(self.data.paths), size=3)]
            picture = mosaic([source, *others], request.size, rng, self.image_size, self.recipe.mosaic_scales)
        else:
            picture = scaled_crop(source, request.size, rng, self.image_size, self.recipe.scales)
        jittered = picture._replace(image=jitter_colours(picture.image, rng))
        if self.teacher_path is None:
            return Sample(jittered, None, None)
        if self._teacher is None:
            self._teacher = YoloxTeacher(self.teacher_path, len(self.data.names))
        return Sample(jittered, *self._teacher(picture.image))


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one size. The images keep their channels last in memory."""
    images = torch.from_numpy(np.stack([s.picture.image for s in samples])).permute(0, 3, 1, 2)
    boxes = [torch.from_numpy(s.picture.boxes) for s in samples]
    classes = [torch.from_numpy(s.picture.classes) for s in samples]
    sure = [None if s.picture.scores is None else torch.from_numpy(s.picture.scores) for s in samples]
    if samples[0].teacher_scores is None:
        return Batch(images, boxes, classes, sure, None, None)
    scores = torch.from_numpy(np.stack([s.teacher_scores for s in samples]))  # type: ignore[misc]
    teacher_boxes = torch.from_numpy(np.stack([s.teacher_boxes for s in samples]))  # type: ignore[misc]
    return Batch(images, boxes, classes, sure, scores, teacher_boxes)
