"""Drawing tracks: boxes in a colour for each track, its number and the way it came; and lines and zones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats
from detkit.detections import Detections
from detkit.drawing import color_of, draw
from detkit.images import Image

_SHIFT = 3  # bits of a pixel in OpenCV's coordinates
_MARK = (255, 235, 60)


@dataclass(frozen=True)
class DrawnTracks:
    """What is on a frame: N boxes of tracks.

    boxes (N, 4) xyxy in pixels; ids (N,), from 1; labels, of each box; tails, of each box the points (K, 2) where its
    track was, oldest first
    """

    boxes: Floats
    ids: NDArray[np.int64]
    labels: Sequence[str]
    tails: Sequence[Floats]


def draw_tracks(image: Image, tracks: DrawnTracks) -> Image:
    """A copy of `image` (H, W, 3) RGB with tails, boxes and labels. The newest part of a tail is the thickest."""
    canvas = np.ascontiguousarray(image).copy()
    thick = max(2, round((canvas.shape[0] * canvas.shape[1]) ** 0.5 / 200))
    for track, tail in zip(tracks.ids.tolist(), tracks.tails, strict=True):
        points = np.rint(np.asarray(tail) * (1 << _SHIFT)).astype(np.int32)
        for place in range(1, len(points)):
            width = max(1, round(thick * place / len(points)))
            start, end = points[place - 1].tolist(), points[place].tolist()
            cv2.line(canvas, start, end, color_of(track), width, cv2.LINE_AA, _SHIFT)
    # one class a track, so that `draw` gives it a colour and a label of its own
    names = [""] * (int(tracks.ids.max(initial=0)) + 1)
    for track, label in zip(tracks.ids.tolist(), tracks.labels, strict=True):
        names[track] = label
    shown = Detections(tracks.boxes, tracks.boxes[:, 3], tracks.ids, tuple(names))  # what is nearest comes last
    return draw(canvas, shown, scores=False)


def draw_marks(image: Image, marks: Iterable[tuple[Sequence[tuple[float, float]], str]]) -> Image:
    """A copy of `image` with lines (two points) and zones (three or more), each with a text at its first point."""
    canvas = np.ascontiguousarray(image).copy()
    side = (canvas.shape[0] * canvas.shape[1]) ** 0.5
    thick, letters = max(2, round(side / 250)), max(13, round(side / 36))
    for points, text in marks:
        corners = np.rint(np.array(points)).astype(np.int32)
        if len(points) == 2:
            cv2.arrowedLine(canvas, corners[0].tolist(), corners[1].tolist(), _MARK, thick, cv2.LINE_AA, 0, 0.03)
        else:
            cv2.polylines(canvas, [corners], True, _MARK, thick, cv2.LINE_AA)
        left, baseline = int(corners[:, 0].min()), int(corners[np.argmin(corners[:, 0]), 1])
        place = (
            min(left + 2 * thick, canvas.shape[1] - letters),
            min(max(baseline - thick - 4, letters), canvas.shape[0] - 4),
        )
        scale = letters / 30
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), thick + 2, cv2.LINE_AA)
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, _MARK, max(1, thick - 1), cv2.LINE_AA)
    return canvas
