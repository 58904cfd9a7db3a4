"""What `detkit train yolo` and `detkit train rcnn` learn from: the options that say it, and the pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detkit.cli.console import counted, show

if TYPE_CHECKING:
    from detkit.detectors.base import Detector
    from detkit.training.material import Material, Source
    from detkit.training.torch.train_settings import Watching

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

PatienceOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="End after N of the ten looks at the held-out pictures without a better AP. The best is kept in any case.",
    ),
]
TrainDeviceOption = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        help="cpu, cuda or cuda:N, which computes in mixed precision; auto is a card where there is one.",
    ),
]
TrainResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")]
ProcessesOption = Annotated[int | None, typer.Option(min=1, help="Default: the cores that this process may use.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Begin again where --out holds a training, whose files are then lost.")
]
# What trainings leave in their folder.
_TRACES = ("detector.onnx", "detector.npz", "segment.onnx", "checkpoint.pt", "history.csv", "proposals.npz", "features")


def spare_training(out: Path, *, resume: bool, overwrite: bool) -> None:
    """UsageError where the folder `out` holds a training that is neither to be continued nor to be replaced."""
    from detkit.errors import UsageError

    if resume and overwrite:
        raise UsageError("--resume goes on and --overwrite begins again: give one of them")
    there = [name for name in _TRACES if (out / name).exists()]
    if there and not (resume or overwrite):
        raise UsageError(
            f"{out} holds a training already ({', '.join(there)}): --resume goes on with it, --overwrite begins again; "
            "or name another --out"
        )


def print_figures(figures: tuple[float, float], pictures: int, how: str = "") -> None:
    """A line with AP and AP50 on the held-out pictures; without boxes there, they have none."""
    ap, ap50 = (f"{figure:.4f}" if figure >= 0 else "-" for figure in figures)
    show(f"AP {ap}  AP50 {ap50}  on {counted(pictures, 'picture')} held out{how}")


# Held-out pictures that are looked at during a training, at the most; all of them measure it in the end.
_MOST_WATCHED = 200


def watched(
    material: Material, detector_of: Callable[[Path], Detector], patience: int | None, *, quiet: bool
) -> Watching:
    """Looks at a training with the detector of an exported file; each is a line. UsageError for idle patience."""
    from detkit.cli.console import say
    from detkit.errors import UsageError
    from detkit.training.measure import average_precision
    from detkit.training.torch.train_settings import Measured, Watching

    pictures = material.measure[:: -(-len(material.measure) // _MOST_WATCHED) or 1]
    if not pictures:
        if patience is not None:
            raise UsageError("--patience needs pictures that are held out: --held-out 0.1")
        return Watching()

    def measure(path: Path) -> tuple[float, float]:
        detector = detector_of(path)
        return average_precision((detector(picture.path) for picture in pictures), pictures, material.truth)

    def tell(seen: Measured) -> None:
        left = seen.seconds * (1 - seen.share) / max(seen.share, 1e-9) / 60
        time = f"; {left:.0f} min left" if seen.share < 1 else ""
        kept = ", the best so far" if seen.best else ""
        ap, ap50 = (f"{figure:.4f}" if figure >= 0 else "-" for figure in seen.figures)
        say(f"{100 * seen.share:.0f} %: loss {seen.loss:.3f}, rate {seen.rate:.2g}, AP {ap}, AP50 {ap50}{kept}{time}")

    return Watching(measure, patience=patience, told=(lambda _: None) if quiet else tell)


def read_material(source: Source, *, check: bool, quiet: bool) -> Material:
    """What the options name; with `check` without the pictures that cannot be read."""
    from detkit.cli.console import progress, say
    from detkit.training.material import material_of, readable

    truth, pictures = source.listed()
    if check:
        with progress(len(pictures), "pictures", shown=not quiet) as bar:
            pictures = readable(pictures, bar.advance)
    material = material_of(source, truth, pictures)
    if not quiet:
        boxes = sum(len(picture.boxes) for picture in material.learn)
        say(
            f"{counted(len(material.learn), 'picture')} with {counted(boxes, 'box', 'boxes')} of "
            f"{counted(len(truth.categories), 'class', 'classes')}, "
            f"{len(material.measure)} held out"
        )
    return material


@contextmanager
def counting(total: int, unit: str, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A block of `total` units of work; the function that it gives counts them."""
    from detkit.cli.console import progress

    with progress(total, unit, shown=not quiet) as bar:
        yield bar.advance


def percent(advance: Callable[[int], None]) -> Callable[[Any], None]:
    """What a training reports its steps to: `advance` counts the per cent of its share that is done."""
    done = 0

    def report(step: Any) -> None:
        nonlocal done
        advance(int(100 * step.share) - done)
        done = int(100 * step.share)

    return report


@contextmanager
def torch_needed() -> Iterator[None]:
    """A block that imports what needs PyTorch. UsageError, with what to install, where it is not here."""
    from detkit import DISTRIBUTION
    from detkit.errors import UsageError

    try:
        yield
    except ImportError as error:
        raise UsageError(
            f"training needs PyTorch, which is not here ({error.name}): pip install '{DISTRIBUTION}[train]'"
        ) from error


def default_minutes(minutes: float | None, epochs: float | None) -> float | None:
    """30, where the options name neither."""
    return 30.0 if minutes is None and epochs is None else minutes


def check_length(size: int | None, minutes: float | None, epochs: float | None) -> None:
    """UsageError for a size that the networks do not halve five times, and for two lengths at once."""
    from detkit.errors import UsageError

    if size is not None and size % 32:
        raise UsageError(f"--size must be a multiple of 32, not {size}")
    if minutes is not None and epochs is not None:
        raise UsageError("give --minutes or --epochs, not both")
