"""The options that say which tracks a motion model learns from, or is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from detkit.tracking.walks import Walks

TracksArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="DATA...",
        help="MOTChallenge's folders (SEQ/gt/gt.txt below them), or ground truth files.",
        show_default=False,
    ),
]
BoxesOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|truth",
        help="The boxes that are seen: a file of detections in each sequence's folder, or the annotated ones. "
        "Default: det/det.txt where all have it, else truth.",
    ),
]
FpsOption = Annotated[float | None, typer.Option(min=0.001, help="Frames a second. Default: by each seqinfo.ini.")]


def read_tracks(data: Sequence[Path], boxes: str | None, fps: float | None, *, quiet: bool) -> list[Walks]:
    """The sequences, told in a line. InputError where there is none, or nothing is seen."""
    from detkit.cli.console import counted, say
    from detkit.errors import InputError
    from detkit.tracking.walks import read_walks

    walks = read_walks(data, boxes, fps)
    seen = sum(one.boxes for one in walks)
    if not seen:
        raise InputError(f"{data[0]}: no box is seen of any annotated object")
    if not quiet:
        objects = sum(one.truth.shape[1] for one in walks)
        say(f"{counted(len(walks), 'sequence')}, {seen} boxes seen of {counted(objects, 'object')}")
    return walks
