"""Networks in eight bits: static quantisation with onnxruntime, weights per channel, in the QDQ form.

Activations are unsigned and asymmetric, weights signed and symmetric (Jacob et al. 2018, "Quantization and Training of
Neural Networks for Efficient Integer-Arithmetic-Only Inference"). Convolutions only become integers, and of those not
the last of each branch: what comes after it, scores and coordinates of different ranges in one tensor, needs its
digits.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import ModelError
from detkit.graphs.editing import load_whole

if TYPE_CHECKING:
    from onnx import ModelProto

Feeds = Mapping[str, NDArray[Any]]
_LOWEST_OPSET = 13  # the first whose QuantizeLinear takes a scale for each channel
# What numpy calls the instructions that add products of bytes without saturating on the way.
_DOT_PRODUCTS = ("AVX512VNNI", "AVX512_CLX", "AVX_VNNI", "ASIMDDP", "I8MM")


def saturates() -> bool:
    """Whether this processor may saturate where products of bytes are added: an x86 one that shows no VNNI.

    Weights of 7 bits keep sums inside 16 bits. A processor with AVX-VNNI alone, which numpy may not tell, counts as one
    that saturates: the result is right on it, and a little less exact than it could be.
    """
    try:
        umath = import_module("numpy._core._multiarray_umath")
    except ImportError:  # numpy 1
        umath = import_module("numpy.core._multiarray_umath")
    features: dict[str, bool] = umath.__cpu_features__
    return bool(features.get("SSE2")) and not any(features.get(name) for name in _DOT_PRODUCTS)


class Quantizer:
    """A network whose convolutions can be made integers, all or some, from one calibration.

    path        of the float network
    pictures    inputs of the network, whose smallest and largest activations are taken

    groups      names of the convolutions that may be quantised, in runs that follow each other in the graph
    convolutions   how many there are in all

    ModelError where the graph has no such convolutions, holds integers already, or cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], pictures: Iterable[Feeds], most_groups: int = 12) -> None:
        self._model = _prepared(path)
        convolutions = [node for node in self._model.graph.node if node.op_type == "Conv"]
        inner = inner_convolutions(self._model)
        if not inner:
            raise ModelError(f"{path}: has no convolutions to quantise but the last of each branch")
        self.convolutions = len(convolutions)
        count = min(most_groups, len(inner))
        self.groups = tuple(tuple(map(str, part)) for part in np.array_split(np.array(inner), count))
        try:
            self._ranges = _ranges(self._model, pictures)
        except Exception as error:  # onnxruntime's have no common class
            raise ModelError(f"{path}: cannot be calibrated: {' '.join(str(error).split())[:200]}") from error

    def quantised(self, groups: Sequence[int], metadata: Mapping[str, str], *, reduce_range: bool = False) -> bytes:
        """The .onnx file with the convolutions of these `groups` in integers, under this metadata.

        reduce_range   weights of 7 bits, for processors that saturate
        """
        from onnxruntime.quantization import QDQQuantizer, QuantType

        from detkit.graphs.editing import copy_of

        nodes = [name for group in groups for name in self.groups[group]]
        quantizer = QDQQuantizer(
            copy_of(self._model),
            per_channel=True,
            reduce_range=reduce_range,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=nodes,
            nodes_to_exclude=[],
            op_types_to_quantize=["Conv"],
            extra_options={},
        )
        quantizer.quantize_model()
        made = quantizer.model.model
        del made.metadata_props[:]
        for key, value in metadata.items():
            made.metadata_props.add(key=key, value=value)
        return bytes(made.SerializeToString())


def inner_convolutions(model: ModelProto) -> list[str]:
    """The names of the convolutions with constant weights from whose output another one is reached, in graph order."""
    constants = {tensor.name for tensor in model.graph.initializer}
    leading: set[str] = set()  # tensors from which a convolution is reached
    inner = []
    for node in reversed(model.graph.node):
        leads = any(name in leading for name in node.output)
        if node.op_type == "Conv" and leads and node.input[1] in constants:
            inner.append(node.name)
        if leads or node.op_type == "Conv":
            leading.update(name for name in node.input if name)
    return inner[::-1]


def _prepared(path: str | os.PathLike[str]) -> ModelProto:
    """The graph with its constants folded, shapes known, of an opset that can say it, every convolution named."""
    import onnx
    from onnx import version_converter
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = load_whole(path)
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        raise ModelError(f"{path}: is quantised already; give the float network")
    try:
        opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1)
        if opset < _LOWEST_OPSET:
            model = version_converter.convert_version(model, _LOWEST_OPSET)
        with tempfile.TemporaryDirectory(prefix="detkit-quantize-") as folder:
            target = Path(folder, "prepared.onnx")
            quant_pre_process(model, str(target), skip_symbolic_shape=True)
            model = onnx.load(str(target))
    except Exception as error:  # onnx's and onnxruntime's have no common class
        raise ModelError(f"{path}: cannot be prepared: {' '.join(str(error).split())[:200]}") from error
    for place, node in enumerate(model.graph.node):
        if node.op_type == "Conv":
            node.name = f"{node.name or 'conv'}#{place}"
    return model


def _ranges(model: ModelProto, pictures: Iterable[Feeds]) -> Any:
    """The smallest and largest value of every tensor around the convolutions, over the pictures."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, create_calibrator

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = iter(pictures)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            following = next(self._rest, None)
            return None if following is None else dict(following)

    with tempfile.TemporaryDirectory(prefix="detkit-quantize-") as folder:
        source, augmented = Path(folder, "float.onnx"), Path(folder, "augmented.onnx")
        onnx.save(model, str(source))
        calibrator = create_calibrator(str(source), ["Conv"], str(augmented))
        calibrator.collect_data(Reader())
        return calibrator.compute_data()
