"""Palettes from files: the colour, and the name, of each class, as data sets and annotation tools write them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.text_files import lines_of, parse_json, read_text
from detkit.errors import InputError
from detkit.label_maps.palettes import IGNORED, PALETTES, Palette, palette_named, plain_palette
from detkit.label_maps.png import read_label_png

_HEX = re.compile(r"#?([0-9a-fA-F]{6})$")
_NUMBERS = re.compile(r"(?<!\d)(\d{1,3})[,;\s]+(\d{1,3})[,;\s]+(\d{1,3})(?!\d)")
_NAME_KEYS = ("name", "label", "class")
_COLOUR_KEYS = ("color", "colour", "rgb")
_HOW = "a class a line, like `128 0 0 aeroplane` or `road: #804080`"


def palette_from(source: str | os.PathLike[str]) -> Palette:
    """A palette of `PALETTES` by its name, or that of a file.

    Files: a class a line with its colour (three numbers from 0 to 255, or #rrggbb) and, before or behind it, its name,
    as CamVid's label_colors.txt and CVAT's labelmap.txt have it; JSON, {"name": colour} or a list of {"name", "color"};
    or a PNG with a palette, whose colours are taken. Classes are numbered by their order. InputError for other content.
    """
    if str(source) in PALETTES:
        return palette_named(str(source))
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{path}: is neither a palette's file nor one of {', '.join(PALETTES)}")
    if path.suffix.lower() == ".png":
        colours = read_label_png(path).colours
        if colours is None:
            raise InputError(f"{path}: is a PNG without a palette")
        return _palette(path, [("", tuple(colour)) for colour in colours.tolist()[:IGNORED]])
    text = read_text(path)
    if text.lstrip()[:1] in ("[", "{"):
        return _palette(path, _in_json(path, parse_json(path, text.encode("utf-8"))))
    rows = []
    for number, line in enumerate(lines_of(text), 1):
        if not line.strip() or line.lstrip().startswith(("# ", "//")):
            continue
        row = _row(line.strip())
        if row is None:
            raise InputError(f"{path}: line {number} has no colour; a palette has {_HOW}")
        rows.append(row)
    return _palette(path, rows)


def _palette(path: Path, rows: list[tuple[str, Any]]) -> Palette:
    """Classes in their order. InputError where there are none, or too many, or a colour is none."""
    if not rows or len(rows) > IGNORED:
        raise InputError(f"{path}: has {len(rows)} classes, and a palette 1 to {IGNORED}")
    names = tuple(name or str(number) for number, (name, _) in enumerate(rows))
    plain = plain_palette(names)
    colours = np.array([_colour(path, value) for _, value in rows], np.uint8)
    return Palette(str(path), names, colours, plain.file_ids, plain.void, plain.void_colour)


def _colour(path: Path, value: Any) -> NDArray[np.uint8]:
    numbers: Sequence[Any] = value if isinstance(value, list | tuple) else ()
    if isinstance(value, str) and (found := _HEX.match(value.strip())) is not None:
        numbers = bytes.fromhex(found[1])
    if len(numbers) != 3 or not all(isinstance(one, int) and 0 <= one <= 255 for one in numbers):
        raise InputError(f"{path}: {value!r} is no colour, like [128, 0, 0] or #800000")
    return np.array(list(numbers), np.uint8)


def _in_json(path: Path, content: Any) -> list[tuple[str, Any]]:
    if isinstance(content, dict):
        nested = next((content[key] for key in ("categories", "classes", "palette") if key in content), None)
        if nested is not None:
            return _in_json(path, nested)
        return list(content.items())
    rows = []
    for one in content if isinstance(content, list) else ():
        if isinstance(one, dict):
            name = next((str(one[key]) for key in _NAME_KEYS if key in one), "")
            rows.append((name, next((one[key] for key in _COLOUR_KEYS if key in one), None)))
        else:
            rows.append(("", one))
    return rows


def _row(line: str) -> tuple[str, Any] | None:
    """(name, colour) of a line; None where it has no colour."""
    found = _NUMBERS.search(line)
    if found is not None:
        name = f"{line[: found.start()]} {line[found.end() :]}"
        return _bare(name), tuple(map(int, found.groups()))
    for word in re.split(r"[\s,;:]+", line):
        match = _HEX.match(word)
        if match is not None and word.startswith("#"):
            return _bare(line.replace(word, " ", 1)), word
    return None


def _bare(name: str) -> str:
    """A name without the separators, and without a number before it, that stand around it."""
    name = " ".join(name.strip(" \t,;:\"'").split())
    return re.sub(r"^\d+[\s,;:]+(?=\D)", "", name).strip(" ,;:")
