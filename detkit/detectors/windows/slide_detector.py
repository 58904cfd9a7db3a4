"""Any classifier network as a detector: a window slides over every level of a pyramid, and the network names it.

Before networks proposed regions, this was how they detected (Sermanet et al. 2014, "OverFeat"). Where the network
neither pads nor sees a window as a whole before its last layers, a level goes through once (`dense_graph`); otherwise
windows are cut out and classified in batches. Both give the same scores.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.annotations.class_names import names_from_file, names_from_metadata
from detkit.classes import chosen_classes
from detkit.detections import Detections
from detkit.detectors.base import Detector
from detkit.detectors.selection import Selection
from detkit.detectors.windows.grouping import Grouping, ScoreLevel, ScoreMap, group
from detkit.detectors.windows.window_pictures import strongest
from detkit.errors import InputError, ModelError, UsageError
from detkit.files import read_file
from detkit.graphs.classifier_input import PictureInput, is_embedding
from detkit.graphs.dense_graph import NotDense, make_dense
from detkit.graphs.registry import resolve
from detkit.graphs.runtime import Runtime
from detkit.graphs.session import Network
from detkit.graphs.sidecar import Sidecar, read_sidecar
from detkit.images import Image
from detkit.pyramid import LARGEST_LEVEL, grid_size, pyramid, window_too_large
from detkit.settings import settled

Floats = NDArray[np.float32]
Pair = tuple[int, int]

logger = logging.getLogger("detkit")

WINDOWS_PER_RUN = 64
# How far dense and window-by-window scores may differ for the dense graph to be used.
_SAME = 1e-4


@dataclass(frozen=True)
class Classified:
    """The windows of a picture of `size` (width, height): a score map for each class that won a window."""

    score_maps: Mapping[int, ScoreMap]
    size: Pair

    @property
    def best(self) -> ScoreMap | None:
        """The score of every window for the class that won it; None where background won all."""
        maps = list(self.score_maps.values())
        if not maps:
            return None
        levels = tuple(
            replace(parts[0], scores=np.max([part.scores for part in parts], axis=0))
            for parts in zip(*(score_map.levels for score_map in maps), strict=True)
        )
        return ScoreMap(levels, maps[0].window)


@dataclass(frozen=True)
class ClassifierOptions:
    """What a classifier's file may leave open.

    names       class names, a file of them, "coco" or "voc"; by default those of the sidecar or the metadata
    background  name or number of the class that stands for nothing; by default one named "background"
    window      (width, height) of the windows where the network leaves the size of its input open
    """

    names: Sequence[str] | str | os.PathLike[str] | None = None
    background: str | int | None = None
    window: Pair | None = None


class Classifier:
    """A classifier network, and what it wants of a window.

    model, runtime, options   see `registry.resolve`, `Runtime`, `ClassifierOptions`; `runtime.batch` windows go
            through the network together (64), where its batch is not fixed

    The input is that of `PictureInput`, the output one row of scores a window: logits, probabilities that sum to 1, or
    probabilities of each class by itself (all of them from 0 to 1 on four pictures that have nothing in common).

    ModelError where the network is no classifier of pictures; UsageError for names that do not fit.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        runtime: Runtime = Runtime(),
        options: ClassifierOptions = ClassifierOptions(),
        **settings: Any,
    ) -> None:
        self.runtime, options = settled(settings, runtime, options)
        self.windows_per_run = self.runtime.batch or WINDOWS_PER_RUN
        path = resolve(model, "slide")
        self.network = Network(path, self.runtime)
        sidecar = read_sidecar(self.network.path)
        self.picture = PictureInput(self.network, sidecar)
        self.input = self.picture.info
        self.window: Pair | None = self.picture.size or options.window
        rows = self._probed(self.window or (224, 224))
        if is_embedding(rows):
            length = rows.shape[1]
            raise ModelError(f"{path}: is no classifier: it gives an embedding, a row of {length} numbers of length 1")
        self._logits = not bool((rows >= -1e-3).all() and (rows <= 1 + 1e-3).all())
        self.names = _class_names(options.names, sidecar, self.network.metadata, rows.shape[1])
        self.background = _background(options.background, self.names, self.network.metadata)

    def _probed(self, size: Pair) -> Floats:
        """The rows of scores (4, classes) of noise and of black, gray and white pictures of `size`."""
        noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        plain = [np.full_like(noise, value) for value in (0, 128, 255)]
        try:
            return np.concatenate([self._rows(self.tensor(image)[None]) for image in (noise, *plain)])
        except MemoryError as error:
            raise ModelError(f"{self.network.path}: a batch for its input needs more memory than there is") from error
        except ModelError as error:
            if self.window is None and "no classifier" not in str(error):
                raise _size_is_open(self.network.path) from error
            raise

    def tensor(self, image: Image) -> NDArray[Any]:
        """A picture uint8 (H, W, 3) RGB as the network's input: see `PictureInput.tensor`."""
        return self.picture.tensor(image)

    def classify(self, tensors: NDArray[Any]) -> Floats:
        """Probabilities (N, classes) of windows (N, C, h, w) or (N, h, w, C)."""
        return self._probabilities(self._rows(tensors))

    def _rows(self, tensors: NDArray[Any]) -> Floats:
        count = len(tensors)
        fixed = self.input.shape[0]
        size = fixed or self.windows_per_run
        rows = []
        for start in range(0, count, size):
            part = tensors[start : start + size]
            if fixed and len(part) < fixed:
                part = np.concatenate((part, np.repeat(part[-1:], fixed - len(part), axis=0)))
            output = self.network.run({self.input.name: part})[0]
            if output.size == 0 or output.shape[0] != len(part) or output.size != len(part) * output.shape[1]:
                shape = " x ".join(map(str, output.shape))
                raise ModelError(f"{self.network.path}: is no classifier: its output is {shape}, not one row a window")
            rows.append(output.reshape(len(part), -1)[: count - start])
        scores = np.concatenate(rows).astype(np.float32)
        if scores.shape[1] < 2:
            raise ModelError(f"{self.network.path}: is no classifier: it gives {scores.shape[1]} score a window")
        return scores

    def _probabilities(self, scores: Floats) -> Floats:
        """Probabilities from scores (N, classes)."""
        if not self._logits:
            return scores
        shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class SlideOptions:
    """How the window goes over a picture, and what the classifier's file may leave open.

    window      (width, height) of the smallest window in picture pixels; by default the network's input size. Levels
                are stretched so that it becomes the network's input
    stride      pixels between windows, at the network's input size; by default an eighth of the shorter side
    factor, max_levels   of the pyramid; see `detkit.pyramid.scales`
    grouping    how windows on one object become one box
    dense       True: the network must be applicable to whole levels; False: cut windows out; None: as it can
    names, background   see `ClassifierOptions`
    """

    window: Pair | None = None
    stride: int | None = None
    factor: float = 1.25
    max_levels: int = 64
    grouping: Grouping = field(default_factory=Grouping)
    dense: bool | None = None
    names: Sequence[str] | str | os.PathLike[str] | None = None
    background: str | int | None = None

    def __post_init__(self) -> None:
        if self.window is not None and min(self.window) < 1:
            raise UsageError(f"a window needs at least one pixel, got {self.window[0]} x {self.window[1]}")
        if self.stride is not None and self.stride < 1:
            raise UsageError(f"the window stride must be at least 1 pixel, got {self.stride}")


