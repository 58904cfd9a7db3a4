"""COCO's panoptic format (Kirillov et al. 2019): a JSON file of segments, and a folder of PNG files beside it.

The folder is called as the file is, without `.json`. The colour of a pixel is the id of its segment, R + 256 G +
65536 B. Segments of classes that are no things (`isthing` 0) are read like objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np

from detkit.annotations.beside import Beside
from detkit.annotations.building import Builder, Contents
from detkit.annotations.by_picture import Picture, pictures_of
from detkit.annotations.columns import finite_numbers, whole_number
from detkit.annotations.format import Format, Request
from detkit.annotations.formats.coco_json import category_ids, image_ids
from detkit.annotations.panoptic_files import read_panoptic
from detkit.annotations.problems import boxes_text, quoted
from detkit.annotations.text_files import json_bytes
from detkit.dataset import GroundTruth
from detkit.errors import InputError
from detkit.label_maps.png import panoptic_picture
from detkit.shapes.masks import Masks
from detkit.shapes.painting import painted


def read(request: Request) -> Contents:
    """The tables of a panoptic file; masks from its PNG files, which are opened where masks are wanted only."""
    path, problems = request.path, request.problems
    panoptic = read_panoptic(path, request.data)
    builder = Builder(problems)
    names: dict[Any, str] = {}
    for category in panoptic.categories:
        names[category["id"]] = str(category.get("name", category["id"]))
        builder.category(names[category["id"]], category["id"])
    for image_id, (png, segments) in panoptic.pictures.items():
        known = panoptic.images.get(image_id, {})
        sides = [max(whole_number(known.get(side)) or 0, 0) for side in ("width", "height")]
        image = builder.image(image_id, str(known.get("file_name") or png), *sides)
        masks: dict[int, Masks] = {}
        unboxed = any(finite_numbers(segment.get("bbox"), 4) is None for segment in segments)
        if request.shapes or unboxed or not all(sides):
            found, ids = Masks.from_labels(panoptic.ids(image_id), ())
            masks = {number: found[row] for row, number in enumerate(ids.tolist())}
            height, width = found.sizes[0].tolist() if len(found) else (0, 0)
            if all(sides) and [width, height] != sides:
                raise InputError(f"{panoptic.folder / png}: is {width} x {height}, and {path.name} says "
                                 f"{sides[0]} x {sides[1]}")  # fmt: skip
            builder.image(image_id, png, width, height)
        for segment in segments:
            mask = masks.get(segment["id"])
            if masks and mask is None:
                problems.add("segments without a pixel, left out", f"{png}, id {segment['id']}")
                continue
            box = finite_numbers(segment.get("bbox"), 4)
            if box is None:
                assert mask is not None
                box = [float(value) for value in mask.bounds[0]]
            name = names.setdefault(segment["category_id"], str(segment["category_id"]))
            area = finite_numbers([segment.get("area")], 1)
            own = None if mask is None else float(mask.areas[0])
            builder.box(
                image, builder.category(name, segment["category_id"]), box,
                area=area[0] if area else own, id=segment["id"],
                beside=Beside(mask=mask), crowd=bool(segment.get("iscrowd")),
            )  # fmt: skip
    return builder.finish(request.shapes).with_stuff(panoptic.stuff)


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """The JSON file, and a PNG file a picture."""
    own_image_ids, own_category_ids = image_ids(ground_truth), category_ids(ground_truth)
    categories = ground_truth.categories
    images, annotations = [], []
    for row, picture in enumerate(pictures_of(ground_truth, form)):
        if not (picture.width and picture.height):
            raise form.size_unknown(picture.file)
        file = str(PurePosixPath(picture.stem).with_suffix(".png")) if "." in picture.stem else f"{picture.stem}.png"
        file = file.replace("/", "_")
        size = {"width": picture.width, "height": picture.height}
        images.append({"id": own_image_ids[row], "file_name": picture.file, **size})
        segments, content = _segments(picture, own_category_ids)
        yield file, content
        annotations.append({"image_id": own_image_ids[row], "file_name": file, "segments_info": segments})
    stuff = categories.stuff or (False,) * len(categories)
    table = [
        {"id": id, "name": name, "supercategory": "", "isthing": int(not is_stuff)}
        for id, name, is_stuff in zip(own_category_ids, categories.names, stuff, strict=True)
    ]
    yield "", json_bytes({"images": images, "annotations": annotations, "categories": table})


def _segments(picture: Picture, ids: tuple[int | str, ...]) -> tuple[list[dict[str, Any]], bytes]:
    masks = picture.shapes.masks
    where = np.zeros((picture.height, picture.width), np.int32)
    segments: list[dict[str, Any]] = []
    if masks is not None:
        where = painted(masks, picture.height, picture.width)
        shown, numbers = Masks.from_labels(where)
        for place, number in enumerate(numbers.tolist()):
            row = number - 1
            segments.append({
                "id": number, "category_id": ids[picture.classes[row]], "area": int(shown.areas[place]),
                "bbox": shown.bounds[place].tolist(), "iscrowd": int(picture.flags["crowd"][row]),
            })  # fmt: skip
    _, png = cv2.imencode(".png", panoptic_picture(where)[..., ::-1])
    return segments, png.tobytes()


def losses(ground_truth: GroundTruth) -> list[str]:
    """Boxes without a mask."""
    count = len(ground_truth)
    without = ~(ground_truth.shapes.has("masks", count) | ground_truth.shapes.has("polygons", count))
    if not without.any():
        return []
    names = {ground_truth.categories.names[k] for k in ground_truth.class_index[without].tolist()}
    return [f"COCO panoptic has masks only: {boxes_text(int(without.sum()))} of {quoted(sorted(names))} without one "
            "lost."]  # fmt: skip
