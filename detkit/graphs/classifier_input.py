"""The picture input of a classifier network: its size, its channels, and how pixels become its numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.errors import ModelError
from detkit.graphs.preparation import IMAGENET, Preparation
from detkit.graphs.session import Network, TensorInfo
from detkit.graphs.sidecar import Sidecar
from detkit.images import Image

Floats = NDArray[np.float32]


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
        self._color, self._mean, self._std = _normalisation(sidecar, network.metadata, self.channels)
        if self.channels == 3:
            mean, std = (tuple(values.tolist()) for values in (self._mean, self._std))
            self._preparation = Preparation(color="bgr" if self._color == "bgr" else "rgb", mean=mean, std=std)

    @property
    def mean(self) -> tuple[float, ...]:
        """What becomes zero, for each channel of an RGB or gray picture, on the scale 0 to 255."""
        mean = tuple(float(value) for value in self._mean)
        return mean[::-1] if self._color == "bgr" else mean

    def tensor(self, image: Image) -> NDArray[Any]:
        """A picture uint8 (H, W, 3) RGB as the network wants it: (C, H, W), or (H, W, C) with channels last."""
        if self.channels == 3:
            return self._preparation.tensor(image, self.info.dtype, self.channels_last)
        pixels: NDArray[Any] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
        if not np.issubdtype(self.info.dtype, np.integer):
            pixels = (pixels.astype(np.float32) - self._mean) / self._std
        ordered = pixels if self.channels_last else pixels.transpose(2, 0, 1)
        return np.ascontiguousarray(ordered, self.info.dtype)


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


def _normalisation(sidecar: Sidecar, metadata: Mapping[str, str], channels: int) -> tuple[str, Floats, Floats]:
    """Channel order, and mean and standard deviation (channels,) on the scale 0 to 255."""
    gray = channels == 1
    mean = sidecar.mean or _metadata_numbers(metadata, "mean", channels)
    std = sidecar.std or _metadata_numbers(metadata, "std", channels)
    mean = mean or ((0.0,) if gray else IMAGENET.mean)
    std = std or ((255.0,) if gray else IMAGENET.std)
    color = "rgb" if gray else sidecar.color or "rgb"
    return color, np.array(mean[:channels], np.float32), np.array(std[:channels], np.float32)


def _metadata_numbers(metadata: Mapping[str, str], key: str, channels: int) -> tuple[float, ...] | None:
    try:
        values = tuple(float(value) for value in json.loads(metadata.get(key, "")))
    except (ValueError, TypeError):
        return None
    return values if len(values) == channels and (key == "mean" or min(values) > 0) else None
