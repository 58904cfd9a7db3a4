"""Ctrl-C while a network runs: Python would hear of it only when the run returns, which an endless loop never does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class _Watch:
    """A thread that hears of signals through the file that C code writes them to, and stops what is under way."""

    def __init__(self) -> None:
        self._heard, self.told = os.pipe()
        os.set_blocking(self.told, False)
        self.stop: Callable[[], None] | None = None
        threading.Thread(target=self._listen, name="detkit-interrupt", daemon=True).start()

    def _listen(self) -> None:
        while signals := os.read(self._heard, 16):
            stop = self.stop
            if signal.SIGINT in signals and stop is not None:
                stop()


_watch: _Watch | None = None


@contextmanager
def stopped_by_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Inside, an interrupt calls `stop`, at once and in another thread; what Python makes of it comes afterwards.

    Nothing changes outside of the main thread, which alone hears of signals, where somebody else is listening, and
    where an interrupt means something else than to break off.
    """
    global _watch
    breaks_off = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if threading.current_thread() is not threading.main_thread() or not breaks_off:
        yield
        return
    if _watch is None:
        _watch = _Watch()
    before = signal.set_wakeup_fd(_watch.told, warn_on_full_buffer=False)
    if before != -1:
        signal.set_wakeup_fd(before)
        yield
        return
    _watch.stop = stop
    try:
        yield
    finally:
        _watch.stop = None
        signal.set_wakeup_fd(-1)


def _forget() -> None:
    """A forked process has no watching thread."""
    global _watch
    _watch = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
