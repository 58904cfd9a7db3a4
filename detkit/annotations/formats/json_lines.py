"""JSON Lines of ours: one line an image.

    {"file": "a/b.jpg", "width": 640, "height": 480, "detections": [
        {"box": [x1, y1, x2, y2], "score": 0.9, "class": "person", "class_id": 0}]}

Annotations have `annotations` in place of `detections`, their boxes no `score`, and where they are set `crowd`,
`difficult`, `ignore`, `truncated`, `occluded` (true), `area` and `id`; the image may have an `image_id`. Masks are
`mask` (RLE) or `segmentation` (rings, as COCO's), beside them stand `keypoints` and `corners`. Frames of
a video carry `frame` or `time`, which becomes part of the image's name ("clip.mp4#3"; "clip.mp4#0.12s" where there
is no `frame`). A line with `error` is an image in which nothing was found. A box without `class` is named by its
`class_id`, counted from 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from detkit.annotations.building import BoxColumns, Contents, corners_in_order, from_columns, images_table
from detkit.annotations.columns import box_column, flag_column, number_column, whole_id, whole_number
from detkit.annotations.format import FLAGS, Format, Request
from detkit.annotations.problems import Problems, quoted, shorten
from detkit.annotations.shape_reading import shapes_of
from detkit.annotations.text_files import json_bytes, parse_json, parse_json_exactly, paused_gc
from detkit.dataset import GroundTruth, ImageId
from detkit.errors import InputError
from detkit.picture_names import plain_path, without_ending
from detkit.shapes.shape_columns import Shapes

MOST_LINE_BYTES = 1 << 26


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One file."""
    yield "", jsonl_bytes(ground_truth)


def read(request: Request) -> Contents:
    """The tables of a file of ours. InputError, with the line, where a line is not a JSON object."""
    path, problems = request.path, request.problems
    images: list[tuple[ImageId, str, int, int]] = []
    ids: set[ImageId] = set()
    rows: dict[str, int] = {}
    owners: list[int] = []
    found: list[dict[str, Any]] = []
    with paused_gc():
        for number, line in enumerate(request.data.split(b"\n"), 1):
            if not line or line.isspace():
                continue
            record = _record(path, number, line)
            file = record.get("file")
            if not isinstance(file, str) or not file:
                problems.add("lines without a 'file', left out", f"line {number}")
                continue
            file = plain_path(file) + _frame(record)
            row = rows.setdefault(file, len(images))
            if row == len(images):
                id = _image_id(record.get("image_id"), file, ids, problems)
                ids.add(id)
                images.append((id, file, _size(record.get("width")), _size(record.get("height"))))
            else:
                problems.add("images with more than one line, joined", f"line {number}, '{shorten(file)}'")
            boxes = record.get("detections", record.get("annotations"))
            if boxes is None and "error" in record:
                problems.add("images that could not be read when the file was made, counted as without boxes",
                             f"'{shorten(file)}': {shorten(str(record['error']))}")  # fmt: skip
                boxes = []
            if not isinstance(boxes, list) or not all(type(box) is dict for box in boxes):
                raise InputError(
                    f"{path}: line {number} has no list of objects 'detections' or 'annotations'; "
                    f"here are {quoted(record)}"
                )
            owners += [row] * len(boxes)
            found += boxes
        return _contents(request, images, np.array(owners, np.int64).reshape(len(owners)), found)


def _record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    if len(line) > MOST_LINE_BYTES:
        raise InputError(f"{path}: line {number} has {len(line) >> 20} MB, which is no JSON Lines of ours")
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        record = parse_json(f"{path}: line {number}", line, is_line=True)
    if isinstance(record, dict) and _has_long_id(record):
        record = parse_json_exactly(f"{path}: line {number}", line)
    if not isinstance(record, dict):
        raise InputError(
            f"{path}: line {number} is not a JSON object: {shorten(line[:200].decode('utf-8', 'replace'))}"
        )
    return record


def _has_long_id(record: dict[str, Any]) -> bool:
    """Whether the image or a box has an id beyond 64 bits, of which only a float is left."""
    boxes = record.get("detections", record.get("annotations"))
    boxes = boxes if isinstance(boxes, list) else ()
    ids = [record.get("image_id"), *(box.get("id") for box in boxes if type(box) is dict)]
    return any(type(id) is float and abs(id) >= 2.0**63 for id in ids)


def _image_id(given: object, file: str, taken: set[ImageId], problems: Problems) -> ImageId:
    """The `image_id` of a line; the stem, else the whole name, where there is none or another file has it."""
    if isinstance(given, int | str):
        if given not in taken:
            return given
        problems.add("image ids given to several files, the later ones are called by their names",
                     f"{given!r}, '{shorten(file)}'")  # fmt: skip
    stem = without_ending(file)
    return file if stem in taken else stem


def _frame(record: dict[str, Any]) -> str:
    if "frame" in record:
        return f"#{record['frame']}"
    return f"#{record['time']}s" if "time" in record else ""


def _size(value: object) -> int:
    return max(whole_number(value) or 0, 0)


