"""The way of a picture through a network of boxes: its input, its levels or YOLO v1's cells, and suppression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.detections import Detections
from detkit.detectors.yolo.heads import level_grids
from detkit.detectors.yolo.heads.anchored import v1_cells
from detkit.drawing import color_of
from detkit.images import Image
from detkit.inside.stages import Stage, boxed, suppression_stages
from detkit.inside.subjects import DetectionNetwork, View

_GREEDY = "Redmon et al. 2016, section 2.3"
_FCOS = 'Tian et al. 2019, "FCOS", section 3.1'
_V1 = "Redmon et al. 2016, section 2"


def grid_stages(subject: DetectionNetwork, image: Image, conf: float) -> Iterator[Stage]:
    """The stages of a network that `detkit yolo` runs."""
    yolo = subject.yolo
    view = subject.view(image)
    canvas = view.in_input(view.image)
    placement = view.placement
    yield Stage(
        "input", "The network's input",
        f"The picture is brought to {placement.size[0]} x {placement.size[1]} pixels ({yolo.preparation.fit}); what is "
        "left over is gray.", "", canvas, {"size": list(placement.size), "resized": list(placement.resized)},
    )  # fmt: skip
    prepared = yolo.prepare(image)
    outputs = yolo.run([prepared])
    if yolo.head.name == "yolov1":
        yield from _v1_stages(subject, canvas, np.asarray(outputs[0][0], np.float32), view)
    else:
        yield from _level_stages(subject, canvas, outputs, view)
    candidates = yolo.decode(outputs, 0, placement.size)
    before = Detections(placement.undo(candidates.boxes), candidates.scores, candidates.class_ids, yolo.names)
    after = yolo.suppress(candidates, placement)
    # Turned boxes are suppressed by another overlap, which upright boxes around them would not show.
    if yolo.head.nms and not yolo.reading.layout.turned:
        yield from suppression_stages(image, before, yolo.iou, after, _GREEDY)
    else:
        from detkit.drawing import draw

        yield Stage(
            "result", "The result",
            f"{len(after)} boxes above {conf:g}; " + (
                "turned boxes are suppressed as their exporter does." if yolo.head.nms
                else "the network suppresses by itself, or needs no suppression."
            ),
            "", draw(image, after), {"detections": after.to_dicts()},
        )  # fmt: skip


def cell_scores(subject: DetectionNetwork, outputs: Sequence[NDArray[Any]], view: View) -> NDArray[np.float32] | None:
    """The best class score of every row of a dense head, (N,); None where rows cannot be told."""
    found = subject.yolo.decode_all(outputs, 0, view.placement.size, -1.0)
    classes = len(subject.names)
    if not classes or len(found.scores) % classes or (found.class_ids[:classes] != np.arange(classes)).any():
        return None
    return np.asarray(found.scores.reshape(-1, classes).max(axis=1), np.float32)


def _level_stages(
    subject: DetectionNetwork, canvas: Image, outputs: Sequence[NDArray[Any]], view: View
) -> Iterator[Stage]:
    """A stage for each level: its points, coloured by the best score of each, and the best one's box."""
    scores = cell_scores(subject, outputs, view)
    if scores is None:
        return
    size = view.placement.size
    anchors = 1
    strides = level_grids.matching(size, len(scores))
    if strides is None:
        anchors, strides = 3, level_grids.matching(size, len(scores), 3)
    if strides is None:
        return
    found = subject.yolo.decode_all(outputs, 0, size, -1.0)
    boxes = found.boxes.reshape(len(scores), -1, 4)[:, 0]
    start = 0
    for stride in strides:
        columns, rows = level_grids.cells(size, stride)
        count = columns * rows * anchors
        own, part = scores[start : start + count], boxes[start : start + count]
        best = int(own.argmax())
        by_anchor = own.reshape(anchors, rows, columns) if anchors > 1 else own.reshape(1, rows, columns)
        grid = by_anchor.max(axis=0)
        cell = divmod(best % (columns * rows), columns)
        what = "points" if anchors == 1 else f"cells of {anchors} anchors"
        yield Stage(
            f"level-{stride}", f"The level of stride {stride}",
            f"{columns} x {rows} {what}; brighter ones are surer that a class is there. The best says {own[best]:.2f} "
            "and predicts the box that is drawn.", _FCOS if anchors == 1 else "Redmon and Farhadi 2018, section 2.3",
            _points(canvas, grid, stride, part[best], cell),
            {"stride": stride, "cells": [columns, rows], "best_score": float(own[best]),
             "best_box": part[best].tolist()},
        )  # fmt: skip
        start += count


