"""`Tiled`: any detector over pictures that are much larger than what it looks for.

The idea of running a detector over overlapping parts as well as over the whole is Akyon, Altinuc and Temizel's
("Slicing aided hyper inference", 2022); how the parts are put together is `seams`' own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from detkit.cores import available_cores
from detkit.detections import Detections
from detkit.detectors.base import Detector
from detkit.detectors.seams import View, merged
from detkit.detectors.tiles import Parts, Rect, Tiling, meeting, shrunk
from detkit.errors import InputError, UsageError
from detkit.images import Image
from detkit.large_images import open_image
from detkit.settings import settled
from detkit.shapes.masks import Masks


class Tiled(Detector):
    """A detector over the tiles of a picture and over the whole of it: `Tiled(Yolo(), tile=640)(image)`.

    detector   any other
    tiling     see `Tiling`; its fields may be given by name

    Boxes, masks, key points and corners are in pixels of the picture. `selection.max_det` counts for each tile.
    Pictures that one tile covers are given to the detector as they are. The whole of a picture of more than four tiles
    a side is shrunk by a whole number, to at most that. UsageError for a detector that looks pictures up by name.
    """

    reads_parts = True

    def __init__(self, detector: Detector, tiling: Tiling = Tiling(), **settings: Any) -> None:
        if detector.by_name:
            raise UsageError("--tile is not for proposals from a file: they are those of whole pictures")
        (self.tiling,) = settled(settings, tiling)
        self.detector = detector
        self.names, self.selection, self.path = detector.names, detector.selection, detector.path

    @property
    def fingerprint(self) -> str:
        """That of the detector, and the tiling."""
        return f"{self.detector.fingerprint} tile {self.tiling.tile} overlap {self.tiling.overlap:g}"

    def about(self) -> list[str]:
        """What the detector is, and how pictures are cut."""
        side, overlap = self.tiling.tile, self.tiling.overlap
        return [*self.detector.about(), f"tiles of {side} x {side} that overlap by {overlap:g}, and the whole picture"]

    def read(self, path: Path) -> Parts:
        """The picture; of a large TIFF file, parts are read when they are needed."""
        return open_image(path)

    def prepare(self, image: Parts, name: str = "") -> Parts:
        """The picture: its parts are prepared when they are needed, so that few are in memory at a time."""
        return image

    def detect(self, prepared: Sequence[Parts]) -> list[Detections]:
        """Detections of pictures, one after the other."""
        return [self._detect_one(picture) for picture in prepared]

    def _detect_one(self, picture: Parts) -> Detections:
        height, width = picture.shape[:2]
        rects = self.tiling.rects(width, height)
        by = self.tiling.shrink(width, height) if rects else 1
        whole: Rect = (0, 0, width, height)
        found = self._found(picture, rects, by)
        if not rects:
            return next(found)
        size = (width, height)
        views = [View.of(rect, _placed(one, rect, size), *size) for rect, one in zip(rects, found, strict=False)]
        views.append(View.of(whole, _enlarged(next(found), by, size), *size))
        pairs = [*meeting(rects), *((number, len(rects)) for number in range(len(rects)))]
        return merged(views, pairs, self.selection)

    def _found(self, picture: Parts, rects: Sequence[Rect], by: int) -> Iterator[Detections]:
        """What the detector finds in each tile, and then in the whole, in their own pixels.

        Parts are cut out here, one after the other, and prepared in threads, a few ahead of the detector.
        """
        cores, batch = available_cores(), self.detector.batch

        def parts() -> Iterator[tuple[str, Image]]:
            for x1, y1, x2, y2 in rects:
                yield f"the tile at {x1}, {y1}", np.ascontiguousarray(picture[y1:y2, x1:x2])
            yield "", shrunk(picture, by)

        with ThreadPoolExecutor(cores, thread_name_prefix="detkit-tiles") as pool:
            pending: deque[tuple[str, Future[Any]]] = deque()
            left = parts()
            going = True
            while going or pending:
                while going and len(pending) < cores + batch:
                    part = next(left, None)
                    going = part is not None
                    if part is not None:
                        pending.append((part[0], pool.submit(self.detector.prepare, part[1])))
                ready = [pending.popleft() for _ in range(min(batch, len(pending)))]
                where = ready[0][0] if ready else ""
                try:
                    yield from self.detector.detect([future.result() for _, future in ready]) if ready else ()
                except InputError as error:
                    raise InputError(f"{where}: {error}" if where else str(error)) from error


def _placed(found: Detections, rect: Rect, size: tuple[int, int]) -> Detections:
    """What was found in a tile, in pixels of the picture of `size` (width, height)."""
    if not len(found):
        return found
    left, top = rect[:2]
    shift = np.array([left, top], np.float32)
    masks, keypoints, corners = found.masks, found.keypoints, found.corners
    if masks is not None:
        windows = (masks.window(row) for row in range(len(masks)))
        masks = Masks.from_windows([(part, x + left, y + top) for part, x, y in windows], size[1], size[0])
    if keypoints is not None:
        keypoints = np.concatenate((keypoints[..., :2] + shift, keypoints[..., 2:]), axis=2)
    corners = None if corners is None else corners + shift
    return replace(found, boxes=found.boxes + np.tile(shift, 2), masks=masks, keypoints=keypoints, corners=corners)


def _enlarged(found: Detections, by: int, size: tuple[int, int]) -> Detections:
    """What was found in a picture shrunk `by` times, in pixels of the picture of `size` (width, height)."""
    if by == 1 or not len(found):
        return found
    masks, keypoints, corners = found.masks, found.keypoints, found.corners
    if masks is not None:
        masks = Masks.from_windows([_larger_window(masks, row, by, size) for row in range(len(masks))], *size[::-1])
    if keypoints is not None:
        keypoints = keypoints * np.array([by, by, 1], np.float32)
    corners = None if corners is None else corners * np.float32(by)
    enlarged = replace(found, boxes=found.boxes * np.float32(by), masks=masks, keypoints=keypoints, corners=corners)
    return enlarged.clip(*size)  # the last pixels were filled up


def _larger_window(masks: Masks, row: int, by: int, size: tuple[int, int]) -> tuple[Any, int, int]:
    part, x, y = masks.window(row)
    part = np.kron(part, np.ones((by, by), bool))
    return part[: size[1] - y * by, : size[0] - x * by], x * by, y * by
