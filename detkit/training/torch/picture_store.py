"""The pictures of a training, decoded and shrunk: in memory, or in a file that processes share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.files import write_atomically
from detkit.images import read_image

CACHE_BYTES = 3 * 2**30


class PictureStore:
    """Decoded images in a file that processes map into memory: any number of them fit and none is decoded twice.

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
