"""Training a HOG detector: crops of the object, pictures without it, and rounds of hard negatives.

Dalal and Triggs 2005, section 4: a classifier trained on random windows searches the pictures for what it takes for
the object and is not; those windows join the negatives and it is trained again. A part of the pictures is held out:
it gives the figures of every round, and at the end the calibration of the scores.
"""

from __future__ import annotations

import difflib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.boxes import iou, xywh_to_xyxy
from detkit.classes import classes_called
from detkit.dataset import GroundTruth
from detkit.detectors.hog.hog_detector import HogDetector, HogOptions, compute
from detkit.detectors.hog.hog_model import HogModel, HogParameters
from detkit.detectors.selection import Selection
from detkit.detectors.windows.grouping import group
from detkit.errors import InputError, UsageError
from detkit.graphs.runtime import Runtime
from detkit.images import Image, read_image
from detkit.picture_names import is_picture
from detkit.training.hog_windows import Fit, advice, in_the_middle, shaped, whole_boxes

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Classifier = Literal["svm", "mlp"]
CLASSIFIERS: tuple[Classifier, ...] = get_args(Classifier)

logger = logging.getLogger("detkit")
_NO_BOXES, _NO_FLAGS = np.zeros((0, 4)), np.zeros(0, bool)

_FOLDS = 3
_MOST_FOR_C = 6000  # windows that choose C
_FALSE_ALARMS = 1e-4  # per window: where Dalal and Triggs read the miss rate


@dataclass(frozen=True)
class Settings:
    """How to train; the defaults are those of the bundled person detector.

    classifier   "svm" (LinearSVC) or "mlp" (MLPClassifier with `hidden` units in one layer)
    costs        values of C (svm) that cross-validation chooses from
    rounds       of hard-negative mining after the first training
    negatives    random windows of the first training, in all
    hard         hard negatives that one picture may give in a round, and `most_hard` there may be in all
    held_out     share of the pictures that only measure
    aspect       how many times wider or narrower than the object box an annotated box may be
    covered      part of an annotated box that another box of the class may cover
    smallest     height of the smallest annotated object, as a part of the object box
    overlap      IoU with an object above which a window is no negative
    factor, stride   of the pyramid and the windows when mining
    """

    classifier: Classifier = "svm"
    hidden: int = 16
    costs: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1)
    rounds: int = 3
    negatives: int = 8000
    hard: int = 4
    most_hard: int = 16000
    held_out: float = 0.15
    aspect: float = 1.4
    covered: float = 0.5
    smallest: float = 0.6
    overlap: float = 0.3
    factor: float = 1.15
    stride: tuple[int, int] = (8, 8)
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        if self.classifier not in CLASSIFIERS:
            raise UsageError(f"classifier {self.classifier!r} is not known; there are {', '.join(CLASSIFIERS)}")
        if self.rounds < 0 or self.negatives < 1 or self.hidden < 1 or self.hard < 1:
            raise UsageError("rounds must be 0 or more; negatives, hidden units and hard negatives 1 or more")
        if not 0 < self.held_out < 1:
            raise UsageError(f"the held-out share lies between 0 and 1, got {self.held_out:g}")
        if not self.costs or not all(0 < cost < float("inf") for cost in self.costs):
            raise UsageError("C must be a number above 0")


@dataclass(frozen=True)
class Scene:
    """A picture that negatives are taken from, and the boxes (N, 4) xyxy in it that are no negatives."""

    path: Path
    objects: Doubles = field(default_factory=lambda: np.zeros((0, 4)))


@dataclass(frozen=True)
class Samples:
    """What a detector is trained on: windows that show the object, and pictures to search.

    windows   descriptors (N, length) of the object, mirrored copies not included; `owners` (N,), the row of `scenes`
              that each was cut from, or -1 - k for the k-th picture of a folder of crops
    mirrored  descriptors of the mirrored windows
    """

    windows: Floats
    mirrored: Floats
    owners: NDArray[np.int64]
    scenes: tuple[Scene, ...]


@dataclass(frozen=True)
class Round:
    """Figures of one training, on the held-out pictures: `number` 0 is before any hard negative.

    miss_rate   of held-out objects at 1e-4 false alarms per window
    precision   average precision of held-out objects among all held-out windows
    """

    number: int
    positives: int
    negatives: int
    cost: float
    miss_rate: float
    precision: float


Report = Callable[[Round], None]


