"""A video that is written frame by frame, and appears under its name when it is finished.

`.webm` holds VP9, which browsers play. PyAV (the extra `av`) writes it at a thirtieth of what OpenCV's encoder takes,
whose settings cannot be chosen; without it OpenCV does. `.mp4` holds H.264, which OpenCV's packages cannot write: that
needs PyAV.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from detkit import DISTRIBUTION
from detkit.errors import OutputError, UsageError
from detkit.images import Image, hushed

# Codec and settings of PyAV's encoders by ending. Quality goes by `crf`: the same picture, however long it takes.
_CODECS: dict[str, tuple[str, dict[str, str]]] = {
    ".webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "5", "crf": "32", "b": "0"}),
    ".mp4": ("libx264", {"preset": "veryfast", "crf": "23"}),
}
_WITHOUT_PYAV = ".webm"


def check_film(path: Path) -> None:
    """UsageError where no video of this ending is written, or not without PyAV."""
    ending = path.suffix.lower()
    if ending not in _CODECS:
        raise UsageError(f"videos are written as .webm (VP9) or .mp4 (H.264), which browsers play; not {path}")
    if ending != _WITHOUT_PYAV and _pyav() is None:
        raise UsageError(
            f"{ending} is written with PyAV, which is not here: pip install '{DISTRIBUTION}[av]'; {_WITHOUT_PYAV} goes "
            "without"
        )


class Film:
    """A video of constant rate whose clock is that of the frames: a frame that stands longer is written more often.

    UsageError as `check_film`; OutputError where it cannot be written.
    """

    def __init__(self, path: Path, rate: float) -> None:
        check_film(path)
        self._path, self._rate = path, rate
        self._temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
        self._encoder: _Encoder | None = None
        self._size = (0, 0)
        self._start = 0.0
        self._written = 0
        self._last: Image | None = None

    def add(self, image: Image, time: float) -> None:
        """The frame at `time` seconds. Frames of another size than the first are brought to it."""
        if self._encoder is None:
            self._begin(image.shape[1], image.shape[0], time)
        elif self._last is not None:
            self._repeat(round((time - self._start) * self._rate))
        if image.shape[1::-1] != self._size:
            image = np.asarray(cv2.resize(image, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        self._last = image

    def finish(self) -> None:
        """Write the rest, and give the file its name. OutputError where nothing could be written."""
        if self._encoder is None:
            raise OutputError(f"cannot write {self._path}: there is no frame that could be read")
        self._repeat(self._written + 1)
        try:
            self._encoder.close()
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot write {self._path}: {error}") from error
        if not self._temporary.is_file() or not self._temporary.stat().st_size:
            raise OutputError(f"cannot write {self._path}: the encoder wrote nothing")
        os.replace(self._temporary, self._path)

    def drop(self) -> None:
        """Take away what is not finished."""
        if self._encoder is not None:
            with suppress(OSError, ValueError):
                self._encoder.close()
        self._temporary.unlink(missing_ok=True)

    def _begin(self, width: int, height: int, time: float) -> None:
        self._start = time
        self._size = (max(width - width % 2, 2), max(height - height % 2, 2))  # colours are stored for pairs of pixels
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror}") from error
        av = _pyav()
        try:
            self._encoder = (
                _OpenCvEncoder(self._temporary, self._rate, self._size)
                if av is None
                else _PyAvEncoder(av, self._temporary, self._rate, self._size)
            )
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot write {self._path}: {error}") from error

    def _repeat(self, until: int) -> None:
        """Write the last frame until so many frames are there."""
        assert self._last is not None
        assert self._encoder is not None
        while self._written < until:
            try:
                self._encoder.write(self._last)
            except (OSError, ValueError) as error:
                raise OutputError(f"cannot write {self._path}: {error}") from error
            self._written += 1


class _Encoder(Protocol):
    def write(self, image: Image) -> None:
        """The next frame."""

    def close(self) -> None:
        """Write what is left; calling it twice does no harm."""


class _OpenCvEncoder:
    """VP9 by the FFmpeg inside OpenCV."""

    def __init__(self, path: Path, rate: float, size: tuple[int, int]) -> None:
        code = cv2.VideoWriter_fourcc(*"VP90")  # type: ignore[attr-defined]
        with hushed():
            self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, rate, size)
        if not self._writer.isOpened():
            raise ValueError("this OpenCV has no VP9 encoder; give a folder")

    def write(self, image: Image) -> None:
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self._writer.release()


class _PyAvEncoder:
    """VP9 or H.264 by the FFmpeg inside PyAV."""

    def __init__(self, av: Any, path: Path, rate: float, size: tuple[int, int]) -> None:
        codec, options = _CODECS[path.suffix.lower()]
        self._av = av
        with self._said():
            self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream(codec, rate=Fraction(rate).limit_denominator(1000), options=options)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._count = 0

    def write(self, image: Image) -> None:
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
        frame.pts, self._count = self._count, self._count + 1
        with self._said():
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            with self._said(), container:
                container.mux(self._stream.encode())

    @contextmanager
    def _said(self) -> Iterator[None]:
        """PyAV's errors as ValueError."""
        try:
            yield
        except self._av.error.FFmpegError as error:
            raise ValueError(str(error)) from error


@cache
def _pyav() -> Any:
    """The package av; None where it is not installed."""
    try:
        import av
    except ImportError:
        return None
    return av
