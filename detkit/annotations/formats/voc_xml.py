"""Pascal VOC XML: one file an image (Everingham et al. 2010).

Coordinates are read and written as they stand, as x1, y1, x2, y2 with fractions. VOC's own files count pixels from 1
and include the last one; the tools that write this format today count from 0 and do not. Both read without
correction, a box of VOC's own is one pixel to the right and below, and one pixel smaller each way, the same in the
annotations and in the detections that were learned from them. (VOC's "+ 1" in the overlap belongs to its metric.)

The name of the XML file is the name of the image: `filename` inside counts only for the ending and where both agree,
as tools that rename or copy files forget it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import ArrayLike

from detkit.annotations.beside import NOTHING, Beside
from detkit.annotations.building import Builder, Contents, corners_to_xywh, in_class_order
from detkit.annotations.by_picture import Picture, pictures_of
from detkit.annotations.columns import finite_numbers, flag, whole_number
from detkit.annotations.format import Format, Request
from detkit.annotations.formats.voc_masks import masks_beside
from detkit.annotations.number_text import number_text, shortest_doubles
from detkit.annotations.problems import shorten
from detkit.annotations.text_files import files_under, inner_folder, need_files, read_bytes
from detkit.annotations.xml_text import NOT_IN_XML, parse_xml, xml_text
from detkit.boxes import as_boxes
from detkit.dataset import GroundTruth
from detkit.errors import InputError
from detkit.picture_names import is_named_like_a_picture, without_ending
from detkit.shapes.masks import Masks
from detkit.shapes.shape_columns import ALL_SHAPES
from detkit.shapes.turned_boxes import to_corners

# What files hold beside objects, with elements in it and without boxes.
_BESIDE_OBJECTS = frozenset(("source", "owner", "size", "imagesize", "image", "metadata", "weather", "attributes"))


def write(ground_truth: GroundTruth, form: Format) -> Iterator[tuple[str, bytes]]:
    """One XML file a picture; `occluded` only where a box of the data set has it."""
    for picture in pictures_of(ground_truth, form):
        yield f"{picture.stem}.xml", picture_xml(picture, ground_truth)


def picture_xml(picture: Picture, ground_truth: GroundTruth, *, segmented: bool = False) -> bytes:
    """The XML of a picture of a data set."""
    kept = ["difficult", "truncated", *(["occluded"] if ground_truth.occluded.any() else [])]
    return voc_xml(
        picture.file, picture.width, picture.height, picture.names, picture.corners,
        flags={key: picture.flags[key] for key in kept}, segmented=segmented,
    )  # fmt: skip


def rules(ground_truth: GroundTruth, path: Path) -> list[str]:
    """VOC's own evaluation is of a set of pictures."""
    sets = sorted((path / "ImageSets" / "Main").glob("*.txt")) if path.is_dir() else []
    if not sets:
        return []
    return [f"all {len(ground_truth.images)} pictures count; --list {sets[-1]} takes those of a set of VOC"]


def class_name(name: str) -> str:
    """A class name as it comes back: no control characters, no blanks around it."""
    return NOT_IN_XML.sub("\ufffd", name).strip()


def read(request: Request) -> Contents:
    """The tables of one XML file or of all in a folder; sizes that the XML lacks are asked of the request."""
    path = request.path
    folder = path.parent if path.is_file() else inner_folder(path, request.form.inner, request.form.ending)
    files = [path.name] if path.is_file() else files_under(folder, (".xml",))
    need_files(path, files, ".xml")
    builder = Builder(request.problems, request.shapes)
    for file in files:
        root = parse_xml(folder / file, read_bytes(folder / file))
        if root.tag != "annotation":
            request.problems.add(
                "XML files that are not VOC annotations, passed over", f"{file} (<{shorten(root.tag)}>)"
            )
            continue
        _read_image(builder, root, file, request)
    if not builder.image_rows:
        raise InputError(f"{path}: none of its {len(files)} XML files is a VOC annotation (root <annotation>)")
    return in_class_order(builder.finish(request.shapes))


