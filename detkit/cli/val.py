"""`detkit val`: detect in the pictures of a data set and measure, in one go."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detkit.cli.console import counted, say, start_logging
from detkit.cli.evaluate import EvalOptions, Protocol, measure
from detkit.cli.network_options import MultiLabelOption
from detkit.cli.options import DetectionOptions, fields_of, parameters_of, with_parameters
from detkit.errors import ExitStatus, InputError, UsageError

if TYPE_CHECKING:
    from detkit.detectors.base import Detector
    from detkit.runs.sources import Item

# So low that AP sees what it counts: it asks how well scores rank, not which of them are shown.
CONF = 0.01
# Of the detection commands and of `detkit eval`, the options that this one has, too.
_DETECTING = ("max_det", "nms", "agnostic", "tile", "overlap", "out", "draw", "resume", "device", "threads", "batch",
              "workers", "max_pixels", "quiet", "verbose")  # fmt: skip
_MEASURING = ("iou_type", "iou", "per_class", "json", "report", "plots", "best_conf", "precision", "fail_under",
              "fail_if_worse", "margin", "explain", "compare", "bootstrap", "seed", "class_", "gt_format", "names",
              "images", "inclusive", "list_", "like_pycocotools", "honour_ignore")  # fmt: skip


class BoxProtocol(str, Enum):
    """How AP of boxes is taken."""

    COCO = "coco"
    VOC = "voc"
    VOC07 = "voc07"


def _val(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model by name, or a file.", show_default=False)],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Annotations whose pictures lie in or beside them: COCO JSON, data.yaml (data.yaml#test for one "
            "part), a VOC or YOLO folder ...",
            show_default=False,
        ),
    ],
    conf: Annotated[
        float, typer.Option(min=0, max=1, help="Keep boxes with a higher score: a low one, as AP asks for all.")
    ] = CONF,
    nms_iou: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Suppress boxes that overlap a better one more. Default: the detector's own."),
    ] = None,
    multi_label: MultiLabelOption = None,
    protocol: Annotated[
        BoxProtocol,
        typer.Option(help="coco: 101 points at .50:.05:.95; voc: area under the curve; voc07: eleven points."),
    ] = BoxProtocol.COCO,
    at: Annotated[
        float | None,
        typer.Option(help="The working point for TP, FP and FN. Without it: the score of the highest F1."),
    ] = None,
    **values: Any,
) -> None:
    """Detect in the pictures of a data set and measure: the figures of a detection command and `detkit eval`."""
    from detkit.cli.detect import Detecting, tell
    from detkit.detectors.by_command import command_of
    from detkit.guard import Guard
    from detkit.runs.run import Output

    detecting = {name: value for name, value in values.items() if name in _DETECTING}
    measuring = {name: value for name, value in values.items() if name in _MEASURING}
    start_logging(quiet=detecting["quiet"], verbose=detecting["verbose"])
    out = detecting.pop("out")
    if out == "-":
        raise UsageError("--out - would mix detections with figures: name a file")
    command = command_of(model)
    own = {} if multi_label is None else {"multi_label": multi_label}
    if own and command != "yolo":
        raise UsageError(f"--multi-label and --single-label are for detkit yolo; {model} is run by detkit {command}")
    with tempfile.TemporaryDirectory(prefix="detkit-val-") as folder:
        found = Path(out or Path(folder, f"{Path(model).stem}.jsonl"))
        if Output(found).named().writer().name == "table":
            raise UsageError(f"--out {out}: lines for people cannot be measured; .jsonl keeps all there is")
        if out is not None:
            inputs = (data, measuring["names"], measuring["images"], measuring["list_"], measuring["compare"])
            Guard(*inputs).spare("--out", found)
        failures = 0

        def detect() -> None:
            nonlocal failures
            options = DetectionOptions(
                [str(data)], model, str(conf), nms_iou, classes=measuring["class_"], out=str(found), **detecting
            )
            build = _builder(command, options, own)
            done = Detecting(command, options, build, own).whole(_pictures(data, measuring))
            if not options.quiet:
                tell(done.summary)
            failures = done.summary.failures

        text = f"{model} (detkit {command}), scores above {conf:g}"
        asked = EvalOptions(found, data, Protocol(protocol.value), conf=at, model=text, **measuring)
        measure(context, asked, detect)
    if failures:
        raise typer.Exit(int(ExitStatus.SOME_INPUTS_FAILED))


def _builder(command: str, options: DetectionOptions, own: dict[str, Any]) -> Callable[[], Detector]:
    from detkit.detectors.by_command import detector_of

    return lambda: detector_of(command, options.model, options.selection(), options.runtime(), **own)


def _pictures(data: Path, measuring: dict[str, Any]) -> list[Item]:
    """The pictures of the annotations, or of them those that `--list` names, by the names that they have there.

    InputError where none is there.
    """
    from detkit.annotations import read_ground_truth
    from detkit.annotations.listing import listed_rows
    from detkit.annotations.picture_places import Pictures, folders_of
    from detkit.runs.sources import Item

    truth = read_ground_truth(data, measuring["gt_format"], measuring["names"], measuring["images"])
    images = truth.images
    if measuring["list_"] is not None:
        images = images[listed_rows(measuring["list_"], images)]
    folders = folders_of(measuring["images"], data)
    places = Pictures(folders)
    found: dict[str, Item] = {}
    missing: list[str] = []
    for file, key in zip(images.files, images.ids, strict=True):
        name = file or str(key)
        path = places.find(name)
        if path is None:
            missing.append(name)
        else:
            own = _inside(name if file else path.name)
            if found.setdefault(own, Item(path, own)).path != path:
                raise InputError(f"{data}: {found[own].path} and {path} would both be called {own}")
    if not found:
        raise InputError(
            f"{data}: none of its {len(missing)} pictures is in {folders[0]}, such as {missing[0]}; "
            "name their folder with --images"
        )
    if missing:
        say(f"{counted(len(missing), 'picture')} not there, whose objects count as missed; the first is {missing[0]}")
    return list(found.values())


def _inside(name: str) -> str:
    """A name that stays in the folder that it is put into: without roots, drives and ways out."""
    parts = name.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", ".", "..") and not part.endswith(":"))


def _command(**values: Any) -> None:
    _val(**values)


val = with_parameters(
    _command,
    _val,
    [*parameters_of(_val), *fields_of(DetectionOptions, *_DETECTING), *fields_of(EvalOptions, *_MEASURING)],
)
