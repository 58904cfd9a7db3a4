"""What is learnt from, and in which order: images with their objects, and the batches of each step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError
from detkit.training.pictures import AnnotatedPicture


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
    weights: Sequence[float] | None = None  # how often to see each image beside others; None: all alike

    def __post_init__(self) -> None:
        if not self.paths:
            raise InputError("there are no images to train on")
        if not self.names:
            raise InputError("there are no classes to train")
        if not len(self.paths) == len(self.boxes) == len(self.classes):
            raise InputError(
                f"{len(self.paths)} images, but boxes for {len(self.boxes)} and classes for {len(self.classes)}"
            )
        if self.weights is not None and (len(self.weights) != len(self.paths) or min(self.weights) < 0):
            raise InputError(f"{len(self.paths)} images, but {len(self.weights)} weights, or some below 0")
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


def training_set(pictures: Sequence[AnnotatedPicture], names: Sequence[str]) -> TrainingSet:
    """Annotated pictures, whose classes are `names`, as a set to learn from."""
    return TrainingSet(
        [picture.path for picture in pictures],
        [picture.boxes for picture in pictures],
        [picture.classes for picture in pictures],
        names,
    )


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


@dataclass(frozen=True, eq=False)
class BatchOrder:
    """Which images the batches of a training have, from step `start` on: each as often as `factors` (N,) say."""

    factors: NDArray[np.float64]
    batch: int
    seed: int
    start: int = 0

    def part(self, rank: int = 0, processes: int = 1) -> Iterator[list[tuple[int, tuple[int, int]]]]:
        """For each step the image and the seed of each picture that falls to process `rank` of `processes`."""
        for step, images in enumerate(batched(image_stream(self.factors, self.seed), self.batch)):
            if step >= self.start:
                pictures = [(image, (self.seed, step * self.batch + i)) for i, image in enumerate(images)]
                yield pictures[rank::processes]
