"""`write_ground_truth`: the tables in any format, and in words what the format could not hold."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import orjson
from numpy.typing import NDArray

from detkit.annotations.building import FLAGS
from detkit.annotations.formats.voc_xml import NOT_IN_XML
from detkit.annotations.formats.yolo_txt import OTHER_TEXTS
from detkit.annotations.problems import quoted
from detkit.annotations.recognition import FORMATS
from detkit.annotations.sizes import size_table
from detkit.boxes import clip
from detkit.dataset import GroundTruth
from detkit.errors import OutputError, UsageError
from detkit.files import reason, write_bytes
from detkit.picture_names import plain_path, without_ending

# Characters that JSON writes as they are and that YAML takes for line breaks or refuses.
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufffe\uffff]")

# The folder that is read in place of the one that was named, where it is there.
_INNER_FOLDERS = {"voc": "Annotations", "yolo": "labels", "kitti": "label_2"}

FOLDER_FORMATS = frozenset(("voc", "yolo", "labelme", "kitti"))
NAMES = {
    "coco": "COCO JSON",
    "jsonl": "JSON Lines",
    "voc": "VOC XML",
    "yolo": "YOLO txt",
    "csv": "CSV",
    "labelme": "LabelMe",
    "openimages": "Open Images CSV",
    "kitti": "KITTI",
}
_ALL = frozenset(
    (*FLAGS, "area", "image ids", "category ids", "classes without boxes", "images without boxes", "sizes")
)
# What each format holds, of the things that are not boxes, class names and file names.
HOLDS = {
    "coco": _ALL,
    "jsonl": _ALL - {"classes without boxes"},
    "csv": _ALL - {"classes without boxes", "image ids"},
    "voc": frozenset(("difficult", "truncated", "occluded", "images without boxes", "sizes")),
    "yolo": frozenset(("classes without boxes", "images without boxes", "sizes")),
    "labelme": frozenset((*FLAGS, "images without boxes", "sizes")),
    "openimages": frozenset(("crowd", "truncated", "occluded")),
    "kitti": frozenset(("ignore", "truncated", "occluded", "images without boxes")),
}


def write_ground_truth(ground_truth: GroundTruth, path: str | os.PathLike[str], format: str) -> list[str]:
    """Write annotations and say what was lost, one sentence each.

    path    the file; for VOC, YOLO, LabelMe and KITTI a folder, which must be new or empty
    format  one of `FORMATS`
    OutputError where it cannot be written, where a class has no name and the format goes by names, or where the format
    needs image sizes that are not known.
    """
    path = Path(path)
    if format not in FORMATS:
        raise UsageError(f"there is no annotation format '{format}'; there are {', '.join(FORMATS)}")
    _check_class_names(ground_truth, format)
    lost = losses(ground_truth, format)
    if format not in FOLDER_FORMATS:
        if os.path.isdir(path):
            raise OutputError(f"{path}: is a folder; {NAMES[format]} is one file, give its name")
        write_bytes(path, _one_file(ground_truth, format))
        return lost
    is_folder = os.path.isdir(path)
    if os.path.exists(path) and (not is_folder or any(path.iterdir())):
        what = "is not empty" if is_folder else "is a file"
        raise OutputError(f"{path}: {what}; {NAMES[format]} is a folder of files, give a new or empty one")
    files = dict(_files(ground_truth, format))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
    for name, content in files.items():
        write_bytes(path / name, content)
    return lost


def _one_file(ground_truth: GroundTruth, format: str) -> bytes:
    if format == "coco":
        from detkit.annotations.formats.coco_json import coco_json

        return coco_json(ground_truth)
    if format == "jsonl":
        from detkit.annotations.formats.json_lines import jsonl_bytes

        return jsonl_bytes(ground_truth)
    if format == "csv":
        from detkit.annotations.formats.csv_table import csv_bytes

        return csv_bytes(ground_truth)
    from detkit.annotations.formats.open_images_csv import open_images_csv

    return open_images_csv(ground_truth)


def _files(ground_truth: GroundTruth, format: str) -> Iterator[tuple[str, bytes]]:
    """(relative path, content) of each file of a folder format."""
    images, categories = ground_truth.images, ground_truth.categories
    stems = _stems(ground_truth, format)
    corners = corners_of(ground_truth)
    order = np.argsort(ground_truth.image_index, kind="stable")
    bounds = np.searchsorted(ground_truth.image_index[order], np.arange(len(images) + 1))
    flags = {key: getattr(ground_truth, key) for key in FLAGS}
    yolo_classes = class_positions(ground_truth)
    for image, stem in enumerate(stems):
        rows = order[bounds[image] : bounds[image + 1]]
        width, height = int(images.widths[image]), int(images.heights[image])
        file = plain_path(images.files[image]) or stem
        names = [categories.names[k] for k in ground_truth.class_index[rows]]
        marks = {key: column[rows] for key, column in flags.items()}
        if format == "voc":
            from detkit.annotations.formats.voc_xml import voc_xml

            occluded = marks["occluded"] if flags["occluded"].any() else None
            yield f"{stem}.xml", voc_xml(
                file, width, height, names, corners[rows],
                difficult=marks["difficult"], truncated=marks["truncated"], occluded=occluded,
            )  # fmt: skip
        elif format == "yolo":
            from detkit.annotations.formats.yolo_txt import yolo_lines

            if not (width and height):
                raise OutputError(f"YOLO txt is relative to the image, and the size of '{file}' is not known; "
                                  "name the folder of the images (--images)")  # fmt: skip
            cut = clip(corners[rows], width, height)
            yield (
                _label_file(stem, file),
                yolo_lines(cut, yolo_classes[ground_truth.class_index[rows]], width, height).encode(),
            )
        elif format == "labelme":
            from detkit.annotations.formats.labelme_json import labelme_json

            set_flags = [{key: True for key in FLAGS if marks[key][k]} for k in range(len(rows))]
            yield f"{stem}.json", labelme_json(file, width, height, names, corners[rows].tolist(), set_flags)
        else:
            from detkit.annotations.formats.kitti_txt import kitti_lines

            yield (
                _label_file(stem, file),
                kitti_lines(
                    names, corners[rows].tolist(), marks["truncated"], marks["occluded"], marks["ignore"]
                ).encode(),
            )
    if format == "yolo":
        ordered = [categories.names[k] for k in np.argsort(yolo_classes)]
        yield "data.yaml", yaml_of(ordered)
        yield (
            "sizes.csv",
            size_table(
                (f"{stem}{_ending(file)}", width, height)
                for stem, file, width, height in zip(
                    stems, images.files, images.widths.tolist(), images.heights.tolist(), strict=True
                )
            ),
        )


def _label_file(stem: str, file: str) -> str:
    """The text file of an image's boxes, with the image's ending where it would be taken for another kind of text."""
    name = f"{stem}.txt"
    return f"{stem}{_ending(file) or '.jpg'}.txt" if name.rpartition("/")[2].lower() in OTHER_TEXTS else name


def _ending(file: str) -> str:
    return file[len(without_ending(file)) :]


def yaml_of(names: list[str]) -> bytes:
    """ultralytics' table of class names; quoted as JSON, which YAML reads too where all of it can be printed."""
    texts = (_NOT_IN_YAML.sub(lambda m: f"\\u{ord(m[0]):04x}", orjson.dumps(name).decode()) for name in names)
    return ("names:\n" + "".join(f"  {number}: {name}\n" for number, name in enumerate(texts))).encode("utf-8")


