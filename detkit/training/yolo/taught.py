"""Labels that a teacher left in a file, beside those of the annotations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import iou
from detkit.errors import InputError

SAME_OBJECT = 0.5  # IoU from which a teacher's box of the same class is the annotated object


class Labels(NamedTuple):
    """Objects of a picture: boxes float32 (N, 4) xyxy in pixels, classes int64 (N,), scores float32 (N,) in 0-1."""

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]


def read_taught(path: Path) -> dict[tuple[str, int], Labels]:
    """A teacher's boxes by set and id of the picture.

    One JSON object a line: {"set": name, "id": number, "boxes": [[x1, y1, x2, y2, class, score], ...]}. InputError
    where the file cannot be read or a line is not of that kind.
    """
    taught = {}
    number = 0
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                number += 1
                entry = json.loads(line)
                rows = np.array(entry["boxes"], np.float64).reshape(-1, 6)
                taught[entry["set"], entry["id"]] = Labels(
                    rows[:, :4].astype(np.float32), rows[:, 4].astype(np.int64), rows[:, 5].astype(np.float32)
                )
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the teacher's labels cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}, line {number}: not a line of a teacher's labels") from error
    return taught


def merge_labels(
    boxes: NDArray[np.float32],
    classes: NDArray[np.int64],
    taught: Labels,
    annotated: NDArray[np.bool_],
    *,
    share: float = 0.5,
    least: float = 0.1,
) -> Labels:
    """A picture's annotated objects, which are certain, and those that only the teacher sees.

    `annotated` (classes,) says of which classes the annotations are complete: of those the teacher's word counts
    `share` of its score, of the others all of it. What counts less than `least` is left out, and so is what the
    annotations have: a box of the same class with an IoU of SAME_OBJECT.
    """
    scores = taught.scores * np.where(annotated[taught.classes], np.float32(share), np.float32(1))
    known = (iou(taught.boxes, boxes) >= SAME_OBJECT) & (taught.classes[:, None] == classes)
    new = (scores >= least) & ~known.any(axis=1)
    return Labels(
        np.concatenate((boxes, taught.boxes[new])),
        np.concatenate((classes, taught.classes[new])),
        np.concatenate((np.ones(len(classes), np.float32), scores[new].astype(np.float32))),
    )


def merged(
    objects: Mapping[tuple[str, int], tuple[NDArray[np.float32], NDArray[np.int64]]],
    taught: Mapping[tuple[str, int], Labels],
    annotated: Mapping[tuple[str, int], NDArray[np.bool_]],
) -> dict[tuple[str, int], Labels]:
    """`merge_labels` for each picture of `objects`."""
    nothing = Labels(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))
    return {key: merge_labels(*own, taught.get(key, nothing), annotated[key]) for key, own in objects.items()}
