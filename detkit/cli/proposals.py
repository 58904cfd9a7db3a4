"""`detkit proposals`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from detkit.cli.options import DeviceOption, QuietOption, VerboseOption

_SEARCH, _EDGES, _OUTPUT, _RUN = "Selective search", "Edge boxes", "Output", "How it runs"


class Method(str, Enum):
    selective_search = "selective-search"
    edge_boxes = "edge-boxes"
    grid = "grid"


class Mode(str, Enum):
    fast = "fast"
    quality = "quality"


class Ranking(str, Enum):
    agreement = "agreement"
    paper = "paper"


def proposals(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Pictures, folders (searched through), globs, @list.txt, or - for paths on stdin.",
            show_default=False,
        ),
    ],
    method: Annotated[
        Method, typer.Option(metavar="NAME", help="selective-search, edge-boxes or grid.")
    ] = Method.selective_search,
    max_proposals: Annotated[int, typer.Option("--max", min=1, metavar="N", help="Boxes per picture.")] = 2000,
    mode: Annotated[
        Mode, typer.Option(help="8 strategies, or 80 for more boxes.", rich_help_panel=_SEARCH)
    ] = Mode.fast,
    ranking: Annotated[
        Ranking,
        typer.Option(
            help="Boxes that many strategies agree on first, or the paper's by chance and level.",
            rich_help_panel=_SEARCH,
        ),
    ] = Ranking.agreement,
    seed: Annotated[int, typer.Option(min=0, help="Of --ranking paper.", rich_help_panel=_SEARCH)] = 0,
    side: Annotated[
        int,
        typer.Option(
            min=0, help="Reduce larger pictures to this longer side first; 0 for never.", rich_help_panel=_SEARCH
        ),
    ] = 600,
    alpha: Annotated[
        float, typer.Option(help="IoU of neighbouring windows, 0 to 1: more is denser.", rich_help_panel=_EDGES)
    ] = 0.65,
    beta: Annotated[
        float, typer.Option(help="Drop boxes that overlap a better one more.", rich_help_panel=_EDGES)
    ] = 0.75,
    eta: Annotated[
        float, typer.Option(help="Factor on --beta for every box kept, down to 0.5.", rich_help_panel=_EDGES)
    ] = 1.0,
    min_score: Annotated[
        float, typer.Option(min=0, help="Drop boxes with a lower score.", rich_help_panel=_EDGES)
    ] = 0.01,
    edges: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="OpenCV's structured forest (.yml, .yml.gz, .xml) or an .onnx edge network. Default: gradients.",
            rich_help_panel=_EDGES,
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE.jsonl",
            help="JSON Lines; - is stdout. Default: stdout when piped, a line a picture on a terminal.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    draw: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write pictures with their best boxes there.", rich_help_panel=_OUTPUT),
    ] = None,
    draw_best: Annotated[
        int, typer.Option(min=1, metavar="N", help="Boxes that --draw draws.", rich_help_panel=_OUTPUT)
    ] = 20,
    gt: Annotated[
        Path | None,
        typer.Option(
            metavar="ANNOTATIONS",
            help="Say how well the boxes cover these: recall and average best overlap.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on where an interrupted run with the same --out stopped.", rich_help_panel=_RUN
        ),
    ] = False,
    device: DeviceOption = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Default: the cores that this process may use.", rich_help_panel=_RUN)
    ] = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Propose boxes that may hold an object of any kind, best first, and say how well they cover real ones."""
    from detkit.cli.console import start_logging
    from detkit.cli.proposals_run import ProposalRun
    from detkit.cores import available_cores
    from detkit.errors import DeviceError
    from detkit.proposals.methods import Propose, edge_boxes_method, grid_method, selective_search_method

    start_logging(quiet=quiet, verbose=verbose)
    search = {"mode": mode.value, "ranking": ranking.value, "seed": seed, "side": side}
    windows = {"alpha": alpha, "beta": beta, "eta": eta, "min_score": min_score}
    if method is not Method.selective_search:
        _refuse_changed(search, {"mode": "fast", "ranking": "agreement", "seed": 0, "side": 600}, "selective-search")
    if method is not Method.edge_boxes:
        defaults = {"alpha": 0.65, "beta": 0.75, "eta": 1.0, "min_score": 0.01, "edges": None}
        _refuse_changed({**windows, "edges": edges}, defaults, "edge-boxes")
    network = edges is not None and edges.suffix.lower() == ".onnx"
    if device not in ("auto", "cpu") and not network:
        raise DeviceError(f"device {device!r}: only an .onnx edge network runs on another device than the cpu")

    def make(workers: int) -> Propose:
        if method is Method.grid:
            return grid_method(max_proposals)
        if method is Method.edge_boxes:
            return edge_boxes_method(edges, max_proposals, workers, device, **windows)
        return selective_search_method(mode.value, ranking.value, seed, side or None, max_proposals, workers)

    settings: dict[str, Any] = {"method": method.value, "max": max_proposals}
    settings |= search if method is Method.selective_search else windows if method is Method.edge_boxes else {}
    run = ProposalRun(
        make, settings, sources, out=out, draw=draw, draw_best=draw_best, gt=gt, edges=edges, resume=resume,
        workers=threads or available_cores(), quiet=quiet,
    )  # fmt: skip
    raise typer.Exit(int(run.run()))


def _refuse_changed(given: dict[str, Any], defaults: dict[str, Any], method: str) -> None:
    from detkit.errors import UsageError

    for name, value in given.items():
        if value != defaults[name]:
            raise UsageError(f"--{name.replace('_', '-')} is for --method {method}")
