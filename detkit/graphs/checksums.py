"""Files that must have the registry's bytes: hashed once, remembered by size and time of change; and locks on files."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from detkit.files import sha256 as sha256_of
from detkit.files import write_bytes


def has_checksum(path: Path, sha256: str) -> bool:
    """Whether a file has this SHA-256.

    It is read only where its size or its time of change are others than when it was last found right.
    """
    state = path.stat()
    known = f"{sha256} {state.st_size} {state.st_mtime_ns}\n"
    note = note_of(path)
    with contextlib.suppress(OSError):
        if note.read_text() == known:
            return True
    if sha256_of(path) != sha256:
        return False
    with contextlib.suppress(Exception):  # a folder that cannot be written: it is hashed again the next time
        write_bytes(note, known.encode())
    return True


def note_of(path: Path) -> Path:
    """Where it is remembered that a file was right."""
    return path.with_name(f".{path.name}.verified")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Run a block in one process at a time, for a file at `path`; others wait. OSError where its folder is not there.

    The empty file beside it that is locked stays: removing it would let two processes lock two of them.
    """
    with open(path.with_name(f".{path.name}.lock"), "ab") as file:
        _lock(file)
        try:
            yield
        finally:
            _unlock(file)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[Any]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)

    def _unlock(file: IO[Any]) -> None:
        with contextlib.suppress(OSError):
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: IO[Any]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

    def _unlock(file: IO[Any]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