def _points(canvas: Image, scores: NDArray[np.float32], stride: int, box: Any, cell: tuple[int, int]) -> Image:
    picture = boxed(np.rint(canvas * 0.5).astype(np.uint8), np.asarray(box)[None])
    highest = max(float(scores.max()), 1e-6)
    colours = cv2.applyColorMap(np.rint(scores / highest * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    radius = max(1, stride // 5)
    for row, column in np.ndindex(*scores.shape):
        centre = (round((column + 0.5) * stride), round((row + 0.5) * stride))
        colour = tuple(int(value) for value in colours[row, column])
        cv2.circle(picture, centre, radius, colour, cv2.FILLED, cv2.LINE_AA)
    y, x = cell
    middle = (round((x + 0.5) * stride), round((y + 0.5) * stride))
    cv2.circle(picture, middle, radius + 2, (255, 255, 255), 1, cv2.LINE_AA)
    return picture


def _v1_stages(
    subject: DetectionNetwork, canvas: Image, prediction: NDArray[np.float32], view: View
) -> Iterator[Stage]:
    """YOLO v1's S x S grid: the boxes with their confidence, and the class map."""
    boxes, confidence, classes = v1_cells(prediction)
    grid = len(confidence)
    size = np.array(view.placement.size, np.float32)
    corner = np.stack(np.meshgrid(np.arange(grid), np.arange(grid)), axis=-1)[:, :, None]
    centres = (boxes[..., :2] + corner) / grid * size
    half = boxes[..., 2:] ** 2 * size / 2
    corners = np.concatenate((centres - half, centres + half), axis=-1).reshape(-1, 4)
    flat = confidence.reshape(-1)
    picture = _ruled(canvas, grid)
    for number in np.argsort(flat):
        width = max(1, round(float(np.clip(flat[number], 0, 1)) * 8))
        picture = boxed(picture, corners[number : number + 1], (255, 220, 0), width)
    yield Stage(
        "cells", f"S x S grid of {grid} x {grid} cells, {confidence.shape[2]} boxes each",
        "Each cell predicts its boxes; the surer that there is an object, the thicker the line.", f"{_V1}, figure 2",
        picture, {"grid": grid, "confidence": confidence.tolist()},
    )  # fmt: skip
    best = classes.argmax(axis=-1)
    picture = np.ascontiguousarray(canvas).copy()
    for row, column in np.ndindex(grid, grid):
        x1, x2 = (round(k * size[0] / grid) for k in (column, column + 1))
        y1, y2 = (round(k * size[1] / grid) for k in (row, row + 1))
        tint = np.array(color_of(int(best[row, column])))
        picture[y1:y2, x1:x2] = np.rint(picture[y1:y2, x1:x2] * 0.5 + tint * 0.5).astype(np.uint8)
    names = {
        int(one): subject.names[int(one)] if int(one) < len(subject.names) else str(one) for one in np.unique(best)
    }
    yield Stage(
        "class-map", "The class map, Pr(class | object)",
        "Each cell has the colour of its likeliest class: " + ", ".join(names.values())
        + ". Score = Pr(class | object) times confidence.",
        f"{_V1}, eq. 1", _ruled(picture, grid), {"classes": best.tolist()},
    )  # fmt: skip


def _ruled(canvas: Image, grid: int) -> Image:
    picture = np.ascontiguousarray(canvas).copy()
    height, width = picture.shape[:2]
    for k in range(1, grid):
        cv2.line(picture, (round(k * width / grid), 0), (round(k * width / grid), height), (255, 255, 255), 1)
        cv2.line(picture, (0, round(k * height / grid)), (width, round(k * height / grid)), (255, 255, 255), 1)
    return picture
