"""A trained network in the Kalman filter's place: `detkit track --motion FILE.onnx`.

The graph has the inputs

    boxes   float32 (T, K, 4)   the last K boxes of T tracks, xyxy in pixels, oldest first
    ago     float32 (T, K)      seconds since each of them, at the moment that is asked for
    count   int64 (T,)          how many of them are real; those before repeat the oldest. May be left out

T is an open axis, K a number that the graph fixes. Its first output are the boxes (T, 4) that are expected now.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats
from detkit.errors import ModelError
from detkit.graphs.runtime import Runtime
from detkit.graphs.session import Network
from detkit.tracking.motion import HistoryMotion

_WANTED = "inputs boxes (T, K, 4), ago (T, K) and, if it likes, count (T,), with K fixed and T open"


class MotionNetwork:
    """A motion model from a file. ModelError where the graph is none; see the module for what it has to be."""

    def __init__(self, path: str | os.PathLike[str], runtime: Runtime = Runtime(device="cpu", threads=1)) -> None:
        self.network = Network(path, runtime)
        inputs = {one.name: one for one in self.network.inputs}
        shapes = {name: one.shape for name, one in inputs.items()}
        boxes = shapes.get("boxes", ())
        sound = inputs.keys() - {"count"} == {"boxes", "ago"} and len(boxes) == 3 and boxes[0] is None
        sound = sound and boxes[2] == 4 and shapes["ago"] == boxes[:2]
        if not sound or not isinstance(boxes[1], int):
            found = ", ".join(map(str, self.network.inputs))
            raise ModelError(f"{os.fspath(path)}: is no motion model: it needs the {_WANTED}, and has {found}")
        self.length = boxes[1]
        self._types: dict[str, Any] = {name: one.dtype for name, one in inputs.items()}

    def motion(self) -> HistoryMotion:
        """A motion model for the tracks of one video."""
        return HistoryMotion(self, self.length)

    def __call__(self, boxes: Floats, ago: Floats, count: NDArray[np.int64]) -> Floats:
        """The boxes (T, 4) expected now. ModelError where the network gives none, or numbers that are not finite."""
        given = {"boxes": boxes, "ago": ago, "count": count}
        expected = np.asarray(
            self.network.run({name: given[name].astype(dtype) for name, dtype in self._types.items()})[0], np.float64
        )
        if expected.shape != (len(boxes), 4) or not np.isfinite(expected).all():
            raise ModelError(
                f"{self.network.path}: gives {expected.shape} for {len(boxes)} tracks, not a box of finite numbers each"
            )
        corners = np.sort(expected.reshape(-1, 2, 2), axis=1)  # left before right, top before bottom
        return corners.reshape(-1, 4)
