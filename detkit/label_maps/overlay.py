"""Drawing a segmentation: classes blended over the picture in their colours, and below it a legend of their names."""

from __future__ import annotations

import cv2
import numpy as np

from detkit.drawing import Color, contrast, draw_tag, tag_margin, text_width
from detkit.images import Image
from detkit.label_maps.palettes import IGNORED
from detkit.label_maps.segmented_picture import Segmentation

_TINT = 0.55
_EDGE = 0.8  # how much of an outline is its colour
_PAPER = 255
# Of a legend: its rows, at most, as a share of the picture's height, and the least share of the picture that is named.
_TALLEST = 0.4


def overlay(image: Image, found: Segmentation, *, legend: bool = True) -> Image:
    """A copy of `image` (H, W, 3) RGB with the classes blended over it, and a strip with their names and shares below.

    The background, where there is a class called so, stays as it is.
    """
    canvas = np.ascontiguousarray(image).copy()
    tinted = ~np.isin(found.classes, (*found.background, IGNORED))
    colours = found.colours()
    mixed = cv2.addWeighted(canvas, 1 - _TINT, colours, _TINT, 0)
    canvas[tinted] = mixed[tinted]
    edges = _edges(found) & tinted
    canvas[edges] = np.rint(canvas[edges] * (1 - _EDGE) + colours[edges] * _EDGE).astype(np.uint8)
    return np.concatenate((canvas, _legend(found, canvas.shape[1], canvas.shape[0]))) if legend else canvas


def _edges(found: Segmentation) -> np.ndarray:
    """bool (H, W): the pixels whose right or lower neighbour has another class, as wide as the picture can bear."""
    classes = found.classes
    edges = np.zeros(classes.shape, bool)
    edges[:, :-1] |= classes[:, :-1] != classes[:, 1:]
    edges[:-1] |= classes[:-1] != classes[1:]
    wide = max(1, round((classes.size**0.5) / 400))
    return cv2.dilate(edges.astype(np.uint8), np.ones((wide, wide), np.uint8)) > 0


def _legend(found: Segmentation, width: int, height: int) -> Image:
    """A strip of tags, the largest class first; what has no room is counted."""
    letters = max(11, round((width * height) ** 0.5 / 42))
    margin = tag_margin(letters)
    gap, tall = margin, letters + 2 * margin
    most = max(1, int(_TALLEST * height) // (tall + gap))
    tags = [(_label(found, one), _colour(found, one)) for one in found.present]
    rows: list[list[tuple[str, Color, int]]] = [[]]
    left, named = gap, 0
    for label, colour in tags:
        wide = min(text_width(label, letters) + 2 * margin, width - 2 * gap)
        if rows[-1] and left + wide + gap > width:
            if len(rows) == most:
                break
            rows.append([])
            left = gap
        rows[-1].append((label, colour, wide))
        left += wide + gap
        named += 1
    if named < len(tags):
        rows[-1] = _with_rest(rows[-1], len(tags) - named, letters, width)
    strip = np.full((gap + len(rows) * (tall + gap), width, 3), _PAPER, np.uint8)
    for place, row in enumerate(rows):
        left, top = gap, gap + place * (tall + gap)
        for label, colour, wide in row:
            draw_tag(strip, label, (left, top, left + wide, top + tall), colour, letters)
            if min(colour) > 200:  # would not stand out from the paper
                cv2.rectangle(strip, (left, top), (left + wide - 1, top + tall - 1), contrast(colour), 1)
            left += wide + gap
    return strip


def _with_rest(row: list[tuple[str, Color, int]], rest: int, letters: int, width: int) -> list[tuple[str, Color, int]]:
    """The last row of a legend that ends with how many classes it does not name; tags make room for it."""
    margin = tag_margin(letters)
    while True:
        label = f"+ {rest} more"
        wide = text_width(label, letters) + 2 * margin
        if not row or sum(one[2] + margin for one in row) + wide + 2 * margin <= width:
            return [*row, (label, (_PAPER, _PAPER, _PAPER), min(wide, width - 2 * margin))]
        row, rest = row[:-1], rest + 1


def _label(found: Segmentation, one: int) -> str:
    share = 100 * float(found.shares[one])
    text = f"{share:.0f}" if share >= 10 else f"{share:.1f}" if share >= 0.05 else "<0.1"
    return f"{found.names[one]} {text} %"


def _colour(found: Segmentation, one: int) -> Color:
    red, green, blue = found.palette.colours[one].tolist()
    return red, green, blue
