"""CVAT XML: one file for all pictures, or for the tracks of a video (https://docs.cvat.ai, "CVAT XML format" 1.1).

Boxes are read as they are, polygons, polylines with an area, ellipses and masks as their bounds; points and cuboids
are left out. The boxes of a track belong to the frames `frame_000012`, as CVAT names them; a box marked `outside` is
none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from xml.etree.ElementTree import Element

import numpy as np

from detkit.annotations.beside import NOTHING, Beside
from detkit.annotations.building import Builder, Contents, corners_to_xywh, in_class_order
from detkit.annotations.by_picture import pictures_of
from detkit.annotations.columns import finite_numbers, flag, whole_number
from detkit.annotations.format import Format, Request
from detkit.annotations.number_text import number_text
from detkit.annotations.xml_text import NOT_IN_XML, parse_xml, xml_attribute
from detkit.dataset import GroundTruth
from detkit.picture_names import without_ending
from detkit.shapes.masks import Masks
from detkit.shapes.turned_boxes import to_corners

_SHAPES = frozenset(("box", "polygon", "polyline", "ellipse", "mask", "points", "cuboid", "skeleton"))
_MOST_FRAMES = 10_000_000


def read(request: Request) -> Contents:
    """The tables of a file."""
    root = parse_xml(request.path, request.data)
    builder = Builder(request.problems, request.shapes)
    for image in root.iter("image"):
        file = image.get("name") or image.get("id") or ""
        width, height = (whole_number(image.get(side)) or 0 for side in ("width", "height"))
        row = builder.image(without_ending(file), file, width, height)
        for number, shape in enumerate((child for child in image if child.tag in _SHAPES), 1):
            _read_shape(builder, row, shape, shape.get("label"), f"{file}, shape {number}")
    tracks = list(root.iter("track"))
    if tracks:
        _read_tracks(builder, root, tracks)
    return in_class_order(builder.finish())


def _read_tracks(builder: Builder, root: Element, tracks: list[Element]) -> None:
    width, height = (whole_number(root.findtext(f".//original_size/{side}")) or 0 for side in ("width", "height"))
    for frame in range(min(whole_number(root.findtext(".//task/size")) or 0, _MOST_FRAMES)):
        builder.image(f"frame_{frame:06d}", f"frame_{frame:06d}.png", width, height)
    for track in tracks:
        for shape in (child for child in track if child.tag in _SHAPES):
            frame = whole_number(shape.get("frame")) or 0
            where = f"track {track.get('id')}, frame {frame}"
            row = builder.image(f"frame_{frame:06d}", f"frame_{frame:06d}.png", width, height)
            if not flag(shape.get("outside")):
                _read_shape(builder, row, shape, track.get("label"), where)


def _read_shape(builder: Builder, image: int, shape: Element, label: str | None, where: str) -> None:
    if not label:
        builder.problems.add("shapes without a label, left out", where)
        return
    if shape.tag in ("points", "cuboid", "skeleton"):
        builder.problems.add("shapes that bound no area of the picture (points, cuboids), left out", where)
        return
    corners = _corners(shape)
    if corners is None:
        builder.problems.add("shapes whose numbers cannot be read, left out", where)
        return
    turned = (finite_numbers([shape.get("rotation")], 1) or [0.0])[0]
    beside = NOTHING
    if shape.tag != "box" or turned:
        beside = builder.note_shape(_beside(shape, corners, turned, builder.size(image)), where)
    score = finite_numbers([shape.get("score") or shape.get("confidence")], 1)
    builder.box(
        image,
        builder.category(label),
        corners_to_xywh(*around(corners, turned)),
        score=score[0] if score else None,
        beside=beside,
        occluded=flag(shape.get("occluded")),
    )


def _beside(shape: Element, corners: list[float], turned: float, size: tuple[int, int]) -> Beside:
    """The ring of a polygon, the pixels of a mask, or the corners of a turned box; of other shapes nothing."""
    if shape.tag == "polygon":
        pairs = shape.get("points", "").split(";")
        return Beside(rings=([[float(part) for part in pair.split(",")] for pair in pairs],))
    x1, y1, x2, y2 = corners
    if shape.tag == "box":
        return Beside(corners=to_corners([[(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, math.radians(turned)]])[0])
    # Runs within the box of the mask, row by row, background first.
    runs = [whole_number(run) or 0 for run in (shape.get("rle") or "").split(",")]
    width, height = round(x2 - x1), round(y2 - y1)
    if shape.tag != "mask" or not all(size) or min(runs) < 0 or sum(runs) != width * height:
        return NOTHING
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return Beside(mask=Masks.from_dense([pixels]).paste(round(x1), round(y1), *size))


def around(corners: list[float], degrees: float) -> tuple[float, float, float, float]:
    """The corners of the upright box around one that is turned about its centre."""
    x1, y1, x2, y2 = corners
    if not degrees:
        return x1, y1, x2, y2
    c, s = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    width, height = abs(x2 - x1), abs(y2 - y1)
    half_w, half_h = (width * c + height * s) / 2, (width * s + height * c) / 2
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    return cx - half_w, cy - half_h, cx + half_w, cy + half_h


def _corners(shape: Element) -> list[float] | None:
    if shape.tag == "box":
        return finite_numbers([shape.get(side) for side in ("xtl", "ytl", "xbr", "ybr")], 4)
    if shape.tag == "ellipse":
        ellipse = finite_numbers([shape.get(key) for key in ("cx", "cy", "rx", "ry")], 4)
        if ellipse is None:
            return None
        cx, cy, rx, ry = ellipse
        return [cx - rx, cy - ry, cx + rx, cy + ry]
    if shape.tag == "mask":
        mask = finite_numbers([shape.get(key) for key in ("left", "top", "width", "height")], 4)
        return None if mask is None else [mask[0], mask[1], mask[0] + mask[2], mask[1] + mask[3]]
    pairs = [finite_numbers(pair.split(","), 2) for pair in (shape.get("points") or "").split(";")]
    if len(pairs) < 3 or None in pairs:
        return None
    xs, ys = ([pair[k] for pair in pairs if pair is not None] for k in (0, 1))
    return [min(xs), min(ys), max(xs), max(ys)]


def class_name(name: str) -> str:
    """A class name as it comes back: XML cannot hold control characters."""
    return NOT_IN_XML.sub("\ufffd", name)


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One file."""
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "  <version>1.1</version>"]
    for number, picture in enumerate(pictures_of(ground_truth, form)):
        size = f'width="{picture.width}" height="{picture.height}"'
        lines.append(f'  <image id="{number}" name={xml_attribute(picture.file)} {size}>')
        for name, corners, hidden in zip(
            picture.names, picture.corners.tolist(), picture.flags["occluded"].tolist(), strict=True
        ):
            sides = zip(("xtl", "ytl", "xbr", "ybr"), corners, strict=True)
            numbers = " ".join(f'{side}="{number_text(value)}"' for side, value in sides)
            lines.append(f'    <box label={xml_attribute(name)} occluded="{int(hidden)}" {numbers} z_order="0"/>')
        lines.append("  </image>")
    yield "", "\n".join([*lines, "</annotations>\n"]).encode("utf-8")
