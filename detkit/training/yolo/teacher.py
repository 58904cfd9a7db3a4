"""A trained detector that labels the training pictures point by point."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from detkit.errors import ModelError, UsageError

from .network import STRIDES


class YoloxTeacher:
    """A YOLOX network whose grid, at strides 8, 16 and 32, is the grid of the network in training.

    The graph's input size is changed to that of the picture, any multiples of 32, so that it sees exactly the
    pictures the student sees. Ge et al., "YOLOX" (2021).
    """

    def __init__(self, path: Path, classes: int) -> None:
        try:
            self._model = onnx.load(str(path))
        except Exception as error:  # protobuf's and onnx's own errors have no common base
            raise ModelError(f"{path}: the teacher is not an ONNX file, or is damaged") from error
        self._sessions: dict[tuple[int, int], onnxruntime.InferenceSession] = {}
        try:
            found = self(np.zeros((64, 64, 3), np.uint8))[0].shape[1]
        except Exception as error:  # onnxruntime has no common base class for its errors
            raise ModelError(f"{path}: the teacher is not a YOLOX network") from error
        if found != classes:
            raise UsageError(f"{path}: the teacher has {found} classes, the annotations have {classes}")

    def _session(self, height: int, width: int) -> onnxruntime.InferenceSession:
        """A session for one input size: with all shapes known, onnxruntime runs it in less than half the time."""
        if (height, width) not in self._sessions:
            shape = self._model.graph.input[0].type.tensor_type.shape.dim
            shape[2].dim_value, shape[3].dim_value = height, width
            for output in self._model.graph.output:
                output.type.tensor_type.ClearField("shape")
            del self._model.graph.value_info[:]
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 3
            self._sessions[height, width] = onnxruntime.InferenceSession(
                self._model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        return self._sessions[height, width]

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores (A, classes), objectness times class, and boxes (A, 4) xyxy in pixels, for an RGB image (H, W, 3)."""
        height, width = image.shape[:2]
        bgr = np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1), dtype=np.float32)[None]
        session = self._session(height, width)
        raw = np.asarray(session.run(None, {session.get_inputs()[0].name: bgr})[0])[0]  # (A, 5 + classes)
        corners, strides = [], []
        for stride in STRIDES:
            y, x = np.mgrid[: height // stride, : width // stride]
            corners.append(np.stack((x.ravel(), y.ravel()), axis=1))
            strides.append(np.full((corners[-1].shape[0], 1), stride))
        stride_column = np.concatenate(strides).astype(np.float32)
        centre = (raw[:, :2] + np.concatenate(corners)) * stride_column
        half = np.exp(raw[:, 2:4]) * stride_column / 2
        scores = raw[:, 4:5] * raw[:, 5:]
        return scores, np.concatenate((centre - half, centre + half), axis=1).astype(np.float32)
