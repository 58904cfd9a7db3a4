"""Detections in COCO's results list, which name images and classes by number only, in the rows of a ground truth.

Ids are compared as they are where the ground truth is a COCO file. Otherwise, or where a table `<file>.images.json`
lies beside the results (as `detkit yolo -f coco` writes it: `images` with `id` and `file_name`, and `categories`), the
table says which files and classes are meant; without it image ids are the numbers in the file names, and category ids
those that the ground truth gives (JSON Lines and CSV may), COCO's own where it has COCO's names, else 1, 2, 3 ... in
the order of its classes, which is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.alignment import (
    ImageMatcher,
    match_classes,
    match_images,
    no_class_in_common,
    no_image_in_common,
    rows_by_number,
)
from detkit.annotations.building import images_table
from detkit.annotations.formats import format_of
from detkit.annotations.formats.coco_json import Results, category_ids
from detkit.annotations.problems import Problems, quoted
from detkit.annotations.text_files import parse_json, read_bytes
from detkit.classes import COCO_NAMES
from detkit.dataset import Categories, GroundTruth, Predictions
from detkit.errors import InputError
from detkit.picture_names import without_ending


def align_results(path: Path, results: Results, target: GroundTruth, problems: Problems) -> Predictions:
    """`results` in the rows of `target`; InputError where no image or no class is in common."""
    if not len(results):
        none = np.zeros(0, np.int64)
        return Predictions(none, none, results.boxes.reshape(0, 4), results.scores)
    files, names = _table_beside(path)
    image_index = _image_rows(path, results.image_ids, files, target, problems)
    class_index = _class_rows(path, results.category_ids, names, target, problems)
    keep = (image_index >= 0) & (class_index >= 0)
    if keep.all():
        return Predictions(image_index, class_index, results.boxes, results.scores)
    return Predictions(image_index[keep], class_index[keep], results.boxes[keep], results.scores[keep])


def _table_beside(path: Path) -> tuple[dict[Any, str], dict[Any, str]]:
    """File names by image id and class names by category id from the table beside the results, if there is one."""
    for table in (Path(f"{path}.images.json"), path.with_suffix(".images.json")):
        if table.is_file():
            document = parse_json(table, read_bytes(table))
            try:
                if isinstance(document, dict) and "images" in document:
                    names = {entry["id"]: str(entry["name"]) for entry in document.get("categories", [])}
                    return {entry["id"]: str(entry["file_name"]) for entry in document["images"]}, names
                if isinstance(document, dict):
                    return {int(id): str(file) for id, file in document.items()}, {}
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"{table}: is not a table of images (`images` with `id` and `file_name`)") from error
            raise InputError(f"{table}: is not a table of images (`images` with `id` and `file_name`)")
    return {}, {}


def _image_rows(
    path: Path, ids: NDArray[Any], files: dict[Any, str], target: GroundTruth, problems: Problems
) -> NDArray[np.int64]:
    if files:
        used = [id for id in dict.fromkeys(ids.tolist()) if id in files]
        own = images_table([(id, files[id], 0, 0) for id in used])
        rows = dict(zip(used, match_images(path, own, target.images, problems).tolist(), strict=True))
        found = np.fromiter((rows.get(id, -1) for id in ids.tolist()), np.int64, len(ids))
    elif ids.dtype == np.int64:
        found = rows_by_number(ids, target.images.ids)
        if format_of(target.source).class_ids == "own":
            _say_text(problems, "image", target.images.ids)
        if (found < 0).all():
            found = rows_by_number(ids, _numbers_in_names(target))
    else:
        matcher = ImageMatcher(target.images)
        rows = {id: _row_of(matcher, id) for id in dict.fromkeys(ids.tolist())}
        found = np.fromiter(map(rows.__getitem__, ids.tolist()), np.int64, len(ids))
    missing = found < 0
    if missing.all():
        known = target.images.files if isinstance(ids[0], str) else target.images.ids
        raise no_image_in_common(path, list(dict.fromkeys(ids.tolist())), known)
    if missing.any():
        problems.add("detections of images that are not in the ground truth, left out",
                     f"image_id {ids[int(np.argmax(missing))]}", int(missing.sum()))  # fmt: skip
    return found


def _say_text(problems: Problems, what: str, ids: Sequence[int | str]) -> None:
    text = next((id for id in ids if isinstance(id, str)), None)
    if text is not None:
        problems.add(f"{what} ids are numbers here and text in the ground truth, compared as numbers", f"'{text}'")


def _row_of(matcher: ImageMatcher, id: Any) -> int:
    if not isinstance(id, int | str):
        return -1
    row = matcher.by_id(id)
    return max(matcher.by_file(id), -1) if row < 0 and isinstance(id, str) else row


def _numbers_in_names(target: GroundTruth) -> list[int | str]:
    return [without_ending(file) for file in target.images.files]


def _class_rows(
    path: Path, ids: NDArray[Any], names: dict[Any, str], target: GroundTruth, problems: Problems
) -> NDArray[np.int64]:
    table = target.categories
    if names:
        used, place, counts = _unique(ids)
        own = Categories(tuple(names.get(id, str(id)) for id in used), tuple(used))
        return match_classes(path, own, counts, table, problems)[place]
    own_ids = category_ids(target)
    if format_of(target.source).class_ids != "own" and not table.given and not set(table.names) <= set(COCO_NAMES):
        problems.add(
            "the results hold no class names and the ground truth no category ids, so category_id 1, 2, 3 ... is "
            "taken as its classes in order",
            ", ".join(f"{id} is {quoted([name])}" for id, name in zip(own_ids[:3], table.names, strict=False)),
        )
    if ids.dtype == np.int64:
        found = rows_by_number(ids, own_ids)
        _say_text(problems, "category", own_ids)
    else:
        rows = {id: row for row, id in reversed(list(enumerate(own_ids)))}
        texts = {str(id): row for id, row in rows.items()}
        found = np.fromiter((rows.get(id, texts.get(str(id), -1)) for id in ids.tolist()), np.int64, len(ids))
    missing = found < 0
    if missing.all():
        seen = sorted(dict.fromkeys(map(str, ids.tolist())))
        here = [f"category_id {id}" for id in seen]
        there = Categories(tuple(f"{id} {name}" for id, name in zip(own_ids, table.names, strict=True)), own_ids)
        raise no_class_in_common(path, here, there)
    if missing.any():
        problems.add("detections of categories that the ground truth does not have, left out",
                     f"category_id {ids[int(np.argmax(missing))]}", int(missing.sum()))  # fmt: skip
    return found


def _unique(ids: NDArray[Any]) -> tuple[list[Any], NDArray[np.int64], NDArray[np.int64]]:
    listed = ids.tolist()
    used = list(dict.fromkeys(listed))
    rows = {id: row for row, id in enumerate(used)}
    place = np.fromiter(map(rows.__getitem__, listed), np.int64, len(listed))
    return used, place, np.bincount(place, minlength=len(used))
