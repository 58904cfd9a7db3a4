"""A ground truth picture by picture, as the writers of formats with one file or one entry a picture take it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.format import FLAGS, Format
from detkit.dataset import GroundTruth
from detkit.errors import OutputError
from detkit.picture_names import plain_path, without_ending
from detkit.shapes.shape_columns import Shapes


@dataclass(frozen=True)
class Picture:
    """A picture with its N boxes.

    stem     relative path of its file in a folder format, without ending
    file     its name, with the relative folder; the stem where it has none
    width, height   pixels, 0 where they are not known
    names    class names (N,)
    classes  int64 (N,), rows of the table of classes
    corners  float64 (N, 4), xyxy, in order also where a width or height is negative
    flags    bool (N,) by name
    shapes   what the boxes have beside
    scores   of a draft (N,); else none
    """

    stem: str
    file: str
    width: int
    height: int
    names: list[str]
    classes: NDArray[np.int64]
    corners: NDArray[np.float64]
    flags: dict[str, NDArray[np.bool_]]
    shapes: Shapes
    scores: list[float]

    @property
    def ending(self) -> str:
        """That of its file, "" where it has none."""
        return self.file[len(without_ending(self.file)) :]


def pictures_of(ground_truth: GroundTruth, form: Format) -> Iterator[Picture]:
    """The pictures in the order of the table, also those without boxes.

    OutputError where the file of a picture in a folder of `form` cannot be.
    """
    images, categories = ground_truth.images, ground_truth.categories
    stems = _stems(ground_truth, form) if form.folder else images.files
    corners = corners_of(ground_truth)
    flags = {key: getattr(ground_truth, key) for key in FLAGS}
    for image, (stem, rows) in enumerate(zip(stems, ground_truth.rows_by_image(), strict=False)):
        yield Picture(
            stem,
            plain_path(images.files[image]) or stem or str(images.ids[image]),
            int(images.widths[image]),
            int(images.heights[image]),
            [categories.names[k] for k in ground_truth.class_index[rows]],
            ground_truth.class_index[rows],
            corners[rows],
            {key: column[rows] for key, column in flags.items()},
            ground_truth.shapes[rows],
            [ground_truth.scores[row] for row in rows.tolist()] if ground_truth.scores else [],
        )


def corners_of(ground_truth: GroundTruth) -> NDArray[np.float64]:
    """(M, 4) xyxy, corners in order also where a width or height is negative."""
    boxes = ground_truth.boxes
    far = boxes[:, :2] + boxes[:, 2:]
    return np.concatenate((np.minimum(boxes[:, :2], far), np.maximum(boxes[:, :2], far)), axis=1)


def class_positions(ground_truth: GroundTruth) -> NDArray[np.int64]:
    """int64 (K,): for each class its number from 0 in the order of the ids, text after numbers."""
    ids = ground_truth.categories.ids
    order = sorted(range(len(ids)), key=lambda k: (isinstance(ids[k], str), ids[k]))
    positions = np.empty(len(ids), np.int64)
    positions[order] = np.arange(len(ids))
    return positions


def _stems(ground_truth: GroundTruth, form: Format) -> list[str]:
    """For each image the relative path of its file without ending, never outside of the folder, never twice.

    OutputError where that is not possible, or where no reader would look for it: in a hidden file, or in the folder
    that stands for the whole data set.
    """
    stems: list[str] = []
    seen: dict[str, str] = {}
    for id, file in zip(ground_truth.images.ids, ground_truth.images.files, strict=True):
        name = file or str(id)
        parts = [part for part in PurePosixPath(plain_path(name)).parts if part not in ("/", "..", ".")]
        stem = without_ending("/".join(part.replace(":", "_").replace("\0", "_") for part in parts))
        if not stem:
            raise OutputError(f"image {id!r} has a name that cannot be a file: '{name}'")
        if any(part.startswith(".") for part in stem.split("/")):
            raise OutputError(
                f"image '{name}' would become a hidden file, which is not read again; give it another name"
            )
        if form.inner and stem.startswith(f"{form.inner}/"):
            raise OutputError(f"image '{name}' would hide the others, as {form.title} keeps a whole data set in "
                              f"'{form.inner}'; give the folder another name")  # fmt: skip
        if stem.casefold() in seen:
            raise OutputError(
                f"images '{seen[stem.casefold()]}' and '{name}' would be written to the same file '{stem}'"
            )
        seen[stem.casefold()] = name
        stems.append(stem)
    return stems
