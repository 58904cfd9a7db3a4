"""`Segmenter`: any exported semantic network, a picture to a class for every pixel."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.detectors.base import PictureModel
from detkit.detectors.semantic.class_maps import class_map
from detkit.detectors.semantic.semantic_reading import SegmentOptions, read_semantic
from detkit.detectors.yolo.feeding import Feeding, Prepared, of_one_shape
from detkit.errors import InputError
from detkit.graphs.preparation import Size
from detkit.graphs.registry import resolve
from detkit.graphs.runtime import Runtime
from detkit.graphs.session import Network
from detkit.graphs.sidecar import read_sidecar
from detkit.images import Image
from detkit.label_maps.segmented_picture import Segmentation
from detkit.settings import settled

logger = logging.getLogger("detkit")


class Segmenter(PictureModel[Segmentation]):
    """A semantic network from an .onnx file: `Segmenter("name")(image) -> Segmentation`.

    model     a name of the registry (`detkit models list`) or an .onnx file; None takes the bundled default
    runtime, options   see `Runtime`, `SegmentOptions`

    ModelError where the file cannot be loaded or does not tell what its outputs are. A picture for which the network's
    outputs cannot be right is an InputError.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        runtime: Runtime = Runtime(),
        options: SegmentOptions = SegmentOptions(),
        **settings: Any,
    ) -> None:
        runtime, self.options = settled(settings, runtime, options)
        self.network = Network(resolve(model, "segment"), runtime)
        self.path = self.network.path
        self.feeding = Feeding(self.network)
        self.reading = reading = read_semantic(self.feeding, read_sidecar(self.network.path), self.options)
        for line in reading.assumptions:
            logger.warning("%s: %s", self.network.path, line)
        self.preparation, self.palette, self.names = reading.preparation, reading.palette, reading.palette.names
        self.batch = self.feeding.fixed_batch or runtime.batch or 1

    def about(self) -> list[str]:
        """The network and what runs it, and what its output is taken for."""
        return [self.network.about(), self.reading.reason]

    def prepare(self, image: Image, name: str = "") -> Prepared:
        """The picture as a tensor of the network's input size, and its placement in it. Safe to call from threads."""
        return self.feeding.prepare(image, self.preparation)

    def detect(self, prepared: Sequence[Prepared]) -> list[Segmentation]:
        """The classes of prepared pictures, in their order; pictures of one size go through the network together.

        InputError where a picture's outputs are none that the network can mean.
        """
        found: dict[int, Segmentation] = {}
        for group in of_one_shape(prepared, self.batch):
            (output,) = self.feeding.run([prepared[place] for place in group], [self.reading.output.name])
            for index, place in enumerate(group):
                found[place] = self.decode(output, index, prepared[place])
        return [found[place] for place in range(len(prepared))]

    def decode(self, output: NDArray[np.generic], index: int, prepared: Prepared) -> Segmentation:
        """The segmentation of the picture `index` of a batch."""
        reading = self.reading
        values = reading.output.map_of(output, index)
        if values.ndim == 3 and len(values) != reading.output.classes:
            raise InputError(f"the network gives {len(values)} channels for it, where it gave {reading.output.classes}")
        classes = class_map(values, reading.output.kind, prepared.placement, reading.threshold, len(self.palette))
        return Segmentation(classes, self.palette)

    @property
    def input_size(self) -> Size | None:
        """The graph's fixed input (width, height); None where it follows the picture."""
        return self.feeding.size
