"""What a HOG detector knows: the parameters of its descriptor, its classifier, and the file that holds both.

The file is a numpy archive (.npz) without pickles: `weights` (units, descriptor length), `offsets` (units,),
`output` (units + 1,) of a shallow network or empty, and `model`, a JSON text with everything else. OpenCV's
coefficients, as `HOGDescriptor.setSVMDetector` takes them, are read too: see `read_opencv_svm`.
"""

from __future__ import annotations

import functools
import io
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.array_files import only_array, read_arrays
from detkit.errors import DetkitError, ModelError, UsageError
from detkit.files import read_file, write_bytes
from detkit.graphs.registry import hog_models, other_command, registry, resolve

Floats = NDArray[np.float32]
Pair = tuple[int, int]
Norm = Literal["l2-hys", "l2", "l1", "l1-sqrt"]

_FORMAT = "detkit-hog"


@dataclass(frozen=True)
class HogParameters:
    """Every parameter of the descriptor. The defaults are those of Dalal and Triggs' person detector.

    window, block, block_stride, cell   (width, height) in pixels; the window is tiled by block strides, a block by
                                        cells. UsageError where they do not fit
    orientations  bins over half a turn, or over a whole one where `signed`
    gamma         square root of the samples first
    sigma         of a block's Gaussian in pixels; by default a quarter of width + height
    norm          of the blocks; `clip` is L2-Hys's limit
    epsilon, clipped_epsilon   keep the norm of a flat block from 0: see `hog.normalize_blocks`
    """

    window: Pair = (64, 128)
    block: Pair = (16, 16)
    block_stride: Pair = (8, 8)
    cell: Pair = (8, 8)
    orientations: int = 9
    signed: bool = False
    gamma: bool = True
    sigma: float | None = None
    norm: Norm = "l2-hys"
    clip: float = 0.2
    epsilon: float = 0.1
    clipped_epsilon: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("window", "block", "block_stride", "cell"):
            pair = tuple(getattr(self, name))
            if len(pair) != 2 or any(int(side) != side or side < 1 for side in pair):
                raise UsageError(f"HOG {name} must be two whole numbers of pixels, got {pair}")
            object.__setattr__(self, name, (int(pair[0]), int(pair[1])))
        for axis, side in enumerate(("wide", "high")):
            if self.block[axis] % self.cell[axis]:
                raise UsageError(
                    f"HOG blocks {self.block[axis]} pixels {side} are not filled by cells of {self.cell[axis]}"
                )
            rest = self.window[axis] - self.block[axis]
            if rest < 0 or rest % self.block_stride[axis]:
                raise UsageError(
                    f"HOG windows {self.window[axis]} pixels {side} are not tiled by blocks of "
                    f"{self.block[axis]} every {self.block_stride[axis]} pixels"
                )
        if not 1 <= self.orientations <= 10_000:
            raise UsageError(f"HOG needs at least 1 orientation, got {self.orientations}")
        if self.norm not in get_args(Norm):
            raise UsageError(f"HOG norm {self.norm!r} is not known; there are {', '.join(get_args(Norm))}")
        positive = {"clip": self.clip, "epsilon": self.epsilon, "clipped_epsilon": self.clipped_epsilon}
        if self.sigma is not None:
            positive["sigma"] = self.sigma
        for name, value in positive.items():
            if not value > 0:
                raise UsageError(f"HOG {name} must be above 0, got {value:g}")

    @property
    def cells(self) -> Pair:
        """Cells of a block, (across, down)."""
        return self.block[0] // self.cell[0], self.block[1] // self.cell[1]

    @property
    def blocks(self) -> Pair:
        """Blocks of a window, (across, down)."""
        across, down = (
            (window - block) // stride + 1
            for window, block, stride in zip(self.window, self.block, self.block_stride, strict=True)
        )
        return across, down

    @property
    def block_length(self) -> int:
        """Numbers of a block: 36 by default."""
        return self.cells[0] * self.cells[1] * self.orientations

    @property
    def descriptor_length(self) -> int:
        """Numbers of a window: 3,780 by default."""
        return self.blocks[0] * self.blocks[1] * self.block_length

    @property
    def bins_per_radian(self) -> np.float32:
        """Orientation bins for one radian."""
        return np.float32(self.orientations / (2 * np.pi if self.signed else np.pi))

    @property
    def gaussian_sigma(self) -> float:
        """Sigma of a block's Gaussian in pixels."""
        return (self.block[0] + self.block[1]) / 8 if self.sigma is None else self.sigma


