"""YOLO txt with polygons (ultralytics' -seg): `class x1 y1 x2 y2 ...`, one ring a line, shares of the picture.

Read by `yolo_txt`, where the name of the format says that longer lines are polygons. One ring holds neither parts nor
holes; they are joined by lines that cover nothing, so what is drawn from it (by COCO's rule) is the same. A box without
an outline is written as the ring of its corners: ultralytics takes every line of such a file for a polygon.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from detkit.annotations.beside import upright_corners
from detkit.annotations.by_picture import Picture
from detkit.annotations.format import Format
from detkit.annotations.formats.yolo_files import label_files_of, shares
from detkit.annotations.formats.yolo_txt import read as read
from detkit.annotations.problems import boxes_text
from detkit.dataset import GroundTruth
from detkit.shapes.clipping import clipped


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One label file a picture, then the names and the sizes."""
    return label_files_of(ground_truth, form, _line)


def _line(picture: Picture, row: int) -> list[float] | None:
    shapes = picture.shapes
    if shapes.polygons is not None and shapes.polygons.counts[row]:
        ring = shapes.polygons.of(row)[0]
    elif shapes.corners is not None and np.isfinite(shapes.corners[row]).all():
        ring = shapes.corners[row]
    else:
        x1, y1, x2, y2 = picture.corners[row].tolist()
        ring = upright_corners(np.array([[x1, y1, x2 - x1, y2 - y1]]))[0]
    cut = clipped(ring, picture.width, picture.height)
    return shares(cut, picture) if len(cut) >= 3 else None


def losses(ground_truth: GroundTruth) -> list[str]:
    """Boxes become rings, and what lies out of the picture is cut."""
    shapes, count = ground_truth.shapes, len(ground_truth)
    corners = shapes.has("corners", count)
    outlined = shapes.has("polygons", count) | shapes.has("masks", count)
    said = []
    turned, plain = int((corners & ~outlined).sum()), int((~corners & ~outlined).sum())
    for number, what in ((turned, "turned"), (plain, "upright")):
        if number:
            said.append(f"YOLO-seg has polygons only: {boxes_text(number)} without one written as the four corners of "
                        f"the {what} box.")  # fmt: skip
    if shapes.polygons is not None:
        images = ground_truth.images
        limits = np.stack((images.widths, images.heights), axis=1)[ground_truth.image_index]
        bounds = shapes.polygons.bounds
        far = bounds[:, :2] + bounds[:, 2:]
        out = int(((bounds[:, :2] < 0) | (far > limits + 1e-6)).any(axis=1).sum())
        if out:
            said.append(f"YOLO-seg goes from 0 to 1: the polygons of {boxes_text(out)} cut at the border of the image.")
    return said
