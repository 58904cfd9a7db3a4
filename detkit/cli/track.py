"""`detkit track`: detections of a video's frames, joined into tracks, written, drawn and counted."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detkit.cli.console import Problems, RunProgress, counted, progress, say, start_logging
from detkit.cli.live_sources import LiveOptions, all_sources
from detkit.cli.options import (
    DeviceOption,
    LatestOption,
    OverlapOption,
    QuietOption,
    ReconnectOption,
    ResumeOption,
    ThreadsOption,
    TileOption,
    VerboseOption,
    WorkersOption,
    thresholds,
    tiled,
)
from detkit.errors import DetkitError, ExitStatus, UsageError

if TYPE_CHECKING:
    from detkit.detectors.base import Detector
    from detkit.runs.footage import Pace, Whereabouts
    from detkit.runs.record import Record
    from detkit.runs.run import Run
    from detkit.runs.sources import Item
    from detkit.runs.track_counts import Counted, Places
    from detkit.runs.track_pictures import Pictures
    from detkit.runs.tracked import Following, TrackWriter
    from detkit.tracking import Motion

_BOXES, _TRACKS, _COUNTS, _OUTPUT, _RUN = "Which boxes", "Tracks", "Counts", "Output", "How it runs"
# That of all detection commands; what the bundled network finds below it brings more false tracks than it carries on
# (vtest.avi: HOTA 47.9 from 0.25, 45.3 from 0.1).
CONF = 0.25
IN_FOLDER = "tracks.jsonl"  # beside a file of each video, where --out is a folder


class TrackerChoice(str, Enum):
    """The trackers."""

    BYTETRACK = "bytetrack"
    SORT = "sort"
    C_BIOU = "c-biou"
    OC_SORT = "oc-sort"


class DetectorChoice(str, Enum):
    """The detectors, by their commands."""

    YOLO = "yolo"
    RCNN = "rcnn"
    HOG = "hog-detect"
    SLIDE = "slide"


class AnchorChoice(str, Enum):
    """Points of a box."""

    FOOT = "foot"
    CENTRE = "centre"
    HEAD = "head"


def track(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="A video, a folder of frames, a stream (the number of a camera, rtsp://, http(s)://); or detections: "
            "JSON Lines of a detection command, or MOTChallenge's det.txt.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE|DIR",
            help=".txt is MOTChallenge's format, frames and tracks from 1; .jsonl; .csv; a folder (results/) gets "
            "tracks.jsonl and a .txt for each video. Default: JSON Lines on stdout.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME|FILE", help="A model by name, or a file.")
    ] = None,
    detector: Annotated[DetectorChoice, typer.Option(help="The command whose detector finds the boxes.")] = (
        DetectorChoice.YOLO
    ),
    conf: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|CLASS=NUMBER,...|FILE",
            help=f"Keep boxes with a higher score; of single classes: person=0.6,car=0.3, or a JSON file of them. "
            f"Default: {CONF}; of a file of detections, all.",
            rich_help_panel=_BOXES,
        ),
    ] = None,
    iou: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Suppress boxes that overlap a better one more.", rich_help_panel=_BOXES),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class", metavar="NAME", help="Track only this class. May be repeated.", rich_help_panel=_BOXES
        ),
    ] = None,
    tile: TileOption = None,
    overlap: OverlapOption = None,
    tracker: Annotated[
        TrackerChoice, typer.Option(help="How boxes are joined.", rich_help_panel=_TRACKS)
    ] = TrackerChoice.BYTETRACK,
    lost: Annotated[
        float,
        typer.Option(min=0, help="Seconds for which a track is remembered that is not seen.", rich_help_panel=_TRACKS),
    ] = 1.0,
    sure: Annotated[
        float | None,
        typer.Option(
            help="The score from which a box begins a track. Default: by the scores that come.", rich_help_panel=_TRACKS
        ),
    ] = None,
    motion: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.onnx",
            help="A network that says where tracks are expected, in place of the Kalman filter: inputs boxes (T, K, 4) "
            "and ago (T, K) in seconds.",
            rich_help_panel=_TRACKS,
        ),
    ] = None,
    every: Annotated[
        int, typer.Option(min=1, metavar="N", help="Look at each N-th frame only.", rich_help_panel=_TRACKS)
    ] = 1,
    latest: LatestOption = None,
    reconnect: ReconnectOption = None,
    fps: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Frames a second of a folder or a file without a clock. Default: seqinfo.ini beside it, else 30.",
            rich_help_panel=_TRACKS,
        ),
    ] = None,
    lines: Annotated[
        list[str] | None,
        typer.Option(
            "--line", metavar="x1,y1,x2,y2",
            help="Count who crosses this line; forward is from its left to its right, seen from its start. May be "
            "repeated.",
            rich_help_panel=_COUNTS,
        ),
    ] = None,
    zones: Annotated[
        list[Path] | None,
        typer.Option(
            "--zone", metavar="FILE", help="Count visits of the polygons in this JSON file, and the seconds spent "
            "there. May be repeated.", rich_help_panel=_COUNTS,
        ),
    ] = None,
    anchor: Annotated[
        AnchorChoice, typer.Option(help="The point of a box that counts.", rich_help_panel=_COUNTS)
    ] = AnchorChoice.FOOT,
    counts: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Write the counts there, by minute.", rich_help_panel=_COUNTS),
    ] = None,
    draw: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.webm|FILE.mp4|DIR",
            help="Draw the tracks: a video (VP9; H.264 with the extra av), or a folder of pictures.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    crops: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write cut-outs there, a folder a track.", rich_help_panel=_OUTPUT),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Write a page there: tracks over time, how many are in view, crossings, and key frames, or the video "
            "of --draw.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    resume: ResumeOption = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Pictures per run of the network.", rich_help_panel=_RUN)
    ] = None,
    workers: WorkersOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:  # fmt: skip
    """Follow objects through a video: tracks, drawn and counted, from any detector or from detections in a file."""
    start_logging(quiet=quiet, verbose=verbose)
    from detkit.detectors.selection import Selection
    from detkit.graphs.runtime import Runtime
    from detkit.runs.track_counts import Places
    from detkit.runs.track_pictures import Pictures
    from detkit.runs.tracked import Following
    from detkit.tracking import TrackerSettings
    from detkit.tracking.zone_files import line_of

    if counts is not None and not lines and not zones:
        raise UsageError("--counts needs something to count at: --line x1,y1,x2,y2 or --zone FILE")
    places = Places(
        {f"line {number}": line_of(line) for number, line in enumerate(lines or (), start=1)},
        _zones(zones or ()),
        anchor.value,
    )
    files = _found_in_files(sources)
    names = tuple(classes or ())
    least, least_of = (None if files else CONF, {}) if conf is None else thresholds(conf)
    following = Following(
        tracker.value,
        TrackerSettings(sure, lost),
        least if files else None,
        names if files else (),
        None if motion is None else _motion_of(motion),
        least_of if files else {},
    )
    folder = Path(out) if out is not None and (out.endswith(("/", os.sep)) or Path(out).is_dir()) else None
    target = folder / IN_FOLDER if folder else None if out in (None, "-") else Path(str(out))
    wanted = _Wanted(
        target, Pictures(draw, crops), places, counts, following, fps, every, resume,
        quiet, report, LiveOptions(latest, reconnect), folder,
    )  # fmt: skip
    wanted.check(sources, [*(zones or ()), *([model] if model else []), *([motion] if motion else [])])
    if files:
        if tile is not None:
            raise UsageError("--tile is for pictures and videos, not for files of detections")
        _track_files(wanted, [Path(source) for source in sources])
        return
    build = _Detecting(
        detector.value, model, Selection(CONF if least is None else least, iou, classes=names, conf_by_class=least_of),
        Runtime(device, threads, batch), workers, verbose, tile, overlap,
    )  # fmt: skip
    _track_pictures(wanted, sources, build)


@dataclass(frozen=True)
class _Wanted:
    """What is done with the detections, wherever they come from."""

    out: Path | None
    pictures: Pictures
    places: Places
    counts: Path | None
    following: Following
    fps: float | None
    every: int
    resume: bool
    quiet: bool
    report: Path | None = None
    live: LiveOptions = field(default_factory=LiveOptions)
    folder: Path | None = None

    def check(self, sources: Sequence[str], others: Iterable[str | Path]) -> None:
        """UsageError where an output is none, or would overwrite an input or another output."""
        from detkit.files import check_writable
        from detkit.guard import Guard
        from detkit.runs.tracked import track_format

        track_format(self.out)
        if self.report is not None and self.report.suffix.lower() not in (".html", ".htm"):
            raise typer.BadParameter(f"the report is a page: {self.report} should end in .html", param_hint="--report")
        guard = Guard(*sources, *others)
        written = [("--out", self.out), ("--counts", self.counts), ("--report", self.report)]
        written += [("--draw", self.pictures.draw)] if self.pictures.video else []
        given = [(option, path) for option, path in written if path is not None]
        for option, path in given:
            guard.spare(option, path)
            check_writable(path)
        if len({path.absolute() for _, path in given}) < len(given):
            raise UsageError(f"{' and '.join(option for option, _ in given)} name the same file")

    def write_each(self, writer: TrackWriter, inputs: Iterable[str | os.PathLike[str]]) -> None:
        """A file a video, where a folder is wanted."""
        from detkit.guard import Guard
        from detkit.runs.tracked import write_each

        if self.folder is not None:
            write_each(self.folder, writer.videos, Guard(*inputs))

    def writer(self, where: Whereabouts, pace: Pace) -> TrackWriter:
        """What makes tracks of records."""
        from detkit.runs.tracked import TrackWriter

        return TrackWriter(self.following, where, pace)

    def tell(
        self, writer: TrackWriter, counts: Sequence[Counted], items: Sequence[Item] = (), model: str | None = None
    ) -> None:
        """Write the page, where one is wanted."""
        if self.report is None:
            return
        from detkit.cli.track_report import write_track_report
        from detkit.report.document import Fact, now

        settings = f"{self.following.tracker}; lost {self.following.settings.lost:g} s; every {self.every}"
        about = [Fact("Date", now()), Fact("Model", model or ""), Fact("Tracker", settings)]
        film = self.pictures.draw if self.pictures.video else None
        write_track_report(self.report, writer.videos, counts, about, items=items, film=film)
        if not self.quiet:
            say(f"report: {self.report}")

    def count(self, writer: TrackWriter) -> list[Counted]:
        """Count at the places, and print and write what was counted."""
        from detkit.runs.track_counts import count, counts_csv

        found = [count(video, self.places) for video in writer.videos] if self.places else []
        if self.counts is not None:
            from detkit.files import write_bytes

            write_bytes(self.counts, counts_csv(found))
        if self.places:
            _print_counts(found, self.out is not None)
        return found


@dataclass(frozen=True)
class _Detecting:
    """What finds the boxes."""

    command: str
    model: str | None
    selection: Any
    runtime: Any
    workers: int | None
    verbose: bool
    tile: int | None
    overlap: float | None

    def detector(self) -> Detector:
        """The detector, over tiles where they are asked for."""
        from detkit.detectors.by_command import detector_of

        return tiled(detector_of(self.command, self.model, self.selection, self.runtime), self.tile, self.overlap)


def _found_in_files(sources: Sequence[str]) -> bool:
    """Whether the sources are files of detections. UsageError where only some are."""
    from detkit.runs.footage import is_detections

    files = [is_detections(source) for source in sources]
    if any(files) and not all(files):
        raise UsageError("give pictures and videos, or files of detections; not both at once")
    return any(files)


def _motion_of(path: Path) -> Callable[[], Motion]:
    from detkit.runs.motion_network import MotionNetwork

    return MotionNetwork(path).motion


def _zones(paths: Sequence[Path]) -> dict[str, Any]:
    from detkit.tracking.zone_files import read_zones

    zones: dict[str, Any] = {}
    for path in paths:
        for name, polygon in read_zones(path).items():
            if name in zones:
                raise UsageError(f"--zone {path}: there is a zone {name!r} already; name zones differently")
            zones[name] = polygon
    return zones


def _track_files(wanted: _Wanted, paths: Sequence[Path]) -> None:
    """Tracks of detections in files; nothing is to be drawn, as the pictures are not there."""
    from detkit.files import write_atomically
    from detkit.runs.footage import Pace, read_found
    from detkit.runs.tracked import track_format

    for option, path in (("--draw", wanted.pictures.draw), ("--crops", wanted.pictures.crops)):
        if path is not None:
            raise UsageError(f"{option} needs the pictures: give the video or its frames in place of detections")
    if wanted.resume:
        raise UsageError("--resume is for pictures and videos; tracks of detections take seconds")
    pace = Pace(wanted.fps, wanted.every)
    if len(paths) > 1 and wanted.out is not None and wanted.out.suffix.lower() == ".txt":
        raise UsageError(
            f"--out {wanted.out} holds one video, and there are {len(paths)} files; name a folder, .jsonl or .csv"
        )
    source: dict[str, Path] = {}

    def read() -> Iterator[Record]:
        for path in paths:
            for record in read_found(path, pace):
                source.setdefault(record["file"], path)
                yield record

    writer, records = wanted.writer(lambda record: source[record["file"]], pace), read()
    if wanted.out is None:
        writer.write(sys.stdout.buffer, records, track_format(None))
    else:
        with write_atomically(wanted.out) as file:
            writer.write(file, records, track_format(wanted.out))
    wanted.write_each(writer, paths)
    counts = wanted.count(writer)
    wanted.tell(writer, counts)
    if not wanted.quiet:
        _tell(writer)


def _track_pictures(wanted: _Wanted, sources: Sequence[str], detecting: _Detecting) -> None:
    """Tracks of what a detector finds in videos and folders of frames."""
    import cv2

    from detkit.runs.batch import Reading
    from detkit.runs.footage import Pace, sampled
    from detkit.runs.run import Run
    from detkit.runs.tasks import Detection
    from detkit.runs.tracked import TrackOutput

    problems = Problems()
    found = all_sources(sources, wanted.live, problems.add, resume=wanted.resume)
    items, numbers = sampled(found.items, wanted.every)
    _check_one_video(wanted, items)
    if found.live and (wanted.pictures.draw or wanted.pictures.crops):
        raise UsageError("--draw and --crops read the pictures once more, which a stream cannot give; record it first")
    detector = detecting.detector()
    for line in detector.about() if detecting.verbose else ():
        say(line)
    cv2.setNumThreads(1)

    where = {item.name: Path(item.name) if found.live else Path(item.path) for item in items}
    writer = wanted.writer(
        lambda record: where.get(record["file"], Path(record["file"])), Pace(wanted.fps, wanted.every, numbers)
    )
    spare = tuple(path for path in (detector.path, detecting.model) if path is not None)
    output = TrackOutput(wanted.out, resume=wanted.resume, spare=spare, tracks=writer)
    reading = Reading(workers=detecting.workers, every=wanted.every, live=found.live)
    listener = RunProgress("videos and pictures", shown=not wanted.quiet and len(items) > 1)
    run = Run(Detection(detector), items, output, reading, listener)
    for name, why in problems.told:
        run.fail(name, why)
    with found.ended_by_signals():
        if wanted.out is None:
            run.write_to(sys.stdout.buffer)
        else:
            run.write(_settings(wanted, detecting, detector.fingerprint))
    wanted.write_each(writer, [item.path for item in items])
    counted_at = wanted.count(writer)
    _paint(wanted, items, reading, writer, counted_at)
    wanted.tell(writer, counted_at, () if found.live else items, "; ".join(detector.about()))
    if not wanted.quiet:
        _tell(writer, run)
    if run.summary.failures:
        raise typer.Exit(int(ExitStatus.SOME_INPUTS_FAILED))


def _check_one_video(wanted: _Wanted, items: Sequence[Item]) -> None:
    """UsageError, before a network runs, where several videos were to go into what holds one."""
    videos = {item.name if item.video else str(item.path.parent) for item in items}
    single = [("--out", wanted.out)] if wanted.out is not None and wanted.out.suffix.lower() == ".txt" else []
    if wanted.pictures.video and wanted.pictures.draw is not None:
        single.append(("--draw", wanted.pictures.draw))
    if len(videos) > 1 and single:
        raise UsageError(
            f"{single[0][0]} {single[0][1]} holds one video, and the sources are {len(videos)}; "
            "name a folder, .jsonl or .csv, or track them one by one"
        )


def _paint(
    wanted: _Wanted, items: Sequence[Item], reading: Any, writer: TrackWriter, counted_at: Sequence[Counted]
) -> None:
    """Draw and cut out, once everything is known."""
    from dataclasses import replace

    from detkit.runs.track_pictures import TrackPainter

    pictures = wanted.pictures
    if pictures.draw is None and pictures.crops is None:
        return
    painter = TrackPainter(pictures, writer.videos, counted_at, wanted.places)
    try:
        with progress(painter.frames, "frames drawn", shown=not wanted.quiet) as bar:
            painter.paint(items, replace(reading, keep_images=True), bar.advance)
    except DetkitError as error:
        raise type(error)(f"{error}; the tracks themselves are written") from error


def _settings(wanted: _Wanted, detecting: _Detecting, fingerprint: str) -> dict[str, Any]:
    """What the detections depend on, for --resume; tracks are made of them anew."""
    selection = asdict(detecting.selection)
    return {
        "command": "track",
        "detector": detecting.command,
        "model": fingerprint,
        "every": wanted.every,
        **{key: list(value) if isinstance(value, tuple) else value for key, value in selection.items()},
    }


def _print_counts(found: Sequence[Counted], on_stdout: bool) -> None:
    """Tables of lines and zones; on stderr where stdout holds the tracks."""
    from contextlib import nullcontext, redirect_stdout

    from detkit.cli.tables import print_table
    from detkit.runs.track_counts import line_rows, zone_rows

    with nullcontext() if on_stdout else redirect_stdout(sys.stderr):
        lines, zones = line_rows(found), zone_rows(found)
        right = "right"
        if lines:
            print_table(None, [("line", "left"), ("class", "left"), ("forward", right), ("backward", right)], lines)
        if zones:
            columns = [("visits", right), ("tracks", right), ("seconds", right), ("a visit", right)]
            print_table(None, [("zone", "left"), ("class", "left"), *columns], zones)


def _tell(writer: TrackWriter, run: Run | None = None) -> None:
    frames = sum(len(video.footage.shots) for video in writer.videos)
    boxes = sum(len(video.trajectories.table) for video in writer.videos)
    tracks = sum(int(video.trajectories.table.ids.max(initial=0)) for video in writer.videos)
    time = f" in {run.summary.seconds:.1f} s" if run is not None else ""
    failed = f"; {run.summary.failures} could not be read" if run is not None and run.summary.failures else ""
    say(f"{counted(frames, 'frame')}, {counted(tracks, 'track')} of {counted(boxes, 'box', 'boxes')}{time}{failed}")
