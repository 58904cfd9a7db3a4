"""Apple's Create ML JSON: a list of pictures, each box by its centre and size in pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from detkit.annotations.building import Builder, Contents, in_class_order
from detkit.annotations.by_picture import pictures_of
from detkit.annotations.columns import finite_numbers
from detkit.annotations.format import Format, Request
from detkit.annotations.text_files import json_bytes, parse_json
from detkit.dataset import GroundTruth
from detkit.errors import InputError
from detkit.picture_names import plain_path, without_ending


def read(request: Request) -> Contents:
    """The tables of a file; sizes, which it does not hold, are those of the request."""
    entries = parse_json(request.path, request.data)
    if not isinstance(entries, list):
        raise InputError(f"{request.path}: is not Create ML's JSON: list expected")
    builder, sizes = Builder(request.problems), request.sizes
    for number, entry in enumerate(entries):
        name = (entry.get("image") or entry.get("imagefilename")) if isinstance(entry, dict) else None
        if not isinstance(name, str):
            request.problems.add("entries without an image, left out", f"entry {number}")
            continue
        file = plain_path(name)
        image = builder.image(without_ending(file), file, *(sizes(file) if sizes else (0, 0)))
        boxes = entry.get("annotations", entry.get("annotation"))
        for place, box in enumerate(boxes if isinstance(boxes, list) else ()):
            _read_box(builder, image, box, f"{file}, annotation {place}")
    return in_class_order(builder.finish())


def _read_box(builder: Builder, image: int, box: Any, where: str) -> None:
    label = box.get("label") if isinstance(box, dict) else None
    sides = box.get("coordinates") if isinstance(box, dict) else None
    numbers = None
    if isinstance(sides, dict):
        numbers = finite_numbers([sides.get(key) for key in ("x", "y", "width", "height")], 4)
    if not isinstance(label, str) or not label or numbers is None:
        builder.problems.add("boxes without a label or four finite coordinates, left out", where)
        return
    cx, cy, w, h = numbers
    score = finite_numbers([box.get("confidence", box.get("score"))], 1)
    builder.box(image, builder.category(label), (cx - w / 2, cy - h / 2, w, h), score=score[0] if score else None)


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One file."""
    entries = []
    for picture in pictures_of(ground_truth, form):
        boxes = [
            {
                "label": name,
                "coordinates": {"x": (x1 + x2) / 2, "y": (y1 + y2) / 2, "width": x2 - x1, "height": y2 - y1},
            }
            for name, (x1, y1, x2, y2) in zip(picture.names, picture.corners.tolist(), strict=True)
        ]
        entries.append({"image": picture.file, "annotations": boxes})
    yield "", json_bytes(entries)
