"""Everything that can be said about one set of detections, each figure computed when it is asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detkit.dataset import GroundTruth, Predictions
from detkit.errors import UsageError
from detkit.metrics import coco
from detkit.metrics.counts import Counts, class_counts, total_counts
from detkit.metrics.curves import FROC_FPPI, Curve, class_curve, pooled_curve
from detkit.metrics.iou_types import OVERLAPS, prepared
from detkit.metrics.outcomes import Outcomes, coco_outcomes, outcomes_of_matches, voc_outcomes

if TYPE_CHECKING:
    from detkit.metrics.bootstrap import Resampler
    from detkit.metrics.tide import TideResult

PROTOCOLS = ("coco", "voc", "voc07")
BIG = 1 << 62
_NO_FAULTS = coco.Faults()
_PIXEL = np.array([0.0, 0.0, 1.0, 1.0])


@dataclass(frozen=True)
class Settings:
    """How figures are taken.

    protocol   "coco", "voc" (area under the curve) or "voc07" (eleven points)
    iou        overlap for counts and curves, and for VOC's AP
    score      working point for the counts; None for the one of the highest F1 over all classes
    max_det    detections kept of an image and class; None for the protocol's (COCO 100, VOC all)
    faults     faults of pycocotools to repeat (COCO only)
    ignore_flags   whether boxes flagged `ignore` count neither way; False, as in COCO's evaluation, which does not
                   read the flag, where it is set without `crowd`
    inclusive  VOC only: measure boxes as its kit does, whose corners are pixels that belong to the box, so that sides
               are longer by 1
    iou_type   what overlaps, a name of `iou_types.OVERLAPS`

    UsageError for values that cannot be.
    """

    protocol: str = "coco"
    iou: float = 0.5
    score: float | None = None
    max_det: int | None = None
    faults: coco.Faults = _NO_FAULTS
    ignore_flags: bool = True
    inclusive: bool = False
    iou_type: str = "bbox"

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise UsageError(f"there is no protocol '{self.protocol}'; there are {', '.join(PROTOCOLS)}")
        if not 0 < self.iou <= 1:
            raise UsageError(f"an overlap lies above 0 and up to 1, not at {self.iou:g}")
        if self.max_det is not None and self.max_det < 1:
            raise UsageError(f"at least one detection of an image must be kept, not {self.max_det}")
        if self.inclusive and self.protocol == "coco":
            raise UsageError("sides longer by 1 are VOC's: COCO's figures have none such")
        if self.iou_type not in OVERLAPS:
            raise UsageError(f"there is no --iou-type '{self.iou_type}'; there are {', '.join(OVERLAPS)}")
        if self.inclusive and self.iou_type != "bbox":
            raise UsageError("sides longer by 1 are for boxes (--iou-type bbox)")

    def counted(self, ground_truth: GroundTruth) -> GroundTruth:
        """The annotations with the flags `ignore` that are read."""
        if self.ignore_flags:
            return ground_truth
        return replace(ground_truth, ignore=ground_truth.ignore & ground_truth.crowd)

    @property
    def kept(self) -> int | None:
        """Detections kept of an image and class, None for all."""
        usual = OVERLAPS[self.iou_type].max_dets[-1]
        return self.max_det if self.max_det is not None or self.protocol != "coco" else usual


def evaluate(detections: Predictions, ground_truth: GroundTruth, settings: Settings = Settings()) -> Evaluation:
    """The figures of detections in the rows of a ground truth, under `settings`."""
    return Evaluation(ground_truth, detections, settings)


class Evaluation:
    """Figures of `predictions` against `ground_truth` under `settings`.

    COCO's figures keep their names at another `max_det`: AR100 is then AR at that limit, AR1 and AR10 at most at it.
    """

    def __init__(self, ground_truth: GroundTruth, predictions: Predictions, settings: Settings = Settings()) -> None:
        ground_truth = settings.counted(ground_truth)
        if settings.inclusive:  # at the root, so that every figure is of the same boxes
            ground_truth = replace(ground_truth, boxes=ground_truth.boxes + _PIXEL)
            predictions = replace(predictions, boxes=predictions.boxes + _PIXEL)
        self.ground_truth, self.predictions = prepared(ground_truth, predictions, settings.iou_type)
        self.settings = settings
        self.protocol = settings.protocol
        self.iou = settings.iou
        self.max_det = settings.kept
        self.faults = settings.faults

    @property
    def asked_score(self) -> float | None:
        """The working point that was asked for."""
        return self.settings.score

    @property
    def names(self) -> tuple[str, ...]:
        """The class names (K,)."""
        return self.ground_truth.categories.names

    @cached_property
    def coco_result(self) -> coco.CocoResult:
        """COCO's tables, whatever the protocol."""
        limit = self.max_det or BIG
        first, second, _ = OVERLAPS[self.settings.iou_type].max_dets
        limits = (min(first, limit), min(second, limit), limit)
        return coco.evaluate_coco(self.ground_truth, self.predictions, max_dets=limits, faults=self.faults)

    @cached_property
    def outcomes(self) -> Outcomes:
        """What became of each detection at `iou`."""
        if self.protocol != "coco":
            return voc_outcomes(self.ground_truth, self.predictions, self.iou, max_det=self.max_det)
        result = self.coco_result
        known = np.flatnonzero(result.thresholds == self.iou)
        if len(known) and self.faults == coco.Faults():
            truth = result.matches.truth[0, known[0]]
            return outcomes_of_matches(self.ground_truth, result.ranking, result.matches.detection, truth)
        return coco_outcomes(self.ground_truth, self.predictions, self.iou, max_det=self.max_det, faults=self.faults)

    @cached_property
    def figures(self) -> dict[str, float]:
        """The protocol's figures: COCO's (twelve, for key points ten), or VOC's AP."""
        if self.protocol == "coco":
            return self.coco_result.figures
        from detkit.metrics.average_precision import mean_defined

        return {"AP": mean_defined(self._voc_ap)}

    @cached_property
    def _voc_ap(self) -> NDArray[np.float64]:
        from detkit.metrics.voc import class_ap

        return class_ap(self.outcomes, eleven_points=self.protocol == "voc07")

    def class_figures(self, class_index: int) -> dict[str, float]:
        """The protocol's figures of one class."""
        if self.protocol == "coco":
            return self.coco_result.class_figures(class_index)
        return {"AP": float(self._voc_ap[class_index])}

    @cached_property
    def curve(self) -> Curve:
        """All detections together."""
        return pooled_curve(self.outcomes)

    @cached_property
    def class_curves(self) -> list[Curve]:
        """One curve a class."""
        return [class_curve(self.outcomes, k) for k in range(len(self.names))]

    @cached_property
    def score(self) -> float:
        """The working point: what was asked for, else the score of the highest F1; 0 where there is none."""
        if self.settings.score is not None:
            return self.settings.score
        best, f1 = self.curve.best_f1()
        return best if f1 >= 0 else 0.0

    @cached_property
    def counts(self) -> list[Counts]:
        """Counts of each class at the working point."""
        return class_counts(self.outcomes, self.score)

    @property
    def total(self) -> Counts:
        """Counts over all classes at the working point."""
        return total_counts(self.counts)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """The confusion matrix (K + 1, K + 1) at the working point; see `confusion.confusion_matrix`."""
        from detkit.metrics.confusion import confusion_matrix

        return confusion_matrix(self.ground_truth, self.outcomes, self.score, self.iou)

    @cached_property
    def tide(self) -> TideResult:
        """Kinds of errors and what each costs, see `tide.tide`; under VOC's protocol difficult boxes do not count."""
        from detkit.metrics.tide import tide

        truth = self.ground_truth
        if self.protocol != "coco":
            truth = replace(truth, ignore=truth.ignore | truth.difficult)
        return tide(truth, self.predictions, iou=self.iou)

    @cached_property
    def resampler(self) -> Resampler:
        """AP under weights of the images; see `bootstrap`."""
        from detkit.metrics import bootstrap

        if self.protocol == "coco":
            limit = self.max_det or BIG
            return bootstrap.coco_resampler(self.ground_truth, self.predictions, max_det=limit, faults=self.faults)
        eleven = self.protocol == "voc07"
        return bootstrap.voc_resampler(
            self.ground_truth, self.predictions, self.iou, eleven_points=eleven, max_det=self.max_det
        )

    def best_thresholds(self) -> dict[str, float]:
        """By class name: what scores have to exceed for the highest F1; classes of which nothing is found are missing.

        This is what `detkit eval --best-conf` writes and `--conf FILE` of the detection commands reads.
        """
        best = ((name, curve.best_threshold()) for name, curve in zip(self.names, self.class_curves, strict=True))
        return {name: share for name, share in best if share is not None}

    def thresholds_of_precision(self, wanted: float) -> tuple[dict[str, float], dict[str, float]]:
        """By class name: the lowest thresholds that give this precision; and the best precision of classes without.

        These have the threshold 1, which no score exceeds: boxes of theirs would more often be wrong than is wanted.
        Classes of which nothing is found are missing.
        """
        thresholds, best = {}, {}
        for name, curve in zip(self.names, self.class_curves, strict=True):
            if len(curve.scores):
                threshold = curve.threshold_of_precision(wanted)
                thresholds[name] = 1.0 if threshold is None else threshold
                if threshold is None:
                    best[name] = float(curve.precision.max())
        return thresholds, best

    def class_table(self) -> dict[str, dict[str, Any]]:
        """By class name: boxes, detections, the protocol's figures, counts, and the best working point."""
        table = {}
        boxes = self.outcomes.positives
        detections = np.diff(self.outcomes.ranking.starts)
        for k, name in enumerate(unique_names(self.names)):
            best, f1 = self.class_curves[k].best_f1()
            table[name] = {
                "id": _json_id(self.ground_truth.categories.ids[k]),
                "boxes": int(boxes[k]),
                "detections": int(detections[k]),
                **self.class_figures(k),
                **_counted(self.counts[k]),
                "best_score": best,
                "best_F1": f1,
                "roc_auc": self.class_curves[k].roc_auc(),
                "log_average_miss_rate": self.class_curves[k].log_average_miss_rate(),
            }
        return table

    def to_json(self) -> dict[str, Any]:
        """All figures with all their digits as plain Python objects; -1 where undefined."""
        recalls, froc = self.curve.froc()
        best, f1 = self.curve.best_f1()
        tide = self.tide
        return {
            "protocol": self.protocol,
            "iou_type": self.settings.iou_type,
            "iou": self.iou,
            "max_det": self.max_det,
            **({"inclusive": True} if self.settings.inclusive else {}),
            "images": len(self.ground_truth.images),
            "boxes": int(self.outcomes.positives.sum()),
            "detections": len(self.predictions),
            "figures": self.figures,
            "working_point": {"score": self.score, **_counted(self.total)},
            "best_working_point": {"score": best, "F1": f1},
            "curves": {
                "roc_auc": self.curve.roc_auc(),
                "log_average_miss_rate": self.curve.log_average_miss_rate(),
                "froc": froc,
                "recall_at_fppi": {f"{fppi:g}": float(r) for fppi, r in zip(FROC_FPPI, recalls, strict=True)},
            },
            "errors": {
                "AP": tide.ap,
                "cost": tide.cost,
                "counts": tide.counts,
                "false_positives": tide.false_positives,
                "false_negatives": tide.false_negatives,
            },
            "confusion": {
                "classes": unique_names((*self.names, "background")),
                "matrix": self.confusion.tolist(),
            },
            "classes": self.class_table(),
        }


def _json_id(id: int | str) -> int | str:
    """An id as every reader of JSON takes it: numbers beyond 64 bits as text."""
    return id if isinstance(id, str) or -(2**63) <= id < 2**63 else str(id)


def _counted(counts: Counts) -> dict[str, Any]:
    values = {key.upper(): value for key, value in asdict(counts).items()}
    return {**values, "precision": counts.precision, "recall": counts.recall, "F1": counts.f1}


def unique_names(names: tuple[str, ...]) -> list[str]:
    """`names`, with " (2)" and so on where one has come before, so that they can be keys."""
    taken = set(names)
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        own = name
        while seen[name] > 1 and (own := f"{name} ({seen[name]})") in taken:
            seen[name] += 1
        taken.add(own)
        result.append(own)
    return result
