"""What libjpeg and libpng print while they decode: kept off the terminal, and read.

They write to C's `stderr` and nowhere else; a damaged JPEG is not told in any other way. While a picture is decoded
that variable of the C library leads into a file in memory. The file descriptor 2 is not touched: Python's own
`sys.stderr`, child processes and crash reports go where they always go, in all threads.

Only glibc has `stderr` as a variable that can be set so. Elsewhere nothing is kept back and nothing is read.
"""

from __future__ import annotations

import ctypes
import os
import re
from functools import cache

# What the two libraries print, and OpenCV whenever it writes VP9 into WebM. All else that was kept back is passed on.
_OURS = re.compile(
    r"^(Corrupt JPEG|Premature end of|Invalid (SOS|component|progressive|scan)|Inconsistent progression|libpng |"
    r"Unknown Adobe color|Warning: unknown JFIF|Application transferred|Unsupported marker|Arithmetic|Bogus|"
    r"Cannot quantize|Obtained XMS|Caution: quantization|OpenCV: FFMPEG: tag 0x30395056)"
)
_LONGEST = 1 << 16  # bytes that are read of one picture's messages


class NativeMessages:
    """C's `stderr` led into memory, between `divert` and `restore`. Both are called under the caller's lock."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._stream = ctypes.c_void_p.in_dll(library, "stderr")
        self._file = os.memfd_create("detkit-messages", os.MFD_CLOEXEC)
        library.fdopen.restype = ctypes.c_void_p
        library.setvbuf.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
        self._sink = library.fdopen(self._file, b"a")
        if not self._sink:
            raise OSError("fdopen failed")
        library.setvbuf(self._sink, None, 2, 0)  # _IONBF: what is written is there at once
        self._real: int | None = None
        os.register_at_fork(after_in_child=self.restore)

    def divert(self) -> None:
        if self._real is None:
            self._real = self._stream.value
            self._stream.value = self._sink

    def restore(self) -> None:
        if self._real is not None:
            self._stream.value = self._real
            self._real = None

    def size(self) -> int:
        """How many bytes were printed since the last `take`."""
        return os.fstat(self._file).st_size

    def take(self) -> list[str]:
        """The lines that the two libraries printed since the last time; others go to the real stderr."""
        size = self.size()
        text = os.pread(self._file, min(size, _LONGEST), 0).decode("utf-8", "replace")
        os.ftruncate(self._file, 0)
        ours = [line for line in text.splitlines() if _OURS.match(line)]
        others = [line for line in text.splitlines() if line.strip() and not _OURS.match(line)]
        if others and size <= _LONGEST:
            os.write(2, ("\n".join(others) + "\n").encode())
        return ours


@cache
def native_messages() -> NativeMessages | None:
    """The one object of the process; None where C's `stderr` cannot be set."""
    try:
        glibc = (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
        return NativeMessages() if glibc else None
    except (OSError, ValueError, AttributeError):  # no such name, no memfd_create: another system
        return None
