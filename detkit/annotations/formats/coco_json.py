"""COCO JSON: annotations (an object) and results (a list), as on https://cocodataset.org/#format-data.

What is odd in an annotation file and what becomes of it (each said once, with a count):

==============================  =====================================================================
no `iscrowd`                    not a crowd
`ignore`                        kept beside `iscrowd`, never overwritten by it
annotation id missing           gets a number above all others
annotation id twice, or 0       both are kept; ids are only carried, nothing is looked up by them
category id 0, text, sparse     an id as any other
`area` missing or not a number  width * height
`area` 0                        0, as the file says
image or category id twice      the first entry counts, annotations of both go to it
unknown image or category       the annotation is left out
`bbox` missing or not numbers   the annotation is left out
width or height 0 or negative   kept as it stands, as pycocotools does
no category table               the ids serve as names
==============================  =====================================================================
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from detkit.annotations.building import Contents, fill_ids, images_table
from detkit.annotations.columns import box_column, flag_column, number_column
from detkit.annotations.format import Format, Request
from detkit.annotations.formats import format_of
from detkit.annotations.formats.coco_segments import Segments, without_segmentations
from detkit.annotations.problems import Problems, quoted, shorten
from detkit.annotations.shape_reading import boxes_around, shapes_of
from detkit.annotations.text_files import json_bytes, parse_json, parse_json_exactly
from detkit.classes import COCO_NAMES, coco_ids
from detkit.dataset import Categories, GroundTruth, Images, Predictions, Skeleton
from detkit.errors import InputError
from detkit.picture_names import plain_path, without_ending
from detkit.shapes.shape_columns import ALL_SHAPES, Shapes

_INFO = {"description": "written by detkit"}
# What the tables hold of each kind of entry.
_HELD = {
    "images": frozenset(("id", "file_name", "width", "height")),
    "annotations": frozenset(("id", "image_id", "category_id", "bbox", "area", "score",
                              "iscrowd", "ignore", "difficult", "truncated", "occluded")),
    "categories": frozenset(("id", "name")),
}  # fmt: skip
# What they hold besides where all shapes are asked for.
_SHAPES = {
    "annotations": frozenset(("segmentation", "keypoints", "num_keypoints", "corners")),
    "categories": frozenset(("keypoints", "skeleton")),
}
_SEGMENTS = re.compile(rb'"segments_info"\s*:\s*\[')
# From this size on the array parser is worth its fixed cost.
FAST_FROM_BYTES = 1 << 17
# What results may have in place of boxes, in pycocotools' order, and the columns of `Shapes`.
_BESIDE = (("segmentation", "masks"), ("keypoints", "keypoints"))
Flag = NDArray[np.bool_]


@dataclass(frozen=True)
class Named:
    """A column of text: `names[index[d]]` is that of detection d; index int64 (D,), -1 where it has none."""

    names: tuple[str, ...]
    index: NDArray[np.int64]


@dataclass(frozen=True)
class Results:
    """A results list as columns, D boxes.

    image_ids, category_ids   int64 (D,), or object (D,) where some are text
    boxes    float64 (D, 4), x, y, width, height
    scores   float64 (D,)
    files, classes   file names and class names where the entries carry them
    shapes   what was asked for beside boxes
    """

    image_ids: NDArray[Any]
    category_ids: NDArray[Any]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    files: Named | None = None
    classes: Named | None = None
    shapes: Shapes = field(default=Shapes())

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Flag) -> Results:
        """The detections that a mask selects."""
        named = {
            key: None if (column := getattr(self, key)) is None else replace(column, index=column.index[rows])
            for key in ("files", "classes")
        }
        return Results(
            self.image_ids[rows],
            self.category_ids[rows],
            self.boxes[rows],
            self.scores[rows],
            shapes=self.shapes[rows],
            **named,
        )


def read(request: Request) -> Contents | Predictions:
    """The tables of an annotation file, or the detections of a results list in the rows of the ground truth."""
    if not is_results(request.data):
        if _SEGMENTS.search(request.data):  # behind a long list of images, where recognition does not look
            from detkit.annotations.formats import coco_panoptic

            return coco_panoptic.read(request)
        return read_annotations(request)
    if request.target is None:
        raise InputError(
            f"{request.path}: is a COCO results list (detections), not annotations; are the arguments swapped?"
        )
    from detkit.annotations.coco_alignment import align_results

    results = read_results(request.path, request.data, request.problems, request.shapes)
    return align_results(request.path, results, request.target, request.problems, request.match)


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One file."""
    yield "", coco_json(ground_truth)


