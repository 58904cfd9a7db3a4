"""The masks of Pascal VOC's objects, which lie beside the XML files as PNG files of their numbers."""

from __future__ import annotations

from pathlib import Path

from detkit.errors import InputError
from detkit.label_maps.png import read_label_png
from detkit.shapes.masks import Masks

OBJECTS, CLASSES = "SegmentationObject", "SegmentationClass"
# Between objects, a pixel of none.
BORDER = 255


def masks_beside(path: Path, inner: str, stem: str, size: tuple[int, int]) -> dict[int, Masks]:
    """The mask of the k-th object of a picture, counted from 1, {} where there is no file.

    path   the folder that holds SegmentationObject, or the one beside it (`inner`) with the XML files
    size   height and width as the XML says, 0 where it does not
    """
    roots = [path, *([path.parent] if path.name == inner else [])]
    file = next((file for root in roots if (file := root / OBJECTS / f"{stem}.png").is_file()), None)
    if file is None:
        return {}
    values = read_label_png(file).values
    if values.ndim != 2 or (all(size) and values.shape != size):
        raise InputError(f"{file}: is {values.shape[1]} x {values.shape[0]}, and the picture {size[1]} x {size[0]}")
    masks, numbers = Masks.from_labels(values, (0, BORDER))
    return {number: masks[row] for row, number in enumerate(numbers.tolist())}
