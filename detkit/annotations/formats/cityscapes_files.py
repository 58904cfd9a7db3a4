"""Cityscapes' fine annotations (Cordts et al. 2016): three files a picture, named after it.

    a_gtFine_instanceIds.png   16 bits a pixel: label id * 1000 + k for the k-th object, the label id alone elsewhere
    a_gtFine_labelIds.png      label ids
    a_gtFine_polygons.json     {"imgHeight", "imgWidth", "objects": [{"label", "polygon"}]}, the front ones last

`instanceIds` is read where it is there, for its pixels are what Cityscapes evaluates; else the polygons, as they stand.
Ten labels have objects; pixels or polygons of them that are not told apart ("cargroup") are crowds. Road, sky and the
like are regions, no objects, and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
from numpy.typing import NDArray

from detkit.annotations.beside import Beside, mask_losses
from detkit.annotations.building import Builder, Contents
from detkit.annotations.by_picture import Picture, pictures_of
from detkit.annotations.columns import finite_numbers, whole_number
from detkit.annotations.format import Format, Request
from detkit.annotations.problems import boxes_text, quoted, shorten
from detkit.annotations.text_files import files_under, need_files, parse_json, read_bytes
from detkit.dataset import GroundTruth
from detkit.errors import InputError, OutputError
from detkit.label_maps.png import read_label_png
from detkit.shapes.masks import Masks
from detkit.shapes.outlining import outlined
from detkit.shapes.painting import painted

# The label ids of the classes that have objects.
OBJECTS = {"person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28, "caravan": 29, "trailer": 30, "train": 31,
           "motorcycle": 32, "bicycle": 33}  # fmt: skip
_NAMES = {number: name for name, number in OBJECTS.items()}
_PNG, _IDS, _JSON = "_instanceIds.png", "_labelIds.png", "_polygons.json"
_KIND = "_gtFine"
_PICTURE = "_leftImg8bit.png"
_MOST = 1000
_GROUP = "group"


def read(request: Request) -> Contents:
    """The tables of a folder, with its subfolders (cities), or of one file of polygons."""
    path = request.path
    folder = path.parent if path.is_file() else path
    below = [path.name] if path.is_file() else files_under(folder, (".png", ".json"))
    files = [file for file in below if file.endswith((_PNG, _JSON))]
    need_files(path, files, f"{_PNG} or {_JSON}")
    chosen: dict[str, str] = {}
    for file in files:
        name = file.removesuffix(_PNG).removesuffix(_JSON)
        if file.endswith(_PNG) or name not in chosen:
            chosen[name] = file
    builder = Builder(request.problems)
    for name in OBJECTS:
        builder.category(name, OBJECTS[name])
    for name, file in chosen.items():
        stem = name.removesuffix(_KIND).removesuffix("_gtCoarse")
        if file.endswith(_PNG):
            _read_map(builder, folder / file, stem)
        else:
            _read_polygons(builder, folder / file, stem, request)
    return builder.finish(request.shapes)


def _read_map(builder: Builder, path: Path, stem: str) -> None:
    values = read_label_png(path).values
    if values.ndim != 2:
        raise InputError(f"{path}: is a colour picture, and instanceIds are numbers of 16 bits")
    image = builder.image(stem, stem + _PICTURE, values.shape[1], values.shape[0])
    masks, numbers = Masks.from_labels(values, ())
    regions = 0
    for row, number in enumerate(numbers.tolist()):
        label = number // 1000 if number >= _MOST else number
        if label not in _NAMES:
            regions += 1
            continue
        box = [float(value) for value in masks.bounds[row]]
        builder.box(
            image, builder.category(_NAMES[label]), box, area=float(masks.areas[row]),
            beside=Beside(mask=masks[row]), crowd=number < _MOST,
        )  # fmt: skip
    builder.problems.add("regions that are no objects (road, sky ...), left out", path.name, regions)


def _read_polygons(builder: Builder, path: Path, stem: str, request: Request) -> None:
    document = parse_json(path, read_bytes(path))
    if not isinstance(document, dict) or not isinstance(document.get("objects"), list):
        raise InputError(f"{path}: is no file of Cityscapes' polygons (an object with 'objects')")
    width, height = (max(whole_number(document.get(key)) or 0, 0) for key in ("imgWidth", "imgHeight"))
    image = builder.image(stem, stem + _PICTURE, width, height)
    for number, entry in enumerate(document["objects"], 1):
        where = f"{path.name}, object {number}"
        label = entry.get("label") if isinstance(entry, dict) else None
        ring = _ring(entry.get("polygon")) if isinstance(entry, dict) else None
        if not isinstance(label, str) or ring is None:
            request.problems.add("objects without a label or a polygon of three points, left out", where)
            continue
        if entry.get("deleted"):
            continue
        name = label.removesuffix(_GROUP)
        if name not in OBJECTS:
            request.problems.add("regions that are no objects (road, sky ...), left out", f"{where}: {shorten(label)}")
            continue
        low, high = ring.min(axis=0), ring.max(axis=0)
        box = [*low.tolist(), *(high - low).tolist()]
        builder.box(image, builder.category(name), box, beside=Beside(rings=(ring,)), crowd=name != label)


def _ring(polygon: Any) -> NDArray[np.float64] | None:
    if not isinstance(polygon, list) or len(polygon) < 3:
        return None
    points = [finite_numbers(point, 2) for point in polygon]
    return None if any(point is None for point in points) else np.array(points, np.float64)


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """Three files a picture. OutputError where no class is one of Cityscapes' ten that have objects."""
    names = ground_truth.categories.names
    if len(ground_truth) and not any(name in OBJECTS for name in names):
        raise OutputError(f"{form.title} has objects of {quoted(OBJECTS, 10)}, and here are {quoted(names)}")
    for picture in pictures_of(ground_truth, form):
        if not (picture.width and picture.height):
            raise form.size_unknown(picture.file)
        stem = picture.stem.removesuffix("_leftImg8bit") + _KIND
        numbers = _numbers(picture, form)
        labels = np.concatenate(([0], np.where(numbers >= _MOST, numbers // 1000, numbers)))
        ids = np.concatenate(([0], numbers))
        where = np.zeros((picture.height, picture.width), np.int32)
        if picture.shapes.masks is not None:
            shown = Masks.concatenate(
                one if number else Masks.blank(one.sizes)
                for one, number in zip(picture.shapes.masks, numbers.tolist(), strict=True)
            )
            where = painted(shown, picture.height, picture.width)
        yield stem + _PNG, _png(ids[where].astype(np.uint16))
        yield stem + _IDS, _png(labels[where].astype(np.uint8))
        yield stem + _JSON, _polygons(picture, numbers)


def _numbers(picture: Picture, form: Format) -> NDArray[np.int64]:
    """Of each box the number of its pixels, 0 where it has none."""
    seen = dict.fromkeys(OBJECTS.values(), 0)
    numbers = np.zeros(len(picture.names), np.int64)
    masks = picture.shapes.masks
    for row, name in enumerate(picture.names):
        if name not in OBJECTS or masks is None or not masks.areas[row]:
            continue
        label = OBJECTS[name]
        numbers[row] = label
        if not picture.flags["crowd"][row]:
            numbers[row] = label * 1000 + seen[label]
            seen[label] += 1
            if seen[label] > _MOST:
                raise OutputError(f"{form.title} has {_MOST} objects of a class at most in a picture: '{picture.file}'")
    return numbers


def _polygons(picture: Picture, numbers: NDArray[np.int64]) -> bytes:
    objects = []
    if picture.shapes.masks is not None:
        rings = outlined(picture.shapes.masks)
        for row in np.argsort(-picture.shapes.masks.areas, kind="stable").tolist():  # the front ones, smaller, last
            label = picture.names[row] + (_GROUP if picture.flags["crowd"][row] else "")
            if numbers[row]:
                objects += [{"label": label, "polygon": ring.tolist()} for ring in rings.of(row)]
    return orjson.dumps({"imgHeight": picture.height, "imgWidth": picture.width, "objects": objects})


def _png(values: NDArray[Any]) -> bytes:
    _, png = cv2.imencode(".png", values)
    return png.tobytes()


def losses(ground_truth: GroundTruth) -> list[str]:
    """Boxes of other classes, those without a mask, and crowds that become one region."""
    said, held = mask_losses(ground_truth, OBJECTS, "Cityscapes", "ten classes of objects")
    crowds = np.stack((ground_truth.image_index, ground_truth.class_index), axis=1)[ground_truth.crowd & held]
    merged = len(crowds) - len(np.unique(crowds, axis=0))
    if merged:
        said.append(f"Cityscapes has one group of a class in a picture: {boxes_text(merged)} merged with another.")
    return said
