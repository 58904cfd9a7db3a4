"""Label Studio's JSON and JSON-MIN: tasks with results in percent of the picture (https://labelstud.io/guide/export).

Of annotations the first that was not cancelled counts, of predictions (detections) the first. Rectangles are read as
they are, turned ones, polygons, ellipses and brushes with a box as their bounds. The picture is called by the end of
its address, without the eight digits that uploads get in front.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from detkit.annotations.beside import NOTHING, Beside
from detkit.annotations.building import Builder, Contents, corners_to_xywh, in_class_order
from detkit.annotations.by_picture import pictures_of
from detkit.annotations.columns import finite_numbers, whole_number
from detkit.annotations.format import Format, Request
from detkit.annotations.formats.cvat_xml import around
from detkit.annotations.text_files import json_bytes, parse_json
from detkit.dataset import GroundTruth
from detkit.errors import InputError
from detkit.picture_names import plain_path, without_ending

_UPLOADED = re.compile(r"^[0-9a-f]{8}-")


def read(request: Request) -> Contents:
    """The tables of a file."""
    tasks = parse_json(request.path, request.data)
    if not isinstance(tasks, list):
        raise InputError(f"{request.path}: is not Label Studio's JSON: list expected")
    builder = Builder(request.problems, request.shapes)
    for number, task in enumerate(tasks):
        if not isinstance(task, dict):
            request.problems.add("tasks that are not JSON objects, left out", f"task {number}")
            continue
        name = _file_of(task)
        if not name:
            request.problems.add("tasks without a picture, left out", f"task {task.get('id', number)}")
            continue
        results, score = _results(builder, task, request.target is not None, f"task {task.get('id', number)}")
        width, height = (_side(task, results, side) for side in ("width", "height"))
        if not (width and height) and request.sizes is not None:
            width, height = request.sizes(name)
        image = builder.image(without_ending(name), name, width, height)
        for place, result in enumerate(results):
            _read_result(builder, image, result, (width, height, score), f"{name}, result {place}")
    return in_class_order(builder.finish())


def _side(task: dict[str, Any], results: list[Any], side: str) -> int:
    """The width or height of a task's picture: of its results, or as we write it beside the address; 0 for neither."""
    data = task.get("data")
    given = [one.get(f"original_{side}") for one in results] + [data.get(side) if isinstance(data, dict) else None]
    return max(next((size for one in given if (size := whole_number(one))), 0), 0)


def _file_of(task: dict[str, Any]) -> str:
    """The name of a task's picture: `data.image`, or the first text that looks like an address of one."""
    data = task.get("data") if isinstance(task.get("data"), dict) else task
    texts = [data.get("image"), *data.values()] if isinstance(data, dict) else []
    found = next((text for text in texts if isinstance(text, str) and text), "")
    parts = urlsplit(found)
    query = parse_qs(parts.query).get("d")
    path = plain_path(query[0] if query else unquote(parts.path))
    if "upload/" in path:
        path = path.rpartition("/")[2]
        return _UPLOADED.sub("", path)
    return path


def _results(builder: Builder, task: dict[str, Any], detections: bool, where: str) -> tuple[list[Any], Any]:
    """The results of a task that count, and the score of all of them, if there is one."""
    if isinstance(task.get("label"), list):
        return [one for one in task["label"] if isinstance(one, dict)], None
    key = "predictions" if detections and task.get("predictions") else "annotations"
    sets = task.get(key, task.get("completions"))
    sets = [one for one in sets if isinstance(one, dict)] if isinstance(sets, list) else []
    sets = [one for one in sets if not one.get("was_cancelled")]
    if any(not isinstance(one.get("result"), list) for one in sets):
        builder.problems.add(f"{key} without a result, left out", where)
        sets = [one for one in sets if isinstance(one.get("result"), list)]
    if len(sets) > 1:
        builder.problems.add(f"tasks with several {key}, of which the first counts", where)
    if not sets:
        return [], None
    return [one for one in sets[0]["result"] if isinstance(one, dict)], sets[0].get("score")


