"""The options that all detection commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from detkit.cli.at_scale import AddressOption, EngineOption, PartOption, PlanOption, Scale

if TYPE_CHECKING:
    from detkit.detectors.base import Detector
    from detkit.detectors.selection import Selection
    from detkit.graphs.runtime import Runtime


# Of detection where none is given.
CONF = 0.25


class Nms(str, Enum):
    greedy = "greedy"
    soft = "soft"
    diou = "diou"
    wbf = "wbf"
    none = "none"


class OutputFormat(str, Enum):
    table = "table"
    jsonl = "jsonl"
    coco = "coco"
    yolo = "yolo"
    voc = "voc"
    csv = "csv"
    counts = "counts"
    xlsx = "xlsx"


DeviceOption = Annotated[
    str,
    typer.Option(
        help="auto, cpu, cuda, cuda:N, tensorrt, directml, coreml or openvino; one that is named must be there.",
        metavar="DEVICE",
        rich_help_panel="How it runs",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Of onnxruntime, of pyramids and proposals. Default: the cores that this process may use.",
        rich_help_panel="How it runs",
    ),
]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on where an interrupted run with the same --out stopped.",
        rich_help_panel="How it runs",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(min=1, help="Threads that decode pictures. Default: the cores.", rich_help_panel="How it runs"),
]
EveryOption = Annotated[
    int,
    typer.Option(
        min=1, metavar="N", help="Of a video or a stream, each N-th frame only.", rich_help_panel="How it runs"
    ),
]
LatestOption = Annotated[
    bool | None,
    typer.Option(
        "--latest/--no-latest",
        help="Of a stream: leave out the frames that come while one is worked on, or read all in their order. "
        "Default: --latest.",
        rich_help_panel="How it runs",
        show_default=False,
    ),
]
ReconnectOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Ask so long for a stream that was lost. Default: 30.",
        rich_help_panel="How it runs",
    ),
]
ReadersOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Pictures that are fetched at a time. Default: as --workers; from a store 16, with a GPU 64.",
        rich_help_panel="How it runs",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors on stderr.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Say which model, head and device are used.")]
MaxPixelsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Refuse pictures with more pixels. Default: 200 million.",
        rich_help_panel="How it runs",
    ),
]
TileOption = Annotated[
    int | None,
    typer.Option(
        min=32,
        metavar="SIZE",
        help="Look at tiles of SIZE x SIZE pixels one by one, too, and put together what is found: for large pictures "
        "and small objects. --max-det then counts for each tile.",
        rich_help_panel="Large pictures",
    ),
]
OverlapOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=0.75,
        metavar="SHARE",
        help="What neighbouring tiles share, of their side. Default: 0.2.",
        rich_help_panel="Large pictures",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def _panel(name: str) -> dict[str, Any]:
    return {"rich_help_panel": name}


_BOXES, _OUTPUT, _RUN = _panel("Which boxes"), _panel("Output"), _panel("How it runs")


@dataclass(frozen=True)
class DetectionOptions:
    """What `detkit yolo | rcnn | hog-detect | slide` have in common; a command gets it as its first argument."""

    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Pictures, folders (searched through), globs, videos, addresses (s3://bucket/photos, http(s)://), "
            "@list.txt, or - for paths on stdin; a stream: the number of a camera, rtsp://, http(s)://.",
            show_default=False,
        ),
    ]
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="NAME|FILE", help="A model by name, or a file. Default: the bundled one."
        ),
    ] = None
    conf: Annotated[
        str,
        typer.Option(
            metavar="NUMBER|CLASS=NUMBER,...|FILE",
            help="Keep boxes with a higher score; of single classes (person=0.6,car=0.3; others 0.25, or a number "
            "beside them), or as detkit eval --best-conf writes it.",
            **_BOXES,
        ),
    ] = f"{CONF}"
    iou: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Suppress boxes that overlap a better one more. Default: the detector's own.", **_BOXES
        ),
    ] = None
    max_det: Annotated[int, typer.Option(min=1, help="Boxes kept per picture.", **_BOXES)] = 300
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", help="Keep only this class. May be repeated.", **_BOXES),
    ] = None
    nms: Annotated[Nms, typer.Option(help="How overlapping boxes are suppressed.", **_BOXES)] = Nms.greedy
    agnostic: Annotated[bool, typer.Option("--agnostic", help="Suppress across classes, too.", **_BOXES)] = False
    tile: TileOption = None
    overlap: OverlapOption = None
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="PATH", help="Write results there; - is stdout.", **_OUTPUT),
    ] = None
    format: Annotated[
        OutputFormat | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help="table, jsonl, coco, yolo, voc, csv (a row a box) counts (a row a picture, a column a class) or xlsx "
            "(counts as a workbook). Default: a table on a terminal, JSON Lines when piped; with --out, by its ending.",
            **_OUTPUT,
        ),
    ] = None
    polygons: Annotated[
        bool,
        typer.Option("--polygons", help="Polygons for masks in -f jsonl and coco, and what they cost.", **_OUTPUT),
    ] = False
    simplify: Annotated[
        float,
        typer.Option(min=0, metavar="PIXELS", help="Polygons with fewer points, within so many pixels.", **_OUTPUT),
    ] = 0.0
    gt: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Annotations whose image and category ids -f coco takes.", **_OUTPUT),
    ] = None
    draw: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write pictures with their boxes there.", **_OUTPUT)
    ] = None
    crops: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write a cut-out of each detection there.", **_OUTPUT)
    ] = None
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Write a page of all pictures with their boxes there, to filter, sort and look through.",
            **_OUTPUT,
        ),
    ] = None
    resume: ResumeOption = False
    device: DeviceOption = "auto"
    threads: ThreadsOption = None
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Pictures per run of the network, where it allows more; for slide windows.", **_RUN),
    ] = None
    workers: WorkersOption = None
    readers: ReadersOption = None
    every: EveryOption = 1
    latest: LatestOption = None
    reconnect: ReconnectOption = None
    max_pixels: MaxPixelsOption = None
    part: PartOption = None
    plan: PlanOption = None
    engine: EngineOption = None
    address: AddressOption = None
    quiet: QuietOption = False
    verbose: VerboseOption = False

    def selection(self) -> Selection:
        """Which boxes become detections."""
        from detkit.detectors.selection import Selection
        from detkit.errors import UsageError

        if self.simplify and not self.polygons:
            raise UsageError("--simplify is for --polygons")
        if self.iou is not None and self.nms.value in ("soft", "none"):
            raise UsageError(f"--iou is not for --nms {self.nms.value}, which drops no box for its overlap")
        conf, by_class = self.confs
        classes = self.classes or ()
        return Selection(conf, self.iou, self.max_det, self.nms.value, self.agnostic, classes, by_class)

    @cached_property
    def confs(self) -> tuple[float, dict[str, float]]:
        """The threshold of --conf, and those of single classes."""
        return thresholds(self.conf)

    def scale(self) -> Scale:
        """Whether and how the run is done in parts."""
        return Scale.of(self.part, self.plan, self.engine, self.address, self.threads, self.device)

    def runtime(self) -> Runtime:
        """Where and how networks run."""
        from detkit.graphs.runtime import Runtime

        return Runtime(self.device, self.threads, self.batch)

    def tiled(self, detector: Detector) -> Detector:
        """The detector, over tiles where --tile asks for them."""
        return tiled(detector, self.tile, self.overlap)


def tiled(detector: Detector, tile: int | None, overlap: float | None) -> Detector:
    """A detector over tiles, or itself where no tile is given. UsageError for an overlap without a tile."""
    if tile is None:
        if overlap is not None:
            from detkit.errors import UsageError

            raise UsageError("--overlap is that of tiles: name their size with --tile")
        return detector
    from detkit.detectors.tiled import Tiled
    from detkit.detectors.tiles import Tiling

    return Tiled(detector, Tiling(tile) if overlap is None else Tiling(tile, overlap))


def thresholds(text: str) -> tuple[float, dict[str, float]]:
    """(threshold, thresholds of single classes) of 0.4, of person=0.6,car=0.3, of both, or of a JSON file of them.

    BadParameter where it is none of these.
    """
    if "=" not in text and not _is_number(text):
        return CONF, _thresholds_of_file(Path(text))
    conf, by_class = CONF, {}
    for part in text.split(","):
        name, equals, number = part.rpartition("=")
        if bool(equals) != bool(name.strip()):
            raise typer.BadParameter(f"{part!r} names no class", param_hint="--conf")
        if not equals:
            conf = _share(number, part)
        elif name.strip() in by_class:
            raise typer.BadParameter(f"{name.strip()} has two thresholds", param_hint="--conf")
        else:
            by_class[name.strip()] = _share(number, part)
    return conf, by_class


def _thresholds_of_file(path: Path) -> dict[str, float]:
    import orjson

    from detkit.errors import InputError
    from detkit.files import read_file

    try:
        content = orjson.loads(read_file(path))
    except InputError:
        what = f"{str(path)!r} is no number, no class=number and no file that can be read"
        raise typer.BadParameter(what, param_hint="--conf") from None
    except ValueError:
        raise typer.BadParameter(f"{path} is no JSON", param_hint="--conf") from None
    if not isinstance(content, dict):
        raise typer.BadParameter(f'{path} is no table like {{"person": 0.6, "car": 0.3}}', param_hint="--conf")
    return {name: _share(number, f"{name} of {path}") for name, number in content.items()}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _share(number: object, what: str) -> float:
    share = float(str(number)) if not isinstance(number, bool) and _is_number(str(number)) else -1.0
    if not 0 <= share <= 1:
        raise typer.BadParameter(f"{what}: {number!r} is no number from 0 to 1", param_hint="--conf")
    return share


def plain(**values: Any) -> dict[str, Any]:
    """A command's own options as plain values, for the journal of --resume."""
    return {key: value.value if isinstance(value, Enum) else value for key, value in values.items()}


def detection_command(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the shared options: it is called as `function(options, **its own)`.

    Typer reads the signature, which is made of the fields of `DetectionOptions` and the command's own parameters.
    """
    shared = fields_of(DetectionOptions)
    names = {parameter.name for parameter in shared}
    own = parameters_of(function)[1:]

    def command(**values: Any) -> None:
        options = DetectionOptions(**{name: value for name, value in values.items() if name in names})
        function(options, **{name: value for name, value in values.items() if name not in names})

    return with_parameters(command, function, [*shared, *own])


def fields_of(options: type[Any], *names: str) -> list[inspect.Parameter]:
    """The fields of a dataclass of options as parameters of a command; those that are named, or all."""
    hints = get_type_hints(options, include_extras=True)
    return [
        inspect.Parameter(
            entry.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if entry.default is MISSING else entry.default,
            annotation=hints[entry.name],
        )
        for entry in fields(options)
        if not names or entry.name in names
    ]


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a command, with their annotations as values, to be given by name."""
    hints = get_type_hints(function, include_extras=True)
    return [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]


def with_parameters(
    command: Callable[..., None], function: Callable[..., Any], parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    """`command` with these parameters, as Typer reads them, and the name and the words of `function`."""
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command
