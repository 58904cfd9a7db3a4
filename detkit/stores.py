"""Objects in stores: reading, writing and listing them with the package obstore, the only place that imports it.

Credentials and endpoints come from the environment as obstore reads it: `AWS_*`, `GOOGLE_*`, `AZURE_STORAGE_*`. An
object that is not there is an `InputError`, about itself alone. Any other answer says nothing about the object: it is
asked for again, and in the end a `StoreError`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar

from detkit.errors import InputError, OutputError, StoreError, UsageError
from detkit.remote import RemotePath

_T = TypeVar("_T")

# obstore itself asks again after answers of 5xx and lost connections; this is for all others, and after those.
_TRIES = 3
_PAUSE = 0.5  # seconds, doubled each time
_PAGE = 1000
_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3}[ \w]*)")


def read_object(path: RemotePath) -> bytes:
    """The bytes of an object. InputError where it is not there, StoreError where the store does not say."""
    return _asked(path, lambda: bytes(_obstore().get(_store(path.root), _key(path)).bytes()))


def fetch_object(path: RemotePath, file: IO[bytes]) -> None:
    """Write the bytes of an object into a file, some at a time; errors as of `read_object`."""

    def fetch() -> None:
        file.seek(0)
        file.truncate()
        for some in _obstore().get(_store(path.root), _key(path)).stream():
            file.write(some)

    _asked(path, fetch)


def write_object(path: RemotePath, content: bytes | Path) -> None:
    """Write an object, from a file or from bytes: it appears whole or not at all. OutputError where it cannot."""
    try:
        _asked(path, lambda: _obstore().put(_store(path.root), _key(path), content))
    except InputError as error:  # there is no such bucket
        raise OutputError(f"cannot write {error}") from error
    except StoreError as error:
        raise OutputError(f"cannot write {error}") from error


def read_tail(path: RemotePath, length: int) -> bytes | None:
    """The last bytes of an object, at most so many; None where it is not there."""

    def read() -> bytes:
        size = _obstore().head(_store(path.root), _key(path))["size"]
        start = max(size - length, 0)
        return bytes(_obstore().get_range(_store(path.root), _key(path), start=start, end=size)) if size else b""

    try:
        return _asked(path, read)
    except InputError:
        return None


def remove_object(path: RemotePath) -> None:
    """Delete an object, or see that it is not there."""
    with suppress(InputError):
        _asked(path, lambda: _obstore().delete(_store(path.root), _key(path)))


def keys_under(prefix: RemotePath) -> Iterator[str]:
    """The keys of all objects under a prefix, without it, in the store's order, a page at a time.

    StoreError where the store does not give all of them: half a list is none.
    """
    start = f"{prefix.key}/" if prefix.key else ""
    tried, last = 0, None
    while True:
        try:
            for page in _obstore().list(_store(prefix.root), prefix.key or None, offset=last, chunk_size=_PAGE):
                for entry in page:
                    last = entry["path"]
                    yield last[len(start) :]
                tried = 0
            return
        except UsageError:
            raise
        except Exception as error:
            tried += 1
            if tried >= _TRIES or prefix.root.startswith("http") or type(error).__name__ == "InvalidPathError":
                raise StoreError(f"{prefix} cannot be listed: {_listing_reason(prefix, error)}") from error
            time.sleep(_PAUSE * 2**tried)


def _listing_reason(prefix: RemotePath, error: Exception) -> str:
    if type(error).__name__ == "InvalidPathError":
        return f"{_first_line(error)}; rename that object, or name the others in an @list"
    if prefix.root.startswith("http"):
        return f"{_reason(error)} (it is no WebDAV server); name the pictures in an @list of addresses"
    return _reason(error)


def _asked(path: RemotePath, ask: Callable[[], _T]) -> _T:
    tried = 0
    while True:
        try:
            return ask()
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error):
                raise StoreError(f"{path}: there is no {path.root}") from error
            raise InputError(f"{path}: is not there") from error
        except UsageError:
            raise
        except Exception as error:  # obstore's own have no base in common with those that it passes on
            tried += 1
            if tried >= _TRIES:
                raise StoreError(f"{path}: the store does not answer as it should: {_reason(error)}") from error
            time.sleep(_PAUSE * 2 ** (tried - 1))


def _reason(error: Exception) -> str:
    """What a store said, in a few words."""
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    if status is not None:
        return status[1].strip() + (f" ({code[1]})" if code else "")
    return _first_line(error)


def _first_line(error: Exception) -> str:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return first.rpartition("Error performing ")[2] if len(first) > 200 else first


def _key(path: RemotePath) -> str:
    if not path.key:
        raise UsageError(f"{path} names no object")
    return path.key


@cache
def _obstore() -> Any:
    try:
        import obstore
    except ImportError:
        raise UsageError(
            "objects in stores are read with the package obstore (pip install 'detkit-vision[store]')"
        ) from None
    return obstore


@cache
def _store(root: str) -> Any:
    _obstore()
    from obstore.store import from_url

    endpoint = os.environ.get("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT", ""))
    plain = root.startswith("http:") or (root.startswith("s3:") and endpoint.startswith("http:"))
    options: Any = {"timeout": "120s", "connect_timeout": "10s", **({"allow_http": True} if plain else {})}
    retry: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
    try:
        return from_url(root, client_options=options, retry_config=retry)
    except Exception as error:  # settings of the environment that contradict each other
        raise UsageError(f"{root}: {_first_line(error)}") from error
