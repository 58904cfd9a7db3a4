"""`write_ground_truth`: the tables in any format, and in words what the format could not hold."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from detkit.annotations.by_picture import corners_of
from detkit.annotations.fitting import fitted, shape_losses
from detkit.annotations.format import FLAGS, Format
from detkit.annotations.formats import find_format, format_of
from detkit.annotations.problems import boxes_text, quoted
from detkit.dataset import GroundTruth
from detkit.errors import OutputError
from detkit.files import reason, write_bytes
from detkit.picture_names import plain_path, without_ending

_FLAG_NAMES = {"crowd": "crowd or group"}
# Flags without which a box counts like any other.
_COUNTING_FLAGS = ("crowd", "difficult", "ignore")


def write_ground_truth(
    ground_truth: GroundTruth,
    path: str | os.PathLike[str],
    format: str,
    images: str | os.PathLike[str] | None = None,
) -> list[str]:
    """Write annotations and say what was lost, one sentence each; shapes take the form that `fitted` gives them.

    path    the file; for a format of one file a picture (VOC, YOLO, LabelMe, KITTI) a folder, which must be new or
            empty
    format  one of `FORMATS`
    images  the folder of the pictures, which a format that names them from where its files lie (LabelMe) then does
    OutputError where it cannot be written, where a class has no name and the format goes by names, or where the format
    needs image sizes that are not known.
    """
    try:
        return _write(ground_truth, Path(path), find_format(format), images)
    except MemoryError as error:
        raise OutputError(f"{path}: needs more memory than there is; are the sizes of the pictures right?") from error


def _write(ground_truth: GroundTruth, path: Path, form: Format, images: str | os.PathLike[str] | None) -> list[str]:
    _check_class_names(ground_truth, form)
    made = fitted(ground_truth, form)
    lost = [*made.lost, *losses(ground_truth, form.name)]
    ground_truth = made.ground_truth
    if not form.folder:
        if os.path.isdir(path):
            raise OutputError(f"{path}: is a folder; {form.title} is one file, give its name")
        further = path.with_suffix("")
        if form.beside:
            if further == path:
                raise OutputError(f"{path}: has no ending; {form.title} writes a folder of that name beside its file")
            _make_empty(further, form)
        for name, content in form.write(ground_truth):
            write_bytes(further / name if name else path, content)
        return lost
    _check_empty(path, form)
    if images is not None and os.path.isdir(images):
        form = replace(form, pictures=Path(os.path.relpath(images, path)).as_posix())
    files = dict(form.write(ground_truth))
    _make_empty(path, form)
    for name, content in files.items():
        write_bytes(path / name, content)
    return lost


def _check_empty(path: Path, form: Format) -> None:
    is_folder = os.path.isdir(path)
    if os.path.exists(path) and (not is_folder or any(path.iterdir())):
        what = "is not empty" if is_folder else "is a file"
        raise OutputError(f"{path}: {what}; {form.title} is a folder of files, give a new or empty one")


def _make_empty(path: Path, form: Format) -> None:
    _check_empty(path, form)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error


def losses(ground_truth: GroundTruth, format: str) -> list[str]:
    """What `format` cannot hold of this ground truth, one sentence each; an empty list where all survives."""
    form = find_format(format)
    said = [*shape_losses(ground_truth, form), *_flag_losses(ground_truth, form), *form.losses(ground_truth)]
    said += _class_name_losses(ground_truth, form)
    if ground_truth.scores and "scores" not in form.holds:
        said.append(f"{form.title} has no score of an annotation: that of {boxes_text(len(ground_truth))} is lost.")
    said += [*_box_losses(ground_truth, form), *_table_losses(ground_truth, form)]
    if ground_truth.unread:
        counts = ", ".join(f"{what} ({count})" for what, count in ground_truth.unread.items())
        said.append(f"what else the file holds is not read: {counts}.")
    return said


def _flag_losses(ground_truth: GroundTruth, form: Format) -> list[str]:
    said = []
    for key in FLAGS:
        count = int(getattr(ground_truth, key).sum())
        if count and key not in form.holds:
            after = ""
            if key in _COUNTING_FLAGS:
                after = " and counts like any other box" if count == 1 else " and count like any other box"
            said.append(f"{form.title} has no {_FLAG_NAMES.get(key, key)} flag: {_lose(count)} it{after}.")
    return said


def _box_losses(ground_truth: GroundTruth, form: Format) -> list[str]:
    said: list[str] = []
    products = ground_truth.boxes[:, 2] * ground_truth.boxes[:, 3]
    differ = np.abs(ground_truth.areas - products) > 1e-3 * np.abs(products) + 0.01
    for column in ("masks", "polygons", "corners"):  # whose areas are theirs
        if column in form.holds:
            differ &= ~ground_truth.shapes.has(column, len(ground_truth))
    own = int(differ.sum())
    if own and "area" not in form.holds:
        said.append(f"{form.title} has no area: {_lose(own)} one that is not width * height (of a mask), "
                    "which changes what counts as small, medium and large.")  # fmt: skip
    turned = int((ground_truth.boxes[:, 2:] < 0).any(axis=1).sum())
    if turned and "negative sizes" not in form.holds:
        said.append(f"{form.title} stores corners: {boxes_text(turned)} with a negative width or height turned over.")
    if "boxes beyond the image" not in form.holds:
        corners = corners_of(ground_truth)
        limits = np.stack((ground_truth.images.widths, ground_truth.images.heights), axis=1)[ground_truth.image_index]
        out = int(((corners[:, :2] < 0) | (corners[:, 2:] > limits + 1e-6)).any(axis=1).sum())
        if out:
            said.append(
                f"{form.title} goes from 0 to 1: {boxes_text(out)} reaching out of the image cut at its border."
            )
    return said


def _table_losses(ground_truth: GroundTruth, form: Format) -> list[str]:
    images, categories, holds, title = ground_truth.images, ground_truth.categories, form.holds, form.title
    said: list[str] = []
    empty = len(images) - len(np.unique(ground_truth.image_index))
    if empty and "images without boxes" not in holds:
        said.append(f"{title} lists boxes only: {empty} of {len(images)} images have none and are lost.")
    if "sizes" not in holds and (images.widths > 0).any():
        said.append(f"{title} does not hold the sizes of the images.")
    unused = len(categories) - len(np.unique(ground_truth.class_index))
    if unused and "classes without boxes" not in holds:
        said.append(f"{title} has no table of classes: {unused} of {len(categories)} have no box and are lost.")
    own_ids = categories.given or format_of(ground_truth.source).class_ids in ("own", "labels")
    if own_ids and "category ids" not in holds:
        said.append(f"{title} names classes without COCO's ids: the category ids are lost.")
    if "image ids" not in holds and _ids_say_more_than_names(ground_truth):
        said.append(f"{title} names images by their files: the image ids are lost.")
    if "box ids" not in holds and not ground_truth.has_running_ids:
        said.append(f"{title} has no ids of boxes: they are lost.")
    return said


def _class_name_losses(ground_truth: GroundTruth, form: Format) -> list[str]:
    said: list[str] = []
    written = [ground_truth.categories.names[k] for k in np.unique(ground_truth.class_index)]
    read = list(map(form.class_name, written))
    changed = [(old, new) for old, new in zip(written, read, strict=True) if old != new]
    if changed:
        old, new = changed[0]
        count = "1 class" if len(changed) == 1 else f"{len(changed)} classes"
        said.append(f"{form.title} {form.renamed.format(changed=f'{count} changed ({old!r} is {new!r})')}")
    twice = {name: count for name, count in Counter(read).items() if count > 1}
    if twice and "equal class names" not in form.holds:
        said.append(f"{form.title} tells classes apart by their names: {sum(twice.values())} classes become "
                    f"{len(twice)} ({quoted(twice)}).")  # fmt: skip
    return said


def _check_class_names(ground_truth: GroundTruth, form: Format) -> None:
    if "empty class names" in form.holds:
        return
    categories = ground_truth.categories
    for row in np.unique(ground_truth.class_index):
        if not form.class_name(categories.names[row]):
            raise OutputError(f"{form.title} cannot hold the boxes of class {categories.ids[row]!r}, as its name "
                              f"{categories.names[row]!r} is empty; give it one")  # fmt: skip


def _ids_say_more_than_names(ground_truth: GroundTruth) -> bool:
    for id, file in zip(ground_truth.images.ids, ground_truth.images.files, strict=True):
        stem = without_ending(plain_path(file or str(id)))
        name = stem.rpartition("/")[2]
        if str(id) != stem and not (isinstance(id, int) and name.isdecimal() and int(name) == id):
            return True
    return False


def _lose(count: int) -> str:
    return f"{boxes_text(count)} {'loses' if count == 1 else 'lose'}"
