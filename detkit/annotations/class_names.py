"""Where the class names of a network come from."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from detkit.annotations.name_files import read_names, yaml_names
from detkit.classes import COCO_NAMES, VOC_NAMES
from detkit.errors import InputError

# Keys of a graph's metadata that hold class names, the usual first.
# fmt: off
_KEYS = (
    "names", "class_names", "classes", "labels", "label_names", "categories", "id2label", "class_list", "label_map",
    "labelmap", "thing_classes", "objects",
)
# fmt: on
# Words in other keys, which count where their value is a list or a map.
_WORDS = ("name", "class", "label", "categor")
_ITEM_NAMES = ("name", "label", "class_name", "class", "title", "display_name")
_ITEM_IDS = ("id", "index", "class_id", "label_id", "value")
_NUMBERED = re.compile(r"(\d+)\s*[:=\s]\s*(\S.*)$")

BUILT_IN: dict[str, tuple[str, ...]] = {"coco": COCO_NAMES, "voc": VOC_NAMES}


def names_from_file(source: str | os.PathLike[str]) -> tuple[str, ...]:
    """`coco`, `voc`, or a file: one name a line, JSON, or YAML with `names:`. InputError where it has none."""
    return BUILT_IN[str(source)] if str(source) in BUILT_IN else read_names(Path(source))


def names_from_metadata(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The names in a graph's metadata, under any key that exporters use; () where there are none that can be read."""
    return next((names for text in _name_texts(metadata) if (names := names_from_text(text))), ())


def metadata_has_names(metadata: Mapping[str, str]) -> bool:
    """Whether a graph carries names of its own, be they readable or not."""
    return any(_name_texts(metadata))


def _name_texts(metadata: Mapping[str, str]) -> list[str]:
    """The values of the keys that hold names, those that exporters use first."""
    lowered = {key.lower().replace("-", "_").rpartition(".")[2]: text for key, text in metadata.items()}
    usual = [lowered[key] for key in _KEYS if lowered.get(key, "").strip()]
    others = [text for key, text in lowered.items() if key not in _KEYS and any(word in key for word in _WORDS)]
    return [*usual, *(text for text in others if text.strip()[:1] in ("[", "{", "(") and names_from_text(text))]


def names_from_text(text: str) -> tuple[str, ...]:
    """Names as exporters write them; () where the text holds none.

    A list or a mapping of ids to names (gaps get their number) as JSON, as a Python literal or as YAML, a list of items
    with `name` and `id`, a mapping of names to ids, or names with commas or line breaks between them.
    """
    text = text.strip().lstrip("\ufeff")
    if not text:
        return ()
    for read in (orjson.loads, ast.literal_eval):
        try:
            return _names_in(read(text))
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    try:
        return _names_in(_yaml(text))
    except InputError:
        return _separated(text)


def _yaml(text: str) -> list[str] | dict[str, str]:
    """The list or map in a YAML text, with or without the key `names` above it. InputError where there is none."""
    if re.search(r"^names\s*:", text, re.MULTILINE):
        return yaml_names("names", text)
    if text[0] in "[{":
        return yaml_names("names", f"names: {text}")
    return yaml_names("names", "names:\n" + "\n".join(f"  {line}" for line in text.splitlines()))


def _separated(text: str) -> tuple[str, ...]:
    """Names with line breaks, semicolons, bars or commas between them; numbers before them, as in `0 car`, are ids."""
    if text[0] in "[{(<":
        return ()
    between = next((mark for mark in ("\n", ";", "|", ",") if mark in text), None)
    if between is None:
        return ()
    parts = [part.strip().strip("'\"") for part in text.strip(between).split(between)]
    numbered = [_NUMBERED.match(part) for part in parts]
    if all(numbered):
        return _by_id({match[1]: match[2] for match in numbered if match})
    plain = all(parts) and not all(part.replace(".", "").isdecimal() for part in parts)
    return tuple(parts) if plain else ()


def _names_in(value: Any) -> tuple[str, ...]:
    """Names in a value of JSON or a literal; () where it holds none."""
    if isinstance(value, Mapping):
        nested = next((value[key] for key in _KEYS if isinstance(value.get(key), Mapping | list | tuple)), None)
        if nested is not None:
            return _names_in(nested)
        if value and all(isinstance(number, int) for number in value.values()):
            value = {number: name for name, number in value.items()}
        return _by_id(value)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return ()
    if value and all(isinstance(item, Mapping) for item in value):
        return _of_items(value)
    if value and all(isinstance(item, list | tuple) and len(item) == 2 for item in value):
        return _by_id(dict(value))
    if any(isinstance(item, Mapping | list | tuple | float) for item in value):
        return ()
    return tuple(str(name) for name in value)


def _of_items(items: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Names of items like {"id": 0, "name": "car"}; without ids, or with ids that do not begin at 0, in their order."""
    names = [next((item[key] for key in _ITEM_NAMES if isinstance(item.get(key), str)), None) for item in items]
    if None in names:
        return ()
    ids = [next((item[key] for key in _ITEM_IDS if isinstance(item.get(key), int | str)), None) for item in items]
    if None in ids or not any(str(number) == "0" for number in ids):
        return tuple(str(name) for name in names)
    return _by_id(dict(zip(ids, names, strict=True)))


def _by_id(value: Mapping[Any, Any]) -> tuple[str, ...]:
    try:
        by_id = {int(key): str(name) for key, name in value.items()}
    except (TypeError, ValueError):
        return ()
    if not by_id or not 0 <= min(by_id) <= max(by_id) < 100_000:
        return ()
    return tuple(by_id.get(number, str(number)) for number in range(max(by_id) + 1))
