"""What one file or folder holds, in tables of its own, and a builder that the readers fill.

The treatment of odd boxes is here, in one place, for every format:

- a box that is not four finite numbers is left out;
- a reversed box (x1 > x2 or y1 > y2) of a format that stores corners has its corners put in order; one of a
  format that stores a size (COCO, YOLO: negative width or height) is kept as it stands, as pycocotools keeps it,
  and overlaps nothing;
- an empty box (width or height 0) and a box outside of its image are kept as they stand;
- each of these is said once, with a count and the first example.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.beside import NOTHING, Beside, shapes_from
from detkit.annotations.columns import number_column
from detkit.annotations.format import FLAGS
from detkit.annotations.problems import Problems
from detkit.classes import COCO_NAMES, VOC_NAMES
from detkit.dataset import BoxTable, Categories, GroundTruth, ImageId, Images
from detkit.picture_names import without_ending
from detkit.shapes.shape_columns import Shapes
from detkit.spelling import spelled


@dataclass(frozen=True)
class Contents:
    """Annotations or detections with the images and classes as the file itself names them.

    ground_truth  the tables; of detections too, whose flags are then all False
    scores        float64 (M,), NaN where a box has none
    """

    ground_truth: GroundTruth
    scores: NDArray[np.float64]

    def with_source(self, name: str) -> Contents:
        """The same, read from the format `name`."""
        return replace(self, ground_truth=replace(self.ground_truth, source=name))

    def with_stuff(self, ids: Sequence[int | str]) -> Contents:
        """The same, with classes of these ids that are regions and no things."""
        categories = self.ground_truth.categories
        stuff = tuple(id in ids for id in categories.ids) if ids else ()
        return replace(self, ground_truth=replace(self.ground_truth, categories=replace(categories, stuff=stuff)))


class Builder:
    """Collects images, classes and boxes in the order of a file; `finish` makes the tables."""

    def __init__(self, problems: Problems, wanted: str = "") -> None:
        """`wanted` as `Request.shapes`: what of the boxes' shapes becomes columns."""
        self.problems, self.wanted = problems, wanted
        self.image_rows: dict[ImageId, int] = {}
        self._images: list[tuple[ImageId, str, int, int]] = []
        self.class_rows: dict[str, int] = {}
        self._spellings: dict[str, str] = {}
        self._class_ids: list[int | str | None] = []
        self._boxes: list[tuple[int, int, Any, float | None, float | None, int | str | None]] = []
        self._beside: list[Beside] = []
        self._flags: dict[str, list[int]] = {flag: [] for flag in FLAGS}

    def image(self, id: ImageId, file: str, width: int = 0, height: int = 0) -> int:
        """The row of an image; an id that was there before keeps its row and fills in what was not known."""
        row = self.image_rows.setdefault(id, len(self._images))
        if row == len(self._images):
            self._images.append((id, file, width, height))
        elif width and height and not self._images[row][2]:
            self._images[row] = (id, self._images[row][1] or file, width, height)
        return row

    def size(self, image: int) -> tuple[int, int]:
        """Height and width of an image, 0 where they are not known."""
        _, _, width, height = self._images[image]
        return height, width

    def note_shape(self, beside: Beside, where: str) -> Beside:
        """`beside`; says where it is not asked for, or nothing, that the shape is taken as the box around it."""
        if not self.wanted or beside is NOTHING:
            self.problems.add("shapes that are no upright boxes, taken as the boxes around them", where)
        return beside

    def background(self, file: str, width: int, height: int) -> int:
        """The row of a picture without a label file or line, kept apart from one that differs in its ending only."""
        id = without_ending(file)
        return self.image(file if id in self.image_rows else id, file, width, height)

    def category(self, name: str, id: int | str | None = None) -> int:
        """The row of a class by its name; the first id that is given for it counts."""
        name = self._spellings.setdefault(spelled(name), name)
        row = self.class_rows.setdefault(name, len(self._class_ids))
        if row == len(self._class_ids):
            self._class_ids.append(id)
        elif self._class_ids[row] is None:
            self._class_ids[row] = id
        return row

    def box(
        self,
        image: int,
        category: int,
        xywh: Sequence[float],
        *,
        score: float | None = None,
        area: float | None = None,
        id: int | str | None = None,
        beside: Beside = NOTHING,
        **flags: bool,
    ) -> None:
        """One box with x, y, width, height; the caller has put reversed corners in order."""
        row = len(self._boxes)
        self._boxes.append((image, category, xywh, score, area, id))
        self._beside.append(beside)
        for flag, value in flags.items():
            if value:
                self._flags[flag].append(row)

    def finish(self, wanted: str = "") -> Contents:
        """The tables, all classes that were named in the order in which they were; `wanted` as in the constructor."""
        rows = self._boxes
        count = len(rows)
        boxes = np.array([row[2] for row in rows], np.float64).reshape(count, 4)
        areas = number_column([row[4] for row in rows])
        flags: dict[str, Any] = {flag: _mask(count, marked) for flag, marked in self._flags.items()}
        images = images_table(self._images)
        image_index = np.array([row[0] for row in rows], np.int64).reshape(count)
        sizes = np.stack((images.heights, images.widths), axis=1)[image_index]
        ground_truth = GroundTruth(
            images=images,
            categories=Categories(tuple(self.class_rows), complete_ids(self._class_ids)),
            image_index=image_index,
            class_index=np.array([row[1] for row in rows], np.int64).reshape(count),
            boxes=boxes,
            areas=np.where(np.isfinite(areas), areas, boxes[:, 2] * boxes[:, 3]),
            **flags,
            ids=tuple(_annotation_ids([row[5] for row in rows])),
            shapes=shapes_from(self._beside, wanted or self.wanted, sizes, boxes, self.problems),
        )
        return Contents(ground_truth, number_column([row[3] for row in rows]))


