"""Files that must have the registry's bytes: hashed once, remembered by size and time of change."""

from __future__ import annotations

import contextlib
from pathlib import Path

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
