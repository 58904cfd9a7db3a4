"""The images with the most errors, with their boxes, as figures for the page."""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from detkit.annotations.picture_places import Pictures
from detkit.dataset import Skeleton
from detkit.errors import InputError
from detkit.metrics.counts import image_counts
from detkit.metrics.evaluation import Evaluation
from detkit.metrics.iou_types import OVERLAPS
from detkit.report.shape_svg import shape_svg
from detkit.shapes.shape_columns import Shapes

logger = logging.getLogger("detkit")

LONGEST = 560  # pixels of the longer side of a picture on the page
QUALITY = 72
LABELLED = 16  # from more boxes on, hits show their label only under the pointer


@dataclass(frozen=True)
class Shown:
    """One box of a picture: kind "tp", "fp", "fn" or "crowd"; x, y, width, height in its pixels.

    shapes, row   where its mask, key points or corners are;  skeleton of its class
    """

    kind: str
    box: tuple[float, float, float, float]
    label: str
    shapes: Shapes
    row: int
    skeleton: Skeleton | None


def worst_images(evaluation: Evaluation, count: int) -> list[int]:
    """Rows of the images with the most false positives and misses at the working point, the worst first."""
    truth_image = evaluation.ground_truth.image_index
    _, false, missed = image_counts(evaluation.outcomes, truth_image, evaluation.score)
    errors = false + missed
    order = np.argsort(-errors, kind="stable")[:count]
    return [int(row) for row in order if errors[row]]


def boxes_of(evaluation: Evaluation, image: int) -> list[Shown]:
    """The boxes of an image at the working point: crowds and hits first, so that errors lie on top."""
    outcomes, truth = evaluation.outcomes, evaluation.ground_truth
    ranking = outcomes.ranking
    here = np.flatnonzero((ranking.image == image) & (ranking.scores >= evaluation.score))
    hits = here[outcomes.hit[here]]
    false = here[outcomes.counts[here] & ~outcomes.hit[here]]
    boxes = np.flatnonzero(truth.image_index == image)
    found = np.isin(boxes, outcomes.truth[hits])
    uncounted = boxes[~outcomes.positive[boxes]]
    missed = boxes[outcomes.positive[boxes] & ~found]

    skeletons = truth.categories.skeletons or (None,) * len(truth.categories)
    found_shapes = evaluation.predictions.shapes

    def of_truth(kind: str, rows: np.ndarray) -> list[Shown]:
        return [
            Shown(kind, _box(truth.boxes[row]), evaluation.names[truth.class_index[row]], truth.shapes, int(row),
                  skeletons[truth.class_index[row]])
            for row in rows
        ]  # fmt: skip

    def of_detections(kind: str, rows: np.ndarray) -> list[Shown]:
        return [
            Shown(
                kind,
                _box(ranking.boxes[row]),
                f"{evaluation.names[ranking.class_index[row]]} {ranking.scores[row]:.2f}",
                found_shapes,
                int(ranking.rows[row]),
                skeletons[ranking.class_index[row]],
            )
            for row in rows
        ]

    return [
        *of_truth("crowd", uncounted),
        *of_detections("tp", hits),
        *of_truth("fn", missed),
        *of_detections("fp", false),
    ]


def draw_image(evaluation: Evaluation, image: int, pictures: Pictures) -> str:
    """An HTML figure: the picture, made smaller and held in the page, with its boxes as SVG on top."""
    images = evaluation.ground_truth.images
    shown = boxes_of(evaluation, image)
    width, height = int(images.widths[image]), int(images.heights[image])
    picture, size = _picture(pictures.find(images.files[image] or str(images.ids[image])))
    if size != (0, 0):
        width, height = size
    if not width or not height:
        width = max([1, *(int(s.box[0] + s.box[2]) + 1 for s in shown)])
        height = max([1, *(int(s.box[1] + s.box[3]) + 1 for s in shown)])
    unit = max(width, height) / LONGEST  # picture pixels in a pixel of the page
    needs = OVERLAPS[evaluation.settings.iou_type].needs
    crowded = len(shown) > LABELLED
    font = (10 if crowded else 12) * unit
    parts = []
    for one in shown:
        x, y, w, h = one.box
        label = escape(one.label)
        top = y - 3 * unit if y > font * 1.2 else y + font
        shape = shape_svg(one.shapes, one.row, needs, unit, one.skeleton)
        rectangle = f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(w, 0):.1f}" height="{max(h, 0):.1f}"/>'
        parts.append(
            f'<g class="{one.kind}{" shaped" if shape else ""}"><title>{KINDS[one.kind]}: {label}</title>'
            f"{rectangle}{shape}"
            f'<text x="{max(x, 0) + 2 * unit:.1f}" y="{top:.1f}" font-size="{font:.1f}">{label}</text></g>'
        )
    tally = {kind: sum(one.kind == kind for one in shown) for kind in ("tp", "fp", "fn")}
    caption = f"{tally['fn']} missed, {tally['fp']} false, {tally['tp']} found"
    name = escape(images.files[image] or str(images.ids[image]))
    note = "" if picture else '<span class="note"> (picture not found: see --images)</span>'
    return (
        f'<figure class="shot{" crowded" if crowded else ""}"><svg viewBox="0 0 {width} {height}" '
        f'style="--u:{unit:.4f}px" role="img" aria-label="{name}: {caption}">'
        f'<rect class="back" width="{width}" height="{height}"/>{_image_element(picture, width, height)}'
        f"{''.join(parts)}</svg><figcaption><b>{name}</b>{note}<br>{caption}</figcaption></figure>"
    )


KINDS = {"tp": "found", "fp": "false positive", "fn": "missed", "crowd": "does not count"}


def _picture(path: Path | None) -> tuple[str, tuple[int, int]]:
    """A data URL of the picture made smaller, and its full (width, height); "" and (0, 0) where there is none."""
    if path is None:
        return "", (0, 0)
    import cv2

    from detkit.images import encode_image, read_image

    try:
        image = read_image(path)
    except InputError as error:
        logger.warning("%s", error)
        return "", (0, 0)
    height, width = image.shape[:2]
    scale = LONGEST / max(width, height)
    if scale < 1:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    data = base64.b64encode(encode_image(image, ".jpg", QUALITY)).decode("ascii")
    return f"data:image/jpeg;base64,{data}", (width, height)


def _image_element(url: str, width: int, height: int) -> str:
    return f'<image href="{url}" width="{width}" height="{height}" preserveAspectRatio="none"/>' if url else ""


def _box(row: np.ndarray) -> tuple[float, float, float, float]:
    x, y, w, h = row.tolist()
    return x, y, w, h
