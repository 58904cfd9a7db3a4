"""Detections in COCO's results list, which mostly names images and classes by number, in the rows of a ground truth.

Where the entries carry `file_name` (as detkit writes them), or a table `<file>.images.json` lies beside the results
(`images` with `id` and `file_name`, and `categories`), these say which files are meant, and so do names of classes
(`category_name`, `categories`). Without them:

- image ids are the ids of the ground truth, or the numbers in its file names;
- category ids are those that the ground truth gives, COCO's own where it has COCO's names, else 1, 2, 3 ... in the
  order of its classes; or they are counted from 1 or 0, or places in COCO's list;
- boxes are x, y, width, height in pixels; or corners, or have their centre first, or are shares of the picture.

The first reading of each is the usual one. Another is taken where the boxes speak clearly for it (`evidence`), and
that is said; so is a doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from detkit.annotations.formats.coco_json import Named, Results, category_ids
from detkit.annotations.image_evidence import Fit, located, partners, sample
from detkit.annotations.layouts import LAYOUTS, settled_boxes
from detkit.annotations.problems import Problems, quoted
from detkit.annotations.text_files import parse_json, read_bytes
from detkit.classes import CATEGORY_IDS, COCO_NAMES
from detkit.dataset import Categories, GroundTruth, Predictions
from detkit.errors import InputError
from detkit.picture_names import without_ending
from detkit.shapes.masks import Masks
from detkit.shapes.shape_columns import Shapes

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class _Case:
    """Results of a file, and the ground truth whose rows are looked for; match is "auto", "id" or "name"."""

    path: Path
    results: Results
    target: GroundTruth
    problems: Problems
    match: str = "auto"

    @property
    def owns_ids(self) -> bool:
        """Whether the ground truth's own file gives its images and classes ids."""
        return format_of(self.target.source).class_ids == "own"


def align_results(
    path: Path, results: Results, target: GroundTruth, problems: Problems, match: str = "auto"
) -> Predictions:
    """`results` in the rows of `target`; InputError where no image or no class is in common.

    match  "id": image ids are those of the ground truth; "name": they are looked up by file names and the numbers in
           them; "auto": what fits
    """
    if not len(results):
        none = np.zeros(0, np.int64)
        nothing = Shapes(Masks.empty(), np.zeros((0, 0, 3)), np.zeros((0, 4, 2)))
        return Predictions(none, none, results.boxes.reshape(0, 4), results.scores, nothing)
    case = _Case(path, results, target, problems, match)
    files, names = _table_beside(path)
    image_index = _image_rows(case, files)
    placed = Predictions(image_index, np.zeros_like(image_index), results.boxes, results.scores, results.shapes)
    placed = settled_boxes(path, placed, target, problems, LAYOUTS)
    case = replace(case, results=replace(results, boxes=placed.boxes))
    class_index = _class_rows(case, names, image_index)
    found = replace(placed, class_index=class_index)
    keep = (image_index >= 0) & (class_index >= 0)
    return found if keep.all() else found[keep]


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


# ---------------------------------------------------------------- images


def _image_rows(case: _Case, files: dict[Any, str]) -> Rows:
    results, target = case.results, case.target
    if results.files is not None and case.match != "id":
        found = _by_file_name(case, results.files)
    elif files and case.match != "id":
        used = [id for id in dict.fromkeys(results.image_ids.tolist()) if id in files]
        own = images_table([(id, files[id], 0, 0) for id in used])
        rows = dict(zip(used, match_images(case.path, own, target.images, case.problems).tolist(), strict=True))
        found = np.fromiter((rows.get(id, -1) for id in results.image_ids.tolist()), np.int64, len(results))
    else:
        found = _by_id(case)
    ids = results.image_ids
    missing = found < 0
    if missing.all():
        known = target.images.files if isinstance(ids[0], str) else target.images.ids
        raise no_image_in_common(case.path, list(dict.fromkeys(ids.tolist())), known)
    if missing.any():
        case.problems.add("detections of images that are not in the ground truth, left out",
                          f"image_id {ids[int(np.argmax(missing))]}", int(missing.sum()))  # fmt: skip
    return found


def _by_file_name(case: _Case, files: Named) -> Rows:
    """By the file names of the entries, an entry without one by its id."""
    own = images_table([(name, name, 0, 0) for name in files.names])
    ids = _rows_of_ids(case.target, case.results.image_ids) if case.owns_ids else np.full(len(case.results), -1)
    try:
        rows = match_images(case.path, own, case.target.images, case.problems)
    except InputError:
        if case.match == "name" or (ids < 0).all() or not _are_believed(case, ids):
            raise
        case.problems.add("file names that are not in the ground truth, so the image ids are taken", files.names[0])
        return ids
    found = np.where(files.index >= 0, rows[np.maximum(files.index, 0)], ids)
    other = (ids >= 0) & (found >= 0) & (ids != found)
    if other.any() and case.match == "auto":
        first = int(np.argmax(other))
        images = case.target.images
        case.problems.add(
            "detections whose image_id and file_name are of different pictures of the ground truth; the file names are "
            "taken (--match id takes the ids)",
            f"image_id {case.results.image_ids[first]} is '{images.files[ids[first]]}' there and "
            f"'{files.names[files.index[first]]}' here",
            int(other.sum()),
        )
    return found


