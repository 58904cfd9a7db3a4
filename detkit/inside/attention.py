"""What a transformer attends to: attention maps, and their roll-out over the layers.

Vaswani et al. 2017, eq. 1: softmax(Q K^T / sqrt(d)), a row for each query, which sums to 1 over the keys. Where a graph
holds that softmax, its rows are maps over the picture once the keys are its patches or cells. Roll-out: Abnar and
Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import ModelError
from detkit.inside.feature_maps import content_of, token_grid
from detkit.inside.likeness import Target
from detkit.inside.subjects import Subject, View
from detkit.inside.tapped import Shape, Tapped

if TYPE_CHECKING:
    from onnx import ModelProto

Floats = NDArray[np.float32]
Size = tuple[int, int]

_FUSED = frozenset((
    "Attention", "MultiHeadAttention", "GroupQueryAttention", "PackedAttention", "PackedMultiHeadAttention",
    "QAttention", "LongformerAttention", "DecoderMaskedMultiHeadAttention",
))  # fmt: skip
_LEAST_KEYS = 9
# Pixels of the input from one token or cell to the next, as patches and strides are.
_STRIDES = (4, 7, 8, 14, 16, 28, 32, 64)
_LEAST_LAYERS = 2


@dataclass(frozen=True)
class AttentionLayer:
    """A softmax over the picture's tokens.

    tensor        its name
    heads, queries, keys   its axes
    grid          rows and columns of the keys over the network's input, and the tokens before them (class tokens)
    own           whether the queries are the same tokens: self-attention; else they are a decoder's queries
    """

    tensor: str
    heads: int
    queries: int
    keys: int
    grid: tuple[int, int, int]
    own: bool


@dataclass(frozen=True)
class Attended:
    """What is attended to, for one query.

    layers    the layers of one size, in their order
    maps      float32 (L, heads, h, w): the query's row in each, over the picture's content; class tokens left out
    total     float32 (h, w): the roll-out of these layers; of a decoder's queries the last layer's mean over the heads
    query     whose row it is, in words
    """

    layers: tuple[AttentionLayer, ...]
    maps: Floats
    total: Floats
    query: str

    @property
    def rolled(self) -> bool:
        """Whether `total` is a roll-out."""
        return self.layers[0].own and len(self.layers) >= _LEAST_LAYERS


def attention_layers(model: ModelProto, shapes: Mapping[str, Shape], size: Size) -> list[AttentionLayer]:
    """The layers whose attention can be shown, for an input of `size` (width, height).

    ModelError, without a file name, says why there are none: no attention, fused, or within windows.
    """
    outputs = {shapes.get(value.name, ())[1:2] for value in model.graph.output}
    found: list[AttentionLayer] = []
    windows = 0
    for node in model.graph.node:
        if node.op_type != "Softmax":
            continue
        shape = shapes.get(node.output[0], ())
        axis = next((one.i for one in node.attribute if one.name == "axis"), -1)
        if len(shape) == 4 and shape[0] > 1 and shape[2] == shape[3]:
            windows += 1
        heads = shape[1] if len(shape) == 4 else shape[0] if len(shape) == 3 else 0
        if axis not in (-1, len(shape) - 1) or not heads or (len(shape) == 4 and shape[0] != 1):
            continue
        queries, keys = shape[-2:]
        grid = None if keys < _LEAST_KEYS else _grid(keys, size)
        own = queries == keys
        if grid is None or (own and (keys,) in outputs) or (not own and grid[2]):
            continue  # of a decoder's queries among themselves, of boxes' bins
        found.append(AttentionLayer(str(node.output[0]), heads, queries, keys, grid, own))
    if found:
        return found
    fused = sorted({node.op_type for node in model.graph.node} & _FUSED)
    if fused:
        raise ModelError(
            f"its attention is fused into the operator {fused[0]}, which gives no maps; export it with opset 17 to 20"
        )
    if windows:
        raise ModelError("its attention is within windows: no map of it lies over the picture")
    raise ModelError("it holds no attention over the picture: no softmax whose rows are patches or cells of it")


def _grid(keys: int, size: Size) -> tuple[int, int, int] | None:
    grid = token_grid(keys, size)
    if grid is None:
        return None
    return grid if any(abs(size[0] / grid[1] - stride) < 1 for stride in _STRIDES) else None


def roll_out(layers: Sequence[NDArray[Any]]) -> Floats:
    """Roll-out (T, T) of self-attention layers (heads, T, T), first to last (section 3).

    The mean over the heads, half of it replaced by the identity for the shortcut, multiplied layer by layer.
    """
    total = np.eye(layers[0].shape[-1], dtype=np.float64)
    for layer in layers:
        mixed = 0.5 * layer.astype(np.float64).mean(axis=0) + 0.5 * np.eye(layer.shape[-1])
        total = mixed / mixed.sum(axis=-1, keepdims=True) @ total
    return np.asarray(total, np.float32)


def attended(subject: Subject, tapped: Tapped, view: View, target: Target | None) -> list[Attended]:
    """What each kind of layer attends to for a target. ModelError where nothing can be shown.

    The query is the class token where there is one; in self-attention of a detector the cell in the middle of the
    target's box, of a classifier all together; in a decoder the query that gave the target's box.
    """
    feeds = subject.feeds(view)
    shapes = tapped.shapes(feeds)
    placement = subject.input_placement(view)
    try:
        found = attention_layers(tapped.model, shapes, placement.size)
    except ModelError as error:
        raise ModelError(f"{subject.path}: --attention: {error}") from error
    groups: dict[tuple[int, int, int], list[AttentionLayer]] = {}
    for layer in found:
        groups.setdefault((layer.heads, layer.queries, layer.keys), []).append(layer)
    values = tapped.run([layer.tensor for layer in found], feeds)
    box = None if target is None or target.box is None else placement.apply((target.box / view.scale)[None])[0]
    made = []
    for layers in groups.values():
        tensors = [values[layer.tensor].reshape(layers[0].heads, layers[0].queries, layers[0].keys) for layer in layers]
        rows, query = _query(layers[0], box, placement.size, lambda: _decoder_query(tapped, feeds, box, placement.size))
        if rows is None:
            continue
        one, first = layers[0], layers[0].grid[2]
        picked = np.stack([tensor[:, rows].mean(axis=1)[:, first:] for tensor in tensors])  # (L, heads, keys)
        maps = np.stack([_over_content(layer, one, placement) for layer in picked])
        rolled = one.own and len(layers) >= _LEAST_LAYERS
        flat = roll_out(tensors)[rows].mean(axis=0)[first:] if rolled else picked[-1].mean(axis=0)
        made.append(Attended(tuple(layers), maps, _over_content(flat[None], one, placement)[0], query))
    return made


def _over_content(rows: NDArray[Any], layer: AttentionLayer, placement: Any) -> Floats:
    """Rows (K, keys) as maps (K, h, w) over the picture's content."""
    height, width, _ = layer.grid
    content, _ = content_of(rows.reshape(-1, height, width), placement)
    return np.asarray(content, np.float32)


