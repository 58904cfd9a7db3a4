"""`detkit look`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.options import CONF, DeviceOption, MaxPixelsOption, QuietOption, ThreadsOption, VerboseOption

_LAYERS, _WHY, _OUTPUT = "Layers", "Why this box", "Output"


def look(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Pictures, folders (searched through), globs, @list.txt, or - for paths on stdin.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="NAME|FILE", help="A model by name, or a file. Default: the bundled detector."
        ),
    ] = None,
    layers: Annotated[
        bool,
        typer.Option(
            "--layers", help="List the layers: name, operator, shape, parameters, cost.", rich_help_panel=_LAYERS
        ),
    ] = False,
    activations: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write grids of channels there, and the filters of the first layer.",
            rich_help_panel=_LAYERS,
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|N|N-M|all",
            help="Which layers, by name, part of a name, or as --layers numbers them. Default: ten, first to last.",
            rich_help_panel=_LAYERS,
        ),
    ] = None,
    channels: Annotated[
        int, typer.Option(min=1, metavar="N", help="Channels in a grid.", rich_help_panel=_LAYERS)
    ] = 64,
    projection: Annotated[
        bool,
        typer.Option(
            "--projection",
            help="Which pixels drive a unit, by ZFNet's deconvolution; of a folder, the nine pictures that do most.",
            rich_help_panel=_LAYERS,
        ),
    ] = False,
    unit: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="CHANNEL", help="Project this channel. Default: the strongest.", rich_help_panel=_LAYERS
        ),
    ] = None,
    why: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Explain the N best boxes by D-RISE: random masks, until the maps have settled.",
            rich_help_panel=_WHY,
        ),
    ] = None,
    occlusion: Annotated[
        bool,
        typer.Option(
            "--occlusion", help="Slide a gray square over the picture: what costs score?", rich_help_panel=_WHY
        ),
    ] = False,
    cam: Annotated[
        bool,
        typer.Option(
            "--cam", help="Class activation map of a classifier with global average pooling.", rich_help_panel=_WHY
        ),
    ] = False,
    eigen_cam: Annotated[
        bool,
        typer.Option(
            "--eigen-cam",
            help="What is salient to a detector's last layer (not why a box is there).",
            rich_help_panel=_WHY,
        ),
    ] = False,
    attention: Annotated[
        bool,
        typer.Option(
            "--attention",
            help="What a transformer attends to: heads, roll-out, a decoder's queries.",
            rich_help_panel=_WHY,
        ),
    ] = False,
    box: Annotated[
        str | None,
        typer.Option(
            metavar="x1,y1,x2,y2",
            help="The box that channels are sorted by, and whose detection is explained. Default: the best detection.",
            rich_help_panel=_WHY,
        ),
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="Explain this class only.", rich_help_panel=_WHY),
    ] = None,
    conf: Annotated[
        float, typer.Option(min=0, max=1, help="Explain boxes with a higher score.", rich_help_panel=_WHY)
    ] = CONF,
    masks: Annotated[
        int, typer.Option(min=40, metavar="N", help="Masks of --why at the most.", rich_help_panel=_WHY)
    ] = 2000,
    cells: Annotated[
        int,
        typer.Option(min=2, max=64, help="Cells of a mask along each side; the paper has 16.", rich_help_panel=_WHY),
    ] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of the masks.", rich_help_panel=_WHY)] = 0,
    square: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="PIXELS",
            help="Side of --occlusion's square, in pixels of the network's input. Default: a sixth of the longer side.",
            rich_help_panel=_WHY,
        ),
    ] = None,
    stages: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the detector's intermediate results there, under its paper's names. --model also takes "
            "selective-search and edge-boxes.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="The way of one picture through the detector as a page, a sentence a step.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where maps go.", rich_help_panel=_OUTPUT)
    ] = Path("detkit-look"),
    json: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write all numbers there; - is stdout.", rich_help_panel=_OUTPUT),
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    max_pixels: MaxPixelsOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Look inside a network: its layers, what they see in a picture, and which pixels speak for a box."""
    from detkit.cli.console import start_logging
    from detkit.cli.look_pictures import Looking, Wanted, look_at
    from detkit.errors import UsageError
    from detkit.graphs.runtime import Runtime
    from detkit.images import set_max_pixels
    from detkit.inside.hiding import RandomMasks

    start_logging(quiet=quiet, verbose=verbose)
    inside = layers or activations or projection or why or occlusion or cam or eigen_cam or attention
    if not (inside or stages or report):
        raise UsageError(
            "say what to look at: --layers, --activations DIR, --projection, --why N, --occlusion, --cam, --eigen-cam "
            "--attention, --stages DIR or --report FILE.html"
        )
    if layer is not None and activations is None and not projection:
        raise UsageError("--layer chooses what --activations DIR and --projection show: name one of them, too")
    if unit is not None and not projection:
        raise UsageError("--unit is for --projection")
    if max_pixels is not None:
        set_max_pixels(max_pixels)
    if stages is not None or report is not None:
        from detkit.cli.look_stages import write_stages

        if inside:
            raise UsageError(
                "--stages and --report are of the detector's steps; ask for its layers and maps by themselves"
            )
        status = write_stages(sources, model, Runtime(device, threads), conf, stages, report, json, quiet)
        if status:
            raise typer.Exit(status)
        return
    wanted = Wanted(layers, activations, layer, channels, projection, unit, why, occlusion, cam, eigen_cam, attention)
    looking = Looking(
        model, Runtime(device, threads), conf, _box(box), class_name, square,
        RandomMasks(cells=cells, most=masks, least=min(200, masks), seed=seed), out, json, quiet, verbose,
    )  # fmt: skip
    status = look_at(sources, wanted, looking)
    if status:
        raise typer.Exit(status)


def _box(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split(","))
    except ValueError:
        x1 = y1 = x2 = y2 = 0.0
    if not (x1 < x2 and y1 < y2):
        raise typer.BadParameter(f"{text!r} is no box like 10,20,200,300 with x1 < x2 and y1 < y2", param_hint="--box")
    return x1, y1, x2, y2
