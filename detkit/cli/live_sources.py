"""Streams and addresses among the sources of a command, and how a stream is ended."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from detkit.errors import UsageError

if TYPE_CHECKING:
    from detkit.runs.sources import Complain, Item


logger = logging.getLogger("detkit")


@dataclass(frozen=True)
class LiveOptions:
    """What a command was told of streams; None: nothing."""

    latest: bool | None = None
    reconnect: float | None = None


@dataclass(frozen=True)
class Sources:
    """The items of a run. `ending` ends their stream once it is set; None where they are none."""

    items: Sequence[Item]
    ending: threading.Event | None

    @property
    def live(self) -> bool:
        """Whether they are a stream."""
        return self.ending is not None

    @contextmanager
    def ended_by_signals(self) -> Iterator[None]:
        """In the block the first interrupt (Ctrl-C, SIGTERM) ends a stream, so that results are written; a second one
        breaks off, as it does elsewhere.
        """
        ending = self.ending
        if ending is None or threading.current_thread() is not threading.main_thread():  # which alone handles signals
            yield
            return

        def end(number: int, frame: Any) -> None:
            if ending.is_set():
                raise KeyboardInterrupt
            ending.set()
            logger.warning("ending the stream and writing what was found; once more breaks off")

        before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def all_sources(sources: Sequence[str], told: LiveOptions, complain: Complain, *, resume: bool = False) -> Sources:
    """What the sources name, pictures behind addresses first.

    UsageError for a stream beside other sources or with `resume`, and for options of streams without one.
    """
    from detkit.runs.live import LiveItem, live_items, with_own_names
    from detkit.runs.sources import find_items
    from detkit.streams import RECONNECT, Tuning

    ending = threading.Event()
    reconnect = RECONNECT if told.reconnect is None else told.reconnect
    found, others = live_items(sources, Tuning(told.latest is not False, reconnect, ending.is_set), complain)
    items: Sequence[Item] = find_items(others, complain, sys.stdin) if others else []
    if found:
        items = with_own_names(found, items)
    live = len(items) > 0 and isinstance(items[0], LiveItem)
    for option, value in (("--latest", told.latest), ("--reconnect", told.reconnect)):
        if value is not None and not live and len(items):
            raise UsageError(f"{option} is for streams, and the sources are none")
    if live and resume:
        raise UsageError("--resume is for what can be read again; a stream goes on from now")
    return Sources(items, ending if live else None)
