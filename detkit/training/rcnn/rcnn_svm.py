"""Training an R-CNN's SVMs and box regressors (Girshick et al. 2014, sections 2.3, appendices B and C).

    regions: annotated boxes and proposals -> features, kept on disk
    SVM of a class: its annotated boxes against proposals with IoU < 0.3, and rounds of hard negatives
    regressor of a class: proposals with IoU >= 0.6, ridge regression to the annotated boxes

Pictures held out calibrate the scores and give the figures at the end.
"""

from __future__ import annotations

import json
import logging
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import encode_offsets, iou
from detkit.detections import Detections
from detkit.detectors.rcnn.rcnn_detector import FeaturedRegions, classify_regions
from detkit.detectors.rcnn.rcnn_model import FeatureSettings, RcnnModel
from detkit.detectors.rcnn.region_features import RegionFeatures
from detkit.detectors.rcnn.region_proposals import ProposalSource
from detkit.detectors.selection import Selection
from detkit.errors import InputError, OutputError
from detkit.files import reason, write_atomically, write_bytes
from detkit.images import read_image
from detkit.training.pictures import AnnotatedPicture

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

# (width, height), boxes (N, 4), rows and grids of a picture's regions
Stored = tuple[tuple[int, int], Floats, NDArray[np.float16], NDArray[np.float16]]

logger = logging.getLogger("detkit")

_NORM = 20.0  # mean length of the features that SVMs and regressors are trained on, as in the authors' code
_OFFSET_FEATURE = 10.0  # the constant feature whose weight is the SVM's offset, as there
_MOST_NEGATIVES = 6000  # of a class, in memory at a time
_FEWEST_FOR_CALIBRATION = 20
_MARGINS_AT_A_TIME = 20_000


