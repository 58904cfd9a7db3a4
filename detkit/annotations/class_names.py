"""Where the class names of a network come from."""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from detkit.annotations.name_files import read_names
from detkit.classes import COCO_NAMES, VOC_NAMES

BUILT_IN: dict[str, tuple[str, ...]] = {"coco": COCO_NAMES, "voc": VOC_NAMES}


def names_from_file(source: str | os.PathLike[str]) -> tuple[str, ...]:
    """`coco`, `voc`, or a file: one name a line, JSON, or YAML with `names:`. InputError where it has none."""
    return BUILT_IN[str(source)] if str(source) in BUILT_IN else read_names(Path(source))


def names_from_metadata(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The names in a graph's metadata, () where there are none."""
    return names_from_text(metadata.get("names", ""))


def names_from_text(text: str) -> tuple[str, ...]:
    """Names written as JSON or as a Python literal: a list, or a mapping of ids to names with gaps as numbers."""
    if not text.strip():
        return ()
    value: Any
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return ()
    if isinstance(value, Mapping):
        try:
            by_id = {int(key): str(name) for key, name in value.items()}
        except (TypeError, ValueError):
            return ()
        if not by_id or not 0 <= min(by_id) <= max(by_id) < 100_000:
            return ()
        return tuple(by_id.get(number, str(number)) for number in range(max(by_id) + 1))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return tuple(str(name) for name in value)
    return ()
