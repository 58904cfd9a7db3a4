"""`detkit train yolo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.options import QuietOption, VerboseOption
from detkit.cli.train_data import (
    DataArgument,
    HeldOutOption,
    ImagesOption,
    ListOption,
    NamesOption,
    OverwriteOption,
    PatienceOption,
    ProcessesOption,
    SeedOption,
    TrainDeviceOption,
    TrainResumeOption,
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


def train_yolo(
    data: DataArgument,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where detector.onnx, the checkpoint and the losses go.")
    ] = Path("yolo-training"),
    images: ImagesOption = None,
    names: NamesOption = None,
    only: ListOption = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Train so long. Default: 30, without --epochs.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(min=0.01, help="Train so many times over the pictures.")] = None,
    size: Annotated[int, typer.Option(min=64, help="Side of the detector's input, a multiple of 32.")] = 416,
    batch: Annotated[int, typer.Option(min=1, help="Pictures a step.")] = 16,
    held_out: HeldOutOption = 0.1,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="Start from a detector trained before. Default: ImageNet's weights."
        ),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A YOLOX network of the same classes that labels pictures, too.")
    ] = None,
    patience: PatienceOption = None,
    device: TrainDeviceOption = "auto",
    resume: TrainResumeOption = False,
    overwrite: OverwriteOption = False,
    processes: ProcessesOption = None,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train an anchor-free YOLO on an ImageNet backbone, and export it (needs the extra `train`: PyTorch)."""
    from detkit.cli.console import hint_on_interrupt, say, start_logging

    start_logging(quiet=quiet, verbose=verbose)
    check_length(size, minutes, epochs)
    spare_training(out, resume=resume, overwrite=overwrite)
    from detkit.cores import available_cores
    from detkit.detectors.yolo.yolo_detector import Yolo
    from detkit.training.material import Source
    from detkit.training.measure import average_precision

    with torch_needed():
        from detkit.training.torch.devices import training_device
        from detkit.training.torch.history import plot_history
        from detkit.training.torch.train_settings import Length
        from detkit.training.torch.training_set import training_set
        from detkit.training.yolo.yolo_recipe import Recipe
        from detkit.training.yolo.yolo_training import YoloStart, YoloWork
        from detkit.training.yolo.yolo_training import train_yolo as train

        training_device(device)  # says now what is wrong with it
    material = read_material(Source(data, images, names, only, held_out, seed), check=True, quiet=quiet)
    truth, measure = material.truth, material.measure

    def detector_of(path: Path) -> Yolo:
        return Yolo(path, conf=0.01, max_det=100, multi_label=True)

    watching = watched(material, detector_of, patience, quiet=quiet)
    hint_on_interrupt(f"--resume goes on from the checkpoint in {out}")
    with counting(100, "percent", quiet=quiet) as advance:
        detector = train(
            training_set(material.learn, truth.categories.names),
            out,
            Length(default_minutes(minutes, epochs), epochs),
            Recipe(image_size=size, batch=batch, seed=seed),
            start=YoloStart(start, resume, teacher),
            work=YoloWork(processes or available_cores(), device=device, watching=watching),
            progress=percent(advance),
        )
    plot_history(out)
    if measure:
        yolo = detector_of(detector)
        print_figures(average_precision((yolo(picture.path) for picture in measure), measure, truth), len(measure))
    if not quiet:
        say(f"wrote {detector}; detkit yolo SOURCE --model {detector}")
