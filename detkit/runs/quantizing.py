"""A detector in eight bits: which convolutions bear it, what it costs in AP, and what it brings in time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.alignment import match_classes
from detkit.annotations.problems import Problems
from detkit.boxes import xyxy_to_xywh
from detkit.dataset import Categories, GroundTruth, Images, Predictions
from detkit.detections import Detections
from detkit.detectors.selection import Selection
from detkit.detectors.yolo.yolo_detector import Yolo
from detkit.errors import DetkitError, UsageError
from detkit.graphs.quantization import Quantizer
from detkit.graphs.runtime import Runtime
from detkit.images import read_image
from detkit.metrics.coco import evaluate_coco

# As `detkit val`: AP asks how all boxes rank. Of the float network's own, those shown by default are the truth.
CONF, SHOWN = 0.01, 0.25
_ROUNDS = 3
# Pictures by which the groups are ranked.
_RANKING = 24


@dataclass(frozen=True)
class Figures:
    """AP and AP50 as COCO defines them."""

    ap: float
    ap50: float


class Measure:
    """AP of a detector on pictures, against annotations or against what a float network finds there.

    pictures   files, the rows 0, 1, 2 ... of the truth's images
    """

    def __init__(self, pictures: Sequence[Path], truth: GroundTruth) -> None:
        self.pictures, self.truth = pictures, truth

    @classmethod
    def agreement(cls, detector: Yolo, pictures: Sequence[Path]) -> Measure:
        """Against the detections of `detector` that are shown. UsageError where there are none."""
        found = [_above(detector(path), SHOWN) for path in pictures]
        predictions = _table(found, np.arange(len(detector.names)))
        count = len(predictions)
        if not count:
            raise UsageError("the float network finds nothing in these pictures: take others, or give --annotations")
        no = np.zeros(count, bool)
        sizes = np.zeros(len(pictures), np.int64)
        names = detector.names
        truth = GroundTruth(
            Images(tuple(map(str, pictures)), tuple(map(str, pictures)), sizes, sizes),
            Categories(names, tuple(range(len(names)))),
            predictions.image_index,
            predictions.class_index,
            predictions.boxes,
            predictions.boxes[:, 2] * predictions.boxes[:, 3],
            *(no,) * 5,
        )
        return cls(pictures, truth)

    def of(self, detector: Yolo) -> Figures:
        """The figures of a detector. InputError where none of its classes is annotated."""
        found = [detector(path) for path in self.pictures]
        used = np.bincount(np.concatenate([one.class_ids for one in found]), minlength=len(detector.names))
        own = Categories(detector.names, tuple(range(len(detector.names))))
        rows = match_classes(detector.path, own, used, self.truth.categories, Problems(detector.path))
        figures = evaluate_coco(self.truth, _table(found, rows)).figures
        return Figures(figures["AP"], figures["AP50"])


@dataclass(frozen=True)
class Quantised:
    """A network in eight bits, and what was measured.

    content    the .onnx file
    convolutions   how many are integers
    of         how many there are
    before, after   of the float network and of this
    milliseconds    of one picture in the network, float and this: medians of runs in turn
    """

    content: bytes
    convolutions: int
    of: int
    before: Figures
    after: Figures
    milliseconds: tuple[float, float]


@dataclass(frozen=True)
class Search:
    """What is asked of a network in eight bits.

    loss   AP that it may lose
    reduce_range   weights of 7 bits, for processors that saturate
    runtime   of the detectors that are measured
    metadata   of the file
    """

    loss: float
    reduce_range: bool
    runtime: Runtime
    metadata: Mapping[str, str]


def quantise(detector: Yolo, calibration: Sequence[Path], measure: Measure, search: Search,
             tell: Callable[[str], None]) -> Quantised:  # fmt: skip
    """The detector with as many convolutions in integers as `search.loss` allows.

    All but the last of each branch come first. Where that loses too much, each group is tried alone; the groups that
    hurt most, by agreement with the float network, are left out until the loss is small enough (by bisection, as
    leaving out more hurts less). With nothing that is small enough, the best that was tried is returned: its figures
    say so.
    """
    feeds = (detector.feeding.feeds([detector.prepare(read_image(path))]) for path in calibration)
    quantizer = Quantizer(detector.network.path, feeds)
    before = measure.of(detector)

    def content_of(groups: Sequence[int]) -> bytes:
        return quantizer.quantised(groups, search.metadata, reduce_range=search.reduce_range)

    def figures_of(content: bytes, by: Measure) -> Figures:
        with _detector(content, detector, search.runtime) as made:
            try:
                return by.of(made)
            except DetkitError:  # integers that destroyed it: its outputs are those of no detector
                return Figures(0.0, 0.0)

    everything = tuple(range(len(quantizer.groups)))
    kept, content = everything, content_of(everything)
    after = figures_of(content, measure)
    tell(f"{sum(map(len, quantizer.groups))} of {quantizer.convolutions} convolutions: AP {after.ap:.4f}")
    if before.ap - after.ap > search.loss and len(everything) > 1:
        some = Measure.agreement(detector, measure.pictures[:_RANKING])
        alone = [figures_of(content_of([group]), some).ap for group in everything]
        worst_first = np.argsort(alone, kind="stable").tolist()
        low, high = 1, len(everything) - 1
        while low <= high:
            left_out = (low + high) // 2
            groups = sorted(worst_first[left_out:])
            tried = content_of(groups)
            figures = figures_of(tried, measure)
            count = sum(len(quantizer.groups[group]) for group in groups)
            tell(f"{count} of {quantizer.convolutions} convolutions: AP {figures.ap:.4f}")
            enough = before.ap - figures.ap <= search.loss
            if enough or (before.ap - after.ap > search.loss and figures.ap > after.ap):
                kept, content, after = tuple(groups), tried, figures
            low, high = (low, left_out - 1) if enough else (left_out + 1, high)
    with _detector(content, detector, search.runtime) as made:
        milliseconds = times(detector, made, measure.pictures[:_RANKING])
    convolutions = sum(len(quantizer.groups[group]) for group in kept)
    return Quantised(content, convolutions, quantizer.convolutions, before, after, milliseconds)


def times(one: Yolo, other: Yolo, pictures: Sequence[Path]) -> tuple[float, float]:
    """Milliseconds that two networks take for a picture, the medians of runs in turn."""
    taken: tuple[list[float], list[float]] = ([], [])
    prepared = [one.prepare(read_image(path)) for path in pictures]
    for detector in (one, other):
        detector.run(prepared[:1])
    for _ in range(_ROUNDS):
        for picture in prepared:
            for detector, own in zip((one, other), taken, strict=True):
                start = time.perf_counter()
                detector.run([picture])
                own.append(1000 * (time.perf_counter() - start))
    return float(np.median(taken[0])), float(np.median(taken[1]))


@contextmanager
def _detector(content: bytes, like: Yolo, runtime: Runtime) -> Iterator[Yolo]:
    """The detector in the bytes of a file, read as `like` is read by itself: with its sidecar, where it has one."""
    from detkit.graphs.sidecar import sidecar_path

    with tempfile.TemporaryDirectory(prefix="detkit-quantize-") as folder:
        path = Path(folder, Path(like.network.path).name)
        path.write_bytes(content)
        beside = sidecar_path(Path(like.network.path))
        if beside.is_file():
            sidecar_path(path).write_bytes(beside.read_bytes())
        yield Yolo(path, Selection(conf=CONF), runtime, like.options)


def _above(found: Detections, conf: float) -> Detections:
    return found[found.scores > conf]


def _table(found: Sequence[Detections], rows: NDArray[np.int64]) -> Predictions:
    """Detections of each picture as columns, their classes numbered by `rows`; those of class -1 are left out."""
    classes = rows[np.concatenate([one.class_ids for one in found])]
    table = Predictions(
        np.repeat(np.arange(len(found)), [len(one) for one in found]),
        classes,
        xyxy_to_xywh(np.concatenate([one.boxes for one in found])).astype(np.float64),
        np.concatenate([one.scores for one in found]).astype(np.float64),
    )
    return table[classes >= 0]