def rules(ground_truth: GroundTruth, path: Path) -> list[str]:
    """LVIS's files say which classes were looked for."""
    keys = [key for key in ("neg_category_ids", "not_exhaustive_category_ids") if key in ground_truth.unread]
    if not keys:
        return []
    return [f"the file carries LVIS's {' and '.join(keys)}, and its rule is not followed: here a detection of a class "
            "that nobody looked for in the picture is false"]  # fmt: skip


def is_results(data: bytes) -> bool:
    """Whether JSON text is a list, which COCO has for results only."""
    return data[:1024].lstrip()[:1] == b"["


# ---------------------------------------------------------------- annotations


def read_annotations(request: Request) -> Contents:
    """The tables of a COCO object. InputError where it is another JSON or names no image."""
    path, problems = request.path, request.problems
    document, segments = _parsed(path, request.data, request.shapes)
    if not isinstance(document, dict):
        raise InputError(f"{path}: is not a COCO annotation file: JSON object expected, got {_kind(document)}")
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key, []), list):
            raise InputError(f"{path}: '{key}' must be a list, got {_kind(document[key])}")
    if not document.get("images"):
        raise InputError(
            f"{path}: holds no images; a COCO annotation file has 'images', 'annotations' and 'categories', "
            f"here are {quoted(document)}"
        )
    if "annotations" not in document:
        raise InputError(f"{path}: has no 'annotations'; here are {quoted(document)}")
    images, image_rows = _images(path, document["images"], problems)
    rows = _only_objects(document["annotations"], "annotations", problems)
    table = _only_objects(document.get("categories", []), "categories", problems)
    if not table and rows:
        seen = dict.fromkeys(id for id in map(_category_id, rows) if isinstance(id, int | str))
        table = [{"id": id, "name": str(id)} for id in sorted(seen, key=_id_order)]
        problems.add("no category table, so the category ids serve as names", quoted(seen))
    categories, class_rows = _categories(table, problems)
    tables = _Tables(images, image_rows, categories, class_rows)
    contents = _annotations(request, rows, segments, tables)
    unread = _unread(document, segments, request.shapes)
    return replace(contents, ground_truth=replace(contents.ground_truth, unread=unread))


def _parsed(path: Path, data: bytes, wanted: str) -> tuple[Any, Segments | None]:
    """The document, and what its `segmentation` are where it holds numbers in place of them."""
    short, segments = without_segmentations(data, wanted)
    try:
        document: Any = parse_json(path, short)
    except InputError:  # the same again, with the place in the file
        segments, short = Segments(0), data
        document = parse_json(path, data)
    if isinstance(document, dict) and any(
        _lost_digits(entries, ("id", "image_id", "category_id"))
        for entries in map(document.get, _HELD)
        if isinstance(entries, list)
    ):
        document = parse_json_exactly(path, short)
    return document, segments if segments.count else None


def _unread(document: dict[str, Any], segments: Segments | None, wanted: str) -> dict[str, int]:
    """How often the file says what the tables do not hold."""
    counts: Counter[str] = Counter()
    shapes = _SHAPES if wanted == ALL_SHAPES else {}
    for table, held in _HELD.items():
        rows = [row for row in document.get(table, ()) if type(row) is dict]
        for key in sorted(set().union(*rows) - held - shapes.get(table, set())):
            if key == "segmentation" and segments is not None:
                counts[key] += sum(1 for row in rows if segments.is_there(row.get(key)))
            else:
                counts[key] += sum(1 for row in rows if row.get(key))
    counts.update(key for key in document if key not in _HELD and document[key] and document[key] != _INFO)
    return {key: count for key, count in counts.items() if count}