def images_table(rows: Sequence[tuple[ImageId, str, int, int]]) -> Images:
    """Images from (id, file, width, height) rows."""
    return Images(
        tuple(row[0] for row in rows),
        tuple(row[1] for row in rows),
        np.array([row[2] for row in rows], np.int64).reshape(len(rows)),
        np.array([row[3] for row in rows], np.int64).reshape(len(rows)),
    )


def complete_ids(ids: Sequence[int | str | None]) -> tuple[int | str, ...]:
    """Category ids as given where every class has one of its own, else 1, 2, 3 and so on."""
    given = [id for id in ids if id is not None]
    if len(given) == len(ids) == len(set(given)):
        return tuple(given)
    return tuple(range(1, len(ids) + 1))


def _annotation_ids(ids: Sequence[int | str | None]) -> list[int | str]:
    if all(id is None for id in ids):
        return list(range(1, len(ids) + 1))
    return fill_ids(ids)


def fill_ids(ids: Sequence[int | str | None]) -> list[int | str]:
    """`ids` with the missing ones (None) replaced by numbers above all that are there."""
    following = max((id for id in ids if isinstance(id, int)), default=0) + 1
    filled: list[int | str] = []
    for id in ids:
        if id is None:
            id, following = following, following + 1
        filled.append(id)
    return filled


def in_class_order(contents: Contents) -> Contents:
    """The same with the classes in `class_order`."""
    names = contents.ground_truth.categories.names
    order = class_order(names, [None] * len(names))
    if order == list(names):
        return contents
    rows = {name: row for row, name in enumerate(names)}
    return with_classes(
        contents, [rows[name] for name in order], Categories(tuple(order), complete_ids([None] * len(order)))
    )


def with_classes(contents: Contents, order: Sequence[int], categories: Categories) -> Contents:
    """The same with the table `categories`, whose row k stands for the class that was row `order[k]`."""
    position = np.empty(len(order), np.int64)
    position[list(order)] = np.arange(len(order))
    class_index = position[contents.ground_truth.class_index]
    return replace(
        contents, ground_truth=replace(contents.ground_truth, categories=categories, class_index=class_index)
    )


def _mask(count: int, marked: Sequence[int]) -> NDArray[np.bool_]:
    mask = np.zeros(count, bool)
    mask[list(marked)] = True
    return mask


def corners_to_xywh(x1: float, y1: float, x2: float, y2: float) -> tuple[float, float, float, float]:
    """x, y, width, height of two opposite corners in any order."""
    return min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1)


def corners_in_order(
    corners: NDArray[np.float64], problems: Problems, name_of: Callable[[int], object]
) -> NDArray[np.float64]:
    """(N, 4) x, y, width, height from xyxy; corners in the wrong order are swapped, and that is said."""
    low = np.minimum(corners[:, :2], corners[:, 2:])
    size = np.maximum(corners[:, :2], corners[:, 2:]) - low
    wrong = (corners[:, 2:] < corners[:, :2]).any(axis=1)
    if wrong.any():
        problems.add("reversed boxes, corners put in order", name_of(int(np.argmax(wrong))), int(wrong.sum()))
    return np.concatenate((low, size), axis=1)


