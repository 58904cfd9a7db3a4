"""Structured forests (Dollar and Zitnick, "Structured Forests for Fast Edge Detection", ICCV 2013), from OpenCV's file.

    read_forest(path)            # the FileStorage that cv2.ximgproc.createStructuredEdgeDetection takes
    StructuredForest(path)(image)
        = channel_features (section 4.3: Luv, gradient strength and histograms at two scales)
        -> predict_edges: every tree puts its leaf's little edge map into the picture, the maps are averaged

Trees look at single features and at differences of cells of a coarse grid (self-similarity). The forest is not trained
here; the edges are OpenCV's to rounding.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.errors import ModelError
from detkit.files import read_file
from detkit.images import Image, as_image
from detkit.proposals.edges import EdgeMap, triangle_filter

_OPTIONS = (
    *("stride", "shrinkNumber", "patchSize", "patchInnerSize", "numberOfGradientOrientations"),
    *("gradientSmoothingRadius", "regFeatureSmoothingRadius", "ssFeatureSmoothingRadius"),
    *("gradientNormalizationRadius", "selfsimilarityGridSize", "numberOfTrees", "numberOfTreesToEvaluate"),
)
_RADII = ("gradientSmoothingRadius", "regFeatureSmoothingRadius", "ssFeatureSmoothingRadius")
_ARRAYS = ("childs", "featureIds", "thresholds", "edgeBoundaries", "edgeBins")


class Forest(NamedTuple):
    """A forest of T trees with N nodes each.

    options     OpenCV's names -> whole numbers
    children    int64 (T * N,), 0 for a leaf, else the right child within the tree; the left one stands before it
    features    int64 (T * N,), thresholds float32 (T * N,)
    bounds      int64 (T * N + 1,): the edge pixels of a leaf are bins[bounds[leaf]:bounds[leaf + 1]]
    bins        int64, channel * side^2 + column * side + row in the inner patch of that side
    """

    options: dict[str, int]
    children: NDArray[np.int64]
    features: NDArray[np.int64]
    thresholds: NDArray[np.float32]
    bounds: NDArray[np.int64]
    bins: NDArray[np.int64]

    @property
    def channels(self) -> int:
        """Luv, and for two scales the gradient's strength and its histogram."""
        return 3 + 2 * (self.options["numberOfGradientOrientations"] + 1)


class StructuredForest:
    """Strengths (H, W) of the edges of a picture, uint8 (H, W, 3) RGB: 0 to about 1."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.forest = read_forest(path)

    def __call__(self, image: Image) -> EdgeMap:
        options = self.forest.options
        image = as_image(image)
        border = (options["patchSize"] - options["patchInnerSize"]) // 2
        samples = image.astype(np.float32) / np.float32(255)
        padded = cv2.copyMakeBorder(samples, border, border, border, border, cv2.BORDER_REFLECT).astype(np.float32)
        if min(padded.shape[:2]) < options["patchSize"]:
            return np.zeros(image.shape[:2], np.float32)  # no window fits in
        return predict_edges(channel_features(padded, options), self.forest, image.shape[:2])


def read_forest(path: str | os.PathLike[str]) -> Forest:
    """The forest in a FileStorage: YAML or XML, plain or packed by gzip. ModelError where it is not one."""
    values = _top_level(Path(path))
    missing = [key for key in ("options", *_ARRAYS) if key not in values]
    if missing:
        raise ModelError(f"{path}: is no structured forest of OpenCV's: it has no '{missing[0]}'")
    options = {}
    for key in _OPTIONS:
        found = re.search(rf"\b{key}\b\s*[:>]\s*(\d+)\s*[\n<]", values["options"] + "\n")
        if found is None or int(found[1]) > 10_000 or (int(found[1]) < 1 and key not in _RADII):
            raise ModelError(f"{path}: the option '{key}' of a structured forest must be a whole number above 0")
        options[key] = int(found[1])
    arrays = {key: _numbers(path, key, values[key]) for key in _ARRAYS}
    forest = Forest(
        options,
        arrays["childs"].astype(np.int64),
        arrays["featureIds"].astype(np.int64),
        arrays["thresholds"].astype(np.float32),
        arrays["edgeBoundaries"].astype(np.int64),
        arrays["edgeBins"].astype(np.int64),
    )
    problem = _problem(forest)
    if problem:
        raise ModelError(f"{path}: the structured forest does not hold together: {problem}")
    return forest


def channel_features(samples: NDArray[np.float32], options: dict[str, int]) -> NDArray[np.float32]:
    """Features (H / shrink, W / shrink, C) of a picture (H, W, 3) RGB, 0 to 1 (section 4.3)."""
    height, width = samples.shape[:2]
    shrink, orientations = options["shrinkNumber"], options["numberOfGradientOrientations"]
    size = (round(width / shrink), round(height / shrink))
    luv = to_luv(samples)
    parts = [_resized(luv, size)]
    for scale in (1.0, 0.5):
        smaller = _resized(luv, (round(width * scale), round(height * scale)))
        smoothed = triangle_filter(smaller, options["gradientSmoothingRadius"])
        cell = max(1, int(shrink * scale))
        strength, histogram = gradient_histogram(smoothed, orientations, cell, options["gradientNormalizationRadius"])
        parts += [_resized(strength, size)[:, :, None], _resized(histogram, size).reshape(*size[::-1], orientations)]
    return np.ascontiguousarray(np.concatenate(parts, axis=2), np.float32)


def to_luv(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """RGB 0 to 1 (H, W, 3) as Luv, scaled to about 0 to 1 as in the authors' toolbox."""
    matrix = np.array(
        [[0.430574, 0.341550, 0.178325], [0.222015, 0.706655, 0.071330], [0.020183, 0.129553, 0.939180]], np.float32
    )
    x, y, z = (samples @ row for row in matrix)
    steps = np.arange(1024, dtype=np.float32) / 1024
    slope = np.float32((29 / 3) ** 3)
    lightness = np.where(steps > 8 / slope, 116 * np.cbrt(steps) - 16, steps * slope) / np.float32(270)
    light = lightness.astype(np.float32)[np.minimum((1024 * y).astype(np.int64), 1023)]
    share = 1 / (x + 15 * y + 3 * z + np.float32(1e-35))
    u = light * (52 * x * share - np.float32(13 * 0.197833)) + np.float32(88 / 270)
    v = light * (117 * y * share - np.float32(13 * 0.468331)) + np.float32(134 / 270)
    return np.stack((light, u, v), axis=2).astype(np.float32)


