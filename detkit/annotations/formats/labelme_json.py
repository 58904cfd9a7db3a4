"""LabelMe JSON: one file an image (https://github.com/wkentaro/labelme).

Rectangles are read as they are, circles as their bounds; points and lines bound no area and are left out. Polygons of
one label with the same `group_id` are parts of one object, as LabelMe's own converters take them. A `mask` is a PNG in
base64 of the pixels within its box, first and last included; turned boxes are `oriented_rectangle`, or `rotation` as
AnyLabeling calls them. Boxes of shapes are the ones around them. `flags` of a shape that are called crowd, difficult,
ignore, truncated or occluded are kept, and so is `difficult` or `score` beside them, where AnyLabeling writes it. The
scores of a draft are written as descriptions, which LabelMe shows beside the label: a `score` makes a detection of it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import orjson

from detkit.annotations.beside import NOTHING, Beside
from detkit.annotations.building import Builder, Contents, in_class_order
from detkit.annotations.by_picture import Picture, pictures_of
from detkit.annotations.columns import finite_numbers, flag, whole_number
from detkit.annotations.format import FLAGS, Format, Request
from detkit.annotations.problems import shorten
from detkit.annotations.text_files import files_under, need_files, parse_json, read_bytes
from detkit.dataset import GroundTruth
from detkit.errors import InputError
from detkit.label_maps.png import decode_label_png
from detkit.picture_names import is_named_like_a_picture, without_ending
from detkit.shapes.masks import Masks

_TURNED = ("rotation", "oriented_rectangle")
_BOUNDED = frozenset(("rectangle", "polygon", "circle", "mask", "rotation", "oriented_rectangle"))


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One JSON file a picture."""
    for picture in pictures_of(ground_truth, form):
        shapes = []
        for row, name in enumerate(picture.names):
            marks = {key: True for key in FLAGS if picture.flags[key][row]}
            drawn = _drawn(picture, row)
            group = row + 1 if len(drawn) > 1 else None
            text = f"score {picture.scores[row]:.3g}" if picture.scores else ""
            shapes += [
                {"label": name, "group_id": group, "description": text, "flags": marks, **shape} for shape in drawn
            ]
        yield f"{picture.stem}.json", labelme_json(_path(picture, form.pictures), picture.width, picture.height, shapes)


def _path(picture: Picture, pictures: str) -> str:
    """Of the picture's file, seen from the JSON file: beside it, where nothing else is known."""
    if not pictures:
        return picture.file.rpartition("/")[2]
    return "../" * picture.stem.count("/") + f"{pictures}/{picture.file}"


def _drawn(picture: Picture, row: int) -> list[dict[str, Any]]:
    """The shapes of one object: a polygon for each ring, a mask, a turned box, or a rectangle."""
    shapes = picture.shapes
    if shapes.polygons is not None and shapes.polygons.counts[row]:
        return [{"shape_type": "polygon", "points": ring.tolist()} for ring in shapes.polygons.of(row)]
    if shapes.masks is not None and shapes.masks.areas[row]:
        pixels, left, top = shapes.masks.window(row)
        _, png = cv2.imencode(".png", pixels.astype(np.uint8) * np.uint8(255))
        right, bottom = left + pixels.shape[1] - 1, top + pixels.shape[0] - 1
        text = base64.b64encode(png.tobytes()).decode("ascii")
        return [{"shape_type": "mask", "points": [[left, top], [right, bottom]], "mask": text}]
    if shapes.corners is not None and np.isfinite(shapes.corners[row]).all():
        return [{"shape_type": "oriented_rectangle", "points": shapes.corners[row].tolist()}]
    x1, y1, x2, y2 = picture.corners[row].tolist()
    return [{"shape_type": "rectangle", "points": [[x1, y1], [x2, y2]]}]


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
        _read_image(builder, document, file, request.shapes)
    if not builder.image_rows:
        raise InputError(f"{path}: none of its {len(files)} JSON files is LabelMe's (an object with 'shapes')")
    return in_class_order(builder.finish(request.shapes))


def _read_image(builder: Builder, document: dict[str, Any], file: str, wanted: str) -> None:
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
        kind = str(shape.get("shape_type") or "polygon")
        if kind not in _BOUNDED:
            builder.problems.add("shapes that bound no area (points, lines), left out", f"{where}: {shorten(kind)}")
            continue
        corners = _bounds(kind, shape.get("points"))
        if corners is None:
            builder.problems.add("shapes whose points are not finite numbers, left out", where)
            continue
        if kind != "rectangle" and (not wanted or kind == "circle"):
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
        flags = {key: flag(marks.get(key)) or flag(shape.get(key)) for key in FLAGS}
        builder.box(
            image,
            builder.category(label),
            (x1, y1, x2 - x1, y2 - y1),
            score=score[0] if score else None,
            beside=_beside([part for _, part in parts], builder.size(image), f"{file}: '{shorten(label)}'")
            if wanted
            else NOTHING,
            **flags,  # type: ignore[arg-type]
        )


def _beside(parts: list[dict[str, Any]], size: tuple[int, int], where: str) -> Beside:
    """What the shapes of one object say beside its box; a mask where any of them is one."""
    kinds = [str(part.get("shape_type") or "polygon") for part in parts]
    if kinds[0] in _TURNED and len(parts) == 1 and len(parts[0]["points"]) == 4:
        return Beside(corners=parts[0]["points"])
    rings = [part["points"] for part, kind in zip(parts, kinds, strict=True) if kind in ("polygon", *_TURNED)]
    masks = [_mask(part, size, where) for part, kind in zip(parts, kinds, strict=True) if kind == "mask"]
    if not masks:
        return Beside(rings=rings)
    if rings:
        masks.append(Masks.from_polygons([rings], [size]))
    return Beside(mask=Masks.concatenate(masks).union(np.zeros(len(masks), np.int64), 1))


def _mask(shape: dict[str, Any], size: tuple[int, int], where: str) -> Masks:
    """A mask in its picture; what lies outside of it is cut off. InputError where it is no PNG."""
    try:
        values = decode_label_png(base64.b64decode(shape["mask"], validate=True)).values
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: has a mask that is no PNG in base64") from error
    except InputError as error:
        raise InputError(f"{where}: has a mask that {error}") from error
    if not all(size):
        raise InputError(f"{where}: has a mask, and imageWidth and imageHeight do not say the size of its picture")
    pixels = values.any(axis=2) if values.ndim == 3 else values != 0
    left, top = (round(min(float(point[axis]) for point in shape["points"])) for axis in (0, 1))
    return Masks.from_dense([pixels]).paste(left, top, *size)


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


def labelme_json(path: str, width: int, height: int, shapes: list[dict[str, Any]]) -> bytes:
    """One LabelMe file, without the picture in it, which lies at `path` as seen from the file."""
    document: dict[str, Any] = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": path,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)