@dataclass(frozen=True, eq=False)
class HogModel:
    """A linear SVM, or a network with one hidden layer of rectified units, over HOG descriptors.

    parameters   of the descriptor
    weights      float32 (units, descriptor length); one unit for a linear classifier
    offsets      float32 (units,)
    output       float32 (units + 1,) weights and offset of the output over the hidden units; empty where linear
    name         of the class
    calibration  (slope, offset): the probability of a margin m is 1 / (1 + exp(-(slope * m + offset)))
    object_box   x1, y1, x2, y2: where in the window, in its pixels, the object lies
    notes        source, licence, training: whatever a reader should know

    ModelError where lengths do not fit.
    """

    parameters: HogParameters
    weights: Floats
    offsets: Floats
    output: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    name: str = "object"
    calibration: tuple[float, float] = (1.0, 0.0)
    object_box: tuple[float, float, float, float] | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        length = self.parameters.descriptor_length
        units = len(self.offsets)
        if self.weights.shape != (units, length) or units < 1:
            raise ModelError(
                f"a HOG classifier over windows of {_size(self.parameters.window)} needs weights of shape "
                f"(units, {length}) and as many offsets, got {self.weights.shape} and {units}"
            )
        if self.output.shape not in ((0,), (units + 1,)) or (self.output.size == 0 and units > 1):
            raise ModelError(f"{units} hidden units need {units + 1} output weights, got {self.output.size}")
        arrays = (self.weights, self.offsets, self.output)
        if not all(np.isfinite(array).all() for array in arrays):
            raise ModelError("the HOG classifier holds weights that are not finite")
        if self.object_box is not None and not _is_box(self.object_box):
            raise ModelError(f"the object box of a HOG classifier must be x1 < x2 and y1 < y2, got {self.object_box}")
        if not (np.isfinite(self.calibration).all() and self.calibration[0] > 0):
            raise ModelError(f"the calibration of a HOG classifier needs a slope above 0, got {self.calibration}")

    @functools.cached_property
    def block_matrices(self) -> tuple[Floats, ...]:
        """The weights of each unit as a matrix (block length, block rows * block columns)."""
        across, down = self.parameters.blocks
        grids = self.weights.reshape(-1, across, down, self.parameters.block_length)
        return tuple(np.ascontiguousarray(grid.transpose(2, 1, 0).reshape(grid.shape[2], -1)) for grid in grids)

    def combine(self, units: Floats) -> Floats:
        """Margins (...) from the values of the first layer (units, ...)."""
        if not self.output.size:
            return np.asarray(units[0])
        hidden = np.maximum(units, 0)
        return np.asarray(np.tensordot(self.output[:-1], hidden, axes=1) + self.output[-1])

    def margins(self, descriptors: Floats) -> Floats:
        """Margins (N,) of descriptors (N, descriptor length)."""
        return self.combine(self.weights @ descriptors.T + self.offsets[:, None])

    def probability(self, margins: Floats) -> Floats:
        """Calibrated probabilities of margins; Platt 1999, eq. 1."""
        slope, offset = self.calibration
        return np.asarray((1 / (1 + np.exp(-np.clip(slope * margins + offset, -80, 80)))).astype(np.float32))

    def object_boxes(self, windows: NDArray[Any]) -> NDArray[Any]:
        """Boxes (N, 4) xyxy of the objects in windows (N, 4) xyxy."""
        if self.object_box is None:
            return windows
        part = np.asarray(self.object_box, windows.dtype) / (self.parameters.window * 2)
        corner = windows[:, [0, 1, 0, 1]]
        return np.asarray(corner + part * (windows[:, [2, 3, 2, 3]] - corner))