def samples_from_folders(positives: str | Path, negatives: str | Path, parameters: HogParameters) -> Samples:
    """Crops of the object, each brought to the size of the window, and pictures without it; folders are recursive.

    A picture that cannot be read is left out with a warning. InputError where a folder holds none that can: a
    classifier of one class only cannot be trained.
    """
    crops = _pictures(positives, "positives")
    pictures = _pictures(negatives, "negatives")
    windows, mirrored = [], []
    for path in crops:
        image = _readable(path)
        if image is None:
            continue
        crop: Any = cv2.resize(image, parameters.window, interpolation=cv2.INTER_AREA)
        windows.append(compute(crop, parameters)[0, 0])
        mirrored.append(compute(crop[:, ::-1].copy(), parameters)[0, 0])
    scenes = tuple(Scene(path) for path in pictures if _readable(path) is not None)
    if not windows or not scenes:
        raise InputError(f"{positives if not windows else negatives}: none of its pictures can be read")
    return Samples(np.array(windows), np.array(mirrored), -1 - np.arange(len(windows), dtype=np.int64), scenes)


def samples_from_annotations(
    ground_truth: GroundTruth,
    images: str | Path,
    name: str,
    parameters: HogParameters,
    object_box: tuple[float, float, float, float],
    settings: Settings,
) -> Samples:
    """The boxes of one class, cut out so that they fill `object_box` of the window, and all pictures as scenes.

    Left out as positives are crowds, ignored and difficult boxes, those cut by the border of the picture, and those
    whose aspect or size `settings` excludes; none of them gives negatives either. A picture that cannot be read is left
    out with a warning, and a warning says where few boxes suit the window. InputError where nothing is left.
    """
    wanted = np.isin(ground_truth.class_index, _classes_called(name, ground_truth.categories.names))
    windows: list[Floats] = []
    mirrored: list[Floats] = []
    owners: list[int] = []
    scenes: list[Scene] = []
    table = ground_truth.images
    if len(table) == 0:
        raise InputError("the annotations name no pictures")
    fit = Fit(settings.aspect, settings.smallest, settings.covered)
    seen: list[tuple[Doubles, NDArray[np.bool_]]] = []
    usable = ~(ground_truth.crowd | ground_truth.ignore | ground_truth.difficult)
    for row, (file, rows) in enumerate(zip(table.files, ground_truth.rows_by_image(), strict=True)):
        path = Path(images) / (file or f"{table.ids[row]}.jpg")
        here = rows[wanted[rows]]
        boxes = xywh_to_xyxy(ground_truth.boxes[here]).astype(np.float64)
        image = _readable(path)
        if image is None:
            continue
        size = (image.shape[1], image.shape[0])
        whole = usable[here] & whole_boxes(boxes, size, settings.covered)
        seen.append((boxes, whole))
        for box in boxes[whole & shaped(boxes, object_box, fit)]:
            for flipped, into in ((False, windows), (True, mirrored)):
                into.append(_object_descriptor(image, box, parameters, object_box, flipped))
            owners.append(len(scenes))
        scenes.append(Scene(path, boxes))
    every, whole = (np.concatenate(column) for column in zip(*seen, strict=True)) if seen else (_NO_BOXES, _NO_FLAGS)
    said = advice(every, whole, len(windows), parameters, fit)
    if not windows:
        raise InputError(
            f"no box of class {name!r} is large, upright and whole enough for a window of "
            f"{parameters.window[0]} x {parameters.window[1]}: there is nothing to train on"
            f"{'; ' + said if 'would use' in said else ''}"
        )
    if said:
        logger.warning("class %r: %s", name, said)
    return Samples(np.array(windows), np.array(mirrored), np.array(owners, np.int64), tuple(scenes))


