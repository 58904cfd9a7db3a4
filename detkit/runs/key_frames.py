"""Some frames of tracked videos, evenly over their time, for a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from detkit.errors import InputError
from detkit.images import Image, read_image
from detkit.runs.footage import Shot
from detkit.runs.sources import Item
from detkit.runs.tracked import Tracked
from detkit.videos import frames


def key_frames(video: Tracked, items: Sequence[Item], count: int) -> Iterator[tuple[Shot, Image]]:
    """Up to `count` frames of a video with their pictures; those that cannot be read are left out.

    Between them frames are decoded but not converted, which is fast.
    """
    shots = [shot for shot in video.footage.shots if "error" not in shot.record]
    chosen = [shots[int(at)] for at in np.linspace(0, len(shots) - 1, min(count, len(shots)))] if shots else []
    paths = {item.name: item for item in items}
    by_frame: dict[int, Shot] = {}
    film: Item | None = None
    for shot in chosen:
        record = shot.record
        item = paths.get(record["file"])
        if item is None:
            continue
        if item.video:
            by_frame[record["frame"]], film = shot, item
            continue
        try:
            yield shot, read_image(item.path)
        except InputError:
            continue
    if film is None:
        return
    try:
        for index, image in frames_at(film, sorted(by_frame)):
            yield by_frame[index], image
    except InputError:
        return


def frames_at(item: Item, indices: Sequence[int]) -> Iterator[tuple[int, Image]]:
    """The frames of a video with these indices, ascending."""
    wanted = set(indices)
    for frame in frames(item.path, only=wanted):
        yield frame.index, frame.image
        if frame.index >= indices[-1]:
            return