def class_positions(ground_truth: GroundTruth) -> NDArray[np.int64]:
    """int64 (K,): for each class its number from 0 in the order of the ids, text after numbers."""
    ids = ground_truth.categories.ids
    order = sorted(range(len(ids)), key=lambda k: (isinstance(ids[k], str), ids[k]))
    positions = np.empty(len(ids), np.int64)
    positions[order] = np.arange(len(ids))
    return positions


def corners_of(ground_truth: GroundTruth) -> NDArray[np.float64]:
    """(M, 4) xyxy, corners in order also where a width or height is negative."""
    boxes = ground_truth.boxes
    far = boxes[:, :2] + boxes[:, 2:]
    return np.concatenate((np.minimum(boxes[:, :2], far), np.maximum(boxes[:, :2], far)), axis=1)


def _stems(ground_truth: GroundTruth, format: str) -> list[str]:
    """For each image the relative path of its file without ending, never outside of the folder, never twice.

    OutputError where that is not possible, or where no reader would look for it: in a hidden file, or in the folder
    that stands for the whole data set.
    """
    stems: list[str] = []
    seen: dict[str, str] = {}
    for id, file in zip(ground_truth.images.ids, ground_truth.images.files, strict=True):
        name = file or str(id)
        parts = [part for part in PurePosixPath(plain_path(name)).parts if part not in ("/", "..", ".")]
        stem = without_ending("/".join(part.replace(":", "_").replace("\0", "_") for part in parts))
        if not stem:
            raise OutputError(f"image {id!r} has a name that cannot be a file: '{name}'")
        if any(part.startswith(".") for part in stem.split("/")):
            raise OutputError(
                f"image '{name}' would become a hidden file, which is not read again; give it another name"
            )
        if stem.startswith(f"{_INNER_FOLDERS.get(format)}/"):
            raise OutputError(f"image '{name}' would hide the others, as {NAMES[format]} keeps a whole data set in "
                              f"'{_INNER_FOLDERS[format]}'; give the folder another name")  # fmt: skip
        if stem.casefold() in seen:
            raise OutputError(
                f"images '{seen[stem.casefold()]}' and '{name}' would be written to the same file '{stem}'"
            )
        seen[stem.casefold()] = name
        stems.append(stem)
    return stems


