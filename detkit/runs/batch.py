"""Detection over many pictures: decoding and preparation run in threads ahead of the network.

Memory does not grow with the number of pictures: as many are under way as there are decoders, plus two batches.
Results come in the order of the items, and a picture that cannot be read becomes a result with an error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from detkit.cores import available_cores
from detkit.detections import Detections
from detkit.detectors.base import Detector, NamedDetector
from detkit.errors import InputError
from detkit.images import Image, read_image
from detkit.runs.sources import Item

# Containers count frames from their duration, and may be wrong by some: by so many, or by a fiftieth.
_FRAMES_AMISS = 2


@dataclass(frozen=True)
class Result:
    """What was found in a picture or in a frame of a video.

    error       why the picture could not be read; `detections` is then None
    frame, time index from 0 and seconds of a video's frame; None for a picture
    image       the picture itself, where it was asked for
    last        whether this is the item's last result: its only one, or a video's last frame
    cut_off     of the last frame of a video that ends early: what is missing
    """

    item: Item
    width: int = 0
    height: int = 0
    detections: Detections | None = None
    error: str | None = None
    frame: int | None = None
    time: float | None = None
    image: Image | None = None
    last: bool = True
    cut_off: str | None = None


@dataclass
class _Loaded:
    item: Item
    width: int = 0
    height: int = 0
    prepared: Any = None
    image: Image | None = None
    error: str | None = None
    frame: int | None = None
    time: float | None = None
    last: bool = True
    cut_off: str | None = None


def detect_all(
    detector: Detector,
    items: Iterable[Item],
    *,
    workers: int | None = None,
    keep_images: bool = False,
    first_frame: Callable[[Item], int] = lambda item: 0,
) -> Iterator[Result]:
    """The results of all items, in their order.

    workers      threads that decode and prepare; by default the cores that this process may use
    keep_images  whether results carry their picture
    first_frame  of each video, the index of the first frame that is wanted
    """
    count = workers or available_cores()
    executor = ThreadPoolExecutor(count, thread_name_prefix="detkit-decode")
    try:
        pending: deque[Future[_Loaded]] = deque()
        batch: list[_Loaded] = []
        loading = _submit_all(executor, detector, items, keep_images, first_frame)
        exhausted = False
        while not exhausted or pending or batch:
            while not exhausted and len(pending) < count + 2 * detector.batch:
                future = next(loading, None)
                exhausted = future is None
                if future is not None:
                    pending.append(future)
            if pending:
                batch.append(pending.popleft().result())
            if len(batch) >= detector.batch or not pending:
                yield from _detect(detector, batch, keep_images)
                batch = []
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _detect(detector: Detector, batch: list[_Loaded], keep_images: bool) -> Iterator[Result]:
    readable = [loaded for loaded in batch if loaded.error is None]
    found = iter(_found(detector, readable))
    for loaded in batch:
        yield Result(
            loaded.item,
            loaded.width,
            loaded.height,
            next(found) if loaded.error is None else None,
            loaded.error,
            loaded.frame,
            loaded.time,
            loaded.image if keep_images else None,
            loaded.last,
            loaded.cut_off,
        )


def _submit_all(
    executor: ThreadPoolExecutor,
    detector: Detector,
    items: Iterable[Item],
    keep_images: bool,
    first_frame: Callable[[Item], int],
) -> Iterator[Future[_Loaded]]:
    """A future for every picture and frame, made when it is asked for."""
    for item in items:
        if not item.video:
            yield executor.submit(_load_picture, detector, item, keep_images)
            continue
        # Frames depend on each other and are decoded here, one after the other; they are prepared in the threads.
        for loaded in _frames(item, first_frame(item)):
            yield executor.submit(_prepare, detector, loaded, keep_images)


def _found(detector: Detector, batch: list[_Loaded]) -> list[Detections]:
    """Detections of the pictures of a batch that have any; one whose outputs are unsound gets an error, alone."""
    if not batch:
        return []
    try:
        return detector.detect([loaded.prepared for loaded in batch])
    except InputError as error:
        if len(batch) == 1:
            batch[0].error = str(error)
            return []
    return [found for loaded in batch for found in _found(detector, [loaded])]


def _load_picture(detector: Detector, item: Item, keep_image: bool) -> _Loaded:
    try:
        return _prepare(detector, _Loaded(item, image=read_image(item.path)), keep_image)
    except InputError as error:
        return _Loaded(item, error=_without_path(error, item))


def _prepare(detector: Detector, loaded: _Loaded, keep_image: bool) -> _Loaded:
    if loaded.error is None and loaded.image is not None:
        loaded.height, loaded.width = loaded.image.shape[:2]
        try:
            if isinstance(detector, NamedDetector):
                loaded.prepared = detector.prepare_named(loaded.image, loaded.item.name)
            else:
                loaded.prepared = detector.prepare(loaded.image)
        except InputError as error:
            loaded.error = str(error)
        if not keep_image:
            loaded.image = None
    return loaded


def _frames(item: Item, first: int) -> Iterator[_Loaded]:
    """The frames of a video from index `first` on, with their times in seconds."""
    if not item.path.is_file():
        yield _Loaded(item, error="no such file" if not item.path.exists() else "is not an ordinary file")
        return
    capture = cv2.VideoCapture(str(item.path))
    try:
        rate = capture.get(cv2.CAP_PROP_FPS) or 0.0
        promised = round(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        held: _Loaded | None = None  # given out when the next one is there, so that the last one is known as such
        index = 0
        while capture.grab():
            if index >= first:
                ok, frame = capture.retrieve()
                if not ok:
                    break
                if held is not None:
                    yield held
                seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 or (index / rate if rate else 0.0)
                image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                held = _Loaded(item, image=np.asarray(image), frame=index, time=round(seconds, 6), last=False)
            index += 1
        if held is not None:
            held.last = True
            if promised - index > max(_FRAMES_AMISS, promised // 50):
                held.cut_off = f"ends after {index} of {promised} frames: truncated or damaged"
            yield held
        elif index == 0:
            yield _Loaded(item, error="cannot be decoded: truncated, damaged or not a video")
    finally:
        capture.release()


def _without_path(error: InputError, item: Item) -> str:
    """The message without the path that it begins with: a result names its file itself."""
    return str(error).removeprefix(f"{item.path}: ")
