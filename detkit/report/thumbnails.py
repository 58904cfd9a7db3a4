"""Small pictures, kept on disk from the moment they are made until the page that shows them is written."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import IO, Any

import cv2
import orjson

from detkit.errors import OutputError
from detkit.files import reason
from detkit.images import Image, encode_image

# Pixels of the longer side, where a page has at most so many pictures; fewer of them may be larger.
SIDES = ((100, 480), (1000, 320), (10_000, 192))
_SMALLEST = 128
_QUALITY = 50  # of WebP, which at these sizes takes two thirds of what JPEG does
LARGEST = 200 << 20  # bytes of all; a page of more opens slowly, so that later pictures are shown without


def side_for(pictures: int) -> int:
    """Pixels of the longer side of each of so many pictures: a page of 10,000 stays at about 50 MB."""
    return next((side for most, side in SIDES if pictures <= most), _SMALLEST)


class Thumbnails:
    """A file of small pictures by key, appended to by several threads; of a key that comes twice the later one counts.

    path    where they are kept
    side    pixels of the longer side
    resume  go on with the file that an interrupted run left there; what it had not written to the end is cut off

    OutputError where the file cannot be written.
    """

    mime = "image/webp"

    def __init__(self, path: Path, side: int, resume: bool = False) -> None:
        self.path, self.side = path, side
        self.left_out = 0
        self._places: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self._end = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if resume and path.exists():
                self._read()
            self._file: IO[bytes] = open(path, "r+b" if self._end else "w+b")  # noqa: SIM115 - closed by close()
            self._file.truncate(self._end)
        except OSError as error:
            raise self._unwritable(error) from error

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def add(self, key: str, image: Image) -> None:
        """Make a picture, uint8 (H, W, 3) RGB, smaller and keep it."""
        if self._end >= LARGEST:
            self.left_out += 1
            return
        self.add_encoded(key, encode_small(image, self.side))

    def add_encoded(self, key: str, content: bytes) -> None:
        """Keep the bytes of a picture file."""
        head = orjson.dumps({"key": key, "bytes": len(content)}) + b"\n"
        with self._lock:
            try:
                self._file.seek(self._end)
                self._file.write(head + content + b"\n")
                self._file.flush()  # a killed process loses nothing that was flushed
            except OSError as error:
                raise self._unwritable(error) from error
            self._places[key] = (self._end + len(head), len(content))
            self._end += len(head) + len(content) + 1

    def get(self, key: str) -> bytes | None:
        """The bytes of the picture file of a key."""
        place = self._places.get(key)
        if place is None:
            return None
        with self._lock:
            self._file.seek(place[0])
            return self._file.read(place[1])

    def close(self, *, remove: bool) -> None:
        """Close the file, and delete it where it has served."""
        self._file.close()
        if remove:
            self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        size = os.path.getsize(self.path)
        with open(self.path, "rb") as file:
            while line := file.readline():
                try:
                    head = orjson.loads(line)
                    key, length = head["key"], head["bytes"]
                except (ValueError, KeyError, TypeError):
                    return
                start = file.tell()
                if start + length + 1 > size:
                    return
                file.seek(length + 1, os.SEEK_CUR)
                self._places[key] = (start, length)
                self._end = start + length + 1

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {self.path}: {reason(error)}")


def encode_small(image: Image, side: int) -> bytes:
    """A picture whose longer side has at most `side` pixels, as WebP."""
    height, width = image.shape[:2]
    scale = side / max(width, height)
    small: Any = image
    if scale < 1:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return encode_image(small, ".webp", _QUALITY)
