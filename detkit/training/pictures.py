"""The pictures of an annotated data set, with their boxes, as training takes them."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.finding import PictureFolder
from detkit.annotations.listing import listed_rows
from detkit.boxes import clip, xywh_to_xyxy
from detkit.dataset import GroundTruth
from detkit.errors import InputError, UsageError
from detkit.images import read_image

logger = logging.getLogger("detkit")


@dataclass(frozen=True)
class AnnotatedPicture:
    """A picture: its row in the annotations, its file, boxes float32 (N, 4) xyxy in pixels, classes int64 (N,)."""

    row: int
    path: Path
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]


def annotated_pictures(ground_truth: GroundTruth, folder: Path) -> list[AnnotatedPicture]:
    """All pictures of the annotations that lie in `folder` or below, in the order of the annotations.

    Crowds and ignored regions are left out, boxes are cut at the picture's border where its size is known, and empty
    ones dropped. Pictures that are not there are counted in a warning; InputError where none is, or where a name could
    be that of several.
    """
    pictures = PictureFolder(folder)
    boxes = xywh_to_xyxy(ground_truth.boxes)
    usable = ~(ground_truth.crowd | ground_truth.ignore)
    found, missing = [], []
    for row, (file, rows) in enumerate(zip(ground_truth.images.files, ground_truth.rows_by_image(), strict=True)):
        name = file or str(ground_truth.images.ids[row])
        path = pictures.find(name)
        if path is None:
            missing.append(name)
            continue
        kept = rows[usable[rows]]
        own = boxes[kept]
        width, height = int(ground_truth.images.widths[row]), int(ground_truth.images.heights[row])
        if width and height:
            own = clip(own, width, height)
        whole = (own[:, 2] > own[:, 0]) & (own[:, 3] > own[:, 1])
        classes = ground_truth.class_index[kept][whole]
        found.append(AnnotatedPicture(row, path, own[whole].astype(np.float32), classes.astype(np.int64)))
    if not found:
        raise InputError(
            f"{folder}: none of the {len(missing)} annotated pictures is there; name their folder: --images"
        )
    if missing:
        logger.warning(
            "%d annotated pictures are not in %s and are left out, first %s", len(missing), folder, missing[0]
        )
    return found


def listed_pictures(ground_truth: GroundTruth, folder: Path, only: Path | None) -> list[AnnotatedPicture]:
    """`annotated_pictures`, or of them those that the list `only` names. UsageError where it names none."""
    pictures = annotated_pictures(ground_truth, folder)
    if only is None:
        return pictures
    rows = set(listed_rows(only, ground_truth.images).tolist())
    pictures = [picture for picture in pictures if picture.row in rows]
    if not pictures:
        raise UsageError(f"{only}: none of the annotated pictures that it lists is in {folder}")
    return pictures


def readable_pictures(
    pictures: Sequence[AnnotatedPicture], threads: int, advance: Callable[[int], None] = lambda _: None
) -> list[AnnotatedPicture]:
    """Those of the pictures that can be decoded; each other one is a warning. InputError where none can.

    All are decoded once here, so that a training does not meet a damaged file after hours.
    """

    def problem(picture: AnnotatedPicture) -> str | None:
        try:
            read_image(picture.path)
        except InputError as error:
            return str(error)
        return None

    kept = []
    with ThreadPoolExecutor(threads) as executor:
        for picture, why in zip(pictures, executor.map(problem, pictures), strict=True):
            if why is None:
                kept.append(picture)
            else:
                logger.warning("%s; left out", why)
            advance(1)
    if not kept:
        raise InputError("none of the annotated pictures can be read")
    return kept


def split(
    pictures: Sequence[AnnotatedPicture], share: float, seed: int
) -> tuple[list[AnnotatedPicture], list[AnnotatedPicture]]:
    """Pictures to learn from and a share of them to measure on, the same split for the same seed."""
    held = set(random.Random(seed).sample(range(len(pictures)), round(share * len(pictures))))
    if len(held) == len(pictures):
        held.clear()
    chosen = [(number in held, picture) for number, picture in enumerate(pictures)]
    return [picture for out, picture in chosen if not out], [picture for out, picture in chosen if out]


def refuse_empty(pictures: Sequence[AnnotatedPicture], names: Sequence[str]) -> None:
    """InputError where there is nothing to learn; classes without a box are named in a warning."""
    if not names:
        raise InputError("the annotations name no classes")
    found = {one for picture in pictures for one in picture.classes.tolist()}
    if not found:
        raise InputError("the pictures to learn from have no annotated boxes")
    missing = [name for number, name in enumerate(names) if number not in found]
    if missing:
        shown = ", ".join(missing[:8]) + (", ..." if len(missing) > 8 else "")
        logger.warning("no picture to learn from has a box of %s: it will not be found", shown)
