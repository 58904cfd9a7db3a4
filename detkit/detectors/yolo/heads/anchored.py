"""YOLO heads as the papers write them: v1's cells, and the anchors of v2, v3, v4, v5 and v7.

Every function decodes one picture of a batch: outputs, index, frame -> Candidates in input pixels. Anchors are
(width, height) in input pixels, one tuple a level, finest grid first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from detkit.boxes import Floats, cxcywh_to_xyxy
from detkit.detectors.yolo.heads.dense import by_class, sigmoid, softmax
from detkit.detectors.yolo.heads.types import Candidates, Frame, Outputs
from detkit.errors import ModelError
from detkit.graphs.preparation import Anchors

# darknet's cfg files. v2's are in cells there, of 32 pixels.
_V2_CELL = 32


def _of_cells(*anchors: tuple[float, float]) -> Anchors:
    return (tuple((width * _V2_CELL, height * _V2_CELL) for width, height in anchors),)


V2_COCO = _of_cells((0.57273, 0.677385), (1.87446, 2.06253), (3.33843, 5.47434), (7.88282, 3.52778), (9.77052, 9.16828))
V2_VOC = _of_cells((1.3221, 1.73145), (3.19275, 4.00944), (5.05587, 8.09892), (9.47112, 4.84053), (11.2364, 10.0071))
V2_TINY_VOC = _of_cells((1.08, 1.19), (3.42, 4.41), (6.63, 11.38), (9.42, 5.11), (16.62, 10.52))
V3: Anchors = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
V3_TINY: Anchors = (((10, 14), (23, 27), (37, 58)), ((81, 82), (135, 169), (344, 319)))
V4: Anchors = (
    ((12, 16), (19, 36), (40, 28)),
    ((36, 75), (76, 55), (72, 146)),
    ((142, 110), (192, 243), (459, 401)),
)
V5 = V3
V5_P6: Anchors = (
    ((19, 27), (44, 40), (38, 94)),
    ((96, 68), (86, 152), (180, 137)),
    ((140, 301), (303, 264), (238, 542)),
    ((436, 615), (739, 380), (925, 792)),
)
V7 = V4
V7_P6 = V5_P6
# v4's xy is stretched around the cell so that a centre on its border can be reached ("grid sensitivity").
V4_XY_SCALE = (1.2, 1.1, 1.05)

_V1_BOXES = 2
_V1_HIGHEST = 1.5


def decode_yolov1(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """(B, S, S, 5 * 2 + C), or flat (B, S * S * (5 * 2 + C)) in darknet's order (Redmon et al. 2016, sec. 2).

    The square tensor has, per cell, twice (x, y, w, h, confidence) and then the class probabilities. The flat one
    has the classes of all cells, then the confidences, then the boxes. x and y are offsets inside the cell, w and h
    square roots of the share of the picture; score = Pr(class | object) * confidence (eq. 1).
    """
    boxes, confidence, classes = v1_cells(outputs[0][index])
    grid = len(confidence)
    size = np.array(frame.size, np.float32)
    centres = (boxes[..., :2] + _cell_corners(grid, grid)[:, :, None]) / grid * size
    sides = boxes[..., 2:] ** 2 * size
    scores = confidence[..., None] * classes[:, :, None]  # (S, S, 2, C)
    if np.all(np.abs(scores) <= _V1_HIGHEST):  # both factors are linear in the paper, and pass 0 and 1 by a little
        scores = np.clip(scores, 0, 1)
    corners = cxcywh_to_xyxy(np.concatenate((centres, sides), axis=-1))
    return by_class(corners.reshape(-1, 4), scores.reshape(-1, scores.shape[-1]), frame)


def v1_cells(prediction: Floats) -> tuple[Floats, Floats, Floats]:
    """Boxes (S, S, 2, 4), their confidences (S, S, 2) and class probabilities (S, S, C) of YOLO v1's output."""
    if prediction.ndim == 1:
        grid, count = v1_layout(prediction.shape)
        split = np.cumsum([grid * grid * count, grid * grid * _V1_BOXES])
        flat_classes, flat_confidence, flat_boxes = np.split(prediction, split)
        classes = flat_classes.reshape(grid, grid, -1)
        confidence = flat_confidence.reshape(grid, grid, _V1_BOXES)
        boxes = flat_boxes.reshape(grid, grid, _V1_BOXES, 4)
    else:
        grid = prediction.shape[0]
        predicted = prediction[..., : 5 * _V1_BOXES].reshape(grid, grid, _V1_BOXES, 5)
        boxes, confidence = predicted[..., :4], predicted[..., 4]
        classes = prediction[..., 5 * _V1_BOXES :]
    return boxes, confidence, classes


