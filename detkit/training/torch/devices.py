"""Where a training computes: the CPU, or a CUDA card with activations in bfloat16."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from torch import nn

from detkit.errors import DeviceError

Network = TypeVar("Network", bound=nn.Module)
Batch = TypeVar("Batch")


def training_device(name: str) -> torch.device:
    """The device called "auto", "cpu", "cuda" or "cuda:N"; "auto" is a CUDA card where there is one.

    DeviceError for one that is not there, or that nothing trains on.
    """
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if cards else "cpu")
    kind, _, number = name.partition(":")
    if name != "cpu" and (kind != "cuda" or not (number.isdecimal() or not number)):
        raise DeviceError(f"device {name!r}: networks train on the cpu or on cuda")
    if kind == "cuda" and not cards:
        raise DeviceError(
            f"device {name!r}: PyTorch {torch.__version__} finds no CUDA card here; "
            "install its build for CUDA and NVIDIA's driver, or train on the cpu"
        )
    if number and int(number) >= cards:
        raise DeviceError(f"device {name!r}: there are {cards} CUDA cards, counted from 0")
    return torch.device(name)


def mixes_precision(device: torch.device) -> bool:
    """Whether activations are better in bfloat16 there: on cards that compute in it."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def on_cpu(network: Network) -> Network:
    """The network, or a copy of it on the CPU: graphs are exported from there."""
    if next(network.parameters()).device.type == "cpu":
        return network
    return copy.deepcopy(network).cpu()


class Ahead(Generic[Batch]):
    """Makes the next batch in a thread while the card computes on one: `make(share)`, for the share a step before."""

    def __init__(self, make: Callable[[float], Batch], pool: ThreadPoolExecutor) -> None:
        self._make, self._pool = make, pool
        self._under_way = pool.submit(make, 0.0)

    def next(self, share: float) -> Batch:
        """The batch that is ready, the first for the beginning of a run."""
        batch = self._under_way.result()
        self._under_way = self._pool.submit(self._make, share)
        return batch


@contextmanager
def batches(make: Callable[[float], Batch], device: torch.device) -> Iterator[Callable[[float], Batch]]:
    """What gives the next batch for a share of the run: `make` itself, or on a card a thread that is one ahead."""
    if device.type == "cpu":
        yield make
        return
    with ThreadPoolExecutor(1, thread_name_prefix="detkit-batches") as pool:
        yield Ahead(make, pool).next