def train(
    samples: Samples,
    parameters: HogParameters,
    name: str,
    object_box: tuple[float, float, float, float] | None = None,
    settings: Settings | None = None,
    report: Report = lambda _: None,
) -> HogModel:
    """A calibrated model; `report` gets the figures of every round as it ends."""
    settings = settings or Settings()
    random = np.random.default_rng(settings.seed)
    if len(samples.windows) < 2 * _FOLDS:
        raise InputError(
            f"{len(samples.windows)} crops of the object are too few: at least {2 * _FOLDS} are needed, of annotated "
            "boxes those that are whole, large and as wide for their height as the window's object (--aspect)"
        )
    held_scenes, held_windows = _held_out(samples, settings.held_out, random)
    seen = [scene for scene, held in zip(samples.scenes, held_scenes, strict=True) if not held]
    unseen = [scene for scene, held in zip(samples.scenes, held_scenes, strict=True) if held]
    positives = np.concatenate((samples.windows[~held_windows], samples.mirrored[~held_windows]))
    negatives = _random_negatives(seen, parameters, settings, random)
    if len(negatives) == 0:
        raise InputError("no window without the object was found in the pictures: one class only cannot be trained")
    cost = _best_cost(positives, negatives, settings, random)
    model = _fit(positives, negatives, cost, parameters, name, object_box, settings)
    figures = _measure(model, samples.windows[held_windows], unseen, settings)
    report(Round(0, len(positives), len(negatives), cost, *figures))
    random_ones, hard = negatives, negatives[:0]
    for number in range(1, settings.rounds + 1):
        found = _hard_negatives(model, seen, settings)
        if len(found) == 0:
            logger.info("round %d: no hard negative is left", number)
            break
        # The random ones stay: without them, easy windows would drift to the side of the objects.
        hard = _hardest(np.concatenate((hard, found)), model, settings.most_hard)
        negatives = np.concatenate((random_ones, hard))
        model = _fit(positives, negatives, cost, parameters, name, object_box, settings)
        figures = _measure(model, samples.windows[held_windows], unseen, settings)
        report(Round(number, len(positives), len(negatives), cost, *figures))
    return calibrate(model, samples.windows[held_windows], unseen, settings)


def calibrate(model: HogModel, objects: Floats, scenes: Sequence[Scene], settings: Settings) -> HogModel:
    """`model` with the probability of its margins (Platt 1999): objects against false alarms of the same pictures.

    objects   descriptors (N, length) of held-out objects
    scenes    held-out pictures; their false alarms are the windows that would be reported at a low threshold

    The slope and offset are those of a logistic regression of "is an object" on the margin.
    """
    from sklearn.linear_model import LogisticRegression

    raw = replace(model, calibration=(1.0, 0.0))
    false = [margins for _, _, margins in _false_windows(raw, scenes, settings, lowest=-2.0, most=50)]
    margins = np.concatenate((raw.margins(objects), *false)).astype(np.float64)
    truth = np.arange(len(margins)) < len(objects)
    if truth.all():
        logger.warning("no false alarm was found to calibrate with: probabilities are the logistic of the margin")
        return raw
    regression = LogisticRegression(C=1e6).fit(margins[:, None], truth)
    slope = float(regression.coef_[0, 0])
    if not slope > 0:
        logger.warning("the margins do not tell objects from false alarms: probabilities are not calibrated")
        return raw
    return replace(model, calibration=(slope, float(regression.intercept_[0])))


def default_object_box(parameters: HogParameters) -> tuple[float, float, float, float]:
    """Where the object lies where nothing else is said; see `hog_windows.in_the_middle`."""
    return in_the_middle(parameters.window)


def centred(size: tuple[int, int], parameters: HogParameters) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 of an object of `size` (width, height) in the middle of the window. UsageError if it is larger."""
    width, height = parameters.window
    if size[0] > width or size[1] > height:
        raise UsageError(f"an object of {size[0]} x {size[1]} does not fit into a window of {width} x {height}")
    left, top = (width - size[0]) / 2, (height - size[1]) / 2
    return left, top, left + size[0], top + size[1]


def _pictures(folder: str | Path, what: str) -> list[Path]:
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{folder}: is not a folder of pictures ({what})")
    found = sorted(path for path in root.rglob("*") if is_picture(path) and path.is_file())
    if not found:
        raise InputError(f"{folder}: holds no pictures: training needs {what} too, one class only teaches nothing")
    return found


def _readable(path: Path) -> Image | None:
    """The picture in a file; None, and a warning, where it cannot be read."""
    try:
        return read_image(path)
    except InputError as error:
        logger.warning("%s; left out", error)
        return None


def _classes_called(name: str, names: Sequence[str]) -> list[int]:
    """The classes of this name, else those that differ in case only. InputError names the nearest."""
    found = classes_called(name, names)
    if not found:
        near = difflib.get_close_matches(name, names, n=5) or sorted(names)[:10]
        shown = ", ".join(near) + (", ..." if len(names) > len(near) else "")
        raise InputError(f"the annotations hold no class {name!r}; there are {shown}")
    return found


def _object_descriptor(
    image: Image,
    box: Doubles,
    parameters: HogParameters,
    object_box: tuple[float, float, float, float],
    flipped: bool,
) -> Floats:
    """The window whose object box has the height and the centre of `box`, with real pixels around it."""
    scale = (box[3] - box[1]) / (object_box[3] - object_box[1])  # picture pixels for one window pixel
    margin = parameters.block_stride
    centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    middle = ((object_box[0] + object_box[2]) / 2, (object_box[1] + object_box[3]) / 2)
    left, top = (centre[axis] - (middle[axis] + margin[axis]) * scale for axis in (0, 1))
    size = (parameters.window[0] + 2 * margin[0], parameters.window[1] + 2 * margin[1])
    # Pixel centres lie at +0.5: column c of the crop shows picture column left + (c + 0.5) * scale - 0.5.
    matrix = np.array([[scale, 0, left + scale / 2 - 0.5], [0, scale, top + scale / 2 - 0.5]])
    crop = cv2.warpAffine(
        image,
        matrix,
        size,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    if flipped:
        crop = crop[:, ::-1].copy()
    return compute(np.asarray(crop, np.uint8), parameters, stride=margin)[1, 1]


def _held_out(
    samples: Samples, share: float, random: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Scenes and windows to measure with: whole pictures, so that no picture is on both sides."""
    scenes = _share(len(samples.scenes), share, random)
    owners = samples.owners
    if (owners < 0).all():  # folders of crops: neighbours in the folder often show the same object
        return scenes, _share(len(owners), share, random)
    windows = scenes[owners]
    if windows.all() or not windows.any():  # few pictures have objects: their share is drawn among them
        with_objects = np.unique(owners)
        if len(with_objects) < 2:
            raise InputError("the objects are all in one picture: some must be held out, and some left to train on")
        scenes[with_objects] = _share(len(with_objects), share, random)
        windows = scenes[owners]
    return scenes, windows


