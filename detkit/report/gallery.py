"""The page of results: every picture, small, with its boxes, to be filtered, sorted and gone through by keys.

Pictures and records are kept on disk as they come and put together at the end, so that memory does not grow with them.
The page is one file. It holds, in this order: what it says of itself, the records in parts (columns of numbers), the
script, and the small pictures in parts; so it can be used before its pictures are read, and it draws only what is in
view. Where a picture still lies where it was, the page shows that one when it is looked at closely.
"""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import cv2
import numpy as np
import orjson

from detkit import __version__
from detkit.drawing import PERSON_BONES, color_of
from detkit.errors import OutputError
from detkit.files import reason, write_atomically
from detkit.images import Image
from detkit.report.document import Fact, asset, embedded, facts, opening, page_bytes
from detkit.report.thumbnails import Thumbnails
from detkit.shapes.masks import Masks
from detkit.shapes.outlines import outline

_PICTURES_A_PART = 500  # records of one <script> element ...
_BOXES_A_PART = 50_000  # ... or boxes
_THUMBNAILS_A_PART = 64
_FINE = 400  # a mask's outline is straightened by this part of the picture's longer side
# Where the pictures themselves lie: beside the page, on a disk or on the server that it comes from.
_SOURCES = "data: file: 'self'"

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Panel:
    """One set of results on a page, of one detector: its name, and what to know of it."""

    name: str
    about: str = ""


@dataclass(frozen=True)
class About:
    """What a page says of itself.

    title   its heading
    facts   date, model, settings ...
    table   rows of a table beneath them, the first one its heads; none leaves it out
    note    a sentence beneath the table
    score   the score from which boxes are shown at first
    scale   the colours of heat maps, from score 0 over 0.25 in the middle to 1
    """

    title: str
    facts: list[Fact]
    table: Sequence[Sequence[str]] = ()
    note: str = ""
    score: float = 0.0
    scale: Sequence[str] = ()


@dataclass
class _Part:
    """Columns of some records, as the page's script takes them."""

    files: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)  # width, height of each
    times: dict[int, float] = field(default_factory=dict)
    frames: dict[int, int] = field(default_factory=dict)
    addresses: dict[int, str] = field(default_factory=dict)
    ranks: list[float] = field(default_factory=list)
    panels: list[dict[str, Any]] = field(default_factory=list)

    @property
    def boxes(self) -> int:
        return sum(len(panel["c"]) for panel in self.panels)


