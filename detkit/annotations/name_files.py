"""Class names from files: lists of lines, ultralytics' YAML, JSON, and Open Images' table of labels."""

from __future__ import annotations

import re
from pathlib import Path

from detkit.annotations.columns import whole_number
from detkit.annotations.text_files import lines_of, parse_json, read_text
from detkit.annotations.yaml_text import read_yaml
from detkit.errors import InputError

# A key at the top of a YAML text.
_KEY = re.compile(r"names\s*:")


def read_names(path: Path) -> tuple[str, ...]:
    """Class names in the order of their ids from 0.

    A list with one name a line, YAML with `names:` (a list or a map from id to name), or JSON of either.
    InputError where there is none or the ids have gaps.
    """
    text = read_text(path)
    if text.lstrip()[:1] in ("[", "{"):
        document = parse_json(path, text.encode("utf-8"))
        names = document.get("names", document) if isinstance(document, dict) else document
        return _in_order(path, names)
    if any(_KEY.match(line) for line in lines_of(text)):
        return _in_order(path, yaml_names(path, text))
    lines = tuple(line.strip() for line in lines_of(text))
    while lines and not lines[-1]:
        lines = lines[:-1]
    if not lines or not all(lines):
        raise InputError(f"{path}: is not a list of class names, one a line without empty lines between")
    return lines


def read_labels(path: Path) -> dict[str, str]:
    """Open Images' table of labels: `/m/011k07,Tortoise` a line."""
    labels: dict[str, str] = {}
    for number, line in enumerate(lines_of(read_text(path)), 1):
        label, comma, name = line.partition(",")
        if line.strip() and not comma:
            raise InputError(f"{path}: line {number} is not 'label,name', as in Open Images' class descriptions")
        if line.strip() and not (number == 1 and label.strip().lower() == "labelname"):
            labels[label.strip()] = name.strip().strip('"')
    return labels


def yaml_names(where: object, text: str) -> list[str] | dict[str, str]:
    """The value of the key `names` at the top of a YAML text: a list, or a map from id to name.

    Names are text however they are written (`no`, `1`, `null`). InputError for anything else.
    """
    names = read_yaml(where, text).get("names")
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return names
    if isinstance(names, dict) and names and all(isinstance(name, str) for name in names.values()):
        return names
    raise InputError(f"{where}: has no list or map of class names under 'names:'")


def _in_order(path: Path, names: object) -> tuple[str, ...]:
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    if isinstance(names, dict) and names:
        numbered = {whole_number(key): str(name) for key, name in names.items()}
        if None not in numbered and sorted(numbered) == list(range(len(names))):  # type: ignore[type-var]
            return tuple(numbered[k] for k in range(len(names)))
        raise InputError(f"{path}: the ids of its class names are not 0, 1, 2 and so on without a gap")
    raise InputError(f"{path}: holds no class names (a list, or a map from id to name)")
