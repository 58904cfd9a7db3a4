"""The losses of a training, step by step: a CSV file and a plot of it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from detkit.errors import InputError

FILE = "history.csv"
PLOT = "history.png"


class History:
    """Appends rows of `fields`, of which the first is the step, to the file in `directory`.

    Rows after `step` are of a run that was lost and go.
    """

    def __init__(self, directory: Path, fields: Sequence[str], step: int = 0) -> None:
        path = directory / FILE
        rows = [row for row in read_rows(path)[1:] if int(row[0]) <= step] if step and path.exists() else []
        self._file = path.open("w", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(fields)
        self._writer.writerows(rows)

    def add(self, progress: Sequence[float]) -> None:
        self._writer.writerow([f"{x:.6g}" if isinstance(x, float) else x for x in progress])

    def flush(self) -> None:
        self._file.flush()

    def __enter__(self) -> History:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_rows(path: Path) -> list[list[str]]:
    """The rows of a history file, its header first, without a last row that was cut short."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    return [row for row in rows if len(row) == len(rows[0])]


def plot_history(directory: Path) -> Path:
    """Draw the losses over the steps, each smoothed over a fiftieth of the run, and return the picture's path."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("a plot needs matplotlib: pip install matplotlib") from error
    fields, *rows = read_rows(directory / FILE)
    values = np.array(rows, dtype=np.float64).reshape(-1, len(fields))
    width = max(1, len(values) // 50)
    axes = (figure := Figure(figsize=(8, 4.5), layout="constrained")).subplots()
    for name in (name for name in fields if name.endswith("loss")):
        column = values[:, fields.index(name)]
        axes.plot(values[width - 1 :, 0], np.convolve(column, np.full(width, 1 / width), "valid"), label=name)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.legend()
    figure.savefig(directory / PLOT, dpi=120)
    return directory / PLOT
