"""Pictures with a class for every pixel, as a training takes them: decoded, in a file that processes share."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError
from detkit.files import write_atomically
from detkit.images import read_image
from detkit.label_maps.palettes import IGNORED

logger = logging.getLogger("detkit")

Labels = NDArray[np.uint8]
PIXELS, INDEX = "pixels.bin", "index.npz"


class LabelSource(Protocol):
    """What gives the classes of a picture's pixels."""

    def __call__(self, size: tuple[int, int]) -> Labels:
        """Class numbers uint8 (H, W) of a picture of (height, width); InputError where they cannot be read."""

    def identity(self) -> str:
        """A text that changes when the labels do."""


@dataclass(frozen=True)
class LabelledPicture:
    """A picture's file, and what gives its classes."""

    path: Path
    labels: LabelSource

    def identity(self) -> str:
        """A text that changes when the picture or its labels do."""
        return f"{file_identity(self.path)} {self.labels.identity()}"


def file_identity(path: Path) -> str:
    """The file's place, size and time."""
    try:
        status = path.stat()
    except OSError:  # which reading it will say
        return str(path)
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"


def read_labelled(picture: LabelledPicture, longest: int) -> NDArray[np.uint8]:
    """Pixels (H, W, 4), RGB and the class number, whose long side is `longest` at most. InputError names what fails."""
    image = read_image(picture.path)
    labels = picture.labels(image.shape[:2])
    if labels.shape != image.shape[:2]:
        raise InputError(
            f"{picture.path}: is {image.shape[1]} x {image.shape[0]}, its label map "
            f"{labels.shape[1]} x {labels.shape[0]}"
        )
    scale = min(1.0, longest / max(image.shape[:2]))
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8) if scale < 1 else image
    return np.dstack((image, nearest(labels, size)))


def nearest(labels: Labels, size: tuple[int, int]) -> Labels:
    """Labels (H, W) at the `size` (width, height), each pixel the one nearest to its middle."""
    if labels.shape == size[::-1]:
        return labels
    return np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


class LabelledStore:
    """Decoded pictures with their labels in a file that processes map into memory; none is decoded twice.

    The `folder` has pixels.bin and index.npz; a killed process leaves no index.

    counts   int64 (N, 256), pixels of each class in each picture
    """

    def __init__(self, folder: Path) -> None:
        with np.load(folder / INDEX) as entries:
            self._shapes, self._starts = entries["shapes"], entries["starts"]
            self.counts: NDArray[np.int64] = entries["counts"]
        self._pixels: Any = np.memmap(folder / PIXELS, np.uint8, "r")

    @classmethod
    def filled(
        cls,
        folder: Path,
        pictures: Sequence[LabelledPicture],
        longest: int,
        threads: int = 1,
        advance: Callable[[int], None] = lambda count: None,
    ) -> LabelledStore:
        """The store of `pictures`: the one that is there, if it was made of the same ones at the same size.

        What cannot be read is left out with a warning, so that a training does not meet it after hours. InputError
        where nothing can.
        """
        folder.mkdir(parents=True, exist_ok=True)
        key = hashlib.sha256("\n".join([str(longest), *(one.identity() for one in pictures)]).encode()).hexdigest()
        if (folder / INDEX).exists():
            with np.load(folder / INDEX) as entries:
                if str(entries["key"]) == key:
                    advance(len(pictures))
                    return cls(folder)
            (folder / INDEX).unlink()
        shapes, counts = [], []

        def read(picture: LabelledPicture) -> NDArray[np.uint8] | str:
            try:
                return read_labelled(picture, longest)
            except InputError as error:
                return str(error)

        with write_atomically(folder / PIXELS) as file, ThreadPoolExecutor(threads) as executor:
            for first in range(0, len(pictures), 64):  # so that few decoded pictures wait to be written
                for pixels in executor.map(read, pictures[first : first + 64]):
                    advance(1)
                    if isinstance(pixels, str):
                        logger.warning("%s; left out", pixels)
                        continue
                    file.write(pixels.tobytes())
                    shapes.append(pixels.shape[:2])
                    counts.append(np.bincount(pixels[..., 3].ravel(), minlength=256))
        if not shapes:
            raise InputError("none of the labelled pictures can be read")
        sizes = 4 * np.prod(np.array(shapes, np.int64), axis=1)
        with write_atomically(folder / INDEX) as file:
            np.savez(file, key=key, shapes=shapes, starts=np.cumsum(sizes) - sizes, counts=np.array(counts, np.int64))
        return cls(folder)

    def __len__(self) -> int:
        return len(self._shapes)

    def picture(self, number: int) -> NDArray[np.uint8]:
        """Pixels (H, W, 4), RGB and the class number, not to be written to."""
        height, width = self._shapes[number].tolist()
        start = int(self._starts[number])
        result: NDArray[np.uint8] = self._pixels[start : start + 4 * height * width].reshape(height, width, 4)
        return result


@dataclass(frozen=True)
class LabelledSet:
    """What a session learns from: class names, and the pixels of each class in each picture (N, 256)."""

    names: Sequence[str]
    counts: NDArray[np.int64]
    weights: Sequence[float] | None = None

    def certain_classes(self) -> list[NDArray[np.int64]]:
        """Of each picture the classes that occur in it."""
        return [np.flatnonzero(row[: len(self.names)]) for row in self.counts]

    def loss_weights(self, balance: float) -> NDArray[np.float32]:
        """float32 (K,): (share of the pixels) ** -balance of each class, such that a pixel's mean weight is 1.

        A class that does not occur has the weight of one with a ten thousandth of the pixels.
        """
        pixels = self.counts[:, : len(self.names)].sum(axis=0)
        share = pixels / max(pixels.sum(), 1)
        weights = np.maximum(share, 1e-4) ** -balance
        return np.asarray(weights / (weights * share).sum(), np.float32)


def check_numbers(counts: NDArray[np.int64], names: Sequence[str], where: Path) -> None:
    """InputError where label maps, their pixels counted (N, 256), have numbers that are neither a class nor 255."""
    total = counts.sum(axis=0)
    strange = np.flatnonzero(total[len(names) : IGNORED]) + len(names)
    if len(strange):
        raise InputError(
            f"{where}: label maps have the number {strange[0]}, and there are {len(names)} classes, from 0, and 255 "
            "for pixels without one; name the classes by --names"
        )
    if not total[: len(names)].any():
        raise InputError(f"{where}: label maps have no pixel of any class")


def warn_of_missing(counts: NDArray[np.int64], names: Sequence[str]) -> None:
    """A warning that names the classes without a pixel in the pictures that are learnt from."""
    missing = [name for name, pixels in zip(names, counts.sum(axis=0).tolist(), strict=False) if not pixels]
    if missing:
        shown = ", ".join(missing[:8]) + (", ..." if len(missing) > 8 else "")
        logger.warning("no picture to learn from has a pixel of %s: it will not be found", shown)
