"""YOLACT (Bolya et al. 2019): class shares, boxes and mask coefficients for every prior, and prototypes of masks.

Two forms are exported: boxes finished, as y1, x1, y2, x2 (Open Model Zoo) or x1, y1, x2, y2; or offsets to priors, as
the authors' network gives them, with the priors beside them or not. Which it is, the values for a trial picture tell:
finished boxes lie about their priors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from detkit.boxes import Floats
from detkit.detectors.yolo.heads.dense import by_score, softmax
from detkit.detectors.yolo.heads.evidence import one_of_them, ordered_corners
from detkit.detectors.yolo.heads.signature import Found, Match, Note, Signature
from detkit.detectors.yolo.heads.types import Candidates, Frame, Layout, Outputs, Shape
from detkit.graphs.preparation import Size

# The authors' configuration `yolact_base`: sides of priors in pixels of an input of 550, and width / height.
_SCALES = (24, 48, 96, 192, 384)
_ASPECTS = (1.0, 0.5, 2.0)
_BASE = 550
_STRIDE = 8  # of the finest level; each further level has half the cells a side, rounded up
_VARIANCES = (0.1, 0.2)
# How much nearer to its prior the right order of coordinates has to be.
_CLEARLY = 0.5


def decode_yolact(outputs: Outputs, index: int, frame: Frame) -> Candidates:
    """Boxes (B, N, 4), prototypes (B, h, w, K), class shares (B, N, 1 + C), coefficients (B, N, K), and priors if any.

    Boxes are shares of the input; with `layout.offsets` they are offsets to priors (N, 4) of centre and size, decoded
    as in SSD (Liu et al. 2016, eq. 2, with the variances 0.1 and 0.2). Class 0 is the background. Shares are softmaxed
    where the graph has not done it. A box counts for every class above the threshold, as in the authors' code.
    """
    boxes, _, shares, coefficients = (output[index] for output in outputs[:4])
    if frame.layout.logits:
        shares = softmax(shares)
    layout = Layout()
    rows, class_ids, scores = by_score(shares[:, 1:], Frame(frame.size, frame.conf, frame.multi_label, layout=layout))
    boxes = boxes[rows]
    if frame.layout.offsets:
        told = outputs[4].reshape(-1, 4) if len(outputs) > 4 else priors(frame.size)
        boxes = _decoded(boxes, told[rows])
    elif frame.layout.rows_first:
        boxes = boxes[:, [1, 0, 3, 2]]
    return Candidates(boxes, scores, class_ids, coefficients[rows])


def _decoded(offsets: Floats, told: Floats) -> Floats:
    """Corners (N, 4) as shares, of offsets to priors (N, 4) of centre and size."""
    centres = told[:, :2] + offsets[:, :2] * np.float32(_VARIANCES[0]) * told[:, 2:]
    sizes = told[:, 2:] * np.exp(offsets[:, 2:] * np.float32(_VARIANCES[1]))
    return np.concatenate((centres - sizes / 2, centres + sizes / 2), axis=1)


@lru_cache(maxsize=4)
def priors(size: Size) -> Floats:
    """Priors (N, 4) of an input of `size` (width, height): centre and size as shares, level by level and row by row.

    Three a cell; they are square, as those of the authors' published networks are: the aspect changes the side alone.
    """
    width, height = (-(-side // _STRIDE) for side in size)
    parts = []
    for scale in _SCALES:
        side = int(scale / _BASE * max(size)) if max(size) != _BASE else scale
        ys, xs = np.mgrid[0:height, 0:width]
        centres = np.stack(((xs + 0.5) / width, (ys + 0.5) / height), axis=-1).reshape(-1, 1, 2)
        sides = np.array([side * aspect**0.5 / max(size) for aspect in _ASPECTS])
        sizes = np.broadcast_to(np.stack((sides, sides), axis=-1), (len(centres), len(_ASPECTS), 2))
        parts.append(np.concatenate((np.broadcast_to(centres, sizes.shape), sizes), axis=-1).reshape(-1, 4))
        width, height = -(-width // 2), -(-height // 2)
    return np.concatenate(parts).astype(np.float32)


def yolact(signature: Signature) -> Iterator[Found]:
    """Proposals for three outputs (B, N, ...) of one N, prototypes (B, h, w, K), and perhaps the priors (N, 4)."""
    shapes = signature.shapes()
    maps = [k for k, shape in enumerate(shapes) if len(shape) == 4]
    told = [k for k, shape in enumerate(shapes) if shape[-1:] == (4,) and (len(shape) == 2 or _constant(shape))]
    flat = [k for k, shape in enumerate(shapes) if len(shape) == 3]
    if len(maps) != 1 or len(flat) not in (3, 4) or len(shapes) not in (4, 5):
        return
    rows = max(shapes[k][1] for k in flat)
    values = [value[0] if value.ndim > 2 else value for value in signature.values]
    each = [k for k in flat if shapes[k][1] == rows]
    softmaxed = [k for k in each if _shares(values[k])]
    boxes = [k for k in each if shapes[k][2] == 4 and k not in softmaxed]
    rest = [k for k in each if k not in boxes]
    channels = [k for k in rest if shapes[k][2] in (shapes[maps[0]][1], shapes[maps[0]][3])]
    if len(rest) != 2 or not channels or not boxes:
        return
    mask = next((k for k in channels if k not in softmaxed), channels[0])
    conf = next(k for k in rest if k != mask)
    main, beside = _boxes_and_priors(boxes, [k for k in told if k not in each], values)
    order = (main, maps[0], conf, mask, *beside)
    reason = f"outputs {shapes}: boxes, classes and mask coefficients of {rows} priors, and prototypes"
    classes, coefficients = shapes[conf][2] - 1, shapes[mask][2]
    if not signature.names_fit(classes):
        yield Note(f"{reason}: {signature.names} class names, but {classes} classes and a background")
        return
    layout = Layout(order, coefficients=coefficients, cropped=True, shares=True, logits=conf not in softmaxed)
    yield _by_boxes(signature.size, values, layout, reason)


def _by_boxes(size: Size, values: list[Floats], layout: Layout, reason: str) -> Found:
    """Whether boxes are finished, and in which order their coordinates are; or offsets."""
    assert layout.outputs is not None
    boxes = values[layout.outputs[0]]
    own = priors(size)
    if len(layout.outputs) > 4:
        return Match("yolact", f"{reason}, which are beside them", replace(layout, offsets=True))
    if len(own) != len(boxes):
        return Note(f"{reason}: the priors are neither beside them nor those of the authors' yolact_base")
    finished = ordered_corners(boxes)
    if not finished:
        return Match("yolact", f"{reason}, to which the boxes are offsets", replace(layout, offsets=True))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    straight, swapped = (float(np.abs(centres[:, order] - own[:, :2]).mean()) for order in ([0, 1], [1, 0]))
    if min(straight, swapped) > _CLEARLY * max(straight, swapped):
        return Note(f"{reason}: whether its boxes begin with x or with y, a trial run does not tell")
    said = "y1, x1, y2, x2" if swapped < straight else "x1, y1, x2, y2"
    return Match("yolact", f"{reason}; boxes {said}", replace(layout, rows_first=swapped < straight))


def _boxes_and_priors(boxes: list[int], told: list[int], values: list[Floats]) -> tuple[int, tuple[int, ...]]:
    """The place of the boxes, and that of the priors if there are any: of two (1, N, 4) the one with positive sizes."""
    if len(boxes) == 2:
        shares = [bool((values[k] > 0).all() and (values[k][:, :2] < 1).all()) for k in boxes]
        main = boxes[0] if shares[1] or not shares[0] else boxes[1]
        return main, (boxes[1] if main == boxes[0] else boxes[0],)
    return boxes[0], tuple(k for k in told if len(values[k].reshape(-1, 4)) == len(values[boxes[0]]))[:1]


def _constant(shape: Shape) -> bool:
    return len(shape) == 3 and shape[0] == 1


def _shares(values: Floats) -> bool:
    """Whether the rows are a softmax."""
    return bool(values.min() >= 0) and one_of_them(values)
