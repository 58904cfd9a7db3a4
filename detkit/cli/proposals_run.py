"""The body of `detkit proposals`: pictures in, JSON Lines, drawings and figures out."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import orjson

from detkit.cli.console import hint_on_interrupt, progress, say
from detkit.errors import ExitStatus, InputError, ModelError, OutputError, UsageError
from detkit.files import file_id, is_device, reason, write_atomically, write_bytes
from detkit.images import encode_image, read_image
from detkit.picture_names import WRITABLE
from detkit.proposals import Proposals
from detkit.proposals.methods import Propose
from detkit.proposals.proposal_files import proposals_line
from detkit.proposals.proposal_pictures import draw_best, draw_cover
from detkit.proposals.quality import (
    COUNTS,
    OVERLAPS,
    average_best_overlap,
    average_recall,
    best_overlaps,
    mean_average_best_overlap,
    recall,
    recall_over_overlap,
)
from detkit.runs.results import Journal, Record, jsonl_line
from detkit.runs.sources import Item, files_of, find_items, spare_inputs

logger = logging.getLogger("detkit")


class ProposalRun:
    """One run over all sources.

    make      threads of one picture -> the method; several pictures are done side by side with a thread each
    settings  what the proposals depend on, for --resume
    """

    def __init__(
        self,
        make: Callable[[int], Propose],
        settings: Mapping[str, Any],
        sources: Sequence[str],
        *,
        out: str | None,
        draw: Path | None,
        draw_best: int,
        gt: Path | None,
        edges: Path | None,
        resume: bool,
        workers: int,
        quiet: bool,
    ) -> None:
        self.out = None if out in (None, "-") else Path(str(out))
        if resume and self.out is None:
            raise UsageError("--resume needs --out FILE: what is done is kept beside it")
        if self.out is not None and self.out.is_dir():
            raise UsageError(f"--out {self.out} is a folder; proposals are one file")
        self.short = out is None and sys.stdout.isatty()
        self.draw, self.draw_best, self.resume, self.workers, self.quiet = draw, draw_best, resume, workers, quiet
        self.cover = _Cover(gt, int(settings["max"])) if gt is not None else None
        self.failures = self.pictures = 0
        self.items = find_items(sources, self._fail, sys.stdin)
        if self.out is not None:
            others = frozenset(file_id(path) for path in (gt, edges) if path is not None)
            spare_inputs("--out", self.out, files_of(self.items) | others)
            if is_device(self.out):
                raise UsageError(f"--out {self.out} is no file; --out - writes to stdout")
        # One picture gets all threads; of several, each gets one.
        self.parallel = workers if len(self.items) > 1 else 1
        self.propose = make(1 if self.parallel > 1 else workers)
        self.settings = {
            "command": "proposals",
            **settings,
            **_file_settings(edges),
            "draw": str(draw) if draw else None,
        }
        cv2.setNumThreads(1)

    def run(self) -> ExitStatus:
        if self.out is None:
            for record in self._records(self.items):
                if self.cover is not None:
                    self.cover.add(record)
                if self.short and "error" not in record:
                    print(f"{record['file']}  {len(record['boxes'])} boxes", flush=True)
                elif not self.short:
                    sys.stdout.buffer.write(jsonl_line(record))
                    sys.stdout.buffer.flush()
        else:
            self._to_path(self.out)
        if self.cover is not None:
            self.cover.show(sys.stdout if self.out is not None or self.short else sys.stderr)
        return ExitStatus.SOME_INPUTS_FAILED if self.failures else ExitStatus.OK

    def _to_path(self, out: Path) -> None:
        """Lines are kept in a journal until all are there; an interrupt leaves it, and the lines so far in `out`."""
        journal = Journal(out.with_name(f"{out.name}.partial.jsonl"), self.settings, self.resume)
        hint_on_interrupt(f"the lines so far are in {out}; --resume goes on from there")
        try:
            if self.resume:
                logger.info("%d of %d inputs were done already", journal.resumed, len(self.items))
            try:
                for record in self._records([item for item in self.items if not journal.done(item)]):
                    journal.add(record, True)
            except KeyboardInterrupt:
                self._write(out, journal)
                raise
            self._write(out, journal, self.cover)
        except OutputError as error:
            raise OutputError(f"{error}; what is done is in {journal.path}, --resume goes on from there") from error
        finally:
            journal.close()
        journal.remove()

    def _write(self, out: Path, journal: Journal, cover: _Cover | None = None) -> None:
        with write_atomically(out) as file:
            for record in journal.records(self.items):
                if cover is not None:
                    cover.add(record)
                file.write(jsonl_line(record))

    def _records(self, items: Sequence[Item]) -> Iterator[Record]:
        """The line of every picture, in their order, once it is drawn."""
        shown = not self.quiet and len(items) > 1 and not self.short
        with progress(len(items), "pictures", shown=shown) as bar, ThreadPoolExecutor(self.parallel) as pool:
            under_way: deque[tuple[Item, Future[Proposals]]] = deque()
            waiting = iter(items)
            try:
                while True:
                    while len(under_way) < self.parallel + 2 and (item := next(waiting, None)) is not None:
                        under_way.append((item, pool.submit(self._one, item)))
                    if not under_way:
                        break
                    item, future = under_way.popleft()
                    try:
                        record = orjson.loads(proposals_line(item.name, future.result()))
                    except InputError as error:
                        why = str(error).removeprefix(f"{item.path}: ")
                        self._fail(str(item.path), why)
                        record = {"file": item.name, "error": why}
                    bar.advance()
                    self.pictures += 1
                    yield record
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _one(self, item: Item) -> Proposals:
        if item.video:
            raise InputError("is a video; proposals are for pictures")
        image = read_image(item.path)
        found = self.propose(image)
        if self.draw is not None:
            name = PurePosixPath(item.name)
            target = self.draw / name.with_suffix(name.suffix if name.suffix.lower() in WRITABLE else ".png")
            if item.path.resolve() == target.resolve():
                raise UsageError(f"--draw would overwrite the source {item.path}; name another folder")
            objects = self.cover.objects(item.name) if self.cover is not None else None
            picture = draw_best(image, found, self.draw_best) if objects is None else draw_cover(image, found, objects)
            write_bytes(target, encode_image(picture, target.suffix))
        return found

    def _fail(self, name: str, why: str) -> None:
        self.failures += 1
        say(f"{name}: {why}")


class _Cover:
    """How well the proposals of all pictures cover the objects of an annotation file."""

    def __init__(self, path: Path, most: int) -> None:
        from detkit.annotations import read_ground_truth
        from detkit.annotations.alignment import ImageMatcher

        self.path = path
        self._truth = read_ground_truth(path)
        self._rows = self._truth.rows_by_image()
        self._matcher = ImageMatcher(self._truth.images)
        self._counted = ~(self._truth.crowd | self._truth.ignore | self._truth.difficult)
        self.counts = [*(count for count in COUNTS if count < most), most]
        self._best: list[Any] = [np.zeros((0, len(self.counts)))]
        self._classes: list[Any] = [np.zeros(0, np.int64)]
        self._unknown = 0

    def _of(self, file: str) -> Any:
        """The rows of a picture's objects, None for a picture that the annotations do not hold."""
        image = self._matcher.by_file(file)
        if image < 0:
            return None
        rows = self._rows[image]
        return rows[self._counted[rows]]

    def objects(self, file: str) -> Any:
        """Boxes (G, 4) xyxy of a picture, None for a picture that the annotations do not hold."""
        rows = self._of(file)
        if rows is None:
            return None
        boxes = self._truth.boxes[rows]
        return np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1)

    def add(self, record: Record) -> None:
        if "error" in record:
            return
        objects = self.objects(record["file"])
        if objects is None:
            self._unknown += 1
            return
        boxes = np.array(record["boxes"], np.float64).reshape(-1, 4)
        self._best.append(best_overlaps(boxes, objects, self.counts))
        self._classes.append(self._truth.class_index[self._of(record["file"])])

    def show(self, stream: Any) -> None:
        if self._unknown:
            logger.warning("%d pictures are not in %s and do not count in the figures", self._unknown, self.path)
        best, classes = np.concatenate(self._best), np.concatenate(self._classes)
        if len(best) == 0:
            logger.warning("%s has no objects in these pictures: there are no figures", self.path)
            return
        print(f"{len(best)} objects in {len(self._best) - 1} pictures", file=stream)
        print("proposals  recall at 0.5  at 0.7  average recall     ABO    MABO", file=stream)
        figures = zip(
            self.counts, recall(best, 0.5), recall(best, 0.7), average_recall(best), average_best_overlap(best),
            mean_average_best_overlap(best, classes), strict=True,
        )  # fmt: skip
        for count, half, more, average, abo, mabo in figures:
            print(f"{count:9d}  {half:13.4f}  {more:6.4f}  {average:14.4f}  {abo:6.4f}  {mabo:6.4f}", file=stream)
        over = zip(OVERLAPS, recall_over_overlap(best)[:, -1], strict=True)
        print(f"recall over overlap, first {self.counts[-1]} proposals:", file=stream)
        print("  " + "  ".join(f"{overlap:.2f}: {value:.4f}" for overlap, value in over), file=stream)


def _file_settings(edges: Path | None) -> dict[str, Any]:
    """The hash of the file with the edge detector: the same name may stand for another file tomorrow."""
    if edges is None:
        return {}
    try:
        return {"edges": hashlib.sha256(edges.read_bytes()).hexdigest()}
    except OSError as error:
        raise ModelError(f"{edges}: cannot be read: {reason(error)}") from error
