"""COCO's panoptic format: a JSON of segments with their classes, and a folder of PNG files whose colours are their ids.

The folder is called as the JSON file is, without `.json`, and lies beside it, as COCO's do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from detkit.errors import InputError
from detkit.files import read_file
from detkit.label_maps.png import panoptic_ids, read_label_png

# A picture's ids (H, W), and of each segment its id, the row of its class, and whether it is a crowd.
Parts = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]


@dataclass(frozen=True)
class PanopticFile:
    """What the JSON file says.

    pictures    image id -> (PNG file, segments)
    categories  the classes as the file lists them, empty where it does not
    images      what it says of pictures, by image id
    """

    path: Path
    folder: Path
    pictures: dict[Any, tuple[str, list[dict[str, Any]]]]
    categories: tuple[dict[str, Any], ...]
    images: dict[Any, dict[str, Any]]

    def ids(self, image_id: Any) -> NDArray[np.int64]:
        """The segment ids (H, W) of a picture's pixels. InputError where the file is none of this kind."""
        name, _ = self.pictures[image_id]
        stored = read_label_png(self.folder / name)
        if stored.values.ndim != 3:
            raise InputError(f"{self.folder / name}: is no colour PNG, which panoptic maps are")
        return panoptic_ids(stored.values)

    @property
    def stuff(self) -> tuple[Any, ...]:
        """The ids of the classes that are no things."""
        return tuple(category["id"] for category in self.categories if not category.get("isthing", 1))

    def parts(self, image_id: Any, category_ids: tuple[Any, ...]) -> Parts:
        """A picture's segments, with classes as rows of `category_ids`. InputError where they do not fit the map."""
        name, segments = self.pictures[image_id]
        place = {category: row for row, category in enumerate(category_ids)}
        rows = []
        for segment in segments:
            if segment["category_id"] not in place:
                raise InputError(f"{self.path}: category_id {segment['category_id']} of {name} is no category")
            rows.append(place[segment["category_id"]])
        ids = np.array([segment["id"] for segment in segments], np.int64)
        crowd = np.array([bool(segment.get("iscrowd")) for segment in segments], bool)
        return self.ids(image_id), ids, np.array(rows, np.int64), crowd


def read_panoptic(path: Path, data: bytes | None = None) -> PanopticFile:
    """A panoptic JSON file. InputError, one line, where it is none or its folder of PNG files is not there."""
    try:
        content = orjson.loads(read_file(path) if data is None else data)
        pictures = {
            one["image_id"]: (str(one["file_name"]), [_segment(part) for part in one["segments_info"]])
            for one in content["annotations"]
        }
        doubled = len(content["annotations"]) - len(pictures)
        categories = tuple({"id": one["id"], **one} for one in content.get("categories", ()))
        images = {one["id"]: one for one in content.get("images", ())}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path}: is no panoptic JSON of COCO's (annotations with segments_info)") from error
    if doubled:
        raise InputError(f"{path}: has {doubled} pictures twice")
    folder = path.with_suffix("")
    if not folder.is_dir():
        raise InputError(f"{folder}: is not there; the PNG files of {path.name} lie in a folder of its name")
    return PanopticFile(path, folder, pictures, categories, images)


def _segment(part: dict[str, Any]) -> dict[str, Any]:
    if type(part["id"]) is not int:
        raise ValueError("ids of segments are whole numbers")
    return {"category_id": part["category_id"], **part}
