"""`detkit train motion`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.options import QuietOption, VerboseOption
from detkit.cli.train_data import OverwriteOption, SeedOption, counting, percent, torch_needed
from detkit.cli.walks_data import BoxesOption, FpsOption, TracksArgument, read_tracks


class MemoryChoice(str, Enum):
    """Networks with a memory."""

    rnn = "rnn"
    lstm = "lstm"
    tcn = "tcn"


def train_motion(
    data: TracksArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.onnx", help="The network.")] = Path("motion.onnx"),
    network: Annotated[
        MemoryChoice, typer.Option(help="Recurrent (Elman), long short-term memory, temporal convolution.")
    ] = MemoryChoice.lstm,
    boxes: BoxesOption = None,
    fps: FpsOption = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of 256 stretches of tracks.")] = 600,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint beside --out.")] = False,
    overwrite: OverwriteOption = False,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train a network that says where tracked objects go, for `detkit track --motion` (needs the extra `train`).

    `detkit bench motion` measures it beside the Kalman filter, which is what `track` takes without it.
    """
    from detkit.cli.console import hint_on_interrupt, say, start_logging
    from detkit.errors import UsageError
    from detkit.files import check_writable
    from detkit.guard import Guard

    start_logging(quiet=quiet, verbose=verbose)
    if out.suffix.lower() != ".onnx":
        raise UsageError(f"--out is an .onnx file, not {out}")
    Guard(*data).spare("--out", out)
    check_writable(out)
    with torch_needed():
        from detkit.training.motion.motion_training import MotionRecipe, training_folder
        from detkit.training.motion.motion_training import train_motion as train
    folder = training_folder(out)
    if resume and overwrite:
        raise UsageError("--resume goes on and --overwrite begins again: give one of them")
    if not resume and not overwrite and (out.exists() or folder.exists()):
        there = out if out.exists() else folder
        raise UsageError(f"{there} is there: --resume goes on, --overwrite begins again; or name another --out")
    walks = read_tracks(data, boxes, fps, quiet=quiet)
    hint_on_interrupt(f"--resume goes on from the checkpoint in {folder}")
    losses: list[float] = []
    with counting(100, "percent", quiet=quiet) as advance:
        report = percent(advance)

        def learned(step: object) -> None:
            losses.append(step.loss)  # type: ignore[attr-defined]
            report(step)

        recipe = MotionRecipe(network.value, steps=steps, seed=seed)
        train(walks, out, recipe, resume=resume, progress=learned)
    if not quiet:
        last = losses[-50:]
        loss = f", loss {sum(last) / len(last):.4f}" if last else ""
        say(f"wrote {out}{loss}; detkit track SOURCE --motion {out}")
