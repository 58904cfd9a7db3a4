"""MegaDetector's batch output: boxes in shares of the picture, with a class and a confidence (format 1.0 to 1.5).

    {"images": [{"file": "a/b.jpg", "detections": [{"category": "1", "conf": 0.9, "bbox": [x, y, w, h]}]}],
     "detection_categories": {"1": "animal"}, "info": {...}}

A file whose every confidence is 1 may be annotations, which the format has no other way to hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from detkit.annotations.building import Builder, Contents, in_class_order
from detkit.annotations.by_picture import class_positions, pictures_of
from detkit.annotations.columns import finite_numbers, whole_number
from detkit.annotations.format import Format, Request
from detkit.annotations.sizes import UNSIZED
from detkit.annotations.text_files import json_bytes, parse_json
from detkit.dataset import GroundTruth
from detkit.errors import InputError
from detkit.picture_names import plain_path, without_ending


def read(request: Request) -> Contents:
    """The tables of a file; sizes of pictures are those of the file, else of the request."""
    document = parse_json(request.path, request.data)
    entries = document.get("images") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise InputError(f"{request.path}: is not MegaDetector's output: it has no list of images")
    names = document.get("detection_categories")
    names = {str(key): str(name) for key, name in names.items()} if isinstance(names, dict) else {}
    builder = Builder(request.problems)
    annotations = request.target is None and all(_is_sure(entry) for entry in entries)
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
            request.problems.add("images without a file, left out", f"entry {number}")
            continue
        file = plain_path(entry["file"])
        width, height = (whole_number(entry.get(side)) or 0 for side in ("width", "height"))
        if not (width and height) and request.sizes is not None:
            width, height = request.sizes(file)
        image = builder.image(without_ending(file), file, width, height)
        if entry.get("failure"):
            request.problems.add("images that could not be read when the file was made, counted as without boxes", file)
        for box in entry.get("detections") or ():
            _read_box(builder, image, box, names, (width, height, annotations), file)
    return in_class_order(builder.finish())


def _is_sure(entry: Any) -> bool:
    boxes = (entry.get("detections") or ()) if isinstance(entry, dict) else ()
    return all(isinstance(box, dict) and box.get("conf") == 1 for box in boxes)


def _read_box(
    builder: Builder, image: int, box: Any, names: dict[str, str], known: tuple[int, int, bool], file: str
) -> None:
    width, height, annotations = known
    numbers = finite_numbers(box.get("bbox"), 4) if isinstance(box, dict) else None
    category = str(box.get("category", "")) if isinstance(box, dict) else ""
    score = finite_numbers([box.get("conf")], 1) if isinstance(box, dict) else None
    if numbers is None or not category:
        builder.problems.add("boxes that are not four finite numbers with a category, left out", file)
    elif not (width and height):
        builder.problems.add(UNSIZED, file)
    else:
        x, y, w, h = numbers
        builder.box(
            image, builder.category(names.get(category, category)),
            (x * width, y * height, w * width, h * height), score=None if annotations or score is None else score[0],
        )  # fmt: skip


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One file, every confidence 1. OutputError where the size of a picture with boxes is not known."""
    numbers = class_positions(ground_truth) + 1
    images = []
    for picture in pictures_of(ground_truth, form):
        width, height = picture.width, picture.height
        if picture.names and not (width and height):
            raise form.size_unknown(picture.file)
        boxes = [
            {"category": str(numbers[k]), "conf": 1.0,
             "bbox": [x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height]}
            for k, (x1, y1, x2, y2) in zip(picture.classes.tolist(), picture.corners.tolist(), strict=True)
        ]  # fmt: skip
        images.append({"file": picture.file, "width": width, "height": height, "detections": boxes})
    names = {str(number): name for number, name in zip(numbers.tolist(), ground_truth.categories.names, strict=True)}
    info = {"format_version": "1.4", "detector": "annotations"}
    yield "", json_bytes({"images": images, "detection_categories": names, "info": info})
