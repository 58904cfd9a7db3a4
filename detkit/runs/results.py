"""Results of a batch on their way to files: records, the journal that an interrupted run leaves, and the formats.

A record is what JSON Lines holds of a picture or a video frame. Everything else is made from records, so a run that
was interrupted and taken up again writes what it would have written without that.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, get_args

import numpy as np
import orjson

from detkit.detections import Detections
from detkit.errors import OutputError, UsageError
from detkit.files import reason, write_bytes
from detkit.runs.batch import Result
from detkit.runs.sources import Item

Format = Literal["table", "jsonl", "coco", "yolo", "voc", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)
FOLDER_FORMATS = ("yolo", "voc")
Record = dict[str, Any]

_BY_ENDING: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "coco", ".csv": "csv", ".txt": "table"}
_JOURNAL_VERSION = 1


def format_of(out: Path) -> Format:
    """The format that the ending of an output path names. UsageError where it names none."""
    try:
        return _BY_ENDING[out.suffix.lower()]
    except KeyError:
        raise UsageError(f"the ending of {out} names no format: add --format ({', '.join(FORMATS)})") from None


def to_record(result: Result) -> Record:
    """A result as JSON Lines holds it. Numbers are the shortest that read back as the same float32."""
    record: Record = {"file": result.item.name}
    if result.frame is not None:
        record |= {"frame": result.frame, "time": result.time}
    if result.detections is None:
        return record | {"error": result.error}
    record |= {"width": result.width, "height": result.height}
    return record | {"detections": detection_dicts(result.detections)}


def detection_dicts(detections: Detections) -> list[dict[str, Any]]:
    """One dictionary a box: box (x1, y1, x2, y2 in pixels), score, class, class_id."""
    # orjson writes the shortest digits of a float32; Python's own float() would write those of the double.
    boxes = orjson.loads(orjson.dumps(np.ascontiguousarray(detections.boxes), option=orjson.OPT_SERIALIZE_NUMPY))
    scores = orjson.loads(orjson.dumps(np.ascontiguousarray(detections.scores), option=orjson.OPT_SERIALIZE_NUMPY))
    return [
        {"box": box, "score": score, "class": name, "class_id": class_id}
        for box, score, name, class_id in zip(
            boxes, scores, detections.class_names, detections.class_ids.tolist(), strict=True
        )
    ]


def record_key(record: Record) -> str:
    """What tells records of a run apart: the file, and the frame of a video."""
    return record["file"] if "frame" not in record else f"{record['file']}#{record['frame']}"


class Journal:
    """The records of a run, appended as they come, in a file beside the output until the run is complete.

    Its first line is a header with the settings that the results depend on. A line that a killed process left
    incomplete is cut off when the journal is opened again. Records with errors are not kept over a resume, so that
    a file that has been repaired meanwhile is read.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], resume: bool) -> None:
        self.path = path
        self._settings = {"detkit": _JOURNAL_VERSION, **settings}
        self._places: dict[str, int] = {}  # record key -> offset of its line
        self._complete: set[str] = set()  # items all of whose records are there
        self._end = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if resume and path.exists():
                self._read()
            self._file: IO[bytes] = open(path, "r+b" if self._end else "wb")  # noqa: SIM115 - closed by close()
            if self._end:
                self._file.seek(self._end)
                self._file.truncate()
            else:
                self._append(self._settings)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {reason(error)}") from error
        self.resumed = len(self._complete)

    def done(self, item: Item) -> bool:
        """Whether all of an item's records are there."""
        return item.name in self._complete

    def frames_done(self, item: Item) -> int:
        """How many frames of a video are there."""
        count = 0
        while f"{item.name}#{count}" in self._places:
            count += 1
        return count

    def add(self, record: Record, last: bool) -> None:
        """Append a record; `last` closes its item. OutputError on a full disk; what is there stays readable."""
        try:
            self._places[record_key(record)] = self._append({**record, "last": last})
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {reason(error)}") from error
        if last:
            self._complete.add(record["file"])

    def records(self, items: Iterable[Item]) -> Iterator[Record]:
        """All records, in the order of the items and of the frames of each."""
        self._file.flush()
        with open(self.path, "rb") as file:
            for item in items:
                keys = [item.name] if item.name in self._places else self._frame_keys(item)
                for key in keys:
                    file.seek(self._places[key])
                    record = orjson.loads(file.readline())
                    del record["last"]
                    yield record

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()

    def remove(self) -> None:
        """Delete the journal: the output is complete."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _frame_keys(self, item: Item) -> Iterator[str]:
        return (f"{item.name}#{frame}" for frame in range(self.frames_done(item)))

    def _append(self, line: Mapping[str, Any]) -> int:
        place = self._file.tell()
        self._file.write(orjson.dumps(line) + b"\n")
        self._file.flush()  # a killed process loses nothing that was flushed
        return place

    def _read(self) -> None:
        with open(self.path, "rb") as file:
            try:
                header = orjson.loads(file.readline())
            except orjson.JSONDecodeError:
                return  # killed before the first line was complete
            if header != self._settings:
                changed = [
                    f"{key} was {header.get(key)!r} and is {self._settings.get(key)!r}"
                    for key in sorted(header.keys() | self._settings.keys())
                    if header.get(key) != self._settings.get(key)
                ]
                raise UsageError(
                    f"--resume: {self.path} is from a run with other settings: {'; '.join(changed)}. "
                    "Run with the same, or without --resume to begin again"
                )
            self._end = place = file.tell()
            for line in file:
                try:
                    record = orjson.loads(line) if line.endswith(b"\n") else None
                except orjson.JSONDecodeError:
                    record = None
                if record is None:
                    break
                if "error" not in record:
                    self._places[record_key(record)] = place
                    if record["last"]:
                        self._complete.add(record["file"])
                place += len(line)
                self._end = place


def journal_path(out: Path, kind: Format) -> Path:
    """Where the journal of an output lies: beside a file, inside a folder."""
    return out / ".detkit.partial.jsonl" if kind in FOLDER_FORMATS else out.with_name(f"{out.name}.partial.jsonl")


def jsonl_line(record: Record) -> bytes:
    return orjson.dumps(record) + b"\n"


@dataclass(frozen=True)
class CocoIds:
    """How a COCO results list calls pictures and classes.

    image_id     of a record key; None leaves the picture out
    category_id  of a class id; None leaves the box out
    """

    image_id: Callable[[str], int | str | None]
    category_id: Callable[[int], int | str | None]


class RunningNumbers(dict[str, int]):
    """Numbers from 1 for keys in the order in which they are first asked for."""

    def __missing__(self, key: str) -> int:
        self[key] = len(self) + 1
        return self[key]


def coco_category_id(names: Sequence[str]) -> Callable[[int], int]:
    """Class id -> category id: COCO's own for COCO's 80 names, else from 1."""
    from detkit.classes import CATEGORY_IDS, COCO_NAMES

    if tuple(names) == COCO_NAMES:
        return lambda class_id: CATEGORY_IDS[class_id]
    return lambda class_id: class_id + 1


def numbered_stems(items: Sequence[Item]) -> dict[str, int] | None:
    """Name -> the number in its stem, where every stem is a number, no two the same, and none is a video."""
    stems = {item.name: PurePosixPath(item.name).stem for item in items}
    if any(item.video for item in items) or not all(stem.isascii() and stem.isdecimal() for stem in stems.values()):
        return None
    numbers = {name: int(stem) for name, stem in stems.items()}
    return numbers if len(set(numbers.values())) == len(numbers) else None


def write_jsonl(file: IO[bytes], records: Iterable[Record]) -> None:
    """A line a record, each readable as soon as it is there."""
    for record in records:
        file.write(jsonl_line(record))
        file.flush()


def write_csv(file: IO[bytes], records: Iterable[Record]) -> None:
    """A header, then a line a box; a picture without boxes has none, and is named by JSON Lines only."""
    from detkit.annotations.formats.csv_table import CSV_HEADER, csv_writer

    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv_writer(text)
    writer.writerow(CSV_HEADER)
    for record in records:
        for found in record.get("detections", ()):
            place = (record_key(record), record["width"], record["height"])
            writer.writerow((*place, *found["box"], found["score"], found["class"], found["class_id"]))
    text.detach()


def write_coco(file: IO[bytes], records: Iterable[Record], ids: CocoIds) -> None:
    """The results list that pycocotools' `loadRes` takes, a line a box."""
    file.write(b"[")
    separator = b"\n"
    for record in records:
        image_id = ids.image_id(record_key(record))
        for found in record.get("detections", ()) if image_id is not None else ():
            category_id = ids.category_id(found["class_id"])
            if category_id is None:
                continue
            x1, y1, x2, y2 = found["box"]
            entry = {
                "image_id": image_id,
                "category_id": category_id,
                "bbox": [x1, y1, round(x2 - x1, 6), round(y2 - y1, 6)],  # beyond the digits of a float32
                "score": found["score"],
            }
            file.write(separator + orjson.dumps(entry))
            separator = b",\n"
    file.write(b"\n]\n")


