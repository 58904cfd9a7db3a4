"""Amazon SageMaker Ground Truth's manifest of bounding boxes: one JSON object a line and picture.

    {"source-ref": "s3://bucket/a.jpg", "job": {"image_size": [{"width": 9, "height": 9, "depth": 3}], "annotations": [
        {"class_id": 0, "left": 1, "top": 2, "width": 3, "height": 4}]}, "job-metadata": {"class-map": {"0": "cat"},
        "objects": [{"confidence": 0.9}], "human-annotated": "yes", "type": "groundtruth/object-detection"}}

The confidence of an object that a human annotated is no score of a detector, and is not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from detkit.annotations.building import Builder, Contents, in_class_order
from detkit.annotations.by_picture import class_positions, pictures_of
from detkit.annotations.columns import finite_numbers, whole_number
from detkit.annotations.format import Format, Request
from detkit.annotations.text_files import json_bytes, parse_json
from detkit.dataset import GroundTruth
from detkit.picture_names import plain_path, without_ending

_JOB = "annotations"


def read(request: Request) -> Contents:
    """The tables of a file. InputError, with the line, where a line is not JSON."""
    builder = Builder(request.problems)
    for number, line in enumerate(request.data.split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"line {number}"
        record = parse_json(f"{request.path}: {where}", line, is_line=True)
        source = record.get("source-ref") if isinstance(record, dict) else None
        if not isinstance(source, str):
            request.problems.add("lines without a source-ref, left out", where)
            continue
        file = plain_path(urlsplit(source).path if "://" in source else source)
        job = next(
            (
                key
                for key, value in record.items()
                if isinstance(value, dict) and isinstance(value.get("annotations"), list)
            ),
            None,
        )
        size = record[job].get("image_size") if job else None
        size = size[0] if isinstance(size, list) and size and isinstance(size[0], dict) else {}
        width, height = (whole_number(size.get(side)) or 0 for side in ("width", "height"))
        image = builder.image(without_ending(file), file, width, height)
        if job is None:
            request.problems.add("pictures without annotations of a job, counted as without boxes", where)
            continue
        _read_boxes(builder, image, record[job]["annotations"], record.get(f"{job}-metadata"), where)
    return in_class_order(builder.finish())


def _read_boxes(builder: Builder, image: int, boxes: list[Any], about: Any, where: str) -> None:
    about = about if isinstance(about, dict) else {}
    names = about.get("class-map") if isinstance(about.get("class-map"), dict) else {}
    objects = about.get("objects") if isinstance(about.get("objects"), list) else []
    by_machine = str(about.get("human-annotated", "yes")).lower() == "no"
    for place, box in enumerate(boxes):
        keys = ("left", "top", "width", "height")
        numbers = finite_numbers([box.get(key) for key in keys], 4) if isinstance(box, dict) else None
        number = whole_number(box.get("class_id")) if isinstance(box, dict) else None
        if numbers is None or number is None:
            builder.problems.add("boxes without four finite numbers or a class_id, left out", where)
            continue
        entry = objects[place] if by_machine and place < len(objects) and isinstance(objects[place], dict) else {}
        score = finite_numbers([entry.get("confidence")], 1)
        name = str(names.get(str(number), number))
        x, y, w, h = numbers
        builder.box(image, builder.category(name, number), (x, y, w, h), score=score[0] if score else None)


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One file."""
    numbers = class_positions(ground_truth)
    lines = []
    for picture in pictures_of(ground_truth, form):
        boxes = [
            {"class_id": int(numbers[k]), "left": x1, "top": y1, "width": x2 - x1, "height": y2 - y1}
            for k, (x1, y1, x2, y2) in zip(picture.classes.tolist(), picture.corners.tolist(), strict=True)
        ]
        names = {str(numbers[k]): name for k, name in zip(picture.classes.tolist(), picture.names, strict=True)}
        size = {"width": picture.width, "height": picture.height, "depth": 3}
        lines.append(json_bytes({
            "source-ref": picture.file,
            _JOB: {"image_size": [size], "annotations": boxes},
            f"{_JOB}-metadata": {
                "class-map": names, "objects": [{"confidence": 1.0} for _ in boxes], "human-annotated": "yes",
                "type": "groundtruth/object-detection",
            },
        }))  # fmt: skip
    yield "", b"\n".join(lines) + b"\n"