def _read_image(builder: Builder, root: Element, file: str, request: Request) -> None:
    stem = file[:-4] if file.lower().endswith(".xml") else file
    name = (root.findtext("filename") or "").replace("\\", "/").rpartition("/")[2].strip()
    bare = stem.rpartition("/")[2]
    if name and without_ending(name) not in (bare, without_ending(bare)):
        builder.problems.add("images named after the XML file, as `filename` inside says another name",
                             f"{file} says '{shorten(name)}'")  # fmt: skip
    ending = name[len(without_ending(name)) :]
    image_file = stem if is_named_like_a_picture(stem) else stem + ending  # a.jpg.xml is of a.jpg
    width, height = (max(whole_number(root.findtext(f"size/{side}")) or 0, 0) for side in ("width", "height"))
    if request.sizes is not None and not (width and height):
        width, height = request.sizes(image_file)
    image = builder.image(stem, image_file, width, height)
    entries = list(root.iter("object"))  # some writers put them into <objects>
    masks: dict[int, Masks] = {}
    if request.shapes in ("masks", ALL_SHAPES) and request.path.is_dir():
        masks = masks_beside(request.path, request.form.inner, stem, (height, width))
        if masks and not (width and height):
            height, width = next(iter(masks.values())).sizes[0].tolist()
            builder.image(stem, image_file, width, height)
    for number, entry in enumerate(entries, 1):
        mask = masks.get(number)
        _read_object(builder, image, entry, f"{file}, object {number}", NOTHING if mask is None else Beside(mask=mask))
    beyond = [number for number in masks if number > len(entries)]
    if beyond:
        builder.problems.add("masks of objects that the XML does not have, left out", f"{file}, object {beyond[0]}",
                             len(beyond))  # fmt: skip
    if not entries:
        foreign = next((child.tag for child in root if len(child) and child.tag not in _BESIDE_OBJECTS), None)
        if foreign is not None:
            builder.problems.add("XML files without <object>, other elements are left out", f"{file}: <{foreign}>")


