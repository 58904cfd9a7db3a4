"""Gradients of one batch by several processes that share a network's parameters."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable
from threading import BrokenBarrierError
from types import TracebackType
from typing import Any

import torch
import torch.multiprocessing
from torch import Tensor, nn

from detkit.errors import DetkitError

PATIENCE = 600.0  # seconds that a process waits for the others; after that they are taken for dead
Losses = tuple[float, ...]


class GradientWork:
    """What a process knows: its number, the network, and the memory that all processes share.

    The parameters of the network are shared; its normalisation statistics are each process's own. A step is:
    `begin` in all processes, gradients in each, `finish` in all, and then the first process alone changes the
    parameters.
    """

    def __init__(self, network: nn.Module, processes: int, terms: int, context: Any) -> None:
        self.network, self.processes, self.rank = network, processes, 0
        self.barrier = context.Barrier(processes)
        self.now = torch.zeros(1, dtype=torch.float64).share_memory_()
        self.gradients = [
            torch.zeros((processes, *p.shape)).share_memory_() for p in network.parameters() if p.requires_grad
        ]
        self.losses = torch.zeros(processes, terms, dtype=torch.float64).share_memory_()

    def start_as(self, rank: int) -> None:
        """Called in a new process: makes the statistics its own."""
        self.rank = rank
        for module in self.network.modules():
            for name, buffer in module.named_buffers(recurse=False):
                module.register_buffer(name, buffer.clone())
        self.network.train()

    def begin(self) -> float | None:
        """Wait for the next step; returns the share of the run that is over, None once that is all of it."""
        self.barrier.wait(PATIENCE)
        now = self.now.item()
        return now if now < 1 else None

    def finish(self, losses: Losses) -> None:
        """Leave this process's gradients and losses for the first process, and wait for the others'."""
        self.losses[self.rank] = torch.tensor(losses)
        for shared, gradient in zip(self.gradients, self._own(), strict=True):
            shared[self.rank].copy_(gradient)
        self.barrier.wait(PATIENCE)

    def collect(self) -> Losses:
        """Set the network's gradients to the mean over all processes; returns the mean losses."""
        for shared, gradient in zip(self.gradients, self._own(), strict=True):
            torch.mean(shared, dim=0, out=gradient)
        return tuple(self.losses.mean(dim=0).tolist())

    def _own(self) -> list[Tensor]:
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in self.network.parameters() if p.requires_grad]


def _end_with_parent() -> None:
    """Without this a process would wait for a first process that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _run(work: GradientWork, rank: int, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work.start_as(rank)
        target(work, *arguments)
    except BrokenBarrierError:
        pass  # another process failed, and says so itself
    except BaseException:
        work.barrier.abort()
        raise


class GradientWorkers:
    """The processes beside this one, as a context: `target(work, *arguments)` runs in each of `processes - 1`.

    A loss has so many `terms`. With one process there are none, and nothing is shared.
    """

    def __init__(
        self,
        network: nn.Module,
        processes: int,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        terms: int = 3,
    ) -> None:
        network.train()
        self._children: list[Any] = []
        self._work: GradientWork | None = None
        self._ending = False
        if processes > 1:
            context = torch.multiprocessing.get_context("spawn")
            network.share_memory()
            self._work = GradientWork(network, processes, terms, context)
            for rank in range(1, processes):
                child = context.Process(target=_run, args=(self._work, rank, target, arguments), daemon=True)
                child.start()
                self._children.append(child)
            threading.Thread(target=self._watch, daemon=True).start()

    def begin(self, now: float) -> None:
        """Start a step in all processes, at the share `now` of the run."""
        if self._work is not None:
            self._work.now[0] = now
            self._wait(self._work.begin)

    def finish(self, losses: Losses) -> Losses:
        """End a step: the network's gradients and the losses are now the means over all processes."""
        if self._work is None:
            return losses
        work = self._work
        self._wait(lambda: work.finish(losses))
        return work.collect()

    def _watch(self) -> None:
        """A process that is gone, however it went, ends the waiting of this one."""
        multiprocessing.connection.wait([child.sentinel for child in self._children])
        if self._work is not None and not self._ending:
            self._work.barrier.abort()

    def _wait(self, call: Callable[[], object]) -> None:
        try:
            call()
        except BrokenBarrierError as error:
            raise DetkitError("a training process stopped; its own message says why") from error

    def __enter__(self) -> GradientWorkers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        if self._work is not None and kind is None:
            self._work.now[0] = 1.0
            self._work.barrier.wait(PATIENCE)
        for child in self._children:
            if kind is not None:
                child.terminate()
            child.join()