def _contents(
    request: Request, images: list[tuple[ImageId, str, int, int]], owners: Any, found: list[dict[str, Any]]
) -> Contents:
    problems = request.problems
    corners, readable = box_column([box.get("box") for box in found])
    if not readable.all():
        first = int(np.argmin(readable))
        example = f"{shorten(str(found[first]))} of '{images[owners[first]][1]}'"
        problems.add("boxes that are not four finite numbers, left out", example, int((~readable).sum()))
        found = [box for box, kept in zip(found, readable, strict=True) if kept]
        owners, corners = owners[readable], corners[readable]
    boxes = corners_in_order(corners, problems, lambda k: f"{found[k].get('box')} of '{images[owners[k]][1]}'")
    ids = [box.get("class_id") for box in found]
    given = [box.get("class") for box in found]
    complete = all(type(name) is str for name in given)
    names: list[Any] = given if complete else _names(given, ids, request)
    keys = set(chain.from_iterable(found))

    def column(key: str) -> list[Any] | None:
        return [box.get(key) for box in found] if key in keys else None

    areas, own_ids = column("area"), column("id")
    sizes = np.array([image[:1:-1] for image in images], np.int64).reshape(-1, 2)[owners]
    shapes = shapes_of(found, request.shapes, sizes, problems)
    if request.target is not None and request.shapes:  # as of results that have boxes, too
        shapes = replace(shapes, areas=boxes[:, 2] * boxes[:, 3])
    columns = BoxColumns(
        owners,
        names,
        [id if isinstance(id, int | str) else None for id in ids],
        boxes,
        number_column(column("score") or [None] * len(found)),
        areas=None if areas is None else number_column(areas),
        flags={key: flag_column(values) for key in FLAGS if (values := column(key)) is not None},
        ids=None if own_ids is None else [id if isinstance(id, int | str) else None for id in own_ids],
        shapes=shapes,
    )
    return from_columns(images_table(images), columns)


def _names(names: list[Any], ids: list[Any], request: Request) -> list[str]:
    default_names = request.default_names if None in names else ()
    complete: list[str] = []
    for name, id in zip(names, ids, strict=True):
        if not isinstance(name, str):
            number = whole_id(id)
            if name is not None:
                name = str(name)
            elif number is None:
                raise InputError(f"{request.path}: a box has neither 'class' nor a 'class_id' that is a number")
            elif 0 <= number < len(default_names):
                name = default_names[number]
                request.problems.add(
                    "boxes without a class name, taken as classes counted from 0", f"{number} is '{name}'"
                )
            else:
                name = str(number)
        complete.append(name)
    return complete


def jsonl_bytes(ground_truth: GroundTruth) -> bytes:
    """Annotations as JSON Lines, one line an image, also for images without boxes."""
    names, class_ids = ground_truth.categories.names, ground_truth.categories.ids
    corners = ground_truth.boxes.copy()
    corners[:, 2:] += corners[:, :2]
    areas = ground_truth.areas
    own_area = areas != ground_truth.boxes[:, 2] * ground_truth.boxes[:, 3]
    boxes: list[list[dict[str, Any]]] = [[] for _ in ground_truth.images.ids]
    columns = {key: getattr(ground_truth, key) for key in FLAGS}
    running = ground_truth.has_running_ids
    beside = _beside(ground_truth.shapes, len(ground_truth))
    for row, (image, category, box) in enumerate(
        zip(ground_truth.image_index.tolist(), ground_truth.class_index.tolist(), corners.tolist(), strict=True)
    ):
        entry: dict[str, Any] = {"box": box, "class": names[category], "class_id": class_ids[category]}
        entry.update({key: True for key, column in columns.items() if column[row]})
        if own_area[row]:
            entry["area"] = float(areas[row])
        if not running:
            entry["id"] = ground_truth.ids[row]
        entry.update(beside[row])
        boxes[image].append(entry)
    images = ground_truth.images
    lines = []
    for id, file, width, height, found in zip(
        images.ids, images.files, images.widths.tolist(), images.heights.tolist(), boxes, strict=True
    ):
        record: dict[str, Any] = {"file": file or str(id), "width": width, "height": height}
        if id != without_ending(plain_path(file or str(id))):
            record["image_id"] = id
        record["annotations"] = found
        lines.append(json_bytes(record))
    return b"\n".join(lines) + b"\n"


def _beside(shapes: Shapes, count: int) -> list[dict[str, Any]]:
    """`mask`, `segmentation` (rings), `keypoints` and `corners` of each of N objects, where it has them."""
    entries: list[dict[str, Any]] = [{} for _ in range(count)]
    if shapes.masks is not None:
        some = np.flatnonzero(shapes.has("masks", count))
        for row, mask in zip(some.tolist(), shapes.masks[some].to_coco(), strict=True):
            entries[row]["mask"] = mask
    if shapes.polygons is not None:
        for row, rings in enumerate(shapes.polygons.lists()):
            if rings:
                entries[row]["segmentation"] = rings
    for key in ("keypoints", "corners"):
        column = getattr(shapes, key)
        for row in np.flatnonzero(shapes.has(key, count)).tolist():
            entries[row][key] = column[row].tolist()
    return entries
