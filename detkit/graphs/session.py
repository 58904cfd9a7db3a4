"""A thin onnxruntime session that knows its own inputs, outputs and metadata. The only module with onnxruntime."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from detkit.errors import DeviceError, ModelError
from detkit.files import is_file
from detkit.graphs.interruption import stopped_by_interrupt
from detkit.graphs.runtime import Runtime
from detkit.graphs.stored import refuse_data_outside

logger = logging.getLogger("detkit")

DEVICES = ("auto", "cpu", "cuda", "cuda:N", "tensorrt", "directml", "coreml", "openvino")

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
# What "auto" tries, best first. TensorRT builds an engine for minutes and is taken only when asked for.
_AUTO = ("cuda", "directml", "coreml", "openvino")

# Of an input: half a billion, 400 pictures of 640 x 640.
_MOST_NUMBERS = 1 << 29

_DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a graph: its name, its type, and its shape with None for dynamic axes."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        axes = " x ".join("?" if axis is None else str(axis) for axis in self.shape)
        return f"{self.name} {self.dtype.name} ({axes})"


class Network:
    """An .onnx file in an onnxruntime session.

    runtime  its device, "auto" or one of `DEVICES`, and threads; a device that is asked for by name and not there is a
             DeviceError
    content  a graph made from the one in the file, to be run in its place

    inputs, outputs   tuples of TensorInfo
    metadata          the file's custom metadata
    provider          the execution provider that really runs the graph
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        runtime: Runtime = Runtime(),
        *,
        content: bytes | None = None,
    ) -> None:
        device = runtime.device
        self.path = Path(path)
        if not is_file(self.path, ModelError):
            raise ModelError(f"{path}: no such model file")
        refuse_data_outside(self.path)
        self.threads = runtime.cores
        wanted = _wanted_providers(device, onnxruntime.get_available_providers())
        self._session = self._start(wanted, content)
        self.provider: str = self._session.get_providers()[0]
        if self.provider != wanted[0][0]:
            failed = f"onnxruntime could not start {wanted[0][0]} (driver or libraries missing?)"
            if device != "auto":
                raise DeviceError(f"device {device!r}: {failed} and offers {self.provider}; --device cpu accepts that")
            logger.warning("%s; running on %s", failed, self.provider)
        try:
            self.inputs = tuple(_tensor_info(value) for value in self._session.get_inputs())
            self.outputs = tuple(_tensor_info(value) for value in self._session.get_outputs())
            self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        except UnicodeDecodeError as error:
            raise ModelError(f"{path}: the file is damaged: its names or metadata are not UTF-8") from error
        for info in self.inputs:
            if math.prod(axis or 1 for axis in info.shape) > _MOST_NUMBERS:
                raise ModelError(f"{path}: the input {info} is larger than any that can be given")

    def about(self) -> str:
        """The file, what runs it, and in how many threads."""
        return f"{self.path} on {self.provider}, {self.threads} threads"

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> list[NDArray[Any]]:
        """The outputs for the given inputs, in the graph's order, or only those named. ModelError if it fails.

        An interrupt ends the run, not only what comes after it.
        """
        options = onnxruntime.RunOptions()
        try:
            with stopped_by_interrupt(lambda: setattr(options, "terminate", True)):
                return list(self._session.run(None if outputs is None else list(outputs), dict(feeds), options))
        except Exception as error:  # onnxruntime has no common base class for its errors
            raise ModelError(f"{self.path}: the network failed to run: {_first_line(error)}") from error

    def _start(
        self, providers: list[tuple[str, dict[str, str]]], content: bytes | None
    ) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # older exports bring a warning for each initializer; errors are raised
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        # Threads that wait for work by spinning take the cores from the threads that decode the next pictures.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The arena and the patterns keep the memory of every input shape met: over a folder of pictures, all of them.
        options.enable_mem_pattern = False
        if any(name in ("CUDAExecutionProvider", "TensorrtExecutionProvider") for name, _ in providers):
            getattr(onnxruntime, "preload_dlls", lambda: None)()  # CUDA libraries that come as Python packages
        try:
            return onnxruntime.InferenceSession(
                str(self.path) if content is None else content,
                options,
                providers=[name for name, _ in providers],
                provider_options=[settings for _, settings in providers],
                # With nothing else to try, it would print the error on stdout and try again.
                enable_fallback=int(len(providers) > 1),
            )
        except Exception as error:
            raise ModelError(f"{self.path}: cannot be loaded: {_first_line(error)}") from error


def available_devices(providers: Sequence[str] | None = None) -> list[str]:
    """The values of `--device` that the installed onnxruntime can serve."""
    there = onnxruntime.get_available_providers() if providers is None else providers
    return [device for device, provider in _PROVIDERS.items() if provider in there]


def _wanted_providers(device: str, there: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """Providers with their options, the wanted one first and the CPU, which runs what it cannot, last."""
    kind, _, number = device.partition(":")
    if kind != "auto" and (kind not in _PROVIDERS or (number and not (kind == "cuda" and number.isdecimal()))):
        raise DeviceError(f"device {device!r} is not known; there are {', '.join(DEVICES)}")
    cpu: tuple[str, dict[str, str]] = (_PROVIDERS["cpu"], {})
    if kind == "auto":
        return [*[(_PROVIDERS[name], {}) for name in _AUTO if _PROVIDERS[name] in there][:1], cpu]
    if _PROVIDERS[kind] not in there:
        hint = "; install onnxruntime-gpu in place of onnxruntime" if kind in ("cuda", "tensorrt") else ""
        raise DeviceError(
            f"device {device!r} is not there: this onnxruntime has {', '.join(available_devices(there))}{hint}"
        )
    if kind == "cpu":
        return [cpu]
    options = {"device_id": number} if number else {}
    return [(_PROVIDERS[kind], options), cpu]


def _tensor_info(value: Any) -> TensorInfo:
    dtype = np.dtype(_DTYPES.get(value.type, np.object_))
    shape = tuple(axis if isinstance(axis, int) and axis > 0 else None for axis in value.shape or ())
    return TensorInfo(value.name, dtype, shape)


def _first_line(error: Exception) -> str:
    """onnxruntime's message without its code prefix, on one line of bearable length."""
    text = " ".join(str(error).split())
    text = text.rpartition("[ONNXRuntimeError] : ")[2]
    return text if len(text) <= 300 else text[:297] + "..."
