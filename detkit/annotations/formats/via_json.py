"""VGG Image Annotator: a project, its annotations alone, or its CSV (https://www.robots.ox.ac.uk/~vgg/software/via/).

A region has a shape and attributes. Rectangles are read as they are, polygons, circles and ellipses as their bounds;
points and lines are left out. The class is the attribute that is called label, class, name, type or category, else
the only one; a checkbox's is the one that is checked.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from typing import Any

import orjson

from detkit.annotations.beside import NOTHING, Beside
from detkit.annotations.building import Builder, Contents, in_class_order
from detkit.annotations.by_picture import pictures_of
from detkit.annotations.columns import finite_numbers
from detkit.annotations.format import Format, Request
from detkit.annotations.text_files import json_bytes, parse_json, readable_csv
from detkit.dataset import GroundTruth
from detkit.errors import InputError
from detkit.picture_names import plain_path, without_ending

_LABELS = ("label", "class", "name", "type", "category", "object", "class_name")
_RECTANGLES = ("rect", "rectangle")


def read(request: Request) -> Contents:
    """The tables of a file; sizes, which it does not hold, are those of the request."""
    entries = _entries(request)
    builder, sizes = Builder(request.problems, request.shapes), request.sizes
    for file, regions in entries:
        file = plain_path(file)
        image = builder.image(without_ending(file), file, *(sizes(file) if sizes else (0, 0)))
        for number, region in enumerate(regions):
            _read_region(builder, image, region, f"{file}, region {number}")
    return in_class_order(builder.finish())


def _entries(request: Request) -> Iterator[tuple[str, list[Any]]]:
    """(file, regions) of each picture."""
    if not request.data.lstrip().startswith(b"{"):
        yield from _csv_entries(request)
        return
    document = parse_json(request.path, request.data)
    table = document.get("_via_img_metadata", document) if isinstance(document, dict) else None
    if not isinstance(table, dict):
        raise InputError(f"{request.path}: is not VIA's JSON: object expected")
    for key, entry in table.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
            request.problems.add("entries without a filename, left out", key)
            continue
        regions = entry.get("regions", [])
        if not isinstance(regions, dict | list):
            request.problems.add("regions that are no list, left out", key)
            regions = []
        yield entry["filename"], list(regions.values()) if isinstance(regions, dict) else regions


def _csv_entries(request: Request) -> Iterator[tuple[str, list[Any]]]:
    with readable_csv(request.path):
        table = csv.DictReader(io.StringIO(request.data.decode("utf-8", "replace"), newline=""))
        names, rows = table.fieldnames or (), list(table)
    if not {"filename", "region_shape_attributes"} <= set(names):
        raise InputError(f"{request.path}: is neither VIA's JSON nor its CSV, which has region_shape_attributes")
    for number, row in enumerate(rows, 2):
        try:
            shape = orjson.loads(row.get("region_shape_attributes") or "{}")
            attributes = orjson.loads(row.get("region_attributes") or "{}")
        except orjson.JSONDecodeError:
            request.problems.add("lines whose attributes are not JSON, left out", f"line {number}")
            continue
        region = {"shape_attributes": shape, "region_attributes": attributes}
        yield str(row.get("filename") or "").removeprefix("#"), [region] if shape else []


def _read_region(builder: Builder, image: int, region: Any, where: str) -> None:
    shape = region.get("shape_attributes") if isinstance(region, dict) else None
    kind = shape.get("name") if isinstance(shape, dict) else None
    label = _label(region.get("region_attributes")) if isinstance(region, dict) else None
    if kind in ("point", "line"):
        builder.problems.add("shapes that bound no area (points, lines), left out", where)
        return
    box = _box(kind, shape) if isinstance(shape, dict) else None
    if not label:
        builder.problems.add("regions whose attributes name no class, left out", where)
    elif box is None:
        builder.problems.add("regions whose shape cannot be read, left out", where)
    else:
        beside = NOTHING
        if kind not in _RECTANGLES:
            assert isinstance(shape, dict)
            points = list(zip(shape.get("all_points_x", ()), shape.get("all_points_y", ()), strict=False))
            beside = builder.note_shape(Beside(rings=(points,)) if kind == "polygon" else NOTHING, where)
        builder.box(image, builder.category(label), box, beside=beside)


def _label(attributes: Any) -> str | None:
    if not isinstance(attributes, dict):
        return None
    texts = {}
    for key, value in attributes.items():
        if isinstance(value, dict):  # a checkbox
            value = next((option for option, chosen in value.items() if chosen), "")
        if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value):
            texts[str(key).strip().lower()] = str(value)
    named = next((texts[key] for key in _LABELS if key in texts), None)
    return named or (next(iter(texts.values())) if len(texts) == 1 else None)


def _box(kind: Any, shape: dict[str, Any]) -> tuple[float, float, float, float] | None:
    def numbers(*keys: str) -> list[float] | None:
        return finite_numbers([shape.get(key) for key in keys], len(keys))

    if kind in _RECTANGLES:
        found = numbers("x", "y", "width", "height")
        return None if found is None else (found[0], found[1], found[2], found[3])
    if kind == "circle":
        found = numbers("cx", "cy", "r")
        return None if found is None else (found[0] - found[2], found[1] - found[2], 2 * found[2], 2 * found[2])
    if kind == "ellipse":
        found = numbers("cx", "cy", "rx", "ry")
        if found is None:
            return None
        turn = (finite_numbers([shape.get("theta")], 1) or [0.0])[0]
        half_w = math.hypot(found[2] * math.cos(turn), found[3] * math.sin(turn))
        half_h = math.hypot(found[2] * math.sin(turn), found[3] * math.cos(turn))
        return found[0] - half_w, found[1] - half_h, 2 * half_w, 2 * half_h
    xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
    if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys) or len(xs) < 3:
        return None
    across, down = finite_numbers(xs, len(xs)), finite_numbers(ys, len(ys))
    if across is None or down is None:
        return None
    return min(across), min(down), max(across) - min(across), max(down) - min(down)


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One file of annotations."""
    document = {}
    for picture in pictures_of(ground_truth, form):
        regions = [
            {
                "shape_attributes": {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1},
                "region_attributes": {"label": name},
            }
            for name, (x1, y1, x2, y2) in zip(picture.names, picture.corners.tolist(), strict=True)
        ]
        document[f"{picture.file}-1"] = {
            "filename": picture.file, "size": -1, "regions": regions, "file_attributes": {},
        }  # fmt: skip
    yield "", json_bytes(document)
