"""The picture input of a classifier network: its size, its channels, and how pixels become its numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detkit.errors import ModelError
from detkit.graphs.preparation import IMAGENET, PixelFormat, Preparation
from detkit.graphs.session import Network, TensorInfo
from detkit.graphs.sidecar import Sidecar
from detkit.images import Image


class PictureInput:
    """The one input (N, C, H, W) or (N, H, W, C) with one or three channels.

    info      name, type and shape
    size      (width, height); None where the graph and the sidecar leave it open
    channels, channels_last

    Pixels are normalised as the sidecar file says, else as the metadata `mean` and `std` (scale 0 to 255) say, else as
    torchvision's networks want it (RGB) or to 0..1 (gray). ModelError where the network has another input.
    """

    def __init__(self, network: Network, sidecar: Sidecar) -> None:
        self.info = _picture_input(network)
        shape = self.info.shape
        self.channels_last = shape[-1] in (1, 3) and shape[1] not in (1, 3)
        self.channels = int(shape[-1 if self.channels_last else 1] or 3)
        height, width = shape[1:3] if self.channels_last else shape[2:4]
        self.size = (width, height) if width and height else sidecar.size
        self._preparation = _preparation(sidecar, network.metadata, self.channels)
        self._pixels = PixelFormat(self.info.dtype, self.channels_last, self.channels)

    @property
    def mean(self) -> tuple[float, ...]:
        """What becomes zero, for each channel of an RGB or gray picture, on the scale 0 to 255."""
        mean = self._preparation.mean[: self.channels]
        return mean[::-1] if self._preparation.color == "bgr" else mean

    def tensor(self, image: Image) -> NDArray[Any]:
        """A picture uint8 (H, W, 3) RGB as the network wants it: (C, H, W), or (H, W, C) with channels last."""
        return self._preparation.tensor(image, self._pixels)


def is_embedding(rows: NDArray[Any]) -> bool:
    """Whether rows (N, K) are embeddings of length 1 and not scores, as networks for finding alike pictures give."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    return rows.shape[1] > 2 and bool((rows < -1e-6).any()) and bool(np.all(np.abs(lengths - 1) < 1e-3))


def _picture_input(network: Network) -> TensorInfo:
    """The one input, with four axes of which one is one or three channels."""
    if len(network.inputs) == 1:
        shape = network.inputs[0].shape
        if len(shape) == 4 and (shape[1] in (1, 3, None) or shape[-1] in (1, 3)):
            return network.inputs[0]
    found = "; ".join(str(value) for value in network.inputs)
    raise ModelError(
        f"{network.path}: its input is not a picture (one input of N x C x H x W with 1 or 3 channels): {found}"
    )


def _preparation(sidecar: Sidecar, metadata: Mapping[str, str], channels: int) -> Preparation:
    """Channel order, mean and standard deviation on the scale 0 to 255."""
    gray = channels == 1
    mean = sidecar.mean or _metadata_numbers(metadata, "mean", channels)
    std = sidecar.std or _metadata_numbers(metadata, "std", channels)
    mean = mean or ((0.0,) if gray else IMAGENET.mean)
    std = std or ((255.0,) if gray else IMAGENET.std)
    color: Literal["rgb", "bgr"] = "bgr" if sidecar.color == "bgr" and not gray else "rgb"
    return Preparation(color=color, mean=_three(mean), std=_three(std))


def _three(values: tuple[float, ...]) -> tuple[float, float, float]:
    first, second, third = (values * 3)[:3] if len(values) == 1 else values
    return first, second, third


def _metadata_numbers(metadata: Mapping[str, str], key: str, channels: int) -> tuple[float, ...] | None:
    try:
        values = tuple(float(value) for value in json.loads(metadata.get(key, "")))
    except (ValueError, TypeError):
        return None
    return values if len(values) == channels and (key == "mean" or min(values) > 0) else None
