"""Pictures into a graph: its picture input, the values of the inputs beside it, and batches of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.detectors.yolo.heads import HEADS
from detkit.detectors.yolo.heads.signature import channel_count, channels_last, image_input
from detkit.errors import ModelError
from detkit.graphs.inner_scaling import input_quantisation
from detkit.graphs.letterbox import Placement
from detkit.graphs.preparation import PixelFormat, Preparation, Size
from detkit.graphs.session import Network
from detkit.images import Image


@dataclass(frozen=True)
class Prepared:
    """A picture on its way through the network: its tensor, and where it lies in it."""

    tensor: NDArray[np.generic]
    placement: Placement


class Feeding:
    """How a network takes pictures.

    image   the input of the picture
    size    its fixed (width, height); None where it follows the picture
    pixels  type, channels and their place

    ModelError for a graph without such an input, of other channels than 1 and 3, or with inputs that no head knows.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        try:
            self.image = image_input(network.inputs)
            channels, last = channel_count(self.image), channels_last(self.image)
        except ModelError as error:
            raise ModelError(f"{network.path}: {error}") from error
        quantised = input_quantisation(network.path, self.image.name) if self.image.dtype == np.int8 else None
        self.pixels = PixelFormat(self.image.dtype, last, channels, quantised)
        height, width = self.image.shape[-3:-1] if last else self.image.shape[-2:]
        self.size: Size | None = (width, height) if width and height else None
        known = {name for head in HEADS.values() for name in head.extra}
        unknown = [str(value) for value in network.inputs if value != self.image and value.name not in known]
        if unknown:
            asked = ", ".join(unknown)
            raise ModelError(f"{network.path}: has inputs that no head detkit knows asks for: {asked}")

    @property
    def fixed_batch(self) -> int | None:
        """Pictures in a run; None where the graph takes any number."""
        return self.image.shape[0] if len(self.image.shape) == 4 else 1

    def prepare(self, image: Image, preparation: Preparation) -> Prepared:
        """The picture as a tensor of the network's input size, and its placement in it."""
        size = self.size or preparation.input_size((image.shape[1], image.shape[0]))
        canvas, placement = preparation.place(image, size)
        return Prepared(preparation.tensor(canvas, self.pixels), placement)

    def run(self, prepared: Sequence[Prepared], outputs: Sequence[str] | None = None) -> list[NDArray[np.generic]]:
        """The network's outputs for pictures of one input size; a fixed batch is filled up with the last of them.

        outputs   those that are wanted, by name; None: all
        """
        return self.network.run(self.feeds(prepared), outputs)

    def feeds(self, prepared: Sequence[Prepared]) -> dict[str, NDArray[np.generic]]:
        """The network's inputs for pictures of one input size."""
        size = prepared[0].placement.size
        if len(self.image.shape) == 3:
            return {self.image.name: prepared[0].tensor, **self._extra(size)}
        tensors = [picture.tensor for picture in prepared]
        tensors += [tensors[-1]] * ((self.image.shape[0] or 0) - len(tensors))
        batch = np.stack(tensors) if len(tensors) > 1 else tensors[0][None]
        return {self.image.name: batch, **self._extra(size, len(batch))}

    def _extra(self, size: Size, batch: int = 1) -> Mapping[str, NDArray[np.generic]]:
        """The values of the inputs beside the picture, for a picture as large as the input itself."""
        values = {}
        for info in self.network.inputs:
            if info != self.image:
                value = next(head.extra[info.name] for head in HEADS.values() if info.name in head.extra)(size)
                values[info.name] = np.repeat(value, batch, axis=0).astype(info.dtype)
        return values


def of_one_shape(prepared: Sequence[Prepared], most: int) -> list[list[int]]:
    """Places of the pictures, grouped by the shape of their tensors, at most `most` a group."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for place, picture in enumerate(prepared):
        by_shape.setdefault(picture.tensor.shape, []).append(place)
    return [places[start : start + most] for places in by_shape.values() for start in range(0, len(places), most)]
