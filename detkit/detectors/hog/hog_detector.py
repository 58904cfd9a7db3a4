"""Histograms of oriented gradients, and the sliding-window detector on them.

N. Dalal, B. Triggs, "Histograms of oriented gradients for human detection", CVPR 2005. The stages of its section 6,
each a function: `normalize_gamma_and_colour`, `compute_gradients`, `bin_orientations`, `normalize_blocks`,
`collect_windows`. `describe` runs all but the last over a picture once, and `score_grid` applies a classifier to
every window as a correlation over the blocks, so that no window is ever described by itself.

Departures from the paper, made so that descriptors and published coefficients are interchangeable with OpenCV's
`HOGDescriptor`: votes are interpolated between orientations and cells inside each block and weighted by the block's
Gaussian, as the authors' program did; the Gaussian lies around pixel (width / 2, height / 2) of the block, half a
pixel right of and below its centre; two small constants keep the normalisation of flat blocks finite. A window's
numbers run over block columns, blocks of a column, cell columns of a block, cells of a column, orientations.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.detections import Detections
from detkit.detectors.base import Detector
from detkit.detectors.hog.hog_model import HogModel, HogParameters, named_model
from detkit.detectors.selection import Selection
from detkit.detectors.windows.grouping import Grouping, ScoreLevel, ScoreMap, group
from detkit.detectors.windows.window_pictures import strongest
from detkit.errors import DeviceError, UsageError
from detkit.graphs.runtime import Runtime
from detkit.images import Image
from detkit.pyramid import LARGEST_LEVEL, grid_size, level, scales, window_too_large
from detkit.settings import settled

Floats = NDArray[np.float32]
Pair = tuple[int, int]

# Above this many weights for a tile, binning every block by itself needs less memory and is as quick.
_MOST_TILE_WEIGHTS = 256
_ROWS_AT_ONCE = 64


def normalize_gamma_and_colour(image: Image, parameters: HogParameters) -> Floats:
    """Section 6.1: RGB samples as float32 (3, H, W), their square roots where `parameters.gamma` is set."""
    planes = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
    return np.sqrt(planes, out=planes) if parameters.gamma else planes


def compute_gradients(colours: Floats) -> tuple[Floats, Floats]:
    """Section 6.2: magnitude and angle (radians, 0 to 2 pi), each (h, w), by the mask [-1, 0, 1] without smoothing.

    colours (3, h + 2, w + 2) has one pixel of border on every side. Of the channels the one with the largest
    magnitude is taken. The angle is within 0.01 degrees, see `_arctangent`.
    """
    from detkit.detectors.hog.hog_kernels import gradients

    magnitude = np.empty((colours.shape[1] - 2, colours.shape[2] - 2), np.float32)
    angle = np.empty_like(magnitude)
    gradients(colours, _arctangent(), magnitude, angle)
    return magnitude, angle


def bin_orientations(magnitude: Floats, angle: Floats, parameters: HogParameters, step: Pair) -> Floats:
    """Sections 6.3 and 6.4: histograms of all blocks, (down, across, `parameters.block_length`), unnormalised.

    A pixel votes with its magnitude for the two nearest orientations and the (up to) four nearest cells of a block,
    by linear interpolation in angle, x and y, times the block's Gaussian. Blocks lie `step` (x, y) pixels apart.
    """
    from detkit.detectors.hog.hog_kernels import histograms_by_blocks, split_votes

    across, down = grid_size((magnitude.shape[1], magnitude.shape[0]), parameters.block, step)
    blocks = np.empty((down, across, parameters.block_length), np.float32)
    lower = np.empty(magnitude.shape, np.int32)
    to_lower, to_upper = np.empty_like(magnitude), np.empty_like(magnitude)
    bins = parameters.orientations
    split_votes(magnitude, angle, parameters.bins_per_radian, bins, lower, to_lower, to_upper)
    weight_x, weight_y = _spatial_weights(parameters)
    histograms_by_blocks(lower, to_lower, to_upper, weight_x, weight_y, bins, step, blocks)
    return blocks


def normalize_blocks(blocks: Floats, parameters: HogParameters) -> Floats:
    """Section 6.4: each block (..., `block_length`) normalised, in place: L2-Hys, L2, L1 or L1-sqrt.

    L2-Hys divides by sqrt(sum of squares) + `epsilon` * length, clips at `clip`, and divides again with the constant
    `clipped_epsilon`. The others use the paper's formulas with the same `epsilon` * length.
    """
    from detkit.detectors.hog.hog_kernels import clip_and_normalize

    epsilon = np.float32(parameters.epsilon * parameters.block_length)
    if parameters.norm == "l2-hys":
        clip, again = np.float32(parameters.clip), np.float32(parameters.clipped_epsilon)
        clip_and_normalize(blocks.reshape(-1, parameters.block_length), epsilon, clip, again)
    elif parameters.norm == "l2":
        blocks /= np.sqrt((blocks**2).sum(-1, keepdims=True) + epsilon**2)
    else:
        blocks /= blocks.sum(-1, keepdims=True) + epsilon
        if parameters.norm == "l1-sqrt":
            np.sqrt(blocks, out=blocks)
    return blocks


def collect_windows(blocks: Floats, parameters: HogParameters, step: Pair, stride: Pair) -> Floats:
    """Section 6.5: descriptors (rows, columns, `descriptor_length`) of the windows `stride` (x, y) pixels apart.

    A copy of every block for every window that holds it: for training and inspection. Detection does not need it.
    """
    (columns, rows), spacing, hop = _windows_on(blocks, parameters, step, stride)
    across, down = parameters.blocks
    found = np.empty((rows, columns, across, down, parameters.block_length), np.float32)
    for i in range(across):
        for j in range(down):
            y, x = j * spacing[1], i * spacing[0]
            found[:, :, i, j] = blocks[y : y + rows * hop[1] : hop[1], x : x + columns * hop[0] : hop[0]][
                :rows, :columns
            ]
    return found.reshape(rows, columns, -1)


def describe(image: Image, parameters: HogParameters, step: Pair, padding: Pair = (0, 0)) -> Floats:
    """Normalised blocks (down, across, `block_length`), `step` (x, y) pixels apart, of a whole picture.

    image is uint8 (H, W, 3) RGB; `padding` (x, y) pixels on every side are mirrored from it. Blocks start in the
    corner of the padded picture.
    """
    border_x, border_y = padding[0] + 1, padding[1] + 1
    padded: Any = cv2.copyMakeBorder(image, border_y, border_y, border_x, border_x, cv2.BORDER_REFLECT_101)
    if _tiled(parameters, step):
        return normalize_blocks(_bin_by_tiles(padded, parameters, step), parameters)
    magnitude, angle = compute_gradients(normalize_gamma_and_colour(padded, parameters))
    return normalize_blocks(bin_orientations(magnitude, angle, parameters, step), parameters)


def compute(
    image: Image,
    parameters: HogParameters | None = None,
    stride: Pair | None = None,
    padding: Pair = (0, 0),
) -> Floats:
    """Descriptors (rows, columns, `descriptor_length`) of all windows of an image, uint8 (H, W, 3) RGB.

    stride   (x, y) pixels from window to window, by default one cell
    padding  (x, y) pixels mirrored on every side, rounded up to the step of the block grid

    Row by row the same numbers as `cv2.HOGDescriptor.compute` of opencv-contrib. InputError where the window does
    not fit.
    """
    parameters = parameters or HogParameters()
    stride = stride or parameters.cell
    step = block_step(parameters, stride)
    padding = _round_up(padding, step)
    size = (image.shape[1] + 2 * padding[0], image.shape[0] + 2 * padding[1])
    if size[0] < parameters.window[0] or size[1] < parameters.window[1]:
        raise window_too_large(size, parameters.window)
    return collect_windows(describe(image, parameters, step, padding), parameters, step, stride)


def block_step(parameters: HogParameters, stride: Pair) -> Pair:
    """Pixels (x, y) from block to block so that the blocks of every window lie on one grid."""
    if min(stride) < 1:
        raise UsageError(f"the window stride must be at least 1 pixel, got {stride[0]} x {stride[1]}")
    across, down = parameters.block_stride
    return math.gcd(stride[0], across), math.gcd(stride[1], down)


def score_grid(blocks: Floats, model: HogModel, step: Pair, stride: Pair) -> Floats:
    """Margins (rows, columns) of all windows: positive inside the class, larger is surer.

    The classifier's first layer is a correlation of its coefficients with the block grid, computed as one matrix
    product of all blocks with all block positions, gathered window by window.
    """
    from detkit.detectors.hog.hog_kernels import gather_responses

    parameters = model.parameters
    (columns, rows), spacing, hop = _windows_on(blocks, parameters, step, stride)
    down, across, length = blocks.shape
    units = np.empty((len(model.offsets), rows, columns), np.float32)
    for unit, matrix in enumerate(model.block_matrices):
        units[unit] = model.offsets[unit]
        responses = _product(blocks.reshape(-1, length), matrix)  # (blocks, block positions in the window)
        gather_responses(responses.reshape(down, across, -1), parameters.blocks, spacing, hop, units[unit])
    return model.combine(units)


@dataclass(frozen=True)
class Scored:
    """The score map of a picture of `size` (width, height)."""

    score_map: ScoreMap
    size: Pair


@dataclass(frozen=True)
class HogOptions:
    """How the window goes over a picture.

    factor, enlarge, max_levels   of the pyramid; see `detkit.pyramid.scales`
    stride, padding               (x, y) in pixels of a level
    grouping       how windows on one object become one box; see `detectors.windows.grouping`
    """

    factor: float = 1.05
    enlarge: float = 1.0
    max_levels: int = 64
    stride: Pair = (8, 8)
    padding: Pair = (8, 8)
    grouping: Grouping = field(default_factory=Grouping)


class HogDetector(Detector):
    """Finds what a HOG model was trained on: an image, uint8 (H, W, 3) RGB, to `Detections`.

    model      a `HogModel`, the name of a bundled one or its file; by default the bundled person detector
    selection, runtime, options   see `Selection`, `Runtime`, `HogOptions`; windows count from the probability `conf`
               on, `runtime.threads` levels are computed at the same time

    Called on a picture that no window fits into, it raises InputError. DeviceError for a device other than the CPU.
    """

    def __init__(
        self,
        model: HogModel | str | os.PathLike[str] | None = None,
        selection: Selection = Selection(),
        runtime: Runtime = Runtime(threads=1),
        options: HogOptions = HogOptions(),
        **settings: Any,
    ) -> None:
        self.selection, self.runtime, self.options = settled(settings, selection, runtime, options)
        if self.runtime.device not in ("auto", "cpu"):
            raise DeviceError(f"device {self.runtime.device!r}: hog-detect has no network and runs on the cpu")
        if self.runtime.batch not in (None, 1):
            raise UsageError("--batch is for networks; hog-detect takes one picture after the other")
        self.model = model if isinstance(model, HogModel) else named_model(model)
        self.names = (self.model.name,)
        self.selection.wanted(self.names, "the model")  # one class: it is wanted, or it is none

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the model's numbers, wherever they came from."""
        model = self.model
        weights = hashlib.sha256(model.weights.tobytes() + model.offsets.tobytes() + model.output.tobytes())
        weights.update(repr((model.parameters, model.calibration, model.object_box, model.name)).encode())
        return weights.hexdigest()

    def prepare(self, image: Image, name: str = "") -> Scored:
        """The score map of a picture: all the work but the grouping."""
        return Scored(self.score_map(image), (image.shape[1], image.shape[0]))

    def detect(self, prepared: Sequence[Scored]) -> list[Detections]:
        """Detections of prepared pictures."""
        return [self.decode(scored) for scored in prepared]

    def heat(self, prepared: Scored) -> Floats:
        """The highest probability over scales (H, W), at the centre of its window."""
        return strongest(prepared.score_map, prepared.size)

    def decode(self, scored: Scored) -> Detections:
        """Group the windows of a score map into boxes."""
        found = group({0: scored.score_map}, self.selection, self.options.grouping, self.names)
        boxes = self.model.object_boxes(found.boxes)
        inside = Detections(boxes, found.scores, found.class_ids, self.names).clip(*scored.size)
        return inside[(inside.boxes[:, 2:] > inside.boxes[:, :2]).all(axis=1)]  # not what lies in the padding

    def windows(self, image: Image, margin: float = 0.0) -> tuple[NDArray[np.float64], Floats]:
        """All windows whose margin is at least `margin`, ungrouped: boxes (N, 4) xyxy of whole windows, and margins.

        The windows of OpenCV's detectMultiScale before grouping, which rounds the same boxes to whole pixels and cuts
        them at the picture's border.
        """
        levels = self._score(image, probabilities=False)
        return ScoreMap(tuple(levels), self.model.parameters.window).windows_above(margin)

    def score_map(self, image: Image) -> ScoreMap:
        """Probabilities of every window of every level."""
        return ScoreMap(tuple(self._score(image, probabilities=True)), self.model.parameters.window)

    def _score(self, image: Image, probabilities: bool) -> list[ScoreLevel]:
        size = (image.shape[1], image.shape[0])
        window = self.model.parameters.window
        if (size[0] + 2 * self.options.padding[0]) * (size[1] + 2 * self.options.padding[1]) > LARGEST_LEVEL:
            raise UsageError(
                f"a padding of {self.options.padding[0]} x {self.options.padding[1]} is more than fits into memory"
            )
        chosen = list(
            scales(size, window, self.options.factor, enlarge=self.options.enlarge, max_levels=self.options.max_levels)
        )
        if not chosen:
            raise window_too_large(size, window, self.options.enlarge)
        score = functools.partial(self._score_level, image, probabilities=probabilities)
        threads = self.runtime.cores
        if threads == 1 or len(chosen) == 1:
            return [score(scale) for scale in chosen]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(score, chosen))

    def _score_level(self, image: Image, scale: float, probabilities: bool) -> ScoreLevel:
        parameters = self.model.parameters
        step = block_step(parameters, self.options.stride)
        padding = _round_up(self.options.padding, step)
        blocks = describe(level(image, scale).image, parameters, step, padding)
        scores = score_grid(blocks, self.model, step, self.options.stride)
        if probabilities:
            scores = self.model.probability(scores)
        return ScoreLevel(scores, scale, (-padding[0], -padding[1]), self.options.stride)