def _images(path: Path, entries: list[Any], problems: Problems) -> tuple[Any, dict[Any, int]]:
    entries = _only_objects(entries, "images", problems)
    rows: dict[Any, int] = {}
    kept: list[tuple[int | str, str, int, int]] = []
    for number, entry in enumerate(entries):
        id = entry.get("id")
        if not isinstance(id, int | str):
            id = int(id) if isinstance(id, float) and id.is_integer() else None
        if id is None:
            problems.add("images without an id, left out", f"entry {number} of 'images'")
            continue
        file = entry.get("file_name")
        file = file if isinstance(file, str) else ""
        if id in rows:
            problems.add("image ids given twice, the first entry counts", f"id {id}, file '{shorten(file)}'")
            continue
        rows[id] = len(kept)
        kept.append((id, file, _size(entry.get("width")), _size(entry.get("height"))))
    if not kept:
        raise InputError(f"{path}: none of its images has an id")
    return images_table(kept), rows


def _categories(entries: list[dict[str, Any]], problems: Problems) -> tuple[Categories, dict[Any, int]]:
    rows: dict[Any, int] = {}
    names: list[str] = []
    seen: set[str] = set()
    ids: list[int | str] = []
    skeletons: list[Skeleton | None] = []
    for number, entry in enumerate(entries):
        id = entry.get("id")
        if not isinstance(id, int | str):
            problems.add("categories without an id, left out", f"entry {number} of 'categories'")
            continue
        name = entry.get("name")
        name = str(id) if name is None else str(name)
        if id in rows:
            problems.add("category ids given twice, the first name counts", f"id {id}, '{shorten(name)}'")
            continue
        if name in seen:
            problems.add("category names given twice, kept as separate classes", f"'{shorten(name)}', id {id}")
        rows[id] = len(names)
        seen.add(name)
        names.append(name)
        ids.append(id)
        skeletons.append(_skeleton(entry))
    return Categories(tuple(names), tuple(ids), skeletons=tuple(skeletons) if any(skeletons) else ()), rows


def _skeleton(entry: dict[str, Any]) -> Skeleton | None:
    """The key points of a class, None where it has none; edges that are no pairs of them are left out."""
    names, edges = entry.get("keypoints"), entry.get("skeleton")
    if not isinstance(names, list) or not names:
        return None
    pairs = [edge for edge in edges if isinstance(edge, list)] if isinstance(edges, list) else []
    return Skeleton(
        tuple(map(str, names)),
        tuple(
            (edge[0] - 1, edge[1] - 1)
            for edge in pairs
            if len(edge) == 2 and all(type(end) is int and 1 <= end <= len(names) for end in edge)
        ),
    )


@dataclass(frozen=True)
class _Tables:
    """The pictures and classes of a file, and the row of each by its id."""

    images: Images
    image_rows: dict[Any, int]
    categories: Categories
    class_rows: dict[Any, int]


def _annotations(request: Request, rows: list[dict[str, Any]], segments: Segments | None, tables: _Tables) -> Contents:
    path, problems, images = request.path, request.problems, tables.images
    image_index = look_up(tables.image_rows, [row.get("image_id") for row in rows])
    class_index = look_up(tables.class_rows, [row.get("category_id") for row in rows])
    boxes, readable = box_column([row.get("bbox") for row in rows])
    for missing, kind, key in (
        (image_index < 0, "annotations of images that are not in the file, left out", "image_id"),
        (class_index < 0, "annotations of categories that are not in the file, left out", "category_id"),
        (~readable, "annotations whose bbox is not four finite numbers, left out", "bbox"),
    ):
        if missing.any():
            first = rows[int(np.argmax(missing))]
            example = f"annotation {first.get('id')}, {key} {shorten(str(first.get(key)))}"
            problems.add(kind, example, int(missing.sum()))
    keep = (image_index >= 0) & (class_index >= 0) & readable
    if not keep.all():
        rows = [rows[k] for k in np.flatnonzero(keep)]
        image_index, class_index, boxes = image_index[keep], class_index[keep], boxes[keep]
        if not rows:
            raise InputError(f"{path}: none of its {len(keep)} annotations can be used: {_first_of(problems)}")
    scores = number_column([row.get("score") for row in rows])
    sizes = np.stack((images.heights, images.widths), axis=1)[image_index]
    ground_truth = GroundTruth(
        images=images,
        categories=tables.categories,
        image_index=image_index,
        class_index=class_index,
        boxes=boxes,
        areas=_areas(rows, boxes, problems),
        crowd=_flags(rows, "iscrowd"),
        difficult=_flags(rows, "difficult"),
        ignore=_flags(rows, "ignore"),
        truncated=_flags(rows, "truncated"),
        occluded=_flags(rows, "occluded"),
        ids=_ids(rows, problems),
        shapes=_shapes_of(request.path, rows, request.shapes, sizes, request.problems, segments),
    )
    return Contents(ground_truth, scores)


