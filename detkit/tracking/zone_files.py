"""Zones from a JSON file, and lines from text.

A file holds one polygon `[[x, y], ...]`, a list of them, `{"name": [[x, y], ...], ...}`, a list of
`{"name": ..., "points": ...}`, or what LabelMe writes (`shapes` with `label` and `points`; two points of a rectangle
are its corners).
"""

from __future__ import annotations

import math
import os
from typing import Any

import orjson

from detkit.errors import InputError, UsageError
from detkit.files import read_file
from detkit.tracking.counting import Point

Polygon = list[Point]


def read_zones(path: str | os.PathLike[str]) -> dict[str, Polygon]:
    """The zones of a file by name; those without are "zone 1", "zone 2" ... InputError where it holds none."""
    try:
        content = orjson.loads(read_file(path))
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path}: is no JSON: {error}") from error
    zones: dict[str, Polygon] = {}
    for number, (name, points) in enumerate(_named(content), start=1):
        called = name or f"zone {number}"
        polygon = _polygon(points)
        if polygon is None:
            raise InputError(f"{path}: {called} is no polygon: at least three points [x, y] are needed")
        if called in zones:
            raise InputError(f"{path}: two zones are called {called!r}")
        zones[called] = polygon
    if not zones:
        raise InputError(f"{path}: holds no zone: a list of points [x, y], or several such lists by name")
    return zones


def line_of(text: str) -> tuple[Point, Point]:
    """Start and end of `x1,y1,x2,y2`, in pixels. UsageError where it is something else."""
    try:
        numbers = [float(part) for part in text.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise UsageError(f"a line is x1,y1,x2,y2 in pixels, not {text!r}")
    x1, y1, x2, y2 = numbers
    return (x1, y1), (x2, y2)


def _named(content: Any) -> list[tuple[str | None, Any]]:
    """(name, points) of every zone."""
    if isinstance(content, dict) and isinstance(content.get("shapes"), list):
        content = content["shapes"]
    elif isinstance(content, dict):
        return [(str(name), points) for name, points in content.items()]
    if not isinstance(content, list) or not content:
        return []
    if _point(content[0]) is not None:
        return [(None, content)]
    named: list[tuple[str | None, Any]] = []
    for one in content:
        if isinstance(one, dict):
            name = one.get("name", one.get("label"))
            named.append((None if name is None else str(name), one.get("points", one.get("polygon"))))
        else:
            named.append((None, one))
    return named


def _polygon(points: Any) -> Polygon | None:
    if not isinstance(points, list):
        return None
    made = [_point(point) for point in points]
    corners = [point for point in made if point is not None]
    if len(corners) != len(made):
        return None
    if len(corners) == 2:
        (x1, y1), (x2, y2) = corners
        corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    return corners if len(corners) >= 3 else None


def _point(value: Any) -> Point | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    x, y = value
    numbers = all(isinstance(side, int | float) and math.isfinite(side) for side in value)
    return (float(x), float(y)) if numbers else None