def _product(rows: Floats, matrix: Floats) -> Floats:
    """rows (n, k) times matrix (k, m), in pieces too small for BLAS to split: levels already run in threads."""
    whole = len(rows) // _ROWS_AT_ONCE * _ROWS_AT_ONCE
    result = np.empty((len(rows), matrix.shape[1]), np.float32)
    pieces = (-1, _ROWS_AT_ONCE)
    np.matmul(rows[:whole].reshape(*pieces, len(matrix)), matrix, out=result[:whole].reshape(*pieces, matrix.shape[1]))
    np.matmul(rows[whole:], matrix, out=result[whole:])
    return result


def _round_up(padding: Pair, step: Pair) -> Pair:
    """Padding widened to whole block steps, as OpenCV does."""
    if min(padding) < 0:
        raise UsageError(f"the padding cannot be negative, got {padding[0]} x {padding[1]}")
    return -(-padding[0] // step[0]) * step[0], -(-padding[1] // step[1]) * step[1]


def _windows_on(blocks: Floats, parameters: HogParameters, step: Pair, stride: Pair) -> tuple[Pair, Pair, Pair]:
    """Windows (across, down) on a block grid; grid positions between blocks of a window; and between windows."""
    grid = (blocks.shape[1], blocks.shape[0])
    spacing = (parameters.block_stride[0] // step[0], parameters.block_stride[1] // step[1])
    hop = (stride[0] // step[0], stride[1] // step[1])
    span = tuple((count - 1) * gap + 1 for count, gap in zip(parameters.blocks, spacing, strict=True))
    return grid_size(grid, (span[0], span[1]), hop), spacing, hop


def _tiled(parameters: HogParameters, step: Pair) -> bool:
    """Whether blocks overlap by whole steps, few enough that binning a pixel for all of them at once pays."""
    whole = all(block % gap == 0 for block, gap in zip(parameters.block, step, strict=True))
    weights = [block // gap * cells for block, gap, cells in zip(parameters.block, step, parameters.cells, strict=True)]
    return whole and weights[0] * weights[1] <= _MOST_TILE_WEIGHTS


def _bin_by_tiles(padded: Image, parameters: HogParameters, step: Pair) -> Floats:
    """The first three stages in one pass: `bin_orientations` of `compute_gradients` of the padded picture."""
    from detkit.detectors.hog.hog_kernels import describe_by_tiles

    across, down = grid_size((padded.shape[1] - 2, padded.shape[0] - 2), parameters.block, step)
    blocks = np.empty((down, across, parameters.block_length), np.float32)
    weight_x, weight_y = _weights_by_role(parameters, step)
    describe_by_tiles(
        padded,
        parameters.gamma,
        _arctangent(),
        parameters.bins_per_radian,
        parameters.orientations,
        weight_x,
        weight_y,
        parameters.cells,
        (parameters.block[0] // step[0], parameters.block[1] // step[1]),
        blocks,
    )
    return blocks


@functools.lru_cache(maxsize=1)
def _arctangent() -> Floats:
    """c of arctan(q) = c0 q + c1 q^3 + c2 q^5 + c3 q^7 for q in [0, 1]: within 0.01 degrees.

    Fitted to the polynomial of the same form behind `cv2.fastAtan2`, so that angles are OpenCV's to rounding: a better
    arctangent would move descriptors away from those that published coefficients were trained on.
    """
    ratio = np.linspace(0, 1, 257)[1:]
    angle = np.radians([cv2.fastAtan2(float(value), 1.0) for value in ratio])
    powers = ratio[:, None] ** [1, 3, 5, 7]
    return np.linalg.lstsq(powers, angle, rcond=None)[0].astype(np.float32)


@functools.lru_cache(maxsize=32)
def _weights_by_role(parameters: HogParameters, step: Pair) -> tuple[Floats, Floats]:
    """Per axis (step, tiles of a block * cells), filled up with zeros to a multiple of four."""
    x, y = (
        np.pad(by_tile, ((0, 0), (0, -by_tile.shape[1] % 4)))
        for by_tile in (
            weights.reshape(-1, tile, weights.shape[1]).swapaxes(0, 1).reshape(tile, -1)
            for weights, tile in zip(_spatial_weights(parameters), step, strict=True)
        )
    )
    return x, y


@functools.lru_cache(maxsize=32)
def _spatial_weights(parameters: HogParameters) -> tuple[Floats, Floats]:
    """Per axis (block side, cells): nearness of a pixel to each cell's centre, times its share of the Gaussian."""
    pairs = zip(parameters.block, parameters.cell, strict=True)
    x, y = (_axis_weights(block, cell, parameters.gaussian_sigma) for block, cell in pairs)
    return x, y


def _axis_weights(block: int, cell: int, sigma: float) -> Floats:
    pixels = np.arange(block)
    gaussian = np.exp(-((pixels - block * 0.5) ** 2) / (2 * sigma**2))
    position = (pixels + 0.5) / cell - 0.5  # in cells; 0 is the centre of the first
    nearness = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(block // cell)))
    return np.asarray((nearness * gaussian[:, None]).astype(np.float32))
