"""Maps over pictures with a scale of colours, and grids of small maps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats as Boxes
from detkit.images import Image

Floats = NDArray[np.float32]

_COLOURS = cv2.COLORMAP_INFERNO
_PAPER = 255
_INK = (30, 30, 30)
_GAP = 4
_LEAST_SIDE = 480  # of a map's picture, so that its letters can be read


@lru_cache(maxsize=1)
def _font() -> Any:
    return cv2.FontFace("sans")


def coloured(values: Floats) -> Image:
    """Numbers from 0 to 1 (h, w) as colours from black over red to bright yellow."""
    levels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(levels, _COLOURS)[:, :, ::-1], np.uint8)


def over_picture(image: Image, heat: Floats, title: str, box: Sequence[float] | Boxes | None = None) -> Image:
    """A map (H, W) laid on its picture in gray, with the box, a title, and the scale of its colours to the right.

    Colours run from 0 to the highest number; what lies below 0 is shown as 0.
    """
    image, heat, box = _enlarged(image, heat, box)
    height, width = image.shape[:2]
    highest = float(heat.max(initial=0))
    share = np.clip(heat / highest, 0, 1) if highest > 0 else np.zeros_like(heat)
    gray = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2).astype(np.float32)
    weight = np.clip(np.sqrt(share), 0, 0.85)[:, :, None]
    shown = np.rint(gray * 0.6 * (1 - weight) + coloured(share) * weight).astype(np.uint8)
    shown = np.ascontiguousarray(shown)
    line = max(1, round((height * width) ** 0.5 / 280))
    if box is not None:
        x1, y1, x2, y2 = (round(float(side)) for side in box)
        cv2.rectangle(shown, (x1, y1), (x2, y2), (0, 0, 0), line + 2, cv2.LINE_AA)
        cv2.rectangle(shown, (x1, y1), (x2, y2), (255, 255, 255), line, cv2.LINE_AA)
    letters = max(13, round((height * width) ** 0.5 / 36))
    return titled(np.hstack((shown, _scale(height, letters, highest))), title, letters)


def titled(picture: Image, title: str, letters: int = 15) -> Image:
    """A picture under lines of text, broken where it is too narrow for them."""
    lines = _broken(title, picture.shape[1] - 2 * _GAP, letters)
    pitch = round(letters * 1.4)
    band = np.full((pitch * len(lines) + _GAP, picture.shape[1], 3), _PAPER, np.uint8)
    for number, line in enumerate(lines):
        write(band, line, (_GAP, pitch * number + round(letters * 1.1)), letters)
    return np.vstack((band, picture))


def write(canvas: Image, text: str, place: tuple[int, int], letters: int, colour: tuple[int, int, int] = _INK) -> None:
    """Text whose baseline begins at `place` (x, y)."""
    cv2.putText(canvas, text, place, colour, _font(), letters, 400)


def grid(pictures: Sequence[Image], labels: Sequence[str], columns: int, side: int = 112) -> Image:
    """Pictures of one shape side by side, each enlarged by whole numbers to about `side` pixels, its label below it."""
    height, width = pictures[0].shape[:2]
    factor = max(1, round(side / max(height, width)))
    size = (width * factor, height * factor)
    if max(size) > 2 * side:
        size = (
            max(1, round(width * 2 * side / max(height, width))),
            max(1, round(height * 2 * side / max(height, width))),
        )
    letters = 11
    step = (max(size[0], 44) + _GAP, size[1] + letters + 2 * _GAP)
    columns = max(1, min(columns, len(pictures)))
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * step[1] + _GAP, columns * step[0] + _GAP, 3), _PAPER, np.uint8)
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        row, column = divmod(number, columns)
        x, y = _GAP + column * step[0], _GAP + row * step[1]
        how = cv2.INTER_AREA if size[0] < width else cv2.INTER_NEAREST
        sheet[y : y + size[1], x : x + size[0]] = cv2.resize(picture, size, interpolation=how)
        write(sheet, label, (x, y + size[1] + letters), letters)
    return sheet


def _enlarged(
    image: Image, heat: Floats, box: Sequence[float] | Boxes | None
) -> tuple[Image, Floats, list[float] | None]:
    factor = max(1.0, _LEAST_SIDE / max(image.shape[:2]))
    sides = None if box is None else [float(side) * factor for side in box]
    if factor == 1.0:
        return image, heat, sides
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    larger = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    return larger, np.asarray(cv2.resize(heat, size), np.float32), sides


def _scale(height: int, letters: int, highest: float) -> Image:
    """The scale of colours, from 0 below to the highest number above."""
    bar = max(10, letters)
    words = [f"{highest:.2g}", f"{highest / 2:.2g}", "0"]
    width = bar + 3 * _GAP + max(cv2.getTextSize((0, 0), word, (0, 0), _font(), letters, 400)[2] for word in words)
    canvas = np.full((height, width, 3), _PAPER, np.uint8)
    ramp = np.linspace(1, 0, height, dtype=np.float32)[:, None].repeat(bar, axis=1)
    canvas[:, _GAP : _GAP + bar] = coloured(ramp)
    for word, y in zip(words, (letters, (height + letters) // 2, height - _GAP), strict=True):
        write(canvas, word, (2 * _GAP + bar, y), letters)
    return canvas


def _broken(text: str, width: int, letters: int) -> list[str]:
    lines: list[str] = []
    for part in text.split("\n"):
        line = ""
        for word in part.split(" "):
            longer = f"{line} {word}".strip()
            if line and cv2.getTextSize((0, 0), longer, (0, 0), _font(), letters, 400)[2] > width:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(line)
    return lines
