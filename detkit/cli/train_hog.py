"""`detkit train hog`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.console import show
from detkit.cli.options import QuietOption, VerboseOption
from detkit.cli.train_data import SeedOption
from detkit.cli.windows import size_of


class Kind(str, Enum):
    svm = "svm"
    mlp = "mlp"


def train_hog(
    positives: Annotated[
        Path,
        typer.Argument(
            metavar="POSITIVES|ANNOTATIONS",
            help="A folder of crops of the object; or an annotation file, with --class and --images.",
            show_default=False,
        ),
    ],
    negatives: Annotated[
        Path | None,
        typer.Argument(metavar="[NEGATIVES]", help="A folder of pictures without the object.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.npz", help="The model.")] = Path("hog.npz"),
    name: Annotated[str, typer.Option("--class", metavar="NAME", help="The class.")] = "object",
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the annotated pictures are. Default: beside the file.")
    ] = None,
    hog: Annotated[
        str, typer.Option(metavar="KEY=VALUE,...", help="Parameters of the descriptor, like window=48x96,cell=6x6.")
    ] = "",
    object_size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="Of the object, in the middle of the window. Default: of crops all of it, of annotated boxes what is "
            "left by a quarter of the shorter side all round.",
        ),
    ] = None,
    classifier: Annotated[Kind, typer.Option(help="LinearSVC, or a network with one hidden layer.")] = Kind.svm,
    hidden: Annotated[int, typer.Option(min=1, help="Hidden units of --classifier mlp.")] = 16,
    cost: Annotated[
        list[float] | None,
        typer.Option("--cost", metavar="C", help="C of the SVM; several: cross-validation chooses. Default: five."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of hard-negative mining.")] = 3,
    random: Annotated[int, typer.Option(min=1, help="Random negative windows to begin with.")] = 8000,
    hard: Annotated[int, typer.Option(min=1, help="Hard negatives from one picture and round.")] = 4,
    held_out: Annotated[float, typer.Option(min=0.01, max=0.9, help="Share of the pictures that only measure.")] = 0.15,
    aspect: Annotated[
        float, typer.Option(min=1.0, help="How many times wider or narrower than the object an annotated box may be.")
    ] = 1.4,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file of --out.")] = False,
    seed: SeedOption = 0,
    threads: Annotated[int, typer.Option(min=1, help="Pyramid levels at the same time.")] = 1,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train a HOG detector: crops, pictures without them, rounds of hard negatives, calibrated scores."""
    from detkit.cli.console import say, start_logging
    from detkit.detectors.hog.hog_model import HogParameters, parameters_from_text, write_model
    from detkit.errors import UsageError
    from detkit.files import check_writable, is_device
    from detkit.guard import Guard
    from detkit.training import hog as training

    start_logging(quiet=quiet, verbose=verbose)
    Guard(positives, negatives, images).spare("--out", out)
    if out.exists() and not overwrite and not is_device(out):
        raise UsageError(f"{out} is there already: --overwrite replaces it, or name another --out")
    check_writable(out)
    if classifier is Kind.mlp and cost:
        raise UsageError("--cost is for --classifier svm")
    parameters = parameters_from_text(hog) if hog else HogParameters()
    settings = training.Settings(
        classifier=classifier.value, hidden=hidden, rounds=rounds, negatives=random, hard=hard, held_out=held_out,
        aspect=aspect, seed=seed, threads=threads, costs=tuple(cost) if cost else training.Settings.costs,
    )  # fmt: skip
    wanted = None if object_size is None else size_of(object_size, "--object-size")
    if negatives is not None:
        if images is not None:
            raise UsageError("--images goes with an annotation file, not with folders of crops and negatives")
        if positives.is_file():
            raise UsageError(f"{positives}: is a file; annotations take no NEGATIVES, crops come in a folder")
        samples = training.samples_from_folders(positives, negatives, parameters)
        object_box = (
            None if object_size is None else training.centred(size_of(object_size, "--object-size"), parameters)
        )
    else:
        from detkit.annotations import read_ground_truth

        if positives.is_dir() and images is None:
            raise UsageError(f"{positives}: crops need pictures without the object too: POSITIVES NEGATIVES")
        object_box = training.default_object_box(parameters) if wanted is None else training.centred(wanted, parameters)
        folder = images or positives.parent
        truth = read_ground_truth(positives, images=folder)
        samples = training.samples_from_annotations(truth, folder, name, parameters, object_box, settings)
    if not quiet:
        say(f"{len(samples.windows)} crops of {name}, {len(samples.scenes)} pictures; mirrored crops are added")
        show("round  positives  negatives       C  miss rate at 1e-4  average precision")

    def report(done: training.Round) -> None:
        if not quiet:
            show(
                f"{done.number:5d}  {done.positives:9d}  {done.negatives:9d}  {done.cost:6g}  "
                f"{done.miss_rate:17.4f}  {done.precision:17.4f}"
            )

    model = training.train(samples, parameters, name, object_box, settings, report)
    write_model(out, model)
    if not quiet:
        say(f"wrote {out}; detkit hog-detect SOURCE --model {out}")
