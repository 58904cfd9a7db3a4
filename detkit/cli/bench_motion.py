"""`detkit bench motion`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.options import JsonOption, QuietOption
from detkit.cli.walks_data import BoxesOption, FpsOption, TracksArgument, read_tracks

NETWORKS = {"rnn": "RNN", "lstm": "LSTM", "tcn": "TCN"}


def bench_motion(
    data: TracksArgument,
    motion: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.onnx",
            help="Measure this network, too, on all sequences; it should not have learned from them. May be repeated.",
        ),
    ] = None,
    boxes: BoxesOption = None,
    fps: FpsOption = None,
    networks: Annotated[
        str, typer.Option(metavar="NAME,...", help="What is trained and measured: rnn, lstm, tcn; or none.")
    ] = "rnn,lstm,tcn",
    steps: Annotated[int, typer.Option(min=1, help="Steps of each training.")] = 600,
    folds: Annotated[
        int, typer.Option(min=2, help="Parts of whole sequences; each is measured after training on the others.")
    ] = 3,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure motion models: the mean IoU of the box they expect 1, 5 and 15 frames later with the annotated one."""
    import sys

    from detkit.cli.console import progress, say, start_logging
    from detkit.cli.train_data import torch_needed
    from detkit.errors import UsageError
    from detkit.runs.motion_bench import AHEAD, fixed_rows, learned_row
    from detkit.runs.motion_network import MotionNetwork

    start_logging(quiet=quiet)
    chosen = [] if networks == "none" else networks.split(",")
    for name in chosen:
        if name not in NETWORKS:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(NETWORKS)}, none", param_hint="--networks")
    more = {path.name: MotionNetwork(path).motion for path in motion or ()}
    if chosen:
        with torch_needed():
            from detkit.training.motion.motion_training import MotionRecipe
    walks = read_tracks(data, boxes, fps, quiet=quiet)
    if chosen and len(walks) < 2:
        raise UsageError("networks are measured on sequences that they did not learn from: give two at least")
    rows = fixed_rows(walks, more)
    parts = min(folds, len(walks))
    with progress(parts * len(chosen), "trainings", shown=not quiet and bool(chosen)) as bar:
        for name in chosen:
            rows[NETWORKS[name]] = learned_row(walks, MotionRecipe(name, steps=steps), parts, bar.advance)

    means = {name: row.means() for name, row in rows.items()}
    counts = next(iter(rows.values())).count
    if as_json:
        import orjson

        plain = {name: {str(ahead): value for ahead, value in row.items()} for name, row in means.items()}
        content = {"ahead": AHEAD, "mean_iou": plain, "boxes": {str(ahead): count for ahead, count in counts.items()}}
        sys.stdout.buffer.write(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
        return
    from detkit.cli.tables import print_table

    columns = [("motion model", "left"), *((f"{ahead} frame{'s' * (ahead > 1)}", "right") for ahead in AHEAD)]
    table = [[name, *("-" if math.isnan(row[a]) else f"{row[a]:.3f}" for a in AHEAD)] for name, row in means.items()]
    print_table("mean IoU with the annotated box, so many frames later", columns, table)
    if not quiet:
        say("boxes compared: " + ", ".join(f"{counts[ahead]}" for ahead in AHEAD))
