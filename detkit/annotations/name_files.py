"""Class names from files: lists of lines, ultralytics' YAML, JSON, and Open Images' table of labels."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from detkit.annotations.columns import whole_number
from detkit.annotations.problems import shorten
from detkit.annotations.text_files import lines_of, parse_json, read_text
from detkit.errors import InputError

_KEY = re.compile(r"names\s*:(.*)$")
_ITEM = re.compile(r"""-\s+(?P<item>.*)$|(?P<key>'[^']*'|"[^"]*"|[^\s:#]+)\s*:\s+(?P<value>.*)$""")
_SCALAR = re.compile(r"""'((?:[^']|'')*)'|("(?:[^"\\]|\\.)*")|((?!['"])[^,\[\]{}#]*)""")
_KEY_SCALAR = re.compile(r"""'((?:[^']|'')*)'|("(?:[^"\\]|\\.)*")|((?!['"])[^,\[\]{}#:]*)""")


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

    This is the part of YAML that data set files use: block and flow lists and maps of plain, 'single' and
    "double" quoted names, with comments. InputError for anything else.
    """
    lines = lines_of(text)
    for number, line in enumerate(lines):
        match = _KEY.match(line)
        if match:
            rest = match.group(1).strip()
            if rest[:1] in ("[", "{"):
                return _flow(where, "\n".join([rest, *lines[number + 1 :]]))
            if rest and not rest.startswith("#"):
                break
            return _block(where, lines[number + 1 :], number + 2)
    raise InputError(f"{where}: has no list or map of class names under 'names:'")


def _block(where: object, lines: Sequence[str], first_number: int) -> list[str] | dict[str, str]:
    items: list[str] = []
    pairs: dict[str, str] = {}
    for number, line in enumerate(lines, first_number):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        if not line[0].isspace() and not line.startswith("- "):
            break
        match = _ITEM.match(content)
        if match is None or (pairs if match["key"] is None else items):
            raise InputError(f"{where}: line {number} is neither '- name' nor 'id: name'")
        if match["key"] is None:
            items.append(_scalar(where, match["item"], number))
        else:
            pairs[match["key"].strip("'\"")] = _scalar(where, match["value"], number)
    if not items and not pairs:
        raise InputError(f"{where}: 'names:' is empty")
    return items or pairs


def _scalar(where: object, text: str, number: int) -> str:
    if text[:1] in ("'", '"'):
        match = _SCALAR.match(text)
        if match is None or text[match.end() :].strip()[:1] not in ("", "#"):
            raise InputError(f"{where}: line {number} has a quote that does not end")
        return _unquoted(where, match)
    plain = re.split(r"\s#", text, maxsplit=1)[0].strip()
    if not plain or plain[0] in "[{&*!|>%@`":
        raise InputError(f"{where}: line {number} is not a plain or quoted name")
    return plain


def _unquoted(where: object, match: re.Match[str]) -> str:
    if match.group(1) is not None:
        return match.group(1).replace("''", "'")
    if match.group(2) is None:
        return match.group(3).strip()
    try:
        return str(json.loads(match.group(2)))
    except ValueError as error:
        raise InputError(f"{where}: the quoted name {shorten(match.group(2))} cannot be read") from error


def _flow(where: object, text: str) -> list[str] | dict[str, str]:
    is_map = text[0] == "{"
    closing = "}" if is_map else "]"
    items: list[str] = []
    keys: list[str] = []
    place = _skip(text, 1)
    while text[place : place + 1] != closing:
        if is_map:
            key, place = _token(where, text, place, _KEY_SCALAR)
            if text[place : place + 1] != ":":
                raise InputError(f"{where}: the map after 'names:' has an entry without a value")
            keys.append(key)
            place = _skip(text, place + 1)
        item, place = _token(where, text, place, _SCALAR)
        items.append(item)
        if text[place : place + 1] == ",":
            place = _skip(text, place + 1)
        elif text[place : place + 1] != closing:
            raise InputError(f"{where}: the value of 'names:' does not end with '{closing}'")
    return dict(zip(keys, items, strict=True)) if is_map else items


def _token(where: object, text: str, place: int, pattern: re.Pattern[str]) -> tuple[str, int]:
    match = pattern.match(text, place)
    if match is None or match.end() == place:
        raise InputError(f"{where}: the value of 'names:' has an empty entry or does not end")
    return _unquoted(where, match), _skip(text, match.end())


def _skip(text: str, place: int) -> int:
    """The next place that is neither white space nor in a comment."""
    while place < len(text) and (text[place].isspace() or text[place] == "#"):
        if text[place] == "#":
            end = text.find("\n", place)
            place = len(text) if end < 0 else end
        else:
            place += 1
    return place


def _in_order(path: Path, names: object) -> tuple[str, ...]:
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    if isinstance(names, dict) and names:
        numbered = {whole_number(key): str(name) for key, name in names.items()}
        if None not in numbered and sorted(numbered) == list(range(len(names))):  # type: ignore[type-var]
            return tuple(numbered[k] for k in range(len(names)))
        raise InputError(f"{path}: the ids of its class names are not 0, 1, 2 and so on without a gap")
    raise InputError(f"{path}: holds no class names (a list, or a map from id to name)")
