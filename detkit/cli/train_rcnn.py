"""`detkit train rcnn`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from detkit.cli.options import QuietOption, VerboseOption
from detkit.cli.rcnn import Variant
from detkit.cli.train_data import (
    DataArgument,
    HeldOutOption,
    ImagesOption,
    ListOption,
    Material,
    NamesOption,
    SeedOption,
    print_figures,
    read_material,
)
from detkit.cli.windows import size_of

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
    resume: Annotated[bool, typer.Option("--resume", help="Go on from what is in --out.")] = False,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:  # fmt: skip
    """Train an R-CNN (SVMs on a network's features), a Fast or a Faster R-CNN on your own annotations."""
    from detkit.cli.console import hint_on_interrupt, start_logging
    from detkit.errors import UsageError

    start_logging(quiet=quiet, verbose=verbose)
    networks = {
        "--minutes": minutes, "--epochs": epochs, "--size": size, "--batch": batch, "--from": start,
        "--processes": processes,
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
    if size is not None and size % 32:
        raise UsageError(f"--size must be a multiple of 32, not {size}")
    if variant is Variant.faster and proposals is None and max_proposals is not None:
        raise UsageError("--max-proposals is for --proposals: without them Faster R-CNN learns from its own")
    if minutes is not None and epochs is not None:
        raise UsageError("give --minutes or --epochs, not both")
    check = variant is not Variant.rcnn  # whose features are computed picture by picture before anything is learned
    material = read_material(data, images, names, only, held_out, seed, check=check, quiet=quiet)
    hint_on_interrupt(f"--resume goes on from what is in {out}")
    run = _Run(out, material, proposals, max_proposals or 500, resume, seed, quiet)
    if variant is Variant.rcnn:
        given = {"cost": cost, "ridge": ridge, "rounds": rounds}
        run.rcnn(
            {"model": features, "row": row, "grid": grid, "size": size_of(warp, "--warp") if warp else None},
            16 if context is None else context,
            {key: value for key, value in given.items() if value is not None},
        )
    else:
        run.network(variant, minutes, epochs, size or 416, batch or 8, start, processes)


class _Run:
    """A training: where it goes, and what it learns from."""

    def __init__(
        self,
        out: Path,
        material: Material,
        proposals: str | None,
        max_proposals: int,
        resume: bool,
        seed: int,
        quiet: bool,
    ) -> None:
        self.out = out
        self.truth, self.learn, self.measure = material.truth, material.learn, material.measure
        self.proposals, self.max_proposals = proposals, max_proposals
        self.resume, self.seed, self.quiet = resume, seed, quiet

    def rcnn(self, network: dict[str, Any], context: int, settings: dict[str, Any]) -> None:
        import hashlib
        import os

        from detkit.cli.console import progress, say
        from detkit.detectors.rcnn.rcnn_model import FeatureSettings, write_rcnn_model
        from detkit.detectors.rcnn.region_features import RegionFeatures
        from detkit.detectors.rcnn.region_proposals import proposal_source
        from detkit.graphs.registry import default_model
        from detkit.training.measure import average_precision
        from detkit.training.rcnn_svm import Settings, cache_features, detect_stored, train_rcnn

        features = RegionFeatures(**network, context=context)
        path = features.network.path
        default = default_model("slide")
        model = network["model"] or (default.name if default else "")
        if path == Path(model):
            model = os.path.relpath(path, self.out)
        described = FeatureSettings(
            model,
            hashlib.sha256(path.read_bytes()).hexdigest(),
            features.row,
            features.grid,
            features.size,
            features.context,
        )
        method = self.proposals or "selective-search"
        wanted = {
            "features": [described.sha256, features.row, features.grid, list(features.size), features.context],
            "proposals": [method, self.max_proposals],
        }
        folder = self.out / "features"
        pictures = [*self.learn, *self.measure]
        source = proposal_source(method, self.max_proposals)
        with progress(len(pictures), "pictures", shown=not self.quiet) as bar:
            readable = cache_features(
                pictures, features, source, folder, wanted, resume=self.resume, advance=bar.advance
            )  # fmt: skip
        rows = {picture.row for picture in readable}
        learn, measure = ([one for one in part if one.row in rows] for part in (self.learn, self.measure))
        chosen = Settings(**settings, seed=self.seed)
        classes = len(self.truth.categories)
        fits = classes * (chosen.rounds + 1 + (chosen.ridge > 0))
        with progress(fits, "fits", shown=not self.quiet) as bar:
            made = train_rcnn(learn, measure, folder, self.truth.categories.names, described, chosen, None, bar.advance)
        detector = self.out / "detector.npz"
        write_rcnn_model(detector, made)
        if measure:
            for regress in (False, True) if chosen.ridge > 0 else (False,):
                found = detect_stored(made, measure, folder, bbox_regression=regress)
                how = f", {'with' if regress else 'without'} box regression"
                print_figures(average_precision(found, measure, self.truth), len(measure), how)
        if not self.quiet:
            say(f"wrote {detector}; detkit rcnn SOURCE --model {detector}")

    def network(
        self,
        variant: Variant,
        minutes: float | None,
        epochs: float | None,
        size: int,
        batch: int,
        start: Path | None,
        processes: int | None,
    ) -> None:
        from detkit.cli.console import progress, say
        from detkit.cores import available_cores
        from detkit.detectors.rcnn.region_proposals import proposal_source
        from detkit.detectors.rcnn.two_stage import two_stage
        from detkit.errors import UsageError
        from detkit.images import read_image
        from detkit.training.measure import average_precision

        try:
            from detkit.training import rcnn as training
        except ImportError as error:
            raise UsageError(
                f"training needs PyTorch, which is not here ({error.name}): pip install 'detkit[train]'"
            ) from error
        method = self.proposals or ("selective-search" if variant is Variant.fast else None)
        source = None if method is None else proposal_source(method, self.max_proposals)

        def boxes(path: Path) -> Any:
            assert source is not None
            return source(read_image(path), path.as_posix()).boxes

        dataset = training.TrainingSet(
            [picture.path for picture in self.learn],
            [picture.boxes for picture in self.learn],
            [picture.classes for picture in self.learn],
            self.truth.categories.names,
        )
        with progress(100, "percent", shown=not self.quiet) as bar:

            def report(step: training.Progress) -> None:
                bar.advance(int(100 * step.share) - bar.done)

            detector = training.train_rcnn(
                dataset,
                self.out,
                variant="fast" if variant is Variant.fast else "faster",
                minutes=30.0 if minutes is None and epochs is None else minutes,
                epochs=epochs,
                recipe=training.Recipe(image_size=size, batch=batch, seed=self.seed),
                detector=start,
                proposals=None if source is None else boxes,
                proposals_by=f"{self.max_proposals} of {method}",
                resume=self.resume,
                processes=processes or min(batch, available_cores()),
                progress=report,
            )
        training.plot_history(self.out)
        if self.measure:
            found = two_stage(detector, variant.value, conf=0.01, max_det=100)
            detections = (found(read_image(picture.path)) for picture in self.measure)
            print_figures(average_precision(detections, self.measure, self.truth), len(self.measure))
        if not self.quiet:
            say(f"wrote {detector}; detkit rcnn SOURCE --model {detector}")
