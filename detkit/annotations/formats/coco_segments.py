"""The `segmentation` of COCO's files, taken out of the text before it is parsed.

Nine tenths of an annotation file are the points of polygons. As Python's numbers they take ten times the memory of the
text, so they are parsed some at a time, where they are wanted at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from detkit.shapes.shape_columns import ALL_SHAPES

# A list ends at the last bracket before the next text or brace. RLE has neither braces nor quotes in its strings.
_SEGMENTATION = re.compile(rb'("segmentation"\s*:\s*)(\[[^"{}]*\]|\{[^{}]*\})')
_TOGETHER = 2048
# Characters that an empty value has at most.
_SHORT = 32


# What segmentations are for, as `Request.shapes` has it.
_NEED = ("masks", "corners", ALL_SHAPES)


@dataclass(frozen=True)
class Segments:
    """The texts of all `segmentation` in the order of the file.

    count   how many there are;  texts   empty where they are not needed
    """

    count: int
    texts: Sequence[bytes] = ()

    def is_there(self, place: Any) -> bool:
        """Whether the value that `place` stands for is not empty."""
        return isinstance(place, int) and place >= 0

    def parsed(self, places: Sequence[Any]) -> Iterator[list[Any]]:
        """The values at `places` (what stands in place of them), some at a time; ValueError where one is no JSON.

        A value that was not taken out stands for itself.
        """
        for begin in range(0, len(places), _TOGETHER):
            some = places[begin : begin + _TOGETHER]
            texts = [self._text(place) if isinstance(place, int) else orjson.dumps(place) for place in some]
            whole = b"[" + b",".join(texts) + b"]"
            try:
                yield orjson.loads(whole)
            except orjson.JSONDecodeError:  # NaN and Infinity, which Python's json writes
                yield json.loads(whole)

    def _text(self, place: int) -> bytes:
        return self.texts[place] if place >= 0 else b"[]"


def without_segmentations(data: bytes, wanted: str) -> tuple[bytes, Segments]:
    """JSON text whose values of `segmentation` are running numbers from 0, -1 where one is empty; and these values.

    wanted   as `Request.shapes`: the values are kept where they are needed for it
    """
    pieces: list[bytes] = []
    texts: list[bytes] = []
    place = count = number = 0
    kept = wanted in _NEED
    for match in _SEGMENTATION.finditer(data):
        count += 1
        begin, end = match.span(2)
        empty = end - begin < _SHORT and not match.group(2).strip(b"[] {}\r\n\t")
        pieces += [data[place:begin], b"-1" if empty else b"%d" % number]
        if not empty:
            number += 1
            if kept:
                texts.append(match.group(2))
        place = end
    if not count:
        return data, Segments(0)
    return b"".join((*pieces, data[place:])), Segments(count, texts)
