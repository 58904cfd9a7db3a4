"""`detkit eval`: figures of detections against annotations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detkit.annotations.formats import FORMATS, titles
from detkit.cli.bars import Bars, FailUnderOption, worse
from detkit.cli.console import counted, show, terminal_width, write_figures
from detkit.cli.options import fields_of, parameters_of, with_parameters

if TYPE_CHECKING:
    from detkit.dataset import GroundTruth, Predictions
    from detkit.metrics.evaluation import Evaluation, Settings
    from detkit.metrics.explain import Explanation

_NAMES = ", ".join(FORMATS)
_TITLES = titles()

SAMPLES = 1000


class Protocol(str, Enum):
    """How AP is taken."""

    COCO = "coco"
    VOC = "voc"
    VOC07 = "voc07"
    SEMANTIC = "semantic"
    PANOPTIC = "panoptic"
    MOT = "mot"


class IouType(str, Enum):
    """What overlaps."""

    BBOX = "bbox"
    SEGM = "segm"
    BOUNDARY = "boundary"
    KEYPOINTS = "keypoints"
    OBB = "obb"


class Match(str, Enum):
    """How the pictures of results are found."""

    AUTO = "auto"
    ID = "id"
    NAME = "name"


@dataclass(frozen=True)
class EvalOptions:
    """What `detkit eval` is asked for; `detkit val` asks for most of it."""

    detections: Annotated[Path, typer.Argument(help=f"A file or a folder of files with scores: {_TITLES}.")]
    ground_truth: Annotated[Path, typer.Argument(help="Annotations in any of these formats.")]
    protocol: Annotated[
        Protocol,
        typer.Option(
            help="coco: 101 points at .50:.05:.95; voc: area under the curve; voc07: eleven points; semantic: "
            "label maps (PNG, or folders of them); panoptic: COCO's panoptic JSON; mot: tracks, files or folders of "
            "sequences (SEQ.txt, SEQ/gt/gt.txt)."
        ),
    ] = Protocol.COCO
    iou_type: Annotated[
        IouType, typer.Option(help="What overlaps: boxes, masks, their boundaries, key points (OKS), turned boxes.")
    ] = IouType.BBOX
    iou: Annotated[float, typer.Option(help="The overlap for counts, curves and VOC.")] = 0.5
    conf: Annotated[
        float | None,
        typer.Option(help="The working point for TP, FP and FN. Without it: the score of the highest F1."),
    ] = None
    per_class: Annotated[bool, typer.Option("--per-class", help="A line for each class.")] = False
    json: Annotated[
        str | None, typer.Option(help="Write all figures with all digits to this file; - is stdout, instead of tables.")
    ] = None
    report: Annotated[
        Path | None, typer.Option(help="Write a page with plots, classes and the worst images: one .html file.")
    ] = None
    model: Annotated[
        str, typer.Option(metavar="TEXT", help="What made the detections, for --report to say.", show_default=False)
    ] = ""
    plots: Annotated[Path | None, typer.Option(help="Write the plots as PNG files into this folder.")] = None
    best_conf: Annotated[
        Path | None,
        typer.Option(help="Write the threshold of the best F1 of each class to this file, for --conf of detection."),
    ] = None
    precision: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="SHARE",
            help="For --best-conf: the lowest threshold at which so many of a class's boxes are right, not the best "
            "F1's.",
        ),
    ] = None
    fail_under: FailUnderOption = None
    fail_if_worse: Annotated[
        bool, typer.Option("--fail-if-worse", help="Exit with status 1 if AP is below that of --compare.")
    ] = False
    margin: Annotated[float, typer.Option(min=0, max=1, help="How far below --fail-if-worse lets AP be.")] = 0.0
    explain: Annotated[
        bool, typer.Option("--explain", help="Run other conventions beside this one and say why they differ.")
    ] = False
    compare: Annotated[
        Path | None, typer.Option(help="Other detections of the same images: their AP minus that of DETECTIONS.")
    ] = None
    bootstrap: Annotated[
        int | None, typer.Option(min=1, help=f"Resample the images so often for intervals; {SAMPLES} for --compare.")
    ] = None
    seed: Annotated[int | None, typer.Option(min=0, help="The random start of the resampling. Default: 0.")] = None
    max_det: Annotated[
        int | None, typer.Option(min=1, help="Detections kept of an image and class. coco: 100; voc: all.")
    ] = None
    class_: Annotated[list[str] | None, typer.Option("--class", help="Evaluate only these classes (repeatable).")] = (
        None
    )
    dt_format: Annotated[
        str | None, typer.Option(help=f"Format of DETECTIONS, where its content does not tell: {_NAMES}.")
    ] = None
    gt_format: Annotated[
        str | None, typer.Option(help=f"Format of GROUND_TRUTH, where its content does not tell: {_NAMES}.")
    ] = None
    names: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Class names for files with numbers: YOLO, Open Images, ..."),
    ] = None
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of the pictures: sizes for YOLO files, pictures for --report; or a CSV of sizes."),
    ] = None
    inclusive: Annotated[
        bool, typer.Option("--inclusive", help="Sides longer by 1, as VOC's kit measures boxes: for voc and voc07.")
    ] = False
    list_: Annotated[
        Path | None,
        typer.Option("--list", exists=True, dir_okay=False, help="Only the pictures listed there (VOC's ImageSets)."),
    ] = None
    match: Annotated[
        Match, typer.Option(help="What the image ids of a COCO results list are: ids, or numbers in file names.")
    ] = Match.AUTO
    like_pycocotools: Annotated[
        bool,
        typer.Option("--like-pycocotools", help="Repeat its two faults: `ignore` unread, annotation 0 never found."),
    ] = False
    honour_ignore: Annotated[
        bool,
        typer.Option("--honour-ignore", help="Let boxes that a COCO file flags `ignore` count neither way."),
    ] = False

    @property
    def bars(self) -> Bars:
        """What figures have to reach."""
        return Bars.of(self.fail_under)


def measure(context: typer.Context, options: EvalOptions, detect: Callable[[], None] = lambda: None) -> None:
    """Compare detections with annotations: AP, AR, counts, curves, and where they come from.

    detect   is called once the options are known to be right, before anything is read
    """
    protocol = options.protocol
    if protocol is Protocol.MOT:
        from detkit.cli.evaluate_tracks import TrackEvaluation, evaluate_tracks

        tracks = TrackEvaluation(options.json, options.gt_format, options.explain, options.bars, options.report)
        evaluate_tracks(options.detections, options.ground_truth, tracks, context)
        return
    if protocol in (Protocol.SEMANTIC, Protocol.PANOPTIC):
        from detkit.cli.evaluate_regions import RegionEvaluation, evaluate_regions

        regions = RegionEvaluation(
            options.json, options.gt_format, options.names, options.per_class, options.explain, options.bars
        )
        evaluate_regions(protocol.value, options.detections, options.ground_truth, regions, context)
        return
    settings, bars = _settings(options), options.bars
    inputs = _Inputs(
        options.detections, options.ground_truth, options.compare, options.names, options.images, options.list_,
        options.dt_format, options.gt_format, options.match, options.model,
    )  # fmt: skip
    outputs = _Outputs(
        options.json, options.report, options.plots, options.per_class, options.best_conf, options.precision
    )
    outputs.check(inputs)

    detect()
    data = _read(inputs, options.class_ or (), options.iou_type.value, honour_ignore=options.honour_ignore)
    settings = _note_flags(
        data.truth, settings, honour_ignore=options.honour_ignore, like_pycocotools=options.like_pycocotools
    )
    resampling = _Resampling(options.bootstrap, options.seed or 0)
    results = _evaluated(data, settings, resampling, explain=options.explain)
    bars.missed(results.named_figures)  # says now what is wrong with their names
    outputs.show(results, inputs)
    against = worse("AP", *results.both, options.margin) if options.fail_if_worse else []
    bars.judge(results.named_figures, against)


def _command(context: typer.Context, **values: Any) -> None:
    """Compare detections with annotations: AP, AR, counts, curves, and where they come from."""
    measure(context, EvalOptions(**values))


evaluate = with_parameters(_command, _command, [*parameters_of(_command), *fields_of(EvalOptions)])


@dataclass(frozen=True)
class _Inputs:
    """The files that are compared, and what they are read with."""

    detections: Path
    ground_truth: Path
    compare: Path | None
    names: Path | None
    images: Path | None
    listed: Path | None
    dt_format: str | None
    gt_format: str | None
    match: Match
    model: str

    @property
    def all(self) -> tuple[Path | None, ...]:
        """Every file that is read, with the tables beside results."""
        tables = [Path(f"{path}.images.json") for path in (self.detections, self.compare) if path is not None]
        return (self.detections, self.ground_truth, self.compare, self.names, self.images, self.listed, *tables)


@dataclass(frozen=True)
class _Data:
    """What was read: the annotations, the detections, and those of --compare."""

    truth: GroundTruth
    found: Predictions
    other: Predictions | None

    def of(self, part: Callable[[Any], Any]) -> _Data:
        """A part of each."""
        return _Data(part(self.truth), part(self.found), part(self.other) if self.other else None)


@dataclass(frozen=True)
class _Resampling:
    """How often, None for not at all, and from where."""

    samples: int | None
    seed: int


@dataclass(frozen=True)
class _Results:
    """All that was asked for."""

    main: Evaluation
    intervals: dict[str, Any] | None
    comparison: dict[str, Any] | None
    explained: Explanation | None

    @property
    def named_figures(self) -> dict[str, float]:
        """The figures that a bar may name: the protocol's, the first one foremost, and those at the working point."""
        total, curve = self.main.total, self.main.curve
        counted = {"precision": total.precision, "recall": total.recall, "F1": total.f1}
        return {**self.main.figures, **counted, "roc_auc": curve.roc_auc(), "froc": curve.froc()[1]}

    @property
    def both(self) -> tuple[float, float]:
        """AP of the detections, and of those that they are compared with."""
        assert self.comparison is not None
        return self.comparison["AP"].first, self.comparison["AP"].second