class SlideDetector(Detector):
    """A classifier in a sliding window: an image, uint8 (H, W, 3) RGB, to `Detections`.

    model       an .onnx file or a name of the registry
    selection, runtime, options   see `Selection`, `Runtime`, `SlideOptions`. Windows count from the probability `conf`
                on; a window counts for its best class only, and not at all where that is the background

    UsageError where the window is not given and the network leaves it open, or `dense` is asked for and not exact;
    called on a picture smaller than the window, InputError.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        selection: Selection = Selection(),
        runtime: Runtime = Runtime(),
        options: SlideOptions = SlideOptions(),
        **settings: Any,
    ) -> None:
        self.selection, runtime, self.options = settled(settings, selection, runtime, options)
        options = self.options
        self.classifier = Classifier(
            model, runtime, ClassifierOptions(options.names, options.background, options.window)
        )
        self.network = self.classifier.network
        self.path = self.network.path
        self.names = self.classifier.names
        size = self.classifier.window
        if size is None:
            raise _size_is_open(self.network.path)
        self.input_size: Pair = size
        self.window = options.window or size
        self.stride = options.stride or max(1, min(size) // 8)
        self._wanted = self.selection.wanted(self.names)
        self.dense, self.why_not_dense = self._dense_network(options.dense, runtime)

    def about(self) -> list[str]:
        """The network, and whether whole levels go through it."""
        how = f"window by window: {self.why_not_dense}" if self.dense is None else "whole levels at once"
        return [self.network.about(), how]

    def prepare(self, image: Image, name: str = "") -> Image:
        """The picture, if the window fits: the network's work is done in `detect`, one picture after the other."""
        if image.shape[1] < self.window[0] or image.shape[0] < self.window[1]:
            raise window_too_large((image.shape[1], image.shape[0]), self.window, can_enlarge=False)
        return image

    def detect(self, prepared: Sequence[Image]) -> list[Detections]:
        """Detections of prepared pictures."""
        return [self.decode(self.classify(image)) for image in prepared]

    def classify(self, image: Image) -> Classified:
        """The score maps of a picture: every window of every level, scored for its best class."""
        base, stretch = self._stretched(self.prepare(image))
        scores: list[Floats] = []
        winners: list[NDArray[np.int64]] = []
        levels: list[ScoreLevel] = []
        for level in pyramid(
            base, self.input_size, self.options.factor, max_levels=self.options.max_levels, smooth=True
        ):
            probabilities = self.scores(level.image)
            winner = probabilities.argmax(axis=0)
            score = np.take_along_axis(probabilities, winner[None], axis=0)[0]
            if self.classifier.background is not None:
                score = np.where(winner == self.classifier.background, 0, score).astype(np.float32)
            scale = (stretch[0] * level.scale, stretch[1] * level.scale)
            levels.append(ScoreLevel(score, scale, (0, 0), (self.stride, self.stride)))
            scores.append(score)
            winners.append(winner)
        found = set(
            np.unique(np.concatenate([winner[score > 0] for winner, score in zip(winners, scores, strict=True)]))
        )
        maps = {}
        for class_id in found:
            if self._wanted is None or class_id in self._wanted:
                own = tuple(
                    replace(part, scores=np.where(winner == class_id, part.scores, 0).astype(np.float32))
                    for part, winner in zip(levels, winners, strict=True)
                )
                maps[class_id] = ScoreMap(own, self.input_size)
        return Classified(maps, (image.shape[1], image.shape[0]))

    def heat(self, prepared: Image) -> Floats | None:
        """The highest probability over classes and scales (H, W); the network scores the windows once more for it."""
        best = self.classify(prepared).best
        return None if best is None else strongest(best, (prepared.shape[1], prepared.shape[0]))

    def decode(self, classified: Classified) -> Detections:
        """Group the windows of each class into boxes."""
        if not classified.score_maps:
            return Detections.empty(self.names)
        selection = self.selection.at_least(1e-6)
        found = group(classified.score_maps, selection, self.options.grouping, self.names)
        return found.clip(*classified.size)

    def scores(self, image: Image) -> Floats:
        """Probabilities (classes, rows, columns) of all windows of the network's input size on one level."""
        return self._dense_scores(image) if self.dense is not None else self.window_scores(image)

    def window_scores(self, image: Image) -> Floats:
        """The same, window by window."""
        columns, rows = self._grid(image)
        parts = [self.classifier.classify(batch) for batch in self._batches(image)]
        return np.concatenate(parts).T.reshape(-1, rows, columns)

    def _dense_scores(self, image: Image) -> Floats:
        assert self.dense is not None
        columns, rows = self._grid(image)
        output = self.dense.run({self.dense.inputs[0].name: self.classifier.tensor(image)[None]})[0]
        scores = output[0, :, :rows, :columns].astype(np.float32)
        if not self.classifier._logits:
            return scores
        shifted = np.exp(scores - scores.max(axis=0))
        return np.asarray(shifted / shifted.sum(axis=0))

    def _grid(self, image: Image) -> Pair:
        return grid_size((image.shape[1], image.shape[0]), self.input_size, (self.stride, self.stride))

    def _batches(self, image: Image) -> Iterator[NDArray[Any]]:
        """Windows of a level, row by row, as batches for the network; the level is normalised once."""
        tensor = self.classifier.tensor(image)
        axes = (0, 1) if self.classifier.picture.channels_last else (1, 2)
        views = np.lib.stride_tricks.sliding_window_view(tensor, self.input_size[::-1], axis=axes)
        if self.classifier.picture.channels_last:
            windows = views[:: self.stride, :: self.stride].transpose(0, 1, 3, 4, 2)
        else:
            windows = views[:, :: self.stride, :: self.stride].transpose(1, 2, 0, 3, 4)
        rows, columns = windows.shape[:2]
        count = self.classifier.windows_per_run
        for start in range(0, rows * columns, count):
            index = np.arange(start, min(start + count, rows * columns))
            yield windows[index // columns, index % columns]

    def _stretched(self, image: Image) -> tuple[Image, tuple[float, float]]:
        """The picture on which the window has the network's input size, and picture pixels for one of its pixels."""
        scale = (self.window[0] / self.input_size[0], self.window[1] / self.input_size[1])
        if scale == (1.0, 1.0):
            return image, scale
        size = tuple(
            max(needed, round(side / ratio))
            for side, ratio, needed in zip((image.shape[1], image.shape[0]), scale, self.input_size, strict=True)
        )
        if size[0] * size[1] > LARGEST_LEVEL:
            raise InputError(
                f"windows of {self.window[0]} x {self.window[1]} are enlarged to the network's {self.input_size[0]} x "
                f"{self.input_size[1]}, and the picture to {size[0]} x {size[1]}: take a larger window"
            )
        interpolation = cv2.INTER_AREA if min(scale) > 1 else cv2.INTER_LINEAR_EXACT
        return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8), scale

    def _dense_network(self, wanted: bool | None, runtime: Runtime) -> tuple[Network | None, str]:
        """The dense graph in a session of its own, once it has given the same scores; or None, and why."""
        if wanted is False:
            return None, "windows were asked for"
        try:
            if self.classifier.picture.channels_last:
                raise NotDense("its channels come last")
            content = make_dense(read_file(self.network.path), self.input_size, (self.stride, self.stride))
            network = Network(self.network.path, runtime, content=content)
            difference = self._difference(network)
            if difference > _SAME:
                raise NotDense(f"its scores differ by {difference:.2g}")
        except (NotDense, ModelError) as error:
            why = str(error)
            if wanted:
                raise UsageError(f"{self.network.path}: cannot be applied to whole levels: {why}") from error
            logger.info("%s is applied window by window: %s", self.network.path.name, why)
            return None, why
        return network, ""

    def _difference(self, network: Network) -> float:
        """The largest difference between dense and window-by-window scores, over nine windows of noise."""
        size = (self.input_size[1] + 2 * self.stride, self.input_size[0] + 2 * self.stride, 3)
        noise = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)
        windows = self.window_scores(noise)
        self.dense = network
        try:
            return float(np.abs(self._dense_scores(noise) - windows).max())
        except ValueError as error:  # another shape
            raise NotDense("its dense form has another shape") from error


def _class_names(
    given: Sequence[str] | str | os.PathLike[str] | None,
    sidecar: Sidecar,
    metadata: Mapping[str, str],
    count: int,
) -> tuple[str, ...]:
    """Names of `count` classes. UsageError where the given ones are more or fewer."""
    for source in (given, sidecar.names):
        if source is not None:
            names = names_from_file(source) if isinstance(source, str | os.PathLike) else tuple(source)
            if len(names) != count:
                raise UsageError(f"{len(names)} names were given, but the classifier has {count} classes")
            return names
    names = names_from_metadata(metadata)
    return names if len(names) == count else tuple(str(number) for number in range(count))


def _background(given: str | int | None, names: tuple[str, ...], metadata: Mapping[str, str]) -> int | None:
    wanted = metadata.get("background") if given is None else str(given)
    if wanted is None:
        named_so = [number for number, name in enumerate(names) if name.strip("_").casefold() == "background"]
        return named_so[0] if named_so else None
    found = chosen_classes(wanted, names)
    assert found is not None
    return int(found[0])


def _size_is_open(path: Path) -> UsageError:
    return UsageError(f"{path}: leaves the size of its input open: name the window, as WxH")