def image_table(numbers: Mapping[str, int], names: Sequence[str]) -> bytes:
    """The table beside a COCO results list whose image ids are running numbers, in the shape of COCO's own tables."""
    images = [{"id": number, "file_name": key} for key, number in numbers.items()]
    category_id = coco_category_id(names)
    categories = [{"id": category_id(class_id), "name": name} for class_id, name in enumerate(names)]
    return orjson.dumps({"images": images, "categories": categories}, option=orjson.OPT_INDENT_2) + b"\n"


def record_file(record: Record, suffix: str, doubled: frozenset[str]) -> PurePosixPath:
    """The file of a record in a folder format: the picture's path with another ending.

    Pictures that differ only in their ending keep it (`a.jpg.txt`, `a.png.txt`); `doubled` holds their paths
    without it. So do those that would be taken for something else beside the labels (`classes.jpg.txt`). The frames
    of a video are files in a folder of its name.
    """
    from detkit.annotations.formats.yolo_txt import OTHER_TEXTS

    path = PurePosixPath(record["file"])
    if "frame" in record:
        return path / f"{record['frame']:06d}{suffix}"
    if path.with_suffix(suffix).name.lower() in OTHER_TEXTS:
        return path.with_name(path.name + suffix)
    return with_ending(path, suffix, doubled)


