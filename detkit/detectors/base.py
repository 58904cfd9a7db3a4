"""What every detector is: a callable `image -> Detections` that works in two steps, and tells what it is made of.

`PictureModel` is the same for whatever is found in a picture; a detector is one that finds boxes.

Settings travel as values: `Selection` (which boxes), `Runtime` (where it runs) and one value of the detector's own
options. Each of their fields may also be given by its name: `Yolo("model.onnx", conf=0.4, device="cpu")`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from detkit.detections import Detections
from detkit.detectors.selection import Selection
from detkit.files import sha256
from detkit.images import Image, as_image, read_image

# A picture as it may be given: an array as `images.as_image` takes it, or the path of a file.
Picture = NDArray[Any] | str | os.PathLike[str]
# What is found in a picture.
Found = TypeVar("Found")


class PictureModel(ABC, Generic[Found]):
    """An image, uint8 (H, W, 3) RGB, to what is found in it.

    names   of the classes
    batch   pictures that `detect` takes at once with profit
    path    the file that it comes from; None where it was made in memory
    by_name    whether `prepare` looks something up by the picture's name
    reads_parts   whether `read` may give a picture of which `prepare` takes parts

    `prepare` may run in several threads at once, away from the pictures' order; `detect` runs in one thread, on the
    prepared pictures of one batch.
    """

    names: tuple[str, ...] = ()
    batch: int = 1
    path: Path | None = None
    by_name: bool = False
    reads_parts: bool = False

    def read(self, path: Path) -> Any:
        """What `prepare` takes of a file: the picture, uint8 (H, W, 3) RGB. InputError where it cannot be read."""
        return read_image(path)

    @abstractmethod
    def prepare(self, image: Image, name: str = "") -> Any:
        """What `detect` wants of a picture; `name` is what outputs call it, where something is looked up by it."""

    @abstractmethod
    def detect(self, prepared: Sequence[Any]) -> list[Found]:
        """What is found in prepared pictures, in their order."""

    @overload
    def __call__(self, image: Picture, name: str = "") -> Found: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, image: Sequence[Picture], name: str = "") -> list[Found]: ...

    def __call__(self, image: Picture | Sequence[Picture], name: str = "") -> Found | list[Found]:
        """What is in one picture, an array as `images.as_image` takes it or a file; of a list, one result each.

        name   of the picture in a file of proposals; a file's own name where none is given
        """
        if isinstance(image, list | tuple):
            pictures = [self.prepare(*self._named(one, name)) for one in image]
            parts = [self.detect(pictures[k : k + self.batch]) for k in range(0, len(pictures), self.batch)]
            return [found for part in parts for found in part]
        return self.detect([self.prepare(*self._named(image, name))])[0]  # type: ignore[arg-type]

    def regions(self, prepared: Any) -> NDArray[np.float32] | None:
        """The boxes (N, 4) xyxy, in pixels of a prepared picture, that are looked at; None for none such."""
        return None

    def heat(self, prepared: Any) -> NDArray[np.float32] | None:
        """Scores from 0 to 1 over a prepared picture (H, W), the highest of all scales; None where there are none."""
        return None

    @property
    def fingerprint(self) -> str:
        """What results depend on: the SHA-256 of the file. The same name may stand for another file tomorrow."""
        return "" if self.path is None else sha256(self.path)

    def about(self) -> list[str]:
        """What it is and how it runs, a line each, for those who want to know."""
        return [] if self.path is None else [str(self.path)]

    def _named(self, image: Picture, name: str) -> tuple[Image, str]:
        if isinstance(image, str | os.PathLike):
            return self.read(Path(image)), name or Path(image).name
        return as_image(np.asarray(image)), name


class Detector(PictureModel[Detections]):
    """An image, uint8 (H, W, 3) RGB, to `Detections`.

    selection   which boxes become detections
    """

    selection: Selection = Selection()