def _settings(options: EvalOptions) -> Settings:
    """How figures are taken. BadParameter where options do not go together."""
    from detkit.metrics.coco import AS_PYCOCOTOOLS, Faults
    from detkit.metrics.evaluation import Settings

    coco, bbox = options.protocol is Protocol.COCO, options.iou_type is IouType.BBOX
    refused = (
        (not 0 < options.iou <= 1, f"an overlap lies above 0 and up to 1, not at {options.iou:g}", "--iou"),
        (options.conf is not None and options.conf != options.conf, "a score is a number", "--conf"),
        (options.inclusive and coco, "is for --protocol voc and voc07", "--inclusive"),
        (options.inclusive and not bbox, "is for --iou-type bbox", "--inclusive"),
        (options.like_pycocotools and not coco, "pycocotools knows only --protocol coco", "--like-pycocotools"),
        (options.like_pycocotools and options.honour_ignore,
         "pycocotools does not honour `ignore`: give one of the two", "--honour-ignore"),
        (options.fail_if_worse and options.compare is None, "needs --compare, what it is measured by",
         "--fail-if-worse"),
        (options.margin > 0 and not options.fail_if_worse, "is for --fail-if-worse", "--margin"),
        (options.precision is not None and options.best_conf is None, "needs --best-conf FILE, where the thresholds go",
         "--precision"),
        (options.seed is not None and options.bootstrap is None and options.compare is None,
         "is for --bootstrap and --compare", "--seed"),
    )  # fmt: skip
    for wrong, why, option in refused:
        if wrong:
            raise typer.BadParameter(why, param_hint=option)
    faults = AS_PYCOCOTOOLS if options.like_pycocotools else Faults()
    return Settings(
        options.protocol.value, options.iou, options.conf, options.max_det, faults,
        inclusive=options.inclusive, iou_type=options.iou_type.value,
    )  # fmt: skip


