"""A trained detector that labels the training pictures point by point."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.errors import ModelError, UsageError
from detkit.graphs.editing import load, with_input_size
from detkit.graphs.runtime import Runtime
from detkit.graphs.session import Network
from detkit.training.torch.backbone import STRIDES


class YoloxTeacher:
    """A YOLOX network whose grid, at strides 8, 16 and 32, is the grid of the network in training.

    The graph's input size is changed to that of the picture, any multiples of 32, so that it sees exactly the
    pictures the student sees. Ge et al., "YOLOX" (2021). ModelError where the file holds no such network, UsageError
    where it has another number of classes.
    """

    def __init__(self, path: Path, classes: int) -> None:
        self.path, self._model = path, load(path)
        self._networks: dict[tuple[int, int], Network] = {}
        try:
            found = self(np.zeros((64, 64, 3), np.uint8))[0].shape[1]
        except (ModelError, ValueError, IndexError) as error:  # what arrays of other shapes raise
            raise ModelError(f"{path}: the teacher is not a YOLOX network") from error
        if found != classes:
            raise UsageError(f"{path}: the teacher has {found} classes, the annotations have {classes}")

    def _network(self, height: int, width: int) -> Network:
        """The network for one input size: with all shapes known, onnxruntime runs it in less than half the time."""
        if (height, width) not in self._networks:
            content = with_input_size(self._model, height, width).SerializeToString()
            self._networks[height, width] = Network(self.path, Runtime("cpu", threads=1), content=content)
        return self._networks[height, width]

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores (A, classes), objectness times class, and boxes (A, 4) xyxy in pixels, for an RGB image (H, W, 3)."""
        height, width = image.shape[:2]
        bgr = np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1), dtype=np.float32)[None]
        network = self._network(height, width)
        raw = network.run({network.inputs[0].name: bgr})[0][0]  # (A, 5 + classes)
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
