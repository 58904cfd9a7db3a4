"""What the writers of YOLO's label files share: a file a picture, then the names and the sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.by_picture import Picture, class_positions, pictures_of
from detkit.annotations.format import Format
from detkit.annotations.formats.yolo_txt import SIZE_FILE, yaml_of
from detkit.annotations.label_files import label_file
from detkit.annotations.number_text import number_text
from detkit.annotations.sizes import size_table
from detkit.dataset import GroundTruth

Numbers = NDArray[np.float64]


def label_files_of(
    ground_truth: GroundTruth, form: Format, line: Callable[[Picture, int], Sequence[float] | None], more: str = ""
) -> Iterator[tuple[str, bytes]]:
    """The files of a data set.

    line   the numbers behind the class of a picture's box, None where it has no line
    more   further lines of data.yaml
    OutputError where the size of a picture is not known.
    """
    numbers = class_positions(ground_truth)
    sizes = []
    for picture in pictures_of(ground_truth, form):
        if not (picture.width and picture.height):
            raise form.size_unknown(picture.file)
        lines = []
        for row, class_row in enumerate(picture.classes.tolist()):
            found = line(picture, row)
            if found is not None:
                lines.append(f"{numbers[class_row]} {' '.join(number_text(value, 10) for value in found)}\n")
        yield label_file(picture), "".join(lines).encode()
        sizes.append((f"{picture.stem}{picture.ending}", picture.width, picture.height))
    names = yaml_of([ground_truth.categories.names[k] for k in np.argsort(numbers)])
    yield "data.yaml", names + more.encode()
    yield SIZE_FILE, size_table(sizes)


def shares(points: Any, picture: Picture) -> list[float]:
    """x1, y1, x2, y2 ... of points (K, 2) as shares of the picture, cut at 0 and 1."""
    values = np.asarray(points, np.float64).reshape(-1, 2) / (picture.width, picture.height)
    return [float(value) for value in np.clip(values, 0, 1).ravel()]


def outside(points: Numbers, ground_truth: GroundTruth) -> NDArray[np.bool_]:
    """bool (N, K): which points (N, K, 2) of N objects lie out of their pictures, by more than a rounding."""
    images = ground_truth.images
    limits = np.stack((images.widths, images.heights), axis=1)[ground_truth.image_index][:, None]
    return np.asarray(((points < -1e-6) | (points > limits + 1e-6)).any(axis=2))
