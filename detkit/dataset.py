"""Annotations and detections of a whole data set, as columns.

Every reader fills these tables and every figure is computed from them, so neither knows the other. Boxes are
float64 (x, y, width, height), the layout of COCO's files: `x + width` computed from it is the same double that
pycocotools computes, which x2 stored and subtracted again would not be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

ImageId = int | str


@dataclass(frozen=True)
class Images:
    """The pictures of a data set, I of them.

    ids      what the file calls them: COCO's numbers, else the stem of the file name
    files    file names with their relative folder, "" where the format holds none
    widths, heights   int64 (I,), pixels; 0 where the format does not say
    """

    ids: tuple[ImageId, ...]
    files: tuple[str, ...]
    widths: NDArray[np.int64]
    heights: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Categories:
    """The classes of a data set: `names[k]` and the id that its file gives it, `ids[k]`.

    given   whether the file gives them as ids; False for running numbers and for places in a list of names
    """

    names: tuple[str, ...]
    ids: tuple[int | str, ...]
    given: bool = False

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class GroundTruth:
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
    unread     what the file holds besides (masks, key points ...), and how often
    """

    images: Images
    categories: Categories
    image_index: NDArray[np.int64]
    class_index: NDArray[np.int64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    ignore: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    occluded: NDArray[np.bool_]
    ids: tuple[int | str, ...] = field(default=(), repr=False)
    source: str = ""
    unread: Mapping[str, int] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def has_running_ids(self) -> bool:
        """Whether the ids of the boxes are 1, 2, 3 ... in their order, which say nothing."""
        return self.ids in ((), tuple(range(1, len(self) + 1)))

    def rows_by_image(self) -> list[NDArray[np.int64]]:
        """The rows of each picture's boxes, in the order of the file; one array a picture."""
        order = np.argsort(self.image_index, kind="stable")
        ends = np.searchsorted(self.image_index[order], np.arange(1, len(self.images)))
        return np.split(order, ends)


@dataclass(frozen=True)
class Predictions:
    """Detected boxes, D of them, with `image_index` and `class_index` into the tables of a `GroundTruth`.

    boxes   float64 (D, 4), x, y, width, height in pixels
    scores  float64 (D,)
    """

    image_index: NDArray[np.int64]
    class_index: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.boxes)
