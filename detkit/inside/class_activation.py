"""Maps from the last feature map alone: class activation maps and Eigen-CAM.

CAM: Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", eqs. 1 and 2. Eigen-CAM: Muhammad and
Yeasin 2020, "Eigen-CAM: Class Activation Map using Principal Components".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import ModelError
from detkit.inside.feature_maps import content_of
from detkit.inside.likeness import Target
from detkit.inside.subjects import ClassifierNetwork, Subject, View
from detkit.inside.tapped import Feeds, Shape, Tapped

if TYPE_CHECKING:
    from onnx import NodeProto

Floats = NDArray[np.float32]

_AFTER = frozenset(("Softmax", "LogSoftmax", "Sigmoid", "Identity", "Cast", "Dropout"))
_ROW = frozenset(("Flatten", "Reshape", "Squeeze", "Identity", "Dropout", "Cast"))
_POOLS = ("GlobalAveragePool", "AveragePool", "ReduceMean")


@dataclass(frozen=True)
class PooledEnd:
    """How a classifier ends: score of class c = sum over k of weights[c, k] * mean of map k, + bias[c].

    maps      the tensor of the last feature maps (1, K, h, w)
    weights   float32 (C, K)
    bias      float32 (C,)
    """

    maps: str
    weights: Floats
    bias: Floats


def class_maps(features: NDArray[Any], end: PooledEnd, classes: Sequence[int]) -> Floats:
    """CAM (eq. 2), float32 (len(classes), h, w), of features (K, h, w): its mean and the bias are the class's score."""
    return np.asarray(np.einsum("ck,kij->cij", end.weights[list(classes)], features.astype(np.float32)), np.float32)


def cam(subject: Subject, tapped: Tapped, view: View, targets: Sequence[Target]) -> Floats:
    """CAM of each target, (T, h, w), coarse. ModelError where the network does not end in global average pooling."""
    if not isinstance(subject, ClassifierNetwork):
        raise ModelError(
            f"{subject.path}: --cam is for classifiers that end in global average pooling: a detector's score comes "
            "from one cell of its map, not from the mean of all; --why and --occlusion explain its boxes"
        )
    feeds = subject.feeds(view)
    try:
        end = pooled_end(tapped, feeds)
    except ModelError as error:
        raise ModelError(f"{subject.path}: --cam: {error}") from error
    features = tapped.run([end.maps], feeds)[end.maps][0]
    return class_maps(features, end, [target.class_id for target in targets])


def pooled_end(tapped: Tapped, feeds: Feeds) -> PooledEnd:
    """The end of a classifier. ModelError, without a file name, says why it is another."""
    nodes = _Nodes(tapped)
    shapes = tapped.shapes(feeds)
    tensor = tapped.outputs[0]
    node = nodes.maker(tensor)
    while node.op_type in _AFTER | _ROW:
        node = nodes.maker(nodes.flowing(node))
    weights: Floats | None = None
    bias: Floats | None = None
    if node.op_type == "Add":
        bias = nodes.constant(next(name for name in node.input if nodes.is_constant(name))).reshape(-1)
        node = nodes.maker(nodes.flowing(node))
    if node.op_type in ("Gemm", "MatMul", "Conv"):
        weights, own = nodes.linear(node)
        bias = own if bias is None else bias + own
        node = nodes.maker(nodes.flowing(node))
        while node.op_type in _ROW:
            node = nodes.maker(nodes.flowing(node))
    pooled = shapes.get(node.output[0], ())
    maps = node.input[0]
    source = shapes.get(maps, ())
    if node.op_type not in _POOLS or len(source) != 4 or int(np.prod(pooled)) != source[0] * source[1]:
        raise ModelError(
            f"it does not end in global average pooling and one layer of weights: {node.op_type} stands there"
        )
    if weights is None:
        weights = np.eye(source[1], dtype=np.float32)
    if weights.shape[1] != source[1]:
        raise ModelError(f"its last layer weighs {weights.shape[1]} numbers, not the means of {source[1]} maps")
    return PooledEnd(maps, weights, np.zeros(len(weights), np.float32) if bias is None else bias)


def eigen_cam(subject: Subject, tapped: Tapped, view: View, target: Target) -> tuple[Floats, str]:
    """(map (h, w), layer) of what is salient to a detector's last layer before its predictions; not why a box is there.

    The first principal component of the layer's channels, its sign set so that it is larger inside the target's box. Of
    several levels that one is taken whose cells go about eight times into the box's side. ModelError where the graph
    has no such layer.
    """
    if target.box is None:
        raise ModelError(f"{subject.path}: --eigen-cam is for detectors: --cam is exact for a classifier")
    feeds = subject.feeds(view)
    placement = subject.input_placement(view)
    names = head_layers(tapped, feeds, placement.size, len(subject.names))
    if not names:
        raise ModelError(f"{subject.path}: --eigen-cam: no convolution predicts its boxes from a map of the picture")
    shapes = tapped.shapes(feeds)
    side = float(np.sqrt(np.prod(np.maximum(target.box[2:] - target.box[:2], 1))))
    name = min(names, key=lambda one: abs(np.log(side / 8 / (placement.size[0] / shapes[one][3]))))
    content, box = content_of(tapped.run([name], feeds)[name][0], placement, target.box / view.scale)
    heat = first_component(content)
    inside = np.zeros(heat.shape, bool)
    x1, y1, x2, y2 = box
    inside[y1:y2, x1:x2] = True
    if not inside.all() and heat[inside].mean() < heat[~inside].mean():
        heat = -heat
    return heat, name