def class_order(names: Sequence[str], ids: Sequence[int | str | None]) -> list[str]:
    """The order of classes that come without a table: by number; VOC's or COCO's own; by the alphabet."""
    if names and all(isinstance(id, int) for id in ids):
        return [name for _, name in sorted(zip(ids, names, strict=True), key=lambda pair: pair[0])]  # type: ignore[arg-type, return-value]
    for official in (VOC_NAMES, COCO_NAMES):
        if set(names) <= set(official):
            return [name for name in official if name in names]
    return sorted(names)


@dataclass(frozen=True)
class BoxColumns:
    """M boxes of a file, column by column.

    image_index  int64 (M,), rows of the table of images
    names        class names (M,)
    class_ids    the file's own, None where it gives none
    boxes        float64 (M, 4), x, y, width, height
    scores       float64 (M,), NaN where a box has none
    areas        float64 (M,), NaN where a box has none; None for none at all
    flags        bool (M,) by name, those that the file has
    ids          of the boxes, None where one has none; None for none at all
    shapes       what they have beside
    """

    image_index: NDArray[np.int64]
    names: Sequence[str]
    class_ids: Sequence[int | str | None]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    areas: NDArray[np.float64] | None = None
    flags: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    ids: Sequence[int | str | None] | None = None
    shapes: Shapes = field(default=Shapes())


def from_columns(images: Images, columns: BoxColumns) -> Contents:
    """Contents whose classes are those that the boxes name, in `class_order`."""
    first_ids: dict[str, int | str | None] = {}
    spellings: dict[str, str] = {}
    called = {name: spellings.setdefault(spelled(name), name) for name in dict.fromkeys(columns.names)}
    names = columns.names if len(called) == len(spellings) else [called[name] for name in columns.names]
    for name, id in zip(names, columns.class_ids, strict=True):
        if first_ids.get(name) is None:
            first_ids[name] = id
    order = class_order(list(first_ids), list(first_ids.values()))
    rows = {name: row for row, name in enumerate(order)}
    count, boxes, areas = len(columns.boxes), columns.boxes, columns.areas
    products = boxes[:, 2] * boxes[:, 3]
    flags: dict[str, Any] = {flag: columns.flags.get(flag, np.zeros(count, bool)) for flag in FLAGS}
    own_ids = [first_ids[name] for name in order]
    table_ids = complete_ids(own_ids)
    ground_truth = GroundTruth(
        images=images,
        categories=Categories(tuple(order), table_ids, given=table_ids == tuple(own_ids)),
        image_index=columns.image_index,
        class_index=np.fromiter(map(rows.__getitem__, names), np.int64, count),
        boxes=boxes,
        areas=products if areas is None else np.where(np.isfinite(areas), areas, products),
        **flags,
        ids=tuple(_annotation_ids([None] * count if columns.ids is None else columns.ids)),
        shapes=columns.shapes,
    )
    return Contents(ground_truth, columns.scores)


def note_odd_boxes(problems: Problems, images: Images, table: BoxTable, what: str = "boxes") -> None:
    """Count the boxes that are kept although they are reversed, empty or outside of their image."""
    boxes = table.boxes
    if not len(boxes):
        return
    size = boxes[:, 2:]
    reversed_ = (size < 0).any(axis=1)
    empty = (size == 0).any(axis=1) & ~reversed_
    widths = images.widths[table.image_index]
    heights = images.heights[table.image_index]
    outside = (boxes[:, 0] >= widths) | (boxes[:, 1] >= heights) | ((boxes[:, :2] + size) <= 0).any(axis=1)
    outside &= (widths > 0) & (heights > 0) & ~reversed_ & ~empty
    for mask, kind in (
        (reversed_, f"{what} with a negative width or height, kept as they stand (they overlap nothing)"),
        (empty, f"{what} with width or height 0, kept as they stand"),
        (outside, f"{what} that lie wholly outside of their image, kept as they stand"),
    ):
        if mask.any():
            row = int(np.argmax(mask))
            image = int(table.image_index[row])
            name = images.files[image] or images.ids[image]
            x, y, w, h = (f"{value:g}" for value in boxes[row])
            problems.add(kind, f"x {x}, y {y}, width {w}, height {h} in image {name}", int(mask.sum()))
