"""Locks on files, between processes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


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


def lock_now(file: IO[Any]) -> bool:
    """Whether an open file could be locked, for as long as it stays open; nobody who has it is waited for.

    A file system without locks says yes.
    """
    try:
        _lock(file, wait=False)
    except BlockingIOError:
        return False
    except OSError:
        return sys.platform != "win32"
    return True


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[Any], wait: bool = True) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)

    def _unlock(file: IO[Any]) -> None:
        with contextlib.suppress(OSError):
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: IO[Any], wait: bool = True) -> None:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file: IO[Any]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