def _shapes_of(
    path: Path, rows: list[dict[str, Any]], wanted: str, sizes: NDArray[np.int64], problems: Problems,
    segments: Segments | None,
) -> Shapes:  # fmt: skip
    """`shapes_of`, where the values of `segmentation` may have been taken out."""
    masks = None if segments is None else segments.parsed([row.get("segmentation") for row in rows])
    try:
        return shapes_of(rows, wanted, sizes, problems, masks)
    except ValueError as error:
        raise InputError(f"{path}: holds a segmentation that is not valid JSON: {error}") from error


def _first_of(problems: Problems) -> str:
    kind, example = next(iter(problems.examples.items()))
    return f"{kind.split(',')[0]} (first: {example})"


def _areas(rows: list[dict[str, Any]], boxes: NDArray[np.float64], problems: Problems) -> NDArray[np.float64]:
    areas = number_column([row.get("area") for row in rows])
    missing = ~np.isfinite(areas)
    if missing.any():
        first = rows[int(np.argmax(missing))]
        problems.add("annotations without an area, taken as width * height", f"annotation {first.get('id')}",
                     int(missing.sum()))  # fmt: skip
        areas[missing] = boxes[missing, 2] * boxes[missing, 3]
    return areas


def _flags(rows: list[dict[str, Any]], key: str) -> Flag:
    return flag_column([row.get(key) for row in rows])


def _ids(rows: list[dict[str, Any]], problems: Problems) -> tuple[int | str, ...]:
    given = [row.get("id") for row in rows]
    ids: list[int | str | None] = [id if isinstance(id, int | str) else None for id in given]
    if not any(id is None for id in ids):
        if len(set(ids)) < len(ids):
            seen: set[Any] = set()
            twice = next(id for id in ids if id in seen or seen.add(id))  # type: ignore[func-returns-value]
            problems.add("annotation ids given twice, all kept", f"id {twice}", len(ids) - len(set(ids)))
        return tuple(ids)  # type: ignore[arg-type]
    filled = fill_ids(ids)
    missing = ids.count(None)
    if missing < len(ids):
        problems.add("annotations without an id, numbered", f"number {filled[ids.index(None)]}", missing)
    return tuple(filled)


# ---------------------------------------------------------------- results


