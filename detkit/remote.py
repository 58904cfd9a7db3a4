"""Addresses of objects in stores, beside paths of files: `s3://bucket/photos/a.jpg`. Nothing here asks a store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

# Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage, servers that give files.
STORES = ("s3", "gs", "az")
SCHEMES = (*STORES, "http", "https")


@dataclass(frozen=True)
class RemotePath(os.PathLike[str]):
    """The address of an object, or of all objects under a prefix.

    root  `s3://bucket`, `https://host:8080`
    key   what follows the slash, as text: nothing in it is percent-encoded

    It has those of a `Path`'s parts that outputs are named with; as text it is the address.
    """

    root: str
    key: str

    @classmethod
    def parse(cls, text: str) -> RemotePath:
        """The address that a text is; a slash at its end is dropped. ValueError where it is none."""
        scheme, mark, rest = text.partition("://")
        place, _, key = rest.partition("/")
        if not mark or scheme not in SCHEMES or not place:
            raise ValueError(f"{text!r} is no address like s3://bucket/key")
        return cls(f"{scheme}://{place}", (unquote(key) if scheme.startswith("http") else key).strip("/"))

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> RemotePath:
        return RemotePath(self.root, self.key.rpartition("/")[0])

    def with_name(self, name: str) -> RemotePath:
        return self.parent / name

    def __truediv__(self, more: str | os.PathLike[str]) -> RemotePath:
        name = os.fspath(more)
        return RemotePath(self.root, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        key = quote(self.key) if self.root.startswith("http") else self.key
        return f"{self.root}/{key}" if key else self.root

    def __fspath__(self) -> str:
        return str(self)


# Where a file or an object lies.
Place = Path | RemotePath


def is_remote(text: str) -> bool:
    """Whether a text is the address of an object or of a prefix, and no path."""
    scheme, mark, rest = text.partition("://")
    return bool(mark) and scheme in SCHEMES and rest.strip("/") != ""


def place(text: str | os.PathLike[str]) -> Place:
    """The path or the address that a text is."""
    if isinstance(text, RemotePath | Path):
        return text
    name = os.fspath(text)
    return RemotePath.parse(name) if is_remote(name) else Path(name)
