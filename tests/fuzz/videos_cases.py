"""Damaged videos: the small ones of tests/data, and one that OpenCV writes."""

from __future__ import annotations

import itertools
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
from mutations import damaged

from detkit.picture_files.video_files import inspect
from detkit.videos import frames

DATA = Path(__file__).parents[1] / "data" / "videos"


def fuzzer(folder: Path) -> Any:
    made = {path.name: path.read_bytes() for path in sorted(DATA.iterdir())}
    writer = cv2.VideoWriter(str(folder / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for value in range(6):
        writer.write(np.full((48, 64, 3), value * 40, np.uint8))
    writer.release()
    made["a.avi"] = (folder / "a.avi").read_bytes()
    contents = list(made.values())

    def case(random: Random, work: Path) -> Any:
        name = random.choice(list(made))
        path = work / name
        path.write_bytes(damaged(random, made[name], contents))

        def shown() -> None:
            for frame in itertools.islice(frames(path), 200):
                assert frame.image.dtype == np.uint8
                assert frame.image.ndim == 3

        yield "inspect", lambda: inspect(path)
        yield "frames", shown
        yield "every third frame", lambda: list(itertools.islice(frames(path, first=1, every=3), 20))

    return case
