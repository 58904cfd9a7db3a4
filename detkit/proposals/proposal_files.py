"""Proposals in files: JSON Lines, a line a picture, as `detkit proposals` writes them and `detkit rcnn` takes them.

    {"file": "a/b.jpg", "boxes": [[x1, y1, x2, y2], ...], "scores": [...]}

Boxes are pixels of the picture as it is shown, best first. Where a picture could not be read, "error" stands in place
of "boxes" and "scores".
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import orjson

from detkit.errors import InputError
from detkit.files import opened
from detkit.proposals import Proposals


def proposals_line(file: str, proposals: Proposals) -> bytes:
    """The line of a picture, with the shortest digits that read back as the same float32."""
    boxes, scores = (np.ascontiguousarray(values, np.float32) for values in proposals)
    return orjson.dumps({"file": file, "boxes": boxes, "scores": scores}, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"


def error_line(file: str, error: str) -> bytes:
    """The line of a picture that could not be read."""
    return orjson.dumps({"file": file, "error": error}) + b"\n"


def read_proposals(path: str | os.PathLike[str]) -> dict[str, Proposals]:
    """The proposals of each picture, by the name that the file calls it; pictures with an error are left out.

    Boxes come in the order of falling scores, equal ones in the order of the file. InputError, with the line, where
    a line is not as the head of this module says, or names a picture a second time.
    """
    found: dict[str, Proposals] = {}
    with opened(path) as file:
        for number, line in enumerate(file, 1):
            if line.isspace():
                continue
            name, proposals = _parsed(f"{path}: line {number}", line)
            if name in found:
                raise InputError(f"{path}: line {number} names the picture {name!r} again")
            if proposals is not None:
                found[name] = proposals
    return found


def _parsed(where: str, line: bytes) -> tuple[str, Proposals | None]:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{where} is not JSON: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get("file"), str):
        raise InputError(f"{where} has no file name under 'file'")
    name = record["file"]
    if "error" in record and "boxes" not in record:
        return name, None
    boxes, scores = _numbers(record.get("boxes")), _numbers(record.get("scores"))
    if boxes is None or (boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4)):
        raise InputError(f"{where}, {name}: 'boxes' must be a list of four finite numbers each, [x1, y1, x2, y2]")
    boxes = boxes.reshape(-1, 4)
    if scores is None or scores.shape != (len(boxes),):
        raise InputError(
            f"{where}, {name}: 'scores' must be a list of finite numbers, one for each of {len(boxes)} boxes"
        )
    if (boxes[:, 2:] < boxes[:, :2]).any():
        first = boxes[int(np.argmax((boxes[:, 2:] < boxes[:, :2]).any(axis=1)))].tolist()
        raise InputError(f"{where}, {name}: a box must be [x1, y1, x2, y2] with x1 <= x2 and y1 <= y2, got {first}")
    order = np.argsort(-scores, kind="stable")
    return name, Proposals(boxes[order], scores[order])


def _numbers(values: object) -> Any:
    """A list of numbers, or of lists of them, as a float32 array; None for anything else."""
    if not isinstance(values, list):
        return None
    try:
        array = np.array(values)
    except ValueError:  # rows of different lengths
        return None
    if array.size and array.dtype.kind not in "iuf":
        return None
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    return array if np.isfinite(array).all() else None
