"""`--report` of the detection commands: the page of a run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from detkit.errors import UsageError
from detkit.runs.record import Record, record_key

if TYPE_CHECKING:
    from detkit.cli.options import DetectionOptions
    from detkit.detectors.base import Detector
    from detkit.images import Image
    from detkit.remote import Place
    from detkit.report.document import Fact
    from detkit.report.gallery import Gallery
    from detkit.runs.long_lists import Item
    from detkit.runs.run import Output

_MANY = 1000  # pictures that a video may have, as long as nobody has counted them


class RunReport:
    """The page of a run in the making."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    def see(self, key: str, image: Image) -> None:
        """Keep a picture for the page."""
        self._gallery.see(key, image)

    def add(self, record: Record) -> Record:
        """Put a record on the page; gives it back."""
        self._gallery.add(record_key(record), [record])
        return record

    def write(self, title: str, facts: list[Fact], score: float) -> None:
        """Write the page."""
        from detkit.report.gallery import About

        self._gallery.write(About(title, facts, score=score))


@contextmanager
def report_of_run(
    target: Path | None, items: Sequence[Item], output: Output, spare: Sequence[str | Path]
) -> Iterator[RunReport | None]:
    """A page for the items in the block, None where no target is named.

    Where the block breaks off and the run can be resumed, its pictures are kept for that.

    BadParameter or UsageError where the page cannot be there, or would replace an input or another output.
    """
    if target is None:
        yield None
        return
    from detkit.report.gallery import Gallery, Panel
    from detkit.runs.run import journal_path

    check_page(target, "--report", chain((item.path for item in items), spare), output.path)
    paths = picture_files(items)
    side = thumbnail_side(items)
    journal = None if output.path is None else journal_path(output.path, output.writer())
    resume = output.resume and journal is not None and journal.exists()
    gallery = Gallery(target, [Panel("")], side, paths.get, resume)
    done = False
    try:
        yield RunReport(gallery)
        done = True
    finally:
        gallery.close(keep=not done and journal is not None and journal.exists())


def picture_files(items: Sequence[Item]) -> dict[str, Path]:
    """The files on this machine of pictures, by their names."""
    return {item.name: item.path for item in items if not item.video and isinstance(item.path, Path)}


def thumbnail_side(items: Sequence[Item]) -> int:
    """Pixels of the longer side of the small pictures on a page of these items."""
    from detkit.report.thumbnails import side_for

    return side_for(sum(_MANY if item.video else 1 for item in items))


def check_page(
    target: Path, option: str, inputs: Iterable[str | os.PathLike[str] | None], other: Place | None = None
) -> None:
    """Refuse a page that is none by its name, or lies where an input or another output is.

    BadParameter, UsageError, or OutputError where nothing can be written there.
    """
    from detkit.files import check_writable
    from detkit.guard import Guard

    if target.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(f"the report is a page: {target} should end in .html", param_hint=option)
    if isinstance(other, Path) and other.absolute() == target.absolute():
        raise UsageError(f"{option} and --out name the same file: {target}")
    guard = Guard()
    guard.add(inputs)
    guard.spare(option, target)
    check_writable(target)


def facts_of_run(options: DetectionOptions, own: Mapping[str, Any], detector: Detector) -> list[Fact]:
    """Date, model and settings of a run, for its page."""
    from detkit.report.document import Fact, now

    conf, by_class = options.confs
    settings = {
        "conf": ", ".join([f"{conf:g}", *(f"{name} {share:g}" for name, share in by_class.items())]),
        "iou": options.iou,
        "max-det": options.max_det,
        "class": ", ".join(options.classes or ()),
        "nms": options.nms.value,
        "agnostic": options.agnostic,
        **own,
    }
    shown = [
        f"{key.replace('_', '-')} {value}" for key, value in settings.items() if value not in (None, "", False, ())
    ]
    return [
        Fact("Date", now()),
        Fact("Model", "; ".join(detector.about()) or str(options.model or "the bundled one")),
        Fact("SHA-256", detector.fingerprint),
        Fact("Sources", ", ".join(options.sources[:20]) + (", ..." if len(options.sources) > 20 else "")),
        Fact("Settings", "; ".join(shown)),
    ]
