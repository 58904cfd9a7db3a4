"""What `detkit train yolo` and `detkit train rcnn` learn from: the options that say it, and the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from detkit.dataset import GroundTruth
    from detkit.training.pictures import AnnotatedPicture

DataArgument = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="Annotations: COCO JSON, a VOC or YOLO folder, ...", show_default=False),
]
ImagesOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where the pictures are. Default: beside the annotations.")
]
NamesOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Class names, for YOLO folders without.")]
ListOption = Annotated[
    Path | None,
    typer.Option("--list", metavar="FILE", help="Use only the pictures listed there, like VOC's ImageSets."),
]
HeldOutOption = Annotated[float, typer.Option(min=0, max=0.9, help="Share of the pictures that only measure.")]
SeedOption = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of everything random.")]


def print_figures(figures: tuple[float, float], pictures: int, how: str = "") -> None:
    """A line with AP and AP50 on the held-out pictures; without boxes there, they have none."""
    ap, ap50 = (f"{figure:.4f}" if figure >= 0 else "-" for figure in figures)
    print(f"AP {ap}  AP50 {ap50}  on {pictures} pictures held out{how}")


@dataclass(frozen=True)
class Material:
    """The annotations, and of their pictures those to learn from and those to measure on."""

    truth: GroundTruth
    learn: list[AnnotatedPicture]
    measure: list[AnnotatedPicture]


def read_material(
    data: Path,
    images: Path | None,
    names: Path | None,
    only: Path | None,
    held_out: float,
    seed: int,
    *,
    check: bool,
    quiet: bool,
) -> Material:
    """What the options name; with `check` without the pictures that cannot be read."""
    from detkit.annotations import read_ground_truth
    from detkit.cli.console import progress, say
    from detkit.cores import available_cores
    from detkit.training.pictures import listed_pictures, readable_pictures, refuse_empty, split

    truth = read_ground_truth(data, names=names, images=images)
    pictures = listed_pictures(truth, images or (data if data.is_dir() else data.parent), only)
    if check:
        with progress(len(pictures), "pictures", shown=not quiet) as bar:
            pictures = readable_pictures(pictures, available_cores(), bar.advance)
    learn, measure = split(pictures, held_out, seed)
    refuse_empty(learn, truth.categories.names)
    if not quiet:
        boxes = sum(len(picture.boxes) for picture in learn)
        say(f"{len(learn)} pictures with {boxes} boxes of {len(truth.categories)} classes, {len(measure)} held out")
    return Material(truth, learn, measure)