class Gallery:
    """A page in the making: `see` its pictures, `add` its records in order, `write` it.

    target   the page's file; what is kept meanwhile lies beside it
    panels   the sets of results that each picture has; one for the page of a run
    side     pixels of the longer side of the small pictures
    where    the file of a picture by its name, None where it has none of its own (a frame of a video)
    resume   go on with the small pictures that an interrupted run left
    """

    def __init__(
        self,
        target: Path,
        panels: Sequence[Panel],
        side: int,
        where: Callable[[str], Path | None] = lambda name: None,
        resume: bool = False,
    ) -> None:
        self.target, self.panels = target, panels
        self._where = where
        self._folder = Path(os.path.realpath(target)).parent
        self.thumbnails = Thumbnails(target.with_name(f"{target.name}.partial"), side, resume)
        self._keys: IO[bytes] = _beside(self._folder)  # of the pictures, in their order
        self._records: IO[bytes] = _beside(self._folder)  # of parts, each one an element
        self._classes: dict[str, int] = {}
        self._colours: list[str] = []
        self._base: str | None = None
        self._part = self._new_part()

    def see(self, key: str, image: Image) -> None:
        """Keep a picture, uint8 (H, W, 3) RGB, small. May be called from several threads, in any order."""
        self.thumbnails.add(key, image)

    def add(self, key: str, records: Sequence[Record], rank: float = 0.0) -> None:
        """Add a picture by the records of its panels, as JSON Lines hold them.

        A record may also have `seconds`, what finding its boxes took; `proposals`, boxes (N, 4) xyxy that were looked
        at, and `proposed`, how many there were; `marks`, a text of what is right and wrong.

        rank   by which pictures can be sorted beside their names and boxes, the largest first
        """
        part, first = self._part, records[0]
        place = len(part.files)
        part.files.append(first["file"])
        known = next((one for one in records if "width" in one), {})
        part.sizes += [known.get("width", 0), known.get("height", 0)]
        part.ranks.append(rank)
        if "frame" in first:
            part.frames[place], part.times[place] = first["frame"], first["time"]
        else:
            self._address(first["file"], place)
        for columns, record in zip(part.panels, records, strict=True):
            self._add_record(columns, record, place)
        self._keep(self._keys, embedded(key) + b"\n")
        if len(part.files) >= _PICTURES_A_PART or part.boxes >= _BOXES_A_PART:
            self._end_part()

    def write(self, about: About, heat: Mapping[int, Thumbnails] | None = None) -> None:
        """Write the page: under another name first, so that there is a whole one or none.

        heat   by the number of a panel, pictures of its heat maps by the keys of the pictures
        """
        self._end_part()
        series = {"s": self.thumbnails, **{f"h{panel}-": maps for panel, maps in (heat or {}).items()}}
        with write_atomically(self.target) as file:
            style = asset("page.css") + asset("gallery.css")
            file.write(page_bytes(opening(about.title, style, _SOURCES)))
            file.write(page_bytes(asset("gallery.html").replace("@version", __version__)))
            file.write(page_bytes(f'<template id="about">{facts(about.facts)}</template>'))
            meta = {
                "title": about.title,
                "table": about.table,
                "note": about.note,
                "score": about.score,
                "scale": about.scale,
                "heats": list(heat or ()),
                "panels": [{"name": one.name, "about": one.about} for one in self.panels],
                "classes": list(self._classes),
                "colours": self._colours,
                "base": self._base or "",
                "side": self.thumbnails.side,
                "bones": PERSON_BONES,
                "part": _THUMBNAILS_A_PART,
                "mime": Thumbnails.mime,
                "left_out": self.thumbnails.left_out,
            }
            file.write(_element("meta", embedded(meta)))
            _copy(self._records, file)
            file.write(page_bytes(f"<script>{asset('gallery.js')}</script>"))
            for name, pictures in series.items():
                self._write_thumbnails(file, name, pictures)
            file.write(b"</body></html>\n")

    def close(self, *, keep: bool = False) -> None:
        """Delete what was kept beside the page; with `keep` not the small pictures, for a run that is resumed."""
        self._records.close()
        self._keys.close()
        self.thumbnails.close(remove=not keep)

    def keys(self) -> Iterable[str]:
        """The keys of the pictures, in their order."""
        self._keys.seek(0)
        for line in self._keys:
            yield orjson.loads(line)

    def _write_thumbnails(self, file: IO[bytes], name: str, pictures: Thumbnails) -> None:
        waiting: list[bytes] = []
        number = 0
        for key in self.keys():
            waiting.append(base64.b64encode(pictures.get(key) or b""))
            if len(waiting) == _THUMBNAILS_A_PART:
                file.write(_element(f"{name}{number}", b",".join(waiting), "text/plain"))
                waiting, number = [], number + 1
        if waiting:
            file.write(_element(f"{name}{number}", b",".join(waiting), "text/plain"))

    def _new_part(self) -> _Part:
        columns = ("n", "c", "s", "b", "x", "e", "sec", "p", "np", "m")
        sparse = ("x", "e", "sec", "p", "np", "m")
        return _Part(panels=[{name: {} if name in sparse else [] for name in columns} for _ in self.panels])

    def _end_part(self) -> None:
        part = self._part
        if part.files:
            columns = {"f": part.files, "wh": part.sizes, "t": _texts(part.times), "k": part.ranks}
            columns |= {"fr": _texts(part.frames), "u": _texts(part.addresses), "p": part.panels}
            self._keep(self._records, _element("", embedded(columns), "application/json", "part"))
            self._part = self._new_part()

    def _keep(self, file: IO[bytes], content: bytes) -> None:
        try:
            file.write(content)
        except OSError as error:
            raise OutputError(f"cannot write beside {self.target}: {reason(error)}") from error

    def _address(self, name: str, place: int) -> None:
        """Remember where the picture lies, seen from the page, if that is not the folder of the first and its name."""
        path = self._where(name)
        if path is None:
            return
        try:
            relative = os.fsencode(os.path.relpath(os.path.realpath(path), self._folder))
        except ValueError:  # another drive
            return
        address = "./" + quote(relative.replace(os.sep.encode(), b"/"))
        own = quote(name)
        if self._base is None and address.endswith("/" + own):
            self._base = address.removesuffix(own)
        if self._base is None or address != self._base + own:
            self._part.addresses[place] = address

    def _add_record(self, columns: dict[str, Any], record: Record, place: int) -> None:
        key = str(place)
        found = record.get("detections", ())
        width, height = record.get("width", 0), record.get("height", 0)
        digits = 1 if max(width, height) < 1000 else 0
        for name, given in (("e", "error"), ("sec", "seconds"), ("np", "proposed"), ("m", "marks")):
            if given in record:
                columns[name][key] = record[given]
        if len(record.get("proposals", ())):
            columns["p"][key] = np.round(np.asarray(record["proposals"], np.float64)).astype(int).ravel().tolist()
        columns["n"].append(len(found))
        shapes = _shapes(found, width, height, digits)
        for row, one in enumerate(found):
            name = str(one["class"])
            if name not in self._classes:
                self._classes[name] = len(self._classes)
                self._colours.append("#{:02x}{:02x}{:02x}".format(*color_of(int(one.get("class_id", 0)))))
            if row in shapes:
                columns["x"][str(len(columns["c"]))] = shapes[row]
            columns["c"].append(self._classes[name])
            columns["s"].append(round(float(one["score"]), 3))
            columns["b"] += _rounded(one["box"], digits)