def _is_box(values: Any) -> bool:
    """Whether these are x1, y1, x2, y2 of a box with an area."""
    try:
        x1, y1, x2, y2 = map(float, values)
    except (TypeError, ValueError):
        return False
    return bool(np.isfinite((x1, y1, x2, y2)).all() and x1 < x2 and y1 < y2)


def write_model(path: str | os.PathLike[str], model: HogModel) -> None:
    """Write a model as .npz, all or nothing."""
    about = {
        "format": _FORMAT,
        "version": 1,
        "name": model.name,
        "parameters": asdict(model.parameters),
        "calibration": model.calibration,
        "object_box": model.object_box,
        "notes": dict(model.notes),
    }
    content = io.BytesIO()
    np.savez_compressed(
        content,
        weights=model.weights,
        offsets=model.offsets,
        output=model.output,
        model=np.array(json.dumps(about)),
    )
    write_bytes(path, content.getvalue())


def read_model(path: str | os.PathLike[str]) -> HogModel:
    """The model in an .npz file of `write_model`. ModelError names the file where it is none."""
    try:
        arrays, about = read_arrays(path, ("weights", "offsets", "output"))
        if about.get("format") != _FORMAT or about.get("version") != 1 or not isinstance(about["name"], str):
            raise ValueError("other format")
        known = {part.name for part in fields(HogParameters)}
        given = {key: _tuples(value) for key, value in about["parameters"].items() if key in known}
        return HogModel(
            HogParameters(**given),
            **{key: np.ascontiguousarray(array, np.float32) for key, array in arrays.items()},
            name=str(about["name"]),
            calibration=(float(about["calibration"][0]), float(about["calibration"][1])),
            object_box=_tuples(about["object_box"]),
            notes=about["notes"],
        )
    except DetkitError as error:
        raise error if str(path) in str(error) else ModelError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ModelError(f"{path}: is not a HOG model of detkit (see detkit train hog)") from error


def read_opencv_svm(
    path: str | os.PathLike[str], parameters: HogParameters | None = None, name: str = "object"
) -> HogModel:
    """A linear model from OpenCV's coefficients: as many as the descriptor has, and one more for the offset.

    Read are text (numbers between blanks, commas or brackets), .npy, .npz with one array, and OpenCV's own .yml,
    .xml and .json as `HOGDescriptor.save` writes them, with their own parameters: others are a UsageError. The margin
    is sum(w * descriptor) + offset, and it is not calibrated: probability is the logistic function of it.
    """
    if Path(path).suffix.lower() in (".yml", ".yaml", ".xml", ".json"):
        numbers, stored = _from_file_storage(path)
        if stored is not None and parameters is not None and stored != parameters:
            raise UsageError(f"{path}: holds the parameters of its descriptor: do not give others")
        parameters = stored or parameters
    else:
        numbers = _numbers(path)
    parameters = parameters or HogParameters()
    length = parameters.descriptor_length
    if len(numbers) not in (length, length + 1):
        raise ModelError(
            f"{path}: holds {len(numbers)} coefficients, but windows of {_size(parameters.window)} have descriptors "
            f"of {length}: there must be {length}, or {length + 1} with the offset"
        )
    offset = numbers[length:] if len(numbers) > length else np.zeros(1, np.float32)
    try:
        return HogModel(parameters, numbers[None, :length].copy(), offset.copy(), name=name)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def parameters_from_text(text: str) -> HogParameters:
    """Parameters from "window=48x96,cell=8x8,orientations=9,gamma=no"; what is not named keeps its default."""
    given: dict[str, Any] = {}
    kinds = {part.name: part.type for part in fields(HogParameters)}
    for entry in filter(None, text.replace(" ", "").split(",")):
        name, _, value = entry.partition("=")
        name = name.replace("-", "_")
        if name not in kinds:
            raise UsageError(f"HOG has no parameter {name!r}; there are {', '.join(kinds)}")
        try:
            given[name] = _value(str(kinds[name]), value)
        except (ValueError, KeyError) as error:
            raise UsageError(
                f"HOG {name}={value} cannot be read; an example is {_EXAMPLES[str(kinds[name])]}"
            ) from error
    return HogParameters(**given)


