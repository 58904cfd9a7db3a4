"""The body that all detection commands share: sources in, results out, nothing lost on the way."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import IO, Any

import cv2
import typer

from detkit.cli.console import counted, hint_on_interrupt, progress, say, start_logging
from detkit.cli.options import DetectionOptions
from detkit.cores import available_cores
from detkit.detectors.base import Detector
from detkit.drawing import crops, draw
from detkit.errors import ExitStatus, InputError, OutputError, UsageError
from detkit.files import file_id, is_device, write_atomically, write_bytes
from detkit.images import Image, encode_image
from detkit.picture_names import WRITABLE
from detkit.runs.batch import Result, detect_all
from detkit.runs.results import (
    FOLDER_FORMATS,
    CocoIds,
    Format,
    Journal,
    Record,
    RunningNumbers,
    coco_category_id,
    doubled_stems,
    format_of,
    image_table,
    journal_path,
    numbered_stems,
    stem_of,
    to_record,
    with_ending,
    write_class_names,
    write_coco,
    write_csv,
    write_in_folder,
    write_jsonl,
)
from detkit.runs.sources import Item, files_of, find_items, spare_inputs

logger = logging.getLogger("detkit")


def run_detection(
    command: str, options: DetectionOptions, build: Callable[[], Detector], own: Mapping[str, Any]
) -> None:
    """Run the detector that `build` makes over the sources; `own` are the command's own options."""
    start_logging(quiet=options.quiet, verbose=options.verbose)
    if options.iou is not None and options.nms.value in ("soft", "none"):
        raise UsageError(f"--iou is not for --nms {options.nms.value}, which drops no box for its overlap")
    out = None if options.out in (None, "-") else Path(str(options.out))
    kind = _output_format(options, out)
    if options.resume and (out is None or is_device(out)):
        raise UsageError("--resume needs --out PATH, a file or folder: what is done is kept beside it")
    detector = build()
    _describe(detector)
    # Decoders and onnxruntime fill the cores; OpenCV's own threads would only compete with them.
    cv2.setNumThreads(1)

    failures = _Failures()
    items = find_items(options.sources, failures.add, sys.stdin)
    run = _Run(options, detector, items, failures, kind, out)
    run.check_outputs([value for value in own.values() if isinstance(value, str)])
    if out is None:
        run.to_stdout()
    elif is_device(out):
        run.to_device(out)
    else:
        settings = {"command": command, "format": kind, **_model_settings(detector), **_settings(options), **own}
        run.to_path(out, settings)
    run.summary()
    if failures.count:
        raise typer.Exit(int(ExitStatus.SOME_INPUTS_FAILED))


