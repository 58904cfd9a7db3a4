"""Drawing detections: boxes in a colour for each class, with labels that stay readable on any picture size."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from detkit.detections import Detections
from detkit.images import Image

Color = tuple[int, int, int]
# A rectangle on the picture: x1, y1, x2, y2 in whole pixels.
Rectangle = tuple[int, int, int, int]

_GOLDEN_ANGLE = 0.618033988749895
_WEIGHT = 500  # of the font, 400 being regular


def color_of(class_id: int) -> Color:
    """The RGB colour of a class: hues a golden angle apart, in three depths, so that 80 classes can be told apart."""
    hue = (0.02 + class_id * _GOLDEN_ANGLE) % 1
    saturation, value = ((0.85, 0.95), (0.65, 1.0), (1.0, 0.72))[class_id % 3]
    red, green, blue = (round(channel * 255) for channel in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def draw(image: Image, detections: Detections, *, scores: bool = True) -> Image:
    """A copy of `image` (H, W, 3) RGB with the boxes and their labels; lines and letters grow with the picture.

    The best detections are drawn last, on top. A label stands above its box, or where that is taken inside or
    below it, and always within the picture.
    """
    canvas = np.ascontiguousarray(image).copy()
    height, width = canvas.shape[:2]
    side = (height * width) ** 0.5
    line = max(1, round(side / 280))
    letters = max(11, round(side / 50))
    rows = list(detections.sorted())
    for row in reversed(rows):
        x1, y1, x2, y2 = _whole(row)
        color = color_of(int(row.class_ids[0]))
        cv2.rectangle(canvas, (x1, y1), (x2, y2), _contrast(color), line + 2 * max(1, line // 3))
        cv2.rectangle(canvas, (x1, y1), (x2, y2), color, line)
    labels = [row.class_names[0] + (f" {row.scores[0]:.2f}" if scores else "") for row in rows]
    tags = _place_labels(labels, [_whole(row) for row in rows], letters, width, height)
    for row, label, tag in reversed(list(zip(rows, labels, tags, strict=True))):
        _draw_label(canvas, label, tag, color_of(int(row.class_ids[0])), letters)
    return canvas


def crops(image: Image, detections: Detections) -> Iterator[tuple[str, Image]]:
    """The cut-out of each detection, best first, with a name for its file: number and class; empty ones left out."""
    height, width = image.shape[:2]
    for number, row in enumerate(detections.sorted(), start=1):
        x1, y1, x2, y2 = row.boxes[0].tolist()
        left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
        right, bottom = min(width, int(np.ceil(x2))), min(height, int(np.ceil(y2)))
        if right > left and bottom > top:
            name = re.sub(r"[^\w-]+", "-", row.class_names[0]).strip("-") or "object"
            yield f"{number:03d}-{name}", image[top:bottom, left:right]


@lru_cache(maxsize=1)
def _font() -> Any:
    return cv2.FontFace("sans")


def _whole(row: Detections) -> Rectangle:
    x1, y1, x2, y2 = (round(value) for value in row.boxes[0].tolist())
    return x1, y1, x2, y2


def _contrast(color: Color) -> Color:
    """Black or white, whichever stands out from `color` (luma of ITU-R BT.601)."""
    return (0, 0, 0) if 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140 else (255, 255, 255)


def _place_labels(labels: list[str], boxes: list[Rectangle], letters: int, width: int, height: int) -> list[Rectangle]:
    """Where each label stands, best detection first: the first place around its box that hides no better one's."""
    taken: list[Rectangle] = []
    margin = _margin(letters)
    for label, box in zip(labels, boxes, strict=True):
        tag_width = min(_text_width(label, letters) + 2 * margin, width)
        tag_height = min(letters + 2 * margin, height)
        left, top = _free_place(box, tag_width, tag_height, width, height, taken)
        taken.append((left, top, left + tag_width, top + tag_height))
    return taken


def _draw_label(canvas: Image, label: str, tag: Rectangle, color: Color, letters: int) -> None:
    left, top, right, bottom = tag
    margin = _margin(letters)
    cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), color, cv2.FILLED)
    baseline = top + margin + round(letters * 0.82)
    cv2.putText(canvas, label, (left + margin, baseline), _contrast(color), _font(), letters, _WEIGHT)


def _margin(letters: int) -> int:
    return max(2, letters // 5)


def _text_width(text: str, letters: int) -> int:
    area = cv2.getTextSize((0, 0), text, (0, 0), _font(), letters, _WEIGHT)
    return int(area[2])


def _free_place(
    box: Rectangle, tag_width: int, tag_height: int, width: int, height: int, taken: list[Rectangle]
) -> tuple[int, int]:
    """Left and top of a label: the first place around the box that hides no other label, else the first of all."""
    x1, y1, x2, y2 = box
    places = [(x1, y1 - tag_height), (x1, y1), (x2 - tag_width, y1 - tag_height), (x1, y2), (x1, y2 - tag_height)]
    inside = [(min(max(left, 0), width - tag_width), min(max(top, 0), height - tag_height)) for left, top in places]
    nearby = taken[:200]  # the best labels keep their place in a crowd, at a cost that does not grow with its square
    for left, top in inside:
        if not any(
            left < other[2] and other[0] < left + tag_width and top < other[3] and other[1] < top + tag_height
            for other in nearby
        ):
            return left, top
    return inside[0]
