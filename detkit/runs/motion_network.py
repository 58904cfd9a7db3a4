"""A trained network in the Kalman filter's place: `detkit track --motion FILE.onnx`.

Either the graph sees a track's last boxes at once. Its inputs are then

    boxes   float32 (T, K, 4)   the last K boxes of T tracks, xyxy in pixels, oldest first
    ago     float32 (T, K)      seconds since each of them, at the moment that is asked for
    count   int64 (T,)          how many of them are real; those before repeat the oldest. May be left out

with K a number that the graph fixes. Or it sees one box at a time, and remembers by a state:

    box     float32 (T, 4)      the last box of T tracks, xyxy in pixels
    since   float32 (T,)        seconds from the box before to it; 0 for a track's first box
    ahead   float32 (T,)        seconds from it to the moment that is asked for
    NAME    float32 (T, ...)    its state before that box, zeros for a new track; as many as it likes, of any names

In both, T is an open axis, and the first output are the boxes (T, 4) that are expected at that moment. A graph with
states has an output NAME_next for each: the state after the box, which must not depend on `ahead`.
`detkit train motion` writes graphs of the second kind.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.boxes import Floats
from detkit.errors import ModelError
from detkit.graphs.runtime import Runtime
from detkit.graphs.session import Network, TensorInfo
from detkit.tracking.motion import HistoryMotion, Motion, StatefulMotion, States

_WANTED = (
    "inputs boxes (T, K, 4), ago (T, K) and, if it likes, count (T,), with K fixed and T open; or box (T, 4), since "
    "(T,), ahead (T,) and states, each with an output NAME_next"
)
_STEP = ("box", "since", "ahead")
_NEXT = "_next"


class MotionNetwork:
    """A motion model from a file. ModelError where the graph is none; see the module for what it has to be."""

    def __init__(self, path: str | os.PathLike[str], runtime: Runtime = Runtime(device="cpu", threads=1)) -> None:
        self.network = Network(path, runtime)
        inputs = {one.name: one for one in self.network.inputs}
        self._types: dict[str, Any] = {name: one.dtype for name, one in inputs.items()}
        self._states = [one for name, one in inputs.items() if name not in _STEP] if "box" in inputs else []
        self.length: int | None = None
        if not (self._sees_steps(inputs) if "box" in inputs else self._sees_history(inputs)):
            found = ", ".join(map(str, self.network.inputs))
            raise ModelError(f"{os.fspath(path)}: is no motion model: it needs the {_WANTED}; it has {found}")

    def _sees_history(self, inputs: dict[str, TensorInfo]) -> bool:
        shapes = {name: one.shape for name, one in inputs.items()}
        boxes = shapes.get("boxes", ())
        if inputs.keys() - {"count"} != {"boxes", "ago"} or len(boxes) != 3 or boxes[0] is not None or boxes[2] != 4:
            return False
        self.length = boxes[1]
        return isinstance(self.length, int) and shapes["ago"] == boxes[:2]

    def _sees_steps(self, inputs: dict[str, TensorInfo]) -> bool:
        outputs = {one.name for one in self.network.outputs}
        if not inputs.keys() >= set(_STEP) or inputs["box"].shape != (None, 4):
            return False
        flat = inputs["since"].shape == (None,) == inputs["ahead"].shape
        fixed = all(one.shape[:1] == (None,) and None not in one.shape[1:] for one in self._states)
        return flat and fixed and {one.name + _NEXT for one in self._states} <= outputs

    def motion(self) -> Motion:
        """A motion model for the tracks of one video."""
        if self.length is not None:
            return HistoryMotion(self, self.length)
        blank = tuple(np.zeros((1, *(axis or 0 for axis in one.shape[1:])), one.dtype) for one in self._states)
        return StatefulMotion(self.step, blank)

    def __call__(self, boxes: Floats, ago: Floats, count: NDArray[np.int64]) -> Floats:
        """The boxes (T, 4) expected now. ModelError where the network gives none, or numbers that are not finite."""
        given = {"boxes": boxes, "ago": ago, "count": count}
        return self._expected(self.network.run(self._typed(given))[0], len(boxes))

    def step(self, box: Floats, since: Floats, ahead: Floats, states: States) -> tuple[Floats, States]:
        """The boxes (T, 4) expected, and the states after `box`. ModelError as above, or where a state changes shape.

        box (T, 4), since (T,), ahead (T,), states (T, ...) each, as the module's text has them
        """
        given: dict[str, Any] = {"box": box, "since": since, "ahead": ahead}
        given |= {one.name: state for one, state in zip(self._states, states, strict=True)}
        wanted = [self.network.outputs[0].name, *(one.name + _NEXT for one in self._states)]
        expected, *following = self.network.run(self._typed(given), wanted)
        for one, before, after in zip(self._states, states, following, strict=True):
            if after.shape != before.shape or not np.isfinite(after).all():
                raise ModelError(
                    f"{self.network.path}: gives {one.name}{_NEXT} {after.shape} for {one.name} {before.shape}, or "
                    "numbers that are not finite"
                )
        return self._expected(expected, len(box)), tuple(following)

    def _typed(self, given: dict[str, Any]) -> dict[str, NDArray[Any]]:
        return {name: np.asarray(given[name]).astype(dtype) for name, dtype in self._types.items()}

    def _expected(self, output: NDArray[Any], count: int) -> Floats:
        expected = np.asarray(output, np.float64)
        if expected.shape != (count, 4) or not np.isfinite(expected).all():
            raise ModelError(
                f"{self.network.path}: gives {expected.shape} for {count} tracks, not a box of finite numbers each"
            )
        corners = np.sort(expected.reshape(-1, 2, 2), axis=1)  # left before right, top before bottom
        return corners.reshape(-1, 4)
