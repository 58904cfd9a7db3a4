"""The intermediate results of a detector, step by step, under the names of its paper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats, iou
from detkit.drawing import draw
from detkit.errors import ModelError
from detkit.graphs.runtime import Runtime
from detkit.images import Image
from detkit.inside.heat_pictures import over_picture
from detkit.inside.subjects import DetectionNetwork, WholeDetector, open_subject

if TYPE_CHECKING:
    from detkit.detections import Detections

# Proposals without a model, which may stand in a model's place.
METHODS = ("selective-search", "edge-boxes")


@dataclass(frozen=True)
class Stage:
    """One step.

    name      for a file
    title     what the paper calls it
    sentence  what is seen
    source    paper, section and equation
    picture   uint8 (H, W, 3) RGB
    figures   its numbers, by name
    """

    name: str
    title: str
    sentence: str
    source: str
    picture: Image
    figures: dict[str, Any] = field(default_factory=dict)


def stages_of(model: str | None, image: Image, runtime: Runtime = Runtime(), conf: float = 0.25) -> Iterator[Stage]:
    """The stages of a detector, by its model, or of a method of proposals, by its name, over one picture.

    ModelError for what is no detector.
    """
    yield Stage("picture", "The picture", f"{image.shape[1]} x {image.shape[0]} pixels, three colours.", "", image)
    if model == "selective-search":
        from detkit.inside.selective_search_stages import selective_search_stages

        yield from selective_search_stages(image, runtime.cores)
        return
    if model == "edge-boxes":
        from detkit.inside.edge_box_stages import edge_box_stages

        yield from edge_box_stages(image, runtime.cores)
        return
    subject = open_subject(model, runtime, conf)
    if isinstance(subject, DetectionNetwork):
        from detkit.inside.grid_stages import grid_stages

        yield from grid_stages(subject, image, conf)
    elif isinstance(subject, WholeDetector):
        yield from _of_detector(subject, image)
    else:
        raise ModelError(
            f"{subject.path}: --stages are those of detectors; {subject.kind}s have --layers and the others"
        )


def _of_detector(subject: WholeDetector, image: Image) -> Iterator[Stage]:
    from detkit.detectors.hog.hog_detector import HogDetector
    from detkit.inside.hog_stages import hog_stages
    from detkit.inside.region_stages import region_stages

    if isinstance(subject.detector, HogDetector):
        yield from hog_stages(subject.detector, image)
    else:
        yield from region_stages(subject.detector, image)


def suppressors(boxes: Floats, scores: Floats, class_ids: NDArray[np.int64], threshold: float) -> NDArray[np.int64]:
    """For each box (N,) the survivor of greedy suppression that suppressed it, -1 for survivors.

    Per class; a box falls to the best survivor that overlaps it by more than `threshold`.
    """
    owner = np.full(len(boxes), -1, np.int64)
    for class_id in np.unique(class_ids).tolist():
        rest = np.flatnonzero(class_ids == class_id)
        rest = rest[np.argsort(-scores[rest], kind="stable")]
        while len(rest):
            best, rest = rest[0], rest[1:]
            fallen = iou(boxes[best : best + 1], boxes[rest])[0] > threshold
            owner[rest[fallen]] = best
            rest = rest[~fallen]
    return owner


def suppression_stages(
    image: Image, before: Detections, threshold: float, after: Detections, source: str
) -> Iterator[Stage]:
    """Boxes before and after suppression, and which suppressed which."""
    count = len(before)
    yield Stage(
        "before-suppression", "Boxes before suppression",
        f"{_boxes(count)} with a score that is high enough; a detector gives several around an object.", source,
        _thin_boxes(image, before.boxes, before.class_ids), {"boxes": count},
    )  # fmt: skip
    owner = suppressors(before.boxes, before.scores, before.class_ids, threshold)
    survivors = np.flatnonzero(owner < 0)
    shown = np.where(owner < 0, np.arange(count), owner)
    fallen = {int(one): int((owner == one).sum()) for one in survivors}
    yield Stage(
        "suppressed-by", "Which box suppressed which",
        f"{_boxes(len(survivors))} of {count} left by greedy suppression at an IoU of {threshold:g}; each of the "
        "others has the colour of the one that it fell to.", source,
        _thin_boxes(image, before.boxes, shown, survivors),
        {"survivors": [{"box": before.boxes[k].tolist(), "score": float(before.scores[k]),
                        "class": before.names and before.name_of(int(before.class_ids[k])), "suppressed": fallen[k]}
                       for k in sorted(fallen, key=lambda k: -float(before.scores[k]))]},
    )  # fmt: skip
    best = f": the best of the {len(survivors)}." if len(after) < len(survivors) else "."
    yield Stage(
        "result", "The result", f"{_boxes(len(after))}{best}", source, draw(image, after),
        {"detections": after.to_dicts()},
    )  # fmt: skip


def _boxes(count: int) -> str:
    return "1 box" if count == 1 else f"{count} boxes"


def heat_stage(name: str, title: str, sentence: str, source: str, image: Image, heat: NDArray[Any]) -> Stage:
    """A map (H, W) of the picture, or a coarser one in cells, over the picture."""
    size = (image.shape[1], image.shape[0])
    whole = np.asarray(cv2.resize(heat.astype(np.float32), size, interpolation=cv2.INTER_NEAREST), np.float32)
    return Stage(name, title, sentence, source, over_picture(image, whole, title))


def _thin_boxes(
    image: Image, boxes: Floats, colours: NDArray[np.int64], thick: NDArray[np.int64] | None = None
) -> Image:
    from detkit.drawing import color_of

    canvas = np.rint(np.ascontiguousarray(image) * 0.6).astype(np.uint8)
    line = max(1, round((image.shape[0] * image.shape[1]) ** 0.5 / 400))
    wide = set() if thick is None else set(thick.tolist())
    for number in sorted(range(len(boxes)), key=lambda k: k in wide):
        x1, y1, x2, y2 = (round(float(side)) for side in np.clip(boxes[number], -1e5, 1e5))
        colour = color_of(int(colours[number]))
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, line * 3 if number in wide else line, cv2.LINE_AA)
    return np.asarray(canvas, np.uint8)


def boxed(image: Image, boxes: Floats, colour: tuple[int, int, int] = (255, 220, 0), width: int = 0) -> Image:
    """A copy of a picture with boxes in one colour."""
    canvas = np.ascontiguousarray(image).copy()
    line = width or max(1, round((image.shape[0] * image.shape[1]) ** 0.5 / 300))
    for box in boxes:
        x1, y1, x2, y2 = (round(float(side)) for side in np.clip(box, -1e5, 1e5))
        cv2.rectangle(canvas, (x1, y1), (x2, y2), (0, 0, 0), line + 2, cv2.LINE_AA)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, line, cv2.LINE_AA)
    return canvas
