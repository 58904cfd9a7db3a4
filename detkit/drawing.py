"""Drawing detections: boxes in a colour for each class, with labels that stay readable on any picture size."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from detkit.boxes import Floats
from detkit.detections import Detections
from detkit.images import Image
from detkit.shapes.masks import Masks

Color = tuple[int, int, int]
# A rectangle on the picture: x1, y1, x2, y2 in whole pixels.
Rectangle = tuple[int, int, int, int]

_GOLDEN_ANGLE = 0.618033988749895
_WEIGHT = 500  # of the font, 400 being regular
_TINT = 0.4
_AROUND = 255  # of a cut-out, outside of its mask
_SEEN = 0.5
_FAR = 1e6  # pixels, beyond which OpenCV's drawing overflows
# COCO's 17 points of a person (nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles) and its skeleton.
_PERSON_POINTS = 17
PERSON_BONES = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
    (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip


def color_of(class_id: int) -> Color:
    """The RGB colour of a class: hues a golden angle apart, in three depths, so that 80 classes can be told apart."""
    hue = (0.02 + class_id * _GOLDEN_ANGLE) % 1
    saturation, value = ((0.85, 0.95), (0.65, 1.0), (1.0, 0.72))[class_id % 3]
    red, green, blue = (round(channel * 255) for channel in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def draw(image: Image, detections: Detections, *, scores: bool = True) -> Image:
    """A copy of `image` (H, W, 3) RGB with the boxes and their labels; lines and letters grow with the picture.

    A mask is tinted and outlined; key points are dots, those of a person joined; a turned box is drawn as it lies.

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
        color = color_of(int(row.class_ids[0]))
        if row.masks is not None:
            _draw_mask(canvas, row.masks, color, line)
        _draw_outline(canvas, row, color, line)
        if row.keypoints is not None:
            _draw_points(canvas, row.keypoints[0], color, line)
    labels = [row.class_names[0] + (f" {row.scores[0]:.2f}" if scores else "") for row in rows]
    tags = _place_labels(labels, [_whole(row) for row in rows], letters, width, height)
    for row, label, tag in reversed(list(zip(rows, labels, tags, strict=True))):
        draw_tag(canvas, label, tag, color_of(int(row.class_ids[0])), letters)
    return canvas


def crops(image: Image, detections: Detections) -> Iterator[tuple[str, Image]]:
    """The cut-out of each detection, best first, with a name for its file: number and class; empty ones left out.

    What lies outside of its mask, where it has one, is white.
    """
    rows = detections.sorted()
    height, width = image.shape[:2]
    for place, label, (left, top, right, bottom) in crop_places(rows.boxes, rows.class_names, width, height):
        part = image[top:bottom, left:right]
        if rows.masks is not None:
            part = np.where(rows.masks.decode(place)[top:bottom, left:right, None], part, np.uint8(_AROUND))
        yield label, part


def crop_places(
    boxes: Iterable[Sequence[float]], names: Iterable[str], width: int, height: int
) -> Iterator[tuple[int, str, tuple[int, int, int, int]]]:
    """(row, name of its cut-out, left, top, right and bottom pixel) of the boxes, best first, that cut anything out."""
    for place, ((x1, y1, x2, y2), name) in enumerate(zip(boxes, names, strict=True)):
        left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
        right, bottom = min(width, int(np.ceil(x2))), min(height, int(np.ceil(y2)))
        if right > left and bottom > top:
            label = re.sub(r"[^\w-]+", "-", name).strip("-") or "object"
            yield place, f"{place + 1:03d}-{label}", (left, top, right, bottom)


def _draw_mask(canvas: Image, mask: Masks, color: Color, line: int) -> None:
    pixels, left, top = mask.window(0)
    height, width = pixels.shape
    part = canvas[top : top + height, left : left + width]
    mixed = part[pixels] * (1 - _TINT) + np.array(color) * _TINT
    part[pixels] = np.rint(mixed).astype(np.uint8)
    outlines, _ = cv2.findContours(pixels.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(canvas, outlines, -1, color, max(1, line // 2), cv2.LINE_AA, offset=(left, top))


def _draw_outline(canvas: Image, row: Detections, color: Color, line: int) -> None:
    """The box, or the turned one, on a wider line that stands out from it."""
    x1, y1, x2, y2 = _whole(row)
    for shade, width in ((contrast(color), line + 2 * max(1, line // 3)), (color, line)):
        if row.corners is not None:
            ring = np.rint(np.clip(row.corners[0], -_FAR, _FAR)).astype(np.int32)
            cv2.polylines(canvas, [ring], True, shade, width, cv2.LINE_AA)
        else:
            cv2.rectangle(canvas, (x1, y1), (x2, y2), shade, width)


def _draw_points(canvas: Image, points: Floats, color: Color, line: int) -> None:
    """Key points (P, 3) that are seen, and the bones between those of a person."""
    places = np.rint(np.clip(points[:, :2], -_FAR, _FAR)).astype(int).tolist()
    seen = points[:, 2] > _SEEN
    for one, other in PERSON_BONES if len(points) == _PERSON_POINTS else ():
        if seen[one] and seen[other]:
            cv2.line(canvas, places[one], places[other], contrast(color), line + 2, cv2.LINE_AA)
            cv2.line(canvas, places[one], places[other], color, line, cv2.LINE_AA)
    for place in np.flatnonzero(seen).tolist():
        cv2.circle(canvas, places[place], line + 2, contrast(color), cv2.FILLED, cv2.LINE_AA)
        cv2.circle(canvas, places[place], line + 1, color, cv2.FILLED, cv2.LINE_AA)


@lru_cache(maxsize=1)
def _font() -> Any:
    return cv2.FontFace("sans")


def _whole(row: Detections) -> Rectangle:
    x1, y1, x2, y2 = (round(value) for value in row.boxes[0].tolist())
    return x1, y1, x2, y2


def contrast(color: Color) -> Color:
    """Black or white, whichever stands out from `color` (luma of ITU-R BT.601)."""
    return (0, 0, 0) if 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140 else (255, 255, 255)


def _place_labels(labels: list[str], boxes: list[Rectangle], letters: int, width: int, height: int) -> list[Rectangle]:
    """Where each label stands, best detection first: the first place around its box that hides no better one's."""
    taken: list[Rectangle] = []
    margin = tag_margin(letters)
    for label, box in zip(labels, boxes, strict=True):
        tag_width = min(text_width(label, letters) + 2 * margin, width)
        tag_height = min(letters + 2 * margin, height)
        left, top = _free_place(box, tag_width, tag_height, width, height, taken)
        taken.append((left, top, left + tag_width, top + tag_height))
    return taken


def draw_tag(canvas: Image, label: str, tag: Rectangle, color: Color, letters: int) -> None:
    """A rectangle in `color` with a text in letters of so many pixels that stand out from it."""
    left, top, right, bottom = tag
    margin = tag_margin(letters)
    cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), color, cv2.FILLED)
    baseline = top + margin + round(letters * 0.82)
    cv2.putText(canvas, label, (left + margin, baseline), contrast(color), _font(), letters, _WEIGHT)


def tag_margin(letters: int) -> int:
    """Pixels around the text of a tag."""
    return max(2, letters // 5)


def text_width(text: str, letters: int) -> int:
    """Pixels that a text takes."""
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
