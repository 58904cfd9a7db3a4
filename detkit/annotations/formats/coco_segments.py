"""The `segmentation` of COCO's files, taken out of the text before it is parsed.

Nine tenths of an annotation file are the points of polygons. As Python's numbers they take ten times the memory of the
text, so they are parsed some at a time, where they are wanted at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

# A list ends at the last bracket before the next text or brace. RLE has neither braces nor quotes in its strings.
_SEGMENTATION = re.compile(rb'("segmentation"\s*:\s*)(\[[^"{}]*\]|\{[^{}]*\})')
_TOGETHER = 2048


@dataclass(frozen=True)
class Segments:
    """The texts of all `segmentation` in the order of the file."""

    texts: Sequence[bytes]

    def is_there(self, place: Any) -> bool:
        """Whether the value that `place` stands for is not empty."""
        return isinstance(place, int) and len(self.texts[place].strip(b"[] {}\r\n\t")) > 0

    def parsed(self, places: Sequence[Any]) -> Iterator[list[Any]]:
        """The values at `places` (what stands in place of them), some at a time; ValueError where one is no JSON."""
        for begin in range(0, len(places), _TOGETHER):
            some = places[begin : begin + _TOGETHER]
            texts = [self.texts[place] if isinstance(place, int) else b"null" for place in some]
            yield orjson.loads(b"[" + b",".join(texts) + b"]")


def without_segmentations(data: bytes) -> tuple[bytes, Segments]:
    """JSON text whose values of `segmentation` are their running numbers from 0, and these values."""
    pieces: list[bytes] = []
    texts: list[bytes] = []
    place = 0
    for match in _SEGMENTATION.finditer(data):
        pieces += [data[place : match.end(1)], b"%d" % len(texts)]
        texts.append(match.group(2))
        place = match.end()
    if not texts:
        return data, Segments(())
    return b"".join((*pieces, data[place:])), Segments(texts)
