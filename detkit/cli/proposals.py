"""`detkit proposals`."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detkit.cli.at_scale import AddressOption, EngineOption, PartOption, PlanOption, Scale, run_at_scale
from detkit.cli.console import show
from detkit.cli.options import DeviceOption, MaxPixelsOption, QuietOption, ReadersOption, ResumeOption, VerboseOption
from detkit.errors import ExitStatus

if TYPE_CHECKING:
    from detkit.proposals.methods import MethodOptions

_SEARCH, _EDGES, _OUTPUT, _RUN = "Selective search", "Edge boxes", "Output", "How it runs"


class Method(str, Enum):
    selective_search = "selective-search"
    edge_boxes = "edge-boxes"
    grid = "grid"
    rpn = "rpn"


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
        Method, typer.Option(metavar="NAME", help="selective-search, edge-boxes, grid or rpn.")
    ] = Method.selective_search,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|FILE",
            help="Of rpn: the Faster R-CNN whose region proposal network proposes. Default: the bundled one.",
        ),
    ] = None,
    max_proposals: Annotated[int, typer.Option("--max", min=1, metavar="N", help="Boxes per picture.")] = 2000,
    mode: Annotated[
        Mode | None, typer.Option(help="8 strategies, or 80 for more boxes. Default: fast.", rich_help_panel=_SEARCH)
    ] = None,
    ranking: Annotated[
        Ranking | None,
        typer.Option(
            help="Boxes that many strategies agree on first, or the paper's by chance and level. Default: agreement.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of --ranking paper. Default: 0.", rich_help_panel=_SEARCH)
    ] = None,
    side: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Reduce larger pictures to this longer side first; 0 for never. Default: 600.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(
            help="IoU of neighbouring windows, 0 to 1: more is denser. Default: 0.65.", rich_help_panel=_EDGES
        ),
    ] = None,
    beta: Annotated[
        float | None,
        typer.Option(help="Drop boxes that overlap a better one more. Default: 0.75.", rich_help_panel=_EDGES),
    ] = None,
    eta: Annotated[
        float | None,
        typer.Option(help="Factor on --beta for every box kept, down to 0.5. Default: 1.", rich_help_panel=_EDGES),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(min=0, help="Drop boxes with a lower score. Default: 0.01.", rich_help_panel=_EDGES)
    ] = None,
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
        str | None,
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
    resume: ResumeOption = False,
    device: DeviceOption = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Default: the cores that this process may use.", rich_help_panel=_RUN)
    ] = None,
    readers: ReadersOption = None,
    max_pixels: MaxPixelsOption = None,
    part: PartOption = None,
    plan: PlanOption = None,
    engine: EngineOption = None,
    address: AddressOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Propose boxes that may hold an object of any kind, best first, and say how well they cover real ones."""
    import cv2

    from detkit.cli.console import Problems, RunProgress, start_logging
    from detkit.cli.console import counted as plural
    from detkit.cli.detect import tell_painted
    from detkit.errors import DeviceError, UsageError
    from detkit.graphs.runtime import Runtime
    from detkit.images import set_max_pixels
    from detkit.proposals.cover import Cover
    from detkit.proposals.methods import MethodOptions, Propose, method_named
    from detkit.remote import place
    from detkit.runs.batch import Reading
    from detkit.runs.jobs import Job
    from detkit.runs.long_lists import Listing
    from detkit.runs.run import Output, Run
    from detkit.runs.sources import find_items
    from detkit.runs.tasks import Proposing

    start_logging(quiet=quiet, verbose=verbose)
    scale = Scale.of(part, plan, engine, address, threads, device)
    if gt is not None and (scale.part or (scale.plan and not scale.engine)):
        raise UsageError("--gt tells how well all boxes cover all objects, which a part does not know")
    chosen = MethodOptions(
        None if mode is None else mode.value, None if ranking is None else ranking.value, seed, side,
        alpha, beta, eta, min_score, edges,
    )  # fmt: skip
    chosen.check(method.value)
    if model is not None and method is not Method.rpn:
        raise typer.BadParameter("is for --method rpn", param_hint="--model")
    on_cpu = method is not Method.rpn and (edges is None or edges.suffix.lower() != ".onnx")
    if device not in ("auto", "cpu") and on_cpu:
        raise DeviceError(f"device {device!r}: only an .onnx edge network and rpn run on another device than the cpu")
    path = None if out in (None, "-") else place(str(out))
    drawings = None if draw is None else place(draw)
    spare = tuple(one for one in (gt, edges, model) if one is not None)
    output = Output(path, "jsonl", drawings, resume=resume, spare=spare)
    output.writer()
    cover = None if gt is None else Cover(gt, max_proposals)

    def made(threads: int) -> tuple[Proposing, Output]:
        cv2.setNumThreads(1)
        if max_pixels is not None:
            set_max_pixels(max_pixels)
        runtime, fingerprint = Runtime(device, threads), ""
        propose: Propose
        if method is Method.rpn:
            from detkit.detectors.rcnn.fast_rcnn import FasterRcnn

            network = FasterRcnn(model, runtime=runtime, max_proposals=max_proposals)
            propose, fingerprint = network.proposals, network.fingerprint
        else:
            propose = method_named(method.value, max_proposals, chosen, runtime)
        objects = (lambda name: None) if cover is None else cover.objects
        return Proposing(propose, draw_best, objects, fingerprint), output

    problems = Problems()

    def listed() -> Listing:
        return find_items(sources, problems.add, sys.stdin)

    def counted(record: dict[str, Any]) -> dict[str, Any]:
        if cover is not None and "error" not in record:
            cover.add(record["file"], record["boxes"])
        return record

    def settings(task: Proposing) -> dict[str, Any]:
        own = {"model": task.fingerprint} if task.fingerprint else {}
        fixed = {"command": "proposals", "method": method.value, "max": max_proposals, **own}
        return {**fixed, **_settings(chosen, draw)}

    cores = Runtime(threads=threads).cores
    short = out is None and sys.stdout.isatty()
    if not scale.whole:
        here = made(1)
        job = Job(lambda: made(1), settings(here[0]), Reading(workers=threads, readers=readers))
        progress = RunProgress("pictures", shown=not quiet)
        summary = run_at_scale(scale, job, here, listed, progress, counted)
        for name, why in problems.told:
            summary.failures += 1
            progress.failed(name, why)
        painted = output.painted(summary)
    else:
        # One picture gets all threads; of several, each gets one.
        items = listed()
        task, _ = made(1 if len(items) > 1 else cores)
        progress = RunProgress("pictures", shown=not quiet and len(items) > 1 and not short)
        run = Run(task, items, output, Reading(workers=cores if len(items) > 1 else 1, readers=readers), progress)
        for name, why in problems.told:
            run.fail(name, why)
        if path is not None:
            run.write(settings(task), counted)
        elif short:
            for record in map(counted, run.records()):
                if "error" not in record:
                    show(f"{record['file']}  {plural(len(record['boxes']), 'box', 'boxes')}")
        else:
            run.write_to(sys.stdout.buffer, counted)
        summary, painted = run.summary, run.painted()
    for line in () if cover is None else cover.lines():
        show(line, err=not (path is not None or short))
    if not quiet:
        tell_painted(painted)
    if summary.failures:
        raise typer.Exit(int(ExitStatus.SOME_INPUTS_FAILED))


def _settings(options: MethodOptions, draw: str | None) -> dict[str, Any]:
    """What the proposals depend on, the file with the edge detector by its hash."""
    from dataclasses import asdict

    from detkit.files import sha256

    edges = None if options.edges is None else sha256(options.edges)
    return {**asdict(options), "edges": edges, "draw": draw}