_EXAMPLES = {
    "Pair": "window=64x128",
    "int": "orientations=9",
    "bool": "gamma=no",
    "float": "clip=0.2",
    "float | None": "sigma=4",
    "Norm": "norm=l2-hys",
}


def _value(kind: str, text: str) -> Any:
    if kind == "Pair":
        width, height = text.lower().split("x")
        return int(width), int(height)
    if kind == "bool":
        return {"yes": True, "no": False, "true": True, "false": False, "1": True, "0": False}[text.lower()]
    if kind == "Norm":
        return text.lower()
    return int(text) if kind == "int" else float(text)


def named_model(model: str | os.PathLike[str] | None) -> HogModel:
    """A HOG model by the name of a bundled one ("person", "person-inria"), or from a file; None is the default."""
    if model is None:
        return person_model()
    path = Path(model)
    if not path.is_file() and len(path.parts) == 1 and path.suffix != ".npz":
        bundled = hog_models()
        if str(model) in bundled:
            return read_model(bundled[str(model)])
        if str(model) in registry():
            raise other_command(model, registry()[str(model)].head)
        raise ModelError(f"no HOG model {str(model)!r}: neither a file nor one of {', '.join(bundled)}")
    return read_model(path)


@functools.lru_cache(maxsize=1)
def person_model() -> HogModel:
    """The bundled person detector; models/README.md says how it was made and measured."""
    return read_model(resolve(None, "hog-detect"))


def _numbers(path: str | os.PathLike[str]) -> Floats:
    content = read_file(path, ModelError)
    try:
        if content.startswith((b"\x93NUMPY", b"PK")):
            return np.asarray(only_array(content), np.float32).ravel()
        words = re.split(r"[\s,;\[\](){}]+", content.decode("utf-8-sig"))
        return np.array([float(word) for word in words if word], np.float32)
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"{path}: is not a list of SVM coefficients (text, .npy, .npz with one array, .yml)"
        ) from error


def _from_file_storage(path: str | os.PathLike[str]) -> tuple[Floats, HogParameters | None]:
    """Coefficients of the first node of an OpenCV file, and the descriptor's parameters where it holds them."""
    text = read_file(path, ModelError).decode("utf-8", errors="replace")
    if max(map(text.count, ("[", "{", "<", "- "))) > 1000:  # nested deeply, they end the process
        raise ModelError(f"{path}: is not an OpenCV file with SVM coefficients")
    try:
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        node = storage.getFirstTopLevelNode()
        if node.isMap() and not node.getNode("SVMDetector").empty():
            return _node_numbers(node.getNode("SVMDetector")), _hog_parameters(node)
        return _node_numbers(node), None
    except (cv2.error, SystemError, ValueError, OverflowError) as error:
        raise ModelError(f"{path}: is not an OpenCV file with SVM coefficients") from error


def _node_numbers(node: Any) -> Floats:
    values = [node.at(index).real() for index in range(node.size())] if node.isSeq() else node.mat()
    return np.asarray(values, np.float32).ravel()


def _hog_parameters(node: Any) -> HogParameters | None:
    if node.getNode("winSize").empty():
        return None

    def pair(key: str) -> Pair:
        return int(node.getNode(key).at(0).real()), int(node.getNode(key).at(1).real())

    parameters = HogParameters(
        window=pair("winSize"),
        block=pair("blockSize"),
        block_stride=pair("blockStride"),
        cell=pair("cellSize"),
        orientations=int(node.getNode("nbins").real()),
        gamma=bool(node.getNode("gammaCorrection").real()),
        clip=float(node.getNode("L2HysThreshold").real()),
        signed=bool(node.getNode("signedGradient").real()),
    )
    sigma = float(node.getNode("winSigma").real())
    return replace(parameters, sigma=sigma) if sigma > 0 else parameters


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _size(pair: Pair) -> str:
    return f"{pair[0]} x {pair[1]}"
