"""One run: a task over pictures and videos, results in files, pictures of them, nothing lost on the way.

    summary = run(Yolo(), ["photos"], Output(Path("found.jsonl"), draw=Path("out")))

The commands are callers of this loop; it needs neither the command line nor a terminal, takes a part of a list as well
as all of it, and reads pictures by whatever function `Reading` names.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, Protocol

from detkit.cores import available_cores
from detkit.detectors.base import Detector
from detkit.errors import InputError, OutputError, StoreError, UsageError
from detkit.files import cache_home, is_device, write_atomically, write_bytes
from detkit.guard import Guard
from detkit.hashes import hash_of
from detkit.images import Image, encode_image
from detkit.remote import Place, RemotePath
from detkit.runs.batch import Reading, Result, work_all
from detkit.runs.count_table import need_openpyxl
from detkit.runs.journal import Journal
from detkit.runs.long_lists import Item
from detkit.runs.names import Names, fitting
from detkit.runs.outlined_records import Outlining
from detkit.runs.parts import Part, write_part
from detkit.runs.record import Record, key_of
from detkit.runs.sources import find_items
from detkit.runs.summary import Summary
from detkit.runs.tasks import Detection, Task
from detkit.runs.writers import JSON_LINES, Whole, Writer, ids_of, writer_named, writer_of

logger = logging.getLogger("detkit")

# Objects of a store that are fetched at a time where nobody says it: at 25 ms each, 640 a second.
READERS = 16
# The formats that have both masks and polygons.
_WITH_POLYGONS = ("jsonl", "coco")
# A picture -> more pictures of it, each with a name.
Pictures = Callable[[Image], Iterator[tuple[str, Image]]]
# Sees a picture by what records call it (`record_key`), in threads and in any order.
Spectator = Callable[[str, Image], None]


@dataclass(frozen=True)
class Made:
    """A file for each picture and frame, made of what was found in it.

    option   of the command line that names the folder
    content  the file's bytes
    """

    option: str
    folder: Place
    ending: str
    content: Callable[[Any], bytes]


@dataclass(frozen=True)
class Also:
    """A further file of a run's records: the option that names it, and what writes it."""

    option: str
    path: Path
    writer: Writer


@dataclass(frozen=True)
class Output:
    """Where a run's results go.

    path     file, or folder for formats with a file a picture; None leaves them to the caller. This and the other
             folders may be addresses in a store
    format   one of `writers.WRITERS`; None takes that of the path's ending
    draw, crops   folders of annotated pictures and of cut-outs
    gt       annotations whose ids COCO results take
    resume   go on where an interrupted run with the same path stopped
    more     (folder, what makes further pictures of a picture), each
    spare    files beside the sources that nothing may be written over
    seen     who else sees each picture that could be read
    files    what else is written for each picture
    also     further files of the same records, of a run with a path
    polygons  makes polygons of the masks in results, where that is asked for
    """

    path: Place | None = None
    format: str | None = None
    draw: Place | None = None
    crops: Place | None = None
    gt: Path | None = None
    resume: bool = False
    more: tuple[tuple[Place, Pictures], ...] = ()
    spare: tuple[str | Path, ...] = ()
    seen: Spectator | None = None
    files: tuple[Made, ...] = ()
    also: tuple[Also, ...] = ()
    polygons: Outlining | None = None

    def named(self, otherwise: str = "jsonl") -> Output:
        """The same with its format named, `otherwise` where neither format nor path is given."""
        if self.format == "counts" and self.path is not None and self.path.suffix.lower() == ".xlsx":
            return replace(self, format="xlsx")
        if self.format is not None:
            return self
        return replace(self, format=otherwise if self.path is None else writer_of(self.path).name)

    def painted(self, summary: Summary) -> Iterator[tuple[str, Place]]:
        """(what, where) of the folders of pictures that a run has written into."""
        if self.draw is not None and summary.pictures:
            yield "pictures", self.draw
        if self.crops is not None and summary.found:
            yield "cut-outs", self.crops
        for folder, _ in self.more if summary.pictures else ():
            yield "pictures", folder

    def writer(self) -> Writer:
        """The format's row. UsageError where the path does not go with it."""
        writer = writer_named(str(self.named().format))
        name, path = writer.name, self.path
        if name == "xlsx":
            need_openpyxl()
        if writer.folder and path is None:
            raise UsageError(f"--format {name} writes a file a picture: name their folder with --out DIR")
        if writer.folder and path is not None and os.path.exists(path) and not os.path.isdir(path):
            raise UsageError(f"--format {name} writes a file a picture, but {path} is no folder: name one")
        if not writer.folder and path is not None and os.path.isdir(path):
            raise UsageError(f"--format {name} writes one file, but {path} is a folder")
        if self.polygons is not None and name not in _WITH_POLYGONS:
            raise UsageError(
                f"--polygons is for --format {' and '.join(_WITH_POLYGONS)}; --format {name} has no choice"
            )
        if self.gt is not None and name != "coco":
            raise UsageError("--gt gives the ids of --format coco; another format has none")
        if self.resume and (path is None or is_device(path)):
            raise UsageError("--resume needs --out PATH, a file or folder: what is done is kept beside it")
        return writer


