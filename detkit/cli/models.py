"""`detkit models`: what there is, what a file is, and fetching what is published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli.console import show
from detkit.cli.options import JsonOption, QuietOption

if TYPE_CHECKING:
    from detkit.detectors.hog.hog_model import HogModel
    from detkit.graphs.preparation import Preparation
    from detkit.graphs.session import Network

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Models by name: list, info, pull, path.")

# The defaults of the registry, as the table shows them: a network that is two defaults shows the later one.
_DEFAULT_OF = {
    "yolo": "yolo",
    "slide": "slide",
    "hog-detect": "hog-detect",
    "rcnn": "rcnn --variant rcnn",
    "fast-rcnn": "rcnn --variant fast",
    "faster-rcnn": "rcnn",
    "segment": "segment",
}

NameArgument = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]


@dataclass(frozen=True)
class Cut:
    """A field of `info` that is whole in JSON, and cut for people."""

    whole: object
    shown: object


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """The models that detkit knows by name."""
    from detkit.graphs.registry import default_model, registry

    defaults = {entry.name: shown for command, shown in _DEFAULT_OF.items() if (entry := default_model(command))}
    entries = list(registry().values())
    if as_json:
        _print_json([_entry_fields(entry) for entry in entries])
        return
    from detkit.cli.tables import print_table

    rows = [
        [
            entry.name,
            entry.head,
            entry.input,
            "?" if entry.size is None else f"{entry.size / 1e6:.{1 if entry.size > 1e6 else 2}f}",
            entry.licence,
            "bundled" if not entry.url else "pulled" if entry.present else "to pull",
            defaults.get(entry.name, ""),
        ]
        for entry in entries
    ]
    print_table(None, [(heading, "right" if heading in ("input", "MB") else "left") for heading in
                       ("name", "head", "input", "MB", "licence", "where", "default")], rows)  # fmt: skip


@app.command()
def info(
    model: Annotated[str, typer.Argument(metavar="NAME|FILE", show_default=False)],
    head: Annotated[str | None, typer.Option(metavar="NAME", help="Show it as this head.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What a model is, and how detkit knows."""
    from detkit.graphs.registry import registry

    entry = registry().get(model)
    fields: dict[str, object] = _entry_fields(entry) if entry is not None else {}
    if entry is None or entry.present:
        fields |= _graph_fields(model, head)
    if as_json:
        _print_json({key: value.whole if isinstance(value, Cut) else value for key, value in fields.items()})
        return
    width = max(map(len, fields))
    for key, field in fields.items():
        value = field.shown if isinstance(field, Cut) else field
        text = "\n".join(map(str, value)) if isinstance(value, list) else str(value)
        show(f"{key:<{width}}  " + text.replace("\n", "\n" + " " * (width + 2)))


@app.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", show_default=False)], quiet: QuietOption = False
) -> None:
    """Fetch published networks, check them, and keep them for `--model NAME`."""
    from detkit.cli.console import progress, say
    from detkit.graphs.registry import named
    from detkit.graphs.registry import pull as fetch

    for entry in [named(name) for name in names]:
        with progress(entry.size, entry.name, shown=not quiet) as bar:
            path = fetch(entry, lambda done, _, bar=bar: bar.advance(done - bar.done))  # type: ignore[misc]
        if not quiet:
            say(f"{entry.name} is at {path}")


@app.command()
def path(name: NameArgument) -> None:
    """Print where a model's file is."""
    from detkit.errors import ModelError
    from detkit.graphs.registry import resolve

    file = resolve(name)
    if not file.is_file():
        raise ModelError(f"{file}: no such model file")
    print(file)


def _entry_fields(entry: object) -> dict[str, object]:
    from dataclasses import asdict

    from detkit.graphs.registry import Entry

    assert isinstance(entry, Entry)
    fields = {key: value for key, value in asdict(entry).items() if value not in ("", None)}
    fields["bytes"] = fields.pop("size", None)
    return fields | {"path": str(entry.path), "present": entry.present}


