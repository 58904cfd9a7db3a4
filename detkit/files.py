"""Writing files so that a reader, or a killed process, never sees half of one."""

from __future__ import annotations

import io
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TextIO

from detkit.errors import DetkitError, InputError, OutputError
from detkit.remote import RemotePath

# Device and inode.
FileId = tuple[int, int]


def reason(error: OSError) -> str:
    """The system's own words for an error, without the errno and the path."""
    return error.strerror or str(error)


@contextmanager
def opened(path: str | os.PathLike[str], error: type[DetkitError] = InputError) -> Iterator[IO[bytes]]:
    """An ordinary file to read, so that nothing waits for a pipe that nobody fills, or reads a device that never ends.

    Of an object in a store a copy. `error`, with the file's name, where there is none, it is something else, or reading
    it fails inside the block.
    """
    if isinstance(path, RemotePath):
        with tempfile.TemporaryFile() as copy:
            _fetch(path, copy, error)
            yield copy
        return
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise error(f"{os.fspath(path)}: is a folder, and a file is needed here")
        if not stat.S_ISREG(status.st_mode):
            raise error(f"{os.fspath(path)}: is not an ordinary file; save it as one first")
        with open(path, "rb") as file:
            yield file
    except OSError as failure:
        raise error(f"{os.fspath(path)}: cannot be read: {reason(failure)}") from failure
    except MemoryError as failure:
        raise error(f"{os.fspath(path)}: needs more memory than this machine has") from failure
    except ValueError as failure:
        if "null byte" not in str(failure):
            raise
        raise error(f"{os.fspath(path)!r}: no file has a NUL byte in its name") from failure


def _fetch(path: RemotePath, copy: IO[bytes], error: type[DetkitError]) -> None:
    from detkit.stores import fetch_object

    try:
        fetch_object(path, copy)
    except InputError as failure:
        raise error(str(failure)) from failure
    copy.seek(0)


@contextmanager
def as_text(file: IO[bytes]) -> Iterator[TextIO]:
    """Text, UTF-8 with its line ends as they are written, over a binary file, which stays open whatever happens."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    try:
        yield text
    finally:
        text.detach()


def read_file(path: str | os.PathLike[str], error: type[DetkitError] = InputError) -> bytes:
    """The bytes of an ordinary file, or of an object in a store; `error` as `opened` raises it."""
    if isinstance(path, RemotePath):
        from detkit.stores import read_object

        return read_object(path)
    with opened(path, error) as file:
        return file.read()


def is_file(path: str | os.PathLike[str], error: type[DetkitError] = InputError) -> bool:
    """Whether an ordinary file is there; `error` where the folder does not let this be seen."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except PermissionError as failure:
        raise error(f"{os.fspath(path)}: cannot be read: {reason(failure)}") from failure
    except (OSError, ValueError):
        return False


def is_device(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is there and can only be written into, not replaced: a device, a pipe, a socket."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def file_id(path: str | os.PathLike[str]) -> FileId | None:
    """What all names of one file have in common, links followed; None where there is no such file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def walk(
    folder: str | os.PathLike[str], on_error: Callable[[OSError], None] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """(folder, its file names) of a folder and all folders in it, each once and sorted; hidden ones are left out.

    Links to folders are followed, after everything that lies there without them.
    """
    seen: set[FileId | None] = set()
    starts = [os.fspath(folder)]
    for start in starts:  # grows on the way
        for parent, folders, files in os.walk(start, onerror=on_error):
            own = file_id(parent)
            if own in seen:
                folders.clear()
                continue
            seen.add(own)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            starts += [path for name in folders if os.path.islink(path := os.path.join(parent, name))]
            yield parent, sorted(name for name in files if not name.startswith("."))


@contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file that appears under `path` when the block ends well, and not at all when it does not.

    Missing folders are made. A link stays, and the file it leads to is replaced; a device or a pipe is written into; an
    object in a store is kept in a temporary file until it is whole. OutputError where the folder or the file cannot be
    written (no rights, full disk).
    """
    if isinstance(path, RemotePath):
        with _object(path) as file:
            yield file
        return
    temporary: str | None = None
    try:
        if is_device(path):
            with open(path, "wb") as file:
                yield file
            return
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own, so that two processes that write the same file do not write into each other.
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:60]}.", suffix=".tmp", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        raise OutputError(f"cannot write {os.fspath(path)}: {reason(error)}") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


@contextmanager
def _object(path: RemotePath) -> Iterator[IO[bytes]]:
    from detkit.stores import write_object

    with tempfile.TemporaryDirectory(prefix="detkit-") as folder:
        spool = Path(folder, "object")
        try:
            with open(spool, "wb") as file:
                yield file
        except OSError as error:
            raise OutputError(f"cannot write {path}: {reason(error)}") from error
        write_object(path, spool)


def check_writable(path: str | os.PathLike[str]) -> None:
    """OutputError where `write_atomically` would fail, to be asked before long work. Makes missing folders."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise OutputError(f"cannot write {os.fspath(path)}: is a folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not is_device(path):
            tempfile.TemporaryFile(dir=target.parent).close()
    except OSError as error:
        raise OutputError(f"cannot write {os.fspath(path)}: {reason(error)}") from error


def tail_of(path: str | os.PathLike[str], length: int) -> bytes | None:
    """The last bytes of a file or an object, at most so many; None where it is not there."""
    if isinstance(path, RemotePath):
        from detkit.stores import read_tail

        return read_tail(path, length)
    if is_device(path):
        return None
    try:
        with open(path, "rb") as file:
            file.seek(-min(length, os.fstat(file.fileno()).st_size), os.SEEK_END)
            return file.read()
    except OSError:
        return None


def remove(path: str | os.PathLike[str]) -> None:
    """Delete a file or an object, or see that it is not there. OutputError where it cannot be deleted."""
    if isinstance(path, RemotePath):
        from detkit.stores import remove_object

        remove_object(path)
        return
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot delete {os.fspath(path)}: {reason(error)}") from error


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """`content` as the file or the object `path`, all or nothing; see `write_atomically`."""
    if isinstance(path, RemotePath):
        from detkit.stores import write_object

        write_object(path, content)
        return
    with write_atomically(path) as file:
        file.write(content)


def cache_home() -> Path:
    """The folder of what can be had again, or belongs to no folder of the user's."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "detkit"


def sha256(path: str | os.PathLike[str], error: type[DetkitError] = InputError) -> str:
    """The SHA-256 of a file, in hexadecimal; `error` as `opened` raises it."""
    import hashlib

    digest = hashlib.sha256()
    with opened(path, error) as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
