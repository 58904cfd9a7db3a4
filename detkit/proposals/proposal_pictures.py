"""Pictures of proposals: the best of them, or how well they cover the objects that are known."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats, iou
from detkit.images import Image
from detkit.proposals import Proposals

COVERED, MISSED = (60, 220, 80), (255, 70, 70)  # RGB
OVERLAP = 0.5


def draw_best(image: Image, proposals: Proposals, count: int) -> Image:
    """A copy of `image` (H, W, 3) RGB with the best `count` boxes, from yellow for the best to violet."""
    canvas = np.ascontiguousarray(image).copy()
    boxes = proposals.first(count).boxes
    steps = np.linspace(240, 70, max(len(boxes), 1)).astype(np.uint8)
    colours: Any = cv2.applyColorMap(steps[:, None], cv2.COLORMAP_PLASMA)[:, 0, ::-1]
    for box, colour in reversed(list(zip(boxes, colours.tolist(), strict=False))):
        _rectangle(canvas, box, tuple(colour))
    return canvas


def draw_cover(image: Image, proposals: Proposals, objects: Floats) -> Image:
    """A copy of `image` with each object's most similar proposal, if IoU is 0.5 or more, in green with that IoU.

    Objects (G, 4) that no proposal covers are red.
    """
    canvas = np.ascontiguousarray(image).copy()
    overlaps = iou(objects, proposals.boxes.astype(objects.dtype))
    for row, real in zip(overlaps, objects, strict=True):
        best = float(row.max(initial=0))
        if best < OVERLAP:
            _rectangle(canvas, real, MISSED)
            continue
        box = proposals.boxes[int(row.argmax())]
        _rectangle(canvas, box, COVERED)
        _label(canvas, box, f"{best:.2f}")
    return canvas


def _rectangle(canvas: Image, box: NDArray[Any], colour: tuple[int, ...]) -> None:
    line = _line(canvas)
    first, last = (tuple(round(value) for value in corner) for corner in (box[:2].tolist(), box[2:].tolist()))
    cv2.rectangle(canvas, first, last, (0, 0, 0), line + 1)
    cv2.rectangle(canvas, first, last, colour, line)


def _label(canvas: Image, box: NDArray[Any], text: str) -> None:
    scale = max(0.4, (canvas.shape[0] * canvas.shape[1]) ** 0.5 / 1200)
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    left, top = max(0, int(box[0])), max(0, int(box[1]))
    cv2.rectangle(canvas, (left, top), (left + width + 4, top + height + below + 2), COVERED, cv2.FILLED)
    place = (left + 2, top + height + 3)
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)


def _line(canvas: Image) -> int:
    return int(max(2, round((canvas.shape[0] * canvas.shape[1]) ** 0.5 / 250)))
