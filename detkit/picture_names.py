"""Names of picture and video files: which endings they have, and what is left without them."""

from __future__ import annotations

import os

# What `images.read_image` decodes.
PICTURES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif", ".avif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".pfm", ".jp2", ".hdr", ".ras", ".sr"),
)
VIDEOS = (*(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".wmv", ".flv", ".3gp", ".ogv"),)
# Endings under which pictures are written; others become PNG.
WRITABLE = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def ending(name: str | os.PathLike[str]) -> str:
    """The ending of a name in small letters, with its dot."""
    return os.path.splitext(name)[1].lower()


def is_picture(name: str | os.PathLike[str]) -> bool:
    """Whether a name ends like a picture that is read."""
    return ending(name) in PICTURES


def is_video(name: str | os.PathLike[str]) -> bool:
    """Whether a name ends like a video that is read."""
    return ending(name) in VIDEOS