def decode_yolov2(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """(B, A * (5 + C), S, S): b = sigmoid(t_xy) + cell, b_wh = p * exp(t_wh) (Redmon & Farhadi 2017, sec. 2).

    score = sigmoid(t_o) * softmax(classes).
    """
    (anchors,) = _levels(frame, outputs)
    cells = _split_anchors(outputs[0][index], len(anchors))
    boxes = _boxes(sigmoid(cells[..., :2]), np.exp(cells[..., 2:4]), anchors, frame)
    return by_class(boxes, _flat(sigmoid(cells[..., 4:5]) * softmax(cells[..., 5:])), frame)


def decode_yolov3(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """Per level (B, A * (5 + C), S, S), coded as v2's, with a sigmoid for every class (Redmon & Farhadi 2018, 2.2)."""
    return _by_levels(
        [_split_anchors(level[index], len(a)) for level, a in _with_anchors(frame, outputs)],
        frame,
        _levels(frame, outputs),
        lambda cells, level: (sigmoid(cells[..., :2]), np.exp(cells[..., 2:4]), sigmoid(cells[..., 4:])),
    )


def decode_yolov4(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """Per level (B, S, S, 3, 5 + C), the ONNX zoo's export: objectness and classes have their sigmoid already.

    b_xy = a * sigmoid(t) - (a - 1) / 2 + cell with a = 1.2, 1.1, 1.05 (Bochkovskiy et al. 2020, sec. 3.4).
    """

    def parts(cells: Floats, level: int) -> tuple[Floats, Floats, Floats]:
        scale = V4_XY_SCALE[min(level, len(V4_XY_SCALE) - 1)]
        xy = scale * sigmoid(cells[..., :2]) - (scale - 1) / 2
        return xy, np.exp(cells[..., 2:4]), cells[..., 4:]

    levels = [level[index] for level, _ in _with_anchors(frame, outputs)]
    return _by_levels(levels, frame, _levels(frame, outputs), parts)


def decode_yolov5_raw(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """Per level (B, 3, S, S, 5 + C), all logits: v5 and v7 without their grid.

    b_xy = 2 * sigmoid(t) - 0.5 + cell, b_wh = anchor * (2 * sigmoid(t))^2; score = sigmoid(t_o) * sigmoid(class).
    """

    def parts(cells: Floats, level: int) -> tuple[Floats, Floats, Floats]:
        values = sigmoid(cells)
        return 2 * values[..., :2] - 0.5, (2 * values[..., 2:4]) ** 2, values[..., 4:]

    levels = [np.moveaxis(level[index], 0, 2) for level, _ in _with_anchors(frame, outputs)]
    return _by_levels(levels, frame, _levels(frame, outputs), parts)


def decode_yolov4_flat(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """Boxes (B, N, 1, 4) xyxy as shares of the input, class scores (B, N, C): Tianxiaomo's PyTorch v4."""
    boxes = outputs[0][index].reshape(-1, 4) * np.array(frame.size * 2, np.float32)
    return by_class(boxes, outputs[1][index], frame)


# cells (S, S, A, 5 + C), level -> xy in cells, wh in anchors, objectness and classes
Parts = Callable[[Floats, int], tuple[Floats, Floats, Floats]]


def _by_levels(levels: Sequence[Floats], frame: Frame, anchors: Anchors, parts: Parts) -> Candidates:
    found = []
    for number, (cells, sizes) in enumerate(zip(levels, anchors, strict=True)):
        xy, wh, confidences = parts(cells, number)
        boxes = _boxes(xy, wh, sizes, frame)
        found.append(by_class(boxes, _flat(confidences[..., :1] * confidences[..., 1:]), frame))
    return Candidates(
        np.concatenate([level.boxes for level in found]),
        np.concatenate([level.scores for level in found]),
        np.concatenate([level.class_ids for level in found]),
    )


def _boxes(xy: Floats, wh: Floats, anchors: Sequence[tuple[float, float]], frame: Frame) -> Floats:
    """Offsets xy in cells and sides wh in anchors, both (S, S, A, 2), as boxes (S * S * A, 4) in input pixels."""
    rows, columns = xy.shape[:2]
    stride = np.array((frame.size[0] / columns, frame.size[1] / rows), np.float32)
    centres = (xy + _cell_corners(rows, columns)[:, :, None]) * stride
    sides = wh * np.array(anchors, np.float32)
    return cxcywh_to_xyxy(np.concatenate((centres, sides), axis=-1)).reshape(-1, 4)


def _cell_corners(rows: int, columns: int) -> Floats:
    """Column and row of each cell, (S, S, 2)."""
    y, x = np.mgrid[:rows, :columns]
    return np.stack((x, y), axis=-1).astype(np.float32)


def _split_anchors(level: Floats, anchors: int) -> Floats:
    """(A * (5 + C), S, S) as (S, S, A, 5 + C)."""
    return level.reshape(anchors, -1, *level.shape[1:]).transpose(2, 3, 0, 1)


def _flat(values: Floats) -> Floats:
    return values.reshape(-1, values.shape[-1])


def _levels(frame: Frame, outputs: Outputs) -> Anchors:
    if len(frame.anchors) != len(outputs):
        raise ModelError(
            f"the graph has {len(outputs)} output levels but anchors for {len(frame.anchors)}: "
            "give them as 'anchors' in the sidecar file"
        )
    return frame.anchors


def _with_anchors(frame: Frame, outputs: Outputs) -> list[tuple[Floats, tuple[tuple[float, float], ...]]]:
    """The levels, finest grid first, each with its anchors."""
    order = sorted(range(len(outputs)), key=lambda level: -outputs[level][0].size)
    return list(zip([outputs[level] for level in order], _levels(frame, outputs), strict=True))


def v1_layout(shape: tuple[int, ...]) -> tuple[int, int]:
    """Side of v1's grid and number of classes, from the shape of a picture's output: 7 and 20 for (1470,)."""
    if len(shape) == 3:
        return shape[0], shape[2] - 5 * _V1_BOXES
    for side in (7, *range(2, 32)):
        if shape[0] % (side * side) == 0 and shape[0] // (side * side) > 5 * _V1_BOXES:
            return side, shape[0] // (side * side) - 5 * _V1_BOXES
    raise ModelError(f"an output of {shape[0]} numbers is not a grid of YOLO v1")


def default_anchors(head: str, classes: int | None, levels: int) -> Anchors:
    """The anchors that a head's authors used, or () where they cannot be told."""
    if head == "yolov2":
        return {80: V2_COCO, 20: V2_VOC}.get(classes or 0, ())
    by_levels: dict[str, dict[int, Anchors]] = {
        "yolov3-raw": {2: V3_TINY, 3: V3},
        "yolov5-raw": {3: V5, 4: V5_P6},
        "yolov7-raw": {3: V7, 4: V7_P6},
    }
    return by_levels.get(head, {}).get(levels, ())