def with_ending(path: PurePosixPath, suffix: str, doubled: frozenset[str]) -> PurePosixPath:
    """A picture's path with another ending, behind its own (`a.gif.png`) where another picture has the same stem."""
    if path.suffix == suffix:
        return path
    stem = stem_of(path, doubled)
    return stem.with_name(stem.name + suffix)


def stem_of(path: PurePosixPath, doubled: frozenset[str]) -> PurePosixPath:
    """A picture's path without ending, or with it where another picture has the same stem."""
    stem = path.with_suffix("")
    return path if stem.as_posix() in doubled else stem


def doubled_stems(items: Iterable[Item]) -> frozenset[str]:
    """The paths without ending that more than one picture has."""
    counts = Counter(PurePosixPath(item.name).with_suffix("").as_posix() for item in items)
    return frozenset(stem for stem, count in counts.items() if count > 1)


def yolo_text(record: Record) -> bytes:
    """ultralytics' txt lines: class, centre x, centre y, width, height as shares of the picture, confidence."""
    from detkit.annotations.formats.yolo_txt import yolo_lines

    found = record["detections"]
    boxes = np.array([box["box"] for box in found], np.float64).reshape(-1, 4)
    class_ids = np.array([box["class_id"] for box in found], np.int64)
    scores = np.array([box["score"] for box in found], np.float64)
    return yolo_lines(boxes, class_ids, record["width"], record["height"], scores).encode()


def voc_text(record: Record) -> bytes:
    """Pascal VOC XML with the score of each object."""
    from detkit.annotations.formats.voc_xml import voc_xml

    found = record["detections"]
    return voc_xml(
        record["file"],
        record["width"],
        record["height"],
        [box["class"] for box in found],
        np.array([box["box"] for box in found], np.float64).reshape(-1, 4),
        scores=[box["score"] for box in found],
    )


FOLDER_WRITERS: dict[str, tuple[str, Callable[[Record], bytes]]] = {
    "yolo": (".txt", yolo_text),
    "voc": (".xml", voc_text),
}


def write_in_folder(folder: Path, kind: Format, record: Record, doubled: frozenset[str]) -> None:
    """The file of a record in a folder format; a picture that could not be read gets none."""
    if "error" in record:
        return
    suffix, content = FOLDER_WRITERS[kind]
    write_bytes(folder / record_file(record, suffix, doubled), content(record))


def write_class_names(folder: Path, names: Sequence[str]) -> None:
    """`classes.txt`, a name a line: what YOLO's txt files number their classes by."""
    if names:
        write_bytes(folder / "classes.txt", "".join(f"{name}\n" for name in names).encode())