def _shapes(found: Sequence[Any], width: int, height: int, digits: int) -> dict[int, dict[str, Any]]:
    """By row, what a detection has beside its box: outlines of its mask, key points, corners."""
    shapes: dict[int, dict[str, Any]] = {}
    masked = [row for row, one in enumerate(found) if "mask" in one]
    if masked:
        masks = Masks.from_coco([found[row]["mask"] for row in masked], [(height, width)] * len(masked))
        for place, row in enumerate(masked):
            own = outline(*masks.window(place))
            shapes[row] = {"m": [_straightened(ring, max(width, height), digits) for ring in (*own.parts, *own.holes)]}
    for row, one in enumerate(found):
        if "keypoints" in one:
            points = [number for x, y, seen in one["keypoints"] for number in (*_rounded((x, y), digits), seen)]
            shapes.setdefault(row, {})["k"] = points
        if "corners" in one:
            corners = [number for corner in one["corners"] for number in corner]
            shapes.setdefault(row, {})["q"] = _rounded(corners, digits)
    return shapes


def _straightened(ring: np.ndarray, side: int, digits: int) -> list[float]:
    """A ring with fewer corners, as x, y, x, y ..."""
    if len(ring) > 4:
        ring = cv2.approxPolyDP(ring.astype(np.float32)[:, None], side / _FINE, True)[:, 0].astype(np.float64)
    return _rounded(ring.ravel().tolist(), digits)


def _rounded(numbers: Iterable[float], digits: int) -> list[float]:
    return [round(float(number), digits) if digits else round(float(number)) for number in numbers]


def _texts(by_place: Mapping[int, Any]) -> dict[str, Any]:
    return {str(place): value for place, value in by_place.items()}


def _element(name: str, content: bytes, kind: str = "application/json", group: str = "") -> bytes:
    called = f' id="{name}"' if name else ""
    grouped = f' class="{group}"' if group else ""
    return f'<script type="{kind}"{called}{grouped}>'.encode() + content + b"</script>\n"


def _beside(folder: Path) -> IO[bytes]:
    """A file without a name in the page's folder, where there is room for the page itself."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {reason(error)}") from error


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    source.seek(0)
    while content := source.read(1 << 20):
        target.write(content)
