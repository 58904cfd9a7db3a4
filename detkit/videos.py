"""The frames of a video, with the times of its own clock, as far as they can be decoded.

Decoded by the FFmpeg inside OpenCV. Compared with PyAV 18 on files of uneven frame rate, with edit lists, cut off
and overwritten (H.264 with B-frames in MP4, fragmented MP4, Matroska, transport stream; MPEG-2, MPEG-4, MJPEG, VP9):
the same frames with the same times, if OpenCV is asked again where it cannot decode one. PyAV does not turn pictures.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from detkit.errors import InputError
from detkit.files import is_device
from detkit.images import Image, max_pixels, upright
from detkit.picture_files.video_files import Container, inspect

# Packets that may fail one after the other beyond the frames that are still promised, and at most.
_PATIENCE, _MOST_PATIENCE = 16, 100_000


@dataclass(frozen=True)
class Frame:
    """A frame of a video.

    index    from 0, of the frames that could be decoded
    seconds  since the first frame, by the video's own clock
    image    uint8 (H, W, 3) RGB, turned as the video says
    last     whether no frame follows
    cut_off  of the last frame, what is missing of the video; None where nothing is
    """

    index: int
    seconds: float
    image: Image
    last: bool = False
    cut_off: str | None = None


def frames(
    path: str | os.PathLike[str], first: int = 0, every: int = 1, only: Collection[int] | None = None
) -> Iterator[Frame]:
    """The frames of a video from index `first` on, those whose index is a multiple of `every` and, if given, in `only`.

    What cannot be decoded costs its own frames; the last frame then says so. InputError where there is no such file,
    it is no video, none of its frames can be decoded, or they have more pixels than are read.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path}: {'is not an ordinary file' if is_device(path) else 'no such file'}")
    container = inspect(path)
    with _Capture(path, container.mirror) as capture:
        held: Frame | None = None  # given out when the next one is there, so that the last one is known as such
        for index, seconds in capture.times():
            if index < first or index % every or (only is not None and index not in only):
                continue
            image = capture.picture()
            if image is None:
                continue
            if held is not None:
                yield held
            held = Frame(index, seconds, image)
        if capture.count == 0:
            raise InputError(f"{path}: cannot be decoded: truncated, damaged or not a video")
        if held is not None:
            yield Frame(held.index, held.seconds, held.image, last=True, cut_off=capture.missing(container))


class _Capture:
    """OpenCV's reader, asked again where it fails: it gives up on a packet that others follow."""

    def __init__(self, path: str | os.PathLike[str], mirror: int) -> None:
        self._path, self._mirror = path, mirror
        self._file: int | None = None
        self.count = self._lost = 0
        self._end = 0.0

    def __enter__(self) -> _Capture:
        name = os.path.abspath(self._path)  # never an address or a pattern to FFmpeg
        try:
            name.encode()
        except UnicodeEncodeError:  # a name that is not UTF-8; OpenCV takes text only
            if not sys.platform.startswith("linux"):
                raise InputError(f"{self._path!r}: the name is not UTF-8; rename the video") from None
            self._file = os.open(self._path, os.O_RDONLY)
            name = f"/proc/self/fd/{self._file}"
        self._capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        if self._mirror != 1:
            self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)  # OpenCV takes a mirror for half a turn
        self._rate = self._capture.get(cv2.CAP_PROP_FPS) or 0.0
        promised = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._promised = round(promised) if 0 < promised < 1e12 else 0
        sides = (self._capture.get(side) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        width, height = (int(side) for side in sides)
        if width * height > max_pixels():
            self.__exit__()
            raise InputError(
                f"{self._path}: has frames of {width} x {height}, more than the {max_pixels():,} pixels that are "
                f"read; --max-pixels {width * height} allows it"
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.release()
        if self._file is not None:
            os.close(self._file)

    def times(self) -> Iterator[tuple[int, float]]:
        """(index, seconds) of each frame, when it has been decoded."""
        failed = 0
        interval = 1 / self._rate if self._rate else 0.0
        last = -1.0
        while failed <= min(max(self._promised - self.count - self._lost, 0) + _PATIENCE, _MOST_PATIENCE):
            if not self._capture.grab():
                failed += 1
                if not self._capture.isOpened():
                    return
                continue
            self._lost += failed
            failed = 0
            seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if seconds <= last:  # no time of its own (a last frame in MPEG-2), or a clock that began anew
                seconds = last + interval
            elif last < 0 and seconds < 0:
                seconds = 0.0
            last = seconds
            index, self.count = self.count, self.count + 1
            self._end = seconds + interval
            yield index, round(seconds, 6)

    def picture(self) -> Image | None:
        """The frame that was just decoded; None where OpenCV cannot convert it."""
        ok, frame = self._capture.retrieve()
        if not ok or frame is None:
            self._lost += 1
            return None
        return upright(np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8), self._mirror)

    def missing(self, container: Container) -> str | None:
        """What cannot be had of the video; None where every frame was read."""
        behind = self._promised - self.count
        # Half an interval for what durations are rounded by; estimated counts are of the whole duration.
        short = self._rate > 0 and self._end < (self._promised - 0.5) / self._rate
        if container.cut and behind > 0 and short:
            return f"ends after {self.count} of {self._promised} frames: truncated or damaged"
        if self._lost:
            return f"{self._lost} of its frames cannot be decoded, {self.count} can: it is damaged"
        if container.hole:
            return f"a part of it is overwritten; {self.count} frames can be decoded"
        if container.counted and behind > max(2, self._promised // 50):
            return f"{behind} of its {self._promised} frames cannot be decoded: it is damaged"
        return None