def losses(ground_truth: GroundTruth, format: str) -> list[str]:
    """What `format` cannot hold of this ground truth, one sentence each; an empty list where all survives."""
    holds, name = HOLDS[format], NAMES[format]
    images, categories = ground_truth.images, ground_truth.categories
    said: list[str] = []
    for key, what in (
        ("crowd", "crowd or group"), ("difficult", "difficult"), ("ignore", "ignore"),
        ("truncated", "truncated"), ("occluded", "occluded"),
    ):  # fmt: skip
        count = int(getattr(ground_truth, key).sum())
        if count and key not in holds:
            after = ""
            if key in ("crowd", "difficult", "ignore"):
                after = " and counts like any other box" if count == 1 else " and count like any other box"
            said.append(f"{name} has no {what} flag: {_lose(count)} it{after}.")
    if format == "kitti" and ground_truth.ignore.any():
        names = {categories.names[k] for k in ground_truth.class_index[ground_truth.ignore]} - {"DontCare"}
        if names:
            said.append(f"KITTI's regions to ignore have no class: {_boxes(count := int(ground_truth.ignore.sum()))} "
                        f"{'becomes' if count == 1 else 'become'} DontCare.")  # fmt: skip
    said += _class_name_losses(ground_truth, format)
    products = ground_truth.boxes[:, 2] * ground_truth.boxes[:, 3]
    own = int((np.abs(ground_truth.areas - products) > 1e-3 * np.abs(products) + 0.01).sum())
    if own and "area" not in holds:
        said.append(f"{name} has no area: {_lose(own)} one that is not width * height (of a mask), "
                    "which changes what counts as small, medium and large.")  # fmt: skip
    if format != "coco" and (ground_truth.boxes[:, 2:] < 0).any():
        count = int((ground_truth.boxes[:, 2:] < 0).any(axis=1).sum())
        said.append(f"{name} stores corners: {_boxes(count)} with a negative width or height turned over.")
    if format == "yolo":
        corners = corners_of(ground_truth)
        limits = np.stack((images.widths, images.heights), axis=1)[ground_truth.image_index]
        out = int(((corners[:, :2] < 0) | (corners[:, 2:] > limits + 1e-6)).any(axis=1).sum())
        if out:
            said.append(f"YOLO txt goes from 0 to 1: {_boxes(out)} reaching out of the image cut at its border.")
    empty = len(images) - len(np.unique(ground_truth.image_index))
    if empty and "images without boxes" not in holds:
        said.append(f"{name} lists boxes only: {empty} of {len(images)} images have none and are lost.")
    if "sizes" not in holds and (images.widths > 0).any():
        said.append(f"{name} does not hold the sizes of the images.")
    unused = len(categories) - len(np.unique(ground_truth.class_index))
    if unused and "classes without boxes" not in holds:
        said.append(f"{name} has no table of classes: {unused} of {len(categories)} have no box and are lost.")
    if "category ids" not in holds and (ground_truth.source in ("coco", "openimages") or categories.given):
        said.append(f"{name} names classes without COCO's ids: the category ids are lost.")
    if "image ids" not in holds and _ids_say_more_than_names(ground_truth):
        said.append(f"{name} names images by their files: the image ids are lost.")
    if format in ("voc", "yolo", "labelme", "kitti", "openimages") and not ground_truth.has_running_ids:
        said.append(f"{name} has no ids of boxes: they are lost.")
    if ground_truth.unread:
        counts = ", ".join(f"{what} ({count})" for what, count in ground_truth.unread.items())
        said.append(f"boxes and classes are read, not what else the file holds: {counts}.")
    return said


