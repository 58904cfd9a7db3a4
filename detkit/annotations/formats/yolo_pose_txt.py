"""YOLO txt with key points (ultralytics' -pose): `class cx cy w h x y v x y v ...`, shares of the picture.

Read by `yolo_txt`; `kpt_shape` of data.yaml says how many there are. Visibility is COCO's: 0 not labelled, 1 hidden,
2 visible. A box without key points is written with all of them not labelled.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from detkit.annotations.by_picture import Picture
from detkit.annotations.format import Format
from detkit.annotations.formats.yolo_files import label_files_of, outside
from detkit.annotations.formats.yolo_txt import read as read
from detkit.annotations.problems import boxes_text
from detkit.boxes import clip, xyxy_to_cxcywh
from detkit.dataset import GroundTruth
from detkit.errors import OutputError


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One label file a picture, then the names, the shape of the key points, and the sizes.

    OutputError where no box has key points.
    """
    points = ground_truth.shapes.keypoints
    if points is None:
        raise OutputError(f"{form.title} holds key points, and no box here has any; 'yolo' holds boxes alone")
    return label_files_of(ground_truth, form, _line, f"kpt_shape: [{points.shape[1]}, 3]\n")


def _line(picture: Picture, row: int) -> list[float]:
    assert picture.shapes.keypoints is not None
    size = np.array([picture.width, picture.height], np.float64)
    box = xyxy_to_cxcywh(clip(picture.corners[row : row + 1], picture.width, picture.height))[0] / np.tile(size, 2)
    points = np.nan_to_num(picture.shapes.keypoints[row])
    points[:, :2] /= size
    gone = ((points[:, :2] < 0) | (points[:, :2] > 1 + 1e-9)).any(axis=1)
    points[gone] = 0
    return [*box.tolist(), *np.minimum(points, (1, 1, np.inf)).ravel().tolist()]


def losses(ground_truth: GroundTruth) -> list[str]:
    """Boxes without key points, and points out of the picture."""
    count = len(ground_truth)
    there = ground_truth.shapes.has("keypoints", count)
    said = []
    if ground_truth.shapes.keypoints is not None:
        without = int((~there).sum())
        if without:
            said.append(f"YOLO-pose has key points in every line: {boxes_text(without)} written with none labelled.")
        points = np.nan_to_num(ground_truth.shapes.keypoints)
        out = int((outside(points[..., :2], ground_truth) & (points[..., 2] > 0)).sum())
        if out:
            said.append(f"YOLO-pose goes from 0 to 1: {out} key points out of their images become not labelled.")
    return said