def _read(inputs: _Inputs, classes: Sequence[str], iou_type: str, *, honour_ignore: bool) -> _Data:
    """The annotations with the regions of their format, and the detections; of these classes, of all without any."""
    from detkit.annotations import read_ground_truth, read_predictions
    from detkit.annotations.formats import format_of
    from detkit.annotations.listing import listed_rows
    from detkit.classes import chosen_classes
    from detkit.metrics.ignored_regions import regions_of_all_classes
    from detkit.metrics.iou_types import OVERLAPS

    shapes = OVERLAPS[iou_type].needs
    truth = read_ground_truth(inputs.ground_truth, inputs.gt_format, inputs.names, inputs.images, shapes)
    if honour_ignore or format_of(truth.source).ignored == "every class":
        count = len(truth.categories)
        truth = regions_of_all_classes(truth)
        if len(truth.categories) < count:
            show("DontCare is no class here: no detection inside such a region counts", err=True)

    def predictions(path: Path) -> Predictions:
        match = inputs.match.value
        return read_predictions(path, truth, inputs.dt_format, inputs.names, inputs.images, match, shapes)

    data = _Data(truth, predictions(inputs.detections), predictions(inputs.compare) if inputs.compare else None)
    for sentence in format_of(truth.source).rules(truth, inputs.ground_truth) if inputs.listed is None else ():
        show(sentence, err=True)
    if inputs.listed is not None:
        rows = listed_rows(inputs.listed, truth.images)
        data = data.of(lambda table: table.of_images(rows))
    kept = chosen_classes(classes, truth.categories.names, "the ground truth")
    return data if kept is None else data.of(lambda table: table.of_classes(kept))


