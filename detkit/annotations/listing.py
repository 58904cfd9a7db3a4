"""Lists of pictures, one a line: VOC's ImageSets, ultralytics' train.txt, or any text with names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.alignment import ImageMatcher
from detkit.annotations.finding import AMBIGUOUS, UNKNOWN
from detkit.annotations.problems import Problems, quoted
from detkit.annotations.text_files import lines_of, read_text
from detkit.dataset import Images
from detkit.errors import InputError, UsageError

# What VOC's lists of one class have behind the name: not there, difficult, there.
_MARKS = frozenset(("-1", "0", "1"))


def names_in_list(path: Path) -> list[str]:
    """The lines of a list that are not empty. InputError where there is none."""
    lines = [line.strip() for line in lines_of(read_text(path)) if line.strip()]
    if not lines:
        raise InputError(f"{path}: the list is empty")
    return lines


def _row_of(matcher: ImageMatcher, line: str) -> int:
    """The row of the picture that a line names, with or without a mark behind it."""
    name, _, mark = line.rpartition(" ")
    for text in (line, name.strip()) if mark in _MARKS else (line,):
        row = matcher.by_file(text)
        row = matcher.by_id(text) if row == UNKNOWN else row
        if row != UNKNOWN:
            return row
    return UNKNOWN


def listed_rows(path: Path, images: Images) -> NDArray[np.int64]:
    """The rising rows of `images` that a list names, by file name, stem or id.

    Names that `images` does not have are a warning. UsageError where it has none of them, InputError where one could
    be several.
    """
    matcher, problems = ImageMatcher(images), Problems(path)
    rows: set[int] = set()
    for name in names_in_list(path):
        row = _row_of(matcher, name)
        if row == AMBIGUOUS:
            raise InputError(f"{path}: '{name}' could be any of {quoted(matcher.fitting(name), 3)}; give its folder")
        if row >= 0:
            rows.add(row)
        else:
            problems.add("listed pictures that are not in the annotations, passed over", name)
    if not rows:
        first = next(iter(problems.examples.values()))
        raise UsageError(f"{path}: lists none of the annotated pictures (first: '{first}')")
    problems.log()
    return np.array(sorted(rows), np.int64)
