"""The sidecar file `<stem>.detkit.json` beside an .onnx file: what the graph itself does not tell.

    {"head": "yolov5-raw", "names": ["cat", "dog"], "size": [640, 640], "anchors": [[[10, 13], ...], ...]}

Every key is optional; an unknown one is an error, so that a misspelt one is not ignored in silence.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from detkit.errors import ModelError
from detkit.files import read_file
from detkit.graphs.letterbox import FITS
from detkit.graphs.preparation import Anchors, Preparation


@dataclass(frozen=True)
class Sidecar:
    """Settings that override what a head brings; None or empty where the file is silent.

    head      name of the head
    names     class names, or "coco" or "voc"
    size      (width, height) for graphs that leave it open
    fit, pad, color, mean, std   see `Preparation`
    anchors   (width, height) in input pixels, one list a level, finest grid first
    strides   of the levels
    """

    head: str | None = None
    names: tuple[str, ...] | str | None = None
    size: tuple[int, int] | None = None
    fit: str | None = None
    pad: int | None = None
    color: str | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    anchors: Anchors = ()
    strides: tuple[int, ...] = ()

    def applied_to(self, preparation: Preparation) -> Preparation:
        """`preparation` with the settings that the file gives."""
        given = {key: getattr(self, key) for key in ("fit", "pad", "color", "mean", "std")}
        return replace(preparation, **{key: value for key, value in given.items() if value is not None})


def sidecar_path(model: Path) -> Path:
    """Where the sidecar of a model lies."""
    return model.with_name(f"{model.stem}.detkit.json")


def read_sidecar(model: Path) -> Sidecar:
    """The sidecar of a model, an empty one where there is none. ModelError names what is wrong in it."""
    path = sidecar_path(model)
    if not os.path.lexists(path):
        return Sidecar()
    try:
        content = orjson.loads(read_file(path, ModelError))
    except orjson.JSONDecodeError as error:
        raise ModelError(f"{path}: is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f'{path}: must hold one object, like {{"head": "yolov8"}}')
    settings: dict[str, Any] = {}
    for key, value in content.items():
        if key not in _READERS:
            raise ModelError(f"{path}: unknown key {key!r}; there are {', '.join(_READERS)}")
        try:
            settings[key] = _READERS[key](value)
        except (TypeError, ValueError) as error:
            raise ModelError(f"{path}: {key!r} must be {error}, got {value!r}") from error
    return Sidecar(**settings)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a string")
    return value


def _names(value: Any) -> tuple[str, ...] | str:
    if value in ("coco", "voc"):
        return str(value)
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError('a list of strings, "coco" or "voc"')
    return tuple(value)


def _choice(*choices: str) -> Any:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError("one of " + ", ".join(choices))
        return str(value)

    return read


def _numbers(count: int | None, what: str, kind: type = float) -> Any:
    def read(value: Any) -> tuple[Any, ...]:
        plain = isinstance(value, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
        if not plain or not value or (count is not None and len(value) != count):
            raise ValueError(what)
        return tuple(kind(number) for number in value)

    return read


def _size(value: Any) -> tuple[int, int]:
    if isinstance(value, int) and value > 0:
        return value, value
    width, height = _numbers(2, "a side, or [width, height], in pixels", int)(value)
    if min(width, height) < 1:
        raise ValueError("a side, or [width, height], in pixels")
    return width, height


def _pad(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value <= 255:
        raise ValueError("a whole number from 0 to 255")
    return value


def _std(value: Any) -> tuple[float, ...]:
    numbers: tuple[float, ...] = _numbers(3, "three numbers above 0, for pixels from 0 to 255")(value)
    if min(numbers) <= 0:
        raise ValueError("three numbers above 0, for pixels from 0 to 255")
    return numbers


def _anchors(value: Any) -> Anchors:
    what = "a list of levels, each a list of [width, height] in pixels"
    if not isinstance(value, list) or not value or not all(isinstance(level, list) and level for level in value):
        raise ValueError(what)
    return tuple(tuple(_numbers(2, what)(anchor) for anchor in level) for level in value)


_READERS: dict[str, Any] = {
    "head": _text,
    "names": _names,
    "size": _size,
    "fit": _choice(*FITS),
    "pad": _pad,
    "color": _choice("rgb", "bgr"),
    "mean": _numbers(3, "three numbers, for pixels from 0 to 255"),
    "std": _std,
    "anchors": _anchors,
    "strides": _numbers(None, "a list of whole numbers", int),
}
