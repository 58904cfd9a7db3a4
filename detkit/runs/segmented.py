"""Semantic segmentation over pictures and videos: records of how much each class covers, label maps, and regions."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from detkit.classes import Choice, chosen_classes
from detkit.detectors.semantic.segmenter import Segmenter
from detkit.errors import UsageError
from detkit.images import Image
from detkit.label_maps.overlay import overlay
from detkit.label_maps.png import encode_palette_png
from detkit.label_maps.segmented_picture import Segmentation, background_classes
from detkit.runs.batch import Result
from detkit.runs.record import Record, jsonl_line, record_key
from detkit.runs.run import Also, Made, Output
from detkit.runs.writers import Beside, Whole, Writer, writer_of

SHARES_HEADER = ("file", "width", "height", "class", "class_id", "pixels", "share")
_BOXES = ("jsonl", "coco", "csv")


@dataclass(frozen=True)
class Regions:
    """Which connected regions become detections: those of at least so many pixels."""

    min_pixels: int = 100


class Segmenting:
    """A `Segmenter` over pictures and videos.

    model    a picture -> its segmentation
    classes  those that are kept, by name or number; none: all. Other pixels have no class then
    regions  records hold connected regions as detections, too; None: they do not
    ids      label maps hold the numbers of the data set's own files in place of class numbers

    UsageError for a class that the network does not have, and for `ids` where the files have class numbers.
    """

    videos = ""
    parts: Callable[[Path], Any] | None = None

    def __init__(
        self,
        model: Segmenter,
        classes: Choice = (),
        regions: Regions | None = None,
        *,
        ids: bool = False,
    ) -> None:
        self.model, self.names, self.batch = model, model.names, model.batch
        chosen = chosen_classes(classes, model.names)
        self._kept = None if chosen is None else chosen.tolist()
        self.wanted = tuple(model.names[one] for one in self._kept or ())
        if ids and model.palette.file_ids == tuple(range(len(model.names))):
            raise UsageError(
                f"--ids: in files of the classes {model.palette.name} these have their own numbers, as without --ids; "
                "--palette cityscapes and ade20k number them otherwise"
            )
        self._regions, self.numbers_of_files = regions, ids
        background = background_classes(model.names)
        self._left_out = tuple(one for one in background if one not in (self._kept or ()))

    def prepare(self, image: Image, name: str = "") -> Any:
        """See `Segmenter.prepare`."""
        return self.model.prepare(image, name)

    def detect(self, prepared: Sequence[Any]) -> list[Segmentation]:
        """See `Segmenter.detect`."""
        found = self.model.detect(prepared)
        return found if self._kept is None else [one.only(self._kept) for one in found]

    def record(self, result: Result) -> Record:
        """Size of the picture, and of each class that is there how many pixels and which share it has."""
        found: Segmentation = result.found
        record: Record = {"width": result.width, "height": result.height, "classes": found.to_dicts()}
        if self._regions is not None:
            boxes = found.regions(min_pixels=self._regions.min_pixels, left_out=self._left_out)
            record["detections"] = boxes.to_dicts()
        return record

    def draw(self, image: Image, found: Segmentation, name: str) -> Image:
        """The classes over the picture, and their names below it."""
        return overlay(image, found)

    def crops(self, image: Image, found: Segmentation) -> Iterator[tuple[str, Image]]:
        """None: a region is no object."""
        return iter(())

    def crop_names(self, record: Record) -> Iterator[str]:
        """None."""
        return iter(())

    def label_map(self, found: Segmentation) -> bytes:
        """The palette PNG of class numbers, or of the data set's own."""
        table = found.palette.table
        if not self.numbers_of_files:
            return encode_palette_png(found.classes, table)
        numbers = found.palette.to_ids(found.classes)
        colours = np.tile(np.array(found.palette.void_colour, np.uint8), (256, 1))
        colours[list(found.palette.file_ids)] = found.palette.colours
        return encode_palette_png(numbers, colours)


def map_output(task: Segmenting, maps: Path | None, boxes: Path | None, **rest: Any) -> Output:
    """Where a segmentation's results go: label maps into a folder, regions into a file; see `Output` for the rest.

    UsageError where the ending of `boxes` names no format that holds boxes of many pictures.
    """
    regions = None if boxes is None else _boxes_writer(boxes)
    if maps is None:
        writer = regions or Writer("shares", write=_nothing)
        return MapOutput(boxes, writer.name, form=writer, **rest)
    made = Made("--out", maps, ".png", task.label_map)
    also = () if boxes is None or regions is None else (Also("--boxes", boxes, regions),)
    writer = _folder_writer(task)
    return MapOutput(maps, writer.name, files=(made,), also=also, form=writer, **rest)


