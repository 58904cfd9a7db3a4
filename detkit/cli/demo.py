"""`detkit demo`: every method on pictures that come with detkit."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from detkit.cli.console import show
from detkit.cli.options import QuietOption

PICTURES = Path(__file__).parents[1] / "demo"


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where the pictures and the results go.")
    ] = Path("detkit-demo"),
    quiet: QuietOption = False,
) -> None:
    """Run every method on four pictures that come with detkit, by the commands that it shows."""
    from detkit.cli import Loaded
    from detkit.cli.console import say
    from detkit.files import write_bytes

    for picture in sorted(PICTURES.iterdir()):
        own = out / "pictures" / picture.name
        if not own.exists():
            write_bytes(own, picture.read_bytes())
    worst = 0
    commands = Loaded()
    for about, (command, *arguments) in demo_commands(out):
        if not quiet:
            show(f"\n# {about}\n$ detkit {shlex.join([command, *arguments])}")
        worst = max(worst, commands[command].main(arguments + ["-q"] * quiet, standalone_mode=False) or 0)
    if not quiet:
        say(f"the results of each method are in its folder in {out}; yours: detkit yolo PICTURE --draw out")
    raise typer.Exit(worst)


def demo_commands(out: Path) -> Iterator[tuple[str, list[str]]]:
    """The commands that it runs, each as its arguments, with what to know of it; the quickest first."""
    rows = (
        ("yolo", "YOLO: one network says everything at once", ["yolo"]),
        ("faster-rcnn", "Faster R-CNN: the network proposes regions, then looks at each", ["rcnn"]),
        ("fast-rcnn", "Fast R-CNN: regions from outside, one map of features", ["rcnn", "--variant", "fast"]),
        ("rcnn", "R-CNN: the network looks at every region by itself", ["rcnn", "--variant", "rcnn"]),
        ("proposals", "Selective search: regions that may hold anything, the best twenty drawn", ["proposals"]),
        ("segment", "A deconvolution network: a class for every pixel", ["segment"]),
        ("slide", "A classifier of 1,000 classes at every place and size", ["slide"]),
        ("hog-detect", "HOG: whole, upright people only; these pictures show none", ["hog-detect"]),
    )
    own = {
        "faster-rcnn": ["--conf", "0.5"],
        "fast-rcnn": ["--conf", "0.5"],
        "rcnn": ["--proposals", "edge-boxes", "--max-proposals", "200", "--conf", "0.5"],
        "proposals": ["--method", "selective-search", "--max", "200"],
        "hog-detect": ["--show-hog", str(out / "hog-detect" / "glyphs")],
    }
    for name, about, (command, *variant) in rows:
        arguments = [str(out / "pictures"), *variant, *own.get(name, [])]
        result = out / (f"{name}-maps" if name == "segment" else f"{name}.jsonl")
        yield about, [command, *arguments, "--draw", str(out / name), "-o", str(result)]
