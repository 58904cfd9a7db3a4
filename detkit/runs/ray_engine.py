"""Parts of a run on a Ray cluster: a pool of actors, each with the network in it; the only place that imports Ray.

Ray decides where actors are, on which of a machine's GPUs, and what happens when nodes come and go. Only numbers of
parts and summaries pass through it: a picture goes from where it lies to the actor, and its record into the part.
"""

from __future__ import annotations

import io
import logging
import os
import socket
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TextIO

from detkit.cores import available_cores
from detkit.errors import DetkitError, UsageError
from detkit.runs.jobs import Job, PartDone, PartWorker
from detkit.runs.parts import PartsFolder

logger = logging.getLogger("detkit")

# What workers need to reach a store, and where detkit looks for its own.
_ENVIRONMENT = ("AWS_", "GOOGLE_", "AZURE_", "DETKIT_HOME", "DETKIT_MIRROR")
_TRIES = 3  # of a part whose worker dies
_NODES_LOST = 20  # of a part in all: that a node went away with it says nothing about the part
_LOOK = 2.0  # seconds between looks at what the cluster has
_CONNECT = 10.0  # seconds
_STORE = 80 << 20  # bytes of Ray's object store on this machine, which holds numbers and summaries only


class _Hushed(io.TextIOBase):
    """A stream without what Ray's own threads print into it: a worker that died is told by us, in one line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if threading.current_thread().name.startswith("ray_"):
            return len(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class RayWorker(PartWorker):
    """A `PartWorker` that says where it is, and what kept it from being one."""

    def __init__(self, job: Job, folder: PartsFolder, directory: str, cores: int) -> None:
        self._wrong = ""
        try:
            super().__init__(job, folder, directory, cores)
        except DetkitError as error:
            self._wrong = str(error)

    def started(self) -> tuple[str, str]:
        """The node that it is on, and what is wrong."""
        import ray

        return ray.get_runtime_context().get_node_id(), self._wrong


@dataclass
class _Actor:
    handle: Any
    node: str = ""
    part: int = 0  # none yet


class RayEngine:
    """A cluster at an address, or one on this machine for as long as the run takes; a context manager.

    address  as of `ray.init`: HOST:PORT or auto; None starts Ray here
    cores    of each actor
    gpus     of each actor: 1 for a network on a GPU, else 0
    """

    def __init__(self, address: str | None = None, cores: int = 1, gpus: float = 0) -> None:
        self._address, self._cores, self._gpus = address, cores, gpus
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise UsageError("--engine ray needs the package ray (pip install 'detkit-vision[ray]')") from None
        self._ray: Any = ray
        self._open = ExitStack()

    def __enter__(self) -> RayEngine:
        quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}
        logging.getLogger("ray").setLevel(logging.ERROR)
        self._open.enter_context(redirect_stdout(_Hushed(sys.stdout)))
        self._open.callback(self._ray.shutdown)
        try:
            if self._address is None:
                here = {"num_cpus": available_cores(), "include_dashboard": False, "object_store_memory": _STORE}
                self._ray.init("local", **here, **quiet)  # not one that happens to be here
            else:
                _check_reachable(self._address)
                environment = {name: text for name, text in os.environ.items() if name.startswith(_ENVIRONMENT)}
                self._ray.init(self._address, runtime_env={"env_vars": environment}, **quiet)
        except Exception as error:  # ConnectionError, RuntimeError, ValueError: as it happens
            where = (
                "Ray cannot be started here" if self._address is None else f"no Ray cluster answers at {self._address}"
            )
            raise DetkitError(f"{where}: {_first_line(error)}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def workers(self) -> int:
        """Actors that the cluster has room for now."""
        there = self._ray.cluster_resources()
        room = int(there.get("CPU", 0)) // self._cores
        return min(room, int(there.get("GPU", 0) / self._gpus)) if self._gpus else room

    def run(self, job: Job, folder: PartsFolder, numbers: Iterable[int]) -> Iterator[PartDone]:
        """See `jobs.Engine`. A part whose worker dies three times is lost; one whose node goes away is done again."""
        pool = _Pool(self, job, folder)
        waiting, tried = deque(numbers), defaultdict[int, list[str]](list)
        while waiting or pool.busy:
            pool.grow(len(waiting))
            pool.give(waiting)
            for one, node in pool.finished():
                if not one.lost:
                    yield one
                    continue
                nodes = tried[one.number]
                nodes.append(node)
                # That a node has gone away is known later than that its workers have: so all are asked for again.
                alive = self._nodes()
                here = sum(node in alive for node in nodes)
                if here < _TRIES and len(nodes) < _NODES_LOST:
                    logger.info("part %d is tried again: %s", one.number, one.lost)
                    waiting.append(one.number)  # after the others
                else:
                    yield replace(one, lost=f"{one.lost}, {here} times" if here > 1 else f"{one.lost}, on every node")

    def _nodes(self) -> set[str]:
        return {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}


class _Pool:
    """The actors, each with a part or without."""

    def __init__(self, engine: RayEngine, job: Job, folder: PartsFolder) -> None:
        self._engine, self._ray = engine, engine._ray
        worker = self._ray.remote(RayWorker)
        # A part that kills its worker must not be given to the next by Ray itself, for ever.
        once = {"num_cpus": engine._cores, "num_gpus": engine._gpus, "max_restarts": 0, "max_task_retries": 0}
        self._new: Callable[[], Any] = partial(worker.options(**once).remote, job, folder, os.getcwd(), engine._cores)
        self._starting: dict[Any, _Actor] = {}
        self._idle: list[_Actor] = []
        self.busy: dict[Any, _Actor] = {}
        self._looked, self._failed, self._ever = -_LOOK, 0, False

    def grow(self, waiting: int) -> None:
        """Start actors where there are parts for them, and room."""
        if time.monotonic() - self._looked < _LOOK:
            return
        self._looked = time.monotonic()
        there = len(self._starting) + len(self._idle) + len(self.busy)
        for _ in range(min(self._engine.workers - there, waiting - len(self._idle) - len(self._starting))):
            actor = _Actor(self._new())
            self._starting[actor.handle.started.remote()] = actor

    def give(self, waiting: deque[int]) -> None:
        """Hand out parts."""
        while waiting and self._idle:
            actor = self._idle.pop()
            actor.part = waiting.popleft()
            self.busy[actor.handle.work.remote(actor.part)] = actor

    def finished(self) -> Iterator[tuple[PartDone, str]]:
        """What has been done since, and on which node. Waits a while where there is nothing."""
        refs = [*self.busy, *self._starting]
        if not refs:
            time.sleep(_LOOK / 10)
            return
        ready, _ = self._ray.wait(refs, num_returns=1, timeout=_LOOK)
        for ref in ready:
            if ref in self._starting:
                self._started(ref)
            else:
                yield self._done(ref)

    def _started(self, ref: Any) -> None:
        actor, wrong = self._starting.pop(ref), ""
        try:
            actor.node, wrong = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._failed += 1
            if not self._ever and self._failed >= _TRIES:
                raise DetkitError(f"no worker can be started on the cluster: {_last_line(error)}") from error
            return
        if wrong:
            raise DetkitError(f"a worker cannot be started: {wrong}")
        self._ever = True
        self._idle.append(actor)

    def _done(self, ref: Any) -> tuple[PartDone, str]:
        actor = self.busy.pop(ref)
        errors = self._ray.exceptions
        try:
            done: PartDone = self._ray.get(ref)
        except errors.RayTaskError as error:  # a mistake of ours: the actor lives
            done = PartDone(actor.part, lost=_last_line(error))
        except errors.RayError:
            self._looked = -_LOOK  # another one is wanted now
            return PartDone(actor.part, lost="its worker died"), actor.node
        self._idle.append(actor)
        return done, actor.node


def _check_reachable(address: str) -> None:
    """OSError where nothing listens at HOST:PORT: Ray itself would try for minutes, and print lines of its own."""
    host, colon, port = address.rpartition("/")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_CONNECT).close()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