def read_results(path: Path, data: bytes, problems: Problems, wanted: str = "") -> Results:
    """The columns of a results list; InputError where it is something else or has no scores.

    wanted  a column of `Shapes` beside. Results without any `bbox` have that around their masks or key points, and
            the areas of these: as pycocotools takes them
    """
    if not wanted and len(data) >= FAST_FROM_BYTES:
        fast = _fast_results(data)
        if fast is not None:
            return _without_unreadable(path, fast, None, problems)
    short, segments = without_segmentations(data, "masks")  # which give boxes to results without any
    try:
        entries = parse_json(path, short)
    except InputError:  # the same again, with the place in the file
        segments, short = Segments(0), data
        entries = parse_json(path, data)
    if isinstance(entries, list) and _lost_digits(entries, ("image_id", "category_id")):
        entries = parse_json_exactly(path, short)
    if not isinstance(entries, list):
        raise InputError(f"{path}: is not a COCO results file: JSON list expected, got {_kind(entries)}")
    rows = _only_objects(entries, "entries", problems)
    if entries and not rows:
        raise InputError(f"{path}: is not a COCO results file: its first entry is {_kind(entries[0])}, no object")
    if rows and not any("score" in row for row in rows):
        raise InputError(
            f"{path}: its {len(rows)} boxes have no scores; are these annotations, and the arguments swapped?"
        )
    boxed = not rows or any(row.get("bbox", []) != [] for row in rows)
    unknown = np.zeros((len(rows), 2), np.int64)
    some = segments if segments.count else None
    shapes = holder = _shapes_of(path, rows, wanted, unknown, problems, some)
    if not boxed and boxes_around(shapes) is None:
        there = next((name for key, name in _BESIDE if any(key in row for row in rows)), "")
        holder = _shapes_of(path, rows, there, unknown, problems, some)
    around = None if boxed else boxes_around(holder)
    if not boxed and around is None:
        raise InputError(f"{path}: its {len(rows)} entries have no 'bbox' (first has {quoted(rows[0])})")
    if around is None:
        boxes, readable = box_column([row.get("bbox") for row in rows])
        areas = boxes[:, 2] * boxes[:, 3] if wanted else None
    else:
        boxes, readable = around, np.ones(len(rows), bool)
        areas = around[:, 2] * around[:, 3] if holder.polygons is None else None
        if holder.masks is not None and holder.polygons is None:
            areas = holder.masks.areas.astype(np.float64)
    scores = number_column([row.get("score") for row in rows])
    results = Results(
        _id_column([row.get("image_id") for row in rows]),
        _id_column([row.get("category_id") for row in rows]),
        np.where(readable[:, None], boxes, np.nan),
        scores,
        _named([row.get("file_name") for row in rows]),
        _class_names(rows),
        replace(shapes, areas=areas),
    )
    return _without_unreadable(path, results, rows, problems)


def _fast_results(data: bytes) -> Results | None:
    """The columns by the array parser, which reads numbers only: names are taken out before. None where it cannot."""
    from detkit.annotations.formats.coco_fast import parse_results, without_texts

    named: dict[str, Any] = {}
    for key, column in (("file_name", "files"), ("category_name", "classes")):
        data, texts = without_texts(data, key)
        if texts is not None:
            try:
                unique = {text: orjson.loads(b'"' + text + b'"') for text in dict.fromkeys(texts)}
            except orjson.JSONDecodeError:
                return None
            named[column] = _named([unique[text] for text in texts])
    columns = parse_results(data)
    if columns is None or any(name is None or len(name.index) != len(columns[0]) for name in named.values()):
        return None
    return replace(Results(*columns), **named)


def _named(values: list[Any]) -> Named | None:
    """A column of text, None where none of the values is text."""
    rows: dict[str, int] = {}
    index = np.fromiter(
        (rows.setdefault(value, len(rows)) if type(value) is str and value else -1 for value in values),
        np.int64,
        len(values),
    )
    return Named(tuple(rows), index) if rows else None


def _class_names(rows: list[dict[str, Any]]) -> Named | None:
    """The class names of entries: under `category_name`, or where they have no `category_id`, under another key."""
    keys = ["category_name"]
    if not any("category_id" in row for row in rows):
        keys += ["category", "class", "label", "name"]
    for key in keys:
        named = _named([row.get(key) for row in rows])
        if named is not None and (named.index >= 0).all():
            return named
    return None


def _lost_digits(entries: list[Any], keys: tuple[str, ...]) -> bool:
    """Whether an id is a whole number beyond 64 bits, which the fast reader of JSON gives as a float."""
    return any(
        type(entry.get(key)) is float and abs(entry[key]) >= 2.0**63
        for entry in entries
        if type(entry) is dict
        for key in keys
    )


