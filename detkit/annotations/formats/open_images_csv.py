"""Open Images CSV: one line a box, corners relative to the image (Kuznetsova et al. 2020).

    ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside

IsGroupOf is our `crowd`; a flag of -1 (not known) is not set; IsDepiction and IsInside are not kept. Detections have
their score in `Score`, else in `Confidence`. The boxes become pixels by the sizes of the images, which the format
does not hold; boxes of images whose size is not known are left out, and that is said.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from detkit.annotations.building import Builder, Contents, corners_to_xywh, in_class_order
from detkit.annotations.columns import finite_numbers, flag
from detkit.annotations.format import Format, Request
from detkit.annotations.formats.csv_table import csv_rows, csv_writer
from detkit.annotations.name_files import read_labels
from detkit.annotations.number_text import number_text
from detkit.annotations.problems import quoted, shorten
from detkit.annotations.sizes import UNSIZED
from detkit.dataset import GroundTruth
from detkit.errors import InputError, UsageError
from detkit.picture_names import without_ending

HEADER = (
    "ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax",
    "IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside",
)  # fmt: skip
_SIDES = ("XMin", "YMin", "XMax", "YMax")


def read(request: Request) -> Contents:
    """The tables of a file, its labels named by a file of `label,name` lines if there is one.

    Of detections, `Confidence` is the score where there is no column `Score`; of annotations, pictures without a box
    belong to the data set.
    """
    if isinstance(request.names, tuple):
        raise UsageError("Open Images' labels are named by a file of `label,name` lines")
    labels = {} if request.names is None else read_labels(request.names)
    if request.sizes is None:
        raise request.form.needs_sizes(request.path)
    path, problems, sizes, detections = request.path, request.problems, request.sizes, request.target is not None
    header, rows = csv_rows(path)
    place = {name: column for column, name in enumerate(header)}
    missing = [name for name in ("ImageID", "LabelName", *_SIDES) if name not in place]
    if missing:
        raise InputError(f"{path}: the header lacks {quoted(missing)}; Open Images' begins ImageID,Source,LabelName")
    score_column = "Score" if "Score" in place else "Confidence" if detections and "Confidence" in place else None
    builder = Builder(problems)
    listed: set[str] = set()
    for line, row in enumerate(rows, 2):
        cells = dict(zip(header, row, strict=False))
        id = cells["ImageID"].strip()
        where = f"line {line}: {shorten(','.join(row))}"
        corners = finite_numbers([cells[side] for side in _SIDES], 4)
        if not id or not cells["LabelName"].strip() or corners is None:
            problems.add("lines without an image, a label or four finite numbers, left out", where)
            continue
        width, height = sizes(id)
        if not (width and height):
            problems.add(UNSIZED, where)
            continue
        if corners[0] > corners[2] or corners[1] > corners[3]:
            problems.add("reversed boxes, corners put in order", where)
        label = cells["LabelName"].strip()
        score = finite_numbers([cells[score_column]], 1) if score_column else None
        file = sizes.name(id)
        listed.add(file)
        builder.box(
            builder.image(without_ending(file), file, width, height),
            builder.category(labels.get(label, label), label),
            corners_to_xywh(corners[0] * width, corners[1] * height, corners[2] * width, corners[3] * height),
            score=score[0] if score else None,
            occluded=flag(cells.get("IsOccluded")),
            truncated=flag(cells.get("IsTruncated")),
            crowd=flag(cells.get("IsGroupOf")),
        )
    if not detections:
        for file in sizes.files:
            if file not in listed:
                builder.background(file, *sizes(file))
    return builder.finish() if labels else in_class_order(builder.finish())


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One file."""
    yield "", open_images_csv(ground_truth, form)


def rules(ground_truth: GroundTruth, path: Path) -> list[str]:
    """Open Images' own evaluation counts groups, and knows which labels were looked for."""
    groups = int(ground_truth.crowd.sum())
    said = "Open Images' own rule is not followed: labels that nobody looked for in a picture, and parents of classes, "
    said += "count like all others"
    if groups:
        said += f"; the {groups} IsGroupOf boxes take any number of detections, as COCO's crowds do"
    return [said]


def class_name(name: str) -> str:
    """A class name as it comes back: without blanks around it."""
    return name.strip()


def open_images_csv(ground_truth: GroundTruth, form: Format) -> bytes:
    """Annotations with the names of the classes as labels; OutputError where the size of an image is not known."""
    text = io.StringIO(newline="")
    writer = csv_writer(text)
    writer.writerow(HEADER)
    images = ground_truth.images
    corners = ground_truth.boxes.copy()
    corners[:, 2:] += corners[:, :2]
    for image, category, box, occluded, truncated, crowd in zip(
        ground_truth.image_index.tolist(), ground_truth.class_index.tolist(), corners.tolist(),
        ground_truth.occluded.tolist(), ground_truth.truncated.tolist(), ground_truth.crowd.tolist(), strict=True,
    ):  # fmt: skip
        width, height = int(images.widths[image]), int(images.heights[image])
        name = images.files[image] or str(images.ids[image])
        if not (width and height):
            raise form.size_unknown(name)
        x1, y1, x2, y2 = (number_text(side / (width, height)[k % 2]) for k, side in enumerate(box))
        writer.writerow((
            without_ending(name), "detkit", ground_truth.categories.names[category], 1, x1, x2, y1, y2,
            int(occluded), int(truncated), int(crowd), 0, 0,
        ))  # fmt: skip
    return text.getvalue().encode("utf-8")
