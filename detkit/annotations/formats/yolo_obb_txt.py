"""YOLO txt with turned boxes (ultralytics' -obb): `class x1 y1 x2 y2 x3 y3 x4 y4`, shares of the picture.

Read by `yolo_txt`. What has no corners gets those of the smallest turned box around its outline, or of its upright box.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.annotations.beside import upright_corners
from detkit.annotations.by_picture import Picture
from detkit.annotations.format import Format
from detkit.annotations.formats.yolo_files import label_files_of, outside, shares
from detkit.annotations.formats.yolo_txt import read as read
from detkit.annotations.problems import boxes_text
from detkit.dataset import GroundTruth
from detkit.shapes.outlines import outline
from detkit.shapes.shape_columns import Shapes


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One label file a picture, then the names and the sizes."""
    return label_files_of(ground_truth, form, lambda picture, row: shares(corners_of(picture, row), picture))


def corners_of(picture: Picture, row: int) -> NDArray[np.float64]:
    """The corners (4, 2) of a box, or those around its outline."""
    if picture.shapes.corners is not None and np.isfinite(picture.shapes.corners[row]).all():
        return np.asarray(picture.shapes.corners[row])
    points = _outline(picture.shapes, row)
    if len(points) == 4:
        return points
    if len(points):
        return np.asarray(cv2.boxPoints(cv2.minAreaRect(points.astype(np.float32))), np.float64)
    x1, y1, x2, y2 = picture.corners[row].tolist()
    return np.asarray(upright_corners(np.array([[x1, y1, x2 - x1, y2 - y1]]))[0])


def _outline(shapes: Shapes, row: int) -> NDArray[np.float64]:
    if shapes.polygons is not None and shapes.polygons.counts[row]:
        return np.concatenate(shapes.polygons.of(row))
    if shapes.masks is not None and shapes.masks.areas[row]:
        return np.concatenate(outline(*shapes.masks.window(row)).parts)
    return np.zeros((0, 2))


def losses(ground_truth: GroundTruth) -> list[str]:
    """What has no corners, and those that lie out of the picture."""
    return turned_losses(ground_truth, "YOLO-obb", cut=True)


def turned_losses(ground_truth: GroundTruth, title: str, *, cut: bool) -> list[str]:
    """The same of a format called `title`; `cut` says whether corners are cut at the border."""
    shapes, count = ground_truth.shapes, len(ground_truth)
    corners = shapes.has("corners", count)
    outlined = shapes.has("polygons", count) | shapes.has("masks", count)
    said = []
    around, plain = int((~corners & outlined).sum()), int((~corners & ~outlined).sum())
    if around:
        said.append(f"{title} has turned boxes only: {boxes_text(around)} written as the smallest around the outline.")
    if plain:
        said.append(f"{title} has turned boxes only: {boxes_text(plain)} written as upright ones.")
    if cut and shapes.corners is not None:
        out = int(outside(np.nan_to_num(shapes.corners), ground_truth).any(axis=1).sum())
        if out:
            said.append(f"{title} goes from 0 to 1: {boxes_text(out)} with corners out of the image, moved to its "
                        "border, which changes the shape.")  # fmt: skip
    return said
