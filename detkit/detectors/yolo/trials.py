"""Trial runs of a graph, before any picture: what it gives for noise, and at which sizes it runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.detectors.yolo.feeding import Feeding, Prepared
from detkit.detectors.yolo.graph_options import PictureOptions
from detkit.detectors.yolo.heads.signature import Signature
from detkit.errors import ModelError
from detkit.graphs.letterbox import Placement
from detkit.graphs.preparation import Preparation, Size
from detkit.graphs.sidecar import Sidecar
from detkit.images import Image

# Sides of the trial picture, where nothing tells one: tried in turn until the graph runs.
_PROBE_SIDES = (320, 640, 416, 512, 800)
# A small picture that is no square, (width, height).
_NO_SQUARE = (256, 192)


class Trials:
    """Trial runs of a graph: with noise on a ramp, at its own size or at those that may be it."""

    def __init__(
        self, feeding: Feeding, sidecar: Sidecar, options: PictureOptions, preparation: Preparation, names: int | None
    ) -> None:
        self.feeding, self.network, self.preparation = feeding, feeding.network, preparation
        self.names = names or None
        given = options.size or (sidecar.size and max(sidecar.size))
        likely = metadata_side(self.network.metadata)
        sides = (given,) if given else dict.fromkeys((_PROBE_SIDES[0], *([likely] if likely else []), *_PROBE_SIDES))
        self.sizes: list[Size] = [feeding.size] if feeding.size else [(side, side) for side in sides]

    def signatures(self) -> Iterator[Signature]:
        """The graph with its outputs at each size that it runs at. ModelError where it runs at none."""
        problem, ran = None, False
        for size in self.sizes:
            try:
                values = self._run(size)
            except ModelError as error:
                problem = problem or error
                continue
            ran = True
            network = self.network
            yield Signature(network.inputs, network.outputs, network.metadata, size, self.names, _as_floats(values))
        if not ran:
            tried = ", ".join(f"{width} x {height}" for width, height in self.sizes)
            hint = "" if self.feeding.size else f"; tried at {tried}: name the size of its input with --size"
            raise ModelError(f"{problem}{hint}") from problem

    def any_size(self, size: Size = _NO_SQUARE) -> bool:
        """Whether a graph with an open size runs at one that is no square, too."""
        try:
            self._run(size)
        except ModelError:
            return False
        return True

    def of(self, canvas: Image) -> list[NDArray[Any]]:
        """The outputs for a picture (H, W, 3) RGB as large as the input. ModelError where the graph does not run."""
        return _as_floats(self._outputs(canvas))

    def _run(self, size: Size) -> list[NDArray[Any]]:
        width, height = size
        try:
            ramp = np.linspace(0, 160, width)[None, :, None] + np.random.default_rng(0).integers(0, 96, (height, 1, 3))
            return self._outputs(ramp.astype(np.uint8))
        except MemoryError as error:
            raise ModelError(f"{self.network.path}: a batch for its input needs more memory than there is") from error

    def _outputs(self, canvas: Image) -> list[NDArray[Any]]:
        size = (canvas.shape[1], canvas.shape[0])
        tensor = self.preparation.tensor(canvas, self.feeding.pixels)
        outputs = self.feeding.run([Prepared(tensor, Placement(size, size, size))])
        if not all(isinstance(output, np.ndarray) and output.dtype.kind in "fiub" for output in outputs):
            raise ModelError(
                f"{self.network.path}: it gives lists, maps or texts, where a detector gives tensors of numbers"
            )
        return outputs


def _as_floats(values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """The outputs with 16-bit and 64-bit numbers as 32-bit ones."""
    return [value.astype(np.float32, copy=False) if value.dtype.kind == "f" else value for value in values]


def metadata_side(metadata: Mapping[str, str]) -> int | None:
    """The long side of ultralytics' "imgsz" in pixels: "[320, 320]", or "640"."""
    value = literal(metadata.get("imgsz", ""))
    sides = value if isinstance(value, list | tuple) else [value]
    return max(sides) if sides and all(isinstance(side, int) and side > 0 for side in sides) else None


def literal(text: str) -> Any:
    """A Python literal, None where the text is none."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
