"""Items that are no files: a stream, and pictures behind addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from detkit.errors import InputError, UsageError
from detkit.runs.sources import Complain, Item
from detkit.streams import Kind, StreamAddress, Tuning, fetch, kind_of, stream_frames
from detkit.videos import Frame


@dataclass(frozen=True)
class LiveItem(Item):
    """A stream: read once, as it comes."""

    tuning: Tuning = field(default=Tuning(), compare=False)

    @property
    def video(self) -> bool:
        return True

    def frames(self, every: int) -> Iterator[Frame]:
        """Its frames, one of `every`; see `stream_frames`."""
        return stream_frames(_address(self), self.tuning, every)


@dataclass(frozen=True)
class WebItem(Item):
    """A picture behind an address."""

    @property
    def video(self) -> bool:
        return False

    def content(self) -> bytes:
        """The bytes of the picture's file. InputError where they cannot be had."""
        return fetch(_address(self))


def live_items(sources: Sequence[str], tuning: Tuning, complain: Complain) -> tuple[list[Item], list[str]]:
    """The streams and the pictures behind addresses among sources, and the other sources.

    A stream is the only item, as it may never end: UsageError for a second source beside it. Addresses that do not
    answer are told to `complain`.
    """
    found: list[Item] = []
    others: list[str] = []
    stream = None
    for source in dict.fromkeys(sources):
        try:
            kind, address = kind_of(source), StreamAddress(source)
        except InputError as error:
            shown = str(StreamAddress(source))
            complain(shown, str(error).removeprefix(f"{shown}: "))
            continue
        if kind is Kind.STREAM:
            stream = LiveItem(_as_path(address), address.name, tuning)
            found.append(stream)
        elif kind is Kind.PICTURE:
            found.append(WebItem(_as_path(address), address.name.rpartition("/")[2]))
        else:
            others.append(source)
    if stream is not None and len(found) + len(others) > 1:
        raise UsageError(f"{stream.path} is a stream and may never end: give it alone, and one command to each stream")
    return found, others


def with_own_names(found: Sequence[Item], others: Sequence[Item]) -> list[Item]:
    """All items; pictures behind addresses are called by their whole address where another item has their name."""
    counts = Counter(item.name for item in (*found, *others))
    return [*(_renamed(item) if counts[item.name] > 1 else item for item in found), *others]


def _renamed(item: Item) -> Item:
    return replace(item, name=_address(item).name)


def _as_path(address: StreamAddress) -> Any:
    """The address in the place of a path: what asks a path for its text gets the address without its password."""
    return address


def _address(item: Item) -> StreamAddress:
    address: Any = item.path
    assert isinstance(address, StreamAddress)
    return address
