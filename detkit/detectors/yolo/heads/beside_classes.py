"""What follows the class columns of a head: mask coefficients, key points, an angle. Metadata tell, else the values."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

import numpy as np

from detkit.boxes import Floats
from detkit.detectors.yolo.heads.evidence import probable
from detkit.detectors.yolo.heads.signature import Signature
from detkit.detectors.yolo.heads.types import Layout

# ultralytics' names of what lies beside boxes.
TASKS = ("segment", "pose", "obb")
_WIDEST_ANGLE = 8 * np.pi  # of YOLO 26, which does not bound it
_FOLLOWS = 0.9
_LEAST_PIXELS = 8
_FEWEST = 16  # cells that show whether columns follow the boxes
# Prototypes have so many times fewer pixels a side than the input.
_REDUCED = (2, 4, 8)


@dataclass(frozen=True)
class Beside:
    """What follows the classes; see `Layout`, whose names these are. `prototypes` is the place of that output."""

    turned: bool = False
    points: tuple[int, int] = (0, 0)
    coefficients: int = 0
    prototypes: int | None = None

    def into(self, layout: Layout) -> Layout:
        """The layout of a graph that has this."""
        outputs = layout.outputs if self.prototypes is None else (*(layout.outputs or (0,)), self.prototypes)
        return replace(layout, outputs=outputs, turned=self.turned, points=self.points, coefficients=self.coefficients)


def beside_classes(signature: Signature, columns: Floats, boxes: Floats, *, finished: bool = False) -> Beside | None:
    """What the columns (K, N) after the classes of boxes (N, 4) are, None where nothing tells.

    finished   whether a score and a whole class number stand before them, so that these are no classes for sure
    """
    task = signature.metadata.get("task", "").lower()
    if task not in ("", *TASKS) or not len(columns) or not np.isfinite(columns).all():
        return None
    prototypes = _prototypes(signature, len(columns))
    if task == "segment" or (not task and prototypes is not None):
        return None if prototypes is None else Beside(coefficients=len(columns), prototypes=prototypes)
    if len(signature.outputs) > 1:
        return None
    if task == "obb" or (finished and not task and len(columns) == 1):
        return Beside(turned=True) if len(columns) == 1 and _is_angle(columns[0], told=bool(task)) else None
    points = _told_points(signature) or ((len(columns) // 3, 3) if not len(columns) % 3 else (0, 0))
    if not points[0] or points[0] * points[1] != len(columns):
        return None
    if points[1] == 3 and columns.shape[1] and not probable(columns[2::3]).all():
        return None
    places = _in_pixels(columns, signature.size) and (finished or _follow_boxes(columns, boxes))
    return Beside(points=points) if task or places else None


def said_beside(beside: Beside) -> str:
    """In words."""
    if beside.turned:
        return "an angle"
    return f"{beside.points[0]} key points" if beside.points[0] else f"{beside.coefficients} mask coefficients"


def _prototypes(signature: Signature, channels: int) -> int | None:
    """The output that holds prototypes (B, K, h, w), or (B, h, w, K), a half to an eighth of the input a side."""
    width, height = signature.size
    reduced = {(height // k, width // k) for k in _REDUCED}
    for place, shape in enumerate(signature.shapes()):
        if len(shape) != 4 or len(signature.outputs) != 2:
            continue
        if (shape[1] == channels and shape[2:] in reduced) or (shape[3] == channels and shape[1:3] in reduced):
            return place
    return None


def _told_points(signature: Signature) -> tuple[int, int] | None:
    """The number of key points and of the numbers of each, as ultralytics' metadata have it."""
    try:
        count, numbers = ast.literal_eval(signature.metadata.get("kpt_shape", ""))
    except (ValueError, SyntaxError, TypeError):
        return None
    return (count, numbers) if isinstance(count, int) and numbers in (2, 3) and count > 0 else None


def _is_angle(values: Floats, *, told: bool) -> bool:
    """Whether a column (N,) is an angle; one from 0 to 1 everywhere may be another class."""
    return bool(np.abs(values).max(initial=0) <= _WIDEST_ANGLE) and (told or not probable(values[None]).all())


def _in_pixels(columns: Floats, size: tuple[int, int]) -> bool:
    """Whether columns (3 P, N), less each third, are places about an input of `size`, and no shares or weights."""
    if not columns.shape[1]:
        return False
    typical = [float(np.median(columns[axis::3])) for axis in (0, 1)]
    inside = all(-0.5 * side <= value <= 1.5 * side for side, value in zip(size, typical, strict=True))
    return inside and float(np.median(np.abs(columns[0::3]))) > _LEAST_PIXELS


def _follow_boxes(columns: Floats, boxes: Floats) -> bool:
    """Whether columns (3 P, N), less each third, go with the centres of their boxes (N, 4)."""
    if columns.shape[1] != len(boxes) or len(boxes) < _FEWEST:
        return False
    return _follow(columns[0::3], boxes[:, 0]) and _follow(columns[1::3], boxes[:, 1])


def _follow(columns: Floats, places: Floats) -> bool:
    """Whether the mean of columns (P, N) rises with places (N,)."""
    mean = columns.mean(axis=0)
    if not (mean.std() > 0 and places.std() > 0):
        return False
    return float(np.corrcoef(mean, places)[0, 1]) > _FOLLOWS
