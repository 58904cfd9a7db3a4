"""`detkit eval`: figures of detections against annotations."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detkit.cli.console import counted, say

if TYPE_CHECKING:
    from detkit.dataset import GroundTruth, Predictions
    from detkit.metrics.evaluation import Evaluation

SAMPLES = 1000


class Protocol(str, Enum):
    """How AP is taken."""

    COCO = "coco"
    VOC = "voc"
    VOC07 = "voc07"


def evaluate(
    detections: Annotated[
        Path, typer.Argument(help="COCO results, JSON Lines, CSV, or a folder of VOC, YOLO or KITTI files with scores.")
    ],
    ground_truth: Annotated[
        Path, typer.Argument(help="Annotations: COCO JSON, JSON Lines, CSV, a VOC, YOLO, LabelMe or KITTI folder ...")
    ],
    protocol: Annotated[
        Protocol,
        typer.Option(help="coco: 101 points at .50:.05:.95; voc: area under the curve; voc07: eleven points."),
    ] = Protocol.COCO,
    iou: Annotated[float, typer.Option(help="The overlap for counts, curves and VOC.")] = 0.5,
    conf: Annotated[
        float | None,
        typer.Option(help="The working point for TP, FP and FN. Without it: the score of the highest F1."),
    ] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="A line for each class.")] = False,
    json: Annotated[
        str | None, typer.Option(help="Write all figures with all digits to this file; - is stdout, instead of tables.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page with plots, classes and the worst images: one .html file.")
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="Write the plots as PNG files into this folder.")] = None,
    fail_under: Annotated[
        float | None, typer.Option(help="Exit with status 1 if AP is below this, or undefined.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Run other conventions beside this one and say why they differ.")
    ] = False,
    compare: Annotated[
        Path | None, typer.Option(help="Other detections of the same images: their AP minus that of DETECTIONS.")
    ] = None,
    bootstrap: Annotated[
        int | None, typer.Option(min=1, help=f"Resample the images so often for intervals; {SAMPLES} for --compare.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The random start of the resampling. Default: 0.")] = None,
    max_det: Annotated[
        int | None, typer.Option(min=1, help="Detections kept of an image and class. coco: 100; voc: all.")
    ] = None,
    class_: Annotated[
        list[str] | None, typer.Option("--class", help="Evaluate only these classes (repeatable).")
    ] = None,
    dt_format: Annotated[
        str | None, typer.Option(help="Format of DETECTIONS, where its content does not tell.")
    ] = None,
    gt_format: Annotated[
        str | None, typer.Option(help="Format of GROUND_TRUTH, where its content does not tell.")
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Class names for files with numbers: YOLO, Open Images, ..."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of the pictures: sizes for YOLO files, pictures for --report; or a CSV of sizes."),
    ] = None,
    like_pycocotools: Annotated[
        bool,
        typer.Option("--like-pycocotools", help="Repeat its two faults: `ignore` unread, annotation 0 never found."),
    ] = False,
    honour_ignore: Annotated[
        bool,
        typer.Option("--honour-ignore", help="Let boxes that a COCO file flags `ignore` count neither way."),
    ] = False,
) -> None:
    """Compare detections with annotations: AP, AR, counts, curves, and where they come from."""
    _check(protocol, iou, conf, fail_under, report, like_pycocotools)
    if seed is not None and bootstrap is None and compare is None:
        raise typer.BadParameter("is for --bootstrap and --compare", param_hint="--seed")
    if json == "":
        raise typer.BadParameter("is no name of a file", param_hint="--json")
    if like_pycocotools and honour_ignore:
        raise typer.BadParameter(
            "pycocotools does not honour `ignore`: give one of the two", param_hint="--honour-ignore"
        )

    from detkit.annotations import read_ground_truth, read_predictions
    from detkit.metrics.coco import AS_PYCOCOTOOLS, Faults
    from detkit.metrics.evaluation import Evaluation
    from detkit.metrics.regions import regions_of_all_classes
    from detkit.metrics.wording import number
    from detkit.report import text

    tables = [Path(f"{path}.images.json") for path in (detections, compare) if path is not None]
    _spare((detections, ground_truth, compare, names, images, *tables), json, report, plots)
    truth = read_ground_truth(ground_truth, gt_format, names, images)
    if truth.source == "kitti" or honour_ignore:
        classes = len(truth.categories)
        truth = regions_of_all_classes(truth)
        if len(truth.categories) < classes:
            typer.echo("DontCare is no class here: no detection inside such a region counts", err=True)
    found = read_predictions(detections, truth, dt_format, names, images)
    other = read_predictions(compare, truth, dt_format, names, images) if compare else None
    if class_:
        kept = _rows_of(class_, truth)
        found, other = _only(found, kept), _only(other, kept) if other else None
        truth = _only_boxes(truth, kept)
    flagged = truth
    if like_pycocotools or (truth.source == "coco" and not honour_ignore):
        # No part of COCO's format: pycocotools overwrites it, and the figures people compare are made so.
        truth = replace(truth, ignore=truth.ignore & truth.crowd)
    if not like_pycocotools:
        _note_flags(truth, flagged, protocol)
    faults = AS_PYCOCOTOOLS if like_pycocotools else Faults()

    def evaluation_of(some: Predictions) -> Evaluation:
        return Evaluation(truth, some, protocol=protocol.value, iou=iou, score=conf, max_det=max_det, faults=faults)

    result = evaluation_of(found)
    intervals, comparison = _resampled(result, evaluation_of(other) if other else None, bootstrap, seed or 0)
    explained = None
    if explain:
        from detkit.metrics.explain import MAX_DET
        from detkit.metrics.explain import explain as explain_conventions

        limit = result.max_det if protocol is Protocol.COCO else None
        explained = explain_conventions(
            truth, found, iou=iou, score=conf, flagged=flagged, max_det=limit or MAX_DET, faults=faults
        )

    if json != "-":
        width = _terminal_width()
        parts = [f"{text.heading(result)}\n{text.figures(result)}", text.working_point(result)]
        if per_class:
            parts.append(text.class_table(result, width))
        if intervals:
            parts.append(text.intervals(intervals))
        if comparison:
            parts.append(text.comparison(comparison))
        if explained:
            parts.append(f"{text.errors(result)}\n\n{text.explanation(explained, width)}")
        typer.echo("\n\n".join(parts))
    if json:
        _write_json(json, result, intervals, comparison, explained)
    if plots:
        from detkit.report.plots import write_plots

        write_plots(result, plots)
    if report:
        from detkit.files import write_bytes
        from detkit.report.page import make_report
        from detkit.report.worst import folders_of

        folders = folders_of(images, ground_truth)
        page = make_report(result, str(detections), str(ground_truth), folders, intervals, comparison, explained)
        write_bytes(report, page.encode("utf-8", errors="replace"))

    if fail_under is not None and result.figures["AP"] < fail_under:
        ap = number(result.figures["AP"], 6)
        say(f"AP {'is undefined' if ap == '-' else f'is {ap}'}, below the {fail_under:g} asked for")
        raise typer.Exit(1)


def _check(
    protocol: Protocol,
    iou: float,
    conf: float | None,
    fail_under: float | None,
    report: Path | None,
    like_pycocotools: bool,
) -> None:
    if not 0 < iou <= 1:
        raise typer.BadParameter(f"an overlap lies above 0 and up to 1, not at {iou:g}", param_hint="--iou")
    if conf is not None and conf != conf:
        raise typer.BadParameter("a score is a number", param_hint="--conf")
    if fail_under is not None and not 0 <= fail_under <= 1:
        raise typer.BadParameter(f"an AP lies from 0 to 1, not at {fail_under:g}", param_hint="--fail-under")
    if report is not None and report.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(f"the report is a page: {report} should end in .html", param_hint="--report")
    if like_pycocotools and protocol is not Protocol.COCO:
        raise typer.BadParameter("pycocotools knows only --protocol coco", param_hint="--like-pycocotools")


def _spare(inputs: tuple[Path | None, ...], json: str | None, report: Path | None, plots: Path | None) -> None:
    """UsageError where an output would overwrite an input, or another output."""
    from detkit.guard import Guard

    written = [("--json", Path(json))] if json is not None and json != "-" else []
    written += [("--report", report)] if report is not None else []
    if len(written) == 2 and written[0][1].absolute() == written[1][1].absolute():
        raise typer.BadParameter(f"the same file as --report: {report}", param_hint="--json")
    if plots is not None:
        from detkit.report.plots import PLOTS

        written += [("--plots", plots / f"{name}.png") for name in PLOTS]
    guard = Guard(*inputs)
    for option, target in written:
        guard.spare(option, target)


def _terminal_width() -> int:
    """Columns of the terminal, at least 40; 80 where there is none."""
    import shutil

    return max(shutil.get_terminal_size((80, 24)).columns, 40) if sys.stdout.isatty() else 80


def _note_flags(truth: GroundTruth, flagged: GroundTruth, protocol: Protocol) -> None:
    """Say on stderr where flags or ids lead to other figures elsewhere; `flagged` still has what `truth` ignores."""
    unread = int((flagged.ignore & ~truth.ignore & ~truth.crowd).sum())
    honoured = int((truth.ignore & ~truth.crowd).sum())
    if unread:
        typer.echo(
            f"{counted(unread, 'box is', 'boxes are')} flagged `ignore`, which COCO's evaluation does not read; "
            "--honour-ignore lets them count neither way",
            err=True,
        )
    if protocol is not Protocol.COCO:
        return
    if honoured:
        typer.echo(
            f"{counted(honoured, 'box is', 'boxes are')} flagged `ignore` and "
            f"{'counts' if honoured == 1 else 'count'} neither way; pycocotools would count them",
            err=True,
        )
    if 0 in truth.ids:
        typer.echo("one annotation has the id 0; pycocotools would never find it (--like-pycocotools)", err=True)


def _rows_of(wanted: list[str], truth: GroundTruth) -> list[int]:
    """The classes called so, else those whose names differ in case only, in the order of the table."""
    from detkit.classes import classes_called

    names = truth.categories.names
    kept: set[int] = set()
    for name in wanted:
        rows = classes_called(name, names)
        if not rows:
            import difflib

            near = difflib.get_close_matches(name, names, n=3)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            raise typer.BadParameter(f"the annotations have no class '{name}'{hint}", param_hint="--class")
        kept.update(rows)
    return sorted(kept)


def _only(found: Predictions, kept: list[int]) -> Predictions:
    """The detections of these classes, renumbered."""
    import numpy as np

    new_row = np.full(int(max(found.class_index.max(initial=0), max(kept))) + 1, -1)
    new_row[kept] = np.arange(len(kept))
    classes = new_row[found.class_index]
    stays = classes >= 0
    return type(found)(found.image_index[stays], classes[stays], found.boxes[stays], found.scores[stays])


def _only_boxes(truth: GroundTruth, kept: list[int]) -> GroundTruth:
    """The true boxes of these classes, renumbered, and only these classes."""
    import numpy as np

    new_row = np.full(len(truth.categories), -1)
    new_row[kept] = np.arange(len(kept))
    classes = new_row[truth.class_index]
    stays = classes >= 0
    columns = ("image_index", "boxes", "areas", "crowd", "difficult", "ignore", "truncated", "occluded")
    some: dict[str, Any] = {name: getattr(truth, name)[stays] for name in columns}
    categories = type(truth.categories)(
        tuple(truth.categories.names[row] for row in kept), tuple(truth.categories.ids[row] for row in kept)
    )
    ids = tuple(one for one, stay in zip(truth.ids, stays.tolist(), strict=False) if stay)
    return replace(truth, categories=categories, class_index=classes[stays], ids=ids, **some)


def _resampled(
    result: Evaluation, other: Evaluation | None, samples: int | None, seed: int
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Intervals, if samples are asked for, and the comparison with `other`, if there is one."""
    if samples is None and other is None:
        return None, None
    from detkit.metrics import bootstrap

    intervals = None
    if samples is not None:
        intervals = bootstrap.bootstrap(result.resampler, samples=samples, seed=seed)
    comparison = None
    if other is not None:
        comparison = bootstrap.compare(result.resampler, other.resampler, samples=samples or SAMPLES, seed=seed)
    return intervals, comparison


def _write_json(path: str, result: Evaluation, intervals: Any, comparison: Any, explained: Any) -> None:
    from dataclasses import asdict

    import orjson

    content = result.to_json()
    if intervals:
        content["intervals"] = {name: asdict(one) for name, one in intervals.items()}
    if comparison:
        content["comparison"] = {name: asdict(one) for name, one in comparison.items()}
    if explained:
        content["explain"] = asdict(explained)
    data = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY) + b"\n"
    if path == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    from detkit.files import write_bytes

    write_bytes(os.fspath(path), data)
