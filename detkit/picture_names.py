"""The endings of pictures and videos, and what is left of a name without them.

This is the one list: what a folder is searched for, what is cut off a name to find its annotation, and what is
counted as not read all come from here.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

# Pictures that detkit reads by itself.
PICTURES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".png", ".apng", ".bmp", ".dib", ".webp"),
    *(".tif", ".tiff", ".btf", ".gif", ".avif", ".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".pfm"),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpx", ".hdr", ".rgbe", ".ras", ".sr"),
)
# Pictures that are read where the package pillow-heif is there (the extra `heif`).
HEIF = (".heic", ".heif", ".hif")
# Pictures that are not read, by what they are called in messages.
UNREAD = {
    "JPEG XL": (".jxl",),
    "DICOM": (".dcm", ".dicom"),
    "camera raw": (
        *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef"),
        *(".srw", ".3fr", ".fff", ".iiq", ".x3f", ".erf", ".kdc", ".dcr", ".mrw"),
    ),
    "JPEG XR": (".jxr", ".wdp", ".hdp"),
    "JPEG-LS": (".jls",),
    "OpenEXR": (".exr",),
    "Photoshop": (".psd", ".psb"),
    "Targa": (".tga",),
    "whole slide": (".svs", ".ndpi", ".mrxs", ".scn", ".czi"),
}
VIDEOS = (
    *(".mp4", ".m4v", ".mov", ".qt", ".avi", ".divx", ".mkv", ".webm", ".mpg", ".mpeg", ".mpe", ".m2v", ".vob"),
    *(".mts", ".m2ts", ".m2t", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".mxf"),
)
# A video where its first bytes say so; a TypeScript source otherwise.
TRANSPORT_STREAM = ".ts"
# Endings under which pictures are written; a drawing of any other picture becomes a .png.
WRITABLE = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

_ALL_PICTURES = (*PICTURES, *HEIF, *(ending for endings in UNREAD.values() for ending in endings))
_KIND_OF = {ending: kind for kind, endings in UNREAD.items() for ending in endings}
_PACKET = 188  # bytes of a packet of a transport stream (ISO/IEC 13818-1, 2.4.3.2)
_STAMP = 4  # bytes before each packet in files of cameras and of Blu-ray


def ending_of(name: str | os.PathLike[str]) -> str:
    """The ending of a file name in lower case, with its dot; "" where there is none."""
    return os.path.splitext(os.fspath(name))[1].lower()


def is_picture(name: str | os.PathLike[str]) -> bool:
    """Whether a file of this name is a picture that is read here and now: HEIC counts where its extra is there."""
    ending = ending_of(name)
    return ending in PICTURES or (ending in HEIF and heif_is_read())


def is_named_like_a_picture(name: str | os.PathLike[str]) -> bool:
    """Whether a name ends as a picture's does, read or not: an annotation may be of a picture that is not."""
    return ending_of(name) in _ALL_PICTURES


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether a file of this name is a video. Only a name that ends in .ts is opened, and its first bytes looked at."""
    ending = ending_of(path)
    return ending in VIDEOS or (ending == TRANSPORT_STREAM and _is_transport_stream(path))


def unread_kind(name: str | os.PathLike[str]) -> str | None:
    """What a picture is that is not read: "HEIC", "DICOM", "camera raw" ...; None for all other files.

    A folder's files of these kinds are to be counted, since nothing is skipped in silence.
    """
    ending = ending_of(name)
    if ending in HEIF and not heif_is_read():
        return "HEIC"
    return _KIND_OF.get(ending)


@cache
def heif_is_read() -> bool:
    """Whether the package pillow-heif is there, which reads HEIC."""
    return find_spec("pillow_heif") is not None


def plain_path(file: str) -> str:
    """A file name with "/" between folders, without "./" and double slashes."""
    return "/".join(part for part in file.replace("\\", "/").split("/") if part not in ("", "."))


def without_ending(file: str) -> str:
    """A file name without the ending of a picture, read or not; other dots are part of the name.

    >>> without_ending("a/b.v2.JPG"), without_ending("a/b.v2")
    ('a/b.v2', 'a/b.v2')
    """
    dot = file.rfind(".")
    return file[:dot] if dot > 0 and file[dot:].lower() in _ALL_PICTURES else file


def _is_transport_stream(path: str | os.PathLike[str]) -> bool:
    """Whether the first three packets begin with the sync byte, with or without time stamps before them."""
    try:
        if not os.path.isfile(path):  # a pipe would wait for ever
            return False
        with open(path, "rb") as file:
            start = file.read(3 * (_PACKET + _STAMP))
    except (OSError, ValueError):
        return False
    return any(
        len(start) > offset + 2 * step and all(start[offset + step * k] == 0x47 for k in range(3))
        for offset, step in ((0, _PACKET), (_STAMP, _PACKET + _STAMP))
    )
