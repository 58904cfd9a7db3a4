"""Work over many pictures: reading and preparation run in threads ahead of the network.

Memory does not grow with the number of pictures: as many are under way as there are readers, plus two batches.
Results come in the order of the items, and a picture that cannot be read becomes a result with an error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Semaphore
from typing import Any, Protocol

from detkit.cores import available_cores
from detkit.errors import InputError
from detkit.images import Image, decode_named, read_content
from detkit.remote import Place, RemotePath
from detkit.runs.live import LiveItem, WebItem
from detkit.runs.long_lists import Item
from detkit.stores import fetch_object
from detkit.videos import Frame, frames

# The bytes of a picture's file, from wherever pictures come. InputError is about that picture alone.
Fetch = Callable[[Place], bytes]


class Worker(Protocol):
    """What works on pictures; every `Detector` is one.

    `prepare` may run in several threads at once, away from the pictures' order; `detect` runs in one thread, on the
    prepared pictures of one batch.
    """

    batch: int

    def prepare(self, image: Image, name: str = "") -> Any: ...

    def detect(self, prepared: Sequence[Any]) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Result:
    """What was found in a picture or in a frame of a video.

    error       why the picture could not be read; `found` is then None
    frame, time index from 0 and seconds of a video's frame; None for a picture
    image       the picture itself, where it was asked for
    last        whether this is the item's last result: its only one, or a video's last frame
    cut_off     of the last frame of a video that ends early: what is missing
    """

    item: Item
    width: int = 0
    height: int = 0
    found: Any = None
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


@dataclass(frozen=True)
class Reading:
    """How pictures are read.

    fetch        gives the bytes of a picture's file or object
    workers      pictures that are decoded and prepared at a time; None takes the cores that this process may use
    readers      pictures that are fetched at a time; None takes `workers`
    keep_images  whether results carry their picture
    videos       why videos are no inputs; "" where they are
    parts        opens a file of this machine of which only parts may be wanted, in place of fetching and decoding it
    every        of a video or a stream, only frames whose index is a multiple
    live         whether pictures are worked on as they come, and none is read ahead
    """

    fetch: Fetch = read_content
    workers: int | None = None
    readers: int | None = None
    keep_images: bool = False
    videos: str = ""
    parts: Callable[[Path], Any] | None = None
    every: int = 1
    live: bool = False


def work_all(
    worker: Worker,
    items: Iterable[Item],
    reading: Reading = Reading(),
    first_frame: Callable[[Item], int] = lambda item: 0,
) -> Iterator[Result]:
    """The results of all items, in their order.

    first_frame  of each video, the index of the first frame that is wanted
    """
    workers = reading.workers or available_cores()
    count = max(reading.readers or 0, workers)
    executor = ThreadPoolExecutor(count, thread_name_prefix="detkit-decode")
    try:
        pending: deque[Future[_Loaded]] = deque()
        batch: list[_Loaded] = []
        loading = _submit_all(executor, worker, items, reading, Semaphore(workers), first_frame)
        exhausted = False
        ahead = 1 if reading.live else count + 2 * worker.batch
        while not exhausted or pending or batch:
            while not exhausted and len(pending) < ahead:
                future = next(loading, None)
                exhausted = future is None
                if future is not None:
                    pending.append(future)
            if pending:
                batch.append(pending.popleft().result())
            if len(batch) >= worker.batch or not pending:
                yield from _worked(worker, batch, reading.keep_images)
                batch = []
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _worked(worker: Worker, batch: list[_Loaded], keep_images: bool) -> Iterator[Result]:
    found: list[Any] = _detected(worker, [loaded for loaded in batch if loaded.error is None])
    results = iter(found)
    for loaded in batch:
        one = next(results) if loaded.error is None else None
        if isinstance(one, InputError):
            loaded.error, one = _without_path(one, loaded.item), None
        yield Result(
            loaded.item,
            loaded.width,
            loaded.height,
            one,
            loaded.error,
            loaded.frame,
            loaded.time,
            loaded.image if keep_images and loaded.error is None else None,
            loaded.last,
            loaded.cut_off,
        )


def _detected(worker: Worker, batch: Sequence[_Loaded]) -> list[Any]:
    """What is found in each picture, or the InputError of those that the network gives no usable answer for."""
    if not batch:
        return []
    try:
        return list(worker.detect([loaded.prepared for loaded in batch]))
    except InputError as error:
        if len(batch) == 1:
            return [error]
    return [found for loaded in batch for found in _detected(worker, [loaded])]


def _submit_all(
    executor: ThreadPoolExecutor,
    worker: Worker,
    items: Iterable[Item],
    reading: Reading,
    decoding: Semaphore,
    first_frame: Callable[[Item], int],
) -> Iterator[Future[_Loaded]]:
    """A future for every picture and frame, made when it is asked for."""
    for item in items:
        if not item.video:
            yield executor.submit(_load_picture, worker, item, reading, decoding)
            continue
        if reading.videos:
            yield executor.submit(_Loaded, item, error=reading.videos)
            continue
        # Frames depend on each other and are decoded here, one after the other; they are prepared in the threads.
        for loaded in _frames(item, first_frame(item), reading.every):
            yield executor.submit(_prepare, worker, loaded, reading.keep_images)


def _load_picture(worker: Worker, item: Item, reading: Reading, decoding: Semaphore) -> _Loaded:
    try:
        if reading.parts is not None and isinstance(item.path, Path):
            with decoding:
                return _prepare(worker, _Loaded(item, image=reading.parts(item.path)), reading.keep_images)
        content = item.content() if isinstance(item, WebItem) else reading.fetch(item.path)
        with decoding:  # readers may be many more than cores
            return _prepare(worker, _Loaded(item, image=decode_named(item.path, content)), reading.keep_images)
    except InputError as error:
        return _Loaded(item, error=_without_path(error, item))


def _prepare(worker: Worker, loaded: _Loaded, keep_image: bool) -> _Loaded:
    if loaded.error is None and loaded.image is not None:
        loaded.height, loaded.width = loaded.image.shape[:2]
        try:
            loaded.prepared = worker.prepare(loaded.image, loaded.item.name)
        except InputError as error:
            loaded.error = str(error)
        if not keep_image:
            loaded.image = None
    return loaded


def _frames(item: Item, first: int, every: int) -> Iterator[_Loaded]:
    """The frames of a video from index `first` on, with their times in seconds; or those of a stream."""
    frame: Frame | None = None
    try:
        with _film(item, first, every) as film:
            for frame in film:
                yield _Loaded(
                    item,
                    image=frame.image,
                    frame=frame.index,
                    time=round(frame.seconds, 6),
                    last=frame.last,
                    cut_off=frame.cut_off,
                )
    except InputError as error:
        lost = _Loaded(item, error=_without_path(error, item))
        if frame is not None:  # what came before stays
            lost.frame, lost.time = frame.index + 1, round(frame.seconds, 6)
        yield lost


@contextmanager
def _film(item: Item, first: int, every: int) -> Iterator[Iterator[Frame]]:
    if isinstance(item, LiveItem):
        yield item.frames(every)
        return
    with _on_disk(item.path) as path:
        yield frames(path, first, every)


@contextmanager
def _on_disk(path: Place) -> Iterator[Path]:
    """The file of a video; of one in a store a copy, as decoders want files."""
    if not isinstance(path, RemotePath):
        yield path
        return
    with TemporaryDirectory(prefix="detkit-") as folder:
        copy = Path(folder, path.name)
        with open(copy, "wb") as file:
            fetch_object(path, file)
        try:
            yield copy
        except InputError as error:
            raise InputError(str(error).replace(str(copy), str(path))) from error


def _without_path(error: InputError, item: Item) -> str:
    """The message without the path that it begins with: a result names its file itself."""
    return str(error).removeprefix(f"{item.path}: ")
