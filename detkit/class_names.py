"""Where the class names of a network come from."""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from detkit.annotations.class_names import COCO_NAMES, VOC_NAMES
from detkit.annotations.names import read_names
from detkit.errors import UsageError

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


def classes_called(name: str, names: Sequence[str]) -> list[int]:
    """The places in `names` of the classes of this name, else of those whose names differ in case only."""
    found = [row for row, known in enumerate(names) if known == name]
    return found or [row for row, known in enumerate(names) if known.casefold() == name.casefold()]


def class_filter(classes: Sequence[str | int] | str | int, names: tuple[str, ...]) -> NDArray[np.int64] | None:
    """Ids of the wanted classes, given by name or number; None, for all, where none is given. UsageError for others."""
    if isinstance(classes, str | int):
        classes = (classes,)
    if not classes:
        return None
    by_name = {name.casefold(): number for number, name in enumerate(names)}
    wanted = []
    for name in classes:
        text = str(name)
        if text.casefold() in by_name:
            wanted.append(by_name[text.casefold()])
        elif text.isdecimal() and (not names or int(text) < len(names)):
            wanted.append(int(text))
        else:
            shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            raise UsageError(f"the network has no class {text!r}; it has {shown or 'numbers only'}")
    return np.array(wanted)