def _read_result(builder: Builder, image: int, result: dict[str, Any], known: tuple[int, int, Any], where: str) -> None:
    width, height, common = known
    value = result.get("value", result)
    if not isinstance(value, dict) or not ("x" in value or "points" in value):
        return  # a choice, a text or a relation of the whole picture
    names: list[Any] = next(
        (value[key] for key in value if key.endswith("labels") and isinstance(value[key], list)), []
    )
    label = str(names[0]) if names else ""
    corners = _percent(value)
    if not label or corners is None or "keypointlabels" in value:
        builder.problems.add("results without a label or an area, left out", where)
        return
    if not (width and height):
        builder.problems.add("results of pictures of unknown size, left out", where)
        return
    turned = (finite_numbers([value.get("rotation")], 1) or [0.0])[0]
    beside = NOTHING
    if "rectanglelabels" not in value or turned:
        beside = builder.note_shape(_beside(value, turned, width, height), where)
    x1, y1, x2, y2 = (side * (width, height)[k % 2] / 100 for k, side in enumerate(corners))
    score = finite_numbers([result.get("score", common)], 1)
    builder.box(
        image, builder.category(label), corners_to_xywh(*_turned([x1, y1, x2, y2], turned)),
        score=score[0] if score else None, beside=beside,
    )  # fmt: skip


def _beside(value: dict[str, Any], degrees: float, width: int, height: int) -> Beside:
    """The ring of a polygon, or the corners of a box that is turned about its first one, in pixels."""
    size = np.array([width, height]) / 100
    if isinstance(value.get("points"), list):
        return Beside(rings=(np.array(value["points"], np.float64) * size,))
    sides = finite_numbers([value.get(key) for key in ("x", "y", "width", "height")], 4)
    if sides is None or "radiusX" in value:
        return NOTHING
    x, y, w, h = np.array(sides) * np.tile(size, 2)
    turn = np.radians(degrees)
    along, across = w * np.array([np.cos(turn), np.sin(turn)]), h * np.array([-np.sin(turn), np.cos(turn)])
    first = np.array([x, y])
    return Beside(corners=np.stack((first, first + along, first + along + across, first + across)))


def _percent(value: dict[str, Any]) -> list[float] | None:
    """x1, y1, x2, y2 in percent of the picture, before any turn."""
    points = value.get("points")
    if isinstance(points, list):
        pairs = [finite_numbers(point, 2) for point in points]
        if len(pairs) < 3 or None in pairs:
            return None
        xs, ys = ([pair[k] for pair in pairs if pair is not None] for k in (0, 1))
        return [min(xs), min(ys), max(xs), max(ys)]
    if "radiusX" in value:
        ellipse = finite_numbers([value.get(key) for key in ("x", "y", "radiusX", "radiusY")], 4)
        if ellipse is None:
            return None
        x, y, rx, ry = ellipse
        return [x - rx, y - ry, x + rx, y + ry]
    box = finite_numbers([value.get(key) for key in ("x", "y", "width", "height")], 4)
    return None if box is None else [box[0], box[1], box[0] + box[2], box[1] + box[3]]


def _turned(corners: list[float], degrees: float) -> tuple[float, float, float, float]:
    """Label Studio turns a box about its first corner: the corners of the upright box around it."""
    import math

    x1, y1, x2, y2 = corners
    if not degrees:
        return x1, y1, x2, y2
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    cx = x1 + ((x2 - x1) * c - (y2 - y1) * s) / 2
    cy = y1 + ((x2 - x1) * s + (y2 - y1) * c) / 2
    half_w, half_h = (x2 - x1) / 2, (y2 - y1) / 2
    return around([cx - half_w, cy - half_h, cx + half_w, cy + half_h], degrees)


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One file of tasks. OutputError where the size of a picture with boxes is not known."""
    tasks = []
    for number, picture in enumerate(pictures_of(ground_truth, form), 1):
        width, height = picture.width, picture.height
        if picture.names and not (width and height):
            raise form.size_unknown(picture.file)
        results = [
            {
                "id": f"{number}-{place}", "type": "rectanglelabels", "from_name": "label", "to_name": "image",
                "original_width": width, "original_height": height, "image_rotation": 0,
                "value": {
                    "x": 100 * x1 / width, "y": 100 * y1 / height, "width": 100 * (x2 - x1) / width,
                    "height": 100 * (y2 - y1) / height, "rotation": 0, "rectanglelabels": [name],
                },
            }
            for place, (name, (x1, y1, x2, y2)) in enumerate(
                zip(picture.names, picture.corners.tolist(), strict=True), 1
            )
        ]  # fmt: skip
        address = "/data/local-files/?d=" + _quoted(picture.file)
        data = {"image": address, "width": width, "height": height}
        tasks.append({"id": number, "data": data, "annotations": [{"id": number, "result": results}]})
    yield "", json_bytes(tasks)


def _quoted(file: str) -> str:
    from urllib.parse import quote

    return quote(file, safe="/")