def gradient_histogram(
    samples: NDArray[np.float32], orientations: int, cell: int, radius: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Strength (H, W) of the steepest channel's gradient over its mean nearby, and its histograms over cells.

    The histograms are (ceil(H / cell), ceil(W / cell), orientations), of orientations in 0..pi.
    """
    height, width = samples.shape[:2]
    dx = cv2.Sobel(samples, cv2.CV_32F, 1, 0, ksize=1, borderType=cv2.BORDER_REFLECT)
    dy = cv2.Sobel(samples, cv2.CV_32F, 0, 1, ksize=1, borderType=cv2.BORDER_REFLECT)
    steepest = np.argmax(dx * dx + dy * dy, axis=2)[:, :, None]
    dx, dy = (np.take_along_axis(d, steepest, axis=2)[:, :, 0] for d in (dx, dy))
    angle = cv2.phase(dx, dy, angleInDegrees=True) / np.float32(180) - (dy < 0)
    angle[np.abs(dx) + np.abs(dy) < 1e-5] = 0.5
    strength = np.sqrt(dx * dx + dy * dy)
    strength = (strength / (triangle_filter(strength, radius) + np.float32(0.01))).astype(np.float32)
    bins = np.rint(angle * np.float32(orientations)).astype(np.int64)
    bins[bins >= orientations] = 0
    rows, columns = -(-height // cell), -(-width // cell)
    place = (np.arange(height) // cell)[:, None] * columns + np.arange(width) // cell
    sums = np.bincount((place * orientations + bins).ravel(), strength.ravel(), rows * columns * orientations)
    return strength, (sums / cell**2).reshape(rows, columns, orientations).astype(np.float32)


def predict_edges(features: NDArray[np.float32], forest: Forest, shape: tuple[int, int]) -> EdgeMap:
    """The mean (H, W) of the edge maps that the trees put into a picture of this shape, smoothed by radius 1."""
    from detkit.proposals.structured_forest_kernels import predict_kernel

    options = forest.options
    shrink, stride, inner = options["shrinkNumber"], options["stride"], options["patchInnerSize"]
    regular, similarity = (
        np.ascontiguousarray(triangle_filter(features, round(options[key] / shrink)))
        for key in ("regFeatureSmoothingRadius", "ssFeatureSmoothingRadius")
    )
    rows, columns = (-(-(side * shrink - options["patchSize"]) // stride) for side in features.shape[:2])
    column, row = np.divmod(forest.bins % inner**2, inner)
    # Features are rounded up to whole cells, so that the last windows may reach over the border.
    votes = np.zeros((shape[0] + shrink, shape[1] + shrink), np.int32)
    predict_kernel(
        regular,
        similarity,
        _feature_places(options, forest.channels),
        _cell_pairs(options, forest.channels),
        forest.children,
        forest.features,
        forest.thresholds,
        forest.bounds,
        np.stack((row, column), axis=1),
        (max(rows, 0), max(columns, 0), stride, shrink),
        (options["numberOfTrees"], options["numberOfTreesToEvaluate"]),
        votes,
    )
    share = 2.0 * stride**2 / inner**2 / options["numberOfTreesToEvaluate"]
    return triangle_filter((votes[: shape[0], : shape[1]] * share).astype(np.float32), 1)


def _feature_places(options: dict[str, int], channels: int) -> NDArray[np.int64]:
    """Row, column and channel of the regular features, (F, 3): channel by channel, column by column."""
    side = options["patchSize"] // options["shrinkNumber"]
    channel, column, row = np.indices((channels, side, side)).reshape(3, -1)
    return np.stack((row, column, channel), axis=1).astype(np.int64)


def _cell_pairs(options: dict[str, int], channels: int) -> NDArray[np.int64]:
    """Rows and columns of all pairs of cells and their channel, (G, 5); a cell is read at its middle."""
    side, grid = options["patchSize"] // options["shrinkNumber"], options["selfsimilarityGridSize"]
    half = round(side / (2.0 * grid))
    middles = [int((i + 1) * (side + 2 * half - 1) / (grid + 1.0) - half + 0.5) for i in range(grid)]
    cells = [(middles[cell % grid], middles[cell // grid]) for cell in range(grid**2)]
    pairs = [(*cells[a], *cells[b]) for a in range(grid**2) for b in range(a + 1, grid**2)]
    return np.array([(*pair, channel) for channel in range(channels) for pair in pairs], np.int64).reshape(-1, 5)


def _resized(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """`values` (H, W) or (H, W, C) at another size (width, height): by area where both sides shrink."""
    shrinks = size[0] < values.shape[1] and size[1] < values.shape[0]
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))


def _problem(forest: Forest) -> str:
    """What keeps the arrays from being a forest, or ""."""
    options, nodes = forest.options, len(forest.children)
    if nodes == 0 or nodes % options["numberOfTrees"] or not len(forest.features) == len(forest.thresholds) == nodes:
        return f"{nodes} childs, {len(forest.features)} featureIds and {len(forest.thresholds)} thresholds"
    shrink, inner = options["shrinkNumber"], options["patchInnerSize"]
    if options["patchSize"] % shrink or inner > options["patchSize"] or (options["patchSize"] - inner) % 2:
        return f"a patch of {options['patchSize']} with an inner one of {inner} and shrinkNumber {shrink}"
    within = np.arange(nodes) % (nodes // options["numberOfTrees"])
    inner_nodes = forest.children != 0
    after = forest.children[inner_nodes] - 1 > within[inner_nodes]
    if not (after.all() and (forest.children < nodes // options["numberOfTrees"]).all()):
        return "a node's child stands before it or outside its tree"
    count = len(_feature_places(options, forest.channels)) + len(_cell_pairs(options, forest.channels))
    asked = forest.features[inner_nodes]
    if asked.size and not (asked.min() >= 0 and asked.max() < count):
        return f"a node asks for a feature outside of the {count}"
    bounds, bins = forest.bounds, forest.bins
    if len(bounds) <= nodes or bounds[0] < 0 or (np.diff(bounds) < 0).any() or bounds[nodes] > len(bins):
        return "edgeBoundaries do not fit edgeBins"
    if bins.size and not (bins.min() >= 0 and bins.max() < inner**2 * forest.channels):
        return "an edge lies outside of its patch"
    return ""


def _top_level(path: Path) -> dict[str, str]:
    """The text of every key at the top of a FileStorage."""
    content = read_file(path, ModelError)
    try:
        text = (gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content).decode("utf-8")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ModelError(f"{path}: is a damaged gzip file") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: is no FileStorage of OpenCV's: it is not text") from error
    if text.lstrip().startswith("<?xml"):
        return {
            key: match[1] for key in ("options", *_ARRAYS) if (match := re.search(f"(?s)<{key}>(.*?)</{key}>", text))
        }
    parts = re.split(r"(?m)^([A-Za-z]\w*):", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _numbers(path: str | os.PathLike[str], key: str, text: str) -> NDArray[np.float64]:
    """The numbers of a sequence, or of sequences in it, one tree each, in their order."""
    plain = re.sub(r"</?_>", " ", text)
    plain = re.sub(r"(^|\s)-(?=\s)", " ", plain).translate(str.maketrans("[],", "   "))
    try:
        values = np.array(plain.split(), np.float64)
    except ValueError as error:
        raise ModelError(f"{path}: '{key}' of a structured forest must be a list of numbers") from error
    if not np.isfinite(values).all() or (key != "thresholds" and (values != np.floor(values)).any()):
        raise ModelError(f"{path}: '{key}' of a structured forest must be a list of whole numbers")
    return values
