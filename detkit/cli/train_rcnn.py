"""`detkit train rcnn`."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detkit.cli.options import QuietOption, VerboseOption
from detkit.cli.rcnn import Variant
from detkit.cli.train_data import (
    DataArgument,
    HeldOutOption,
    ImagesOption,
    ListOption,
    NamesOption,
    OverwriteOption,
    SeedOption,
    check_length,
    counting,
    default_minutes,
    percent,
    print_figures,
    read_material,
    spare_training,
    torch_needed,
    watched,
)
from detkit.cli.windows import size_of

if TYPE_CHECKING:
    from detkit.detectors.base import Detector
    from detkit.training.material import Material
    from detkit.training.rcnn.precomputed import GivenProposals
    from detkit.training.rcnn.rcnn_recipe import Recipe
    from detkit.training.torch.train_settings import Length, Start, Work

_SVM, _NETWORK = "R-CNN: features and SVMs", "Fast and Faster R-CNN: networks"


def train_rcnn(
    data: DataArgument,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where the detector and what --resume needs go.")
    ] = Path("rcnn-training"),
    images: ImagesOption = None,
    names: NamesOption = None,
    only: ListOption = None,
    variant: Annotated[Variant, typer.Option(help="Fast and faster need the extra `train`: PyTorch.")] = Variant.rcnn,
    proposals: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD|FILE",
            help="selective-search, edge-boxes, grid, or a file of `detkit proposals`. Default: selective-search; for "
            "faster none but its own.",
        ),
    ] = None,
    max_proposals: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Regions per picture. Default: 500.")
    ] = None,
    held_out: HeldOutOption = 0.1,
    features: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="A classifier network. Default: the bundled one.", rich_help_panel=_SVM),
    ] = None,
    row: Annotated[
        str | None,
        typer.Option(
            metavar="TENSOR", help="Its row of features. Default: what its last layer sees.", rich_help_panel=_SVM
        ),
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(metavar="TENSOR", help="Its map of features. Default: the last one.", rich_help_panel=_SVM),
    ] = None,
    warp: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Of the warped regions. Default: the network's own.", rich_help_panel=_SVM),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="PIXELS",
            help="Of a warped region that show what is around the box. Default: 16.",
            rich_help_panel=_SVM,
        ),
    ] = None,
    cost: Annotated[
        float | None, typer.Option(min=1e-9, metavar="C", help="Of the SVMs. Default: 0.01.", rich_help_panel=_SVM)
    ] = None,
    ridge: Annotated[
        float | None,
        typer.Option(
            min=0, help="The regressors' penalty; 0 trains none. Default: 100.", rich_help_panel=_SVM
        ),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=0, help="Of hard-negative mining. Default: 2.", rich_help_panel=_SVM)
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.01, help="Train so long. Default: 30, without --epochs.", rich_help_panel=_NETWORK),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(min=0.01, help="Train so many times over the pictures.", rich_help_panel=_NETWORK)
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=64, help="Long side of the pictures. Default: 416.", rich_help_panel=_NETWORK),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Pictures a step. Default: 8.", rich_help_panel=_NETWORK)
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A detector of detkit train yolo whose backbone to begin with. Default: ImageNet's weights.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Default: the cores that this process may use.", rich_help_panel=_NETWORK),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="End after N of the ten looks at the held-out pictures without a better AP. The best is kept in any "
            "case.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            help="cpu, cuda or cuda:N, which computes in mixed precision; auto is a card where there is one. Default: "
            "auto.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from what is in --out.")] = False,
    overwrite: OverwriteOption = False,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:  # fmt: skip
    """Train an R-CNN (SVMs on a network's features), a Fast or a Faster R-CNN on your own annotations."""
    from detkit.cli.console import hint_on_interrupt, say, start_logging
    from detkit.errors import UsageError

    start_logging(quiet=quiet, verbose=verbose)
    networks = {
        "--minutes": minutes, "--epochs": epochs, "--size": size, "--batch": batch, "--from": start,
        "--processes": processes, "--patience": patience, "--device": device,
    }  # fmt: skip
    machines = {
        "--features": features, "--row": row, "--grid": grid, "--warp": warp, "--cost": cost, "--ridge": ridge,
        "--rounds": rounds, "--context": context,
    }  # fmt: skip
    for name, value in (networks if variant is Variant.rcnn else machines).items():
        if value is not None:
            raise UsageError(f"{name} is not for --variant {variant.value}")
    for name, number in (("--cost", cost), ("--ridge", ridge)):
        if number is not None and not math.isfinite(number):
            raise UsageError(f"{name} must be a number, not {number}")
    check_length(size, minutes, epochs)
    if variant is Variant.faster and proposals is None and max_proposals is not None:
        raise UsageError("--max-proposals is for --proposals: without them Faster R-CNN learns from its own")
    spare_training(out, resume=resume, overwrite=overwrite)
    from detkit.cores import available_cores
    from detkit.detectors.rcnn.region_features import CONTEXT, Features
    from detkit.training.material import Source
    from detkit.training.rcnn.precomputed import given_by
    from detkit.training.rcnn.rcnn_recipe import Recipe
    from detkit.training.rcnn.rcnn_svm import Settings
    from detkit.training.rcnn.svm_training import SvmRecipe, train_svms
    from detkit.training.torch.train_settings import Length, Start, Work

    source = Source(data, images, names, only, held_out, seed)
    # An R-CNN's features are computed picture by picture before anything is learned: that is the check.
    material = read_material(source, check=variant is not Variant.rcnn, quiet=quiet)
    hint_on_interrupt(f"--resume goes on from what is in {out}")
    if variant is Variant.rcnn:
        size_of_warp = size_of(warp, "--warp") if warp else None
        given: dict[str, Any] = {"cost": cost, "ridge": ridge, "rounds": rounds}
        settings = Settings(seed=seed, **{key: value for key, value in given.items() if value is not None})
        recipe = SvmRecipe(
            features,
            Features(row, grid, size_of_warp, CONTEXT if context is None else context),
            proposals or "selective-search",
            max_proposals or 500,
            settings,
            resume,
        )
        trained = train_svms(material, out, recipe, functools.partial(counting, quiet=quiet))
        detector = trained.path
        for how, figures in trained.figures():
            print_figures(figures, trained.measured, how)
    else:
        network_recipe = Recipe(variant.value, size or 416, batch=batch or 8, seed=seed)
        method = proposals or ("selective-search" if variant is Variant.fast else None)
        detector = _train_network(
            material,
            out,
            Length(default_minutes(minutes, epochs), epochs),
            network_recipe,
            None if method is None else given_by(method, max_proposals or 500),
            Start(start, resume),
            Work(processes or min(network_recipe.batch, available_cores()), device=device or "auto"),
            _Seen(patience, quiet),
        )
    if not quiet:
        say(f"wrote {detector}; detkit rcnn SOURCE --model {detector}")


@dataclass(frozen=True)
class _Seen:
    """What is seen of a training: when it ends early, and whether it is told."""

    patience: int | None
    quiet: bool


def _train_network(
    material: Material,
    out: Path,
    length: Length,
    recipe: Recipe,
    proposals: GivenProposals | None,
    start: Start,
    work: Work,
    seen: _Seen,
) -> Path:
    """Train a Fast or a Faster R-CNN, measure it, and say how good it is."""
    from detkit.detectors.rcnn.two_stage import two_stage
    from detkit.training.measure import average_precision

    with torch_needed():
        from detkit.training.rcnn import rcnn_training
        from detkit.training.torch.history import plot_history
        from detkit.training.torch.training_set import training_set

    def detector_of(path: Path) -> Detector:
        return two_stage(path, recipe.variant, conf=0.01, max_det=100)

    watching = watched(material, detector_of, seen.patience, quiet=seen.quiet)
    with counting(100, "percent", quiet=seen.quiet) as advance:
        detector = rcnn_training.train_rcnn(
            training_set(material.learn, material.truth.categories.names),
            out,
            length,
            recipe,
            proposals=proposals,
            start=start,
            work=replace(work, watching=watching),
            progress=percent(advance),
        )
    plot_history(out)
    if material.measure:
        found = detector_of(detector)
        detections = (found(picture.path) for picture in material.measure)
        print_figures(average_precision(detections, material.measure, material.truth), len(material.measure))
    return detector