def _read_object(builder: Builder, image: int, entry: Element, where: str, beside: Beside) -> None:
    class_name = (entry.findtext("name") or next((one.text for one in entry.iter("name")), None) or "").strip()
    if flag(entry.findtext("deleted")):
        builder.problems.add("objects that are marked as deleted, passed over", where)
        return
    sides = [entry.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    corners = finite_numbers(sides, 4)
    if not class_name:
        builder.problems.add("objects without a name, left out", where)
        return
    if corners is None:
        corners = _bounds(entry)
        if corners is None:
            builder.problems.add("objects whose bndbox is not four finite numbers, left out", where)
            return
        turned = _turned(entry)
        if turned is not None and builder.wanted and beside is NOTHING:
            beside = Beside(corners=to_corners([turned])[0])
        else:
            builder.problems.add("turned boxes and polygons, taken as the upright boxes around them", where)
    if corners[0] > corners[2] or corners[1] > corners[3]:
        builder.problems.add("reversed boxes, corners put in order", where)
    score = finite_numbers([entry.findtext("score") or entry.findtext("confidence")], 1)
    builder.box(
        image,
        builder.category(class_name),
        corners_to_xywh(*corners),
        score=score[0] if score else None,
        area=None if beside.mask is None else float(beside.mask.areas[0]),
        beside=beside,
        difficult=flag(entry.findtext("difficult")),
        truncated=flag(entry.findtext("truncated")),
        occluded=flag(entry.findtext("occluded")),
    )


def _turned(entry: Element) -> list[float] | None:
    """Centre, width, height and angle of a `robndbox`, None where there is none."""
    return finite_numbers([entry.findtext(f".//robndbox/{key}") for key in ("cx", "cy", "w", "h", "angle")], 5)


def _bounds(entry: Element) -> list[float] | None:
    """x1, y1, x2, y2 around a shape that is no upright box; None where its numbers cannot be read.

    Read are `robndbox` (centre, size and an angle in radians, as roLabelImg writes it), points as elements whose names
    begin with x and y (MIT's LabelMe, DOTA in XML), and `point` with "x,y".
    """
    turned = _turned(entry)
    if turned is not None:
        cx, cy, w, h, angle = turned
        half_w = (abs(w * math.cos(angle)) + abs(h * math.sin(angle))) / 2
        half_h = (abs(w * math.sin(angle)) + abs(h * math.cos(angle))) / 2
        return [cx - half_w, cy - half_h, cx + half_w, cy + half_h]
    texts = [(one.tag.lower(), one.text or "") for one in entry.iter() if not len(one)]
    xs: list[object] = [text for tag, text in texts if tag.startswith("x")]
    ys: list[object] = [text for tag, text in texts if tag.startswith("y")]
    pairs = [text.split(",") for tag, text in texts if tag == "point" and text.count(",") == 1]
    xs, ys = xs + [pair[0] for pair in pairs], ys + [pair[1] for pair in pairs]
    numbers = finite_numbers(xs, len(xs)), finite_numbers(ys, len(ys))
    if numbers[0] is None or numbers[1] is None or len(xs) != len(ys) or len(xs) < 2:
        return None
    return [min(numbers[0]), min(numbers[1]), max(numbers[0]), max(numbers[1])]


def voc_xml(
    file: str,
    width: int,
    height: int,
    class_names: Sequence[str],
    boxes: ArrayLike,
    *,
    scores: Sequence[float] | ArrayLike | None = None,
    flags: Mapping[str, Sequence[bool] | ArrayLike] | None = None,
    segmented: bool = False,
) -> bytes:
    """The XML of one picture, UTF-8.

    file         its name, with the relative folder if there is one; `folder` and `filename` are made from it
    class_names  one name a box
    boxes        (N, 4), xyxy in pixels, written as they stand with their fractions (no 1 is added)
    scores       (N,), written as `score`, which VOC itself does not have; None for annotations
    segmented    whether there are masks of its objects
    flags        (N,) of `difficult`, `truncated` and `occluded`, written as 0 or 1; the last only where it is given
    """
    corners = shortest_doubles(as_boxes(boxes, dtype=None))
    folder, _, name = file.replace("\\", "/").rpartition("/")
    lines = [
        "<annotation>",
        f"\t<folder>{xml_text(folder)}</folder>",
        f"\t<filename>{xml_text(name)}</filename>",
        "\t<size>",
        f"\t\t<width>{int(width)}</width>",
        f"\t\t<height>{int(height)}</height>",
        "\t\t<depth>3</depth>",
        "\t</size>",
        f"\t<segmented>{int(segmented)}</segmented>",
    ]
    given = {"truncated": np.zeros(len(corners)), "difficult": np.zeros(len(corners)), **(flags or {})}
    columns = {key: np.asarray(given[key]).tolist() for key in ("truncated", "occluded", "difficult") if key in given}
    values = None if scores is None else shortest_doubles(scores).tolist()
    for row, (class_name, corner) in enumerate(zip(class_names, corners.tolist(), strict=True)):
        lines += ["\t<object>", f"\t\t<name>{xml_text(class_name)}</name>", "\t\t<pose>Unspecified</pose>"]
        lines += [f"\t\t<{key}>{int(bool(column[row]))}</{key}>" for key, column in columns.items()]
        if values is not None:
            lines.append(f"\t\t<score>{number_text(values[row])}</score>")
        lines.append("\t\t<bndbox>")
        for side, value in zip(("xmin", "ymin", "xmax", "ymax"), corner, strict=True):
            lines.append(f"\t\t\t<{side}>{number_text(value)}</{side}>")
        lines += ["\t\t</bndbox>", "\t</object>"]
    lines.append("</annotation>\n")
    return "\n".join(lines).encode("utf-8")
