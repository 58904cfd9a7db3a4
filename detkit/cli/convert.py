"""`detkit convert`: annotations from one format to another."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from detkit.annotations.formats import FORMATS
from detkit.cli.console import counted, show

# The names of the table, which imports no reader.
AnnotationFormat = Enum("AnnotationFormat", [(name.upper(), name) for name in FORMATS], type=str)  # type: ignore[misc]

_NAMES = ", ".join(FORMATS)
_FOLDERS = ", ".join(form.title for form in FORMATS.values() if form.folder)


def convert(
    annotations: Annotated[
        Path, typer.Argument(metavar="ANNOTATIONS", help=f"A file, or a folder of files ({_FOLDERS}).")
    ],
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help=f"The file to write; a new folder for {_FOLDERS}."),
    ],
    to: Annotated[AnnotationFormat, typer.Option("--to", metavar="FORMAT", help=f"What to write: {_NAMES}.")],
    from_format: Annotated[
        AnnotationFormat | None,
        typer.Option("--from", metavar="FORMAT", help="What to read, where the content leaves it open."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            help="The folder of the pictures, or a CSV file with file,width,height: for formats without image sizes, "
            "and for LabelMe, which names pictures from where its files lie.",
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            "--names",
            exists=True,
            dir_okay=False,
            help="Class names: one a line, data.yaml, JSON, or Open Images' label,name; or the .onnx file that made "
            "detections.",
        ),
    ] = None,
    polygons: Annotated[
        bool, typer.Option("--polygons", help="Write masks as polygons where the format has both, and say the cost.")
    ] = False,
    simplify: Annotated[
        float,
        typer.Option(
            min=0, metavar="PIXELS", help="Leave out points of the polygons made of masks, within so many pixels."
        ),
    ] = 0.0,
    conf: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Of detections, take those with a higher score. Default: all."),
    ] = None,
) -> None:
    """Convert annotations to another format, and say what that format cannot hold; detections become a draft."""
    from detkit.annotations import read_draft, write_ground_truth
    from detkit.annotations.fitting import fitted
    from detkit.guard import Guard
    from detkit.shapes.shape_columns import ALL_SHAPES

    form = FORMATS[to.value]
    if polygons and "polygons" not in form.holds:
        raise typer.BadParameter(f"{form.title} has no polygons", param_hint="--polygons")
    Guard(annotations, images, names).spare("OUT", out)
    ground_truth = read_draft(
        annotations, conf, from_format.value if from_format else None, _classes(names), images, ALL_SHAPES
    )
    made = fitted(ground_truth, form, polygons=polygons, tolerance=simplify)
    lost = write_ground_truth(made.ground_truth, out, to.value, images)
    for sentence in made.changes:
        show(sentence, err=True)
    for sentence in (*made.lost, *lost):
        show(f"lost: {sentence}", err=True)
    show(
        f"{out}: {counted(len(ground_truth), 'box', 'boxes')} of "
        f"{counted(len(ground_truth.categories), 'class', 'classes')} in "
        f"{counted(len(ground_truth.images), 'image')}, from {ground_truth.source} to {to.value}",
        err=True,
    )
    if ground_truth.scores:
        show("a draft: these are detections, look through them before they are taken for the truth", err=True)


def _classes(names: Path | None) -> Path | tuple[str, ...] | None:
    """A file of names, or the names that a network carries. UsageError where it carries none."""
    if names is None or names.suffix.lower() != ".onnx":
        return names
    from detkit.annotations.class_names import names_from_metadata
    from detkit.errors import UsageError
    from detkit.graphs.stored import metadata_of

    found = names_from_metadata(metadata_of(names))
    if not found:
        raise UsageError(f"--names {names}: the network carries no class names; give a file of them")
    return found
