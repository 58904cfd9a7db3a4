"""Which image and which class of the ground truth a detection file means.

Images: by file name, as in `finding`; else by id, where a stem that is a number also finds that number.
Classes: by name; by name without regard to case, then to blanks and underscores, which is said; by id.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.finding import AMBIGUOUS, UNKNOWN, Finder
from detkit.annotations.finding import plain_path as plain_path
from detkit.annotations.finding import without_ending as without_ending
from detkit.annotations.problems import Problems, quoted
from detkit.dataset import Categories, Images
from detkit.errors import InputError
from detkit.spelling import spelled


class ImageMatcher(Finder):
    """Finds images of a table by file name or id."""

    def __init__(self, images: Images) -> None:
        super().__init__(images.files, images.ids)


def match_images(where: object, own: Images, target: Images, problems: Problems) -> NDArray[np.int64]:
    """For each of `own` images its row in `target`, or -1; InputError where none is found or one is ambiguous."""
    matcher = ImageMatcher(target)
    rows = np.full(len(own), UNKNOWN, np.int64)
    for index, (id, file) in enumerate(zip(own.ids, own.files, strict=True)):
        row = matcher.by_file(file) if file else UNKNOWN
        if row == UNKNOWN:
            row = matcher.by_file(id) if isinstance(id, str) else matcher.by_id(id)
        if row == AMBIGUOUS:
            fits = quoted(matcher.fitting(file or str(id)), 3)
            raise InputError(
                f"{where}: image '{file or id}' could be any of {fits} of the ground truth; "
                "keep the subfolders in the file names"
            )
        rows[index] = row
    missing = np.flatnonzero(rows < 0)
    if len(own) and len(missing) == len(own):
        raise no_image_in_common(where, _names(own), _names(target))
    if len(missing):
        first = int(missing[0])
        problems.add(
            "images that are not in the ground truth, left out", own.files[first] or own.ids[first], len(missing)
        )
    _say_other_names(own, target, rows, problems)
    found, counts = np.unique(rows[rows >= 0], return_counts=True)
    if (counts > 1).any():
        twice = int(found[np.argmax(counts > 1)])
        problems.add(
            "images of the ground truth that several entries stand for, all counted",
            target.files[twice] or target.ids[twice],
            int((counts > 1).sum()),
        )
    return rows


def _say_other_names(own: Images, target: Images, rows: NDArray[np.int64], problems: Problems) -> None:
    """Say which images were found although both sides name a file and neither name is the end of the other."""
    for id, file, row in zip(own.ids, own.files, rows.tolist(), strict=True):
        here, there = plain_path(file or str(id)), plain_path(target.files[row]) if row >= 0 else ""
        if not there or here == there:
            continue
        one, other = "/" + without_ending(here), "/" + without_ending(there)
        if one.endswith(other) or other.endswith(one):
            continue
        same_file = one.rpartition("/")[2] == other.rpartition("/")[2]
        how = "file name, their folders differ" if same_file else "the number in their name, their files differ"
        problems.add(f"images that were found by {how}", f"'{here}' is taken for '{there}'")


def no_image_in_common(where: object, own: Sequence[object], target: Sequence[object]) -> InputError:
    """The error for detections of another data set."""
    return InputError(
        f"{where}: no image in common with the ground truth: here {quoted(own, 2)}, there {quoted(target, 2)}; "
        "are these detections of another data set?"
    )


def _names(images: Images) -> list[object]:
    return [file or id for id, file in zip(images.ids, images.files, strict=True)]


def match_classes(
    where: object, own: Categories, used: NDArray[np.int64], target: Categories, problems: Problems
) -> NDArray[np.int64]:
    """For each of `own` classes its row in `target`, or -1.

    used  (K,), how many boxes each of `own` classes has; classes without boxes need no counterpart
    InputError where boxes are there and none of their classes is found.
    """
    names: dict[str, int] = {}
    folded: dict[str, int] = {}
    blanks: dict[str, int] = {}
    ids = {str(id): row for row, id in enumerate(target.ids)}
    for row, name in enumerate(target.names):
        names.setdefault(spelled(name), row)
        for table, key in ((folded, spelled(name).strip().casefold()), (blanks, _with_blanks(name))):
            table[key] = row if table.get(key, row) == row else AMBIGUOUS
    rows = np.full(len(own), UNKNOWN, np.int64)
    for index, name in enumerate(own.names):
        row = names.get(spelled(name), UNKNOWN)
        if row < 0:
            row = folded.get(spelled(name).strip().casefold(), UNKNOWN)
            if row >= 0 and used[index]:
                problems.add(
                    "class names that differ in upper and lower case only, taken as the same",
                    f"'{name}' and '{target.names[row]}'",
                )
        if row < 0:
            row = blanks.get(_with_blanks(name), UNKNOWN)
            if row >= 0 and used[index]:
                problems.add(
                    "class names that differ in blanks and underscores only, taken as the same",
                    f"'{name}' and '{target.names[row]}'",
                )
        if row < 0:
            row = ids.get(name, UNKNOWN)
        rows[index] = max(row, UNKNOWN)
    missing = np.flatnonzero((rows < 0) & (used > 0))
    if used.sum() and len(missing) == np.count_nonzero(used):
        raise no_class_in_common(where, [own.names[k] for k in missing], target)
    for index in missing.tolist():
        problems.add(
            "detections of classes that the ground truth does not have, left out",
            f"'{own.names[index]}'",
            int(used[index]),
        )
    return rows


def _with_blanks(name: str) -> str:
    """A class name without regard to case and to how its words are set apart."""
    return " ".join(spelled(name).casefold().replace("_", " ").replace("-", " ").split())


def no_class_in_common(where: object, own: Sequence[object], target: Categories) -> InputError:
    """The error for a category table that does not match."""
    return InputError(
        f"{where}: no class in common with the ground truth: here {quoted(own)}, there {quoted(target.names)}; "
        "are the class names or category ids those of this data set?"
    )


def rows_by_number(numbers: NDArray[np.int64], ids: Sequence[int | str]) -> NDArray[np.int64]:
    """Rows of `ids` for each of `numbers`, -1 where there is none.

    Ids that are text are read as numbers, after their last "/" ("val/000042" is 42).
    """
    if not len(ids):
        return np.full(len(numbers), UNKNOWN, np.int64)
    keys = np.full(len(ids), np.iinfo(np.int64).min, np.int64)
    for row, id in enumerate(ids):
        if isinstance(id, str):
            stem = id.rpartition("/")[2]
            if not (stem.isascii() and stem.isdigit() and len(stem) < 19):
                continue
            id = int(stem)
        if abs(id) < 2**63:
            keys[row] = id
    largest = int(keys.max())
    if not ((keys < 0) & (keys != np.iinfo(np.int64).min)).any() and largest < 1 << 22:
        table = np.full(max(largest, 0) + 2, UNKNOWN, np.int64)
        known = np.flatnonzero(keys >= 0)[::-1]  # the first of equal ids is written last
        table[keys[known]] = known
        inside = (numbers >= 0) & (numbers <= largest)
        return table[np.where(inside, numbers, len(table) - 1)]
    order = np.argsort(keys, kind="stable")
    place = np.minimum(np.searchsorted(keys[order], numbers), len(order) - 1)
    rows = order[place]
    return np.where(keys[rows] == numbers, rows, UNKNOWN)