def _share(count: int, share: float, random: np.random.Generator) -> NDArray[np.bool_]:
    if count < 2:
        raise InputError("at least two pictures are needed on each side: one is held out to measure with")
    chosen = np.zeros(count, bool)
    chosen[random.permutation(count)[: min(count - 1, max(1, round(count * share)))]] = True
    return chosen


def _random_negatives(
    scenes: Sequence[Scene], parameters: HogParameters, settings: Settings, random: np.random.Generator
) -> Floats:
    """Descriptors of windows at random places and scales that touch no object."""
    each = -(-settings.negatives // max(1, len(scenes)))
    found = [np.zeros((0, parameters.descriptor_length), np.float32)]
    for scene in scenes:
        image = read_image(scene.path)
        largest = min(image.shape[1] / parameters.window[0], image.shape[0] / parameters.window[1])
        if largest < 1:
            continue
        corners, sizes = [], []
        for _ in range(each):
            scale = largest ** random.random()
            size = np.array(parameters.window) * scale
            corners.append(random.random(2) * (np.array([image.shape[1], image.shape[0]]) - size))
            sizes.append(size)
        boxes = np.concatenate((corners, np.add(corners, sizes)), axis=1)
        found.append(_descriptors(image, boxes[_free(boxes, scene, settings.overlap)], parameters))
    return np.concatenate(found)


def _free(boxes: NDArray[Any], scene: Scene, overlap: float) -> NDArray[np.bool_]:
    """Which boxes overlap no object of the scene."""
    if len(scene.objects) == 0:
        return np.ones(len(boxes), bool)
    return np.asarray((iou(boxes.astype(np.float64), scene.objects) <= overlap).all(axis=1))


def _descriptors(image: Image, boxes: NDArray[Any], parameters: HogParameters) -> Floats:
    whole = (0.0, 0.0, float(parameters.window[0]), float(parameters.window[1]))
    rows = [_object_descriptor(image, box, parameters, whole, flipped=False) for box in boxes]
    return np.array(rows, np.float32).reshape(-1, parameters.descriptor_length)


def _best_cost(positives: Floats, negatives: Floats, settings: Settings, random: np.random.Generator) -> float:
    """The C with the best average precision in cross-validation; an MLP has none and takes the first."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    if settings.classifier == "mlp" or len(settings.costs) == 1:
        return settings.costs[0]
    features, truth = _stacked(positives, negatives)
    if len(truth) > _MOST_FOR_C:
        chosen = random.permutation(len(truth))[:_MOST_FOR_C]
        features, truth = features[chosen], truth[chosen]
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=settings.seed)
    precision = {}
    for cost in settings.costs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores = cross_val_score(_svm(cost, settings), features, truth, cv=folds, scoring="average_precision")
        precision[cost] = float(scores.mean())
        logger.info("C = %g: average precision %.4f over %d folds", cost, precision[cost], _FOLDS)
    return max(precision, key=lambda cost: precision[cost])


def _stacked(positives: Floats, negatives: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    features = np.concatenate((positives, negatives))
    return features, np.arange(len(features)) < len(positives)


def _svm(cost: float, settings: Settings) -> Any:
    from sklearn.svm import LinearSVC

    return LinearSVC(C=cost, random_state=settings.seed, max_iter=4000)


def _fit(
    positives: Floats,
    negatives: Floats,
    cost: float,
    parameters: HogParameters,
    name: str,
    object_box: tuple[float, float, float, float] | None,
    settings: Settings,
) -> HogModel:
    features, truth = _stacked(positives, negatives)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "did not converge": the figures of the round say what it is worth
        if settings.classifier == "svm":
            machine = _svm(cost, settings).fit(features, truth)
            weights, offsets, output = machine.coef_, machine.intercept_, np.zeros(0)
        else:
            from sklearn.neural_network import MLPClassifier

            machine = MLPClassifier((settings.hidden,), alpha=1e-3, early_stopping=True, random_state=settings.seed)
            machine.fit(features, truth)
            weights, offsets = machine.coefs_[0].T, machine.intercepts_[0]
            output = np.concatenate((machine.coefs_[1][:, 0], machine.intercepts_[1]))
    return HogModel(
        parameters,
        np.ascontiguousarray(weights, np.float32),
        np.asarray(offsets, np.float32),
        np.asarray(output, np.float32),
        name=name,
        object_box=object_box,
    )


def _detector(model: HogModel, settings: Settings) -> HogDetector:
    window = HogOptions(factor=settings.factor, stride=settings.stride)
    return HogDetector(model, runtime=Runtime(threads=settings.threads), options=window)


def _false_windows(
    model: HogModel, scenes: Sequence[Scene], settings: Settings, lowest: float, most: int
) -> Iterator[tuple[Image, NDArray[np.float32], Floats]]:
    """For each scene its picture, boxes (N, 4) and margins of the best windows that are no object."""
    raw = replace(model, calibration=(1.0, 0.0))
    detector = _detector(raw, settings)
    threshold = float(raw.probability(np.array([lowest], np.float32))[0])
    for scene in scenes:
        image = read_image(scene.path)
        try:
            score_map = detector.score_map(image)
        except InputError:  # smaller than the window
            continue
        found = group({0: score_map}, Selection(threshold, 0.5, None))
        found = found[_free(raw.object_boxes(found.boxes), scene, settings.overlap)][:most]
        scores = found.scores.astype(np.float64)
        yield image, found.boxes, np.log(scores / np.maximum(1 - scores, 1e-12)).astype(np.float32)


def _hard_negatives(model: HogModel, scenes: Sequence[Scene], settings: Settings) -> Floats:
    """Descriptors of the best windows of each scene that are no object and whose margin exceeds -0.5."""
    found = [np.zeros((0, model.parameters.descriptor_length), np.float32)]
    for image, boxes, _ in _false_windows(model, scenes, settings, -0.5, settings.hard):
        found.append(_descriptors(image, boxes, model.parameters))
    return np.concatenate(found)


def _hardest(negatives: Floats, model: HogModel, most: int) -> Floats:
    """The `most` negatives with the largest margins."""
    if len(negatives) <= most:
        return negatives
    return negatives[np.sort(np.argsort(-model.margins(negatives), kind="stable")[:most])]


def _measure(model: HogModel, objects: Floats, scenes: Sequence[Scene], settings: Settings) -> tuple[float, float]:
    """Miss rate at 1e-4 false alarms per window, and average precision, over all windows of held-out scenes."""
    from sklearn.metrics import average_precision_score

    raw = replace(model, calibration=(1.0, 0.0))
    detector = _detector(raw, settings)
    false = [np.zeros(0, np.float32)]
    for scene in scenes:
        try:
            boxes, margins = detector.windows(read_image(scene.path), -np.inf)
        except InputError:  # smaller than the window
            continue
        false.append(margins[_free(raw.object_boxes(boxes), scene, settings.overlap)])
    negatives = np.concatenate(false)
    margins = model.margins(objects)
    if len(negatives) == 0:
        raise InputError("the held-out pictures are all smaller than the window: nothing to measure with")
    allowed = int(len(negatives) * _FALSE_ALARMS)
    limit = np.partition(negatives, len(negatives) - 1 - allowed)[len(negatives) - 1 - allowed]
    truth = np.arange(len(margins) + len(negatives)) < len(margins)
    precision = average_precision_score(truth, np.concatenate((margins, negatives)))
    return float((margins <= limit).mean()), float(precision)