def _class_name_losses(ground_truth: GroundTruth, format: str) -> list[str]:
    said: list[str] = []
    written = [ground_truth.categories.names[k] for k in np.unique(ground_truth.class_index)]
    read = [_read_again(name, format) for name in written]
    changed = [(old, new) for old, new in zip(written, read, strict=True) if old != new]
    if changed and format == "kitti":
        said.append("KITTI separates columns by spaces: spaces in class names become '_'.")
    elif changed:
        what = "blanks around class names" if format == "openimages" else "control characters and outer blanks of names"
        old, new = changed[0]
        said.append(f"{NAMES[format]} does not keep {what}: {_classes(len(changed))} changed ({old!r} is {new!r}).")
    twice = {name: count for name, count in Counter(read).items() if count > 1}
    if twice and format not in ("coco", "yolo"):
        said.append(f"{NAMES[format]} tells classes apart by their names: {sum(twice.values())} classes become "
                    f"{len(twice)} ({quoted(twice)}).")  # fmt: skip
    return said


def _read_again(name: str, format: str) -> str:
    """A class name as it comes back from `format`; "" where its boxes would be lost."""
    if format == "kitti":
        return "_".join(name.split())
    if format == "voc":
        return NOT_IN_XML.sub("\ufffd", name).strip()
    return name.strip() if format == "openimages" else name


def _check_class_names(ground_truth: GroundTruth, format: str) -> None:
    categories = ground_truth.categories
    for row in np.unique(ground_truth.class_index) if format not in ("coco", "jsonl", "yolo") else ():
        if not _read_again(categories.names[row], format):
            raise OutputError(f"{NAMES[format]} cannot hold the boxes of class {categories.ids[row]!r}, as its name "
                              f"{categories.names[row]!r} is empty; give it one")  # fmt: skip


def _ids_say_more_than_names(ground_truth: GroundTruth) -> bool:
    for id, file in zip(ground_truth.images.ids, ground_truth.images.files, strict=True):
        stem = without_ending(plain_path(file or str(id)))
        name = stem.rpartition("/")[2]
        if str(id) != stem and not (isinstance(id, int) and name.isdecimal() and int(name) == id):
            return True
    return False


def _lose(count: int) -> str:
    return f"{_boxes(count)} {'loses' if count == 1 else 'lose'}"


def _classes(count: int) -> str:
    return "1 class" if count == 1 else f"{count} classes"


def _boxes(count: int) -> str:
    return "1 box" if count == 1 else f"{count} boxes"