def _note_flags(truth: GroundTruth, settings: Settings, *, honour_ignore: bool, like_pycocotools: bool) -> Settings:
    """`settings` with what becomes of flags `ignore`; says where they or ids lead to other figures elsewhere."""
    from detkit.annotations.formats import format_of

    # No part of COCO's format: pycocotools overwrites it, and the figures people compare are made so.
    unread = format_of(truth.source).ignored == "unread" and not honour_ignore
    settings = replace(settings, ignore_flags=not (like_pycocotools or unread))
    if like_pycocotools:
        return settings
    count = int((truth.ignore & ~truth.crowd).sum())
    if count and not settings.ignore_flags:
        show(
            f"{counted(count, 'box is', 'boxes are')} flagged `ignore`, which COCO's evaluation does not read; "
            "--honour-ignore lets them count neither way",
            err=True,
        )
    if settings.protocol != Protocol.COCO.value:
        return settings
    if count and settings.ignore_flags:
        show(
            f"{counted(count, 'box is', 'boxes are')} flagged `ignore` and "
            f"{'counts' if count == 1 else 'count'} neither way; pycocotools would count them",
            err=True,
        )
    if 0 in truth.ids:
        show("one annotation has the id 0; pycocotools would never find it (--like-pycocotools)", err=True)
    return settings


def _evaluated(data: _Data, settings: Settings, resampling: _Resampling, *, explain: bool) -> _Results:
    from detkit.metrics.evaluation import evaluate as evaluate_tables

    result = evaluate_tables(data.found, data.truth, settings)
    other = evaluate_tables(data.other, data.truth, settings) if data.other else None
    intervals, comparison = _resampled(result, other, resampling)
    explained = None
    if explain:
        from detkit.metrics.explain import explain as explain_conventions
        from detkit.metrics.iou_types import prepared

        truth, found = prepared(settings.counted(data.truth), data.found, settings.iou_type)
        flagged = replace(data.truth, iou_type=settings.iou_type)
        explained = explain_conventions(
            truth, found, iou=settings.iou, score=settings.score, flagged=flagged,
            max_det=settings.max_det if settings.protocol == Protocol.COCO.value else None,
            faults=settings.faults,
        )  # fmt: skip
    return _Results(result, intervals, comparison, explained)