@dataclass(frozen=True)
class Settings:
    """How to train; overlaps are the paper's.

    negative_iou    proposals that overlap every object of a class less are its negatives
    regression_iou  proposals that overlap an object at least so much teach the regressor
    cost            C of the SVM; the authors' is 0.001
    positive_weight how many times a positive counts at least, as in the authors' code; where positives are fewer than a
                    twentieth of the negatives, together they count a tenth of them
    rounds          of hard negatives after the first training
    first_negatives random ones, of a class
    ridge           the regressor's penalty, 1000 in the paper; 0 trains no regressors
    seed            of the random negatives
    """

    negative_iou: float = 0.3
    regression_iou: float = 0.6
    cost: float = 1e-2
    positive_weight: float = 2.0
    rounds: int = 2
    first_negatives: int = 2000
    ridge: float = 100.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of P pictures with their features, N in all: of each picture its annotated boxes, then its proposals.

    picture   int64 (N,), falling nowhere
    boxes     float32 (N, 4) xyxy in pixels
    truth     bool (N,): whether the region is an annotated box
    rows      float16 (N, D), grids float16 (N, M): see `RegionFeatures`
    overlaps  float32 (N, C): IoU with the nearest object of each class, 0 where the picture has none
    nearest   int64 (N, C): which region that object is, -1 where there is none
    """

    picture: Indices
    boxes: Floats
    truth: NDArray[np.bool_]
    rows: NDArray[np.float16]
    grids: NDArray[np.float16]
    overlaps: Floats
    nearest: Indices


def cache_features(
    pictures: Sequence[AnnotatedPicture],
    features: RegionFeatures,
    propose: ProposalSource,
    folder: Path,
    settings: dict[str, Any],
    *,
    resume: bool,
    advance: Callable[[int], None] = lambda _: None,
) -> list[AnnotatedPicture]:
    """Write the features of every picture's regions into `folder`, one file a picture; returns the readable pictures.

    `settings` are what features depend on: with `resume`, files made with the same ones stay as they are. A picture
    that cannot be read is left out with a warning; InputError where none can.
    """
    about = folder / "settings.json"
    wanted = json.dumps(settings, sort_keys=True)
    if folder.exists() and not (resume and _text(about) == wanted):
        if resume:
            logger.warning("%s was made with other settings; beginning again", folder)
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {reason(error)}") from error
    write_bytes(about, wanted.encode())
    readable = []
    for picture in pictures:
        target = _file_of(folder, picture)
        try:
            if _load(target) is None:
                image = read_image(picture.path)
                proposed = propose(image, picture.path.as_posix()).boxes
                boxes = np.concatenate((picture.boxes, proposed)).astype(np.float32)
                rows, grids = features(image, boxes)
                with write_atomically(target) as file:
                    np.savez(
                        file,
                        size=np.array((image.shape[1], image.shape[0])),
                        boxes=boxes,
                        rows=rows.astype(np.float16),
                        grids=grids.astype(np.float16),
                    )
            readable.append(picture)
        except InputError as error:
            logger.warning("%s; left out", error)
        advance(1)
    if not readable:
        raise InputError("none of the annotated pictures can be read")
    return readable


def load_regions(pictures: Sequence[AnnotatedPicture], folder: Path, classes: int) -> Regions:
    """The regions of pictures whose features are in `folder`."""
    parts: list[tuple[Any, ...]] = []
    start = 0
    for number, picture in enumerate(pictures):
        _, boxes, rows, grids = _stored(folder, picture)
        objects = len(picture.boxes)
        overlaps = np.zeros((len(boxes), classes), np.float32)
        nearest = np.full((len(boxes), classes), -1, np.int64)
        overlap = iou(boxes, picture.boxes) if objects else np.zeros((len(boxes), 0), np.float32)
        for one in np.unique(picture.classes):
            own = np.flatnonzero(picture.classes == one)
            best = overlap[:, own].argmax(axis=1)
            overlaps[:, one] = overlap[np.arange(len(boxes)), own[best]]
            nearest[:, one] = own[best] + start
        parts.append(
            (np.full(len(boxes), number), boxes, np.arange(len(boxes)) < objects, rows, grids, overlaps, nearest)
        )
        start += len(boxes)
    return Regions(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def object_classes(pictures: Sequence[AnnotatedPicture], regions: Regions) -> Indices:
    """The class (N,) of each region that is an annotated box, -1 for proposals."""
    classes = np.full(len(regions.boxes), -1, np.int64)
    classes[regions.truth] = np.concatenate([picture.classes for picture in pictures])
    return classes


def train_svms(
    regions: Regions,
    classes: Indices,
    count: int,
    settings: Settings = Settings(),
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[Floats, Floats]:
    """Weights (C, D) and offsets (C,) of the SVMs of `count` classes; `classes` (N,) as `object_classes` gives them.

    A class without annotated boxes has weights 0 and the offset -1: it is never found.
    """
    features, scale = svm_features(regions)
    weights = np.zeros((count, len(scale)), np.float32)
    offsets = np.full(count, -1.0, np.float32)
    random = np.random.default_rng(settings.seed)
    proposals = np.flatnonzero(~regions.truth)
    positives = [np.flatnonzero(classes == one) for one in range(count)]
    negatives = [proposals[regions.overlaps[proposals, one] < settings.negative_iou] for one in range(count)]
    used = [_sample(random, candidates, settings.first_negatives) for candidates in negatives]
    for round_number in range(settings.rounds + 1):
        for one in range(count):
            if len(positives[one]) and len(used[one]):
                weights[one], offsets[one] = _fit_svm(features, positives[one], used[one], settings)
            advance(1)
        if round_number < settings.rounds:
            margins = _margins(features, weights, offsets)
            used = [
                hard_negatives(margins[:, one], negatives[one], used[one]) for one in range(count)
            ]  # fmt: skip
    return weights * scale, offsets


def svm_features(regions: Regions) -> tuple[NDArray[np.float16], Floats]:
    """What the SVMs are trained on, float16 (N, D + M), and the factors (D + M,) that bring features to it.

    Rows and grids beside each other, together as long as the authors' features on average; a departure from the paper,
    whose SVMs see fc7 alone: with few pictures, where in a region something lies tells parts from wholes.
    """
    lengths = (regions.rows.shape[1], regions.grids.shape[1])
    factors = np.array((_scale(regions.rows) / 2, _scale(regions.grids)), np.float32)
    parts = [part.astype(np.float32) * by for part, by in zip((regions.rows, regions.grids), factors, strict=True)]
    return np.concatenate(parts, axis=1).astype(np.float16), np.repeat(factors, lengths)


def hard_negatives(margins: Floats, candidates: Indices, used: Indices) -> Indices:
    """The negatives of the next round: those inside the margin, the worst first, with the used ones that still are.

    The SVM does not change when the others, which it has right by far, are left out (appendix B; Felzenszwalb et al.
    2010, section 4.4). `margins` are those of all regions; `candidates` and `used` are rows of them.
    """
    near = candidates[margins[candidates] > -1]
    worst = near[np.argsort(-margins[near], kind="stable")][:_MOST_NEGATIVES]
    kept = used[margins[used] > -1.2]  # a little outside: they come back otherwise
    return np.unique(np.concatenate((worst, kept if len(kept) + len(worst) else used)))


def train_regressors(
    regions: Regions,
    count: int,
    settings: Settings = Settings(),
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[Floats, Floats]:
    """Regressors (C, 4, M) and their offsets (C, 4): ridge regression of eqs. 5 to 9, for each class.

    A class without proposals that overlap its objects enough has regressors of 0: its boxes stay.
    """
    from sklearn.linear_model import Ridge

    scale = _scale(regions.grids)
    found = np.zeros((count, 4, regions.grids.shape[1]), np.float32)
    offsets = np.zeros((count, 4), np.float32)
    for one in range(count):
        rows = np.flatnonzero(~regions.truth & (regions.overlaps[:, one] >= settings.regression_iou))
        if len(rows) > 1:
            boxes = regions.boxes.astype(np.float64)
            targets = encode_offsets(boxes[rows], boxes[regions.nearest[rows, one]])
            fit = Ridge(alpha=settings.ridge).fit(regions.grids[rows].astype(np.float64) * scale, targets)
            found[one], offsets[one] = fit.coef_ * scale, fit.intercept_
        advance(1)
    return found, offsets


def calibrate(margins: Floats, overlaps: Floats) -> Floats:
    """Slope and offset (C, 2) of each class's probability, from margins and overlaps (N, C) of regions held out.

    Platt 1999: a logistic function of the margin, for an overlap of at least 0.5. Classes with few such regions share
    one that is fitted to those of all classes.
    """
    found = overlaps >= 0.5
    together = _platt(margins.ravel(), found.ravel()) if found.any() else (1.0, 0.0)
    fitted = []
    for one in range(margins.shape[1]):
        own = _platt(margins[:, one], found[:, one]) if found[:, one].sum() >= _FEWEST_FOR_CALIBRATION else together
        fitted.append(own if own[0] > 0 else together if together[0] > 0 else (1.0, 0.0))
    return np.array(fitted, np.float32).reshape(-1, 2)


def train_rcnn(
    learn: Sequence[AnnotatedPicture],
    held_out: Sequence[AnnotatedPicture],
    folder: Path,
    names: Sequence[str],
    features: FeatureSettings,
    settings: Settings = Settings(),
    notes: dict[str, Any] | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> RcnnModel:
    """The R-CNN of pictures whose features are in `folder`; `held_out` pictures calibrate it, or the same without."""
    count = len(names)
    regions = load_regions(learn, folder, count)
    weights, offsets = train_svms(regions, object_classes(learn, regions), count, settings, advance)
    if settings.ridge > 0:
        regressors, regressor_offsets = train_regressors(regions, count, settings, advance)
    else:
        regressors, regressor_offsets = np.zeros((count, 4, 0), np.float32), np.zeros((count, 4), np.float32)
    if held_out:
        regions = load_regions(held_out, folder, count)
    proposed = ~regions.truth
    margins = _margins(np.concatenate((regions.rows, regions.grids), axis=1)[proposed], weights, offsets)
    calibration = calibrate(margins, regions.overlaps[proposed])
    return RcnnModel(
        weights, offsets, regressors, regressor_offsets, calibration, tuple(names), features, notes or {}
    )  # fmt: skip


def detect_stored(
    model: RcnnModel, pictures: Sequence[AnnotatedPicture], folder: Path, *, bbox_regression: bool = True
) -> Iterator[Detections]:
    """What the R-CNN finds in pictures whose features are in `folder`, at any score."""
    selection = Selection(conf=0.01, max_det=100)
    for picture in pictures:
        size, boxes, rows, grids = _stored(folder, picture)
        proposed = slice(len(picture.boxes), None)
        row_part, grid_part = (part[proposed].astype(np.float32) for part in (rows, grids))
        regions = FeaturedRegions(boxes[proposed], row_part, grid_part, size)
        yield classify_regions(model, selection, regions, bbox_regression)


def _fit_svm(
    features: NDArray[np.float16], positives: Indices, negatives: Indices, settings: Settings
) -> tuple[Floats, float]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    chosen = np.concatenate((positives, negatives))
    weight = max(settings.positive_weight, len(negatives) / len(positives) / 10)
    svm = LinearSVC(
        C=settings.cost,
        loss="hinge",
        intercept_scaling=_OFFSET_FEATURE,
        class_weight={1: weight},
        random_state=settings.seed,
        tol=1e-2,
        max_iter=300,
    )
    with warnings.catch_warnings():
        # The last digits of the weights take many more steps and change no ranking.
        warnings.simplefilter("ignore", ConvergenceWarning)
        svm.fit(features[chosen].astype(np.float64), np.arange(len(chosen)) < len(positives))
    return svm.coef_[0].astype(np.float32), float(svm.intercept_[0])


def _margins(features: NDArray[np.float16], weights: Floats, offsets: Floats) -> Floats:
    margins = np.empty((len(features), len(weights)), np.float32)
    for start in range(0, len(features), _MARGINS_AT_A_TIME):
        part = slice(start, start + _MARGINS_AT_A_TIME)
        margins[part] = features[part].astype(np.float32) @ weights.T + offsets
    return margins


def _platt(margins: Floats, found: NDArray[np.bool_]) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    if found.all() or not found.any():
        return 1.0, 0.0
    fit = LogisticRegression(C=1e3).fit(margins[:, None], found)
    return float(fit.coef_[0, 0]), float(fit.intercept_[0])


def _scale(features: NDArray[np.float16]) -> float:
    """Factor that brings features to their mean length."""
    part = features[:: max(1, len(features) // 5000)].astype(np.float32)
    return _NORM / max(float(np.linalg.norm(part, axis=1).mean()), 1e-6)


def _sample(random: np.random.Generator, rows: Indices, count: int) -> Indices:
    return np.sort(random.choice(rows, count, replace=False)) if len(rows) > count else rows


def _file_of(folder: Path, picture: AnnotatedPicture) -> Path:
    return folder / f"{picture.row:07d}.npz"


def _stored(folder: Path, picture: AnnotatedPicture) -> Stored:
    path = _file_of(folder, picture)
    stored = _load(path)
    if stored is None:
        raise InputError(f"{path}: is damaged; train again without --resume")
    return stored


def _load(path: Path) -> Stored | None:
    """Size, boxes and features of a picture; None where the file is not there or not whole."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            width, height = stored["size"].tolist()
            return (width, height), stored["boxes"], stored["rows"], stored["grids"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
