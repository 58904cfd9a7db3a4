"""Training pictures for torch: which images, in which order, augmented how, labelled by whom."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.errors import InputError
from detkit.files import write_atomically
from detkit.images import read_image

from .augment import Picture, jitter_colours, mosaic, scaled_crop
from .recipe import Recipe
from .teacher import YoloxTeacher

CACHE_BYTES = 3 * 2**30
FINAL_SCALES = (0.8, 1.2)


@dataclass(frozen=True)
class TrainingSet:
    """Images and what is in them: for each path boxes float32 (N, 4) xyxy in pixels, and classes int64 (N,) into
    `names`.

    Pixels are those of the image as it is shown, EXIF rotation applied. An image without objects has empty arrays.
    """

    paths: Sequence[Path]
    boxes: Sequence[NDArray[np.float32]]
    classes: Sequence[NDArray[np.int64]]
    names: Sequence[str]
    scores: Sequence[NDArray[np.float32]] | None = None  # how certain each object is, 0-1; None: all of them are

    def __post_init__(self) -> None:
        if not self.paths:
            raise InputError("there are no images to train on")
        if not self.names:
            raise InputError("there are no classes to train")
        if not len(self.paths) == len(self.boxes) == len(self.classes):
            raise InputError(
                f"{len(self.paths)} images, but boxes for {len(self.boxes)} and classes for {len(self.classes)}"
            )
        for path, boxes, classes in zip(self.paths, self.boxes, self.classes, strict=True):
            if boxes.shape != (len(classes), 4):
                raise InputError(f"{path}: expected boxes of shape ({len(classes)}, 4), got {boxes.shape}")
            if len(classes) and not 0 <= classes.min() <= classes.max() < len(self.names):
                raise InputError(f"{path}: class {classes.max()} of {len(self.names)}")

    def certain_classes(self) -> list[NDArray[np.int64]]:
        """Of each picture the classes of the objects that are rather there than not."""
        if self.scores is None:
            return list(self.classes)
        return [classes[scores >= 0.5] for classes, scores in zip(self.classes, self.scores, strict=True)]


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


class PictureStore:
    """Decoded images in a file that processes map into memory, so that any number of them fit and none is decoded twice.

    Images are shrunk to `longest` pixels along the long side. The `folder` gets pixels.bin and index.npz; what is
    there is used again if it was made from the same paths at the same size. A killed process leaves no index.
    """

    def __init__(self, folder: Path, paths: Sequence[Path], longest: int) -> None:
        key = hashlib.sha256("\n".join([str(longest), *map(str, paths)]).encode()).hexdigest()
        index = folder / "index.npz"
        if not index.exists() or str(np.load(index)["key"]) != key:
            self._fill(folder, paths, longest, key)
        with np.load(index) as entries:
            self._shapes, self._starts, self._scales = entries["shapes"], entries["starts"], entries["scales"]
        self._pixels = np.memmap(folder / "pixels.bin", np.uint8, "r")

    @staticmethod
    def _fill(folder: Path, paths: Sequence[Path], longest: int, key: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        shapes, scales = [], []
        with write_atomically(folder / "pixels.bin") as file:
            for path in paths:
                image, scale = read_shrunk(path, longest)
                file.write(np.ascontiguousarray(image).tobytes())
                shapes.append(image.shape[:2])
                scales.append(scale)
        sizes = 3 * np.prod(np.array(shapes, np.int64), axis=1)
        starts = np.cumsum(sizes) - sizes
        with write_atomically(folder / "index.npz") as file:
            np.savez(file, key=key, shapes=shapes, starts=starts, scales=scales)

    def image(self, number: int) -> NDArray[np.uint8]:
        """Image (H, W, 3) RGB, not to be written to."""
        height, width = self._shapes[number].tolist()
        start = int(self._starts[number])
        return self._pixels[start : start + 3 * height * width].reshape(height, width, 3)

    def scale(self, number: int) -> float:
        """What the image's size was multiplied with."""
        return float(self._scales[number])


def read_shrunk(path: Path, longest: int) -> tuple[NDArray[np.uint8], float]:
    """An image (H, W, 3) RGB whose long side is `longest` pixels at most, and what its size was multiplied with."""
    image = read_image(path)
    scale = min(1.0, longest / max(image.shape[:2]))
    if scale < 1:
        image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    return image, scale


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


def repeat_factors(
    classes: Sequence[NDArray[np.int64]], number_of_classes: int, threshold: float
) -> NDArray[np.float64]:
    """How often each image is to be seen in an epoch, so that rare classes are not lost among the common ones.

    Gupta et al., "LVIS" (2019), appendix B: a class that occurs in the share f of the images has the factor
    max(1, sqrt(threshold / f)), an image the largest factor of its classes.
    """
    counts = np.zeros(number_of_classes)
    for c in classes:
        counts[np.unique(c)] += 1
    share = np.maximum(counts, 1) / max(len(classes), 1)
    factor = np.maximum(1.0, np.sqrt(threshold / share))
    return np.array([factor[c].max(initial=1.0) for c in classes])


def image_stream(factors: NDArray[np.float64], seed: int) -> Iterator[int]:
    """Image indices without end: epochs in random order, each image as often as its factor says on average."""
    for epoch in itertools.count():
        rng = np.random.default_rng((seed, epoch))
        repeats = np.floor(factors + rng.random(len(factors))).astype(int)
        yield from rng.permutation(np.repeat(np.arange(len(factors)), repeats)).tolist()


def batched(stream: Iterator[int], size: int) -> Iterator[list[int]]:
    """The stream in lists of `size`, as itertools.batched from Python 3.12 on."""
    while chunk := list(itertools.islice(stream, size)):
        yield chunk


def batch_images(
    factors: NDArray[np.float64], batch: int, seed: int, start: int
) -> Iterator[list[tuple[int, tuple[int, int]]]]:
    """For each step from `start` on, the image and the seed of each picture of its batch."""
    for step, images in enumerate(batched(image_stream(factors, seed), batch)):
        if step >= start:
            yield [(image, (seed, step * batch + i)) for i, image in enumerate(images)]
