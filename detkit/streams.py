"""Pictures that come by themselves: cameras by number, rtsp://, and http(s):// that does not end; and single pictures
behind an address.

A stream has no clock of its own that could be trusted over a break: the times of its frames are those of their
arrival. Frames are decoded in a thread of their own, so that whoever is slower than the stream can leave out frames and
not fall behind. A stream that breaks off is asked for again. A recording behind an address, which says how many frames
it has, is read whole and by its own clock.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

import cv2
import numpy as np

from detkit.errors import InputError
from detkit.files import reason
from detkit.images import max_pixels
from detkit.picture_names import is_picture
from detkit.videos import Frame

logger = logging.getLogger("detkit")

SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "srt", "tcp")
PLAYLISTS = (".m3u8", ".mpd")
TIMEOUT = 10.0  # seconds for an answer, and without a frame until a stream counts as lost
RECONNECT = 30.0  # seconds for which a lost stream is asked for again
LARGEST = 1 << 29  # bytes of a picture behind an address
_TRIES = 3
_PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds between two tries to connect; the last one repeats
_QUEUE = 4  # frames that wait where none may be left out
_TICK = 0.1  # seconds between two looks at whether to stop
_DIGITS = 4  # of the number of a camera
_PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^/@]*@")
_DEVICE = re.compile(r"/dev/video(\d+)")


@dataclass(frozen=True)
class StreamAddress:
    """Where a stream or a picture comes from: the number of a camera, or an address.

    As text it has no password, so it may stand in messages and results.
    """

    text: str

    @property
    def camera(self) -> int | None:
        """The number of the camera; None where it is an address."""
        match = _DEVICE.fullmatch(self.text)
        number = match[1] if match else self.text
        return int(number) if len(number) <= _DIGITS and number.isascii() and number.isdecimal() else None

    @property
    def name(self) -> str:
        """What outputs call it: `camera0`, `host/path`, and a picture by its last part."""
        if self.camera is not None:
            return f"camera{self.camera}"
        parts = urlsplit(self.text)
        place = f"{parts.hostname or ''}{f'-{parts.port}' if parts.port else ''}"
        path = [part for part in unquote(parts.path).split("/") if part not in ("", ".", "..")]
        return "/".join([place, *path]) or "stream"

    def __str__(self) -> str:
        if self.camera is not None:
            return f"camera {self.camera}"
        return _PASSWORD.sub(r"\1:***@", self.text)

    def __fspath__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Tuning:
    """How a stream is read.

    latest     frames that come while one is worked on are left out; else all are read in their order, and a sender
               that can wait waits
    reconnect  seconds for which a lost stream is asked for again
    stop       whether to end now, as if the stream had ended

    The first two are not for a recording.
    """

    latest: bool = True
    reconnect: float = RECONNECT
    stop: Callable[[], bool] = lambda: False


class Kind(Enum):
    """What is behind a source."""

    STREAM = "stream"
    PICTURE = "picture"  # behind an address
    OTHER = "other"  # a file, a folder, what others know


def kind_of(source: str) -> Kind:
    """What a source names. Digits are a camera where no file is called so.

    What is behind http(s):// is asked for, unless its name is that of a picture. InputError where there is no answer,
    or it is neither a stream nor a picture.
    """
    address = StreamAddress(source)
    scheme, mark, _ = source.partition("://")
    if address.camera is not None:
        return Kind.STREAM if _DEVICE.fullmatch(source) or not Path(source).exists() else Kind.OTHER
    if not mark or scheme.lower() not in (*SCHEMES, "http", "https"):
        return Kind.OTHER
    try:
        parts = urlsplit(source)
        path, _ = PurePosixPath(parts.path), parts.port
    except ValueError as error:
        raise InputError(f"{address}: is no address: {error}") from error
    if not parts.hostname:
        raise InputError(f"{address}: is no address: it names no host")
    if scheme.lower() in SCHEMES or path.suffix.lower() in PLAYLISTS:
        return Kind.STREAM
    return Kind.PICTURE if is_picture(path.name) or _sent(address).startswith("image/") else Kind.STREAM


def fetch(address: StreamAddress) -> bytes:
    """The bytes behind an http(s) address. InputError where they cannot be had."""
    why = ""
    for tried in range(_TRIES):
        try:
            with _opened(address) as answer:
                content: bytes = answer.read(LARGEST + 1)
            if len(content) > LARGEST:
                raise InputError(f"{address}: is larger than {LARGEST >> 20} MB")
            return content
        except HTTPError as error:
            why = "is not there" if error.code in (404, 410) else f"the server answers {error.code} {error.reason}"
            if error.code < 500:
                break
        except (OSError, ValueError) as error:
            why = _network_reason(error)
        if tried + 1 < _TRIES:
            time.sleep(_PAUSES[tried])
    raise InputError(f"{address}: {why}")


def stream_frames(address: StreamAddress, tuning: Tuning = Tuning(), every: int = 1) -> Iterator[Frame]:
    """The frames of a stream as they come, until it ends, is lost for good, or `tuning.stop` says so.

    `index` counts the frames that came, those left out included; of `every` N frames one is given. `seconds` is the
    time of arrival, since the first frame came, or a recording's own time. `last` is never set, as nobody knows.

    InputError where there is no stream, its frames have more pixels than are read, or it is lost for good.
    """
    source = _Source(address, tuning, every)
    source.start()
    try:
        while not tuning.stop():
            frame = source.next()
            if frame is not None:
                yield frame
            elif source.ended:
                if source.problem is not None:
                    raise InputError(f"{address}: {source.problem}")
                return
    finally:
        source.finish()
        if source.came:
            logger.info("%s", source.account())


class _Source(threading.Thread):
    """The thread that connects, decodes and hands over frames. It ends by itself, or soon after `finish`."""

    def __init__(self, address: StreamAddress, tuning: Tuning, every: int) -> None:
        super().__init__(name="detkit-stream", daemon=True)  # one that hangs in a read must not keep the process
        self._address, self._tuning, self._every = address, tuning, every
        self._frames: deque[Frame] = deque()
        self._change = threading.Condition()
        self._finished = self.ended = False
        self.problem: str | None = None
        self.came = self.left_out = 0
        self._first = self._last = 0.0

    def next(self) -> Frame | None:
        """The next frame; None where none came for a moment, or none will."""
        with self._change:
            if not self._frames and not self.ended:
                self._change.wait(_TICK)
            frame = self._frames.popleft() if self._frames else None
            self._change.notify_all()
            return frame

    def finish(self) -> None:
        """Ask the thread to end, and wait a little for it."""
        with self._change:
            self._finished = True
            self._change.notify_all()
        self.join(1.0)

    def account(self) -> str:
        """What came, in a line."""
        said = f"{self._address}: {self.came} frame{'' if self.came == 1 else 's'} in {self._last - self._first:.1f} s"
        return said + (f", {self.left_out} left out as they came too fast" if self.left_out else "")

    def run(self) -> None:
        try:
            self._read()
        except InputError as error:
            self.problem = str(error)
        except Exception as error:  # of a library, in a thread: it must not be lost
            self.problem = f"cannot be read: {' '.join(str(error).split())[:200]}"
        with self._change:
            self.ended = True
            self._change.notify_all()

    def _read(self) -> None:
        """Connect, hand over frames, and connect again where they stop coming."""
        capture = self._connected()
        if capture is None:
            raise InputError(_why_not(self._address))
        while capture is not None:
            promised = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            recording = 0 < promised < 1e12
            try:
                while not self._finished and capture.grab():
                    self._arrived(capture, recording)
            finally:
                capture.release()
            if recording and not self._finished and self.came < promised - max(2, promised // 50):
                raise InputError(f"breaks off after {self.came} of {promised:.0f} frames")
            capture = None if recording or self._finished else self._again()

    def _arrived(self, capture: Any, recording: bool) -> None:
        now = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 if recording else time.monotonic()
        index, self.came = self.came, self.came + 1
        if index == 0:
            self._first = now
        self._last = now
        if index % self._every:
            return
        ok, picture = capture.retrieve()
        if not ok or picture is None:
            return
        frame = Frame(index, now - self._first, np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8))
        with self._change:
            if self._tuning.latest and not recording:
                self.left_out += len(self._frames)
                self._frames.clear()
            while len(self._frames) >= _QUEUE and not self._finished:
                self._change.wait(_TICK)
            self._frames.append(frame)
            self._change.notify_all()

    def _again(self) -> Any:
        """A new connection after a loss; None to finish. InputError where there is none for too long."""
        patience, lost = self._tuning.reconnect, time.monotonic()
        logger.warning("%s: lost after %d frames; connecting again, for up to %g s", self._address, self.came, patience)
        tried = 0
        while not self._finished and time.monotonic() - lost < patience:
            capture = self._connected()
            if capture is not None:
                logger.warning("%s: there again after %.1f s", self._address, time.monotonic() - lost)
                return capture
            with self._change:
                self._change.wait(min(_PAUSES[min(tried, len(_PAUSES) - 1)], patience))
            tried += 1
        if self._finished:
            return None
        raise InputError(f"lost after {self.came} frames, and not there again for {patience:g} s")

    def _connected(self) -> Any:
        """An open capture that has frames; None where there is none. InputError for frames that are too large."""
        camera = self._address.camera
        if camera is not None:
            capture = cv2.VideoCapture(camera)
        else:
            limit = int(1000 * TIMEOUT)
            options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
            capture = cv2.VideoCapture(self._address.text, cv2.CAP_FFMPEG, options)
        if not capture.isOpened():
            capture.release()
            return None
        width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > max_pixels():
            capture.release()
            raise InputError(f"has frames of {width} x {height}, more than the {max_pixels():,} pixels that are read")
        return capture


def _why_not(address: StreamAddress) -> str:
    if address.camera is not None:
        return "there is no such camera, or another program has it"
    return "cannot be opened: no answer, or no video that can be decoded"


def _sent(address: StreamAddress) -> str:
    """What a server says that it sends. InputError where it does not answer, or sends neither picture nor video."""
    try:
        with _opened(address) as answer:
            kind = str(answer.headers.get_content_type()).lower()
    except HTTPError as error:
        said = "is not there" if error.code in (404, 410) else f"the server answers {error.code} {error.reason}"
        raise InputError(f"{address}: {said}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{address}: {_network_reason(error)}") from error
    if kind.startswith("text/") or kind.endswith(("/json", "/xml", "/html", "+json")):
        raise InputError(f"{address}: the server sends {kind}, neither a picture nor a stream")
    return kind


def _opened(address: StreamAddress) -> Any:
    parts = urlsplit(address.text)
    request = Request(address.text, headers={"User-Agent": "detkit"})
    if parts.username is not None:
        from base64 import b64encode

        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request = Request(bare, headers={"User-Agent": "detkit", "Authorization": f"Basic {b64encode(pair).decode()}"})
    return urlopen(request, timeout=TIMEOUT)


def _network_reason(error: Exception) -> str:
    inner = getattr(error, "reason", error)
    if isinstance(inner, TimeoutError):
        return f"no answer in {TIMEOUT:g} s"
    if isinstance(inner, OSError) and inner.strerror:
        return f"cannot be reached: {reason(inner)}"
    return f"cannot be reached: {inner}"