def _graph_fields(model: str, head: str | None) -> dict[str, object]:
    from detkit.annotations.class_names import names_from_metadata
    from detkit.detectors.yolo.heads.signature import is_classifier
    from detkit.errors import ModelError
    from detkit.graphs.registry import CLASSIFIER, RUN_IN_PARTS, SEMANTIC_TASKS, resolve
    from detkit.graphs.session import Network

    path = resolve(model)
    if path.suffix == ".npz":
        return _svm_fields(path)
    network = Network(path)
    if network.metadata.get("head") in RUN_IN_PARTS:
        about = "runs in parts; detkit rcnn finds objects with it"
        names = _names(names_from_metadata(network.metadata))
        return _network_fields(network) | {"head": network.metadata["head"], "about": about, "classes": names}
    if head is None and is_classifier(network.inputs, network.outputs, network.metadata):
        from detkit.detectors.windows.slide_detector import Classifier

        about = "a class for the whole picture; detkit slide finds objects with it"
        fields = _network_fields(network)
        return fields | {"head": CLASSIFIER, "about": about, "classes": _names(Classifier(network.path).names)}
    if head is None and network.metadata.get("task", "").lower() in SEMANTIC_TASKS:
        return _semantic_fields(path)
    from detkit.detectors.yolo.yolo_detector import Yolo

    try:
        yolo = Yolo(path, head=head)
    except ModelError as error:
        try:  # many semantic networks carry no metadata
            return _semantic_fields(path)
        except ModelError:
            raise error from None
    return _network_fields(yolo.network) | {
        "head": yolo.head.name,
        "about": yolo.head.about,
        "because": yolo.reading.reason,
        **_picture_fields(yolo.preparation, yolo.input_size, yolo.reading.assumptions),
        "suppression": f"greedy per class, IoU {yolo.iou:g}" if yolo.head.nms else "in the graph, or none needed",
        "classes": _names(yolo.names),
    }


def _semantic_fields(path: Path) -> dict[str, object]:
    from detkit.detectors.semantic.segmenter import Segmenter
    from detkit.graphs.registry import SEMANTIC

    segmenter = Segmenter(path)
    return _network_fields(segmenter.network) | {
        "head": SEMANTIC,
        "about": "a class for every pixel; detkit segment runs it",
        "because": segmenter.reading.reason,
        **_picture_fields(segmenter.preparation, segmenter.input_size, segmenter.reading.assumptions),
        "colours": segmenter.palette.name,
        "classes": _names(segmenter.names),
    }


def _picture_fields(
    preparation: Preparation, size: tuple[int, int] | None, assumptions: Sequence[str]
) -> dict[str, object]:
    scale = f"(pixel - {list(preparation.mean)}) / {list(preparation.std)}"
    return {
        "picture": f"{preparation.fit}, pad {preparation.pad}, {preparation.color}, {scale}",
        "assumed": list(assumptions) or "nothing",
        "size": f"{size[0]} x {size[1]}" if size else f"{preparation.dynamic}, {preparation.size} px",
    }


def _svm_fields(path: Path) -> dict[str, object]:
    from detkit.detectors.hog.hog_model import read_model
    from detkit.detectors.rcnn.rcnn_model import read_rcnn_model
    from detkit.errors import ModelError

    try:
        model = read_rcnn_model(path)
    except ModelError as error:
        try:
            return _hog_fields(path, read_model(path))
        except ModelError:
            raise ModelError(f"{path}: is neither an R-CNN nor a HOG detector of detkit, or is damaged") from error
    features = model.features
    return {
        "file": str(path),
        "head": "rcnn",
        "about": "SVMs and box regressors over a network's features; detkit rcnn finds objects with it",
        "features": f"{features.model}: {features.row} and {features.grid}",
        "regions": f"{features.size[0]} x {features.size[1]}, {features.context} pixels around the box",
        "regression": "of each class" if model.regressors.shape[2] else "none",
        "classes": _names(model.names),
    }


def _hog_fields(path: Path, model: HogModel) -> dict[str, object]:
    from detkit.graphs.registry import HOG

    hog = model.parameters
    units = len(model.offsets)
    classifier = "linear SVM" if not model.output.size else f"network with {units} hidden units"
    return {
        "file": str(path),
        "head": HOG,
        "about": "histograms of oriented gradients and a classifier; detkit hog-detect finds objects with it",
        "window": "{} x {}".format(*hog.window),
        "descriptor": "{} numbers: {} orientations, cells {} x {}, blocks {} x {}".format(
            hog.descriptor_length, hog.orientations, *hog.cell, *hog.block
        ),
        "classifier": classifier,
        "notes": [f"{key}: {text}" for key, text in model.notes.items() if isinstance(text, str)] or "none",
        "classes": _names([model.name]),
    }


def _names(names: Sequence[str]) -> Cut:
    """All class names, none where they are numbers; the first ten for people."""
    shown = ", ".join(names[:10]) + (f", ... ({len(names)})" if len(names) > 10 else "") or "numbers"
    return Cut(list(names), shown)


def _network_fields(network: Network) -> dict[str, object]:
    return {
        "file": str(network.path),
        "inputs": [str(value) for value in network.inputs],
        "outputs": [str(value) for value in network.outputs],
        "metadata": Cut(
            dict(sorted(network.metadata.items())),
            [f"{key}: {value[:100]}" for key, value in sorted(network.metadata.items())] or "none",
        ),
        "provider": network.provider,
    }


def _print_json(value: object) -> None:
    import sys

    import orjson

    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
