"""LabelMe JSON: one file an image (https://github.com/wkentaro/labelme).

Rectangles are read as they are, polygons, circles and masks as their bounds; points and lines bound no area and are
left out. Polygons of one label with the same `group_id` are parts of one object, as LabelMe's own converters take
them. `flags` of a shape that are called crowd, difficult, ignore, truncated or occluded are kept, and so is
`difficult` or `score` beside them, where AnyLabeling writes it. The scores of a draft are written as descriptions,
which LabelMe shows beside the label: a `score` would make a detection of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import orjson

from detkit.annotations.building import Builder, Contents, in_class_order
from detkit.annotations.by_picture import Picture, pictures_of
from detkit.annotations.columns import finite_numbers, flag, whole_number
from detkit.annotations.format import FLAGS, Format, Request
from detkit.annotations.problems import shorten
from detkit.annotations.text_files import files_under, need_files, parse_json, read_bytes
from detkit.dataset import GroundTruth
from detkit.errors import InputError
from detkit.picture_names import is_named_like_a_picture, without_ending

_BOUNDED = frozenset(("rectangle", "polygon", "circle", "mask", "rotation", "oriented_rectangle"))


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One JSON file a picture."""
    for picture in pictures_of(ground_truth, form):
        marks = [{key: True for key in FLAGS if picture.flags[key][k]} for k in range(len(picture.names))]
        yield (
            f"{picture.stem}.json",
            labelme_json(
                _path(picture, form.pictures),
                (picture.width, picture.height),
                picture.names,
                picture.corners.tolist(),
                marks,
                [f"score {score:.3g}" for score in picture.scores],
            ),
        )


def _path(picture: Picture, pictures: str) -> str:
    """Of the picture's file, seen from the JSON file: beside it, where nothing else is known."""
    if not pictures:
        return picture.file.rpartition("/")[2]
    return "../" * picture.stem.count("/") + f"{pictures}/{picture.file}"


def read(request: Request) -> Contents:
    """The tables of one LabelMe file or of all in a folder."""
    path, problems = request.path, request.problems
    folder = path.parent if path.is_file() else path
    files = [path.name] if path.is_file() else files_under(folder, (".json",))
    need_files(path, files, ".json")
    builder = Builder(problems)
    for file in files:
        document = parse_json(folder / file, read_bytes(folder / file))
        if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
            problems.add("JSON files that are not LabelMe's, passed over", file)
            continue
        _read_image(builder, document, file)
    if not builder.image_rows:
        raise InputError(f"{path}: none of its {len(files)} JSON files is LabelMe's (an object with 'shapes')")
    return in_class_order(builder.finish())


def _read_image(builder: Builder, document: dict[str, Any], file: str) -> None:
    stem = file[:-5] if file.lower().endswith(".json") else file
    name = str(document.get("imagePath") or "").replace("\\", "/").rpartition("/")[2]
    ending = name[len(without_ending(name)) :]
    image = builder.image(
        without_ending(stem),
        stem if is_named_like_a_picture(stem) else stem + ending,
        max(whole_number(document.get("imageWidth")) or 0, 0),
        max(whole_number(document.get("imageHeight")) or 0, 0),
    )
    groups: dict[tuple[str, Any], list[tuple[list[float], dict[str, Any]]]] = {}
    for number, shape in enumerate(document["shapes"], 1):
        where = f"{file}, shape {number}"
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str) or not shape["label"]:
            builder.problems.add("shapes without a label, left out", where)
            continue
        kind = shape.get("shape_type") or "polygon"
        if kind not in _BOUNDED:
            builder.problems.add(
                "shapes that bound no area (points, lines), left out", f"{where}: {shorten(str(kind))}"
            )
            continue
        corners = _bounds(str(kind), shape.get("points"))
        if corners is None:
            builder.problems.add("shapes whose points are not finite numbers, left out", where)
            continue
        if kind != "rectangle":
            builder.problems.add("shapes that are no upright boxes, taken as the boxes around them",
                                 f"{where}: {shorten(str(kind))}")  # fmt: skip
        group = shape.get("group_id")
        key = (shape["label"], (number,) if group is None or kind == "rectangle" else str(group))
        groups.setdefault(key, []).append((corners, shape))
    for (label, _), parts in groups.items():
        x1, y1 = (min(corners[k] for corners, _ in parts) for k in (0, 1))
        x2, y2 = (max(corners[k] for corners, _ in parts) for k in (2, 3))
        shape = parts[0][1]
        marks = shape.get("flags")
        marks = marks if isinstance(marks, dict) else {}
        score = finite_numbers([shape.get("score")], 1)
        builder.box(
            image,
            builder.category(label),
            (x1, y1, x2 - x1, y2 - y1),
            score=score[0] if score else None,
            **{key: flag(marks.get(key)) or flag(shape.get(key)) for key in FLAGS},
        )


def _bounds(kind: str, points: Any) -> list[float] | None:
    """x1, y1, x2, y2 around the points of a shape; a circle has its centre and a point of its edge."""
    if not isinstance(points, list) or len(points) < (3 if kind == "polygon" else 2):
        return None
    pairs = [finite_numbers(point, 2) for point in points]
    if any(pair is None for pair in pairs):
        return None
    xs, ys = ([pair[k] for pair in pairs if pair is not None] for k in (0, 1))
    if kind == "circle":
        radius = math.hypot(xs[1] - xs[0], ys[1] - ys[0])
        return [xs[0] - radius, ys[0] - radius, xs[0] + radius, ys[0] + radius]
    return [min(xs), min(ys), max(xs), max(ys)]


def labelme_json(
    path: str,
    size: tuple[int, int],
    class_names: list[str],
    corners: list[list[float]],
    flags: list[dict[str, bool]],
    descriptions: list[str],
) -> bytes:
    """One LabelMe file of rectangles, without the picture in it, which has a path and a size (width, height).

    `flags` holds those that are set, for each box; `descriptions`, texts that LabelMe shows, may be none.
    """
    shapes = [
        {
            "label": name,
            "points": [box[:2], box[2:]],
            "group_id": None,
            "description": text,
            "shape_type": "rectangle",
            "flags": marks,
        }
        for name, box, marks, text in zip(class_names, corners, flags, descriptions or [""] * len(corners), strict=True)
    ]
    document: dict[str, Any] = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": path,
        "imageData": None,
        "imageHeight": size[1],
        "imageWidth": size[0],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)
