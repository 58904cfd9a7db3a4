"""The formats that a run's records are written in: one table, a row each.

A format is one file for all records, or one file a picture in a folder. A new one is a row of `WRITERS`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import orjson

from detkit.classes import COCO_NAMES, coco_ids
from detkit.errors import UsageError
from detkit.files import as_text, write_atomically, write_bytes
from detkit.remote import Place
from detkit.runs.count_table import counts_table, counts_workbook
from detkit.runs.long_lists import Item
from detkit.runs.record import SHAPES, Record, jsonl_line, one_line, record_key
from detkit.runs.yolo_results import data_yaml, keypoints_in, yolo_text


@dataclass(frozen=True)
class CocoIds:
    """How a COCO results list calls pictures and classes.

    image_id     of a record key; None leaves the picture out
    category_id  of a class id; None leaves the box out
    """

    image_id: Callable[[str], int | str | None]
    category_id: Callable[[int], int | str | None]


@dataclass(frozen=True)
class Whole:
    """What a writer may know of the run beside its records.

    names   the class names of the detector
    items   all items
    ids     where other ids than the usual ones are wanted
    wanted  the classes that were asked for by name, none where all are
    numbered  whether the stems of all items are numbers, where that is known already
    keypoints   how many the detections have, where that was counted
    """

    names: Sequence[str]
    items: Iterable[Item] = ()
    ids: CocoIds | None = None
    wanted: Sequence[str] = ()
    numbered: bool | None = None
    keypoints: int = 0


# A file beside the output: what is added to the output's name (or, in a folder, the name), and its content.
Beside = Iterator[tuple[str, bytes]]


@dataclass(frozen=True)
class Writer:
    """A format of results.

    name     as in `--format`
    endings  of output files that mean it
    write    writes all records into a file; gives what belongs beside it, once they are through
    ending, content   where it is one file a picture: the file's ending, and its bytes from a record; None where it is
                      made of more than the record (`Output.files`)
    beside   what else such a folder gets
    lacks    what it does not write of detections: keys of records
    """

    name: str
    endings: tuple[str, ...] = ()
    write: Callable[[IO[bytes], Iterable[Record], Whole], Beside] | None = None
    ending: str = ""
    content: Callable[[Record], bytes] | None = None
    beside: Callable[[Whole], Beside] = lambda whole: iter(())
    lacks: tuple[str, ...] = ()

    @property
    def folder(self) -> bool:
        """Whether it is one file a picture."""
        return self.write is None

    def write_all(self, out: Place, records: Iterable[Record], whole: Whole) -> None:
        """The output of a run that is through: the file of all records, or what belongs beside a file for each."""
        if self.write is None:
            most = max(map(keypoints_in, records), default=0)
            for name, content in self.beside(replace(whole, keypoints=most)):
                write_bytes(out / name, content)
            return
        with write_atomically(out) as file:
            beside = list(self.write(file, records, whole))
        for ending, content in beside:
            write_bytes(out.with_name(out.name + ending), content)


def writer_named(name: str) -> Writer:
    """The row of a format. UsageError lists the names where there is none."""
    try:
        return WRITERS[name]
    except KeyError:
        raise UsageError(f"there is no format {name!r}; there are {', '.join(WRITERS)}") from None


def writer_of(out: Place) -> Writer:
    """The format that the ending of an output path names. UsageError where it names none."""
    for writer in WRITERS.values():
        if out.suffix.lower() in writer.endings:
            return writer
    raise UsageError(f"the ending of {out} names no format: add --format ({', '.join(WRITERS)})")


class RunningNumbers(dict[str, int]):
    """Numbers from 1 for keys in the order in which they are first asked for."""

    def __missing__(self, key: str) -> int:
        self[key] = len(self) + 1
        return self[key]


def coco_category_id(names: Sequence[str]) -> Callable[[int], int]:
    """Class id -> category id: COCO's own for COCO's 80 names in any order, else from 1."""
    ids = coco_ids(names) if len(names) == len(COCO_NAMES) else None
    return ids.__getitem__ if ids else lambda class_id: class_id + 1


def has_numbered_stems(items: Iterable[Item]) -> bool:
    """Whether every stem is a number, no two the same, and none is a video's: then these are the images' ids."""
    numbers = array("q")
    for item in items:
        stem = PurePosixPath(item.name).stem
        if item.video or not (stem.isascii() and stem.isdecimal()) or int(stem) >= 1 << 63:
            return False
        numbers.append(int(stem))
    every = np.sort(np.frombuffer(numbers, np.int64)) if numbers else np.zeros(0, np.int64)
    return bool((every[1:] != every[:-1]).all())


def number_in_stem(key: str) -> int:
    """The number that a file is called by."""
    return int(PurePosixPath(key).stem)


def write_jsonl(file: IO[bytes], records: Iterable[Record], whole: Whole) -> Beside:
    """A line a record, each readable as soon as it is there."""
    for record in records:
        file.write(jsonl_line(record))
        file.flush()
    yield from ()


def write_csv(file: IO[bytes], records: Iterable[Record], whole: Whole) -> Beside:
    """A header, then a line a box; a picture without boxes has none, and is named by JSON Lines only."""
    from detkit.annotations.formats.csv_table import CSV_HEADER, csv_writer

    with as_text(file) as text:
        writer = csv_writer(text)
        writer.writerow(CSV_HEADER)
        for record in records:
            for found in record.get("detections", ()):
                place = (record_key(record), record["width"], record["height"])
                writer.writerow((*place, *found["box"], found["score"], found["class"], found["class_id"]))
    yield from ()


def write_counts(file: IO[bytes], records: Iterable[Record], whole: Whole) -> Beside:
    """A line a record with how many of each class it has; see `count_table.counts_table`."""
    file.write(counts_table(records, whole.names, whole.wanted))
    yield from ()


def write_workbook(file: IO[bytes], records: Iterable[Record], whole: Whole) -> Beside:
    """The table of `write_counts` as a workbook; see `count_table.counts_workbook`."""
    file.write(counts_workbook(records, whole.names, whole.wanted))
    yield from ()


def write_coco(file: IO[bytes], records: Iterable[Record], whole: Whole) -> Beside:
    """The results list that pycocotools' `loadRes` takes, a line a box, with the file's name beside its number.

    A mask is its `segmentation` (RLE, or the rings that were made of it), a turned box the ring of its corners; key
    points are flat.

    Pictures are numbered by their stems where all are numbers, else from 1; a table of these running numbers, in the
    shape of COCO's own, then belongs beside the list.
    """
    ids, numbers = whole.ids, RunningNumbers()
    if ids is None:
        numbered = has_numbered_stems(whole.items) if whole.numbered is None else whole.numbered
        number = number_in_stem if numbered else numbers.__getitem__
        ids = CocoIds(number, coco_category_id(whole.names))
    file.write(b"[")
    separator = b"\n"
    for record in records:
        key = record_key(record)
        image_id = ids.image_id(key)
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
                "file_name": key,
            }
            if "mask" in found:
                entry["segmentation"] = found["mask"]
            if "segmentation" in found:
                entry["segmentation"] = found["segmentation"]
            if "keypoints" in found:
                entry["keypoints"] = [number for point in found["keypoints"] for number in point]
            if "corners" in found:  # as DOTA's files in COCO's format have it
                entry["segmentation"] = [[number for corner in found["corners"] for number in corner]]
            file.write(separator + orjson.dumps(entry))
            separator = b",\n"
    file.write(b"\n]\n")
    if numbers:
        yield ".images.json", image_table(numbers, whole.names)


def image_table(numbers: Mapping[str, int], names: Sequence[str]) -> bytes:
    """The table beside a COCO results list whose image ids are running numbers, in the shape of COCO's own tables."""
    images = [{"id": number, "file_name": key} for key, number in numbers.items()]
    category_id = coco_category_id(names)
    categories = [{"id": category_id(class_id), "name": name} for class_id, name in enumerate(names)]
    return orjson.dumps({"images": images, "categories": categories}, option=orjson.OPT_INDENT_2) + b"\n"


