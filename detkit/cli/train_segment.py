"""`detkit train segment`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from detkit.cli.options import QuietOption, VerboseOption
from detkit.cli.train_data import (
    HeldOutOption,
    ImagesOption,
    ListOption,
    OverwriteOption,
    ProcessesOption,
    SeedOption,
    TrainResumeOption,
    check_length,
    counting,
    default_minutes,
    percent,
    spare_training,
    torch_needed,
)


def train_segment(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="A folder with pictures and masks (images/ and masks/, VOC's layout), or COCO JSON with outlines.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where segment.onnx, the checkpoint and the losses go.")
    ] = Path("segment-training"),
    images: ImagesOption = None,
    masks: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the masks are, PNG. Default: a usual folder of DATA.")
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(metavar="FILE|voc", help="Class names from 0 on, background first. Default: as colours tell."),
    ] = None,
    only: ListOption = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Train so long. Default: 30, without --epochs.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(min=0.01, help="Train so many times over the pictures.")] = None,
    network: Annotated[
        Literal["lite0", "deconvnet"],
        typer.Option(help="A small one that has seen ImageNet, or the paper's, from random weights."),
    ] = "lite0",
    width: Annotated[float, typer.Option(min=0.01, max=4, help="Of deconvnet: factor of its channels.")] = 1.0,
    size: Annotated[int, typer.Option(min=64, help="Long side of the pictures, a multiple of 32.")] = 256,
    batch: Annotated[int, typer.Option(min=2, help="Pictures a step.")] = 8,
    held_out: HeldOutOption = 0.1,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="Start from the checkpoint.pt of another training, as far as it fits."
        ),
    ] = None,
    resume: TrainResumeOption = False,
    overwrite: OverwriteOption = False,
    processes: ProcessesOption = None,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train a deconvolution network that tells the class of every pixel, and export it (needs the extra `train`)."""
    from detkit.cli.console import hint_on_interrupt, progress, say, show, start_logging
    from detkit.errors import UsageError

    start_logging(quiet=quiet, verbose=verbose)
    check_length(size, minutes, epochs)
    if width != 1 and network != "deconvnet":
        raise UsageError("--width is of --network deconvnet")
    spare_training(out, resume=resume, overwrite=overwrite)
    from detkit.cores import available_cores

    with torch_needed():
        from detkit.training.segment.segment_export import export_segment
        from detkit.training.segment.segment_material import SegmentSource, segment_material
        from detkit.training.segment.segment_recipe import SegmentRecipe
        from detkit.training.segment.segment_stores import make_stores
        from detkit.training.segment.segment_training import SegmentStart
        from detkit.training.segment.segment_training import train_segment as train
        from detkit.training.torch.history import plot_history
        from detkit.training.torch.layers import quick_in_half
        from detkit.training.torch.train_settings import Length, Work
    material = segment_material(SegmentSource(data, images, masks, names, only, held_out, seed))
    with progress(len(material.learn) + len(material.measure), "pictures", shown=not quiet) as bar:
        stores, class_names = make_stores(out, material, size, bar.advance)
    if not quiet:
        say(f"{len(material.learn)} pictures with {len(class_names)} classes, {len(material.measure)} held out")
    hint_on_interrupt(f"--resume goes on from the checkpoint in {out}")
    recipe = SegmentRecipe(image_size=size, batch=batch, seed=seed, mixed_precision=quick_in_half())
    with counting(100, "percent", quiet=quiet) as advance:
        outcome = train(
            stores,
            class_names,
            out,
            Length(default_minutes(minutes, epochs), epochs),
            recipe,
            start=SegmentStart(network, width, start, resume),
            # Each has two pictures at least: their mean is normalised by, and the last map may be one pixel.
            work=Work(min(processes or available_cores(), batch // 2)),
            progress=percent(advance),
        )
    path = export_segment(outcome.network, out / "segment.onnx", size, class_names, outcome.run)
    stores.remove()
    plot_history(out)
    if outcome.miou >= 0:
        show(f"mIoU {outcome.miou:.4f}  on {len(material.measure)} pictures held out, at {size} pixels")
    if not quiet:
        say(f"wrote {path}; detkit segment SOURCE --model {path}")