def first_component(maps: NDArray[Any]) -> Floats:
    """Maps (K, h, w) projected on the first right singular vector of their (h * w, K) matrix; its sign is arbitrary.

    Departure from the paper, as in the common implementations: each channel's mean is taken away first. Without that
    the first vector of rectified channels is little else than their mean.
    """
    rows = maps.reshape(len(maps), -1).T.astype(np.float64)
    rows = rows - rows.mean(axis=0)
    _, vectors = np.linalg.eigh(rows.T @ rows)
    return np.asarray((rows @ vectors[:, -1]).reshape(maps.shape[1:]), np.float32)


def head_layers(tapped: Tapped, feeds: Feeds, size: tuple[int, int], classes: int) -> list[str]:
    """The tensors that the convolutions of a detector's predictions read, one a level, largest map first.

    Found from the outputs backward: the first convolutions whose input is a map of the picture, of `size` (width,
    height). Where a level has several, the last one counts whose channels are a multiple of the classes.
    """
    nodes = _Nodes(tapped)
    shapes = tapped.shapes(feeds)
    seen: set[str] = set()
    waiting = list(tapped.outputs)
    place = {node.output[0]: number for number, node in enumerate(tapped.model.graph.node) if node.output}
    levels: dict[Shape, list[tuple[int, int, str]]] = {}
    while waiting:
        node = nodes.made.get(waiting.pop())
        if node is None or node.output[0] in seen:
            continue
        seen.add(node.output[0])
        shape = shapes.get(node.input[0], ()) if node.input else ()
        if node.op_type == "Conv" and _is_map(shape, size):
            channels = shapes.get(node.output[0], (0, 0))[1]
            levels.setdefault(shape[2:], []).append((place[node.output[0]], channels, node.input[0]))
            continue
        waiting += [name for name in node.input if not nodes.is_constant(name)]
    chosen = []
    for _, found in sorted(levels.items(), reverse=True):
        scoring = [one for one in found if classes and (one[1] % classes == 0 or one[1] % (classes + 5) == 0)]
        chosen.append(max(scoring or found)[2])
    return chosen


def _is_map(shape: Shape, size: tuple[int, int]) -> bool:
    """Whether a tensor lies over the whole input, in cells of one whole stride."""
    if len(shape) != 4 or not all(shape[2:]):
        return False
    stride = round(size[0] / shape[3])
    return -(-size[0] // stride) == shape[3] and -(-size[1] // stride) == shape[2]


class _Nodes:
    """A graph's nodes by what they make, and its constants."""

    def __init__(self, tapped: Tapped) -> None:
        self._tapped = tapped
        self._stored = {tensor.name: tensor for tensor in tapped.model.graph.initializer}
        self.made: Mapping[str, NodeProto] = {name: node for node in tapped.model.graph.node for name in node.output}
        self._constant = set(self._stored)
        for node in tapped.model.graph.node:
            if node.op_type == "Constant" or (node.input and self._constant.issuperset(filter(None, node.input))):
                self._constant.update(node.output)

    def is_constant(self, name: str) -> bool:
        return not name or name in self._constant

    def maker(self, name: str) -> NodeProto:
        if name not in self.made:
            raise ModelError("it does not end in global average pooling and one layer of weights")
        return self.made[name]

    def flowing(self, node: NodeProto) -> str:
        """The one input that is not constant."""
        names = [name for name in node.input if not self.is_constant(name)]
        if len(names) != 1:
            raise ModelError(f"{node.op_type} joins {len(names)} tensors before its scores")
        return str(names[0])

    def constant(self, name: str) -> Floats:
        return np.asarray(self._tapped.constant(name), np.float32)

    def linear(self, node: NodeProto) -> tuple[Floats, Floats]:
        """Weights (C, K) and bias (C,) of the layer that makes the scores."""
        flags = {one.name: one for one in node.attribute}
        weights = self.constant(self._weight(node))
        if node.op_type == "Conv":
            if weights.shape[2:] != (1, 1) or ("group" in flags and flags["group"].i != 1):
                raise ModelError("its last convolution is none of 1 x 1")
            weights = weights[:, :, 0, 0]
        elif not ("transB" in flags and flags["transB"].i):
            weights = weights.T
        factor = flags["alpha"].f if node.op_type == "Gemm" and "alpha" in flags else 1.0
        bias = np.zeros(len(weights), np.float32)
        if node.op_type != "MatMul" and len(node.input) > 2:
            beta = flags["beta"].f if "beta" in flags else 1.0
            bias = bias + beta * self.constant(node.input[2]).reshape(-1)
        return np.asarray(weights * factor, np.float32), np.asarray(bias, np.float32)

    def _weight(self, node: NodeProto) -> str:
        if len(node.input) < 2 or not self.is_constant(node.input[1]):
            raise ModelError(f"the weights of its last {node.op_type} are not stored")
        return str(node.input[1])