def _are_believed(case: _Case, rows: Rows) -> bool:
    some = sample(len(rows), case.results.scores)
    return located(case.target, rows[some], case.results.boxes[some]).beats(Fit(0, len(some)))


def _rows_of_ids(target: GroundTruth, ids: NDArray[Any]) -> Rows:
    if ids.dtype == np.int64:
        return rows_by_number(ids, target.images.ids)
    matcher = ImageMatcher(target.images)
    rows = {id: _row_of(matcher, id) for id in dict.fromkeys(ids.tolist())}
    return np.fromiter(map(rows.__getitem__, ids.tolist()), np.int64, len(ids))


def _by_id(case: _Case) -> Rows:
    """By the ids of the ground truth, or by the numbers in its file names."""
    ids, target = case.results.image_ids, case.target
    by_id = _rows_of_ids(target, ids)
    if ids.dtype != np.int64 or case.match == "id":
        return by_id
    if case.owns_ids:
        _say_text(case.problems, "image", target.images.ids)
    by_name = rows_by_number(ids, [without_ending(file) for file in target.images.files])
    if case.match == "name" or (by_id < 0).all():
        return by_name
    if not case.owns_ids or (by_name < 0).all() or (by_id == by_name).all():
        return by_id
    differ = (by_id >= 0) & (by_name >= 0) & (by_id != by_name)
    if not differ.any() and np.count_nonzero(by_name >= 0) <= np.count_nonzero(by_id >= 0):
        return by_id
    return _chosen(case, by_id, by_name)


def _chosen(case: _Case, by_id: Rows, by_name: Rows) -> Rows:
    """The reading that the boxes speak for, where ids and the numbers in file names mean different pictures."""
    some = sample(len(by_id), case.results.scores)
    some = some[(by_id != by_name)[some]]
    boxes, ids = case.results.boxes, case.results.image_ids
    usual, other = (located(case.target, rows[some], boxes[some]) for rows in (by_id, by_name))
    covers_more = np.count_nonzero(by_name >= 0) > np.count_nonzero(by_id >= 0)
    first = int(np.argmax(by_id != by_name))
    files = case.target.images.files
    if other.beats(usual) or (covers_more and other.hits > usual.hits):
        case.problems.add(
            "image ids that are the numbers in the file names of the ground truth, and not its ids, as the boxes show "
            "(--match id takes the ids)",
            f"{ids[first]} is taken for '{files[by_name[first]]}'" if by_name[first] >= 0 else f"{ids[first]}",
            int((by_name >= 0).sum()),
        )
        return by_name
    if (by_name >= 0).all() and not usual.beats(other):
        case.problems.add(
            "image ids that may be ids of the ground truth or numbers in its file names; they are taken as ids "
            "(--match name takes the names)",
            f"{ids[first]} is taken for '{files[by_id[first]] or by_id[first]}', not for '{files[by_name[first]]}'",
            int((by_id != by_name).sum()),
        )
    return by_id


def _say_text(problems: Problems, what: str, ids: Sequence[int | str]) -> None:
    text = next((id for id in ids if isinstance(id, str)), None)
    if text is not None:
        problems.add(f"{what} ids are numbers here and text in the ground truth, compared as numbers", f"'{text}'")


def _row_of(matcher: ImageMatcher, id: Any) -> int:
    if not isinstance(id, int | str):
        return -1
    row = matcher.by_id(id)
    return max(matcher.by_file(id), -1) if row < 0 and isinstance(id, str) else row


# ---------------------------------------------------------------- classes


