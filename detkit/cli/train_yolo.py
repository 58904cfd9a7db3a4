"""`detkit train yolo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli.options import QuietOption, VerboseOption

if TYPE_CHECKING:
    from detkit.annotations.tables import GroundTruth
    from detkit.training.pictures import AnnotatedPicture


def train_yolo(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Annotations: COCO JSON, a VOC or YOLO folder, ...", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where detector.onnx, the checkpoint and the losses go.")
    ] = Path("yolo-training"),
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the pictures are. Default: beside the annotations.")
    ] = None,
    names: Annotated[Path | None, typer.Option(metavar="FILE", help="Class names, for YOLO folders without.")] = None,
    only: Annotated[
        Path | None,
        typer.Option("--list", metavar="FILE", help="Use only the pictures listed there, like VOC's ImageSets."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Train so long. Default: 30, without --epochs.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(min=0.01, help="Train so many times over the pictures.")] = None,
    size: Annotated[int, typer.Option(min=64, help="Side of the detector's input, a multiple of 32.")] = 416,
    batch: Annotated[int, typer.Option(min=1, help="Pictures a step.")] = 16,
    held_out: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the pictures that only measure.")] = 0.1,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="Start from a detector trained before. Default: ImageNet's weights."
        ),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A YOLOX network of the same classes that labels pictures, too.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    processes: Annotated[int | None, typer.Option(min=1, help="Default: the cores that this process may use.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train an anchor-free YOLO on an ImageNet backbone, and export it (needs the extra `train`: PyTorch)."""
    from detkit.cli.console import hint_on_interrupt, progress, say, start_logging
    from detkit.errors import UsageError

    start_logging(quiet=quiet, verbose=verbose)
    if minutes is not None and epochs is not None:
        raise UsageError("give --minutes or --epochs, not both")
    try:
        from detkit.training import yolo as training
    except ImportError as error:
        raise UsageError(
            f"training needs PyTorch, which is not here ({error.name}): pip install 'detkit[train]'"
        ) from error
    from detkit.annotations import read_ground_truth
    from detkit.network import available_cores
    from detkit.training.pictures import annotated_pictures, stems_in

    folder = images or (data if data.is_dir() else data.parent)
    truth = read_ground_truth(data, names=names, images=images)
    pictures = annotated_pictures(truth, folder)
    if only is not None:
        stems = stems_in(only)
        pictures = [picture for picture in pictures if picture.path.stem in stems]
        if not pictures:
            raise UsageError(f"{only}: lists none of the annotated pictures")
    learn, measure = _split(pictures, held_out, seed)
    if not quiet:
        boxes = sum(len(picture.boxes) for picture in learn)
        say(f"{len(learn)} pictures with {boxes} boxes of {len(truth.categories)} classes, {len(measure)} held out")
    hint_on_interrupt(f"--resume goes on from the checkpoint in {out}")
    dataset = training.TrainingSet(
        [picture.path for picture in learn],
        [picture.boxes for picture in learn],
        [picture.classes for picture in learn],
        truth.categories.names,
    )
    limit = 30.0 if minutes is None and epochs is None else minutes
    with progress(100, "percent", shown=not quiet) as bar:

        def report(step: training.Progress) -> None:
            bar.advance(int(100 * step.share) - bar.done)

        detector = training.train_yolo(
            dataset,
            out,
            minutes=limit,
            epochs=epochs,
            recipe=training.Recipe(image_size=size, batch=batch, seed=seed),
            detector=start,
            teacher=teacher,
            resume=resume,
            processes=processes or available_cores(),
            progress=report,
        )
    training.plot_history(out)
    if measure:
        ap, ap50 = _average_precision(detector, truth, measure)
        print(f"AP {ap:.4f}  AP50 {ap50:.4f}  on {len(measure)} pictures held out")
    if not quiet:
        say(f"wrote {detector}; detkit yolo SOURCE --model {detector}")


def _split(
    pictures: list[AnnotatedPicture], share: float, seed: int
) -> tuple[list[AnnotatedPicture], list[AnnotatedPicture]]:
    """Pictures to learn from and pictures to measure on, the same split for the same seed."""
    import random

    held = set(random.Random(seed).sample(range(len(pictures)), round(share * len(pictures))))
    if len(held) == len(pictures):
        held.clear()
    chosen = [(number in held, picture) for number, picture in enumerate(pictures)]
    return [picture for out, picture in chosen if not out], [picture for out, picture in chosen if out]


def _average_precision(detector: Path, truth: GroundTruth, pictures: list[AnnotatedPicture]) -> tuple[float, float]:
    """AP and AP50 of an exported detector on some of the pictures of the annotations."""
    from dataclasses import replace

    import numpy as np

    from detkit.annotations import Predictions
    from detkit.boxes import xyxy_to_xywh
    from detkit.detectors.yolo import Yolo
    from detkit.metrics.coco import evaluate_coco

    yolo = Yolo(detector, conf=0.01, max_det=100, multi_label=True)
    found = [yolo(picture.path) for picture in pictures]
    counts = [len(detections) for detections in found]
    predictions = Predictions(
        np.repeat(np.array([picture.row for picture in pictures]), counts),
        np.concatenate([detections.class_ids for detections in found]),
        xyxy_to_xywh(np.concatenate([detections.boxes for detections in found])).astype(np.float64),
        np.concatenate([detections.scores for detections in found]).astype(np.float64),
    )
    kept = np.isin(truth.image_index, [picture.row for picture in pictures])
    columns = ("image_index", "class_index", "boxes", "areas", "crowd", "difficult", "ignore", "truncated", "occluded")
    part = replace(
        truth,
        ids=tuple(entry for entry, keep in zip(truth.ids, kept.tolist(), strict=True) if keep),
        **{name: getattr(truth, name)[kept] for name in columns},
    )
    figures = evaluate_coco(part, predictions).figures
    return figures["AP"], figures["AP50"]
