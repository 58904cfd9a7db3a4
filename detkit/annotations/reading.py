"""`read_ground_truth` and `read_predictions`: any format in, the tables of `detkit.dataset` out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from detkit.annotations.alignment import match_classes, match_images
from detkit.annotations.building import Contents, note_odd_boxes
from detkit.annotations.coco_alignment import align_results
from detkit.annotations.formats import coco_json as coco
from detkit.annotations.problems import Problems
from detkit.annotations.recognition import FORMATS, recognise
from detkit.annotations.sizes import UNSIZED, Sizes
from detkit.annotations.text_files import paused_gc, read_bytes
from detkit.dataset import GroundTruth, Predictions
from detkit.errors import InputError, UsageError
from detkit.files import reason

PathLike = str | os.PathLike[str]


def read_ground_truth(
    path: PathLike,
    format: str | None = None,
    names: PathLike | Sequence[str] | None = None,
    images: PathLike | None = None,
) -> GroundTruth:
    """The annotations of a data set.

    path    a file, or a folder of files (VOC, YOLO, LabelMe, KITTI)
    format  one of `FORMATS`; None finds it from the content
    names   class names of ids 0, 1, 2 ... for YOLO, or a file of them; Open Images' table of labels
    images  a folder of pictures, or a CSV file with file,width,height: gives the sizes that the format does not hold,
            and for YOLO and Open Images also the images without boxes
    InputError, one line, where it cannot be read or holds detections instead.
    """
    path = Path(path)
    form = _format(path, format)
    problems = Problems(path)
    sizes = None if images is None else Sizes.read(Path(images))
    with paused_gc():
        if form == "coco" and coco.is_results(data := _data(path)):
            raise InputError(
                f"{path}: is a COCO results list (detections), not annotations; are the arguments swapped?"
            )
        contents = _contents(path, form, problems, names, sizes, data if form == "coco" else None)
        ground_truth = contents.ground_truth
        _need_sizes(path, contents, problems)
        scored = np.isfinite(contents.scores)
        if len(scored) and scored.all():
            raise InputError(
                f"{path}: all of its {len(scored)} boxes have scores, so these are detections, not annotations; "
                "are the arguments swapped?"
            )
        if scored.any():
            problems.add("annotations with a score, which is not used", f"row {np.argmax(scored)}", int(scored.sum()))
        if not len(ground_truth.images):
            problems.log()
            raise InputError(f"{path}: holds no images")
        if sizes is not None:
            ground_truth = _fill_sizes(ground_truth, sizes)
        note_odd_boxes(problems, ground_truth, "annotations")
        problems.log()
    return ground_truth


def read_predictions(
    path: PathLike,
    ground_truth: GroundTruth,
    format: str | None = None,
    names: PathLike | Sequence[str] | None = None,
    images: PathLike | None = None,
) -> Predictions:
    """The detections of a file or folder, in the rows of `ground_truth`, in the order of the file.

    Images are found by id or file name and classes by name or category id, as in the module `alignment`. Without
    names, YOLO's class k is the k-th class of the ground truth in the order of its ids. Sizes for formats that are
    relative to the image come from the ground truth, else from `images`, else from the detections' own folder.
    InputError, one line, where it cannot be read, where no image or no class is in common, or where it has no scores.
    """
    path = Path(path)
    form = _format(path, format)
    problems = Problems(path)
    with paused_gc():
        data = _data(path) if form == "coco" else None
        if data is not None and coco.is_results(data):
            results = coco.read_results(path, data, problems)
            predictions = align_results(path, results, ground_truth, problems)
        else:
            sizes = Sizes(ground_truth.images).and_then(None if images is None else Sizes.read(Path(images)))
            contents = _contents(path, form, problems, names, sizes, data, ground_truth)
            predictions = _aligned(path, contents, ground_truth, problems)
        odd = replace(
            ground_truth,
            image_index=predictions.image_index,
            class_index=predictions.class_index,
            boxes=predictions.boxes,
        )
        note_odd_boxes(problems, odd, "detections")
        problems.log()
    return predictions


def _format(path: Path, format: str | None) -> str:
    if format is None:
        return recognise(path)
    if format not in FORMATS:
        raise UsageError(f"there is no annotation format '{format}'; there are {', '.join(FORMATS)}")
    try:
        path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error
    return format


def _data(path: Path) -> bytes:
    return read_bytes(path)


def _contents(
    path: Path,
    form: str,
    problems: Problems,
    names: PathLike | Sequence[str] | None,
    sizes: Sizes | None,
    data: bytes | None,
    target: GroundTruth | None = None,
) -> Contents:
    """What `path` holds; `target` is the ground truth where detections are read."""
    if form == "coco":
        return coco.read_annotations(path, _data(path) if data is None else data, problems)
    if form == "voc":
        from detkit.annotations.formats.voc_xml import read_voc

        return read_voc(path, problems, sizes)
    if form == "labelme":
        from detkit.annotations.formats.labelme_json import read_labelme

        return read_labelme(path, problems)
    if form == "kitti":
        from detkit.annotations.formats.kitti_txt import read_kitti

        _need_folder(path, "KITTI")
        return read_kitti(path, problems, sizes)
    if form == "openimages":
        from detkit.annotations.formats.open_images_csv import read_open_images
        from detkit.annotations.name_files import read_labels

        if names is not None and not isinstance(names, str | os.PathLike):
            raise UsageError("Open Images' labels are named by a file of `label,name` lines")
        labels = {} if names is None else read_labels(Path(names))
        if sizes is None:
            raise InputError(f"{path}: Open Images CSV is relative to the image; name the folder of its images "
                             "or a CSV file of their sizes (--images)")  # fmt: skip
        return read_open_images(path, problems, sizes, labels, target is not None, target is None)
    if form == "yolo":
        from detkit.annotations.formats.yolo_txt import find_names, find_sizes, read_yolo

        _need_folder(path, "YOLO")
        own_sizes = find_sizes(path)
        sizes = own_sizes if sizes is None else sizes.and_then(own_sizes)
        if sizes is None:
            raise InputError(f"{path}: YOLO txt is relative to the image; name the folder of its images or a CSV file "
                             "of their sizes (--images), or put sizes.csv beside the labels")  # fmt: skip
        own_names = _names(names) or find_names(path) or _names_by_id(target, problems)
        return read_yolo(path, problems, own_names, sizes, target is None)
    default_names = _names(names) or _names_by_id(target)
    if form == "jsonl":
        from detkit.annotations.formats.json_lines import read_jsonl

        return read_jsonl(path, read_bytes(path), problems, default_names)
    from detkit.annotations.formats.csv_table import read_csv

    return read_csv(path, problems, default_names)


def _need_folder(path: Path, what: str) -> None:
    if not path.is_dir():
        raise InputError(f"{path}: {what} txt is read from a folder with one file for every image")


def _names(names: PathLike | Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return ()
    if isinstance(names, str | os.PathLike):
        from detkit.annotations.name_files import read_names

        return read_names(Path(names))
    return tuple(names)


def _names_by_id(target: GroundTruth | None, problems: Problems | None = None) -> tuple[str, ...]:
    """The classes of the ground truth in the order of their ids, which classes 0, 1, 2 ... then mean.

    Those of YOLO have these numbers themselves, and mean no other class after a gap.
    """
    if target is None:
        return ()
    table = target.categories
    order = sorted(range(len(table)), key=lambda k: (isinstance(table.ids[k], str), table.ids[k]))
    if target.source == "yolo":
        order = [row for number, row in enumerate(order) if table.ids[row] == number]
    names = tuple(table.names[k] for k in order)
    if problems is not None and names:
        problems.add("no class names found, so classes 0, 1, 2 ... are those of the ground truth in the order of "
                     "their ids", f"0 is '{names[0]}'")  # fmt: skip
    return names


def _aligned(path: Path, contents: Contents, target: GroundTruth, problems: Problems) -> Predictions:
    own = contents.ground_truth
    scores = contents.scores
    if len(scores) and not np.isfinite(scores).any():
        raise InputError(
            f"{path}: its {len(scores)} boxes have no scores, so these are annotations, not detections; "
            "are the arguments swapped?"
        )
    image_rows = match_images(path, own.images, target.images, problems)
    _need_sizes(path, contents, problems)
    used = np.bincount(own.class_index, minlength=len(own.categories))
    class_rows = match_classes(path, own.categories, used, target.categories, problems)
    image_index = image_rows[own.image_index]
    class_index = class_rows[own.class_index]
    scored = np.isfinite(scores)
    if not scored.all():
        problems.add("detections without a score, left out", f"row {np.argmin(scored)}", int((~scored).sum()))
    keep = (image_index >= 0) & (class_index >= 0) & scored
    return Predictions(image_index[keep], class_index[keep], own.boxes[keep], scores[keep])


def _need_sizes(path: Path, contents: Contents, problems: Problems) -> None:
    """InputError where there are boxes and all of them are left out for want of the sizes of their images."""
    count = problems.counts.get(UNSIZED, 0)
    if count and not len(contents.ground_truth):
        raise InputError(f"{path}: none of its {count} boxes can be used: the size of their image is not known (first: "
                         f"{problems.examples[UNSIZED]}); name the folder of the images or a CSV file of their sizes "
                         "(--images)")  # fmt: skip


def _fill_sizes(ground_truth: GroundTruth, sizes: Sizes) -> GroundTruth:
    images = ground_truth.images
    unknown = np.flatnonzero((images.widths <= 0) | (images.heights <= 0))
    if not len(unknown):
        return ground_truth
    widths, heights = images.widths.copy(), images.heights.copy()
    for row in unknown.tolist():
        widths[row], heights[row] = sizes(images.files[row] or str(images.ids[row]))
    return replace(ground_truth, images=replace(images, widths=widths, heights=heights))
