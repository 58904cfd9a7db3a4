"""What a file is that was given for an .onnx file and is none, and how to come by one."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence

from detkit.errors import InputError
from detkit.files import opened

_YOLO_EXPORT = "yolo export model=FILE.pt format=onnx"
_TORCH_EXPORT = "torch.onnx.export(model, image, 'model.onnx')"
_CHECKPOINT = (
    f"is a PyTorch checkpoint (.pt), not an ONNX file: export it, ultralytics' with `{_YOLO_EXPORT}`, "
    f"others with {_TORCH_EXPORT}"
)
_PICKLE = b"\x80"
_LARGEST_HEAD = 512


def what_it_is(path: str | os.PathLike[str]) -> str | None:
    """What the file is, as the end of a sentence that begins with its name; None where it may well be an ONNX file."""
    try:
        with opened(path) as file:
            head = file.read(_LARGEST_HEAD)
    except InputError:
        return None
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"
    if start.startswith((b"<!doctype html", b"<html")):
        return "is a web page (HTML), not an ONNX file: the download went wrong, fetch the file itself"
    if start.startswith((b"<?xml", b"<net ")):
        return (
            "is an XML file, OpenVINO's network description perhaps, not an ONNX file: export the network again with "
            f"format onnx, for example `{_YOLO_EXPORT}`"
        )
    if start.startswith((b"{", b"[")) and b"\0" not in head:
        return "is JSON text, not an ONNX file"
    if head.startswith(b"PK\x03\x04"):
        return _archive(path)
    if head.startswith(b"\x1f\x8b"):
        return "is a gzip archive, not an ONNX file: unpack it first"
    if head[4:8] == b"TFL3":
        return (
            f"is a TensorFlow Lite file, not an ONNX file: `python -m tf2onnx.convert --tflite {path} --output m.onnx`"
        )
    if head.startswith(b"\x89HDF"):
        return "is a Keras file (HDF5), not an ONNX file: `python -m tf2onnx.convert` makes one of a saved model"
    if head.startswith(_PICKLE) and head[1:2] in b"\x02\x03\x04\x05" and b"torch" in head:
        return _CHECKPOINT
    if head.startswith(_PICKLE) and head[1:2] in b"\x02\x03\x04\x05":
        return (
            f"is a Python pickle, an old PyTorch checkpoint perhaps, not an ONNX file: export it with {_TORCH_EXPORT}"
        )
    if head[8:9] == b"{" and b"dtype" in head:
        return "is a safetensors file, weights without a graph, not an ONNX file: export it with its own tools"
    if head.startswith((b"ftrt", b"ptrt")):
        return "is a TensorRT engine, not an ONNX file: give the .onnx file it was built from"
    return None


def _archive(path: str | os.PathLike[str]) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return "is a damaged zip archive, not an ONNX file"
    if _within(names, "constants.pkl") or any("/code/" in f"/{name}" for name in names):
        return f"is a TorchScript archive, not an ONNX file: export the network to ONNX, as with `{_YOLO_EXPORT}`"
    if _within(names, "data.pkl"):
        return _CHECKPOINT
    inside = [name for name in names if name.endswith(".onnx")]
    if inside:
        return f"is a zip archive, not an ONNX file: unpack it and give {inside[0]}"
    if any("coremldata" in name or name.endswith(".mlmodel") for name in names):
        return "is a CoreML package, not an ONNX file: export the network with format onnx"
    if any(name.endswith("config.json") for name in names):
        return "is a Keras archive, not an ONNX file: `python -m tf2onnx.convert` makes one of a saved model"
    return "is a zip archive, not an ONNX file"


def _within(names: Sequence[str], file: str) -> bool:
    return any(name.rpartition("/")[2] == file for name in names)
