"""`detkit quantize`: a detector in eight bits, measured before and after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli.options import QuietOption, ThreadsOption

if TYPE_CHECKING:
    from detkit.runs.quantizing import Measure

# The loss that is allowed: of AP against annotations, and of agreement, where every moved score counts.
_LOSS, _LOSS_OF_AGREEMENT = 0.01, 0.2


def quantize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model by name, or an .onnx file.")],
    images: Annotated[
        Path, typer.Option(metavar="DIR", help="Pictures like those to come: they calibrate and, with it, measure.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Write the network there.")],
    annotations: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of pictures in DIR, to measure AP. Without: agreement with MODEL itself."),
    ] = None,
    loss: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="AP that may be lost. Default: 0.01; of agreement 0.2.", show_default=False),
    ] = None,
    calibrate: Annotated[int, typer.Option(min=1, help="Pictures that calibrate, spread over DIR.")] = 64,
    reduce_range: Annotated[
        bool | None,
        typer.Option(
            "--reduce-range/--full-range",
            help="Weights of 7 bits, or of 8. Default: 7 where this processor saturates (x86 without VNNI).",
            show_default=False,
        ),
    ] = None,
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Make a network's convolutions 8-bit integers, leave out those that hurt, and show AP and time before and after.

    Nothing is written, and the status is 1, where AP falls by more than --loss.
    """
    from detkit.cli.console import counted, say, start_logging
    from detkit.cli.tables import print_table
    from detkit.detectors.selection import Selection
    from detkit.detectors.yolo.yolo_detector import Yolo
    from detkit.errors import InputError, UsageError
    from detkit.files import check_writable, sha256, write_bytes
    from detkit.graphs.quantization import saturates
    from detkit.graphs.registry import resolve
    from detkit.graphs.runtime import Runtime
    from detkit.guard import Guard
    from detkit.runs.quantizing import CONF, Measure, Search, quantise

    start_logging(quiet=quiet)
    if out.suffix.lower() != ".onnx":
        raise UsageError(f"--out {out}: a network is written as .onnx")
    path = resolve(model, "yolo")
    Guard(path, annotations).spare("--out", out)
    check_writable(out)
    runtime = Runtime("cpu", threads)
    detector = Yolo(path, Selection(conf=CONF), runtime)
    pictures = _pictures(images)
    chosen = _spread(pictures, calibrate)
    if annotations is None:
        measure = Measure.agreement(detector, _spread(pictures, 4 * calibrate))
        say_of, allowed = "agreement with the float network's own detections", _LOSS_OF_AGREEMENT
    else:
        measure = _annotated(annotations, images)
        say_of, allowed = f"against {annotations}", _LOSS
    allowed = allowed if loss is None else loss

    def tell(line: str) -> None:
        if not quiet:
            say(line)

    reduced = saturates() if reduce_range is None else reduce_range
    bits = 7 if reduced else 8
    digest = sha256(path)
    how = f"static QDQ, convolutions, weights of {bits} bits per channel, by min and max of {len(chosen)} pictures"
    metadata = {
        **detector.network.metadata,
        "quantised_from_sha256": digest,
        "quantised_how": how,
        "quantised_on": f"{images.name}: {counted(len(chosen), 'picture')}",
    }
    tell(f"{how}; AP: {say_of}, {counted(len(measure.pictures), 'picture')}")
    made = quantise(detector, chosen, measure, Search(allowed, reduced, runtime, metadata), tell)
    kinds = (("float", path.stat().st_size, made.before), ("8 bits", len(made.content), made.after))
    rows = [
        [name, f"{figures.ap:.4f}", f"{figures.ap50:.4f}", f"{taken:.1f}", f"{size / 1e6:.2f}"]
        for (name, size, figures), taken in zip(kinds, made.milliseconds, strict=True)
    ]
    columns = [("network", "left"), *((name, "right") for name in ("AP", "AP50", "ms", "MB"))]
    print_table(f"{made.convolutions} of {made.of} convolutions in integers; AP: {say_of}", columns, rows)
    lost = made.before.ap - made.after.ap
    if lost > allowed:
        raise InputError(f"{model}: loses {lost:.4f} of AP, more than --loss {allowed:g}: nothing is written")
    write_bytes(out, made.content)
    if not quiet and made.milliseconds[1] >= made.milliseconds[0]:
        say(f"{out} is not faster than the float network on this machine")


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder. InputError where there are none."""
    from detkit.errors import InputError
    from detkit.files import walk
    from detkit.picture_names import is_picture

    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder of pictures")
    found = [Path(parent, name) for parent, names in walk(folder) for name in names if is_picture(name)]
    if not found:
        raise InputError(f"{folder}: holds no pictures")
    return found


def _spread(pictures: list[Path], most: int) -> list[Path]:
    """At most so many of them, from all over the list."""
    if len(pictures) <= most:
        return pictures
    return [pictures[place * len(pictures) // most] for place in range(most)]


def _annotated(annotations: Path, images: Path) -> Measure:
    """AP on those pictures of the annotations that are in the folder. InputError where none is."""
    from detkit.annotations import read_ground_truth
    from detkit.annotations.picture_places import Pictures
    from detkit.errors import InputError
    from detkit.runs.quantizing import Measure

    truth = read_ground_truth(annotations, None, None, images)
    places = Pictures([images])
    names = zip(truth.images.files, truth.images.ids, strict=True)
    there = {row: path for row, (file, key) in enumerate(names) if (path := places.find(file or str(key))) is not None}
    part = truth.of_images(list(there))
    if not len(part):
        raise InputError(f"{annotations}: none of its annotated pictures is in {images}")
    return Measure(list(there.values()), part)
