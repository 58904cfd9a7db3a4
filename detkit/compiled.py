"""numba, imported only by the modules that hold compiled loops, and only when one of them is needed.

The first call on a machine compiles (seconds), which is logged once on the logger `detkit`; the result is kept in
numba's cache beside the module, or in the user's cache folder where the installation is read-only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.core import event

Function = TypeVar("Function", bound=Callable[..., Any])
logger = logging.getLogger("detkit")


class _SayOnce(event.Listener):
    def __init__(self) -> None:
        self.said = False

    def on_start(self, event: Any) -> None:
        if not self.said:
            self.said = True
            logger.info("compiling numerical loops: once on this machine, takes some seconds")

    def on_end(self, event: Any) -> None:
        pass


event.register("numba:compile", _SayOnce())


def compiled(function: Function) -> Function:
    """Compile `function` with numba at its first call: no fast-math, no GIL, cached where a folder allows it."""
    try:
        dispatcher: Any = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no folder can be written: compile for this process only
        dispatcher = numba.njit(nogil=True, error_model="numpy")(function)
    return cast(Function, dispatcher)
