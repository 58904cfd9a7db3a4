"""Annotations and detections of a whole data set, as columns.

Every reader fills these tables and every figure is computed from them, so neither knows the other. Boxes are
float64 (x, y, width, height), the layout of COCO's files: `x + width` computed from it is the same double that
pycocotools computes, which x2 stored and subtracted again would not be.

A column that has an entry for each row of its table has the metadata `PER_ROW`. Choosing rows (`table[rows]`,
`of_classes`, `of_images`) takes them of all columns, so a further one (masks, key points, a track number; a frame or a
time beside an image) is a field and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detkit.shapes.shape_columns import Shapes

ImageId = int | str

# KITTI's class of regions that belong to no class.
DONT_CARE = "DontCare"

TableT = TypeVar("TableT", bound="Table")
BoxesT = TypeVar("BoxesT", bound="BoxTable")

# Metadata of a field with an entry a row: an array whose first axis are the rows, or a tuple; () where it is not there.
PER_ROW = {"rows": True}


@dataclass(frozen=True)
class Table:
    """Columns of equal length."""

    def __getitem__(self: TableT, rows: ArrayLike) -> TableT:
        """The same with these rows only: a mask of bool, or row numbers in any order, also repeated."""
        chosen = np.asarray(rows)
        numbers = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        some: dict[str, Any] = {}
        for one in fields(self):
            if one.metadata.get("rows"):
                values = getattr(self, one.name)
                if isinstance(values, tuple):
                    values = tuple(map(values.__getitem__, numbers.tolist())) if values else ()
                else:
                    values = values[numbers]
                some[one.name] = values
        return replace(self, **some)


@dataclass(frozen=True)
class Images(Table):
    """The pictures of a data set, I of them.

    ids      what the file calls them: COCO's numbers, else the stem of the file name
    files    file names with their relative folder, "" where the format holds none
    widths, heights   int64 (I,), pixels; 0 where the format does not say
    """

    ids: tuple[ImageId, ...] = field(metadata=PER_ROW)
    files: tuple[str, ...] = field(metadata=PER_ROW)
    widths: NDArray[np.int64] = field(metadata=PER_ROW)
    heights: NDArray[np.int64] = field(metadata=PER_ROW)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Skeleton:
    """The key points of a class: their names, and which of them are joined, counted from 0."""

    points: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Categories(Table):
    """The classes of a data set: `names[k]` and the id that its file gives it, `ids[k]`.

    given       whether the file gives them as ids; False for running numbers and for places in a list of names
    skeletons   of each class, None where it has no key points; () where no class has
    stuff       whether a class is a region of no single things (sky, grass); () where none is
    """

    names: tuple[str, ...] = field(metadata=PER_ROW)
    ids: tuple[int | str, ...] = field(metadata=PER_ROW)
    given: bool = False
    skeletons: tuple[Skeleton | None, ...] = field(default=(), metadata=PER_ROW)
    stuff: tuple[bool, ...] = field(default=(), metadata=PER_ROW)

    def __len__(self) -> int:
        return len(self.names)


class BoxTable(Table):
    """Boxes with rows of a table of images and of one of classes; the tables below declare the columns."""

    image_index: NDArray[np.int64]
    class_index: NDArray[np.int64]
    boxes: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.boxes)

    def of_classes(self: BoxesT, places: Sequence[int] | NDArray[np.int64]) -> BoxesT:
        """The boxes of these classes, which become classes 0, 1, 2 ... in this order."""
        own = _new_rows(places, self.class_index)
        return replace(self[own >= 0], **{"class_index": own[own >= 0]})

    def of_images(self: BoxesT, rows: Sequence[int] | NDArray[np.int64]) -> BoxesT:
        """The boxes of these images, which become images 0, 1, 2 ... in this order."""
        own = _new_rows(rows, self.image_index)
        return replace(self[own >= 0], **{"image_index": own[own >= 0]})


@dataclass(frozen=True)
class GroundTruth(BoxTable):
    """Annotated boxes, M of them; row order is the order of the file.

    image_index, class_index   int64 (M,), rows of `images` and `categories`
    boxes      float64 (M, 4), x, y, width, height in pixels
    areas      float64 (M,), the area that the file gives (COCO: of the mask), else width * height
    crowd      bool (M,), COCO's iscrowd, Open Images' IsGroupOf
    difficult  bool (M,), VOC's difficult
    ignore     bool (M,), regions that count neither for nor against (KITTI's DontCare, `ignore` flags)
    truncated, occluded   bool (M,), carried for the formats that hold them; no figure depends on them
    ids        the annotation ids of the file, or running numbers from 1
    source     the name of the format they were read from
    unread     what the file holds besides, and how often
    shapes     masks, key points and corners, where the file has them
    iou_type   what of them is compared with detections, a name of `metrics.iou_types.OVERLAPS`
    scores     of a draft, boxes that a detector found and nobody has looked at yet: M numbers; else ()
    """

    images: Images
    categories: Categories
    image_index: NDArray[np.int64] = field(metadata=PER_ROW)
    class_index: NDArray[np.int64] = field(metadata=PER_ROW)
    boxes: NDArray[np.float64] = field(metadata=PER_ROW)
    areas: NDArray[np.float64] = field(metadata=PER_ROW)
    crowd: NDArray[np.bool_] = field(metadata=PER_ROW)
    difficult: NDArray[np.bool_] = field(metadata=PER_ROW)
    ignore: NDArray[np.bool_] = field(metadata=PER_ROW)
    truncated: NDArray[np.bool_] = field(metadata=PER_ROW)
    occluded: NDArray[np.bool_] = field(metadata=PER_ROW)
    ids: tuple[int | str, ...] = field(default=(), repr=False, metadata=PER_ROW)
    source: str = ""
    unread: Mapping[str, int] = field(default_factory=dict, repr=False)
    shapes: Shapes = field(default=Shapes(), repr=False, metadata=PER_ROW)
    iou_type: str = "bbox"
    scores: tuple[float, ...] = field(default=(), repr=False, metadata=PER_ROW)

    @property
    def has_running_ids(self) -> bool:
        """Whether the ids of the boxes are 1, 2, 3 ... in their order, which say nothing."""
        return self.ids in ((), tuple(range(1, len(self) + 1)))

    def of_classes(self, places: Sequence[int] | NDArray[np.int64]) -> GroundTruth:
        """The boxes of these classes, and these classes only, in this order."""
        return replace(super().of_classes(places), categories=self.categories[places])

    def of_images(self, rows: Sequence[int] | NDArray[np.int64]) -> GroundTruth:
        """The boxes of these images, and these images only, in this order."""
        return replace(super().of_images(rows), images=self.images[rows])

    def rows_by_image(self) -> list[NDArray[np.int64]]:
        """The rows of each picture's boxes, in the order of the file; one array a picture."""
        order = np.argsort(self.image_index, kind="stable")
        ends = np.searchsorted(self.image_index[order], np.arange(1, len(self.images)))
        return np.split(order, ends)


@dataclass(frozen=True)
class Predictions(BoxTable):
    """Detected boxes, D of them, with `image_index` and `class_index` into the tables of a `GroundTruth`.

    boxes   float64 (D, 4), x, y, width, height in pixels
    scores  float64 (D,)
    shapes  masks, key points and corners, where there are any; its `areas` decide the ranges of areas
    """

    image_index: NDArray[np.int64] = field(metadata=PER_ROW)
    class_index: NDArray[np.int64] = field(metadata=PER_ROW)
    boxes: NDArray[np.float64] = field(metadata=PER_ROW)
    scores: NDArray[np.float64] = field(metadata=PER_ROW)
    shapes: Shapes = field(default=Shapes(), repr=False, metadata=PER_ROW)


def _new_rows(places: Sequence[int] | NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of `index` its place in `places`, -1 where it is not there."""
    chosen = np.asarray(places, np.int64)
    position = np.full(int(max(index.max(initial=-1), chosen.max(initial=-1))) + 1, -1, np.int64)
    position[chosen] = np.arange(len(chosen))
    return position[index]