def _class_rows(case: _Case, names: dict[Any, str], image_index: Rows) -> Rows:
    ids, target, problems = case.results.category_ids, case.target, case.problems
    if case.results.classes is not None:
        named = case.results.classes
        own = Categories(named.names, named.names)
        return match_classes(case.path, own, np.bincount(named.index), target.categories, problems)[named.index]
    if names:
        used, place, counts = _unique(ids)
        own = Categories(tuple(names.get(id, str(id)) for id in used), tuple(used))
        return match_classes(case.path, own, counts, target.categories, problems)[place]
    own_ids = category_ids(target)
    if ids.dtype == np.int64:
        found = rows_by_number(ids, own_ids)
        _say_text(problems, "category", own_ids)
        found = _weighed(case, found, image_index)
    else:
        rows = {id: row for row, id in reversed(list(enumerate(own_ids)))}
        texts = {str(id): row for id, row in rows.items()}
        found = np.fromiter((rows.get(id, texts.get(str(id), -1)) for id in ids.tolist()), np.int64, len(ids))
        if (found < 0).all() and all(isinstance(id, str) for id in ids.tolist()):
            used, place, counts = _unique(ids)
            own = Categories(tuple(map(str, used)), tuple(used))
            return match_classes(case.path, own, counts, target.categories, problems)[place]
    missing = found < 0
    if missing.all():
        seen = sorted(dict.fromkeys(map(str, ids.tolist())))
        here = [f"category_id {id}" for id in seen]
        table = target.categories
        there = Categories(tuple(f"{id} {name}" for id, name in zip(own_ids, table.names, strict=True)), own_ids)
        raise no_class_in_common(case.path, here, there)
    if missing.any():
        problems.add("detections of categories that the ground truth does not have, left out",
                     f"category_id {ids[int(np.argmax(missing))]}", int(missing.sum()))  # fmt: skip
    return found


def _readings(target: GroundTruth) -> list[tuple[str, list[int]]]:
    """Other numbers that the classes of the ground truth may have: what they are, and one a class."""
    table = target.categories
    order = sorted(range(len(table)), key=lambda k: (isinstance(table.ids[k], str), table.ids[k]))
    place = {row: number for number, row in enumerate(order)}
    numbers = [place[row] for row in range(len(table))]
    readings = [
        ("places of the classes in the order of their ids, counted from 1", [number + 1 for number in numbers]),
        ("places of the classes in the order of their ids, counted from 0", numbers),
    ]
    folded = {name.casefold(): number for number, name in enumerate(COCO_NAMES)}
    coco = [folded.get(name.strip().casefold().replace("_", " "), -1) for name in table.names]
    if any(number >= 0 for number in coco):
        known = [(number, number >= 0) for number in coco]
        readings += [
            ("COCO's category ids, 1 to 90", [CATEGORY_IDS[n] if there else -1000 - k
                                              for k, (n, there) in enumerate(known)]),
            ("places in COCO's list of 80 names, counted from 1", [n + 1 if there else -1000 - k
                                                                   for k, (n, there) in enumerate(known)]),
            ("places in COCO's list of 80 names, counted from 0", [n if there else -1000 - k
                                                                   for k, (n, there) in enumerate(known)]),
        ]  # fmt: skip
    return readings


def _weighed(case: _Case, usual: Rows, image_index: Rows) -> Rows:
    """The reading of category ids that the boxes speak for; `usual` where they do not speak clearly."""
    ids, target = case.results.category_ids, case.target
    some = sample(len(ids), case.results.scores)
    truth = partners(target, image_index[some], case.results.boxes[some])
    some, truth = some[truth >= 0], target.class_index[truth[truth >= 0]]
    best: tuple[int, str, Rows] | None = None
    doubt = ""
    for what, numbers in _readings(target):
        rows = rows_by_number(ids, numbers)
        apart = rows[some] != usual[some]
        count = int(apart.sum())
        fits = Fit(int((rows[some] == truth)[apart].sum()), count)
        against = Fit(int((usual[some] == truth)[apart].sum()), count)
        gain = fits.hits - against.hits
        if fits.beats(against) and (best is None or gain > best[0]):
            best = gain, what, rows
        elif gain > 0 and not against.hits:
            doubt = doubt or what
    if best is not None:
        _, what, rows = best
        first = int(np.argmax(rows != usual))
        name = target.categories.names[rows[first]] if rows[first] >= 0 else "no class"
        case.problems.add(f"category ids that are {what}, and not those of the ground truth, as the boxes show",
                          f"{ids[first]} is '{name}'", int((rows != usual).sum()))  # fmt: skip
        return rows
    _say_numbering(case)
    if doubt:
        case.problems.add(f"category ids that may be {doubt}, but are taken as usual: too few boxes tell", "see above"
                          if (usual < 0).any() else f"{ids[0]} is '{target.categories.names[usual[0]]}'")  # fmt: skip
    return usual


def _say_numbering(case: _Case) -> None:
    table = case.target.categories
    if case.owns_ids or table.given or set(table.names) <= set(COCO_NAMES):
        return
    named = zip(category_ids(case.target)[:3], table.names, strict=False)
    case.problems.add(
        "the results hold no class names and the ground truth no category ids, so category_id 1, 2, 3 ... is "
        "taken as its classes in order",
        ", ".join(f"{id} is {quoted([name])}" for id, name in named),
    )


def _unique(ids: NDArray[Any]) -> tuple[list[Any], Rows, Rows]:
    listed = ids.tolist()
    used = list(dict.fromkeys(listed))
    rows = {id: row for row, id in enumerate(used)}
    place = np.fromiter(map(rows.__getitem__, listed), np.int64, len(listed))
    return used, place, np.bincount(place, minlength=len(used))
