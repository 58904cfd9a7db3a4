"""What an R-CNN knows beside its feature network: a linear SVM and a box regressor for each class, in one file.

The file is a numpy archive (.npz) without pickles: `weights` (C, D), `offsets` (C,), `regressors` (C, 4, M),
`regressor_offsets` (C, 4), `calibration` (C, 2), and `model`, a JSON text with everything else.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.array_files import read_arrays
from detkit.errors import DetkitError, ModelError
from detkit.files import write_bytes

Floats = NDArray[np.float32]

_FORMAT = "detkit-rcnn"
# What numpy lets through from the reader of archives.
_DAMAGED = (zlib.error, NotImplementedError, RuntimeError, OSError, OverflowError)
_ARRAYS = ("weights", "offsets", "regressors", "regressor_offsets", "calibration")


@dataclass(frozen=True)
class FeatureSettings:
    """Which features: the arguments of `RegionFeatures`, and the hash of the network's file.

    A model is the name of a network that detkit knows, or the path of an .onnx file.
    """

    model: str
    sha256: str
    row: str
    grid: str
    size: tuple[int, int]
    context: int


@dataclass(frozen=True, eq=False)
class RcnnModel:
    """Per class an SVM and box regressors (Girshick et al. 2014, section 2.3, appendix C).

    Of the features of a region, a row (R,) and a grid (M,), the SVMs see both, one behind the other (D = R + M), the
    regressors the grid.

    weights, offsets               float32 (C, D), (C,): the margin of class c is weights[c] @ x + offsets[c]
    regressors, regressor_offsets  float32 (C, 4, M), (C, 4): offsets tx, ty, tw, th; M is 0 without regressors
    calibration  float32 (C, 2): the probability of a margin m is 1 / (1 + exp(-(a * m + b))) (Platt 1999)
    names        of the C classes
    features     the network and its tensors
    notes        source, licence, training: whatever a reader should know

    ModelError where shapes do not fit.
    """

    weights: Floats
    offsets: Floats
    regressors: Floats
    regressor_offsets: Floats
    calibration: Floats
    names: tuple[str, ...]
    features: FeatureSettings
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.names)
        shapes = [getattr(self, name).shape for name in _ARRAYS]
        fits = (
            count > 0
            and self.weights.ndim == 2
            and self.regressors.ndim == 3
            and self.weights.shape[0] == count
            and self.regressors.shape[:2] == (count, 4)
            and self.offsets.shape == (count,)
            and self.regressor_offsets.shape == (count, 4)
            and self.calibration.shape == (count, 2)
        )
        if not fits:
            raise ModelError(f"an R-CNN of {count} classes cannot have arrays of shapes {shapes}")
        if not all(np.isfinite(getattr(self, name)).all() for name in _ARRAYS):
            raise ModelError("the R-CNN holds numbers that are not finite")

    def margins(self, features: Floats) -> Floats:
        """Margins (N, C) of features (N, D)."""
        return np.asarray(features @ self.weights.T + self.offsets, np.float32)

    def probabilities(self, margins: Floats) -> Floats:
        """Calibrated probabilities (N, C) of margins (N, C)."""
        exponent = self.calibration[:, 0] * margins + self.calibration[:, 1]
        return np.asarray((1 / (1 + np.exp(-np.clip(exponent, -80, 80)))).astype(np.float32))

    def box_offsets(self, features: Floats, classes: NDArray[np.integer[Any]]) -> Floats:
        """Offsets (N, 4) of features (N, M), each by the regressors of its class, classes (N,)."""
        found = np.zeros((len(features), 4), np.float32)
        for one in np.unique(classes):
            rows = classes == one
            found[rows] = features[rows] @ self.regressors[one].T + self.regressor_offsets[one]
        return found


def write_rcnn_model(path: str | os.PathLike[str], model: RcnnModel) -> None:
    """Write a model as .npz, all or nothing. Weights are stored in 16 bits."""
    features = model.features
    about = {
        "format": _FORMAT,
        "version": 1,
        "names": model.names,
        "features": {
            "model": features.model,
            "sha256": features.sha256,
            "row": features.row,
            "grid": features.grid,
            "size": features.size,
            "context": features.context,
        },
        "notes": dict(model.notes),
    }
    # Weights over normalised features are far from the smallest and largest 16-bit numbers.
    half = {name: getattr(model, name).astype(np.float16) for name in ("weights", "regressors")}
    whole = {name: getattr(model, name) for name in ("offsets", "regressor_offsets", "calibration")}
    content = io.BytesIO()
    np.savez_compressed(content, **half, **whole, model=np.array(json.dumps(about)))
    write_bytes(path, content.getvalue())


def read_rcnn_model(path: str | os.PathLike[str]) -> RcnnModel:
    """The model in an .npz file of `write_rcnn_model`. ModelError names the file where it is none."""
    try:
        stored, about = read_arrays(path, _ARRAYS)
        arrays = {key: np.ascontiguousarray(array, np.float32) for key, array in stored.items()}
        if about.get("format") != _FORMAT:
            raise ValueError("other format")
        settings = about["features"]
        width, height = settings["size"]
        if not (min(width, height) >= 16 and max(width, height) <= 4096 and settings["context"] >= 0):
            raise ValueError("sizes out of range")
        features = FeatureSettings(
            str(settings["model"]),
            str(settings["sha256"]),
            str(settings["row"]),
            str(settings["grid"]),
            (int(width), int(height)),
            int(settings["context"]),
        )
        return RcnnModel(**arrays, names=tuple(map(str, about["names"])), features=features, notes=about["notes"])
    except DetkitError as error:
        raise error if str(path) in str(error) else ModelError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: is not an R-CNN of detkit (see detkit train rcnn)") from error