def _query(
    layer: AttentionLayer, box: NDArray[np.float32] | None, size: Size, decoder_query: Any
) -> tuple[list[int] | None, str]:
    """The rows of a layer that stand for the target, and what they are."""
    height, width, first = layer.grid
    if not layer.own:
        number = decoder_query() if box is not None else None
        return (None, "") if number is None or number >= layer.queries else ([number], f"query {number}")
    if first:
        return [0], "class token"
    if box is None:
        return list(range(layer.queries)), "mean of all tokens"
    x, y = (box[0] + box[2]) / 2 / size[0], (box[1] + box[3]) / 2 / size[1]
    column, row = min(int(x * width), width - 1), min(int(y * height), height - 1)
    return [row * width + column], "the cell in the middle of the box"


def _decoder_query(tapped: Tapped, feeds: Mapping[str, Any], box: Any, size: Size) -> int | None:
    """The query whose box, an output (1, Q, 4) of centres and sizes as shares, is nearest to one in input pixels."""
    from detkit.boxes import cxcywh_to_xyxy, iou

    best, query = 0.5, None
    for name in tapped.outputs:  # scores of four classes look alike, and lie nowhere near
        value = tapped.run([name], feeds)[name]
        if value.ndim == 3 and value.shape[2] == 4 and len(value) == 1:
            boxes = value[0].astype(np.float32)
            if boxes.max(initial=0) <= 1.5:
                boxes = cxcywh_to_xyxy(boxes) * np.array(size * 2, np.float32)
            overlaps = iou(np.asarray(box, np.float32)[None], boxes)[0]
            if overlaps.max(initial=0) > best:
                best, query = float(overlaps.max()), int(overlaps.argmax())
    return query
