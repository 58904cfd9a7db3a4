"""Settings that travel as values, and may be given by the names of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from detkit.errors import UsageError


def settled(given: Mapping[str, Any], *values: Any) -> tuple[Any, ...]:
    """The `values`, dataclasses, with what is given by the names of their fields. UsageError for other names.

    >>> from detkit.detectors.selection import Selection
    >>> settled({"conf": 0.5}, Selection(max_det=10))
    (Selection(conf=0.5, iou=None, max_det=10, nms='greedy', agnostic=False, classes=(), conf_by_class={}),)
    """
    known = [{entry.name for entry in fields(value)} for value in values]
    unknown = set(given).difference(*known)
    if unknown:
        every = ", ".join(sorted(set().union(*known)))
        raise UsageError(f"there is no setting {', '.join(sorted(unknown))}; there are {every}")
    return tuple(
        replace(value, **{key: one for key, one in given.items() if key in own}) if own & given.keys() else value
        for value, own in zip(values, known, strict=True)
    )
