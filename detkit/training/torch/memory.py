"""Keeping freed memory in the process."""

from __future__ import annotations

import ctypes
import sys

# Parameters of mallopt(3) in glibc.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory(step: int = 256 * 2**20) -> None:
    """Have glibc keep the memory of freed tensors, and grow by `step` bytes; nothing happens where there is no
    glibc.

    By default each large tensor is mapped anew and its pages are cleared by the kernel at first touch. Training on
    a CPU spends a quarter of its time on that. Started with GLIBC_TUNABLES=glibc.malloc.hugetlb=1 in the
    environment, glibc uses huge pages in addition, which brings about as much again and cannot be asked for later.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in (
            (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, step), (M_ARENA_MAX, 1)
        ):  # fmt: skip
            mallopt(parameter, value)