class _Failures:
    """Inputs that could not be used: each is named once, when it is met."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, name: str, why: str) -> None:
        self.count += 1
        say(f"{name}: {why}")


class _Run:
    """One run over all items: results become records, and records go where the options say."""

    def __init__(
        self,
        options: DetectionOptions,
        detector: Detector,
        items: list[Item],
        failures: _Failures,
        kind: Format,
        out: Path | None,
    ) -> None:
        self.options, self.detector, self.items, self.failures = options, detector, items, failures
        self.kind, self.out = kind, out
        self.doubled = doubled_stems(items)
        self.sources = files_of(items)
        self.found: Counter[str] = Counter()
        self.pictures = 0
        self.seconds = 0.0

    def check_outputs(self, own: Sequence[str]) -> None:
        """UsageError, before anything is written, where an output would replace an input; `own` may name some."""
        options = self.options
        if self.out is not None:
            model = _model_file(self.detector) or options.model
            lists = [source[1:] for source in options.sources if source.startswith("@")]
            others = [path for path in (model, options.gt, *lists, *own) if path is not None]
            spare_inputs("--out", self.out, self.sources | {file_id(path) for path in others})
        if options.draw is not None:
            for item in self.items:
                if not item.video:
                    self._drawn(item)

    def to_stdout(self) -> None:
        if self.kind == "table":
            self._table()
        else:
            self._write(sys.stdout.buffer, self._records(self.items))
        sys.stdout.buffer.flush()

    def to_device(self, out: Path) -> None:
        """Into a device or a pipe, which keeps nothing to go on from."""
        with write_atomically(out) as file:
            self._write(file, self._records(self.items))

    def to_path(self, out: Path, settings: Mapping[str, Any]) -> None:
        path = journal_path(out, self.kind)
        new = not path.exists()
        if not new and not self.options.resume:
            logger.warning("%s is left from an interrupted run; beginning again (--resume would go on)", path)
        journal = Journal(path, settings, self.options.resume)
        hint_on_interrupt(f"what is done is in {path}, --resume goes on from there")
        try:
            if self.options.resume and new:
                replaced = f"; {out} will be replaced" if self.kind not in FOLDER_FORMATS and out.exists() else ""
                logger.info(
                    "%s is not there, so no run was interrupted: beginning at the first input%s", path, replaced
                )
            elif self.options.resume:
                logger.info("%d of %d inputs were done already", journal.resumed, len(self.items))
            waiting = [item for item in self.items if not journal.done(item)]
            for record, last in self._run(waiting, journal.frames_done):
                if self.kind in FOLDER_FORMATS:
                    write_in_folder(out, self.kind, record, self.doubled)
                journal.add(record, last)
            self._finish(out, journal)
        except OutputError as error:
            raise OutputError(f"{error}; what is done is in {path}, --resume goes on from there") from error
        finally:
            journal.close()
        journal.remove()

    def _finish(self, out: Path, journal: Journal) -> None:
        """Write the output from the records of the journal."""
        records = journal.records(self.items)
        if self.kind in FOLDER_FORMATS:
            if self.kind == "yolo":
                write_class_names(out, self.detector.names)
            return
        with write_atomically(out) as file:
            numbers = self._write(file, records)
        if numbers is not None:
            write_bytes(out.with_name(f"{out.name}.images.json"), image_table(numbers, self.detector.names))

    def _write(self, file: IO[bytes], records: Iterator[Record]) -> RunningNumbers | None:
        """Write a format that is one file; return the running numbers of a COCO results list that has some."""
        numbers: RunningNumbers | None = None
        if self.kind == "jsonl":
            write_jsonl(file, records)
        elif self.kind == "csv":
            write_csv(file, records)
        elif self.kind == "coco":
            ids, numbers = self._coco_ids()
            write_coco(file, records, ids)
        else:
            for record in records:
                file.write(f"{_one_line(record)}\n".encode())
        return numbers

    def summary(self) -> None:
        if self.options.quiet or len(self.items) < 2:
            return
        boxes = sum(self.found.values())
        rate = f", {self.pictures / self.seconds:.1f}/s" if self.seconds and self.pictures else ""
        failed = f"; {self.failures.count} could not be read" if self.failures.count else ""
        done = f"{counted(self.pictures, 'picture')}, {counted(boxes, 'box', 'boxes')}"
        say(f"{done} in {self.seconds:.1f} s{rate}{failed}")

    def _records(self, items: Sequence[Item]) -> Iterator[Record]:
        return (record for record, _ in self._run(items, lambda item: 0))

    def _run(self, items: Sequence[Item], first_frame: Callable[[Item], int]) -> Iterator[tuple[Record, bool]]:
        """(record, whether it is its item's last) of every result, once its pictures are drawn and written."""
        options = self.options
        keep = options.draw is not None or options.crops is not None
        started = time.monotonic()
        shown = not options.quiet and len(items) > 1 and not (self.kind == "table" and sys.stdout.isatty())
        results = detect_all(
            self.detector, items, workers=options.workers, keep_images=keep, first_frame=first_frame
        )  # fmt: skip
        with progress(len(items), "pictures", shown=shown) as bar, ThreadPoolExecutor(available_cores()) as painters:
            under_way: deque[tuple[Future[None] | None, Result]] = deque()
            for result in results:
                painted = painters.submit(self._paint, result) if keep and result.detections is not None else None
                under_way.append((painted, result))
                while under_way and (len(under_way) > 2 * available_cores() or _ready(under_way[0][0])):
                    yield self._account(*under_way.popleft(), bar)
            while under_way:
                yield self._account(*under_way.popleft(), bar)
        self.seconds += time.monotonic() - started

    def _account(self, painted: Future[None] | None, result: Result, bar: Any) -> tuple[Record, bool]:
        if painted is not None:
            painted.result()
        record = to_record(result)
        if result.error is not None:
            self.failures.add(str(result.item.path), result.error)
        else:
            if result.cut_off is not None:
                self.failures.add(str(result.item.path), result.cut_off)
            self.pictures += 1
            self.found.update(box["class"] for box in record["detections"])
        if result.last:
            bar.advance()
        return record, result.last

    def _paint(self, result: Result) -> None:
        """Write the annotated picture and the cut-outs of a result."""
        if result.image is None or result.detections is None:
            return
        if self.options.draw is not None:
            _write_picture(self._drawn(result.item, result.frame), draw(result.image, result.detections))
        if self.options.crops is not None:
            name = PurePosixPath(result.item.name)
            stem = stem_of(name, self.doubled) if result.frame is None else name / f"{result.frame:06d}"
            for label, cut in crops(result.image, result.detections):
                target = self.options.crops / stem.parent / f"{stem.name}-{label}.jpg"
                spare_inputs("--crops", target, self.sources)
                _write_picture(target, cut)

    def _drawn(self, item: Item, frame: int | None = None) -> Path:
        """Where --draw writes a picture or the frame of a video. UsageError where a source is there."""
        name = PurePosixPath(item.name)
        if frame is not None:
            name = name / f"{frame:06d}.jpg"
        else:
            suffix = name.suffix.lower() if name.suffix.lower() in WRITABLE else ".png"
            name = with_ending(name, suffix, self.doubled)
        target = Path(str(self.options.draw), name)
        spare_inputs("--draw", target, self.sources)
        return target

    def _coco_ids(self) -> tuple[CocoIds, RunningNumbers | None]:
        """The ids of a COCO results list, and the table of the running numbers where there are any."""
        if self.options.gt is not None:
            return _ids_of(self.options.gt, self.detector.names), None
        category_id = coco_category_id(self.detector.names)
        numbered = numbered_stems(self.items)
        if numbered is not None:
            return CocoIds(numbered.get, category_id), None
        numbers = RunningNumbers()
        if self.out is None or is_device(self.out):
            logger.info("image_id numbers the inputs from 1, as their names are not numbers")
        return CocoIds(numbers.__getitem__, category_id), numbers

    def _table(self) -> None:
        from detkit.cli.tables import print_detections, print_totals

        single = len(self.items) == 1 and not self.items[0].video
        for record in self._records(self.items):
            if single and "error" not in record:
                print_detections(record)
            elif "error" not in record:
                print(_one_line(record), flush=True)
        if not single and self.found:
            print_totals(self.found, self.pictures)


def _output_format(options: DetectionOptions, out: Path | None) -> Format:
    kind: Format
    if options.format is not None:
        kind = options.format.value
    elif out is not None:
        kind = format_of(out)
    else:
        kind = "table" if sys.stdout.isatty() else "jsonl"
    if kind in FOLDER_FORMATS and out is None:
        raise UsageError(f"--format {kind} writes a file a picture: name their folder with --out DIR")
    if kind in FOLDER_FORMATS and out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"--format {kind} writes a file a picture, but {out} is no folder: name one")
    if kind not in FOLDER_FORMATS and out is not None and out.is_dir():
        raise UsageError(f"--format {kind} writes one file, but {out} is a folder")
    if options.gt is not None and kind != "coco":
        raise UsageError("--gt gives the ids of --format coco; another format has none")
    return kind


