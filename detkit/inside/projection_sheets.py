"""The pictures that drive a channel most, and which of their pixels do (Zeiler and Fergus 2014, figure 2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.errors import ModelError
from detkit.graphs.letterbox import Placement
from detkit.images import Image
from detkit.inside.deconvolution import (
    Deconvolution,
    as_picture,
    chain_of,
    most_driven,
    projectable,
    strongest,
)
from detkit.inside.feature_maps import content_of
from detkit.inside.heat_pictures import titled, write
from detkit.inside.hiding import Tick, no_tick
from detkit.inside.subjects import DetectionNetwork, Subject
from detkit.inside.tapped import Tapped

PICTURES = 9  # of a channel
CHANNELS = 12  # of a layer
_BLOCK = 174
_GAP = 4
_WHITE = 255


@dataclass(frozen=True)
class Driven:
    """A channel of a map, and the pictures that drive it most, best first.

    places       numbers of the pictures
    values       the activation of the unit of each
    projections  the pixels that drive it, each an RGB picture, as large as what the unit sees
    patches      the pictures there
    """

    channel: int
    places: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    projections: list[Image] = field(default_factory=list)
    patches: list[Image] = field(default_factory=list)


class Projector:
    """Projects units of a subject's chain for a set of pictures.

    read      the picture of a number, from 0 to `count`
    """

    def __init__(self, subject: Subject, tapped: Tapped, read: Callable[[int], Image], count: int) -> None:
        self.subject, self.tapped, self._read, self._count = subject, tapped, read, count
        self._bgr = isinstance(subject, DetectionNetwork) and subject.yolo.preparation.color == "bgr"
        self._made: dict[tuple[str, tuple[int, ...]], Deconvolution] = {}

    def tensors(self, image: Image) -> list[str]:
        """The maps whose units can be projected. ModelError where there are none."""
        try:
            return projectable(chain_of(self.tapped.model, self.tapped.shapes(self._feeds(image)[0])))
        except ModelError as error:
            raise ModelError(f"{self.subject.path}: {error}") from error

    def end(self, image: Image) -> str:
        """Why the chain goes no further."""
        return chain_of(self.tapped.model, self.tapped.shapes(self._feeds(image)[0])).end

    def strongest_values(self, tensors: Sequence[str], tick: Tick = no_tick) -> dict[str, list[NDArray[np.float32]]]:
        """The largest activation of each channel, (C,), of every map for every picture."""
        network = self.tapped.session(tensors)
        found: dict[str, list[NDArray[np.float32]]] = {tensor: [] for tensor in tensors}
        for number in range(self._count):
            feeds, _, placement = self._feeds(self._read(number))
            for tensor, maps in zip(tensors, network.run(feeds, tensors), strict=True):
                content, _ = content_of(maps[0], placement)
                found[tensor].append(np.asarray(content.max(axis=(1, 2)), np.float32))
            tick(1)
        return found

    def driven(self, tensor: str, values: Sequence[NDArray[np.float32]], channels: Sequence[int]) -> list[Driven]:
        """The pictures that drive channels of a map most, with their projections."""
        order = most_driven(values, PICTURES)
        made = {channel: Driven(channel) for channel in channels}
        wanted = sorted({int(place) for channel in channels for place in order[:, channel]})
        parts: dict[tuple[int, int], tuple[float, Image, Image]] = {}
        for place in wanted:
            feeds, canvas, placement = self._feeds(self._read(place))
            deconvolution = self._deconvolution(tensor, feeds)
            maps, switches = deconvolution.forward(feeds)
            for channel in channels:
                if place in order[:, channel] and values[place][channel] > 0:
                    unit = strongest(maps, channel, placement)
                    shown = as_picture(deconvolution.project(maps, switches, unit), self._bgr)
                    x1, y1, x2, y2 = deconvolution.chain.receptive_field(*unit[1:])
                    parts[channel, place] = float(maps[unit]), shown[y1:y2, x1:x2], canvas[y1:y2, x1:x2]
        for channel, one in made.items():
            for place in order[:, channel].tolist():
                if (channel, place) in parts:
                    value, projection, patch = parts[channel, place]
                    one.places.append(place)
                    one.values.append(value)
                    one.projections.append(projection)
                    one.patches.append(patch)
        return [one for one in made.values() if one.places]

    def _deconvolution(self, tensor: str, feeds: dict[str, Any]) -> Deconvolution:
        key = tensor, next(iter(feeds.values())).shape
        if key not in self._made:
            chain = chain_of(self.tapped.model, self.tapped.shapes(feeds))
            self._made[key] = Deconvolution(self.tapped, chain, tensor, self.tapped.runtime)
        return self._made[key]

    def _feeds(self, image: Image) -> tuple[dict[str, Any], Image, Placement]:
        view = self.subject.view(image)
        return self.subject.feeds(view), view.in_input(view.image), self.subject.input_placement(view)


def strongest_channels(values: Sequence[NDArray[np.float32]], count: int = CHANNELS) -> list[int]:
    """The channels that some picture drives most, best first; those that none drives left out."""
    highest = np.max(np.stack(values), axis=0)
    order = np.argsort(-highest, kind="stable")[:count]
    return [int(channel) for channel in order if highest[channel] > 0]


def projection_sheet(driven: Sequence[Driven], title: str, columns: int = 3) -> Image:
    """Channels as pairs of blocks: what drives the unit to the left, the pictures to the right."""
    letters = 12
    step = (2 * _BLOCK + 4 * _GAP, _BLOCK + letters + 3 * _GAP)
    columns = min(columns, len(driven))
    rows = -(-len(driven) // columns)
    sheet = np.full((rows * step[1] + _GAP, columns * step[0] + _GAP, 3), _WHITE, np.uint8)
    for number, one in enumerate(driven):
        row, column = divmod(number, columns)
        x, y = _GAP + column * step[0], _GAP + row * step[1]
        for pictures, left in ((one.projections, x), (one.patches, x + _BLOCK + _GAP)):
            sheet[y : y + _BLOCK, left : left + _BLOCK] = _block(pictures)
        write(sheet, f"channel {one.channel}, {one.values[0]:.3g}", (x, y + _BLOCK + letters), letters)
    return titled(sheet, title)


def _block(pictures: Sequence[Image]) -> Image:
    """Up to nine pictures as a square of tiles."""
    across = math.ceil(math.sqrt(len(pictures)))
    tile = _BLOCK // across
    block = np.full((_BLOCK, _BLOCK, 3), _WHITE, np.uint8)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, across)
        height, width = picture.shape[:2]
        factor = (tile - 2) / max(height, width)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        how = cv2.INTER_NEAREST if factor > 2 else cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        block[row * tile : row * tile + size[1], column * tile : column * tile + size[0]] = cv2.resize(
            picture, size, interpolation=how
        )
    return block