@dataclass(frozen=True)
class MapOutput(Output):
    """An `Output` with a format of its own, `form`."""

    form: Writer | None = None

    def named(self, otherwise: str = "jsonl") -> MapOutput:
        """The same: its format is given."""
        return self

    def writer(self) -> Writer:
        """The format. UsageError where the path does not go with it."""
        form, path = self.form, self.path
        assert form is not None
        if path is not None and form.folder and os.path.exists(path) and not os.path.isdir(path):
            raise UsageError(f"label maps are a file a picture, but {path} is no folder: name one with --out DIR")
        if path is not None and not form.folder and os.path.isdir(path):
            raise UsageError(f"--boxes is one file, but {path} is a folder")
        if self.resume and path is None:
            raise UsageError("--resume needs --out DIR or --boxes FILE: what is done is kept beside it")
        return form


def _folder_writer(task: Segmenting) -> Writer:
    """A folder of label maps, and beside them the class names in the order of their numbers."""

    def names(whole: Whole) -> Beside:
        if not task.numbers_of_files:
            yield "classes.txt", "".join(f"{name}\n" for name in whole.names).encode()

    return Writer("maps", ending=".png", beside=names)


def _boxes_writer(path: Path) -> Writer:
    """The format of a file of regions by its ending, for records that hold shares, too."""
    writer = writer_of(path)
    if writer.name not in _BOXES or writer.write is None:
        raise UsageError(f"--boxes {path}: regions are written as .jsonl, .json (COCO results) or .csv")
    inner = writer.write

    def write(file: IO[bytes], records: Iterable[Record], whole: Whole) -> Beside:
        plain = ({key: value for key, value in record.items() if key != "classes"} for record in records)
        yield from inner(file, plain, whole)

    return replace(writer, write=write)


def _nothing(file: IO[bytes], records: Iterable[Record], whole: Whole) -> Beside:
    for _ in records:
        pass
    yield from ()


def shares_line(record: Record) -> bytes:
    """A record as a line of JSON, without the regions."""
    return jsonl_line({key: value for key, value in record.items() if key != "detections"})


def shares_rows(record: Record) -> bytes:
    """A record as rows of CSV, a row a class; see `SHARES_HEADER`."""
    return csv_rows(
        [
            (record_key(record), record["width"], record["height"], *(one[key] for key in SHARES_HEADER[3:]))
            for one in record.get("classes", ())
        ]
    )


def csv_rows(rows: Iterable[Sequence[Any]]) -> bytes:
    """Rows as comma-separated text."""
    from detkit.annotations.formats.csv_table import csv_writer

    text = io.StringIO()
    csv_writer(text).writerows(rows)
    return text.getvalue().encode()


class Totals:
    """How much each class covers of all pictures of a run, and in how many it is there."""

    def __init__(self) -> None:
        self.pixels: dict[str, int] = {}
        self.pictures: dict[str, int] = {}
        self.area = self.count = 0

    def add(self, record: Record) -> None:
        """Count a picture or a frame; one that could not be read counts nothing."""
        if "error" in record:
            return
        self.count += 1
        self.area += record["width"] * record["height"]
        for one in record["classes"]:
            self.pixels[one["class"]] = self.pixels.get(one["class"], 0) + one["pixels"]
            self.pictures[one["class"]] = self.pictures.get(one["class"], 0) + 1

    def rows(self) -> list[tuple[str, float, int]]:
        """(class, share of the area of all pictures, pictures with it), the largest first."""
        order = sorted(self.pixels, key=lambda name: -self.pixels[name])
        return [(name, self.pixels[name] / self.area, self.pictures[name]) for name in order]


def share_text(share: float) -> str:
    """A share as people read it.

    >>> share_text(0.4512), share_text(0.0004), share_text(0.0)
    ('45.1 %', '<0.1 %', '0.0 %')
    """
    return "<0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def one_share_line(record: Record, most: int = 4) -> str:
    """A record as a line for people: file, size, and the classes that cover the most."""
    time = f" {record['time']:.2f} s" if "time" in record else ""
    classes = record["classes"]
    shown = ", ".join(f"{one['class']} {share_text(one['share'])}" for one in classes[:most]) or "no class"
    more = f" and {len(classes) - most} more" if len(classes) > most else ""
    return f"{record['file']}{time}  {record['width']}x{record['height']}  {shown}{more}"