def _settings(options: DetectionOptions) -> dict[str, Any]:
    """The shared options that results depend on."""
    return {
        "conf": options.conf,
        "iou": options.iou,
        "max_det": options.max_det,
        "classes": options.classes,
        "nms": options.nms.value,
        "agnostic": options.agnostic,
        "draw": str(options.draw) if options.draw else None,
        "crops": str(options.crops) if options.crops else None,
    }


def _model_file(detector: Detector) -> Path | None:
    """The file that a detector comes from; that of an R-CNN names its network."""
    found: Path | None = getattr(detector, "path", None) or getattr(getattr(detector, "network", None), "path", None)
    return found


def _model_settings(detector: Detector) -> dict[str, Any]:
    """The hash of the model's file: the same name may stand for another file tomorrow."""
    import hashlib

    path = _model_file(detector)
    return {"model": hashlib.sha256(path.read_bytes()).hexdigest()} if path is not None else {}


def _describe(detector: Detector) -> None:
    network = getattr(detector, "network", None)
    if network is not None:
        logger.debug("%s on %s, %d threads", network.path, network.provider, network.threads)
    for match in getattr(detector, "matches", ()):
        logger.debug("head %s: %s", match.head, match.reason)


def _ready(future: Future[None] | None) -> bool:
    return future is None or future.done()


def _write_picture(target: Path, picture: Image) -> None:
    try:
        write_bytes(target, encode_image(picture, target.suffix))
    except InputError as error:
        raise OutputError(f"cannot write {target}: {error}") from error


def _one_line(record: Record) -> str:
    """A record as a line: file, size, and how many of each class, the most frequent first."""
    if "error" in record:
        return f"{record['file']}  {record['error']}"
    time = f" {record['time']:.2f} s" if "time" in record else ""
    counts = Counter(box["class"] for box in record["detections"]).most_common()
    found = ", ".join(f"{count} {name}" for name, count in counts) or "nothing"
    return f"{record['file']}{time}  {record['width']}x{record['height']}  {found}"


def _ids_of(annotations: Path, names: Sequence[str]) -> CocoIds:
    """Image and category ids from an annotation file: pictures by path, else file name, else stem; classes by name."""
    from detkit.annotations import read_ground_truth

    ground_truth = read_ground_truth(annotations)
    by_name: dict[str, int | str] = {}
    for own_id, file in zip(ground_truth.images.ids, ground_truth.images.files, strict=True):
        path = PurePosixPath(file or str(own_id))
        for name in (path.stem, path.name, path.as_posix()):
            by_name[name] = own_id
    categories = {
        name.casefold(): category_id
        for name, category_id in zip(ground_truth.categories.names, ground_truth.categories.ids, strict=True)
    }
    missing: set[str] = set()

    def complain_once(what: str) -> None:
        if what not in missing:
            missing.add(what)
            logger.warning("%s is not in %s and is left out", what, annotations)

    def image_id(key: str) -> int | str | None:
        path = PurePosixPath(key)
        for name in (path.as_posix(), path.name, path.stem):
            if name in by_name:
                return by_name[name]
        complain_once(f"picture {key}")
        return None

    def category_id(class_id: int) -> int | str | None:
        name = names[class_id] if class_id < len(names) else str(class_id)
        found = categories.get(name.casefold())
        if found is None:
            complain_once(f"class {name!r}")
        return found

    return CocoIds(image_id, category_id)
