"""MOTS (Voigtlaender et al. 2019): one text file a sequence, one line an object, `frame id class height width rle`.

An id is class * 1000 + k; class 1 is a car, 2 a pedestrian, and 10 a region that counts neither way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from detkit.annotations.beside import Beside, mask_losses
from detkit.annotations.building import Builder, Contents
from detkit.annotations.format import Format, Request
from detkit.annotations.problems import quoted, shorten
from detkit.annotations.text_files import lines_of, read_text
from detkit.dataset import DONT_CARE, GroundTruth
from detkit.errors import InputError, OutputError
from detkit.shapes.masks import Masks

CLASSES = {1: "car", 2: "pedestrian", 10: DONT_CARE}
_NUMBERS = {"car": 1, "pedestrian": 2, "person": 2, DONT_CARE: 10}
_LINE = re.compile(r"(\d{1,18}) (\d{1,18}) (\d{1,18}) (\d{1,18}) (\d{1,18}) ([0-o]+)\s*")


def is_line(line: str) -> bool:
    """Whether a line of text is an object with its mask."""
    return _LINE.fullmatch(line) is not None


def read(request: Request) -> Contents:
    """The tables of one sequence, whose pictures are its frames: 000001.jpg and so on."""
    builder = Builder(request.problems)
    for number, line in enumerate(lines_of(read_text(request.path)), 1):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            request.problems.add("lines that are not `frame id class height width rle`, left out",
                                 f"line {number}: {shorten(line)}")  # fmt: skip
            continue
        frame, track, kind, height, width = map(int, found.groups()[:5])
        try:
            mask = Masks.from_coco([{"size": [height, width], "counts": found.group(6)}], [(height, width)])
        except InputError as error:
            raise InputError(f"{request.path}: line {number}: {error}") from error
        image = builder.image(frame, f"{frame:06d}.jpg", width, height)
        box = [float(value) for value in mask.bounds[0]]
        builder.box(
            image, builder.category(CLASSES.get(kind, str(kind)), kind), box, area=float(mask.areas[0]), id=track,
            beside=Beside(mask=mask), ignore=kind == 10,
        )  # fmt: skip
    if not builder.image_rows:
        raise InputError(f"{request.path}: holds no line `frame id class height width rle`")
    return builder.finish(request.shapes)


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One file. OutputError where pictures have no numbers, or no class is one of MOTS."""
    images, names = ground_truth.images, ground_truth.categories.names
    if not all(isinstance(id, int) for id in images.ids):
        raise OutputError(f"{form.title} numbers frames, and '{images.files[0] or images.ids[0]}' has no number as id")
    kinds = np.array([_NUMBERS.get(name, 0) for name in names], np.int64)[ground_truth.class_index]
    if len(kinds) and not kinds.any():
        raise OutputError(f"{form.title} has cars and pedestrians, and here are {quoted(names)}")
    masks = ground_truth.shapes.masks
    rows = np.flatnonzero(kinds * ground_truth.shapes.has("masks", len(ground_truth)))
    texts = masks[rows].strings() if masks is not None else []
    ids = _track_ids(ground_truth, kinds)
    lines = []
    for row, text in zip(rows.tolist(), texts, strict=True):
        frame = images.ids[ground_truth.image_index[row]]
        height, width = masks.sizes[row].tolist() if masks is not None else (0, 0)
        lines.append((frame, ids[row], f"{frame} {ids[row]} {kinds[row]} {height} {width} {text}\n"))
    yield "", "".join(line for _, _, line in sorted(lines)).encode()


def _track_ids(ground_truth: GroundTruth, kinds: np.ndarray) -> list[int]:
    """Ids that are a MOTS file's own, else numbers of their own for all objects."""
    own = [id for id, kind in zip(ground_truth.ids, kinds.tolist(), strict=False)
           if isinstance(id, int) and (id // 1000 == kind or id == 10000)]  # fmt: skip
    if len(own) == len(kinds):
        return own
    seen: dict[int, int] = {}
    ids = []
    for kind in kinds.tolist():
        seen[kind] = seen.get(kind, -1) + 1
        ids.append(kind * 1000 + seen[kind])
    return ids


def losses(ground_truth: GroundTruth) -> list[str]:
    """Boxes of other classes and without masks, and which of them are the same object."""
    said, _ = mask_losses(ground_truth, _NUMBERS, "MOTS", "cars and pedestrians")
    if ground_truth.source != "mots":
        said.append("MOTS has tracks: every box is written as an object of its own.")
    return said
