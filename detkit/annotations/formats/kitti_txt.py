"""KITTI label files: one file an image, 15 columns a box, 16 with the score of a detection (Geiger et al. 2012).

Of the columns these are read: type, truncated (above 0: truncated), occluded (1 and 2: occluded; 3 means unknown),
and left, top, right, bottom in pixels. A `DontCare` region is a box of the class `DontCare` with the flag `ignore`.
The other columns, of boxes in space, are written with KITTI's own values for "not known".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from detkit.annotations.building import Builder, Contents, corners_to_xywh, in_class_order
from detkit.annotations.by_picture import Picture, pictures_of
from detkit.annotations.columns import finite_numbers
from detkit.annotations.format import Format, Request
from detkit.annotations.label_files import LabelLines, label_file, label_files
from detkit.annotations.number_text import number_text
from detkit.annotations.problems import boxes_text
from detkit.annotations.text_files import need_files
from detkit.dataset import DONT_CARE, GroundTruth

_UNKNOWN_IN_SPACE = "-1 -1 -1 -1000 -1000 -1000 -10"


def parse_line(line: str) -> tuple[str, list[float]] | None:
    """The type and the 14 or 15 numbers after it; None where the line is something else."""
    parts = line.split()
    numbers = finite_numbers(parts[1:], len(parts) - 1) if len(parts) in (15, 16) else None
    return None if numbers is None else (parts[0], numbers)


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One label file a picture."""
    for picture in pictures_of(ground_truth, form):
        yield label_file(picture), kitti_lines(picture).encode()


def class_name(name: str) -> str:
    """A class name as it comes back: columns are separated by spaces."""
    return "_".join(name.split())


def rules(ground_truth: GroundTruth, path: Path) -> list[str]:
    """KITTI's own evaluation has three levels."""
    return ["KITTI's levels (easy, moderate and hard, by height, occlusion and truncation) are not followed, nor its "
            "classes that count for their neighbours: every box of a class counts"]  # fmt: skip


def losses(ground_truth: GroundTruth) -> list[str]:
    """Regions to ignore lose their class."""
    ignored = ground_truth.class_index[ground_truth.ignore]
    if {ground_truth.categories.names[k] for k in ignored} <= {DONT_CARE}:
        return []
    return [f"KITTI's regions to ignore have no class: {boxes_text(len(ignored))} "
            f"{'becomes' if len(ignored) == 1 else 'become'} DontCare."]  # fmt: skip


def is_line(line: str) -> bool:
    """Whether a line is one of KITTI and no polygon of YOLO: its type is no number, or nothing is known in space."""
    entry = parse_line(line)
    if entry is None:
        return False
    name, numbers = entry
    return finite_numbers([name], 1) is None or numbers[7:14] == [float(value) for value in _UNKNOWN_IN_SPACE.split()]


def read(request: Request) -> Contents:
    """The tables of a folder of label files (or of the `label_2` in it).

    Sizes, and the names of the files with them, are those of the request; KITTI itself does not need them.
    """
    path, problems, sizes = request.path, request.problems, request.sizes
    folder = path / "label_2" if (path / "label_2").is_dir() else path
    files = label_files(folder)
    need_files(path, files, ".txt")
    builder = Builder(problems)
    lines = LabelLines(problems, "a KITTI object (15 or 16 columns)", parse_line)
    for file in files:
        stem = file[:-4]
        image = builder.image(stem, *((sizes.name(stem), *sizes(stem)) if sizes else (stem, 0, 0)))
        for where, (name, numbers) in lines.of(file, folder / file):
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


def kitti_lines(picture: Picture) -> str:
    """The text of one label file; ignored boxes become `DontCare`, spaces in names "_"."""
    lines = []
    columns = (picture.flags[key].tolist() for key in ("truncated", "occluded", "ignore"))
    for name, box, cut, hidden, ignored in zip(picture.names, picture.corners.tolist(), *columns, strict=True):
        head = f"{DONT_CARE} -1 -1" if ignored else f"{class_name(name)} {int(cut)}.00 {int(hidden)}"
        sides = " ".join(number_text(value) for value in box)
        lines.append(f"{head} -10 {sides} {_UNKNOWN_IN_SPACE}\n")
    return "".join(lines)
