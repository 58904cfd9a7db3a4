"""`detkit anchors`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.console import counted, show
from detkit.cli.train_data import SeedOption


def box_anchors(
    annotations: Annotated[
        Path, typer.Argument(metavar="ANNOTATIONS", help="COCO JSON, a VOC or YOLO folder, ...", show_default=False)
    ],
    k: Annotated[int, typer.Option("-k", min=1, max=100, metavar="N", help="How many anchors.")] = 5,
    size: Annotated[int, typer.Option(min=1, help="Side of the network's input, pixels.")] = 416,
    stride: Annotated[int, typer.Option(min=1, help="Side of a cell of the network's grid, pixels.")] = 32,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The pictures, where the annotations do not tell their sizes.")
    ] = None,
    names: Annotated[Path | None, typer.Option(metavar="FILE", help="Class names, for YOLO folders without.")] = None,
    json: Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write all there; - is stdout.")] = None,
    seed: SeedOption = 0,
) -> None:
    """Anchors for boxes like these: YOLO v2's k-means with 1 - IoU as the distance, and the mean IoU for each number.

    Boxes are measured at the network's input, where the longer side of each picture is --size.
    """
    import numpy as np

    from detkit.annotations import read_ground_truth
    from detkit.cli.console import write_figures
    from detkit.cli.tables import print_table
    from detkit.errors import InputError, UsageError
    from detkit.guard import Guard
    from detkit.metrics.anchor_clusters import anchor_clusters

    if json is not None and json != "-":
        if not json.strip():
            raise UsageError("--json: is no name of a file")
        Guard(annotations, images, names).spare("--json", Path(json))
    truth = read_ground_truth(annotations, names=names, images=images)
    sides = np.maximum(truth.images.widths, truth.images.heights)[truth.image_index]
    used = ~(truth.crowd | truth.ignore) & (truth.boxes[:, 2:] > 0).all(axis=1)
    if not used.any():
        raise InputError(f"{annotations}: has no boxes to make anchors of")
    if (sides[used] == 0).any():
        raise UsageError(f"{annotations}: does not say how large its pictures are; name their folder: --images DIR")
    boxes = truth.boxes[used, 2:] * (size / sides[used])[:, None]
    found = [anchor_clusters(boxes, number, seed) for number in range(1, k + 1)]
    if json is not None:
        rows = [
            {"k": number, "mean_iou": one.mean_iou, "anchors": one.sizes.tolist()}
            for number, one in enumerate(found, 1)
        ]
        write_figures(json, {"boxes": len(boxes), "size": size, "stride": stride, "seed": seed, "clusters": rows})
        if json == "-":
            return
    figures = [[number, f"{one.mean_iou:.4f}"] for number, one in enumerate(found, 1)]
    print_table(
        f"{counted(len(boxes), 'box', 'boxes')} at {size} pixels", [("k", "right"), ("mean IoU", "right")], figures
    )
    last = found[-1].sizes
    cells = last / stride
    columns = [("width", "right"), ("height", "right"), (f"in cells of {stride}", "right"), ("", "right")]
    print_table(
        f"\n{counted(len(last), 'anchor')}",
        columns,
        [[f"{w:.1f}", f"{h:.1f}", f"{x:.2f}", f"{y:.2f}"] for (w, h), (x, y) in zip(last, cells, strict=True)],
    )
    if len(last) < k:
        show(f"the boxes have only {counted(len(last), 'different size')}", err=True)
