"""The state of an unfinished training on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from detkit.errors import InputError
from detkit.files import write_atomically

FILE = "checkpoint.pt"


def save_checkpoint(directory: Path, state: dict[str, Any]) -> None:
    """Write `state`, of tensors and plain values, so that a killed process leaves the old checkpoint or the new one."""
    with write_atomically(directory / FILE) as file:
        torch.save(state, file)


def load_checkpoint(directory: Path, name: str = FILE) -> dict[str, Any] | None:
    """The state saved last, or None where there is none. InputError where the file is no checkpoint."""
    path = directory / name
    if not path.exists():
        return None
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises whatever its unpickler and its zip reader raise
        raise InputError(f"{path}: not a checkpoint that training can resume from") from error
    if not isinstance(state, dict) or "optimizer" not in state:
        raise InputError(f"{path}: not a checkpoint that training can resume from")
    return state