class Listener(Protocol):
    """Who hears how a run goes.

    failed        an input could not be used
    started       so many inputs are gone through now
    finished_one  an input is done
    ended         all are done, or the run was broken off
    resumable     what is done is kept in `path` from now on
    """

    def failed(self, name: str, why: str) -> None: ...

    def started(self, items: int) -> None: ...

    def finished_one(self) -> None: ...

    def ended(self) -> None: ...

    def resumable(self, path: Place) -> None: ...


class Warn:
    """The listener of library calls: inputs that could not be used are warnings on the logger `detkit`."""

    def failed(self, name: str, why: str) -> None:
        logger.warning("%s: %s", name, why)

    def started(self, items: int) -> None:
        pass

    def finished_one(self) -> None:
        pass

    def ended(self) -> None:
        pass

    def resumable(self, path: Place) -> None:
        pass


class Run:
    """A task over items, with its results on the way to an `Output`, or over a part of a list to the part's file.

    UsageError, before anything is written, where an output would replace an input or does not go with its format.
    """

    def __init__(
        self,
        task: Task,
        items: Sequence[Item],
        output: Output = Output(),
        reading: Reading = Reading(),
        listener: Listener = Warn(),
        part: Part | None = None,
    ) -> None:
        self.task, self.items, self.output, self.listener = task, items, output, listener
        self._part = part
        self.writer = output.writer()
        self._pictures = bool(output.draw or output.crops or output.more or output.seen)
        remote = len(items) > 0 and isinstance(items[0].path, RemotePath)
        self._reading = replace(
            reading,
            keep_images=self._pictures,
            videos=task.videos,
            readers=reading.readers or (READERS if remote else None),
            parts=None if self._pictures else task.parts,  # pictures that are drawn on are wanted as a whole
        )
        self.summary = Summary()
        self._there = 0
        self._guard = Guard()
        if self._pictures or output.path is not None:
            self._guard.add(item.path for item in items)
        if output.path is not None:
            beside = Guard(*output.spare)
            for option, path in (("--out", output.path), *((one.option, one.path) for one in output.also)):
                self._guard.spare(option, path)
                beside.spare(option, path)
        for item in items if output.draw is not None or output.files else ():
            if not item.video:
                self._check_paths(item)
        if self._there and not output.resume:  # of another method, say, which is then not to be seen beside this one
            logger.warning(
                "%s: %d of the pictures to be drawn are there already, and are replaced", output.draw, self._there
            )

    @property
    def names(self) -> Names | None:
        """What the outputs with a file a picture are called, where there are such."""
        return self._names if self._pictures or self.writer.folder else None

    @cached_property
    def _names(self) -> Names:
        return Names(self.items) if self._part is None else self._part.names

    def records(self, items: Iterable[Item] | None = None) -> Iterator[Record]:
        """The record of every picture and frame, in their order, once its pictures are written."""
        items = self.items if items is None else items
        count = len(items) if isinstance(items, Sequence) else None
        return (record for record, _ in self._records(items, count=count))

    def write_to(self, stream: IO[bytes], each: Callable[[Record], Record] = lambda record: record) -> Summary:
        """All records into a stream, in the output's format, which must be one file; `each` sees them on their way."""
        assert self.writer.write is not None
        deque(self.writer.write(stream, self._outlined(map(each, self.records())), self._whole()), maxlen=0)
        stream.flush()
        return self.summary

    def write(self, settings: Mapping[str, Any], each: Callable[[Record], Record] = lambda record: record) -> Summary:
        """All records under the output's path; `each` sees them on their way, those of an interrupted run too.

        settings   what the records depend on, which `resume` compares
        """
        path = self.output.path
        assert path is not None
        if is_device(path):  # which keeps nothing to go on from
            with write_atomically(path) as file:
                return self.write_to(file, each)
        self._journalled(path, settings, each)
        return self.summary

    def fail(self, name: str, why: str) -> None:
        """Count an input that could not be used, and say so."""
        self.summary.failures += 1
        self.listener.failed(name, why)

    def painted(self) -> Iterator[tuple[str, Place]]:
        """(what, where) of the pictures that were written: the one drawing of a single picture, else their folder."""
        drawn = self.output.draw is not None and self.summary.pictures
        if drawn and len(self.items) == 1 and not self.items[0].video:
            yield "the picture", self._drawn(self.items[0])
            yield from replace(self.output, draw=None).painted(self.summary)
        else:
            yield from self.output.painted(self.summary)

    def _journalled(self, out: Place, settings: Mapping[str, Any], each: Callable[[Record], Record]) -> None:
        part = self._part
        path = journal_path(out, self.writer) if part is None else part.journal
        settings = settings if part is None else part.header(settings, self.task.names, self.task.wanted)
        there, resume = path.exists(), self.output.resume
        if there and not resume:
            logger.warning("%s is left from an interrupted run; beginning again (--resume would go on)", path)
        journal = Journal(path, settings, resume)
        self.listener.resumable(path)
        try:
            if resume and there:
                logger.info("%d of %d inputs were done already", journal.resumed, len(self.items))
            elif resume:
                replaced = f"; {out} will be replaced" if not self.writer.folder and os.path.exists(out) else ""
                logger.info(
                    "%s is not there, so no run was interrupted: beginning at the first input%s", path, replaced
                )
            self._take_over(journal)
            waiting = (item for item in self.items if not journal.done(item, self._outputs_there))
            for record, last in self._records(waiting, journal.frames_done, len(self.items) - journal.resumed):
                if self.writer.content is not None and "error" not in record:
                    write_bytes(out / self._names.record_file(record, self.writer.ending), self.writer.content(record))
                journal.add(record, last)
            if journal.changed or journal.lost:
                logger.info(
                    "done again: %d inputs that were others than before, %d whose outputs were gone",
                    journal.changed,
                    journal.lost,
                )
            self._finish(out, settings, map(each, journal.records(self.items)))
            for one in self.output.also:
                one.writer.write_all(one.path, journal.records(self.items), self._whole())
        except (OutputError, StoreError) as error:
            raise type(error)(f"{error}; what is done is in {path}, --resume goes on from there") from error
        finally:
            journal.close()
        journal.remove()

    def _finish(self, out: Place, settings: Mapping[str, Any], records: Iterator[Record]) -> None:
        """Write the output, or the part, from the records of the journal."""
        if self._part is None:
            self.writer.write_all(out, self._outlined(records), self._whole())
            return
        with write_atomically(self._part.place) as file:
            self.summary = write_part(file, settings, records, self.summary)

    def _outlined(self, records: Iterator[Record]) -> Iterator[Record]:
        """The records with polygons in place of masks, where these are asked for."""
        return records if self.output.polygons is None else map(self.output.polygons.of, records)

    def _outputs_there(self, record: Record) -> bool:
        """Whether the files that were made of a record are all there; of objects in a store it is taken for granted."""
        return all(os.path.exists(path) for path in self._outputs_of(record) if isinstance(path, Path))

    def _outputs_of(self, record: Record) -> Iterator[Place]:
        if "error" in record:
            return
        name, frame, output = record["file"], record.get("frame"), self.output
        if self.writer.content is not None and output.path is not None:
            yield output.path / self._names.record_file(record, self.writer.ending)
        for made in output.files:
            yield made.folder / self._names.with_ending(name, made.ending, frame)
        if output.draw is not None:
            yield output.draw / self._names.drawn(name, frame)
        if output.crops is not None:
            for label in self.task.crop_names(record):
                yield output.crops / self._names.part(name, label, ".jpg", frame)

    def _take_over(self, journal: Journal) -> None:
        """Put what a part had that was done before, and in which something failed, into its journal."""
        part = self._part
        if part is None or not self.output.resume or journal.resumed:
            return
        items = iter(self.items)
        for name, records in groupby(part.before(), key=itemgetter("file")):
            item = next(item for item in items if item.name == name)
            kept = list(records)
            if any("error" in record for record in kept) or journal.done(item):
                continue
            for record in kept:
                journal.add(record, record is kept[-1])

    def _whole(self) -> Whole:
        gt, names = self.output.gt, self.task.names
        ids = None if gt is None else ids_of(gt, names, logger.warning)
        return Whole(names, self.items, ids, self.task.wanted)

    def _records(
        self,
        items: Iterable[Item],
        first_frame: Callable[[Item], int] = lambda item: 0,
        count: int | None = None,
    ) -> Iterator[tuple[Record, bool]]:
        """(record, whether it is its item's last) of every result, once its pictures are written."""
        started = time.monotonic()
        self.listener.started(len(self.items) if count is None else count)
        results = work_all(self.task, items, self._reading, first_frame)
        cores = available_cores()
        try:
            with ThreadPoolExecutor(cores) as painters:
                under_way: deque[tuple[Future[None] | None, Result]] = deque()
                for result in results:
                    wanted = result.image is not None or (self.output.files and result.error is None)
                    painted = painters.submit(self._paint, result) if wanted else None
                    under_way.append((painted, result))
                    while under_way and (len(under_way) > 2 * cores or _ready(under_way[0][0])):
                        yield self._accounted(*under_way.popleft())
                while under_way:
                    yield self._accounted(*under_way.popleft())
        finally:
            self.listener.ended()
            self.summary.seconds += time.monotonic() - started

    def _accounted(self, painted: Future[None] | None, result: Result) -> tuple[Record, bool]:
        if painted is not None:
            painted.result()
        record: Record = {"file": result.item.name}
        if result.frame is not None:
            record |= {"frame": result.frame, "time": result.time}
        if result.error is not None:
            record["error"] = result.error
            self.fail(str(result.item.path), result.error)
        else:
            record |= self.task.record(result)
            if result.cut_off is not None:
                self.fail(str(result.item.path), result.cut_off)
            self.summary.add(record)
        if result.last:
            self.listener.finished_one()
        return record, result.last

    def _paint(self, result: Result) -> None:
        """Write the annotated picture, the cut-outs and what else is made of a picture and of what is found in it."""
        output, image, item = self.output, result.image, result.item
        for made in output.files:
            target = self._made(made, item, result.frame)
            write_bytes(target, made.content(result.found))
        if image is None:
            return
        if output.draw is not None:
            _write_picture(self._drawn(item, result.frame), self.task.draw(image, result.found, item.name))
        if output.seen is not None:
            output.seen(key_of(item.name, result.frame), image)
        if output.crops is not None:
            for label, cut in self.task.crops(image, result.found):
                part = self._names.part(item.name, label, ".jpg", result.frame)
                self._write_spared("--crops", output.crops / part, cut)
        stem = self._names.stem(item.name, result.frame)
        for folder, make in output.more:
            with suppress(InputError):  # of a picture that is too small, say: the result has said so
                for label, picture in make(image):
                    self._write_spared(str(folder), folder / fitting(stem / f"{label}.png"), picture)

    def _write_spared(self, option: str, target: Place, picture: Image) -> None:
        self._guard.spare(option, target)
        _write_picture(target, picture)

    def _check_paths(self, item: Item) -> None:
        """UsageError where what is made of a picture would replace a source."""
        if self.output.draw is not None:
            drawn = self._drawn(item)
            self._there += isinstance(drawn, Path) and drawn.exists()
        for made in self.output.files:
            self._made(made, item)

    def _made(self, made: Made, item: Item, frame: int | None = None) -> Place:
        """Where a file of `Output.files` goes. UsageError where a source is there."""
        target = made.folder / self._names.with_ending(item.name, made.ending, frame)
        self._guard.spare(made.option, target)
        return target

    def _drawn(self, item: Item, frame: int | None = None) -> Place:
        """Where the annotated picture goes. UsageError where a source is there."""
        assert self.output.draw is not None
        target = self.output.draw / self._names.drawn(item.name, frame)
        self._guard.spare("--draw", target)
        return target