@dataclass(frozen=True)
class _Outputs:
    """Where results go, beside the terminal."""

    json: str | None
    report: Path | None
    plots: Path | None
    per_class: bool
    best_conf: Path | None
    precision: float | None

    def check(self, inputs: _Inputs) -> None:
        """BadParameter or UsageError where one cannot be, or would overwrite an input or another one."""
        from detkit.guard import Guard

        report = self.report
        if report is not None and report.suffix.lower() not in (".html", ".htm"):
            raise typer.BadParameter(f"the report is a page: {report} should end in .html", param_hint="--report")
        if self.json == "":
            raise typer.BadParameter("is no name of a file", param_hint="--json")
        written = [("--json", Path(self.json))] if self.json is not None and self.json != "-" else []
        written += [("--best-conf", self.best_conf)] if self.best_conf is not None else []
        written += [("--report", report)] if report is not None else []
        for place, (option, target) in enumerate(written):
            for other, same in written[place + 1 :]:
                if target.absolute() == same.absolute():
                    raise typer.BadParameter(f"the same file as {other}: {same}", param_hint=option)
        if self.plots is not None:
            from detkit.report.plots import PLOTS

            written += [("--plots", self.plots / f"{name}.png") for name in PLOTS]
        for option, target in written:
            Guard(*inputs.all).spare(option, target)

    def show(self, results: _Results, inputs: _Inputs) -> None:
        """Print and write everything."""
        if self.json != "-":
            show("\n\n".join(_texts(results, per_class=self.per_class)))
        if self.json:
            _write_json(self.json, results)
        if self.best_conf:
            _write_best_conf(self.best_conf, results.main, self.precision)
        if self.plots:
            from detkit.report.plots import write_plots

            write_plots(results.main, self.plots)
        if self.report:
            _write_report(self.report, results, inputs)


def _texts(results: _Results, *, per_class: bool) -> list[str]:
    """The parts that are printed."""
    from detkit.report import text

    width, main = terminal_width(80), results.main
    parts = [f"{text.heading(main)}\n{text.figures(main)}", text.working_point(main)]
    if per_class:
        parts.append(text.class_table(main, width))
    if results.intervals:
        parts.append(text.intervals(results.intervals))
    if results.comparison:
        parts.append(text.comparison(results.comparison))
    if results.explained:
        parts.append(f"{text.errors(main)}\n\n{text.explanation(results.explained, width)}")
    return parts


def _write_report(path: Path, results: _Results, inputs: _Inputs) -> None:
    from detkit.annotations.picture_places import folders_of
    from detkit.files import write_bytes
    from detkit.report.document import page_bytes
    from detkit.report.page import Compared, make_report

    about = Compared(str(inputs.detections), str(inputs.ground_truth), str(inputs.compare or ""), inputs.model)
    folders = folders_of(inputs.images, inputs.ground_truth)
    page = make_report(results.main, about, folders, results.intervals, results.comparison, results.explained)
    write_bytes(path, page_bytes(page))


def _write_best_conf(path: Path, result: Evaluation, precision: float | None) -> None:
    import orjson

    from detkit.cli.console import say
    from detkit.files import write_bytes

    short: dict[str, float] = {}
    if precision is None:
        thresholds = result.best_thresholds()
    else:
        thresholds, short = result.thresholds_of_precision(precision)
    write_bytes(path, orjson.dumps(thresholds, option=orjson.OPT_INDENT_2) + b"\n")
    if short:
        named = ", ".join(f"{name} ({share:.2f})" for name, share in sorted(short.items(), key=lambda row: -row[1])[:8])
        more = f" and {len(short) - 8} more" if len(short) > 8 else ""
        say(f"no threshold gives a precision of {precision:g} to {named}{more}: {path} leaves them out, by 1")


def _resampled(
    result: Evaluation, other: Evaluation | None, resampling: _Resampling
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Intervals, if samples are asked for, and the comparison with `other`, if there is one."""
    samples, seed = resampling.samples, resampling.seed
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


def _write_json(path: str, results: _Results) -> None:
    content = results.main.to_json()
    if results.intervals:
        content["intervals"] = {name: asdict(one) for name, one in results.intervals.items()}
    if results.comparison:
        content["comparison"] = {name: asdict(one) for name, one in results.comparison.items()}
    if results.explained:
        content["explain"] = asdict(results.explained)
    write_figures(path, content)
