"""Why two conventions give two APs for the same files: each convention is measured on the data at hand.

One thing is changed at a time, against COCO's rule; and from COCO's AP to VOC's there is a chain of steps whose
differences add up to the whole. The sentences are made of these measurements.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detkit.dataset import Categories, GroundTruth, Predictions
from detkit.metrics.average_precision import COCO_RECALLS, VOC07_RECALLS, mean_defined
from detkit.metrics.bootstrap import coco_resampler
from detkit.metrics.coco import IOU_THRESHOLDS, Faults
from detkit.metrics.iou_types import OVERLAPS
from detkit.metrics.outcomes import coco_outcomes
from detkit.metrics.ranking import rank
from detkit.metrics.voc import evaluate_voc
from detkit.metrics.wording import signed

SCORE_CUTS = (0.001, 0.05, 0.25, 0.5)


@dataclass(frozen=True)
class Row:
    """A convention and what it gives: AP over COCO's ten overlaps, and at the one overlap; -1 where undefined.

    what    what is done differently from COCO's rule
    who     where that is done, "" where nobody in particular
    """

    what: str
    who: str
    ten: float
    one: float


@dataclass(frozen=True)
class Explanation:
    """rows: the conventions side by side, COCO's rule first; sentences: where the differences come from."""

    iou: float
    rows: tuple[Row, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class _Rule:
    """COCO's rule with one overlap beside its ten, the detections that it keeps, and faults of pycocotools."""

    iou: float
    max_det: int
    faults: Faults

    def __call__(
        self,
        truth: GroundTruth,
        found: Predictions,
        recalls: NDArray[np.float64] | None = COCO_RECALLS,
        max_det: int | None = None,
    ) -> tuple[float, float]:
        """AP over ten overlaps and at `iou`; `max_det` in place of the rule's."""
        table = self.table(truth, found, recalls, max_det)
        return mean_defined(table[:-1]), mean_defined(table[-1])

    def table(
        self,
        truth: GroundTruth,
        found: Predictions,
        recalls: NDArray[np.float64] | None = COCO_RECALLS,
        max_det: int | None = None,
    ) -> NDArray[np.float64]:
        """float64 (11, K): AP by overlap, `iou` the last."""
        thresholds = np.append(IOU_THRESHOLDS, self.iou)
        limit = max_det or self.max_det
        resampler = coco_resampler(
            truth, found, max_det=limit, thresholds=thresholds, recalls=recalls, faults=self.faults
        )
        return resampler.class_table(np.ones(resampler.images, dtype=np.int64))


def explain(
    ground_truth: GroundTruth,
    predictions: Predictions,
    *,
    iou: float = 0.5,
    score: float | None = None,
    flagged: GroundTruth | None = None,
    max_det: int | None = None,
    faults: Faults = Faults(),
) -> Explanation:
    """Measure the conventions at overlap `iou`.

    score    one more score to cut at
    flagged  the same boxes with flags `ignore` that `ground_truth` leaves unread, as pycocotools does
    max_det  detections that COCO's rule keeps of an image and class; None for COCO's own, 100, of key points 20
    faults   of pycocotools, which COCO's rule then has; only that of annotation 0 is repeated
    """
    truth, found = ground_truth, predictions
    usual = OVERLAPS[truth.iou_type].max_dets[-1]
    max_det = usual if max_det is None else max_det
    rule = _Rule(iou, max_det, faults)
    all_of_them = max(len(found), 1)
    as_pycocotools = not _flagged(truth).any() and (0 not in truth.ids or faults.id_zero_unmatched)
    name = "COCO's rule" if max_det == usual else f"COCO's rule, best {max_det}"
    base = Row(name, OVERLAPS[truth.iou_type].who if as_pycocotools else "", *rule(truth, found))
    rows = [base]
    sentences: list[str] = []

    area = Row("area under curve, not 101 points", "VOC since 2010", *rule(truth, found, None))
    eleven = Row("11 points, not 101", "VOC 2007", *rule(truth, found, VOC07_RECALLS))
    everything = Row(f"all detections, not the best {max_det}", "VOC", *rule(truth, found, max_det=all_of_them))
    rows += [area, eleven, everything]
    voc = {
        "area": _voc(truth, found, iou, eleven=False),
        "eleven": _voc(truth, found, iou, eleven=True),
    }
    rows.append(Row("VOC's rule, area under the curve", "VOC since 2010", *voc["area"]))
    rows.append(Row("VOC's rule, 11 points", "VOC 2007", *voc["eleven"]))
    if truth.iou_type == "bbox":
        inclusive = _voc(truth, found, iou, eleven=False, inclusive=True)
        rows.append(Row("VOC's rule, pixels inclusive (+1)", "VOC's kit", *inclusive))
    sentences.append(_from_coco_to_voc(truth, found, rule, base, area, voc["area"][1]))
    sentences.append(_about_points(iou, base, area, eleven))

    for part_rows, sentence in (
        _crowds(truth, found, rule, base),
        _flags(truth, flagged or truth, found, rule, base),
        _score_cuts(truth, found, rule, base, score),
        _limits(truth, found, rule, base),
        _empty_classes(truth, found, rule, base),
        _classes_ignored(truth, found, rule, base),
    ):
        rows += part_rows
        sentences.append(sentence)
    return Explanation(iou, tuple(rows), tuple(sentences))


def _voc(
    truth: GroundTruth, found: Predictions, iou: float, *, eleven: bool, inclusive: bool = False
) -> tuple[float, float]:
    aps = [
        evaluate_voc(truth, found, float(t), eleven_points=eleven, inclusive=inclusive).figures["AP"]
        for t in np.append(IOU_THRESHOLDS, iou)
    ]
    return mean_defined(np.array(aps[:-1])), aps[-1]


def _from_coco_to_voc(truth: GroundTruth, found: Predictions, rule: _Rule, base: Row, area: Row, voc: float) -> str:
    """The chain COCO's AP, one overlap, area, all detections, VOC's matching: its steps add up."""
    every = rule(truth, found, None, max_det=max(len(found), 1))[1]
    steps = [
        (f"taking the one overlap {rule.iou:g} in place of the mean over ten", base.one - base.ten),
        ("the area under the curve in place of 101 points", area.one - base.one),
        (f"all detections in place of the best {rule.max_det} of an image and class", every - area.one),
        (f"VOC's way to match ({_what_voc_skips(truth)})", voc - every),
    ]
    if min(base.ten, voc) < 0:
        return "No true boxes count under one of the conventions, so COCO's and VOC's AP cannot be compared."
    total = voc - base.ten
    steps.sort(key=lambda step: -abs(step[1]))
    moved = [f"{signed(change)} from {what}" for what, change in steps if abs(change) >= 5e-5]
    still = [what for what, change in steps if abs(change) < 5e-5]
    text = f"COCO's AP is {base.ten:.4f} and VOC's at {rule.iou:g} is {voc:.4f}, a difference of {signed(total)}"
    text += f": {_listed(moved)}." if moved else "."
    return text + (f" Nothing comes from {_listed(still, 'or')}." if still else "")


def _what_voc_skips(truth: GroundTruth) -> str:
    text = "a detection goes to the box it overlaps most, taken or not"
    if truth.difficult.any():
        text += f"; {_count(truth.difficult, 'box', 'boxes')} marked difficult do not count"
    return text


def _about_points(iou: float, base: Row, area: Row, eleven: Row) -> str:
    if base.one < 0:
        return "AP is undefined here: no true box counts."
    return (
        f"On one and the same curve (COCO's matching at {iou:g}) 101 points give {base.one:.4f}, the area "
        f"{area.one:.4f} ({signed(area.one - base.one)}) and 11 points {eleven.one:.4f} "
        f"({signed(eleven.one - base.one)})."
    )


def _crowds(truth: GroundTruth, found: Predictions, rule: _Rule, base: Row) -> tuple[list[Row], str]:
    """Crowds as false positives' ground (ultralytics #17270), and as ordinary boxes (cocoapi #374)."""
    if not truth.crowd.any():
        return [], "There are no crowd boxes here, so how a tool treats them makes no difference."
    dropped = Row("crowd boxes left out", "YOLO label files", *rule(truth[~truth.crowd], found))
    ordinary = replace(truth, crowd=np.zeros_like(truth.crowd))
    counted = Row("crowd boxes as ordinary boxes", "iscrowd not read", *rule(ordinary, found))
    outcomes = coco_outcomes(truth, found, rule.iou, max_det=rule.max_det, faults=rule.faults)
    on_crowd = np.count_nonzero(~outcomes.counts & truth.crowd[outcomes.truth])
    return [dropped, counted], (
        f"{_count(truth.crowd, 'crowd box takes', 'crowd boxes take')} {on_crowd:,} detections out of the count at "
        f"{rule.iou:g}. A tool that leaves these boxes out counts the detections as false positives: AP at "
        f"{rule.iou:g} goes from {base.one:.4f} to {dropped.one:.4f} ({signed(dropped.one - base.one)}), over ten "
        f"overlaps {signed(dropped.ten - base.ten)}. One that takes them for single objects: "
        f"{signed(counted.one - base.one)} and {signed(counted.ten - base.ten)}."
    )


def _flags(
    truth: GroundTruth, flagged: GroundTruth, found: Predictions, rule: _Rule, base: Row
) -> tuple[list[Row], str]:
    """The flags `ignore` (cocoapi #466) and `difficult`, and annotation 0 (cvat #748)."""
    rows, parts = [], []
    bare = OVERLAPS[truth.iou_type].not_counted(truth.shapes, len(truth))
    if (bare & ~truth.crowd).any():
        parts.append(
            f"{_count(bare & ~truth.crowd, 'object has', 'objects have')} no labelled key point, and detections of "
            "such are left out of the count, in pycocotools, too."
        )
    if (flagged.ignore & ~truth.ignore & ~truth.crowd).any():
        row = Row("`ignore` honoured", "", *rule(flagged, found))
        rows.append(row)
        parts.append(
            f"{_count(flagged.ignore, 'box is', 'boxes are')} flagged `ignore`, which COCO's evaluation overwrites; "
            f"left out of the count, AP at {rule.iou:g} is {row.one:.4f} ({signed(row.one - base.one)})."
        )
    if _flagged(truth).any():
        row = Row("`ignore` not honoured", "pycocotools", *rule(replace(truth, ignore=truth.crowd | bare), found))
        rows.append(row)
        parts.append(
            f"{_count(_flagged(truth), 'box is', 'boxes are')} flagged `ignore`; pycocotools overwrites the flag and "
            f"would give {row.one:.4f} at {rule.iou:g} ({signed(row.one - base.one)})."
        )
    if truth.difficult.any():
        spared = replace(truth, ignore=truth.ignore | truth.difficult)
        row = Row("difficult boxes do not count", "VOC", *rule(spared, found))
        rows.append(row)
        parts.append(
            f"{_count(truth.difficult, 'box is', 'boxes are')} marked difficult, which COCO's protocol does not "
            f"know; left out of the count, AP at {rule.iou:g} is {row.one:.4f} ({signed(row.one - base.one)})."
        )
    if 0 in truth.ids:
        parts.append("One annotation has the id 0, and pycocotools takes a detection that finds it for a false one.")
    return rows, " ".join(parts) or "No box is flagged `ignore` or difficult."


def _flagged(truth: GroundTruth) -> NDArray[np.bool_]:
    """bool (M,): the boxes that a flag `ignore` takes out, no crowd and no lack of key points."""
    bare = OVERLAPS[truth.iou_type].not_counted(truth.shapes, len(truth))
    return np.asarray(truth.ignore & ~truth.crowd & ~bare)


def _score_cuts(
    truth: GroundTruth, found: Predictions, rule: _Rule, base: Row, score: float | None
) -> tuple[list[Row], str]:
    """AP without the low scores (ultralytics pull request #6813)."""
    cuts = sorted({*SCORE_CUTS, score} if score is not None else SCORE_CUTS)
    rows, told = [], []
    for cut in cuts:
        kept = found.scores >= cut
        if kept.all():
            continue
        row = Row(f"only scores of {cut:g} or more", "", *rule(truth, found[kept]))
        rows.append(row)
        lost = len(found) - np.count_nonzero(kept)
        told.append(
            f"at {cut:g} ({lost:,} of {len(found):,} detections gone) AP is {row.ten:.4f} over ten overlaps "
            f"({signed(row.ten - base.ten)}) and {row.one:.4f} at {rule.iou:g} ({signed(row.one - base.one)})"
        )
    if not rows:
        lowest = f"the lowest score is {found.scores.min():.4g}" if len(found) else "there are no detections"
        return [], f"Cutting at a score of {cuts[-1]:g} or less changes nothing: {lowest}."
    worst = rows[-1].ten - base.ten
    advice = (
        "AP counts every recall that low scores still reach; cut for a working point, not before AP."
        if worst < -5e-5
        else "Here the low scores add no recall."
    )
    return rows, f"Cut by score: {'; '.join(told)}. {advice}"


def _limits(truth: GroundTruth, found: Predictions, rule: _Rule, base: Row) -> tuple[list[Row], str]:
    """A limit per image over all classes, where COCO's is per image and class."""
    rows = []
    most = int(np.bincount(found.image_index, minlength=1).max(initial=0))
    for limit, who in ((100, "many detectors"), (300, "ultralytics")):
        if most <= limit:
            continue
        ranking = rank(found, truth.images.ids, len(truth.categories), max_det=limit, one_class=True)
        kept = np.zeros(len(found), dtype=bool)
        kept[ranking.rows] = True
        what = f"best {limit} of an image, all classes"
        rows.append(Row(what, who, *rule(truth, found[kept])))
    if not rows:
        return [], f"No image has more than {most:,} detections, so limits of 100 an image or more change nothing."
    changes = [f"{row.what}: {signed(row.ten - base.ten)}" for row in rows]
    usual = OVERLAPS[truth.iou_type].max_dets[-1]
    return rows, f"COCO keeps {usual} detections of each image and class. Other limits: {'; '.join(changes)}."


def _empty_classes(truth: GroundTruth, found: Predictions, rule: _Rule, base: Row) -> tuple[list[Row], str]:
    """Classes that are detected and have no boxes: left out by COCO, 0 for others (tidecv)."""
    table = rule.table(truth, found)
    detected = np.bincount(found.class_index, minlength=len(truth.categories)) > 0
    empty = (table[-1] < 0) & detected
    if not empty.any():
        return [], "Every class that is detected has true boxes, so the mean is over the same classes everywhere."
    table[:, empty] = 0.0
    row = Row("detected classes without boxes as 0", "tidecv", mean_defined(table[:-1]), mean_defined(table[-1]))
    return [row], (
        f"{_count(empty, 'class is', 'classes are')} detected but {'has' if empty.sum() == 1 else 'have'} no true "
        f"box that counts. COCO leaves them out of the mean; counted as 0, AP at {rule.iou:g} falls from "
        f"{base.one:.4f} to {row.one:.4f} ({signed(row.one - base.one)})."
    )


def _classes_ignored(truth: GroundTruth, found: Predictions, rule: _Rule, base: Row) -> tuple[list[Row], str]:
    """All classes as one: what is left when classes are mixed up or numbered from another start."""
    if len(truth.categories) < 2:
        return [], "There is one class, so the mean over classes is that of the class."
    one = replace(truth, categories=Categories(("any",), (1,)), class_index=np.zeros_like(truth.class_index))
    found = replace(found, class_index=np.zeros_like(found.class_index))
    row = Row("all classes as one", "class-agnostic", *rule(one, found))
    text = (
        f"With all classes as one, AP at {rule.iou:g} is {row.one:.4f} ({signed(row.one - base.one)}): every box then "
        "weighs the same, and a wrong class is no error."
    )
    if base.one < 0.2 * row.one:
        text += " So large a gap mostly means that class numbers are off: compare the tables of classes."
    return [row], text


def _count(mask: NDArray[np.bool_], one: str, many: str) -> str:
    number = int(np.count_nonzero(mask))
    return f"{number:,} {one if number == 1 else many}"


def _listed(parts: list[str], last: str = "and") -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {last} {parts[-1]}"
