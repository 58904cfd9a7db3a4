"""What a video file's container says about itself: whether all of it is there, and how it is mirrored.

OpenCV tells neither. Its number of frames is counted by some containers and estimated from the duration by others,
so that a video of uneven frame rate, or one of which an edit list shows a part, seems to lack frames.

Sources: ISO 14496-12 (MP4, MOV), RFC 9559 (Matroska, WebM), ISO 13818-1 (transport streams), Microsoft's AVI RIFF file
reference.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap

import numpy as np

from detkit.picture_files.picture_headers import boxes

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
# What may stand in a segment and in a cluster.
_IN_SEGMENT = {0x114D9B74, 0x1549A966, _CLUSTER, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367}
_IN_CLUSTER = {0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF}
_ANYWHERE = {0xEC, 0xBF}  # Void and CRC-32
_MIRRORS = {(-1, 0, 0, 1): 2, (1, 0, 0, -1): 4, (0, 1, 1, 0): 5, (0, -1, -1, 0): 7}


@dataclass(frozen=True)
class Container:
    """What a container says.

    cut      whether the file ends before its container does
    hole     whether a part of it is overwritten
    counted  whether every frame that it counts is to be shown
    mirror   the EXIF orientation that its matrix stands for, where that mirrors; else 1
    """

    cut: bool = False
    hole: bool = False
    counted: bool = False
    mirror: int = 1


def inspect(path: str | os.PathLike[str]) -> Container:
    """What the container of a video file says; an empty `Container` where it says nothing that is known here."""
    try:
        with (
            open(path, "rb") as file,
            mmap(file.fileno(), 0, access=ACCESS_READ) as content,
            memoryview(content) as view,
        ):
            return _inspect(view)
    except (OSError, ValueError, struct.error, IndexError):
        return Container()


def _inspect(view: memoryview) -> Container:
    if bytes(view[4:8]) in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return _iso(view)
    if bytes(view[:4]) == b"RIFF" and bytes(view[8:12]) == b"AVI ":
        size = int.from_bytes(view[4:8], "little")
        return Container(cut=size + 8 > len(view), counted=True)
    if bytes(view[:4]) == b"\x1a\x45\xdf\xa3":
        return _matroska(view)
    for offset, step in ((0, 188), (4, 192)):
        if len(view) > offset + 2 * step and all(view[offset + step * k] == 0x47 for k in range(3)):
            return Container(hole=bool((np.frombuffer(view, np.uint8)[offset::step] != 0x47).any()))
    return Container()


def _iso(view: memoryview) -> Container:
    end, moov = 0, None
    while end + 8 <= len(view):
        length, kind = int.from_bytes(view[end : end + 4], "big"), bytes(view[end + 4 : end + 8])
        if length == 1:
            length = int.from_bytes(view[end + 8 : end + 16], "big")
        elif length == 0:
            length = len(view) - end
        if length < 8:
            return Container(hole=True)
        if kind == b"moov":
            moov = end + 8, min(end + length, len(view))
        end += length
    edited, mirror = _video_track(view, *moov) if moov is not None else (True, 1)
    return Container(cut=end > len(view), counted=not edited, mirror=mirror)


def _video_track(view: memoryview, start: int, end: int) -> tuple[bool, int]:
    """(whether an edit list leaves out a part, the orientation of a mirror) of the first video track."""
    movie = {kind: (at, to) for kind, at, to in boxes(view, start, end)}
    scale = _scale(view, movie[b"mvhd"][0])[0] if b"mvhd" in movie else 0
    for kind, at, to in boxes(view, start, end):
        if kind != b"trak":
            continue
        track = {name: place for name, *place in boxes(view, at, to)}
        media = {name: place for name, *place in boxes(view, *track.get(b"mdia", (0, 0)))}
        if b"hdlr" not in media or bytes(view[media[b"hdlr"][0] + 8 :][:4]) != b"vide" or b"mdhd" not in media:
            continue
        own_scale, duration = _scale(view, media[b"mdhd"][0])
        edits = {name: place for name, *place in boxes(view, *track.get(b"edts", (0, 0)))}
        shown = _shown(view, edits[b"elst"][0]) if b"elst" in edits else None
        # Fragmented files have no duration here; a hundredth covers what the two clocks round.
        edited = shown is not None and scale > 0 and shown / scale < 0.99 * duration / max(own_scale, 1)
        return edited, _mirror(view, track[b"tkhd"][0]) if b"tkhd" in track else 1
    return True, 1


def _scale(view: memoryview, start: int) -> tuple[int, int]:
    """(units a second, duration in them) of `mvhd` and `mdhd`."""
    return struct.unpack_from(">IQ", view, start + 20) if view[start] else struct.unpack_from(">II", view, start + 12)


def _shown(view: memoryview, start: int) -> int:
    """What the edits of `elst` show of the media together, in units of the movie."""
    (count,) = struct.unpack_from(">I", view, start + 4)
    entry, size = (">Qq", 20) if view[start] else (">Ii", 12)
    edits = [struct.unpack_from(entry, view, start + 8 + size * k) for k in range(min(count, 4096))]
    return sum(duration for duration, media_time in edits if media_time >= 0)


def _mirror(view: memoryview, start: int) -> int:
    matrix = struct.unpack_from(">9i", view, start + (52 if view[start] else 40))
    a, b, c, d = ((value > 0) - (value < 0) for value in (matrix[0], matrix[1], matrix[3], matrix[4]))
    return _MIRRORS.get((a, b, c, d), 1)


def _matroska(view: memoryview) -> Container:
    """Whether the elements of the segment and of its clusters follow each other without a gap."""
    for id, start, end in _elements(view, 0, len(view)):
        if id != _SEGMENT:  # the EBML header before it
            continue
        for inner, at, to in _elements(view, start, min(end, len(view))):
            if inner not in _IN_SEGMENT and inner not in _ANYWHERE:
                return Container(cut=end > len(view), hole=True)
            if inner == _CLUSTER and not all(
                kind in _IN_CLUSTER or kind in _ANYWHERE for kind, _, _ in _elements(view, at, min(to, len(view)))
            ):
                return Container(cut=end > len(view), hole=True)
        return Container(cut=end > len(view))
    return Container()


def _elements(view: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(id, start of the content, end) of EBML elements; those of unknown length reach to `end` (RFC 8794)."""
    while start + 2 <= end:
        first = view[start]
        width = 9 - first.bit_length()
        if width > 4:
            yield 0, start, end  # no id begins so
            return
        id = int.from_bytes(view[start : start + width], "big")
        start += width
        if start >= end:
            return
        width = 9 - view[start].bit_length()
        length = int.from_bytes(view[start : start + width], "big") & (1 << 7 * width) - 1
        unknown = length == (1 << 7 * width) - 1
        start += width
        stop = end if unknown else start + length
        yield id, start, stop
        if unknown:
            if id == _CLUSTER:
                return  # its end is where the next cluster begins: a live recording
            continue
        start = stop
