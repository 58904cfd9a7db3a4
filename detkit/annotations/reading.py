"""`read_ground_truth` and `read_predictions`: any format in, the tables of `detkit.dataset` out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.alignment import match_classes, match_images
from detkit.annotations.building import Contents, note_odd_boxes
from detkit.annotations.format import Format, Request
from detkit.annotations.formats import find_format
from detkit.annotations.image_evidence import partners, sample
from detkit.annotations.layouts import check_shares, settled_boxes
from detkit.annotations.name_files import read_names
from detkit.annotations.problems import Problems
from detkit.annotations.recognition import recognise
from detkit.annotations.sizes import UNSIZED, Sizes
from detkit.annotations.text_files import paused_gc
from detkit.dataset import Categories, GroundTruth, Images, Predictions
from detkit.errors import InputError
from detkit.files import reason
from detkit.shapes.masks import Masks
from detkit.shapes.shape_columns import Shapes
from detkit.shapes.turned_boxes import area as quadrangle_area

PathLike = str | os.PathLike[str]

# From so many detections on it is odd that none, or so small a share of them, lies on objects of its class.
_ENOUGH = 20
_FEW = 0.05


def read_ground_truth(
    path: PathLike,
    format: str | None = None,
    names: PathLike | Sequence[str] | None = None,
    images: PathLike | None = None,
    shapes: str = "",
) -> GroundTruth:
    """The annotations of a data set.

    path    a file, or a folder of files (VOC, YOLO, LabelMe, KITTI)
    format  one of `FORMATS`; None finds it from the content
    names   class names of ids 0, 1, 2 ... for YOLO, or a file of them; Open Images' table of labels
    images  a folder of pictures, or a CSV file with file,width,height: gives the sizes that the format does not hold,
            and for YOLO and Open Images also the images without boxes
    shapes  what is wanted beside boxes where the format has it: "masks", "keypoints" or "corners"; "all" for each of
            them as the file has it, polygons as polygons
    InputError, one line, where it cannot be read or holds detections instead.
    """
    ground_truth = _read(path, format, names, images, shapes)
    if ground_truth.scores:
        raise InputError(
            f"{_split(path)[0]}: all of its {len(ground_truth)} boxes have scores, so these are detections, not "
            "annotations; are the arguments swapped?"
        )
    return ground_truth


def read_draft(
    path: PathLike,
    conf: float | None = None,
    format: str | None = None,
    names: PathLike | Sequence[str] | None = None,
    images: PathLike | None = None,
    shapes: str = "",
) -> GroundTruth:
    """Annotations as `read_ground_truth` reads them, or detections as a draft of some, with their `scores`.

    conf    of detections, those with a higher score; None takes all
    names   the classes, in order: those without a box are kept, too, where these are detections
    InputError as there, and where `conf` is given for boxes without scores.
    """
    table = _read(path, format, names, images, shapes)
    if len(table) and not table.scores:
        if conf is not None:
            raise InputError(f"{path}: its boxes have no scores, so there is nothing to choose by --conf")
        return table
    if conf is not None:
        table = table[np.array(table.scores, np.float64) > conf]
    if names is None:
        return table
    return _with_classes(table, read_names(Path(names)) if isinstance(names, str | os.PathLike) else names)


def _with_classes(table: GroundTruth, names: Sequence[str]) -> GroundTruth:
    """The same with all `names` as classes 0, 1, 2 ..., then those that are not among them."""
    own = table.categories.names
    every = tuple(dict.fromkeys((*names, *own)))
    rows = np.array([every.index(name) for name in own], np.int64)
    return replace(table, categories=Categories(every, tuple(range(len(every)))), class_index=rows[table.class_index])


def _read(
    path: PathLike,
    format: str | None = None,
    names: PathLike | Sequence[str] | None = None,
    images: PathLike | None = None,
    shapes: str = "",
) -> GroundTruth:
    """The boxes of a file, with their `scores` where all of them have one."""
    path, part = _split(path)
    form = _format(path, format)
    request = replace(_request(path, names, images), part=part, shapes=shapes)
    problems, sizes = request.problems, request.sizes
    with paused_gc():
        with _readable(path):
            contents = form.read(request)
        assert isinstance(contents, Contents)  # Predictions are read for a target only
        ground_truth = contents.ground_truth
        _need_sizes(path, contents, problems)
        _need_boxes(path, contents, problems)
        scored = np.isfinite(contents.scores)
        if len(scored) and scored.all():
            ground_truth = replace(ground_truth, scores=tuple(contents.scores.tolist()))
        elif scored.any():
            problems.add("annotations with a score, which is not used", f"row {np.argmax(scored)}", int(scored.sum()))
        if not len(ground_truth.images):
            problems.log()
            raise InputError(f"{path}: holds no images")
        if sizes is not None:
            ground_truth = _fill_sizes(ground_truth, sizes)
        if shapes == "masks" and ground_truth.shapes.polygons is not None:
            drawn = _drawn_shapes(path, ground_truth.shapes, ground_truth.images, ground_truth.image_index)
            ground_truth = replace(ground_truth, shapes=drawn)
        if "area" not in form.holds:
            ground_truth = replace(ground_truth, areas=_areas_of_shapes(ground_truth))
        check_shares(path, ground_truth.images, ground_truth.boxes)
        note_odd_boxes(problems, ground_truth.images, ground_truth, "annotations")
        problems.log()
    return ground_truth


def read_predictions(
    path: PathLike,
    ground_truth: GroundTruth,
    format: str | None = None,
    names: PathLike | Sequence[str] | None = None,
    images: PathLike | None = None,
    match: str = "auto",
    shapes: str = "",
) -> Predictions:
    """The detections of a file or folder, in the rows of `ground_truth`, in the order of the file.

    Images are found by id or file name and classes by name or category id, as in the module `alignment`. Without
    names, YOLO's class k is the k-th class of the ground truth in the order of its ids. Sizes for formats that are
    relative to the image come from the ground truth, else from `images`, else from the detections' own folder.
    `shapes` is what is wanted beside boxes, as in `read_ground_truth`.
    `match` says how the image ids of a COCO results list are meant: "id", "name" or "auto" (see `coco_alignment`).
    What can hardly be right is said: boxes that lie on no object, or on objects of other classes.
    InputError, one line, where it cannot be read, where no image or no class is in common, or where it has no scores.
    """
    path = Path(path)
    form = _format(path, format)
    request = replace(_request(path, names, images), target=ground_truth, match=match, shapes=shapes)
    problems = request.problems
    with paused_gc():
        with _readable(path):
            found = form.read(request)
        if isinstance(found, Contents):
            _need_boxes(path, found, problems)
        predictions = found if isinstance(found, Predictions) else _aligned(path, found, ground_truth, problems)
        predictions = _drawn(path, predictions, ground_truth, shapes)
        note_odd_boxes(problems, ground_truth.images, predictions, "detections")
        _note_scores(problems, predictions)
        _note_strangers(problems, ground_truth, predictions)
        problems.log()
    return predictions


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # a file or folder inside that may not be looked at
        raise InputError(f"{error.filename or path}: cannot be read: {reason(error)}") from error
    except MemoryError as error:
        raise InputError(f"{path}: needs more memory than there is; are the sizes in it right?") from error


def _split(path: PathLike) -> tuple[Path, str]:
    """The file and the split that is asked for behind a "#", where no file has that name."""
    whole = Path(path)
    name, mark, part = whole.name.rpartition("#")
    return (whole.with_name(name), part) if mark and name and not whole.exists() else (whole, "")


def _format(path: Path, format: str | None) -> Format:
    if format is None:
        with _readable(path):
            return find_format(recognise(path))
    form = find_format(format)
    try:
        path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error
    return form


def _request(path: Path, names: PathLike | Sequence[str] | None, images: PathLike | None) -> Request:
    given = Path(names) if isinstance(names, str | os.PathLike) else None if names is None else tuple(names)
    return Request(path, Problems(path), given, None if images is None else Path(images))


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
    return settled_boxes(
        path, Predictions(image_index, class_index, own.boxes, scores, own.shapes)[keep], target, problems
    )


def _drawn_shapes(path: Path, shapes: Shapes, images: Images, image_index: NDArray[np.int64]) -> Shapes:
    sizes = np.stack((images.heights, images.widths), axis=1)[image_index]
    try:
        return shapes.drawn(sizes)
    except InputError as error:
        hint = "; name the folder of the images (--images)" if (sizes <= 0).any() else ""
        raise InputError(f"{path}: {error}{hint}") from error


def _areas_of_shapes(table: GroundTruth) -> NDArray[np.float64]:
    """The areas of masks, of polygons as they are drawn, of turned boxes, else of boxes: for formats without areas."""
    areas, shapes = table.areas.copy(), table.shapes
    rows = np.flatnonzero(shapes.has("corners", len(table)))
    if shapes.corners is not None:
        areas[rows] = quadrangle_area(shapes.corners[rows])
    if shapes.polygons is not None:
        sizes = np.stack((table.images.heights, table.images.widths), axis=1)[table.image_index]
        rows = np.flatnonzero((shapes.polygons.counts > 0) & (sizes > 0).all(axis=1))
        areas[rows] = Masks.drawn(shapes.polygons[rows], sizes[rows]).areas
    if shapes.masks is not None:
        rows = np.flatnonzero(shapes.masks.areas > 0)
        areas[rows] = shapes.masks.areas[rows]
    return areas


def _drawn(path: Path, found: Predictions, target: GroundTruth, wanted: str) -> Predictions:
    """The same with masks in place of polygons, drawn in the pictures of the ground truth."""
    if wanted != "masks" or found.shapes.polygons is None:
        return found
    return replace(found, shapes=_drawn_shapes(path, found.shapes, target.images, found.image_index))


def _note_scores(problems: Problems, found: Predictions) -> None:
    """Say where scores are no shares: another column, or percent, may have been read."""
    odd = (found.scores > 1) | (found.scores < 0)
    if odd.any():
        row = int(np.argmax(odd))
        problems.add("scores above 1 or below 0, ranked as they stand: are they scores?", f"{found.scores[row]:g}",
                     int(odd.sum()))  # fmt: skip


def _note_strangers(problems: Problems, target: GroundTruth, found: Predictions) -> None:
    """Say where so few detections lie on objects, or on objects of their class, that ids or names must be wrong."""
    some = sample(len(found), found.scores)
    partner = partners(target, found.image_index[some], found.boxes[some])
    on = partner >= 0
    if len(some) >= _ENOUGH and not on.any():
        first = int(some[0])
        image = int(found.image_index[first])
        box = ", ".join(f"{value:g}" for value in found.boxes[first])
        problems.add("detections looked at, none of which lies on an object of its picture: are the images, and the "
                     "layout of the boxes, those of the ground truth?",
                     f"{box} in {target.images.files[image] or target.images.ids[image]}", len(some))  # fmt: skip
        return
    same = target.class_index[partner[on]] == found.class_index[some[on]]
    if len(same) >= _ENOUGH and same.mean() < _FEW:
        names, row = target.categories.names, int(np.argmin(same))
        own, there = found.class_index[some[on]][row], target.class_index[partner[on]][row]
        problems.add("detections that lie on objects, but on those of other classes: are the class names, or their "
                     "order, those of the ground truth?", f"'{names[own]}' on '{names[there]}'",
                     int((~same).sum()))  # fmt: skip


def _need_sizes(path: Path, contents: Contents, problems: Problems) -> None:
    """InputError where there are boxes and all of them are left out for want of the sizes of their images."""
    count = problems.counts.get(UNSIZED, 0)
    if count and not len(contents.ground_truth):
        raise InputError(f"{path}: none of its {count} boxes can be used: the size of their image is not known (first: "
                         f"{problems.examples[UNSIZED]}); name the folder of the images or a CSV file of their sizes "
                         "(--images)")  # fmt: skip


def _need_boxes(path: Path, contents: Contents, problems: Problems) -> None:
    """InputError where something was left out and nothing is there: as if there were no objects."""
    table = contents.ground_truth
    if len(table.images) and not len(table) and problems.lost and UNSIZED not in problems.counts:
        raise InputError(f"{path}: none of its boxes can be read: {problems.lost}")


def _fill_sizes(ground_truth: GroundTruth, sizes: Sizes) -> GroundTruth:
    images = ground_truth.images
    unknown = np.flatnonzero((images.widths <= 0) | (images.heights <= 0))
    if not len(unknown):
        return ground_truth
    widths, heights = images.widths.copy(), images.heights.copy()
    for row in unknown.tolist():
        widths[row], heights[row] = sizes(images.files[row] or str(images.ids[row]))
    return replace(ground_truth, images=replace(images, widths=widths, heights=heights))
