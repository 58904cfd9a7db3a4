"""Pictures of a layer: its channels over a picture, and the filters of the first convolution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detkit.errors import ModelError
from detkit.images import Image
from detkit.inside.feature_maps import Channels
from detkit.inside.graph_layers import Layer
from detkit.inside.heat_pictures import coloured, grid, titled
from detkit.inside.tapped import Tapped

_COLUMNS = 8


def channel_sheet(layer: Layer, channels: Channels, most: int, sorted_by: str) -> Image:
    """The first `most` channels of a layer as a grid, each with its number."""
    shown = channels.order[:most].tolist()
    labels = [str(number) for number in shown]
    pictures = [coloured(channels.maps[number]) for number in shown]
    if not pictures:
        pictures, labels = [coloured(channels.maps[0])], ["0"]
    return titled(
        grid(pictures, labels, _COLUMNS), f"{layer.number} {layer.operator}\n{described(channels, most)}; {sorted_by}"
    )


def described(channels: Channels, most: int) -> str:
    """What a sheet shows, in words."""
    count = len(channels.maps)
    dead = f"; {len(channels.dead)} dead" if len(channels.dead) else ""
    which = f"{most} of {count} channels" if most < len(channels.order) else f"{len(channels.order)} channels"
    height, width = channels.maps.shape[1:]
    return f"{which} of {width} x {height}{dead}"


def first_filters(tapped: Tapped, color: str = "rgb") -> NDArray[np.float32]:
    """The filters (N, h, w, 3) RGB of the convolution that sees the picture, each scaled: 0.5 is 0, the largest 0 or 1.

    `color` is the channel order of the input. ModelError where the first convolution sees something else.
    """
    node = next((one for one in tapped.model.graph.node if one.op_type in ("Conv", "FusedConv")), None)
    if node is None:
        raise ModelError("it has no convolution, so no filters to show")
    weights = np.asarray(tapped.constant(node.input[1]), np.float32)
    channels = weights.shape[1] if weights.ndim == 4 else 0
    if channels not in (1, 3):
        raise ModelError(f"its first convolution sees {channels} channels, not a picture's 1 or 3: no filters to show")
    if channels == 3 and color == "bgr":
        weights = weights[:, ::-1]
    largest = np.maximum(np.abs(weights).max(axis=(1, 2, 3), keepdims=True), 1e-12)
    scaled = (weights / largest / 2 + 0.5).transpose(0, 2, 3, 1)
    return np.asarray(np.repeat(scaled, 3 // channels, axis=3), np.float32)


def filter_sheet(filters: NDArray[np.float32]) -> Image:
    """The filters as a grid."""
    pictures = [np.rint(one * 255).astype(np.uint8) for one in filters]
    title = f"{len(filters)} filters of {filters.shape[2]} x {filters.shape[1]} of the first convolution; gray is 0"
    return titled(grid(pictures, [str(number) for number in range(len(pictures))], _COLUMNS, 72), title)