def run(
    detector: Detector | Task,
    sources: Sequence[str | Path] | str | Path,
    output: Output = Output(),
    reading: Reading = Reading(),
    listener: Listener = Warn(),
) -> Summary:
    """Detect over `sources` (see `find_items`) and write what `output` says; without a path, JSON Lines to stdout.

    Inputs that cannot be read cost only themselves: they are told to `listener` and counted.
    """
    task: Task = Detection(detector) if isinstance(detector, Detector) else detector
    named = [sources] if isinstance(sources, str | Path) else sources
    problems: list[tuple[str, str]] = []
    items = find_items([str(one) for one in named], lambda name, why: problems.append((name, why)))
    whole = Run(task, items, output, reading, listener)
    for name, why in problems:
        whole.fail(name, why)
    if output.path is None:
        return whole.write_to(sys.stdout.buffer)
    fingerprint = detector.fingerprint if isinstance(detector, Detector) else ""
    return whole.write({"model": fingerprint, "format": whole.writer.name})


def journal_path(out: Place, writer: Writer = JSON_LINES) -> Path:
    """Where the journal of an output lies: beside a file, inside a folder, on this machine for an object in a store."""
    if isinstance(out, RemotePath):
        return cache_home() / "runs" / f"{hash_of(str(out)):016x}.partial.jsonl"
    return out / ".detkit.partial.jsonl" if writer.folder else out.with_name(f"{out.name}.partial.jsonl")


def _ready(future: Future[None] | None) -> bool:
    return future is None or future.done()


def _write_picture(target: Place, picture: Image) -> None:
    try:
        write_bytes(target, encode_image(picture, target.suffix))
    except InputError as error:
        raise OutputError(f"cannot write {target}: {error}") from error
