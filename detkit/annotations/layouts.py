"""What four numbers of a box may be beside x, y, width, height in pixels, and how that shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.image_evidence import Fit, located, sample
from detkit.annotations.problems import Problems
from detkit.dataset import GroundTruth, Images, Predictions
from detkit.errors import InputError

Boxes = NDArray[np.float64]
# Above it no share of a picture lies, but for a little that reaches out.
_SHARES = 1.05
# Pictures smaller than this may have boxes of a pixel.
_SMALL = 16


def _corners(boxes: Boxes) -> Boxes:
    return np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), axis=1)


def _centre(boxes: Boxes) -> Boxes:
    return np.concatenate((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]), axis=1)


Layouts = Mapping[str, Callable[[Boxes], Boxes]]
AS_READ: Layouts = {"x, y, width, height": lambda boxes: boxes}
LAYOUTS: Layouts = {
    **AS_READ,
    "corners x1, y1, x2, y2": _corners,
    "centre x, centre y, width, height": _centre,
}


def are_shares(boxes: Boxes) -> bool:
    """Whether the numbers of boxes can be shares of a picture: none above 1, or hardly, and most less than a pixel."""
    if not len(boxes) or not np.isfinite(boxes).all() or np.abs(boxes).max() > _SHARES:
        return False
    return bool((np.abs(boxes[:, 2:]) < 0.999).mean() >= 0.5)


def settled_boxes(
    path: Path, found: Predictions, target: GroundTruth, problems: Problems, layouts: Layouts = AS_READ
) -> Predictions:
    """The detections with boxes read as they fit the ground truth: as they are, unless that is clearly wrong.

    InputError where the boxes are shares of pictures under no layout that fits: as pixels they are nothing.
    """
    image_index, boxes = found.image_index, found.boxes
    some = sample(len(boxes), found.scores)
    some = some[image_index[some] >= 0]
    usual = located(target, image_index[some], boxes[some])
    if not len(some) or usual.share >= 0.1:
        return found
    sizes = np.stack((target.images.widths, target.images.heights), axis=1).astype(np.float64)
    scale = np.tile(sizes, 2)[image_index]
    shares = are_shares(boxes) and _are_large(target.images)
    readings: list[tuple[Fit, str, Boxes]] = []
    for what, layout in layouts.items():
        if shares:
            as_pixels = layout(boxes * scale)
            readings.append(
                (located(target, image_index[some], as_pixels[some]), f"{what} as shares of the picture", as_pixels)
            )
        as_pixels = layout(boxes)
        readings.append((located(target, image_index[some], as_pixels[some]), what, as_pixels))
    fit, what, best = max(readings, key=lambda reading: reading[0].hits)
    if fit.beats(usual):
        numbers = ", ".join(f"{value:g}" for value in boxes[some[0]])
        problems.add(
            f"boxes that are {what}, and not x, y, width, height in pixels, as those of the ground truth show",
            numbers,
            len(boxes),
        )
        return replace(found, boxes=best, shapes=replace(found.shapes, areas=None))
    if shares and not usual.hits:
        raise shares_error(path, boxes)
    return found


def shares_error(path: Path, boxes: Boxes) -> InputError:
    """The error for boxes that are shares of pictures where pixels are meant."""
    numbers = ", ".join(f"{value:g}" for value in boxes[0])
    return InputError(
        f"{path}: its {len(boxes)} boxes lie between 0 and 1 (first: {numbers}), so they are shares of the picture; "
        "this format has pixels: multiply them by the width and height of the picture"
    )


def check_shares(path: Path, images: Images, boxes: Boxes) -> None:
    """InputError where annotations in pixels are all shares of pictures that are larger than a few pixels."""
    if are_shares(boxes) and (boxes[:, 2:] > 0).any() and _are_large(images):
        raise shares_error(path, boxes)


def _are_large(images: Images) -> bool:
    """Whether boxes of less than a pixel make no sense in any of the pictures, as far as their sizes are known."""
    known = images.widths[images.widths > 0]
    return not len(known) or int(known.min()) >= _SMALL