def write_table(file: IO[bytes], records: Iterable[Record], whole: Whole) -> Beside:
    """A line a record, for people."""
    for record in records:
        file.write(f"{one_line(record)}\n".encode())
    yield from ()


def yolo_classes(whole: Whole) -> Beside:
    """`classes.txt`, a name a line, which YOLO's txt files number their classes by; with key points `data.yaml`."""
    if whole.keypoints:
        yield "data.yaml", data_yaml(whole.names, whole.keypoints)
    elif whole.names:
        yield "classes.txt", "".join(f"{name}\n" for name in whole.names).encode()


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


WRITERS: dict[str, Writer] = {
    writer.name: writer
    for writer in (
        Writer("table", (".txt",), write_table),
        Writer("jsonl", (".jsonl", ".ndjson"), write_jsonl),
        Writer("coco", (".json",), write_coco),
        Writer("yolo", ending=".txt", content=yolo_text, beside=yolo_classes),
        Writer("voc", ending=".xml", content=voc_text, lacks=tuple(SHAPES)),
        Writer("csv", (".csv",), write_csv, lacks=tuple(SHAPES)),
        Writer("counts", write=write_counts),
        Writer("xlsx", (".xlsx",), write_workbook),
    )
}
JSON_LINES = WRITERS["jsonl"]


def ids_of(annotations: Path, names: Sequence[str], complain: Callable[[str], Any]) -> CocoIds:
    """Image and category ids from an annotation file: pictures as `alignment.ImageMatcher` finds them; classes by name.

    What the file does not have is left out, and told to `complain` once. UsageError where a picture may be several.
    """
    from detkit.annotations import read_ground_truth
    from detkit.annotations.alignment import AMBIGUOUS, ImageMatcher
    from detkit.classes import class_name, classes_called

    truth = read_ground_truth(annotations)
    matcher = ImageMatcher(truth.images)
    missing: set[str] = set()

    def complain_once(what: str) -> None:
        if what not in missing:
            missing.add(what)
            complain(f"{what} is not in {annotations} and is left out")

    def image_id(key: str) -> int | str | None:
        row = matcher.by_file(key)
        if row == AMBIGUOUS:
            raise UsageError(f"{annotations}: {key} may be several of its pictures; keep the subfolders in the names")
        if row < 0:
            complain_once(f"picture {key}")
            return None
        return truth.images.ids[row]

    def category_id(class_id: int) -> int | str | None:
        name = class_name(names, class_id)
        found = classes_called(name, truth.categories.names)
        if not found:
            complain_once(f"class {name!r}")
            return None
        return truth.categories.ids[found[0]]

    return CocoIds(image_id, category_id)