def _without_unreadable(path: Path, results: Results, rows: Any, problems: Problems) -> Results:
    bad_box = ~np.isfinite(results.boxes).all(axis=1)
    bad_score = ~np.isfinite(results.scores) & ~bad_box
    bad_id = _missing(results.image_ids) if results.files is None else results.files.index < 0
    bad_id &= _missing(results.image_ids)
    bad_id |= _missing(results.category_ids) if results.classes is None else np.zeros(len(results), bool)
    bad_id &= ~(bad_box | bad_score)
    for bad, kind in (
        (bad_box, "detections whose bbox is not four finite numbers, left out"),
        (bad_score, "detections without a score that is a finite number, left out"),
        (bad_id, "detections whose image_id or category_id is neither a number nor text, left out"),
    ):
        if bad.any():
            row = int(np.argmax(bad))
            problems.add(kind, f"entry {row}: {shorten(str(rows[row])) if rows else ''}", int(bad.sum()))
    bad = bad_box | bad_score | bad_id
    if not bad.any():
        return results
    if bad.all():
        raise InputError(f"{path}: none of its {len(bad)} detections can be used: {_first_of(problems)}")
    return results[~bad]


def _missing(ids: NDArray[Any]) -> Flag:
    return np.array([id is None for id in ids.tolist()]) if ids.dtype == object else np.zeros(len(ids), bool)


def _id_column(ids: list[Any]) -> NDArray[Any]:
    """int64 where all ids are whole numbers, else objects: int, text, or None for anything else."""
    if all(type(id) is int for id in ids):
        try:
            return np.array(ids, np.int64).reshape(len(ids))
        except OverflowError:
            pass
    column = np.empty(len(ids), object)
    for row, id in enumerate(ids):
        if isinstance(id, float) and id.is_integer():
            id = int(id)
        column[row] = id if isinstance(id, int | str) else None
    return column


# ---------------------------------------------------------------- columns


def look_up(rows: dict[Any, int], keys: list[Any]) -> NDArray[np.int64]:
    """`rows[key]` for each key, -1 where there is none. 1, 1.0 and, where nothing else fits, "1" are one id."""
    get: Callable[[Any], int] = lambda key: rows.get(key, -1)  # noqa: E731
    try:
        found = np.fromiter(map(get, keys), np.int64, len(keys))
    except TypeError:  # a list or an object as an id
        keys = [key if isinstance(key, int | float | str) else None for key in keys]
        found = np.fromiter(map(get, keys), np.int64, len(keys))
    if (found < 0).any():
        as_text = {str(key): row for key, row in reversed(rows.items())}
        for place in np.flatnonzero(found < 0):
            if isinstance(keys[place], int | str):
                found[place] = as_text.get(str(keys[place]), -1)
    return found


def _category_id(row: dict[str, Any]) -> Any:
    return row.get("category_id")


def _id_order(id: int | str) -> tuple[bool, Any]:
    return isinstance(id, str), id


def _only_objects(entries: list[Any], what: str, problems: Problems) -> list[dict[str, Any]]:
    if all(type(entry) is dict for entry in entries):
        return entries
    kept = [entry for entry in entries if isinstance(entry, dict)]
    first = next(k for k, entry in enumerate(entries) if not isinstance(entry, dict))
    problems.add(
        f"{what} that are not JSON objects, left out",
        f"entry {first}: {shorten(str(entries[first]))}",
        len(entries) - len(kept),
    )
    return kept


def _size(value: object) -> int:
    return int(value) if isinstance(value, int | float) and 0 < value < 1 << 31 else 0


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")


# ---------------------------------------------------------------- writing


def category_ids(ground_truth: GroundTruth) -> tuple[int | str, ...]:
    """The ids of the classes in COCO's files: those that the file gives, else COCO's own where all names are COCO's.

    1, 2, 3 and so on where there is neither. Ids that are the places of COCO's names, as networks count their classes,
    become COCO's.
    """
    table = ground_truth.categories
    if format_of(ground_truth.source).class_ids == "own":
        return table.ids
    ids = coco_ids(table.names)
    if ids is not None and (not table.given or list(table.ids) == [COCO_NAMES.index(name) for name in table.names]):
        return ids
    return table.ids if table.given else tuple(range(1, len(table) + 1))


