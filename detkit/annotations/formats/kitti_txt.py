"""KITTI label files: one file an image, 15 columns a box, 16 with the score of a detection (Geiger et al. 2012).

Of the columns these are read: type, truncated (above 0: truncated), occluded (1 and 2: occluded; 3 means unknown),
and left, top, right, bottom in pixels. A `DontCare` region is a box of the class `DontCare` with the flag `ignore`.
The other columns, of boxes in space, are written with KITTI's own values for "not known".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from detkit.annotations.building import FLAGS, Builder, Contents, corners_to_xywh, in_class_order
from detkit.annotations.columns import finite_numbers
from detkit.annotations.formats.yolo_txt import LabelLines, label_files
from detkit.annotations.number_text import number_text
from detkit.annotations.problems import Problems
from detkit.annotations.sizes import Sizes
from detkit.annotations.text_files import need_files
from detkit.dataset import Categories, GroundTruth

DONT_CARE = "DontCare"
_UNKNOWN_IN_SPACE = "-1 -1 -1 -1000 -1000 -1000 -10"


def parse_line(line: str) -> tuple[str, list[float]] | None:
    """The type and the 14 or 15 numbers after it; None where the line is something else."""
    parts = line.split()
    numbers = finite_numbers(parts[1:], len(parts) - 1) if len(parts) in (15, 16) else None
    return None if numbers is None else (parts[0], numbers)


def is_object(line: str) -> bool:
    """Whether a line is one of KITTI and no polygon of YOLO: its type is no number, or nothing is known in space."""
    entry = parse_line(line)
    if entry is None:
        return False
    name, numbers = entry
    return finite_numbers([name], 1) is None or numbers[7:14] == [float(value) for value in _UNKNOWN_IN_SPACE.split()]


def read_kitti(path: Path, problems: Problems, sizes: Sizes | None = None) -> Contents:
    """The tables of a folder of label files (or of the `label_2` in it).

    sizes  of the images, with their file names; without it they are 0, and KITTI itself does not need them
    """
    folder = path / "label_2" if (path / "label_2").is_dir() else path
    files = label_files(folder)
    need_files(path, files, ".txt")
    builder = Builder("kitti", problems)
    lines = LabelLines(folder, problems, "a KITTI object (15 or 16 columns)", parse_line)
    for file in files:
        stem = file[:-4]
        image = builder.image(stem, *((sizes.name(stem), *sizes(stem)) if sizes else (stem, 0, 0)))
        for where, (name, numbers) in lines.of(file):
            x1, y1, x2, y2 = numbers[3:7]
            if x1 > x2 or y1 > y2:
                problems.add("reversed boxes, corners put in order", where)
            builder.box(
                image,
                builder.category(name),
                corners_to_xywh(x1, y1, x2, y2),
                score=numbers[14] if len(numbers) == 15 else None,
                truncated=numbers[0] > 0,
                occluded=numbers[1] in (1, 2),
                ignore=name == DONT_CARE,
            )
    lines.check(path)
    return in_class_order(builder.finish())


def regions_of_all_classes(ground_truth: GroundTruth) -> GroundTruth:
    """`DontCare` as KITTI's evaluation takes it: no class, but regions in which no detection of any class counts.

    Each box of the class becomes a region of every other class with the flags `crowd` and `ignore`, so that it takes
    any number of detections that lie in it. Annotations in which the class has other boxes, or is the only one, are
    returned as they are.
    """
    table = ground_truth.categories
    if DONT_CARE not in table.names or len(table) < 2:
        return ground_truth
    own = table.names.index(DONT_CARE)
    is_region = ground_truth.class_index == own
    if not ground_truth.ignore[is_region].all():
        return ground_truth
    others = len(table) - 1
    rows = np.concatenate((np.flatnonzero(~is_region), np.repeat(np.flatnonzero(is_region), others)))
    classes = ground_truth.class_index[rows]
    classes -= classes > own
    boxes = np.count_nonzero(~is_region)
    classes[boxes:] = np.tile(np.arange(others), np.count_nonzero(is_region))
    columns = {name: getattr(ground_truth, name)[rows] for name in ("image_index", "boxes", "areas", *FLAGS)}
    columns["crowd"][boxes:] = True
    return replace(
        ground_truth,
        categories=Categories(
            table.names[:own] + table.names[own + 1 :], table.ids[:own] + table.ids[own + 1 :], table.given
        ),
        class_index=classes,
        ids=tuple(range(1, len(rows) + 1)),
        **columns,
    )


def kitti_lines(
    class_names: Sequence[str],
    corners: Sequence[Sequence[float]],
    truncated: Sequence[bool],
    occluded: Sequence[bool],
    ignore: Sequence[bool],
) -> str:
    """The text of one label file from xyxy corners; ignored boxes become `DontCare`, spaces in names "_"."""
    lines = []
    for name, box, cut, hidden, ignored in zip(class_names, corners, truncated, occluded, ignore, strict=True):
        head = f"{DONT_CARE} -1 -1" if ignored else f"{'_'.join(name.split())} {int(cut)}.00 {int(hidden)}"
        sides = " ".join(number_text(value) for value in box)
        lines.append(f"{head} -10 {sides} {_UNKNOWN_IN_SPACE}\n")
    return "".join(lines)