def image_ids(ground_truth: GroundTruth) -> tuple[int | str, ...]:
    """The ids to write: those that the file gives; the numbers in the stems where each has one; else 1, 2, 3 ..."""
    ids, files = ground_truth.images.ids, ground_truth.images.files
    form = format_of(ground_truth.source)
    if form.class_ids == "own" or all(isinstance(id, int) for id in ids):
        return ids
    if "image ids" in form.holds and any(
        id != without_ending(plain_path(file)) for id, file in zip(ids, files, strict=True)
    ):
        return ids
    stems = [str(id).rpartition("/")[2] for id in ids]
    if all(stem.isascii() and stem.isdigit() and len(stem) < 16 for stem in stems):
        numbers = tuple(int(stem) for stem in stems)
        if len(set(numbers)) == len(numbers):
            return numbers
    return tuple(range(1, len(ids) + 1))


def coco_json(ground_truth: GroundTruth) -> bytes:
    """The annotation file; `ignore`, `difficult`, `truncated`, `occluded` only where they are set.

    Scores of a draft are `attributes`, as CVAT keeps what else is known of an object: a `score` makes it a result.
    """
    images = ground_truth.images
    own_image_ids = image_ids(ground_truth)
    own_category_ids = category_ids(ground_truth)
    annotations = []
    flags = {
        key: getattr(ground_truth, key).tolist()
        for key in ("ignore", "difficult", "truncated", "occluded")
        if getattr(ground_truth, key).any()
    }
    beside = shape_entries(ground_truth.shapes, len(ground_truth))
    for row, (image, category, box, area, crowd, id) in enumerate(
        zip(
            ground_truth.image_index.tolist(),
            ground_truth.class_index.tolist(),
            ground_truth.boxes.tolist(),
            ground_truth.areas.tolist(),
            ground_truth.crowd.tolist(),
            ground_truth.ids or range(1, len(ground_truth) + 1),
            strict=True,
        )
    ):
        annotation = {
            "id": id,
            "image_id": own_image_ids[image],
            "category_id": own_category_ids[category],
            "bbox": box,
            "area": area,
            "iscrowd": int(crowd),
            "segmentation": [],
        }
        annotation.update(beside[row])
        annotation.update({key: 1 for key, values in flags.items() if values[row]})
        if ground_truth.scores:
            annotation["attributes"] = {"score": ground_truth.scores[row]}
        annotations.append(annotation)
    document = {
        "info": _INFO,
        "licenses": [],
        "images": [
            {"id": id, "file_name": file or str(id), "width": width, "height": height}
            for id, file, width, height in zip(
                own_image_ids, images.files, images.widths.tolist(), images.heights.tolist(), strict=True
            )
        ],
        "annotations": annotations,
        "categories": [
            {"id": id, "name": name, "supercategory": "", **_keypoint_names(skeleton)}
            for id, name, skeleton in zip(
                own_category_ids,
                ground_truth.categories.names,
                ground_truth.categories.skeletons or [None] * len(own_category_ids),
                strict=True,
            )
        ],
    }
    return json_bytes(document)


def shape_entries(shapes: Shapes, count: int) -> list[dict[str, Any]]:
    """Of each of N objects COCO's `segmentation` (rings, RLE or the corners of a turned box) and `keypoints`."""
    entries: list[dict[str, Any]] = [{} for _ in range(count)]
    if shapes.corners is not None:
        for row in np.flatnonzero(shapes.has("corners", count)).tolist():
            entries[row]["segmentation"] = [shapes.corners[row].ravel().tolist()]
    if shapes.masks is not None:
        some = np.flatnonzero(shapes.has("masks", count))
        for row, segmentation in zip(some.tolist(), shapes.masks[some].to_coco(), strict=True):
            entries[row]["segmentation"] = segmentation
    if shapes.polygons is not None:
        for row, rings in enumerate(shapes.polygons.lists()):
            if rings:
                entries[row]["segmentation"] = rings
    if shapes.keypoints is not None:
        for row in np.flatnonzero(shapes.has("keypoints", count)).tolist():
            points = shapes.keypoints[row]
            flat = [int(value) if value.is_integer() else value for value in points.ravel().tolist()]
            entries[row] |= {"keypoints": flat, "num_keypoints": int((points[:, 2] > 0).sum())}
    return entries


def _keypoint_names(skeleton: Skeleton | None) -> dict[str, Any]:
    if skeleton is None:
        return {}
    return {"keypoints": list(skeleton.points), "skeleton": [[a + 1, b + 1] for a, b in skeleton.edges]}
